#!/bin/bash
# Builds an etcd that is newer than Debian's, and etcdutl, which takes over the data of another
# version. Prints their directory on stdout.
#
# They are kept in /var/tmp/flanneld-test, by version.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly VERSION=v3.6.16
readonly DIRECTORY=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}/etcd-$VERSION

bash "$HERE/../go_install.sh" etcd "$DIRECTORY" \
  "go.etcd.io/etcd/server/v3@$VERSION" "go.etcd.io/etcd/etcdutl/v3@$VERSION"
echo "$DIRECTORY"
