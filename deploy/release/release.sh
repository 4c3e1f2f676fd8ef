#!/bin/bash
# Makes the files of a release, dist/release/VERSION: docs/release.md. From one commit, the same bytes.
# dist/release is then a mirror for install.sh.
#
#   deploy/release/release.sh [--allow-dirty] [--without-image]
#
# FLANNELD_SIGNING_KEY is the path of the minisign key that signs SHA256SUMS. Without it, the release
# is not signed.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

readonly HERE=deploy/release BUN=node_modules/.bin/bun
# Architectures in the words of Go and Debian, and the targets of compile.sh.
readonly TARGETS=(amd64:linux-x64 arm64:linux-arm64)
readonly PACKAGES=(zstd minisign mmdebstrap)
allow_dirty= without_image=

main() {
  local argument version target output
  for argument in "$@"; do
    case $argument in
      --allow-dirty) allow_dirty=yes ;;
      --without-image) without_image=yes ;;
      *) fail "unknown argument $argument; there are --allow-dirty and --without-image" ;;
    esac
  done
  version=$(node -p 'require("./package.json").version')
  check_commit "$version"
  check_signing_key
  provide_tools
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
  export SOURCE_DATE_EPOCH

  output=dist/release/$version
  work=dist/release/.$version.new
  rm -rf "$work"
  mkdir -p "$work"
  for target in "${TARGETS[@]}"; do
    add_executable "$version" "${target%:*}" "${target#*:}"
  done
  cp deploy/{install.sh,kube-flannel.yml} LICENSE NOTICE "$work"
  # install.sh reads systemd, man and completion.
  bash $HERE/tarball.sh . "$work/flanneld-deploy.tar.gz" \
    deploy/{systemd,docker,man,completion,cloud-init,ignition,vagrant}
  bash $HERE/chart.sh "$version" "$work"
  if [[ -z $without_image ]]; then add_image "$version"; fi
  bash $HERE/checksums.sh "flanneld $version" "$work"
  rm -rf "$output"
  mv "$work" "$output"
  write_channel "$version"
  echo "$output:"
  (cd "$output" && stat -c '%12s %n' -- *)
}

# A release is that of a commit, under its tag.
check_commit() {
  local tag
  [[ -n $allow_dirty || -z $(git status --porcelain) ]] ||
    fail "the working tree differs from the commit; commit the changes, or pass --allow-dirty"
  for tag in $(git tag --points-at HEAD 'v*'); do
    [[ $tag = "v$1" ]] || fail "the commit has the tag $tag, but package.json the version $1"
    return 0
  done
  echo "release.sh: the commit has no tag v$1" >&2
}

# Before the minutes that the rest takes.
check_signing_key() {
  [[ -n ${FLANNELD_SIGNING_KEY:-} ]] || return 0
  [[ -r $FLANNELD_SIGNING_KEY ]] || fail "cannot read FLANNELD_SIGNING_KEY, $FLANNELD_SIGNING_KEY"
}

# Installs what is missing, or names it, before the minutes that the rest takes.
provide_tools() {
  bash tests/install.sh "${PACKAGES[@]}"
  bash $HERE/nfpm.sh >/dev/null
  bash tests/kube/helm.sh >/dev/null
}

# The executable of an architecture, its compressed forms, bills of materials and packages.
add_executable() {
  local version=$1 architecture=$2 target=$3 file libnl format
  file=$work/flanneld-linux-$architecture
  bash compile.sh "$target"
  cp "dist/flanneld-$target" "$file"
  gzip -9 --no-name --keep "$file"
  zstd -19 --long=27 -T1 --quiet "$file"
  libnl=$(libnl_version "$architecture")
  for format in cyclonedx spdx; do
    "$BUN" $HERE/sbom.ts $format "$file" "$architecture" "$libnl" >"$file.$format.json"
  done
  bash $HERE/packages.sh "$version" "$architecture" "$file" "$work"
}

# The version of Debian's libnl that compile.sh has put into the executable.
libnl_version() {
  local changelog=dist/runtimes/libnl-$1/root/usr/share/doc/libnl-3-200/changelog.Debian.gz
  if [[ -e $changelog ]]; then
    zcat "$changelog" | sed -n '1s/^[^(]*(\([^)]*\)).*/\1/p'
  else
    dpkg-query --show --showformat '${source:Version}' libnl-3-200
  fi
}

# The image for all architectures.
add_image() {
  local version=$1 name target platforms=()
  name=$(sed -n 's/^ *image: *//p' deploy/kube-flannel.yml | sort -u)
  for target in "${TARGETS[@]}"; do
    platforms+=("${target%:*}=$work/flanneld-linux-${target%:*}")
  done
  bash deploy/image/build.sh "$name" "$work/flanneld-$version-image.tar" "${platforms[@]}"
}

# The file from which install.sh learns the version; one with a suffix, such as 1.0.0-rc.1, is for
# those who ask for it.
write_channel() {
  [[ $1 != *-* ]] || return 0
  echo "$1" >dist/release/stable.new
  mv dist/release/stable.new dist/release/stable
}

fail() {
  echo "release.sh: $*" >&2
  exit 1
}

main "$@"
