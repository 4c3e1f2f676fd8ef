#!/bin/bash
# Provides the root file system of a Debian machine with systemd, and prints its path on stdout.
#
#   tests/deliver/machine_root.sh [NAME]...     with the packages that machine_roots/NAME lists;
#                                               by default one of each NAME
#
# It is assembled by mmdebstrap, once, and kept in /var/tmp/flanneld-test by its list of packages.
# Nothing writes to it: each machine has an overlay.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly SUITE=bookworm
readonly CACHE=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}

main() {
  local name
  mkdir -p "$CACHE"
  [[ $# -gt 0 ]] || set -- $(ls "$HERE/machine_roots")
  for name in "$@"; do
    (provide "$name" "$HERE/machine_roots/$name")
  done
}

provide() {
  local target
  target=$CACHE/machine-root-$1-$(cat "$2" "$0" | sha256sum | cut -c -16)
  exec 9>"$target.lock"
  flock 9
  if [[ ! -d $target ]]; then build "$1" "$2" "$target"; fi
  echo "$target"
}

build() {
  bash "$HERE/../install.sh" mmdebstrap >&2
  work=$(mktemp -d "$CACHE/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  local attempt
  for attempt in 1 2 3; do
    if mmdebstrap --quiet --variant=minbase --include="$(paste -sd , "$2")" \
      --dpkgopt=path-exclude=/usr/share/{doc,locale}/'*' \
      "$SUITE" "$work/root.tar" >"$work/log" 2>&1; then break; fi
    echo "machine_root: $1: attempt $attempt failed: $(tail -n 3 "$work/log")" >&2
    if [[ $attempt = 3 ]]; then exit 1; fi
  done
  mkdir "$work/root"
  tar --extract --file "$work/root.tar" --directory "$work/root"
  rm -f "$work/root/etc/hostname" # each machine has its own
  # flanneld starts charon itself.
  rm -f "$work"/root/etc/systemd/system/multi-user.target.wants/strongswan-starter.service
  mv "$work/root" "$3"
}

main "$@"
