#!/bin/bash
# `npm run test:mutation`: changes the program in one small place after the other, runs the unit
# tests that reach it, and reports the changes that no test noticed. docs/testing.md explains the
# report.
#
#   tests/mutation/run.sh [--fresh|--known] [FOLDER|FILE]...   by default all GROUPS of main.ts
#
# A changed program may do anything, as root. It therefore runs in a process, mount and network
# namespace of its own, where only its own directory can be written.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
if [[ ! -x node_modules/.bin/bun ]]; then
  echo "node_modules/.bin/bun is missing: run npm ci first" >&2
  exit 1
fi

# Holds the tree to run in and the results of earlier runs (results.jsonl).
FLANNELD_MUTATION_DIR=${FLANNELD_MUTATION_DIR:-/var/tmp/flanneld-test/mutation}
mkdir -p "$FLANNELD_MUTATION_DIR"
FLANNELD_MUTATION_DIR=$(readlink -f "$FLANNELD_MUTATION_DIR")
export FLANNELD_MUTATION_DIR
exec 9>"$FLANNELD_MUTATION_DIR/lock"
if ! flock --nonblock 9; then
  echo "another mutation run uses $FLANNELD_MUTATION_DIR; wait for its end" >&2
  exit 1
fi
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
