#!/bin/bash
# Packs files with the time SOURCE_DATE_EPOCH and without owners: the same files, the same bytes.
#
#   deploy/release/tarball.sh FOLDER NAME.tar.gz PATH...     paths in the folder
set -euo pipefail

tar --create --directory "$1" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
  --mtime="@$SOURCE_DATE_EPOCH" -- "${@:3}" | gzip -9 --no-name >"$2"
