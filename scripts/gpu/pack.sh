#!/usr/bin/env bash
# Makes the folder .gpu in the current one: what a machine with a GPU and no network needs besides a checkout. git ignores it.
#   pack.sh PROJECT HORSES [PYTHON]
# PROJECT: a checkout of this project, which the current folder may be; HORSES: the folder with trainA/ and testA/. PYTHON: one that has torch, cython,
# setuptools and wheel (3.12 or older), to build BasicSR's wheel with: the environment that the project is installed in. Needs a network, no GPU.
set -euo pipefail
PROJECT=$(readlink -f "$1"); HORSES=$(readlink -f "$2"); HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
git rev-parse --git-path info/exclude | { read -r file; mkdir -p "$(dirname "$file")"; grep -qxF /.gpu/ "$file" 2>/dev/null || echo /.gpu/ >> "$file"; }
rm -rf .gpu; mkdir -p .gpu/whl .gpu/kit
cp "$HERE"/{call.sh,parts.py,cuda_checks.py,step_bench.py,attention_bench.py} .gpu/kit/
# BasicSR is an sdist, and its setup.py does not build on Python 3.13; the wheel is pure Python, whatever it is built with.
${3:-python3} -m pip wheel -q --no-deps --no-build-isolation -w .gpu/whl basicsr==1.4.2 # needs cython, numpy, setuptools, wheel and torch in that Python
for package in lmdb==3.0.0 addict==2.4.0 future==1.0.0 yapf==0.43.0 platformdirs==4.14.8 spandrel==0.4.2; do
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .gpu/whl "$package"
done
python3 - "$HORSES" <<'P'
import sys, zipfile
from pathlib import Path
root = Path(sys.argv[1])
with zipfile.ZipFile('.gpu/horse2zebra.zip', 'w', zipfile.ZIP_STORED) as archive:
    for part in ('trainA', 'testA'):
        for file in sorted((root / part).iterdir()):
            archive.write(file, f'horse2zebra/{part}/{file.name}')
P
[ -d hmaca_arch ] || git -C "$PROJECT" archive --format=tar.gz -o "$PWD/.gpu/code.tar.gz" HEAD . ':!docs/*.png' ':!docs/*.jpg'
du -sh .gpu
