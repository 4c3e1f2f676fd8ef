#!/bin/bash
# `npm run test:interop`: mixed clusters of Go flannel and ours on one etcd. Ends with the line
# "N passed, N failed".
#
#   tests/interop/run.sh [FILE]...      only these test files
#
# Files in tests/interop/vm need the same kernel as those in tests/vm.
#
# FLANNELD_BINARY is the executable, by default dist/flanneld.
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1

# Here, not in a test: tests have no network. Without it each test fails with the reason.
bash tests/interop/go_flannel.sh >/dev/null
bash tests/interop/go_flannel.sh source >/dev/null

shopt -s nullglob
[[ $# -gt 0 ]] || set -- tests/interop/{,vm/}*_test.ts
exec bash tests/run.sh "$@"
