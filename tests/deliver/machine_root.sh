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
source "$HERE/../cached.sh"

main() {
  local name
  [[ $# -gt 0 ]] || set -- $(ls "$HERE/machine_roots")
  for name in "$@"; do
    (provide "$name" "$HERE/machine_roots/$name")
  done
}

provide() {
  local target
  target=$CACHE/machine-root-$1-$(key_of "$2" "$0")
  cached "$target" build "$1" "$2" "$target"
  echo "$target"
}

build() {
  bash "$HERE/../install.sh" mmdebstrap >&2
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
