#!/usr/bin/env bash
# The project's first command: trains a small HMACA on photographs that scikit-image ships and shows what it restores.
# Everything it makes lies in quickstart/, which it empties first.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
basicsr() { # the console command, as an installation has it
    say "basicsr $*"
    "$PYTHON" -m hmaca_arch "$@"
}

rm -rf quickstart
mkdir quickstart
say "1. Pictures, degraded in a region, packed as LMDB"
"$PYTHON" scripts/quickstart.py pictures quickstart/pictures
"$PYTHON" scripts/make_dataset.py quickstart/pictures -o quickstart/data --protocol clean --degradation pix
"$PYTHON" scripts/make_lmdb.py quickstart/data
cd quickstart # experiments/, results/ and tb_logger/ go below the current folder
say "2. Training"
basicsr train -opt ../options/train/train_quickstart.yml
say "3. Testing on held-out pictures"
basicsr test -opt ../options/train/train_quickstart.yml
cd ..
"$PYTHON" scripts/quickstart.py report quickstart/results/train_quickstart/quickstart_test.csv \
    quickstart/results/train_quickstart/visualization/quickstart_test quickstart/restored.png
