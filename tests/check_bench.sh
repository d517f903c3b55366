#!/bin/sh
# SPDX-License-Identifier: MIT
# bumpool-bench commits: small repositories and traces of every kind, good and bad. bumpool-bench pool and
# buffers: a short run of all cases. The program is taken from $BUMPOOL_BENCH. What this build or machine lacks (git,
# libgit2, ptrace, a full device) is skipped, and said.

bench=${BUMPOOL_BENCH:-./bumpool-bench}
case $bench in
/*) ;;
*) bench=$PWD/$bench ;;
esac
if [ ! -x "$bench" ]; then
    echo "check_bench: $bench is not there" >&2
    exit 1
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tmp" || exit 1

failures=0
fail()
{
    echo "FAIL: $*"
    if [ -s err ]; then
        sed 's/^/    stderr: /' err
    fi
    failures=$((failures + 1))
}

skip()
{
    echo "SKIPPED: $*"
}

# expect STATUS NAME ARGUMENT...: runs `bumpool-bench $subcommand ARGUMENT...` into the files out and err. No
# failure may pass in silence or end by a signal (a status above 128).
subcommand=commits
expect()
{
    wanted=$1
    name=$2
    shift 2
    "$bench" "$subcommand" "$@" >out 2>err
    got=$?
    if [ "$got" -ne "$wanted" ]; then
        fail "$name: exit status $got, not $wanted"
        return 1
    fi
    if [ "$wanted" -ne 0 ] && [ "$(wc -l <err)" -ne 1 ]; then
        fail "$name: not one line on standard error"
        return 1
    fi
    return 0
}

fast='--quick --rounds 3' # of three, one stray page fault is not the median

# ---- CSV and JSON ----

contestants='limit bumpool-malloc bumpool-mmap bumpool-reserved bumpool-buffer mmap-fresh malloc'
if "$bench" commits --help | grep -q 'mimalloc .*left out'; then
    skip 'mimalloc was left out of this build'
else
    contestants="$contestants bumpool-mimalloc mimalloc mimalloc-heap"
fi

# check_csv FILE CASE: the header; all metrics of all contestants; numbers in order; limit is once limit.
check_csv()
{
    awk -F, -v wanted_case="$2" -v contestants="$contestants" '
        function bad(why) { print "line " NR ": " why ": " $0; wrong = 1 }
        BEGIN {
            metrics = "ns_per_unit ns_per_alloc ratio_to_limit ratio_to_malloc minor_faults_per_unit"
            metrics = metrics " syscalls_per_unit peak_rss_kib"
            metric_count = split(metrics, metric, " ")
            contestant_count = split(contestants, contestant, " ")
        }
        NR == 1 { if ($0 != "workload,case,contestant,metric,median,min,max") bad("header"); next }
        NF != 7 { bad("not 7 fields") }
        $1 != "commits" { bad("workload") }
        $2 != wanted_case { next }
        seen[$3, $4]++ { bad("twice") }
        $5 == "" && $4 !~ /^(syscalls_per_unit|peak_rss_kib)$/ { bad("no figure") }
        $5 != "" && $5 !~ /^[0-9]+(\.[0-9]+)?$/ { bad("no number") }
        $5 != "" && ($5 + 0 < $6 + 0 || $5 + 0 > $7 + 0) { bad("figures") }
        $4 ~ /^ns_/ && $5 + 0 <= 0 { bad("no time") }
        ($3 == "limit" && $4 == "ratio_to_limit") || ($3 == "malloc" && $4 == "ratio_to_malloc") {
            if ($5 != 1 || $6 != 1 || $7 != 1) bad("not once itself")
        }
        END {
            for (i = 1; i <= contestant_count; i++)
                for (k = 1; k <= metric_count; k++)
                    if (!((contestant[i], metric[k]) in seen)) {
                        print "no row for " wanted_case ", " contestant[i] ", " metric[k]
                        wrong = 1
                    }
            exit wrong
        }' "$1" || fail "$1: case $2"
}

# figure FILE CASE CONTESTANT METRIC: the median
figure()
{
    awk -F, -v k="commits,$2,$3,$4," 'index($0, k) == 1 { print $5 }' "$1"
}

check_json()
{
    if command -v python3 >/dev/null 2>&1; then
        python3 - "$1" <<'PYTHON' || fail "$1: not the JSON it should be"
import json, sys
with open(sys.argv[1], encoding="utf-8") as f:
    data = json.load(f)
assert data["environment"]["bumpool"]
assert data["cases"] and all(len(c["digest"]) == 16 for c in data["cases"])
cases = {c["case"] for c in data["cases"]}
assert data["rows"] and all(r["case"] in cases and "median" in r for r in data["rows"])
PYTHON
    else
        [ "$(grep -c '"metric":' "$1")" -gt 0 ] && [ "$(tail -n 1 "$1")" = '}' ] || fail "$1: not JSON"
    fi
}

# Recycled memory: no fault and no system call in a whole pass. Sanitizers have reasons for both.
check_steady()
{
    if grep -q 'built with a sanitizer' out; then
        skip "$1: faults and system calls: built with a sanitizer"
        return
    fi
    for c in bumpool-malloc bumpool-mmap bumpool-reserved bumpool-buffer; do
        value=$(figure "$1" "$2" $c minor_faults_per_unit)
        [ "$value" = 0.000000 ] || fail "$1: $2: $c: $value faults per unit"
        value=$(figure "$1" "$2" $c syscalls_per_unit)
        case $value in
        0.000000) ;;
        '') skip 'system calls are not counted here: ptrace is not permitted' ;;
        *) fail "$1: $2: $c: $value system calls per unit" ;;
        esac
    done
    value=$(figure "$1" "$2" mmap-fresh syscalls_per_unit)
    case $value in
    '' | [2-9]* | [1-9][0-9]*) ;;
    *) fail "$1: $2: mmap-fresh makes $value system calls per unit, which cannot be" ;;
    esac
}

# ---- use ----

expect 0 'help' --help && grep -q -e '--trace' out || fail 'help: not on standard output'
expect 2 'unknown option' --nonsense
expect 2 'argument' nonsense
expect 2 'no number' --rounds many
expect 2 'rounds 0' --rounds 0
expect 2 'negative number' --max -1
expect 2 'number with a tail' --max 10x
expect 2 'huge number' --max 99999999999999999999999
expect 2 'unknown contestant' --only limit,nobody
expect 2 'empty contestant' --only ''
expect 2 'record without a repository' --trace t --record r
"$bench" >out 2>err
[ $? -eq 2 ] || fail 'no subcommand'
"$bench" nonsense >out 2>err
[ $? -eq 2 ] || fail 'unknown subcommand'

# ---- traces ----

magic='UNITTRACE1\n'
trace()
{
    printf "$magic$2" >"$1"
}

trace good '\003\003\020\001\200\004\000\002\200\200\004\377\001'
expect 0 'good trace' $fast --trace good --csv good.csv --json good.json
check_csv good.csv replay:good
check_json good.json
check_steady good.csv replay:good
grep -q '^3 commits, 5 allocations, 66320 bytes' out || fail 'good trace: counts'

if command -v xz >/dev/null 2>&1; then
    odd='odd name; $(touch oops) "x".unittrace.xz'
    xz -k -c good >"$odd"
    expect 0 'xz, odd name' $fast --only limit --trace "$odd" --json odd.json --csv odd.csv
    [ ! -e oops ] || fail 'a file name was run by a shell'
    check_json odd.json
    grep -q '^commits,"replay:odd name; $(touch oops) ""x""",limit,' odd.csv || fail 'CSV quoting'
    xz -c good | head -c 40 >cut.xz
    expect 2 'cut xz' --trace cut.xz
    printf 'something else' | xz -c >other.xz
    expect 2 'xz of something else' --trace other.xz
    (PATH=/nonexistent && export PATH && exec "$bench" commits --trace "$odd") 2>err
    [ $? -eq 2 ] && grep -q 'cannot run xz' err || fail 'no xz to run'
else
    skip 'no xz'
fi

expect 0 'same name twice' $fast --only limit,malloc --trace good --trace ./good --csv twice.csv
grep -q '^commits,replay:good-2,limit,' twice.csv || fail 'same name twice: cases'

# A zero size is replayed, a unit without allocations too.
trace zeros '\002\002\000\000\000'
expect 0 'zero sizes' $fast --trace zeros --csv zeros.csv && check_csv zeros.csv replay:zeros
trace nothing '\001\000'
expect 0 'no allocations' $fast --trace nothing --csv nothing.csv
grep -q '^commits,replay:nothing,malloc,ns_per_alloc,,,$' nothing.csv || fail 'no allocations: figures'

: >empty
printf 'UNITTR' >short
printf 'UNITTRACE2\n\001\001\020' >version
trace no-units '\000'
trace no-count ''
trace cut-count '\001\200'
trace cut-sizes '\002\003\020\020'
trace count-overflow '\001\377\377\377\377\377\377\377\377\377\001\020'
trace units-overflow '\377\377\377\377\377\377\377\377\377\001\001\020'
trace too-many-units '\200\200\200\200\020\001\020'
trace long-number '\001\001\200\200\200\200\200\200\200\200\200\200\200\001'
trace wide-number '\001\001\377\377\377\377\377\377\377\377\377\177'
trace huge-size '\001\001\200\200\200\200\200\200\001'
trace huge-unit '\001\003\200\200\200\100\200\200\200\100\200\200\200\100'
trace junk '\001\001\020\000'
for t in empty short version no-units no-count cut-count cut-sizes count-overflow units-overflow \
    too-many-units long-number wide-number huge-size huge-unit junk nosuchfile .; do
    expect 2 "trace $t" --trace $t
done
[ ! -c /dev/zero ] || expect 2 'endless trace' --trace /dev/zero
expect 2 'good, then bad' $fast --trace good --trace junk --csv never.csv
[ ! -e never.csv ] || fail 'a file was made for nothing'

# Cut anywhere, the trace must be refused, never crash.
size=$(wc -c <good)
i=0
while [ $i -lt $((size)) ]; do
    head -c $i good >part
    expect 2 "trace of $i bytes" --trace part
    i=$((i + 1))
done

# ---- outputs ----

expect 0 'CSV on standard output' $fast --trace good --csv -
cp out piped.csv
check_csv piped.csv replay:good
grep -q '^limit ' err || fail 'CSV on standard output: no table on standard error'
expect 0 'JSON on standard output' $fast --trace good --json -
cp out piped.json
check_json piped.json
expect 2 'two on standard output' $fast --trace good --csv - --json -
expect 1 'no such folder' $fast --trace good --csv nosuchfolder/x.csv
if [ -c /dev/full ]; then
    expect 1 'full disk, CSV' $fast --trace good --csv /dev/full
    expect 1 'full disk, JSON' $fast --trace good --json /dev/full
    for option in '' '--csv -' '--json -' --help; do
        # shellcheck disable=SC2086
        "$bench" commits $fast --only limit --trace good $option >/dev/full 2>err
        [ $? -eq 1 ] && grep -q 'cannot write' err || fail "full standard output ($option)"
    done
else
    skip 'no /dev/full'
fi

# ---- pool ----

# check_pool_csv FILE: figures in order, and a row for each of the lines "CASE,CONTESTANT" on standard input.
check_pool_csv()
{
    awk -F, -v workload=$subcommand '
        function bad(why) { print "line " NR ": " why ": " $0; wrong = 1 }
        NR == FNR { wanted[$1 "," $2] = 1; next }
        FNR == 1 { if ($0 != "workload,case,contestant,metric,median,min,max") bad("header"); next }
        NF != 7 || $1 != workload { bad("fields") }
        seen[$2, $3, $4]++ { bad("twice") }
        $5 !~ /^[0-9]+\.[0-9]+$/ && $4 !~ /^ms_/ { bad("no number") }
        $6 + 0 > $5 + 0 || $5 + 0 > $7 + 0 { bad("figures") }
        $4 ~ /ns_per_pair$|^handoff_us$/ && $5 + 0 <= 0 { bad("no time") }
        $4 == "ratio_to_" $3 || ($4 == "ratio_to_1_thread" && $2 ~ /:1 thread/) {
            if ($5 != 1 || $6 != 1 || $7 != 1) bad("not once itself")
        }
        $4 ~ /ns_per_pair$|^handoff_us$/ { delete wanted[$2 "," $3] }
        END {
            for (row in wanted) { print "no row for " row; wrong = 1 }
            exit wrong
        }' - "$1" || fail "$1: not the rows it should have"
}

# pool_rows CASE CONTESTANT...: a line for each.
pool_rows()
{
    pool_case=$1
    shift
    printf "$pool_case,%s\n" "$@"
}

subcommand=pool
expect 0 'pool: help' --help && grep -q -e '--threads' out || fail 'pool: help: not on standard output'
allocators='malloc'
for c in mimalloc apr; do
    if grep -q "^  $c .*left out" out; then
        skip "$c was left out of this build"
    else
        allocators="$allocators $c"
    fi
done
expect 2 'pool: unknown option' --nonsense
expect 2 'pool: argument' nonsense
expect 2 'pool: no number' --rounds many
expect 2 'pool: rounds 0' --rounds 0
expect 2 'pool: threads 0' --threads 0
expect 2 'pool: too many threads' --threads 65
expect 2 'pool: negative number' --services -1
expect 2 'pool: number with a tail' --pairs 10x
expect 2 'pool: huge number' --pairs 99999999999999999999999
expect 2 'pool: unknown case' --case pair,nothing
expect 2 'pool: unknown contestant' --only nobody
expect 2 'pool: empty contestant' --only ''
expect 2 'pool: pairs of two' --pairs 10 --only mutex --only bumpool
expect 2 'pool: pairs of what has none' --pairs 10 --only futex
expect 1 'pool: no such folder' --csv nosuchfolder/x.csv
for c in bumpool mutex; do
    expect 0 "pool: pairs of $c" --pairs 1000 --only $c && [ ! -s out ] || fail "pool: pairs of $c: output"
done
expect 0 'pool: a case without its contestant' --quick --case order --only mutex
grep -q '^order: none of the chosen contestants' out || fail 'pool: a case without its contestant: not said'

expect 0 'pool: all cases' --quick --rounds 2 --services 200 --csv pool.csv
grep -q '^verified: 200 services in the order of arrival' out || fail 'pool: order of service'
grep -q '^RSS: .* at most; ' out || grep -q '^shrink: skipped' out || fail 'pool: shrink'
grep -q '^target: bumpool, 1 thread, x mutex <= 0.30: ' out || fail 'pool: no targets'
{
    # shellcheck disable=SC2086
    for threads in '1 thread' '2 threads'; do
        pool_rows "pair:$threads" local bumpool bumpool-call mutex treiber $allocators
        pool_rows "held:$threads newest first" local bumpool bumpool-call mutex treiber $allocators
        pool_rows "held:$threads oldest first" local bumpool bumpool-call mutex treiber $allocators
    done
    pool_rows 'share:2 threads' bumpool bumpool-wait mutex treiber
    for count in 1 100 10000 100000; do
        pool_rows "idle:$count idle" bumpool
        [ $count -eq 1 ] || pool_rows "idle:64 held of $count" bumpool
    done
    pool_rows 'pools:1 pool' bumpool
    pool_rows 'pools:8 pools' bumpool
    pool_rows 'pools:64 pools' bumpool
    if grep -q '^handoff: skipped' out; then
        skip 'pool: handoff: one processor' >&2
    else
        for us in 5 50 500; do
            pool_rows "handoff:held $us us" bumpool-wait futex
        done
    fi
} | check_pool_csv pool.csv
expect 0 'pool: CSV on standard output' --quick --rounds 1 --case pair --only mutex --only local --csv -
cp out piped.csv
pool_rows 'pair:2 threads' mutex local | check_pool_csv piped.csv

# ---- buffers ----

subcommand=buffers
expect 0 'buffers: help' --help && grep -q -e '--size' out || fail 'buffers: help: not on standard output'
ours='pool pool-alloc bumpool quarter pool-call bumpool-call'
others=mutex
for c in malloc mimalloc; do
    if grep -q "^  $c .*left out" out; then
        skip "buffers: $c was left out of this build"
    else
        others="$others $c"
    fi
done
expect 2 'buffers: unknown option' --services 10
expect 2 'buffers: argument' nonsense
expect 2 'buffers: size 0' --size 0
expect 2 'buffers: size too large' --size 67108865
expect 2 'buffers: threads 0' --threads 0
expect 2 'buffers: unknown case' --case pair
expect 2 'buffers: unknown contestant' --only treiber
expect 2 'buffers: pairs of two' --pairs 10 --only pool,bumpool
expect 1 'buffers: no such folder' --csv nosuchfolder/x.csv
for c in $ours $others; do
    expect 0 "buffers: pairs of $c" --pairs 1000 --size 100000 --only "$c" && [ ! -s out ] ||
        fail "buffers: pairs of $c: output"
done

# Sanitizers make 64 MiB of anything slow: there one size has to do.
if [ -n "${SANITIZER_FLAGS:-}" ]; then
    expect 0 'buffers: one size' --quick --rounds 1 --case size,steady --size 100000 --csv buffers.csv
    skip 'buffers: all cases: the program is sanitized'
else
expect 0 'buffers: all cases' --quick --rounds 1 --csv buffers.csv
! grep -q '^refused' out || fail "buffers: $(grep '^refused' out)"
grep -q '^target: bumpool, x pool <= 1.50: ' out || fail 'buffers: no targets'
{
    for touch in untouched 'ends written'; do
        for threads in '1 thread' '2 threads'; do
            for size in '64 B' '1 KiB' '16 KiB' '256 KiB' '4 MiB' '64 MiB'; do
                # shellcheck disable=SC2086
                pool_rows "size:$threads $touch $size" $ours $others
            done
            for size in '64 B .. 64 KiB' '64 B .. 1 MiB' '64 B .. 64 MiB'; do
                # shellcheck disable=SC2086
                pool_rows "mixed:$threads $touch $size" $ours $others
            done
            for order in newest oldest; do
                for size in '256 B' '4 KiB' '64 KiB' '1 MiB' '64 B .. 1 MiB'; do
                    # shellcheck disable=SC2086
                    pool_rows "held:$threads $touch $order first $size" $ours $others
                done
            done
        done
    done
} | check_pool_csv buffers.csv

# median CASE CONTESTANT METRIC
median()
{
    awk -F, -v k="buffers,$1,$2,$3," 'index($0, k) == 1 { print $5 }' buffers.csv
}

# No system call after warm-up, and no more page faults than the machine's own.
counted=true
for size in '64 B' '256 B' '1 KiB' '4 KiB' '16 KiB' '64 KiB' '256 KiB' '1 MiB' '4 MiB' '16 MiB' '64 MiB' \
    '64 B .. 1 MiB' '64 B .. 1 MiB 8 held'; do
    for c in $ours mutex; do
        case $(median "steady:$size" "$c" faults_per_pair) in
        0.00[0-9]*) ;;
        *) fail "buffers: $size: $c: $(median "steady:$size" "$c" faults_per_pair) faults per pair" ;;
        esac
        case $(median "steady:$size" "$c" syscalls_per_pair) in
        0.0000) ;;
        '') counted=false ;;
        *) fail "buffers: $size: $c: $(median "steady:$size" "$c" syscalls_per_pair) system calls per pair" ;;
        esac
    done
done
if ! $counted; then
    skip 'buffers: system calls are not counted here: ptrace is not permitted'
elif [ "$others" != mutex ]; then # malloc maps what is above 32 MiB, so they are seen where there are some
    case $(median 'steady:64 MiB' malloc syscalls_per_pair) in
    [2-9].*) ;;
    *) skip "buffers: malloc makes $(median 'steady:64 MiB' malloc syscalls_per_pair) system calls for 64 MiB" ;;
    esac
fi
for c in $ours $others; do
    case $(median 'kept:64 B .. 1 MiB' "$c" kept_rss_kib) in
    '') fail "buffers: kept: $c" ;;
    esac
done
fi

# 64 MiB that are not to be had: a line, and the rest goes on. Sanitizers cannot run in so little.
if (ulimit -v 90000 && "$bench" --version) >out 2>err; then
    (ulimit -v 90000 && exec "$bench" buffers --quick --rounds 1 --threads 1 --case size,steady --size 67108864) \
        >out 2>err || fail 'buffers: refusals: exit status'
    for c in bumpool malloc; do
        [ "$(grep -c "^refused: $c, 64 MiB" out)" -ge 1 ] || fail "buffers: refusals: nothing about $c"
    done
else
    skip 'buffers: refusals: the program does not run in 90 MB'
fi
expect 0 'buffers: CSV on standard output' --quick --rounds 1 --case size --size 5000 --only quarter --csv -
cp out piped.csv
pool_rows 'size:2 threads ends written 5000 B' quarter | check_pool_csv piped.csv
subcommand=commits

# ---- repositories ----

if ! command -v git >/dev/null 2>&1; then
    skip 'no git: nothing to walk'
    [ $failures -eq 0 ] && exit 77
    exit 1
fi
if "$bench" commits --quick --rounds 1 --only limit --trace good | grep -q 'libgit2 left out'; then
    skip 'this build has no libgit2'
    expect 2 'repository without libgit2' --repo .
    [ $failures -eq 0 ] && exit 77
    exit 1
fi

HOME=$tmp
GIT_CONFIG_NOSYSTEM=1
GIT_AUTHOR_NAME='A U Thor'
GIT_AUTHOR_EMAIL=author@example.org
GIT_COMMITTER_NAME='C O Mitter'
GIT_COMMITTER_EMAIL=committer@example.org
export HOME GIT_CONFIG_NOSYSTEM GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
unset GIT_CEILING_DIRECTORIES GIT_NAMESPACE GIT_CONFIG_GLOBAL GIT_DEFAULT_HASH XDG_CONFIG_HOME

date=1700000000
commit()
{
    date=$((date + 60))
    GIT_AUTHOR_DATE="$date +0000" GIT_COMMITTER_DATE="$date +0000" git -C normal commit -q -m "$1" ||
        fail 'git commit'
}

{
    git init -q normal &&
        git -C normal checkout -q -b trunk &&
        mkdir -p normal/src/deep &&
        printf 'one\ntwo\nthree\n' >normal/src/deep/a.c &&
        printf 'hello\n' >normal/README &&
        printf '\000\001\002binary\000' >normal/blob.bin &&
        git -C normal add -A
} >git.log 2>&1 || fail 'git setup'
commit 'root

with a body
of two lines'
printf 'one\n2\nthree\nfour\n' >normal/src/deep/a.c
printf '\000\001\003binary\000' >normal/blob.bin
git -C normal add -A
commit 'change text and binary'
git -C normal mv src/deep/a.c src/b.c
commit 'rename'
git -C normal checkout -q -b side HEAD~1
printf 'side\n' >normal/side.txt
git -C normal add -A
commit 'on the side'
git -C normal checkout -q trunk
ln -s README normal/link
git -C normal add -A
commit 'a symbolic link'
GIT_COMMITTER_DATE="$((date + 60)) +0000" GIT_AUTHOR_DATE="$((date + 60)) +0000" \
    git -C normal merge -q --no-ff -m merge side >git.log 2>&1 || fail 'git merge'
date=$((date + 120))
git -C normal rm -q README
commit 'delete'
i=0
mkdir normal/many
while [ $i -lt 60 ]; do
    echo $i >"normal/many/file $i.$((i % 7))"
    i=$((i + 1))
done
git -C normal add -A
commit 'many files'

commits=$(git -C normal rev-list --count HEAD)
# shellcheck disable=SC2086
expect 0 'normal repository' $fast --repo normal --record normal.trace --csv normal.csv --json normal.json
check_csv normal.csv live
check_csv normal.csv replay
check_json normal.json
check_steady normal.csv replay
[ "$(grep -c "^$commits commits, " out)" -eq 2 ] || fail 'normal repository: number of commits'
grep '^[0-9]* commits, ' out | sed -n 2p >before
live=$(grep '^[0-9]* commits, ' out | sed -n '1s/.*digest \([0-9a-f]*\);.*/\1/p')

# What was recorded is replayed as the same trace, and recorded again the same.
expect 0 'recorded trace' $fast --trace normal.trace
grep '^[0-9]* commits, ' out >after
cmp -s before after || fail "record and replay differ: $(cat before) / $(cat after)"
expect 0 'record again' $fast --only limit --repo normal --record again.trace
cmp -s normal.trace again.trace || fail 'two recordings of the same history differ'

(cd normal/src && "$bench" commits --quick --rounds 1 --only limit >../../out 2>../../err) ||
    fail 'repository of the current directory'
expect 0 'max' $fast --only limit,malloc --repo normal --max 3
[ "$(grep -c '^3 commits, ' out)" -eq 2 ] || fail 'max: number of commits'

git clone -q --bare normal bare.git >git.log 2>&1 || fail 'git clone --bare'
expect 0 'bare clone' $fast --only limit,bumpool-mmap --repo bare.git
[ "$(grep '^[0-9]* commits, ' out | sed -n '1s/.*digest \([0-9a-f]*\);.*/\1/p')" = "$live" ] ||
    fail 'bare clone: another result than the original'

git -C normal checkout -q HEAD~1
expect 0 'detached HEAD' $fast --only limit --repo normal
git -C normal checkout -q trunk

if git clone -q --depth 2 "file://$tmp/normal" shallow >git.log 2>&1; then
    expect 0 'shallow clone' $fast --repo shallow --csv shallow.csv
    check_csv shallow.csv live
    grep -q '^2 commits, ' out || fail 'shallow clone: number of commits'
    grep -q 'shallow' out || fail 'shallow clone: not said'
else
    skip 'git cannot make a shallow clone here'
fi

mkdir 'odd "name\'
git clone -q normal 'odd "name\/a,b' >git.log 2>&1 || fail 'git clone'
expect 0 'odd path' $fast --only limit --repo 'odd "name\/a,b' --csv odd.csv --json odd.json
check_json odd.json

git init -q unborn >git.log 2>&1
expect 2 'no commits' --repo unborn
git init -q --bare unborn.git >git.log 2>&1
expect 2 'no commits, bare' --repo unborn.git
mkdir plain
expect 2 'not a repository' --repo plain
expect 2 'no such folder' --repo nosuchfolder
expect 2 'a file' --repo good
cp -r bare.git broken.git
find broken.git/objects -type f -exec rm -f {} +
expect 2 'no objects' --repo broken.git
if [ "$(id -u)" -ne 0 ]; then
    cp -r bare.git locked.git
    chmod 0 locked.git
    expect 2 'unreadable' --repo locked.git
    chmod 700 locked.git
else
    skip 'an unreadable repository: root reads everything'
fi
[ ! -c /dev/full ] || expect 1 'full disk, record' $fast --only limit --repo normal --record /dev/full

# ---- choices ----

"$bench" choices --pairs 10 >out 2>err || fail 'choices --pairs'
if "$bench" choices good >out 2>err; then
    [ "$(grep -c '(chosen)' out)" -eq 2 ] || fail 'choices: two tables'
elif grep -q 'without membarrier' err; then
    skip 'choices: no seccomp here'
else
    fail 'choices'
fi
"$bench" choices nosuchfile >out 2>err
[ $? -eq 2 ] || fail 'choices: no such trace'

if [ $failures -ne 0 ]; then
    echo "check_bench: $failures failures"
    exit 1
fi
echo 'check_bench: all good'
exit 0
