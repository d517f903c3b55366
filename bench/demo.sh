#!/bin/sh
# SPDX-License-Identifier: MIT
#
# `make demo`: bumpool-bench on this clone's own history and on every recorded trace that lies beside
# the clone.
#
#     demo.sh SRCDIR BENCH

set -eu

srcdir=$1
bench=$2
ran=0

if [ -e "$srcdir/.git" ] && git -C "$srcdir" rev-parse --quiet --verify HEAD >/dev/null 2>&1; then
    echo "== the commits of this clone (live: mostly libgit2's time, and noise; replay: the allocator's own)"
    "$bench" commits --quick --repo "$srcdir"
    ran=1
else
    echo "== this source tree has no git history: nothing to walk"
fi

for trace in "$srcdir"/../shared/data/*.unittrace.xz; do
    [ -e "$trace" ] || continue
    echo
    echo "== the recorded commits of $(basename "$trace")"
    "$bench" commits --quick --trace "$trace"
    ran=1
done

if [ "$ran" -eq 0 ]; then
    echo "== and no recorded trace lies beside it: run '$bench commits --repo PATH' on a clone with a history" >&2
    exit 1
fi
