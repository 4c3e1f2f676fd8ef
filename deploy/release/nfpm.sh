#!/bin/bash
# Builds nfpm, which makes the packages, and prints the path of the executable on stdout.
#
# The executable is kept in /var/tmp/flanneld-test, by version.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly VERSION=v2.45.2
readonly DIRECTORY=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}/nfpm-$VERSION

bash "$HERE/../../tests/go_install.sh" nfpm "$DIRECTORY" \
  "github.com/goreleaser/nfpm/v2/cmd/nfpm@$VERSION"
echo "$DIRECTORY/nfpm"
