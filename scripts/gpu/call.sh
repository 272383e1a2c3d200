#!/usr/bin/env bash
# Runs on a machine with a GPU and no network, in the root of a checkout with the folder .gpu that pack.sh made. Every stage can be called
# again: what is done is skipped, and a training goes on from its checkpoint as long as $RUN is there.
#
#   call.sh probe SECONDS                 install, data, checks on CUDA, step times, attention         -> $OUT/probe.tar.gz
#   call.sh train NAME SECONDS [ITER]     NAME: plus | plus64 | hmaca1; ITER: a number, or auto         -> log; if done: test and weights
#   call.sh finish NAME SECONDS           test, weights in parts, logs                                  -> $OUT/weights.*, $OUT/NAME.tar.gz
#
# SECONDS: how long the call may take. Files for the way back go to $OUT (/tmp/out). PROTOCOL (clean) and SET (horse_pix) may be set.
set -u
STAGE=$1; shift
OUT=${OUT:-/tmp/out}; mkdir -p "$OUT"
PROTOCOL=${PROTOCOL:-clean}; SET=${SET:-horse_pix}
PY=${PY:-python3}
RUN=${RUN:-/tmp/run}   # experiments, results, datasets: kept between calls
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$RUN"
export PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
left() { echo $((LIMIT - SECONDS)); }
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

setup() {
    if [ -d hmaca_arch ]; then CODE=$PWD; else # another checkout: the folder .gpu has the code
        CODE=$RUN/code
        [ -d "$CODE/hmaca_arch" ] || { mkdir -p "$CODE" && tar -xf "$HERE/../code.tar.gz" -C "$CODE"; }
    fi
    export HMACA_CODE=$CODE
    if [ ! -f "$RUN/ready" ]; then
        say 'install'
        $PY -c 'import torch, torchvision, cv2, skimage, scipy; torch.cuda.is_available() and torch.zeros(8, device="cuda").sum().item()' & # a cold disk reads gigabytes
        $PY -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$RUN/site" "$HERE"/../whl/*.whl || exit 3
        # a .pth instead of PYTHONPATH alone: the project's tests start processes with a PYTHONPATH of their own
        local purelib; purelib=$($PY -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
        { echo "$RUN/site" > "$purelib/hmaca_gpu.pth"; } 2>/dev/null || say "no .pth in $purelib: PYTHONPATH alone"
        cp -r "$HERE" "$RUN/kit"   # for calls without the folder .gpu
        wait
        touch "$RUN/ready"
        say 'installed'
    fi
    export PYTHONPATH=$CODE:$RUN/site
}

data() { # PROTOCOL [DEGRADATION...]: seconds on 16 cores
    local protocol=$1; shift
    for degradation in "$@"; do
        (cd "$RUN" && $PY -m hmaca_arch make-dataset --protocol "$protocol" --degradation "$degradation" --horse "$ZIP" -o datasets --workers 12) || return 1
    done
}

option_file() { case $1 in plus*) echo train/train_HMACAplus.yml ;; hmaca1*) echo train/train_HMACA1.yml ;; hma1*) echo train/train_HMA1.yml ;; *) return 1 ;; esac; }

changes() { # NAME ITERATIONS
    echo "data=$SET" "name=${1}_${SET}_${PROTOCOL}" "protocol=$PROTOCOL" "train:total_iter=$2"
    case $1 in plus*) echo "train:scheduler:periods=[$2]" ;; esac
    case $1 in *64) echo 'datasets:train:gt_size=64' 'datasets:train:min_mask_ratio=1' 'datasets:train:batch_size_per_gpu=40' ;; esac
    echo "${EXTRA:-}" # more entries, for example a tiny network to try this script
}

iterations() { # NAME ITER: a number, or as many as fit: what the probe measured, 7 % and 60 s of start, checkpoints and end put aside
    local file=$RUN/$1.iterations
    if [ ! -f "$file" ]; then
        if [ "$2" = auto ]; then
            $PY - "$RUN/steps.json" "$1" "$(left)" "${MOST:-1070}" > "$file" <<'P'
import json, sys
rows, name, left, most = json.load(open(sys.argv[1]))['rows'], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
cell = {'plus': 'HMACA+:bf16', 'plus64': 'HMACA+:bf16:gt64:b40', 'hmaca1': 'HMACA1:bf16', 'hma1': 'HMACA1:bf16'}[name]
seconds = next(row['seconds'] for row in rows if row['cell'] == cell and 'seconds' in row)
print(max(20, min(most, int((left - 100) / (1.07 * seconds)))))
P
        else
            echo "$2" > "$file"
        fi
    fi
    cat "$file"
}

finish() { # NAME
    local name=$1 full="${1}_${SET}_${PROTOCOL}" n; n=$(cat "$RUN/$1.iterations")
    if [ ! -f "$RUN/results/$full/${SET}_${PROTOCOL}_test.csv" ]; then
        say "test $full (float32)"
        # shellcheck disable=SC2046
        (cd "$RUN" && timeout -k 10 "$(left)" $PY -m hmaca_arch test -opt "$CODE/options/$(option_file "$name")" --force_yml $(changes "$name" "$n") val:pbar=false val:save_img=true) 2>&1 | tail -12
    fi
    say 'weights and logs'
    $PY "$HERE/parts.py" split "$RUN/experiments/$full/models/net_g_latest.pth" "$OUT" ${HALF:+--half}
    (cd "$RUN" && tar -czf "$OUT/$full.tar.gz" --exclude='*.pth' --exclude='*.state' "$name.iterations" "$name.log" steps.json checks.json "experiments/$full" \
        $(ls -d results/"$full"/*.csv results/"$full"/*.log results/"$full"/*.json results/"$full"/*.yml 2>/dev/null) \
        $(ls results/"$full"/visualization/*/*_strip.png 2>/dev/null | head -12) 2>/dev/null)
    ls -la "$OUT"
}

case $STAGE in
probe)
    LIMIT=$1; ZIP=$(ls "$HERE"/../horse2zebra.zip "$RUN/horse2zebra.zip" 2>/dev/null | head -1); ZIP=$(readlink -f "$ZIP")
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; nproc
    setup
    cp -n "$ZIP" "$RUN/horse2zebra.zip" 2>/dev/null
    say 'data, in the background'
    (data "$PROTOCOL" pix > "$RUN/data.log" 2>&1; echo "data: $? after $SECONDS s" >> "$RUN/data.log") &
    DATA=$!
    say 'checks'
    timeout -k 5 75 $PY "$HERE/cuda_checks.py" --out "$RUN/checks.json" > "$RUN/checks.log" 2>&1; grep -E '^(OK|FAIL|[0-9]+ passed)' "$RUN/checks.log"
    wait $DATA; tail -3 "$RUN/data.log"
    say 'steps'
    S=$(($(left) - 60)); S=$((S > 70 ? 70 : S < 15 ? 15 : S)) # the first cell is what the iterations of a training are computed from
    timeout -k 5 $((S + 25)) $PY "$HERE/step_bench.py" --seconds $((S - 12)) --out "$RUN/steps.json" --profile HMACA+:bf16 --cells HMACA+:bf16 HMACA+:bf16:gt64:b40 HMACA+:bf16:fast HMACA1:bf16 \
        HMACA+:fp32 HMACA+:tf32 HMACA1:fp32 HMACA+:bf16:ckpt HMACA+:bf16:gt64:fast:b40 HMA1:bf16 2>&1 | grep -v -i warn
    say 'attention'
    [ "$(left)" -gt 30 ] && timeout -k 5 $(($(left) - 8)) $PY "$HERE/attention_bench.py" --seconds $(($(left) - 25)) --out "$RUN/attention.json" 2>&1 | grep -v -i warn
    tar -czf "$OUT/probe.tar.gz" -C "$RUN" checks.json checks.log steps.json attention.json data.log profile.txt 2>/dev/null
    say 'done' ;;
train)
    NAME=$1; LIMIT=$2; ITER=${3:-auto}
    ZIP=$RUN/horse2zebra.zip; [ -f "$ZIP" ] || ZIP=$(readlink -f "$HERE/../horse2zebra.zip")
    [ -f "$RUN/ready" ] || [ -d "$HERE/../whl" ] || { echo 'nothing is installed here and there is no folder .gpu: copy it here and call again'; exit 9; }
    setup
    [ -f "$RUN/datasets/$PROTOCOL/$SET/test/manifest.jsonl" ] || data "$PROTOCOL" "${SET#horse_}" || exit 4
    N=$(iterations "$NAME" "$ITER"); say "$NAME: $N iterations"
    # shellcheck disable=SC2046
    (cd "$RUN" && timeout --preserve-status -s TERM -k 20 $(($(left) - 75)) $PY -m hmaca_arch train -opt "$CODE/options/$(option_file "$NAME")" --auto_resume --force_yml $(changes "$NAME" "$N") \
        train:amp=${AMP:-bf16} val=null logger:use_tb_logger=false logger:save_checkpoint_freq=$(((N + 4) / 5)) logger:print_freq=10 datasets:train:num_worker_per_gpu=8 >> "$NAME.log" 2>&1)
    CODE_OF_EXIT=$?; say "training ended with $CODE_OF_EXIT (0: done; 75: stopped and saved, call again)"
    grep -E 'iter:|rror|Stopped' "$RUN/$NAME.log" | tail -4 | cut -c1-300
    cp "$RUN/$NAME.log" "$OUT/"
    [ $CODE_OF_EXIT = 0 ] && finish "$NAME"
    say 'end' ;;
finish)
    NAME=$1; LIMIT=$2; setup; finish "$NAME"; say 'end' ;;
*)
    echo "no stage $STAGE"; exit 2 ;;
esac
