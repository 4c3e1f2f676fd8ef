#!/bin/bash
# Packs an image for one architecture, or several, as an OCI archive:
#
#   deploy/image/oci_archive.sh NAME:TAG IMAGE.tar ARCHITECTURE=ROOTFS.tar=EXECUTABLE...
#
# ARCHITECTURE is amd64 or arm64, ROOTFS.tar is from rootfs.sh. The executable is a layer of its own:
# while the packages are the same, an upgrade transfers only this layer. The same files give the same
# bytes; $SOURCE_DATE_EPOCH is the time in them. $COMPRESSION_LEVEL is that of gzip, 1 to 9.
#
# Load it on a node with `ctr -n k8s.io images import IMAGE.tar`, or into a container builder with
# `podman load -i IMAGE.tar`. https://github.com/opencontainers/image-spec/blob/main/image-layout.md
set -euo pipefail
shopt -s inherit_errexit

readonly EPOCH=${SOURCE_DATE_EPOCH:-0} LEVEL=${COMPRESSION_LEVEL:-6}

main() {
  local name=${1:-} output=${2:-} platform architecture rootfs executable manifests=
  [[ $# -ge 3 && $name = *:* ]] ||
    fail "usage: $0 NAME:TAG IMAGE.tar ARCHITECTURE=ROOTFS.tar=EXECUTABLE..."
  shift 2
  for platform in "$@"; do
    IFS='=' read -r architecture rootfs executable <<<"$platform"
    check_platform "$architecture" "$rootfs" "$executable"
  done
  work=$(mktemp -d "$output.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/blobs/sha256"

  for platform in "$@"; do
    IFS='=' read -r architecture rootfs executable <<<"$platform"
    manifests+=,$(add_manifest "$architecture" "$rootfs" "$executable")
  done
  index "${manifests#,}" >"$work/blob"
  index "$(add index.v1+json "$(annotations "$name")")" >"$work/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
  pack "$work/image" "$work" oci-layout index.json blobs
  mv "$work/image" "$output"
}

check_platform() {
  [[ $1 = @(amd64|arm64) ]] || fail "\"$1\" is neither amd64 nor arm64"
  [[ -s $2 ]] || fail "$2 is missing or empty; rootfs.sh makes it"
  [[ -x $3 ]] || fail "$3 is missing or not executable; npm run build"
}

# Adds the image of one architecture and prints the descriptor of its manifest:
# add_manifest ARCHITECTURE ROOTFS.tar EXECUTABLE
add_manifest() {
  local packages program config
  rm -f "$work/diff_ids"
  packages=$(add_layer "$2")
  mkdir -p "$work/files/opt/bin"
  install -m 755 "$3" "$work/files/opt/bin/flanneld"
  pack "$work/layer.tar" "$work/files" opt
  program=$(add_layer "$work/layer.tar")
  image_config "$1" >"$work/blob"
  config=$(add config.v1+json)
  printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s,%s]}' \
    "$(media_type manifest.v1+json)" "$config" "$packages" "$program" >"$work/blob"
  add manifest.v1+json ",\"platform\":{\"architecture\":\"$1\",\"os\":\"linux\"}"
}

# Adds a tar archive as a layer, and its digest to $work/diff_ids; prints the layer's descriptor.
add_layer() {
  printf ',"sha256:%s"' "$(digest "$1")" >>"$work/diff_ids"
  gzip "-$LEVEL" --no-name --stdout "$1" >"$work/blob"
  add layer.v1.tar+gzip
}

# Turns $work/blob into a blob and prints its descriptor: add KIND [FURTHER-MEMBERS]
add() {
  local hash size
  hash=$(digest "$work/blob")
  size=$(stat -c %s "$work/blob")
  mv "$work/blob" "$work/blobs/sha256/$hash"
  printf '{"mediaType":"%s","digest":"sha256:%s","size":%s%s}' \
    "$(media_type "$1")" "$hash" "$size" "${2:-}"
}

image_config() {
  local diff_ids
  diff_ids=$(<"$work/diff_ids")
  printf '{"created":"%s","architecture":"%s","os":"linux",' \
    "$(date --utc --date "@$EPOCH" +%Y-%m-%dT%H:%M:%SZ)" "$1"
  printf '"config":{"Entrypoint":["/opt/bin/flanneld"],'
  printf '"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},'
  printf '"rootfs":{"type":"layers","diff_ids":[%s]}}' "${diff_ids#,}"
}

# index DESCRIPTORS
index() {
  printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' "$(media_type index.v1+json)" "$1"
}

# containerd takes the whole name from its own annotation, others the tag from that of OCI.
annotations() {
  printf ',"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}' \
    "$1" "${1##*:}"
}

media_type() { echo "application/vnd.oci.image.$1"; }

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

# pack ARCHIVE.tar FOLDER PATH...
pack() {
  tar --create --file "$1" --directory "$2" --sort=name --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX --mtime="@$EPOCH" -- "${@:3}"
}

fail() {
  echo "oci_archive.sh: $*" >&2
  exit 1
}

main "$@"
