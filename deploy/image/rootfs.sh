#!/bin/bash
# Assembles the root file system of the image from Debian packages, without flanneld:
#
#   deploy/image/rootfs.sh amd64|arm64 ROOTFS.tar [PACKAGE]...   packages in addition to `packages`
#
# Nothing of the packages runs, so each machine can do it for each architecture. The same packages
# give the same bytes. Needs mmdebstrap (Debian package). $IPTABLES is nft (default) or legacy.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

readonly SUITE=bookworm
# Before packages are unpacked: /bin and the like are links into /usr.
readonly MERGE_USR='for name in bin lib lib64 sbin; do
  mkdir -p "$1/usr/$name" && ln -s "usr/$name" "$1/$name"
done'

main() {
  local architecture=${1:-} output=${2:-} packages
  [[ $architecture = @(amd64|arm64) && -n $output ]] ||
    fail "usage: $0 amd64|arm64 ROOTFS.tar [PACKAGE]..."
  shift 2
  command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing (Debian package mmdebstrap)"
  mapfile -t packages <"$here/packages"
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(commit_time)}
  export SOURCE_DATE_EPOCH
  # usr-is-merged in place of usrmerge, which the essential packages would need otherwise.
  mmdebstrap --quiet --variant=extract --architectures="$architecture" \
    --include="?essential" --include="$(joined usr-is-merged "${packages[@]}" "$@")" \
    --setup-hook="$MERGE_USR" \
    --extract-hook="sh '$here/setup.sh' \"\$1\" '${IPTABLES:-nft}'" \
    "$SUITE" "$output"
}

commit_time() {
  git -C "$here" -c safe.directory='*' log -1 --format=%ct 2>/dev/null || echo 0
}

joined() {
  local IFS=,
  echo "$*"
}

fail() {
  echo "rootfs.sh: $*" >&2
  exit 1
}

main "$@"
