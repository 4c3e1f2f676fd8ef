#!/bin/bash
# `npm run test:release`: makes the release of this commit twice, in two folders, and compares every
# byte; then checks what is in it. Takes half an hour and 4 GB below $TMPDIR.
#
#   tests/deliver/release/run.sh [DIRECTORY]      checks only the mirror that `npm run release` has made
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../../.."

readonly ROOT=$PWD
# What lintian reports and why that is right: the JavaScript code is appended to the executable, so it
# is not stripped; Bun is linked as it is, with libraries in it; older versions of lintian do not know
# zstd; the changelog is not in Debian's form; settings may hold passwords.
readonly ACCEPTED=embedded-library,unstripped-binary-or-object,malformed-deb-archive,hardening-no-pie,\
hardening-no-relro,syntax-error-in-debian-changelog,non-standard-file-perm,\
maintainer-script-calls-systemctl,copyright-without-copyright-notice

main() {
  local mirror=${1:-}
  bash tests/install.sh minisign rpm zstd lintian mmdebstrap binutils skopeo
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  if [[ -z $mirror ]]; then
    make_releases
    mirror=$work/one/mirror
  fi
  mirror=$(readlink -f "$mirror")
  release=$mirror/$(<"$mirror/stable")
  cd "$release"
  check_files
  check_packages
  check_image
  echo "the release is complete"
}

make_releases() {
  local name
  minisign -G -W -p "$work/test.pub" -s "$work/test.key" >/dev/null
  for name in one two; do make_release "$work/$name"; done
  check "two releases have the same bytes" diff --recursive --brief "$work/one/mirror" \
    "$work/two/mirror"
  check "install.sh verifies the signature" sh deploy/install.sh --from "$work/one/mirror" \
    --minisign-key "$(tail -n 1 "$work/test.pub")" --dry-run
}

# A clone of its own, whose path differs; only dist/release remains.
make_release() {
  local begun=$SECONDS
  echo "making $1"
  git -c safe.directory='*' clone --quiet "$PWD" "$1"
  FLANNELD_SIGNING_KEY=$work/test.key bash "$1/deploy/release/release.sh" >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
  }
  mv "$1/dist/release" "$1/mirror"
  rm -rf "$1"/{dist,node_modules}
  echo "made in $((SECONDS - begun)) s"
}

check_files() {
  local name
  check "the checksums are right" sha256sum --quiet --strict --check SHA256SUMS
  for name in flanneld-linux-{amd64,arm64}; do
    check "$name is in its gzip form" cmp "$name" <(gzip -dc "$name.gz")
    check "$name is in its zstd form" cmp "$name" <(zstd -dqc "$name.zst")
  done
  check_machine flanneld-linux-amd64 X86-64
  check_machine flanneld-linux-arm64 AArch64
}

check_packages() {
  local name architecture
  for name in *.deb; do
    check "lintian accepts $name" lintian --fail-on error,warning --suppress-tags "$ACCEPTED" "$name"
    dpkg-deb --extract "$name" "$work/files"
    check "$name has the executable of the release" cmp "$work/files/usr/bin/flanneld" \
      "flanneld-linux-$(dpkg-deb --field "$name" Architecture)"
  done
  for name in *.rpm; do
    case $name in *.x86_64.rpm) architecture=amd64 ;; *) architecture=arm64 ;; esac
    check "$name can be installed" rpm --root "$work/$name" --ignorearch --nodeps --noscripts \
      --install "$name"
    check "$name is as it was packed" rpm --root "$work/$name" --nodeps --verify flanneld
    check "$name has the executable of the release" cmp "$work/$name/usr/bin/flanneld" \
      "flanneld-linux-$architecture"
  done
}

# skopeo reads the image as a registry or a container engine would.
check_image() {
  local image architecture
  image=$(echo "$release"/*-image.tar)
  check "the image is one for two architectures" diff <(skopeo inspect --raw "oci-archive:$image" |
    node -p 'JSON.parse(fs.readFileSync(0)).manifests.map(({ platform }) => platform.architecture)
      .join("\n")') <(printf '%s\n' amd64 arm64)
  for architecture in amd64 arm64; do
    check "skopeo copies the image for $architecture" skopeo --override-arch "$architecture" copy \
      --quiet "oci-archive:$image" "dir:$work/image-$architecture"
  done
  cd "$ROOT"
  check "the image runs on an arm64 machine" env RELEASE_IMAGE="$image" \
    node_modules/.bin/bun test ./tests/deliver/release/arm64_test.ts
}

check() {
  echo "$1"
  "${@:2}" || {
    echo "FAILED: $1"
    exit 1
  }
}

check_machine() {
  readelf --file-header "$1" >"$work/header"
  check "$1 is for $2" grep -q "Machine:.*$2" "$work/header"
}

main "$@"
