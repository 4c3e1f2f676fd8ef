#!/bin/bash
# Provides Debian's kernel for arm64 with its modules (lib/modules), and a static busybox, as a
# directory, and prints its path on stdout. It is kept in /var/tmp/flanneld-test.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly KEY=$(sha256sum <"$0" | cut -c -16)
readonly CACHE=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}
readonly TARGET=$CACHE/arm64-kernel-$KEY

main() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/arm64-kernel.lock"
  flock 9
  if [[ ! -d $TARGET ]]; then build; fi
  echo "$TARGET"
}

build() {
  bash "$HERE/../../install.sh" mmdebstrap kmod >&2
  work=$(mktemp -d "$CACHE/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mmdebstrap --quiet --variant=extract --architectures=arm64 \
    --include=linux-image-cloud-arm64,busybox-static bookworm "$work/root" >"$work/log" 2>&1 || {
    echo "arm64_kernel: $(tail -n 3 "$work/log")" >&2
    exit 1
  }
  mkdir -p "$work/kernel/lib"
  cp "$work"/root/boot/vmlinuz-* "$work/kernel/vmlinuz"
  cp "$work/root/bin/busybox" "$work/kernel/busybox"
  mv "$work/root/lib/modules" "$work/kernel/lib"
  depmod --basedir "$work/kernel" "$(ls "$work/kernel/lib/modules")"
  mv "$work/kernel" "$TARGET"
}

main
