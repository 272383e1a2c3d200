# Sourced by quickstart.sh and test.sh: leaves a Python that can run this checkout in $PYTHON.
#
# The active environment is used as it is if it has what is needed, so that a CUDA torch, say, is never replaced. Otherwise .venv is made here and
# filled with the versions of constraints.txt.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# Both, because old pip takes the first for isolated builds and new pip the second; without a pin BasicSR's build fetches the newest torch.
# Relative, because pip splits these at spaces.
export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt

has_what_is_needed() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import hmaca_arch, datasets_ext, losses_ext' >/dev/null 2>&1
}

python_to_build_with() { # BasicSR 1.4.2 does not build on Python 3.13
    local name
    for name in python3 python python3.12 python3.11 python3.10; do
        if "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo "No Python from 3.10 to 3.12 found: install one, or activate an environment that has one." >&2
    return 1
}

install_environment() {
    local base
    base=$(python_to_build_with) || return 1
    echo "Installing into $root/.venv ($("$base" --version)); this takes a few minutes once."
    "$base" -m venv "$root/.venv" || return 1
    # torch first, then BasicSR without an isolated build: that would unpack another torch only to throw it away.
    pip_install torch torchvision numpy cython setuptools wheel \
        && pip_install --no-build-isolation basicsr \
        && pip_install --no-build-isolation -e .
}

pip_install() { "$root/.venv/bin/python" -m pip --disable-pip-version-check install "$@"; }

if has_what_is_needed python; then
    PYTHON=python
elif has_what_is_needed "$root/.venv/bin/python"; then
    PYTHON="$root/.venv/bin/python"
else
    install_environment || { echo "The installation failed: the lines above say why." >&2; exit 1; }
    PYTHON="$root/.venv/bin/python"
    has_what_is_needed "$PYTHON" || { "$PYTHON" -c 'import hmaca_arch, datasets_ext, losses_ext'; exit 1; }
fi
echo "Using $(command -v "$PYTHON") ($("$PYTHON" -c 'import platform, torch; print(f"Python {platform.python_version()}, torch {torch.__version__}")'))"
