#!/usr/bin/env bash
# The project's second command: installs what is missing, then runs the whole test suite. Arguments go to pytest: --cov reports the coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

if ! "$PYTHON" -c 'import hmaca_arch, hypothesis, onnx, onnxruntime, pytest, pytest_cov, safetensors, spandrel, xdist' 2>/dev/null || ! "$PYTHON" -m ruff --version >/dev/null 2>&1; then
    "$PYTHON" -m pip --disable-pip-version-check install -q pytest pytest-xdist pytest-cov hypothesis safetensors 'spandrel<0.5' ruff \
        onnx onnxruntime
fi
"$PYTHON" -m ruff check .
export COVERAGE_FILE="$PWD/.coverage" # with --cov: also for processes that tests start elsewhere
OMP_NUM_THREADS=1 exec "$PYTHON" -m pytest -n "${TEST_WORKERS:-2}" --dist loadfile "$@"
