#!/bin/bash
# Provides the root file system of the image, without flanneld, and prints the path of its archive;
# its files are in the directory of this name without .tar.
#
# It is assembled by deploy/image/rootfs.sh and kept in /var/tmp/flanneld-test, by the content of the
# files that make it.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly IMAGE=$HERE/../../deploy/image
source "$HERE/../cached.sh"
readonly TARGET=$CACHE/image-root-$(key_of "$IMAGE"/{packages,setup.sh,rootfs.sh} "$0")

build() {
  bash "$HERE/../install.sh" mmdebstrap >&2
  local attempt
  for attempt in 1 2 3; do
    if bash "$IMAGE/rootfs.sh" "$(dpkg --print-architecture)" "$work/root.tar" \
      >"$work/log" 2>&1; then break; fi
    echo "image_root: attempt $attempt failed: $(tail -n 3 "$work/log")" >&2
    if [[ $attempt = 3 ]]; then exit 1; fi
  done
  mkdir "$work/root"
  tar --extract --file "$work/root.tar" --directory "$work/root"
  # A container runtime makes the places to mount something; here, the tests find them made.
  mkdir -p "$work"/root/{run/flannel,etc/kube-flannel,etc/cni/net.d,opt/cni/bin,host} \
    "$work/root/run/secrets/kubernetes.io/serviceaccount"
  touch "$work"/root/{run/xtables.lock,opt/bin/flanneld}
  mv "$work/root.tar" "$TARGET.tar"
  mv "$work/root" "$TARGET"
}

cached "$TARGET" build
echo "$TARGET.tar"
