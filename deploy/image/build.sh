#!/bin/bash
# Builds the image without a container builder, for one architecture or several:
#
#   deploy/image/build.sh NAME:TAG IMAGE.tar ARCHITECTURE=EXECUTABLE...
#
# for instance amd64=dist/flanneld-linux-x64 arm64=dist/flanneld-linux-arm64. Needs mmdebstrap (Debian
# package). $IPTABLES is nft (default) or legacy; $EXTRA_PACKAGES are installed too.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

main() {
  local name=${1:-} output=${2:-} platform architecture platforms=()
  [[ $# -ge 3 ]] || fail "usage: $0 NAME:TAG IMAGE.tar ARCHITECTURE=EXECUTABLE..."
  shift 2
  work=$(mktemp -d "$output.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  for platform in "$@"; do
    architecture=${platform%%=*}
    # shellcheck disable=SC2086 # names of packages
    bash "$here/rootfs.sh" "$architecture" "$work/$architecture.tar" ${EXTRA_PACKAGES:-}
    platforms+=("$architecture=$work/$architecture.tar=${platform#*=}")
  done
  bash "$here/oci_archive.sh" "$name" "$output" "${platforms[@]}"
}

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

main "$@"
