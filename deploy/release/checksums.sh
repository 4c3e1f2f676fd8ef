#!/bin/bash
# Writes SHA256SUMS of the files in a folder, and SHA256SUMS.minisig if FLANNELD_SIGNING_KEY is the path
# of a minisign key; its password, if it has one, is read from standard input.
#
#   deploy/release/checksums.sh COMMENT FOLDER       COMMENT: what the signature is for; it is signed too
set -euo pipefail
[[ $# = 2 ]] || {
  echo "usage: $0 COMMENT FOLDER" >&2
  exit 2
}
cd "$2"

rm -f SHA256SUMS SHA256SUMS.minisig
files=(*)
sha256sum -- "${files[@]}" >SHA256SUMS
if [[ -z ${FLANNELD_SIGNING_KEY:-} ]]; then
  echo "checksums.sh: FLANNELD_SIGNING_KEY is not set; SHA256SUMS is not signed" >&2
  exit 0
fi
# By default, the comment would be the time.
minisign -S -q -s "$FLANNELD_SIGNING_KEY" -c "$1" -t "$1" -m SHA256SUMS
