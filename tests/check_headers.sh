#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The headers compile without a warning as C and as C++, with every compiler at hand; a part of them
# included alone says that it must not be.

set -u
LC_ALL=C
export LC_ALL

: "${top_srcdir:=.}" "${top_builddir:=.}" "${CC:=cc}" "${CXX:=}"

tmp=check_headers.tmp.$$
mkdir "$tmp" || exit 99
trap 'rm -rf "$tmp"' EXIT
failed=0
compiled=0

includes="-I$top_builddir/include -I$top_srcdir/include"
warnings="-Wall -Wextra -Wconversion -Wsign-conversion -Wpointer-arith -Wcast-qual -pedantic -Werror"
c_warnings="-Wshadow -Wstrict-prototypes -Wmissing-prototypes" # C++ takes a function named like a struct for a shadow

fail() {
    echo "FAIL: $*"
    failed=1
}

# Every macro and every inline function, in the language that C and C++ share.
cat >"$tmp/user.inc" <<'END'
#include <bumpool.h>
#include <bumpool.h> /* twice does no harm */

#if !defined BP_VERSION_MAJOR || !defined BP_VERSION_MINOR || !defined BP_VERSION_PATCH
#error "the version is missing"
#endif

struct point {
    double x, y;
};

int use(bp_pool *pool);
int use(bp_pool *pool)
{
    struct bp_arena_config arena_config = BP_ARENA_CONFIG_INIT;
    struct bp_pool_config pool_config = BP_POOL_CONFIG_INIT;
    struct bp_mmap_config mmap_config = BP_MMAP_CONFIG_INIT;
    struct bp_reserved_config reserved_config = BP_RESERVED_CONFIG_INIT;
    bp_backing *backing;
    bp_arena *a;
    struct point *p, *many;

    arena_config.policy = BP_ARENA_FIXED;
    pool_config.max_arenas = BP_UNLIMITED;
    if (bp_backing_mmap_create(&mmap_config, &backing) != 0 ||
        bp_backing_reserved_create(&reserved_config, &backing) != 0 ||
        bp_pool_create(backing, &pool_config, &pool) != 0 ||
        bp_arena_create(backing, &arena_config, &a) != 0)
        return 1;
    p = bp_new(a, struct point);
    many = bp_new_array(a, struct point, 3);
    if (p == NULL || many == NULL || bp_arena_alloc(a, 1) == NULL ||
        bp_arena_alloc_aligned(a, 1, 64) == NULL || bp_arena_alloc_array(a, 2, 8, 8) == NULL)
        return 1;
#if defined BP_ARENA_SCOPE && defined BP_POOL_SCOPE
    {
        BP_ARENA_SCOPE(a);
        BP_ARENA_SCOPE(a);
        BP_POOL_SCOPE(scratch, pool);
        if (scratch == NULL)
            return 1;
    }
#endif
    return bp_arena_rewind(a, bp_arena_mark(a));
}
END
cp "$tmp/user.inc" "$tmp/user.c"
cp "$tmp/user.inc" "$tmp/user.cc"

cat >"$tmp/conformance.c" <<'END'
#include <bumpool.h>
#include <bumpool/conformance.h>
#include <bumpool/conformance.h>
int use(void);
int use(void) { return 0; }
END
cp "$tmp/conformance.c" "$tmp/conformance.cc"

# takes COMPILER STANDARD FILE: whether the compiler knows the standard at all
takes() {
    case $3 in
    *.cc) echo 'int main() { return 0; }' >"$tmp/empty.cc"; empty=$tmp/empty.cc ;;
    *) echo 'int main(void) { return 0; }' >"$tmp/empty.c"; empty=$tmp/empty.c ;;
    esac
    # shellcheck disable=SC2086
    $1 "-std=$2" -fsyntax-only "$empty" >/dev/null 2>&1
}

# compiles COMPILER STANDARD FILE FLAGS...
compiles() {
    compiler=$1 standard=$2 file=$3
    shift 3
    takes "$compiler" "$standard" "$file" || return 0
    case $file in
    *.c) # shellcheck disable=SC2086
        set -- $c_warnings "$@" ;;
    esac
    # shellcheck disable=SC2086
    if $compiler "-std=$standard" $warnings $includes "$@" -c -o "$tmp/out.o" "$tmp/$file" >"$tmp/out" 2>&1; then
        compiled=$((compiled + 1))
    else
        fail "$compiler -std=$standard $* $file:"
        head -n 20 "$tmp/out"
    fi
}

try_c() {
    for std in c11 gnu11 c17 c2x; do
        compiles "$1" "$std" user.c
        compiles "$1" "$std" user.c -O2
        compiles "$1" "$std" user.c -DBP_NO_INLINE
        compiles "$1" "$std" conformance.c
    done
}
try_cxx() {
    for std in c++11 c++17 c++20; do
        compiles "$1" "$std" user.cc
        compiles "$1" "$std" user.cc -O2
        compiles "$1" "$std" user.cc -DBP_NO_INLINE
        compiles "$1" "$std" conformance.cc
    done
}

try_c "$CC"
if [ -n "$CXX" ]; then
    try_cxx "$CXX"
else
    echo "no C++ compiler: not checked as C++"
fi
for other in gcc clang; do
    [ "$CC" = "$other" ] || ! command -v "$other" >/dev/null 2>&1 || try_c "$other"
done
for other in g++ clang++; do
    [ "$CXX" = "$other" ] || ! command -v "$other" >/dev/null 2>&1 || try_cxx "$other"
done

# A part alone must fail, and with the message that says what to include.
for part in "$top_srcdir"/include/bumpool/*.h "$top_builddir/include/bumpool/version.h"; do
    name=${part##*/}
    [ "$name" != conformance.h ] || continue # a header of its own
    echo "#include <bumpool/$name>" >"$tmp/alone.c"
    # shellcheck disable=SC2086
    if $CC -std=c11 $includes -fsyntax-only "$tmp/alone.c" >"$tmp/out" 2>&1; then
        fail "<bumpool/$name> can be included alone"
    elif ! grep -q 'include <bumpool.h>' "$tmp/out"; then
        fail "<bumpool/$name> included alone does not say what to include:"
        cat "$tmp/out"
    fi
    # And the umbrella brings it in, or it is dead.
    grep -q "^#include <bumpool/$name>" "$top_srcdir/include/bumpool.h" ||
        fail "<bumpool.h> does not include <bumpool/$name>"
done

[ "$failed" -eq 0 ] && echo "$compiled compilations without a warning"
exit "$failed"
