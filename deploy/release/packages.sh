#!/bin/bash
# Makes the Debian package and the RPM package of one executable, the same bytes each time:
#
#   deploy/release/packages.sh VERSION amd64|arm64 EXECUTABLE FOLDER
#
# SOURCE_DATE_EPOCH is the time of the files in them; by default that of the commit. A publisher of
# packages sets FLANNELD_MAINTAINER="Name <address>", to whom users write, and FLANNELD_HOMEPAGE.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
readonly DEPLOY=$here/.. ROOT=$here/../..

main() {
  [[ $# = 4 ]] || fail "usage: $0 VERSION amd64|arm64 EXECUTABLE FOLDER"
  local version=$1 architecture=$2 executable output nfpm packager
  executable=$(readlink -f "$3")
  output=$(readlink -f "$4")
  [[ -x $executable ]] || fail "$3 is not an executable; npm run build"
  nfpm=$(bash "$here/nfpm.sh")
  work=$(mktemp -d "$output/packages.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  collect
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}
  export SOURCE_DATE_EPOCH VERSION=$version ARCHITECTURE=$architecture EXECUTABLE=$executable
  # The project has no address of its own.
  export MAINTAINER=${FLANNELD_MAINTAINER:-The authors of flanneld <flanneld@example.invalid>}
  export HOMEPAGE=${FLANNELD_HOMEPAGE:-}
  # One thread compresses: the bytes do not depend on the number of processors.
  for packager in deb rpm; do
    (cd "$work" && GOMAXPROCS=1 "$nfpm" package --config nfpm.yaml --packager "$packager" \
      --target "$output" >log 2>&1) || fail "nfpm cannot make the $packager: $(cat "$work/log")"
  done
}

# The paths that nfpm.yaml names.
collect() {
  local page
  cp -r "$DEPLOY"/{systemd,docker,man,completion} "$here"/{scripts,nfpm.yaml,*.env,copyright} "$work"
  for page in "$work"/man/*.8; do gzip -9 --no-name "$page"; done
  gzip -9 --no-name --stdout "$ROOT/CHANGELOG.md" >"$work/changelog.gz"
  chmod -R u=rwX,go=rX "$work" # whatever the umask of the clone was
}

fail() {
  echo "packages.sh: $*" >&2
  exit 1
}

main "$@"
