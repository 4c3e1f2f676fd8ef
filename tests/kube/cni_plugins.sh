#!/bin/bash
# Builds the CNI plugins that flannel's plugin needs (bridge, host-local, loopback, portmap) and
# cnitool, which calls plugins as a container runtime does. Prints their directory on stdout.
#
# They are kept in /var/tmp/flanneld-test, by version.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly PLUGINS_VERSION=v1.9.1 CNITOOL_VERSION=v1.3.0
readonly PLUGINS=github.com/containernetworking/plugins/plugins
readonly CACHE=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}
readonly DIRECTORY=$CACHE/cni-plugins-$PLUGINS_VERSION-$CNITOOL_VERSION

bash "$HERE/../go_install.sh" cni_plugins "$DIRECTORY" \
  "github.com/containernetworking/cni/cnitool@$CNITOOL_VERSION" \
  "$PLUGINS/main/bridge@$PLUGINS_VERSION" "$PLUGINS/main/loopback@$PLUGINS_VERSION" \
  "$PLUGINS/ipam/host-local@$PLUGINS_VERSION" "$PLUGINS/meta/portmap@$PLUGINS_VERSION"
echo "$DIRECTORY"
