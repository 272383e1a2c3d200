#!/usr/bin/env bash
# The project's first command. It restores photographs with the weights that ship, then trains a small
# HMACA+ on others and shows what that one restores. --cpu and --cuda choose torch's build.
# Everything it makes lies in quickstart/, which it empties first. All photographs are scikit-image's.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
basicsr() { # the console command, as an installation has it
    say "basicsr $*"
    "$PYTHON" -m hmaca_arch "$@"
}

rm -rf quickstart
mkdir quickstart
say "1. Restoring photographs with the weights that ship"
"$PYTHON" scripts/quickstart.py degraded quickstart/first
basicsr restore -i quickstart/first/degraded -m quickstart/first/masks -o quickstart/first/restored --verify
"$PYTHON" scripts/quickstart.py before-after quickstart/first
say "2. Images to train on: degraded in a region, packed as LMDB"
"$PYTHON" scripts/quickstart.py tiles quickstart/images
"$PYTHON" scripts/make_dataset.py quickstart/images -o quickstart/data --protocol clean --degradation pix
"$PYTHON" scripts/make_lmdb.py quickstart/data
say "3. Training: 600 iterations, a few minutes on two CPU cores"
cd quickstart # experiments/, results/ and tb_logger/ go below the current folder
basicsr train -opt ../options/train/train_quickstart.yml
say "4. Testing on held-out images"
basicsr test -opt ../options/train/train_quickstart.yml
cd ..
"$PYTHON" scripts/quickstart.py report quickstart/results/train_quickstart/quickstart_test.csv \
    quickstart/results/train_quickstart/visualization/quickstart_test quickstart/restored.png
