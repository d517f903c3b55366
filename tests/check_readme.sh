#!/bin/sh
# SPDX-License-Identifier: MIT
#
# README's example is examples/hello.c, byte for byte, from its first #include to its end; README gives
# the two commands. The example in README is the first block indented by four spaces, or fenced as
# ```c, that begins with #include <bumpool.h>; the block ends before the first line that is neither
# empty nor indented, or at the closing fence.

set -u
LC_ALL=C
export LC_ALL

: "${top_srcdir:=.}"

readme=$top_srcdir/README
example=$top_srcdir/examples/hello.c
tmp=check_readme.tmp.$$
mkdir "$tmp" || exit 99
trap 'rm -rf "$tmp"' EXIT
failed=0

awk '
    state == 2 { next }
    state == 0 && /^```c$/ { fenced = 1; next }
    state == 0 && fenced && /^```$/ { fenced = 0; next }
    state == 0 && /^    #include </ && !fenced { state = 1 }
    state == 0 && /^#include </ && fenced { state = 1 }
    state == 1 && fenced { if (/^```$/) state = 2; else print; next }
    state == 1 && /^    / { while (blank > 0) { print ""; blank-- } print substr($0, 5); next }
    state == 1 && /^$/ { blank++; next }
    state == 1 { state = 2 }
' "$readme" >"$tmp/readme.c"
sed -n '/^#include/,$p' "$example" >"$tmp/hello.c"

if [ ! -s "$tmp/readme.c" ]; then
    echo "FAIL: README has no block that begins with #include <...>"
    failed=1
elif ! diff "$tmp/readme.c" "$tmp/hello.c"; then
    echo "FAIL: README's example (<) is not examples/hello.c (>)"
    failed=1
fi
if ! grep -q '^#include <bumpool\.h>$' "$tmp/readme.c"; then
    echo "FAIL: README's example does not include <bumpool.h>"
    failed=1
fi

# And it does what it says.
for unit in 1 2 3; do
    echo "unit $unit begins with 0 bytes in use"
done >"$tmp/wanted"
if ! "${top_builddir:-.}/examples/hello" >"$tmp/printed" || ! diff "$tmp/wanted" "$tmp/printed"; then
    echo "FAIL: examples/hello prints (>) not what it should (<)"
    failed=1
fi

for target in demo check; do
    count=$(sed 's/^ *//; s/^\$ //; s/ *$//' "$readme" | grep -cxF "./bootstrap && make $target")
    if [ "$count" -ne 1 ]; then
        echo "FAIL: README has the command './bootstrap && make $target' on $count lines of its own, not on 1"
        failed=1
    fi
done

[ "$failed" -eq 0 ] && echo "$(wc -l <"$tmp/hello.c") lines of example, two commands"
exit "$failed"
