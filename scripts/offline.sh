#!/usr/bin/env bash
# Install on a machine without a network.
#   offline.sh pack BUNDLE.tar.gz [DATA]   with a network: the package, its wheels and DATA (a file or a folder) in one file
#   offline.sh install [PYTHON]            without one, in the unpacked bundle: installs into PYTHON (default: python3)
# Both machines have the same system and Python version. PY: the Python that packs (default: python3), with setuptools and wheel.
# TORCH=1: torch and torchvision travel too, otherwise the machine brings them. WHEELS: a folder of wheels to take instead of
# asking an index, for packing without a network.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() { sed -n '2,4p' "$HERE/offline.sh" >&2; exit 2; }

pack() {
    [ $# -ge 1 ] && [ $# -le 2 ] || usage
    local out=$1 data=${2:-} root py=${PY:-python3}
    root=$(dirname "$HERE")
    [ -z "$data" ] || [ -e "$data" ] || { echo "offline.sh: $data does not exist" >&2; exit 1; }
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT # not local: it is read at the end
    mkdir -p "$folder/hmaca-offline/wheels"
    cp "$HERE/offline.sh" "$folder/hmaca-offline/"
    # From a copy: building writes into the folder that it builds.
    mkdir "$folder/source"
    (cd "$root" && tar -cf - --exclude=.git --exclude=build --exclude='*.egg-info' --exclude=.venv --exclude=experiments --exclude=datasets \
        hmaca_arch options datasets_ext losses_ext scripts setup.py pyproject.toml README.md LICENSE constraints.txt) | tar -xf - -C "$folder/source"
    "$py" -m pip wheel -q --no-deps --no-build-isolation -w "$folder/hmaca-offline/wheels" "$folder/source"
    if [ -n "${WHEELS:-}" ]; then
        find "$WHEELS" -maxdepth 1 -name '*.whl' -exec cp {} "$folder/hmaca-offline/wheels/" \;
    else
        # BasicSR is published as source, and its setup.py needs help on new Pythons (old_exec/).
        PYTHONPATH=$HERE/old_exec "$py" -m pip wheel -q --no-deps --no-build-isolation --use-pep517 -w "$folder/hmaca-offline/wheels" basicsr==1.4.2
        "$py" -m pip wheel -q -c "$root/constraints.txt" --find-links "$folder/hmaca-offline/wheels" -w "$folder/hmaca-offline/wheels" \
            "$folder"/hmaca-offline/wheels/hmaca-*.whl
    fi
    # What a cluster brings itself is gigabytes.
    [ "${TORCH:-0}" = 1 ] || find "$folder/hmaca-offline/wheels" \( -name 'torch-*' -o -name 'torchvision-*' -o -name 'nvidia_*' -o -name 'triton-*' \) -delete
    if [ -n "$data" ]; then mkdir "$folder/hmaca-offline/data" && cp -rL "$data" "$folder/hmaca-offline/data/"; fi
    tar -czf "$out.part" -C "$folder" hmaca-offline && mv "$out.part" "$out"
    echo "$out: $(du -h "$out" | cut -f1), $(find "$folder/hmaca-offline/wheels" -name '*.whl' | wc -l) wheels"
}

install() {
    [ $# -le 1 ] || usage
    local py=${1:-python3}
    compgen -G "$HERE/wheels/hmaca-*.whl" >/dev/null || { echo "offline.sh: no wheels beside $HERE/offline.sh; run it in the unpacked bundle" >&2; exit 1; }
    "$py" -c 'import torch' 2>/dev/null || compgen -G "$HERE/wheels/torch-*.whl" >/dev/null \
        || { echo "offline.sh: $py has no torch, and the bundle neither; pack with TORCH=1, or install torch first" >&2; exit 1; }
    # The bundle decides the versions: what a shell constrains would only get in its way.
    env -u PIP_CONSTRAINT "$py" -m pip install -q --no-index --find-links "$HERE/wheels" "$HERE"/wheels/hmaca-*.whl
    echo "installed: $("$py" -m pip show hmaca 2>/dev/null | sed -n 's/^Version: /hmaca /p'); to try it: $py -m hmaca_arch --help"
    [ ! -d "$HERE/data" ] || echo "data: $HERE/data"
}

case ${1:-} in
pack) shift; pack "$@" ;;
install) shift; install "$@" ;;
*) usage ;;
esac
