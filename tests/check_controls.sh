#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The negative controls of checked mode: each program of tests/misuse does one thing wrong, and must be
# caught in each mode that promises it, with a message that names it; done right, the same program must run
# clean. What was seen makes the table of doc/checked.md, which has to be the one that is there.
#
#     tests/check_controls.sh              compares
#     tests/check_controls.sh --rewrite    puts the table into doc/checked.md (`make controls-table`)
#
# What a run can be seen to do, first word of what a program's head expects:
#     at once   it was ended by the library, the tool or SIGSEGV in the misuse itself
#     later     the same, after the misuse
#     told      it said something on standard error and went on
#     error     the call failed, and the program said so (exit status 1)
#     no        nothing

set -u
LC_ALL=C
export LC_ALL

: "${top_srcdir:=.}" "${top_builddir:=.}" "${CC:=cc}" "${SANITIZER_FLAGS:=}"

modes="release check asan valgrind guard"
programs=$top_srcdir/tests/misuse
doc=$top_srcdir/doc/checked.md
limit=300 # seconds for one run, which takes one on a machine that has nothing else to do
asan_flags="-fsanitize=address -fno-omit-frame-pointer"

# Nothing of the caller's is to change what the library and the tools do.
unset BUMPOOL_CHECK VALGRIND_OPTS MALLOC_CHECK_ MALLOC_PERTURB_ GLIBC_TUNABLES
UBSAN_OPTIONS=
# A leak is not what these programs are about, and the tool that looks for them needs ptrace.
ASAN_OPTIONS=exitcode=99:detect_leaks=0
TSAN_OPTIONS=exitcode=99:report_thread_leaks=0:handle_segv=0
export ASAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS

if [ -e "$top_builddir/.libs/libbumpool.so" ]; then
    library=$top_builddir/.libs/libbumpool.so
    LD_LIBRARY_PATH=$top_builddir/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
else
    library=$top_builddir/.libs/libbumpool.a
fi

# compile SOURCE OUTPUT FLAGS...
compile() {
    source=$1 output=$2
    shift 2
    # shellcheck disable=SC2086
    $CC -std=c11 -g -O1 -Wall -Wextra -Werror "$@" -I"$top_builddir/include" -I"$top_srcdir/include" \
        -o "$output" "$source" "$library" -pthread
}

# run MODE BINARY ARGUMENT: leaves $tmp/NAME.out and .err, sets `status`
run() {
    mode=$1 binary=$2
    log=${2%.asan}
    shift 2
    case $mode in
    release) set -- env BUMPOOL_CHECK=none "$binary" "$@" ;;
    check) set -- env BUMPOOL_CHECK=poison,redzone,quarantine,fill "$binary" "$@" ;;
    guard) set -- env BUMPOOL_CHECK=guard,redzone,poison "$binary" "$@" ;;
    all) set -- env BUMPOOL_CHECK=all "$binary" "$@" ;;
    asan) set -- "$binary" "$@" ;;
    # The first error ends it, so that "at once" shows. A log of its own, for it may complain of debug
    # information that it cannot read.
    valgrind) set -- valgrind --quiet --log-file="$log.log" --error-exitcode=99 --exit-on-first-error=yes \
        "$binary" "$@" ;;
    esac
    # the outer redirection is for the shell, which says "Aborted"
    { timeout --kill-after=5 "$limit" "$@" >"$log.out" 2>"$log.err"; } 2>/dev/null
    status=$?
    if [ "$mode" = valgrind ] && [ "$status" -ne 0 ]; then
        cat "$log.log" >>"$log.err"
    fi
}

# one NAME: everything about one program; its cells go to $tmp/NAME.cells, what is wrong to $tmp/NAME.failed
one() {
    name=$1
    source=$programs/$name.c
    # shellcheck disable=SC3045
    ulimit -c 0 2>/dev/null # where the shell knows it
    complain() {
        echo "FAIL: $name, $*" >>"$tmp/$name.failed"
        sed 's/^/    /' "$tmp/$name.out" "$tmp/$name.err" >>"$tmp/$name.failed"
    }

    : >"$tmp/$name.out"
    # shellcheck disable=SC2086
    if ! compile "$source" "$tmp/$name" $SANITIZER_FLAGS 2>"$tmp/$name.err"; then
        complain "compile"
        return
    fi
    case " $columns " in
    *" asan "*)
        # shellcheck disable=SC2086
        if ! compile "$source" "$tmp/$name.asan" $asan_flags 2>"$tmp/$name.err"; then
            complain "compile with AddressSanitizer"
            return
        fi ;;
    esac

    for mode in $columns all; do
        binary=$tmp/$name
        [ "$mode" != asan ] || binary=$binary.asan
        run "$mode" "$binary" right
        if [ "$status" -ne 0 ] || [ -s "$tmp/$name.out" ] || [ -s "$tmp/$name.err" ]; then
            complain "$mode, done right: exit status $status, and it says:"
        fi
        [ "$mode" != all ] || continue

        expected=$(sed -n "s/^ \* $mode: *//p" "$source")
        run "$mode" "$binary" wrong
        when="at once"
        ! grep -qx "done" "$tmp/$name.out" || when=later
        case $status in
        0)  seen=no
            [ ! -s "$tmp/$name.err" ] || seen=told ;;
        1)  seen=error ;;
        99|134) seen=$when ;;
        139) seen=$when
            echo "SIGSEGV" >>"$tmp/$name.err" ;;
        *)  seen="exit status $status" ;;
        esac
        echo "$mode:$seen" >>"$tmp/$name.cells"
        case $expected in
        "$seen") [ "$seen" = no ] || complain "$mode: the head has no expression for what is to be said" ;;
        "$seen: "?*)
            grep -qE -e "${expected#"$seen: "}" "$tmp/$name.err" ||
                complain "$mode: \"${expected#"$seen: "}\" is not in what it says:" ;;
        *)  complain "$mode: expected \"$expected\", seen \"$seen\":" ;;
        esac
    done
    rm -f "$tmp/$name" "$tmp/$name.asan"
}

if [ $# -eq 3 ] && [ "$1" = --one ]; then
    tmp=$2
    columns=$(cat "$tmp/columns")
    one "$3"
    exit 0
fi

tmp=$(pwd)/check_controls.tmp.$$
mkdir "$tmp" || exit 99
trap 'rm -rf "$tmp"' EXIT
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}

# ---- which columns can be had ----

echo 'int main(void) { return 0; }' >"$tmp/empty.c"
cat >"$tmp/tool.c" <<'END'
#include <bumpool.h>
#include <stdio.h>

int main(void)
{
    puts(bp_check_tool() != NULL ? bp_check_tool() : "nothing");
    return 0;
}
END

columns=
skipped=
skip() {
    echo "SKIPPED: column $1: $2"
    skipped="$skipped $1"
}

# sees TOOL FLAGS COMMAND...: whether the library knows what it runs under
sees() {
    tool=$1 flags=$2
    shift 2
    : >"$tmp/tool"
    # shellcheck disable=SC2086
    compile "$tmp/tool.c" "$tmp/a.out" $flags >"$tmp/out" 2>&1 && "$@" "$tmp/a.out" >"$tmp/tool" 2>"$tmp/out"
    [ "$(cat "$tmp/tool")" != "$tool" ] || return 0
    fail "under $tool the library says that it sees: $(cat "$tmp/tool")"
    cat "$tmp/out"
}

for mode in $modes; do
    case $mode in
    asan)
        # shellcheck disable=SC2086
        if [ -n "$SANITIZER_FLAGS" ]; then
            skip asan "the library itself was built with $SANITIZER_FLAGS"
            continue
        elif ! compile "$tmp/empty.c" "$tmp/a.out" $asan_flags >"$tmp/out" 2>&1 ||
             ! "$tmp/a.out" >"$tmp/out" 2>&1; then
            skip asan "programs cannot be built with -fsanitize=address, or not run"
            continue
        fi
        sees AddressSanitizer "$asan_flags" ;;
    valgrind)
        if [ -n "$SANITIZER_FLAGS" ]; then
            skip valgrind "the library itself was built with $SANITIZER_FLAGS"
            continue
        elif ! grep -q '^#define HAVE_VALGRIND_MEMCHECK_H 1' "$top_builddir/config.h"; then
            skip valgrind "the library was built without Valgrind's headers"
            continue
        elif [ "${BP_SLOW:-0}" != 0 ]; then
            skip valgrind "BP_SLOW is set"
            continue
        elif ! valgrind --quiet --exit-on-first-error=yes --error-exitcode=99 true >"$tmp/out" 2>&1; then
            skip valgrind "there is no valgrind, or it cannot run"
            continue
        elif compile "$tmp/tool.c" "$tmp/a.out" >"$tmp/out" 2>&1 &&
             valgrind --quiet "$tmp/a.out" 2>&1 | grep -q 'Valgrind: debuginfo reader'; then
            skip valgrind "this valgrind cannot read the debug information that $CC writes"
            continue
        fi
        sees Valgrind "" valgrind --quiet ;;
    check|guard)
        case $SANITIZER_FLAGS in
        *address*)
            skip "$mode" "the library was built with AddressSanitizer, which sees things first"
            continue ;;
        esac ;;
    esac
    columns="$columns $mode"
done
echo "$columns" >"$tmp/columns"

# ---- run ----

if ! command -v timeout >/dev/null 2>&1; then
    echo "SKIPPED: no timeout(1)"
    exit 77
fi
# shellcheck disable=SC2012
names=$(cd "$programs" && ls -- *.c | sed 's/\.c$//')
export top_srcdir top_builddir CC SANITIZER_FLAGS
# shellcheck disable=SC2086
printf '%s\n' $names | xargs -n 1 -P 2 /bin/sh "$0" --one "$tmp"

count=0
for name in $names; do
    count=$((count + 1))
    if [ -s "$tmp/$name.failed" ]; then
        failed=1
        cat "$tmp/$name.failed"
    elif [ "$(grep -c : "$tmp/$name.cells")" -ne "$(wc -w <"$tmp/columns")" ]; then
        fail "$name was not run to its end"
    fi
done
echo "$count programs in$columns: done wrong and done right"

# ---- the table ----

# cell NAME MODE
cell() {
    case $(sed -n "s/^$2://p" "$tmp/$1.cells" 2>/dev/null) in
    "at once") echo "caught" ;;
    later) echo "caught later" ;;
    told) echo "told" ;;
    error) echo "error" ;;
    no) echo "no" ;;
    *) echo "?" ;;
    esac
}
# shellcheck disable=SC2016
{
    echo '| misuse | program | release | `BUMPOOL_CHECK` | ASan | Valgrind | guard |'
    echo '|---|---|---|---|---|---|---|'
    for name in $names; do
        what=$(sed -n '2s/^ \* \(.*\)\.$/\1/p' "$programs/$name.c")
        [ -n "$what" ] || fail "$name.c: the second line is no sentence that tells the misuse" >&2
        printf '| %s | `%s` |' "$what" "$name"
        for mode in $modes; do
            printf ' %s |' "$(cell "$name" "$mode")"
        done
        echo
    done
} >"$tmp/table"

begin='<!-- begin: tests/check_controls.sh -->' end='<!-- end: tests/check_controls.sh -->'
awk -v begin="$begin" -v end="$end" '
    $0 == end { inside = 0 }
    inside { print }
    $0 == begin { inside = 1 }' "$doc" >"$tmp/old"
[ -s "$tmp/old" ] || fail "doc/checked.md has no table between its markers"

# without the cells of skipped columns: nothing is known of them
masked() {
    awk -F'|' -v OFS='|' -v modes="$modes" -v skipped="$skipped" '
        BEGIN {
            n = split(modes, mode, " ")
            for (i = split(skipped, out, " "); i > 0; i--) skip[out[i]]
        }
        { for (i = 1; i <= n; i++) if (mode[i] in skip) $(i + 3) = "" }
        { print }' "$1"
}
if [ "${1:-}" = --rewrite ]; then
    if [ -n "$skipped" ] || [ "$failed" -ne 0 ]; then
        echo "doc/checked.md is left as it was: all columns are needed, and no failure"
        exit 1
    fi
    awk -v begin="$begin" -v end="$end" -v table="$tmp/table" '
        $0 == end { inside = 0 }
        !inside { print }
        $0 == begin { inside = 1; while ((getline line <table) > 0) print line }' "$doc" >"$tmp/doc" &&
        cp "$tmp/doc" "$doc"
    exit
fi
masked "$tmp/old" >"$tmp/old.masked"
masked "$tmp/table" >"$tmp/new.masked"
if ! diff "$tmp/old.masked" "$tmp/new.masked" >"$tmp/diff"; then
    fail "the table in doc/checked.md (<) is not what was seen (>); \`make controls-table\` rewrites it:"
    cat "$tmp/diff"
fi

exit "$failed"
