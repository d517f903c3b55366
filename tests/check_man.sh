#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The man pages are good mdoc, and every function that a library exports, but for what is internal, is in
# the NAME and the SYNOPSIS of a page of section 3.

set -u
LC_ALL=C
export LC_ALL

: "${top_srcdir:=.}"

tmp=check_man.tmp.$$
mkdir "$tmp" || exit 99
trap 'rm -rf "$tmp"' EXIT
failed=0

cat "$top_srcdir"/src/*.map | sed -n 's/^    \(bp_[a-z0-9_]*\);$/\1/p' | sort -u >"$tmp/exported"
cat "$top_srcdir"/man/*.3 | sed -n 's/^\.Nm \(bp_[a-z0-9_]*\).*/\1/p' | sort -u >"$tmp/named"
cat "$top_srcdir"/man/*.3 | sed -nE 's/^\.F[no] "?([a-z_]+ [a-z_ *]*)?(bp_[a-z0-9_]+).*/\2/p' | sort -u >"$tmp/declared"
[ -s "$tmp/exported" ] || { echo "FAIL: found no exported function"; failed=1; }

# Exported only because the inline functions of pool.h and buckets.h need them in the program: the way to a
# thread's lane, and the ways out when the lane does not do. No program uses them itself.
sort -u >"$tmp/internal" <<'END'
bp_buckets_get_first
bp_buckets_get_revoked
bp_buckets_get_slow
bp_buckets_put_slow
bp_lane_offset
bp_pool_checkout_revoked
bp_pool_checkout_slow
bp_pool_give_back_revoked
bp_pool_give_back_slow
END
for function in $(comm -13 "$tmp/exported" "$tmp/internal"); do
    echo "FAIL: $function is excepted here, but not exported"
    failed=1
done
comm -23 "$tmp/exported" "$tmp/internal" >"$tmp/public"

for where in named declared; do
    for function in $(comm -23 "$tmp/public" "$tmp/$where"); do
        echo "FAIL: $function is $where on no man page"
        failed=1
    done
    for function in $(comm -12 "$tmp/internal" "$tmp/$where"); do
        echo "FAIL: $function is internal, but $where on a man page"
        failed=1
    done
done

if command -v mandoc >/dev/null 2>&1; then
    for page in "$top_srcdir"/man/*.[1-9]; do
        if ! mandoc -Tlint -Wwarning "$page" >"$tmp/out" 2>/dev/null; then
            echo "FAIL: ${page##*/}:"
            cat "$tmp/out"
            failed=1
        fi
    done
else
    echo "mandoc is not there: the pages were not checked as mdoc"
    [ "$failed" -ne 0 ] || exit 77
fi

[ "$failed" -eq 0 ] && echo "$(wc -l <"$tmp/public") functions on the pages"
exit "$failed"
