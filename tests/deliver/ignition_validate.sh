#!/bin/bash
# Builds ignition-validate, which checks configurations as Ignition does, and prints the path of the
# executable on stdout.
#
# The executable is kept in /var/tmp/flanneld-test, by version.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly VERSION=v2.24.0
readonly DIRECTORY=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}/ignition-validate-$VERSION

bash "$HERE/../go_install.sh" ignition_validate "$DIRECTORY" \
  "github.com/coreos/ignition/v2/validate@$VERSION"
echo "$DIRECTORY/validate"
