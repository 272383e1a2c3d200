#!/usr/bin/env bash
# Runs a smoke set on the newest Python here that is not $PYTHON's: install, import, restore, train.
# It says so, and ends well, where there is no other Python or nothing can be fetched for it.
# SMOKE_VENV: the environment to make or to use again (.venv-smoke).
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || source scripts/environment.sh

minor() { "$1" -c 'import sys; print(sys.version_info[1]); sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }
ours=$(minor "$PYTHON")
found=
for python in python3.1{4,3,2,1,0} "$HOME"/.pyenv/versions/3.1{4,3,2,1,0}*/bin/python3; do
    if theirs=$(minor "$python") && [ "$theirs" != "$ours" ] && [ "${newest:-0}" -lt "$theirs" ]; then
        found=$python newest=$theirs
    fi
done
[ -n "$found" ] || { echo "second_python.sh: no Python but 3.$ours is here; nothing was run"; exit 0; }

venv=${SMOKE_VENV:-.venv-smoke}
python=$PWD/$venv/bin/python
unset PYTHONPATH PIP_CONSTRAINT # its own packages, not this shell's
if ! "$python" -c 'import hmaca_arch, basicsr, pytest' 2>/dev/null; then
    rm -rf "$venv"
    if ! { "$found" -m venv "$venv" && timeout 1200 "$python" scripts/install.py \
        && timeout 300 "$python" -m pip install -q -c constraints.txt pytest hypothesis safetensors; } \
        >"$venv.log" 2>&1; then
        echo "second_python.sh: nothing could be installed for $found; nothing was run:"
        tail -n 3 "$venv.log"
        exit 0
    fi
fi
echo "Smoke set on $("$python" --version)"
exec "$python" -m pytest -q -p no:cacheprovider tests/test_smoke.py tests/test_imports.py \
    tests/test_inference.py tests/files/test_atomic.py tests/commands/test_restore.py \
    tests/scripts/test_install.py
