#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Has Spin search every interleaving of the models here, and then of each with one step broken, where it has
# to find an error: one that it misses shows a scenario that the model lacks. A search is complete, within
# 900 MB, or it fails. Two run at a time, or BP_MODEL_JOBS. Exits with 0 if all is as it should be, 77 without
# Spin. `make check-model` runs this.

set -u
LC_ALL=C
export LC_ALL
: "${CC:=cc}" "${BP_MODEL_JOBS:=2}"
models=$(cd "$(dirname "$0")" && pwd) || exit 1

counts() {
    printf '# TOTAL: %d\n# PASS:  %d\n# SKIP:  %d\n# FAIL:  %d\n' "$(($1 + $2 + $3))" "$1" "$2" "$3"
}

if ! command -v spin >/dev/null 2>&1; then
    echo "SKIP: models: there is no spin"
    counts 0 1 0
    exit 77
fi
tmp=$(mktemp -d "${TMPDIR:-/tmp}/check_model.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT

# search DIRECTORY OPTIONS MODEL FLAG...: leaves what Spin found in DIRECTORY/out; false: there was none
search() {
    local dir=$1 options=$2 model=$3
    shift 3
    mkdir "$dir" && cd "$dir" || return 1
    cp "$models/$model.pml" . && spin -a "$@" "$model.pml" >out 2>&1 || return 1
    ! grep -q 'Error' out || return 1
    # shellcheck disable=SC2086 # both may be more than one word
    $CC $options -w -DSAFETY -DMEMLIM=900 -o pan pan.c >>out 2>&1 || return 1
    ./pan -m20000 -w22 -n >out 2>&1
    grep -q 'errors: [0-9]' out
}

# check EXPECTED NAME MODEL FLAG...: EXPECTED is holds or fails. Prints one line, more if not as expected.
check() {
    local expected=$1 name=$2 dir=$tmp/$2 how options=-O1
    shift 2
    case "$expected $*" in
    *-DFEW*) options="-O1 -DCOLLAPSE" ;; # slower, in less memory
    fails*) options=-O0 ;; # done before an optimising compiler is
    esac
    if ! search "$dir" "$options" "$@"; then
        how="FAIL: $name: cannot be searched"
    elif [ "$expected" = holds ]; then
        how="FAIL: $name: has an error"
        if grep -q 'errors: 0' "$dir/out" && ! grep -qE '^pan: reached|too small|^error:' "$dir/out"; then
            how="PASS: $name: verified"
        elif grep -q 'errors: 0' "$dir/out"; then
            how="FAIL: $name: the search is not complete"
        fi
    else
        how="FAIL: $name: the broken variant is not caught"
        if grep -q 'errors: [1-9]' "$dir/out" &&
            grep -qE '^pan:1: (assertion violated|invalid end state)' "$dir/out"; then
            how="PASS: $name: broken variant caught"
        fi
    fi
    awk -v how="$how" '
        /states, stored/ { states = $1 }
        /depth reached/ { sub(/.*depth reached /, ""); depth = $1 }
        /total actual memory/ { mb = $1 }
        END { printf "%s (%d states, depth %d, %d MB)\n", how, states, depth, mb }' "$dir/out"
    case $how in
    FAIL*)
        echo "flags: $*"
        tail -n 40 "$dir/out"
        if ls "$dir"/*.trail >/dev/null 2>&1; then
            echo "---- the last steps"
            (cd "$dir" && spin -t -p -g "${@:2}" "$1.pml" 2>&1 | tail -n 120)
        fi
        ;;
    esac
    rm -rf "$dir"
}

# run ...: as check, in the background where there is room
run() {
    while [ "$(jobs -pr | wc -l)" -ge "$BP_MODEL_JOBS" ]; do
        wait -n
    done
    { said=$(check "$@"); printf '%s\n' "$said"; } &
}

all() {
    # The lanes. One of each: many rounds. Two: what lies under the front, one arena out while one is idle.
    # The longest first.
    run holds lane-long lane -DFEW -DROUNDS=3 -DBUFFER=1
    run fails lane-EVICT_NO_TICKET lane -DEVICT_NO_TICKET -DFEW -DROUNDS=3 -DBUFFER=1
    run holds lane lane -DSLOTS=1 -DARENAS=1 -DROUNDS=3
    run holds lane-two-slots lane -DOTHERS=1
    run holds lane-three-arenas lane -DARENAS=3 -DOTHERS=1 -DROUNDS=1
    run holds lane-two-lanes lane -DLANES=2 -DSLOTS=1 -DOTHERS=0 -DOPS=5
    run holds lane-barrier-fails lane -DBARRIER_FAILS -DSLOTS=1 -DARENAS=1
    run holds lane-misuse lane -DMISUSE -DOTHERS=1
    run holds lane-seq-cst lane -DSEQ_CST -DSLOTS=1 -DARENAS=1 -DROUNDS=3
    run holds lane-seq-cst-two-slots lane -DSEQ_CST -DOTHERS=1
    run holds lane-seq-cst-misuse lane -DSEQ_CST -DMISUSE -DSLOTS=1 -DARENAS=1 -DOTHERS=1

    local broken one=(-DSLOTS=1 -DARENAS=1 -DROUNDS=3)
    for broken in NO_BARRIER NO_RECHECK CHECK_FIRST READ_LATE NO_SEEN SEEN_VOID WANTED_STAYS NO_FORGET \
        NO_TICKET TICKET_NEWEST; do
        run fails "lane-$broken" lane -D$broken "${one[@]}"
    done
    for broken in NO_RECHECK CHECK_FIRST NO_SEEN SEEN_VOID; do
        run fails "lane-seq-cst-$broken" lane -DSEQ_CST -D$broken "${one[@]}"
    done
    run fails lane-HOME_UNSETTLED lane -DHOME_UNSETTLED -DARENAS=3 -DOTHERS=1 -DROUNDS=1
    run fails lane-misuse-EVICT_SEEN lane -DMISUSE -DEVICT_SEEN -DSLOTS=1 -DARENAS=1 -DOTHERS=1
    run fails lane-seq-cst-misuse-EVICT_UNREVOKED lane -DSEQ_CST -DMISUSE -DEVICT_UNREVOKED -DSLOTS=1 \
        -DARENAS=1 -DOTHERS=1

    # Waiting.
    run holds waiter waiter -DWAITERS=3
    run holds waiter-timeouts waiter -DWAITERS=2 -DTIMEOUTS
    run holds waiter-async waiter -DWAITERS=2 -DTIMEOUTS -DASYNC=1 -DSPURIOUS=0
    run holds waiter-two-arenas waiter -DWAITERS=3 -DARENAS=2 -DSPURIOUS=0 -DROUNDS=1
    run holds waiter-pollers waiter -DPOLLERS=3
    run holds waiter-and-pollers waiter -DPOLLERS=2 -DWAITERS=1
    run holds waiter-closes waiter -DWAITERS=1 -DASYNC=1 -DPOLLERS=1 -DCLOSES
    for broken in WAKE_FIRST LOST_PARK PARK_STORES BARGE; do
        run fails "waiter-$broken" waiter -DWAITERS=3 -D$broken
    done
    run fails waiter-TIMEOUT_DROPS waiter -DWAITERS=2 -DTIMEOUTS -DTIMEOUT_DROPS
    run fails waiter-CANCEL_LATE waiter -DWAITERS=1 -DASYNC=1 -DCANCEL_LATE
    for broken in ARM_FIRST NO_SECOND_LOOK ARMED_RETURNS; do
        run fails "waiter-$broken" waiter -DPOLLERS=3 -D$broken
    done
    wait
}

all | tee "$tmp/log"
passed=$(grep -c '^PASS:' "$tmp/log")
failed=$(grep -c '^FAIL:' "$tmp/log")
counts "$passed" 0 "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
