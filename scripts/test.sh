#!/usr/bin/env bash
# The project's second command: installs what is missing, then runs ruff and the tests.
# Without --all it leaves out those marked slow. --cpu and --cuda choose torch's build; other
# arguments go to pytest: --cov reports the coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

chosen=(-m 'not slow')
passed=()
for argument in "$@"; do
    case $argument in
        --all) chosen=() ;;
        --cpu | --cuda) ;;
        *) passed+=("$argument") ;;
    esac
done
needed=(hypothesis imagecodecs jpeglib matplotlib onnx onnxruntime pillow-heif pytest pytest-cov pytest-xdist
    python-multipart ruff safetensors spandrel starlette uvicorn)
if ! "$PYTHON" - "${needed[@]}" <<<'import sys
from importlib.metadata import version
[version(name) for name in sys.argv[1:]]' 2>/dev/null; then
    "$PYTHON" -m pip --disable-pip-version-check install -q "${needed[@]/spandrel/spandrel<0.5}"
fi
"$PYTHON" -m ruff check .
if [ ${#chosen[@]} -eq 0 ]; then # with --all: types and documentation
    "$PYTHON" -m mypy --version >/dev/null 2>&1 \
        || "$PYTHON" -m pip --disable-pip-version-check install -q mypy types-PyYAML
    "$PYTHON" -m mypy
    bash scripts/docs.sh
fi
export COVERAGE_FILE="$PWD/.coverage" # with --cov: also for processes that tests start elsewhere
export OMP_NUM_THREADS=1
# The forms with + because bash 4.3 and macOS's 3.2 call an empty array unbound.
exec "$PYTHON" -m pytest -n "${TEST_WORKERS:-2}" --dist loadfile ${chosen[@]+"${chosen[@]}"} ${passed[@]+"${passed[@]}"}
