#!/bin/bash
# Builds Go programs that the tests need into a directory, with `go install`, unless it is there.
#
#   tests/go_install.sh NAME DIRECTORY PROGRAM@VERSION...      NAME: who asks, for messages
#
# A missing Go toolchain fails the tests by name; it never skips them.
set -euo pipefail

source "$(dirname "$(readlink -f "$0")")/cached.sh"
readonly NAME=$1 DIRECTORY=$2
readonly PROGRAMS=("${@:3}")

# Retries, because a download may fail.
build() {
  local program attempt
  command -v go >/dev/null || fail "go not found: install Go 1.26 or later, or put it on PATH"
  export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -buildvcs=false" GOBIN=$work/bin
  for program in "${PROGRAMS[@]}"; do
    say "building $program (may take some minutes the first time)"
    for attempt in 1 2 3; do
      if install_program "$work" "$program" >"$work/log" 2>&1; then continue 2; fi
      say "attempt $attempt failed: $(tail -n 1 "$work/log")"
    done
    cat "$work/log" >&2
    fail "cannot build $program: go install failed, see above"
  done
  mv "$work/bin" "$DIRECTORY"
}

# In a module of its own: `go install PROGRAM@VERSION` refuses modules that replace others, as etcd's
# does with its own.
install_program() (
  cd "$1" && rm -f go.mod go.sum &&
    go mod init flanneld.test/program && go get "$2" && go install -ldflags "-s -w" "${2%@*}"
)

say() { echo "$NAME: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

cached "$DIRECTORY" build
