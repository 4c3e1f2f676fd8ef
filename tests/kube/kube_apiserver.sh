#!/bin/bash
# Provides kube-apiserver and prints the path of the executable on stdout.
#
# The executable is kept in /var/tmp/flanneld-test, by version. It is the first of: the existing one,
# a prebuilt one, a new one. A prebuilt one is a directory with kube-apiserver.xz and
# kube-apiserver.sha256, the checksum of the unpacked file: $KUBE_APISERVER_READY, by default one
# next to this checkout. A new one is built from the modules that apiserver/go.mod and go.sum pin,
# which takes a quarter of an hour or more, once. A missing Go toolchain fails the tests by name; it
# never skips them.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly MODULES=$HERE/apiserver
readonly VERSION=$(sed -n 's/^require k8s.io\/kubernetes //p' "$MODULES/go.mod")
readonly READY=${KUBE_APISERVER_READY:-$HERE/../../../shared/tools/kube}
source "$HERE/../cached.sh"
readonly DIRECTORY=$CACHE/kube-apiserver-$VERSION
readonly TARGET=$DIRECTORY/kube-apiserver
readonly PROGRESS_SECONDS=30

provide() {
  unpack || build
}

# Takes the prebuilt one, if it is what its checksum says.
unpack() {
  local new=$DIRECTORY/kube-apiserver.new
  [[ -f $READY/kube-apiserver.xz && -f $READY/kube-apiserver.sha256 ]] || return
  if xz -dc "$READY/kube-apiserver.xz" >"$new" &&
    [[ $(sha256sum <"$new" | cut -d ' ' -f 1) = $(cut -d ' ' -f 1 "$READY/kube-apiserver.sha256") ]]; then
    publish "$new"
    return
  fi
  rm -f "$new"
  say "$READY/kube-apiserver.xz is not the file that kube-apiserver.sha256 describes"
  return 1
}

build() {
  local begun=$SECONDS
  command -v go >/dev/null || fail "go not found: install Go 1.26 or later, or put it on PATH"
  cp "$MODULES"/{go.mod,go.sum,tools.go} "$work"
  # With another value of CGO_ENABLED, Go would compile every package again.
  export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -buildvcs=false"
  say "building kube-apiserver $VERSION (a quarter of an hour or more, once)"
  download "$work"
  compile "$work"
  publish "$work/kube-apiserver"
  say "built kube-apiserver $VERSION in $((SECONDS - begun)) s"
}

# Retries, because a download may fail.
download() {
  local attempt
  for attempt in 1 2 3; do
    if (cd "$1" && run "$1" "downloading modules" go list -deps k8s.io/kubernetes/cmd/kube-apiserver)
    then
      return
    fi
    say "attempt $attempt failed: $(tail -n 1 "$1/log")"
  done
  fail "cannot download the modules of kube-apiserver $VERSION"
}

compile() {
  local base=k8s.io/component-base/version major minor
  IFS=. read -r major minor _ <<<"${VERSION#v}"
  cd "$1"
  run "$1" "compiling" go build -v -o kube-apiserver -ldflags \
    "-s -w -X $base.gitVersion=$VERSION -X $base.gitMajor=$major -X $base.gitMinor=$minor" \
    k8s.io/kubernetes/cmd/kube-apiserver && return
  tail -n 20 "$1/log" >&2
  fail "cannot build kube-apiserver $VERSION, see above"
}

# Runs a command whose output goes to DIRECTORY/log; reports its progress.
run() {
  local work=$1 what=$2 begun=$SECONDS child
  shift 2
  "$@" >"$work/log" 2>&1 9>&- &
  child=$!
  while kill -0 "$child" 2>/dev/null; do
    if [[ $((SECONDS - begun)) -ge $PROGRESS_SECONDS ]]; then
      begun=$SECONDS
      say "$what: $(wc -l <"$work/log") lines of output after $SECONDS s"
    fi
    sleep 0.5
  done
  wait "$child"
}

publish() {
  chmod +x "$1"
  mv "$1" "$TARGET"
}

say() { echo "kube_apiserver: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

cached "$TARGET" provide
echo "$TARGET"
