#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs below a folder of its own (DESTDIR), builds and runs a program against that through
# pkg-config as a user would, shared and static, and removes it again without a trace.

set -u
LC_ALL=C
export LC_ALL

: "${top_builddir:=.}" "${CC:=cc}" "${MAKE:=make}" "${PKG_CONFIG:=pkg-config}" "${SANITIZER_FLAGS:=}"

# The make that runs this test is not the one that installs: leave its job server alone.
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR

tmp=$(pwd)/check_install.tmp.$$
dest=$tmp/dest
mkdir "$tmp" "$dest" || exit 99
trap 'rm -rf "$tmp"' EXIT
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}

# run WHAT COMMAND...: shows the output when the command fails
run() {
    what=$1
    shift
    if ! "$@" >"$tmp/out" 2>&1; then
        fail "$what: $*"
        cat "$tmp/out"
        return 1
    fi
}

run install "$MAKE" -C "$top_builddir" DESTDIR="$dest" install || exit 1

pc=$(find "$dest" -name bumpool.pc)
[ -n "$pc" ] || { fail "bumpool.pc was not installed"; exit 1; }

# The prefix in the .pc files is the final one: pkg-config puts the sysroot before it.
PKG_CONFIG_PATH=${pc%/*}
PKG_CONFIG_SYSROOT_DIR=$dest
PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1
PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_ALLOW_SYSTEM_CFLAGS PKG_CONFIG_ALLOW_SYSTEM_LIBS
libdir=$dest$($PKG_CONFIG --variable=libdir bumpool | sed "s|^$dest||")

for header in bumpool.h bumpool/version.h bumpool/conformance.h; do
    [ -n "$(find "$dest" -path "*/include/$header")" ] || fail "$header was not installed"
done

cat >"$tmp/client.c" <<'END'
#include <bumpool.h>
#include <stdio.h>
#include <string.h>

#ifndef BACKING
#define BACKING NULL
#endif

int main(void)
{
    bp_pool *pool;
    bp_arena *a;

    if (strcmp(bp_version(), BP_VERSION_STRING) != 0)
        return 1;
    if (bp_pool_create(BACKING, NULL, &pool) != 0 || bp_pool_checkout(pool, &a) != 0)
        return 2;
    if (strcmp(bp_arena_printf(a, "%d", 42), "42") != 0)
        return 3;
    if (bp_pool_give_back(pool, a) != 0 || bp_pool_destroy(pool) != 0)
        return 4;
    puts(bp_version());
    return 0;
}
END

version=$($PKG_CONFIG --modversion bumpool)

# client WHAT FLAGS...: builds, runs, compares the version printed
client() {
    kind=$1
    shift
    # shellcheck disable=SC2086
    run "$kind: compile" $CC -std=c11 -Wall -Wextra -Werror $SANITIZER_FLAGS -o "$tmp/client" "$tmp/client.c" "$@" ||
        return
    run "$kind: run" env LD_LIBRARY_PATH="$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$tmp/client" || return
    [ "$(cat "$tmp/out")" = "$version" ] || fail "$kind: the program says $(cat "$tmp/out"), pkg-config $version"
    echo "$kind: built and run"
}

if [ -e "$libdir/libbumpool.so" ]; then
    # shellcheck disable=SC2046
    client shared $($PKG_CONFIG --cflags --libs bumpool)
    if [ -e "$libdir/libbumpool-mimalloc.so" ]; then
        # shellcheck disable=SC2046
        client "shared, mimalloc" -DBACKING='bp_backing_mimalloc()' $($PKG_CONFIG --cflags --libs bumpool-mimalloc)
    fi
fi
if [ -e "$libdir/libbumpool.a" ] && [ -z "$SANITIZER_FLAGS" ]; then
    echo 'int main(void) { return 0; }' >"$tmp/static.c"
    # shellcheck disable=SC2046
    if $CC -static -pthread -o "$tmp/static" "$tmp/static.c" 2>/dev/null; then
        client static -static $($PKG_CONFIG --static --cflags --libs bumpool)
    else
        client "static, libc shared" $($PKG_CONFIG --static --cflags bumpool) "$libdir/libbumpool.a" -pthread
    fi
fi

run uninstall "$MAKE" -C "$top_builddir" DESTDIR="$dest" uninstall
left=$(find "$dest" ! -type d)
[ -z "$left" ] || fail "uninstall left behind: $left"
[ -z "$(find "$dest" -type d -path '*/include/bumpool')" ] || fail "uninstall left the folder include/bumpool behind"

exit "$failed"
