# Sourced by quickstart.sh and test.sh: leaves a Python that can run this checkout in $PYTHON.
# Run alone (`bash scripts/environment.sh`), it installs that Python and its packages.
#
# The active environment is used as it is if it has what is needed. Otherwise .venv is made here
# and filled by install.py, which chooses torch's build; --cpu and --cuda choose it by hand.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export PIP_CONSTRAINT=constraints.txt # of what scripts install later; relative, as pip splits it at spaces

torch_build= # --cpu, --cuda, or nothing
for argument in "$@"; do
    case $argument in --cpu | --cuda) torch_build=$argument ;; esac
done

in_environment() { # the Python of .venv, on Windows elsewhere
    if [ -x "$root/.venv/Scripts/python.exe" ]; then
        echo "$root/.venv/Scripts/python.exe"
    else
        echo "$root/.venv/bin/python"
    fi
}

has_what_is_needed() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import hmaca_arch, basicsr, datasets_ext, losses_ext' >/dev/null 2>&1
}

make_environment() { # an empty .venv of the first Python that will do
    local name
    for name in python3 python python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            echo "Installing into $root/.venv ($("$name" --version)); this takes a few minutes once."
            if command -v uv >/dev/null; then
                uv venv --quiet --seed --allow-existing --python "$name" "$root/.venv"
            else
                "$name" -m venv "$root/.venv"
            fi
            return
        fi
    done
    if command -v uv >/dev/null; then
        uv venv --quiet --seed --allow-existing --python 3.12 "$root/.venv" # which fetches one
        return
    fi
    echo "No Python 3.10 or later found: install one, or activate an environment that has one." >&2
    return 1
}

if has_what_is_needed python; then
    PYTHON=python
elif has_what_is_needed "$(in_environment)"; then
    PYTHON=$(in_environment)
else
    make_environment || { echo "No environment could be made: the lines above say why." >&2; exit 1; }
    PYTHON=$(in_environment)
    "$PYTHON" scripts/install.py --editable $torch_build || exit 1
    torch_build=
    has_what_is_needed "$PYTHON" || { "$PYTHON" -c 'import hmaca_arch, basicsr, datasets_ext, losses_ext'; exit 1; }
fi
[ -z "$torch_build" ] || echo "$torch_build changes nothing: the environment is there. For another torch: remove .venv, or $PYTHON scripts/install.py $torch_build"
echo "Using $(command -v "$PYTHON") ($("$PYTHON" -c 'import platform, torch; print(f"Python {platform.python_version()}, torch {torch.__version__}")'))"
