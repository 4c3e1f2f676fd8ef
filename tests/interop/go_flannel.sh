#!/bin/bash
# Builds Go flannel, which our program replaces, and prints the path of the executable on stdout;
# `go_flannel.sh source` prints the folder of its source instead.
#
# The executable is kept in /var/tmp/flanneld-test, by version, and built once. `go install` comes
# first. Where a module that only the tencent-vpc backend imports cannot be downloaded, the rest is
# built from flannel's own source without that backend, which no test uses; the output reports it
# each time. A missing Go toolchain fails the tests by name; it never skips them.
set -euo pipefail

readonly VERSION=v0.28.9
readonly MODULE=github.com/flannel-io/flannel
readonly CACHE=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}
readonly TARGET=$CACHE/go-flannel-$VERSION/flanneld
readonly LDFLAGS="-s -w -X $MODULE/pkg/version.Version=$VERSION"

main() {
  if [[ ${1:-} = source ]]; then
    require go "install Go 1.25 or later, or put it on PATH"
    source_folder
    return
  fi
  mkdir -p "$CACHE/go-flannel-$VERSION"
  exec 9>"$CACHE/go-flannel-$VERSION.lock"
  flock 9
  if [[ ! -x $TARGET ]]; then
    require go "install Go 1.25 or later, or put it on PATH"
    require cc "Go flannel needs cgo: install a C compiler (Debian: gcc libc6-dev)"
    build
  fi
  say "Go flannel $VERSION: $(cat "$TARGET.origin")"
  echo "$TARGET"
}

build() {
  local work
  work=$(mktemp -d "$CACHE/build.XXXXXX")
  # Expanded now: the variable no longer exists when the trap runs.
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  export CGO_ENABLED=1 GOFLAGS="${GOFLAGS:-} -buildvcs=false"
  say "building Go flannel $VERSION (some minutes the first time)"
  if install_module "$work"; then
    publish "$work/bin/flannel" "go install"
  elif grep -q tencentcloud "$work/install.log"; then
    say "go install failed: $(grep -m 1 tencentcloud "$work/install.log")"
    build_without_tencent "$work"
    publish "$work/bin/flannel" "built from the module's source without its tencent-vpc backend"
  else
    cat "$work/install.log" >&2
    fail "cannot build Go flannel $VERSION: go install failed, see above"
  fi
}

# Retries a command that may fail because of the network; install.log has the last attempt's log.
install_module() {
  local attempt log=$1/install.log
  for attempt in 1 2 3; do
    if GOBIN=$1/bin go install -ldflags "$LDFLAGS" "$MODULE@$VERSION" >"$log" 2>&1; then return; fi
    if grep -q tencentcloud "$log"; then return 1; fi
    say "attempt $attempt failed: $(tail -n 1 "$log")"
  done
  return 1
}

# The file only registers the backend: an empty package is enough.
build_without_tencent() {
  local source
  source=$(source_folder)
  cp -r --no-preserve=mode "$source" "$1/source"
  echo "package tencentvpc" >"$1/source/pkg/backend/tencentvpc/tencentvpc.go"
  (cd "$1/source" && go build -ldflags "$LDFLAGS" -o "$1/bin/flannel" .) >&2 ||
    fail "cannot build Go flannel $VERSION from its source"
}

# From the cache of Go, or downloaded.
source_folder() {
  local folder
  folder=$(cd / && go mod download -json "$MODULE@$VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [[ -d $folder ]] || fail "cannot download the source of $MODULE@$VERSION"
  echo "$folder"
}

publish() {
  echo "$2" >"$TARGET.origin"
  mv "$1" "$TARGET"
}

require() {
  command -v "$1" >/dev/null || fail "$1 not found: $2"
}

say() { echo "go_flannel: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

main "$@"
