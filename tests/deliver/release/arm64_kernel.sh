#!/bin/bash
# Provides Debian's kernel for arm64 with its modules (lib/modules), and a static busybox, as a
# directory, and prints its path on stdout. It is kept in /var/tmp/flanneld-test.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
source "$HERE/../../cached.sh"
readonly TARGET=$CACHE/arm64-kernel-$(key_of "$0")

build() {
  bash "$HERE/../../install.sh" mmdebstrap kmod >&2
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

cached "$TARGET" build
echo "$TARGET"
