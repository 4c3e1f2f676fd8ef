#!/bin/bash
# `npm run test:mutation`: changes the program in one small place after the other, runs the unit tests
# that reach it, and reports the changes that no test noticed. docs/testing.md says how to read that.
#
#   tests/mutation/run.sh [--fresh|--known] [FOLDER|FILE]...      by default all folders of GROUPS in main.ts
#
# A changed program may do anything, as root: it gets a process, mount and network namespace of its
# own, in which only a directory of its own is writable.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
if [[ ! -x node_modules/.bin/bun ]]; then
  echo "node_modules/.bin/bun is missing: run npm ci first" >&2
  exit 1
fi

# A tree to run in, and what was found before (results.jsonl).
FLANNELD_MUTATION_DIR=${FLANNELD_MUTATION_DIR:-/var/tmp/flanneld-test/mutation}
mkdir -p "$FLANNELD_MUTATION_DIR"
FLANNELD_MUTATION_DIR=$(readlink -f "$FLANNELD_MUTATION_DIR")
export FLANNELD_MUTATION_DIR
exec 9>"$FLANNELD_MUTATION_DIR/lock"
flock --nonblock 9 || { echo "another run works in $FLANNELD_MUTATION_DIR" >&2; exit 1; }
export TMPDIR=$FLANNELD_MUTATION_DIR/tmp HOME=$FLANNELD_MUTATION_DIR/tmp NO_COLOR=1
mkdir -p "$TMPDIR"

exec unshare --net --mount --pid --fork --kill-child --propagation private sh -c '
  mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm || exit 125
  mount --bind "$FLANNELD_MUTATION_DIR" "$FLANNELD_MUTATION_DIR" || exit 125
  # In mountinfo, a blank in a path is \040.
  awk "{ print \$5 }" /proc/self/mountinfo | while read -r escaped; do
    at=$(printf %b "$escaped")
    case $at in
      "$FLANNELD_MUTATION_DIR" | /proc* | /sys* | /dev* | /run*) ;;
      *) mount -o remount,bind,ro "$at" || exit 125 ;;
    esac
  done || exit 125
  ip link set lo up || exit 125
  "$@"
  exit $?' sh node_modules/.bin/bun tests/mutation/main.ts "$@"
