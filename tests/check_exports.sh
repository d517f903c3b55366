#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the shared libraries export is what their version maps list and what the headers declare BP_API:
# nothing more, nothing less. libbumpool depends on libc alone, and the sonames are the expected ones.

set -u
LC_ALL=C
export LC_ALL

: "${top_srcdir:=.}" "${top_builddir:=.}" "${NM:=nm}" "${READELF:=readelf}" "${SANITIZER_FLAGS:=}"

library=$top_builddir/.libs/libbumpool.so
mimalloc_library=$top_builddir/.libs/libbumpool-mimalloc.so

if [ ! -e "$library" ]; then
    echo "no shared library was built"
    exit 77
fi
if ! $NM -D --defined-only "$library" >/dev/null; then
    echo "$NM cannot read $library"
    exit 77
fi

tmp=check_exports.tmp.$$
mkdir "$tmp" || exit 99
trap 'rm -rf "$tmp"' EXIT
failed=0

# exported LIBRARY, mapped MAP, declared: one function a line, sorted
exported() { $NM -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u; }
mapped() { sed -n 's/^    \(bp_[a-z0-9_]*\);$/\1/p' "$1" | sort; }
declared() {
    # A declaration may go on over several lines: join them up to the first parenthesis.
    cat "$top_srcdir/include/bumpool.h" "$top_srcdir"/include/bumpool/*.h \
        "$top_srcdir/include/bumpool/version.h.in" |
        sed '/^#/d' | tr '\n' ' ' |
        grep -oE 'BP_API [^();]*\(' | sed -E 's/ __attribute__//; s/.*[ *](bp_[a-z0-9_]+) *\($/\1/' | sort -u
}

# same WHAT FILE OTHER_WHAT OTHER_FILE
same() {
    if ! diff "$2" "$4" >"$tmp/diff"; then
        echo "FAIL: $1 (<) and $3 (>) differ:"
        grep '^[<>]' "$tmp/diff"
        failed=1
    fi
}

declared >"$tmp/declared"
grep -vx bp_backing_mimalloc "$tmp/declared" >"$tmp/declared.core"
grep -x bp_backing_mimalloc "$tmp/declared" >"$tmp/declared.mimalloc"
[ -s "$tmp/declared.core" ] || { echo "FAIL: found no BP_API declaration"; failed=1; }

# compare NAME LIBRARY DECLARED
compare() {
    map=$top_srcdir/src/$1.map
    mapped "$map" >"$tmp/mapped"
    exported "$2" >"$tmp/exported"
    same "the headers of $1" "$3" "its map" "$tmp/mapped"
    same "the map of $1" "$tmp/mapped" "its exported symbols" "$tmp/exported"
    if [ "$(grep -c ';$' "$map")" -ne $(($(wc -l <"$tmp/mapped") + 2)) ]; then
        echo "FAIL: src/$1.map: every function goes on a line of its own, four spaces in"
        failed=1
    fi
    if ! $READELF -d "$2" | grep -q "SONAME.*\[$1\.so\.0\]"; then
        echo "FAIL: the soname of $1 is not $1.so.0:"
        $READELF -d "$2" | grep SONAME
        failed=1
    fi
}

needed() { $READELF -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'; }

compare libbumpool "$library" "$tmp/declared.core"
for lib in $(needed "$library"); do
    case $lib in
    libc.so.* | libpthread.so.* | libc.musl-* | ld-linux*) ;;
    *)
        if [ -z "$SANITIZER_FLAGS" ]; then
            echo "FAIL: libbumpool needs $lib; it is to need libc alone"
            failed=1
        fi
        ;;
    esac
done
if ! $READELF -d "$library" | grep -q NODELETE; then
    echo "FAIL: libbumpool may be unloaded by dlclose: no -z nodelete"
    failed=1
fi

if [ -e "$mimalloc_library" ]; then
    compare libbumpool-mimalloc "$mimalloc_library" "$tmp/declared.mimalloc"
    if ! needed "$mimalloc_library" | grep -q '^libmimalloc'; then
        echo "FAIL: libbumpool-mimalloc does not need mimalloc's library"
        failed=1
    fi
else
    echo "libbumpool-mimalloc was not built: not checked"
fi

[ "$failed" -eq 0 ] && echo "$(wc -l <"$tmp/declared") functions: headers, maps and libraries agree"
exit "$failed"
