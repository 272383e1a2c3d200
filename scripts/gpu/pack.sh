#!/usr/bin/env bash
# Make the folder .gpu in this checkout: what a machine with a GPU and no network needs besides it. git ignores the folder.
#   pack.sh IMAGES [PYTHON]
# IMAGES: a folder of images, which the option files find there as datasets/NAME. PYTHON: one with torch, cython, setuptools and wheel,
# 3.12 or older, that builds BasicSR's wheel: the environment of this project.
set -euo pipefail
[ $# -ge 1 ] && [ -d "$1" ] && [ -d hmaca_arch ] || { sed -n '3,5p' "$0" >&2; exit 2; }
IMAGES=$(realpath -s "$1"); PYTHON=${2:-python3}; HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if git rev-parse --git-dir >/dev/null 2>&1; then
    exclude=$(git rev-parse --git-path info/exclude); mkdir -p "$(dirname "$exclude")"
    grep -qxF /.gpu/ "$exclude" 2>/dev/null || echo /.gpu/ >> "$exclude"
fi
rm -rf .gpu; mkdir -p .gpu/whl .gpu/kit
cp "$HERE"/*.py .gpu/kit/
# BasicSR is published as source, and its setup.py does not build on Python 3.13. The wheel is pure Python.
"$PYTHON" -m pip wheel -q --no-deps --no-build-isolation -w .gpu/whl basicsr==1.4.2
for package in lmdb==3.0.0 addict==2.4.0 future==1.0.0 yapf==0.43.0 platformdirs==4.14.8 spandrel==0.4.2; do
    "$PYTHON" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .gpu/whl "$package"
done
tar -chf .gpu/images.tar -C "$(dirname "$IMAGES")" "$(basename "$IMAGES")"
du -sh .gpu
