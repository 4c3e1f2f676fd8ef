#!/bin/bash
# Packs the Helm chart with the version of the release; the same bytes each time, which
# `helm package` alone does not give: it writes the time.
#
#   SOURCE_DATE_EPOCH=SECONDS deploy/release/chart.sh VERSION FOLDER
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

version=$1
output=$(readlink -f "$2")
helm=$(bash "$here/../../tests/kube/helm.sh")
work=$(mktemp -d "$output/chart.XXXXXX")
trap 'rm -rf "$work"' EXIT

"$helm" package "$here/../chart/flannel" --version "$version" --app-version "v$version" \
  --destination "$work" >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  exit 1
}
tar --extract --gzip --touch --file "$work/flannel-$version.tgz" --directory "$work"
bash "$here/tarball.sh" "$work" "$output/flannel-$version.tgz" flannel
