#!/bin/bash
# Boots an arm64 machine, emulated by qemu, from the files of the image for arm64, and prints its
# console, until the machine turns itself off:
#
#   tests/deliver/release/arm64_machine.sh IMAGE.tar SECONDS      IMAGE.tar: from deploy/image/build.sh
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
# That of a Raspberry Pi 4. With the features of `max`, qemu 7.2 has made Bun crash.
readonly PROCESSOR=cortex-a72
# What the daemon needs, and a link to other hosts.
readonly MODULES=(dummy vxlan br_netfilter nf_tables nft_compat nft_chain_nat xt_MASQUERADE xt_comment
  xt_mark xt_conntrack)

main() {
  local image=$1 seconds=$2 kernel
  bash "$HERE/../../install.sh" qemu-system-arm skopeo cpio >&2
  kernel=$(bash "$HERE/arm64_kernel.sh")
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  unpack_image "$image"
  add_modules "$kernel"
  install -m 755 "$kernel/busybox" "$work/root/busybox"
  install -m 755 "$HERE/arm64_init.sh" "$work/root/init"
  (cd "$work/root" && find . -print0 | cpio --null --create --quiet --format=newc) >"$work/initrd"
  rm -rf "$work/root"
  timeout --kill-after=5 "$seconds" qemu-system-aarch64 -M virt -cpu "$PROCESSOR" \
    -accel tcg,thread=multi -smp 2 -m 2048 -display none -no-reboot -nic none -serial stdio \
    -monitor none -kernel "$kernel/vmlinuz" -initrd "$work/initrd" \
    -append 'console=ttyAMA0 quiet panic=-1 rdinit=/init' </dev/null
}

# The layers of the image, one over the other.
unpack_image() {
  local layer
  skopeo --override-arch arm64 copy --quiet "oci-archive:$1" "dir:$work/image"
  mkdir "$work/root"
  for layer in $(node -p 'require(process.argv[1]).layers.map((one) => one.digest.slice(7)).join(" ")' \
    "$work/image/manifest.json"); do
    tar --extract --gzip --file "$work/image/$layer" --directory "$work/root"
  done
  rm -rf "$work/image"
}

# The modules and those that they need, in the order in which they can be loaded.
add_modules() {
  local path name
  mkdir "$work/root/modules"
  modprobe --show-depends --dirname "$1" --set-version "$(ls "$1/lib/modules")" \
    --all "${MODULES[@]}" |
    sed -n 's/^insmod \([^ ]*\).*/\1/p' >"$work/paths"
  while read -r path; do
    name=${path##*/}
    [[ ! -e $work/root/modules/$name ]] || continue
    cp "$path" "$work/root/modules/$name"
    echo "$name" >>"$work/root/modules/order"
  done <"$work/paths"
}

main "$@"
