#!/bin/bash
# Builds Helm, which renders the chart in its tests, and prints the path of the executable on stdout.
#
# The executable is kept in /var/tmp/flanneld-test, by version.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly VERSION=v3.22.0
readonly DIRECTORY=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}/helm-$VERSION

bash "$HERE/../go_install.sh" helm "$DIRECTORY" "helm.sh/helm/v3/cmd/helm@$VERSION"
echo "$DIRECTORY/helm"
