#!/usr/bin/env bash
# Mutation testing of the files that must not be wrong: see mutation.py, whose arguments it takes:
# slices, --sample N, --seed N, --children N.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
unset PYTHONPATH # every slice tests its own copy

"$PYTHON" -c 'import mutmut, pytest, hypothesis' 2>/dev/null \
    || "$PYTHON" -m pip --disable-pip-version-check install -q mutmut pytest hypothesis
export OMP_NUM_THREADS=1
exec "$PYTHON" scripts/mutation.py "$@"
