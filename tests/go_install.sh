#!/bin/bash
# Builds Go programs that the tests need into a directory, with `go install`, unless they are there.
#
#   tests/go_install.sh NAME DIRECTORY PROGRAM@VERSION...      NAME: who asks, for messages
#
# A missing Go toolchain fails the tests by name; it never skips them.
set -euo pipefail

readonly NAME=$1 DIRECTORY=$2
readonly PROGRAMS=("${@:3}")

main() {
  mkdir -p "$(dirname "$DIRECTORY")"
  exec 9>"$DIRECTORY.lock"
  flock 9 # others wait until the first has built them
  if are_there; then return; fi
  command -v go >/dev/null || fail "go not found: install Go 1.26 or later, or put it on PATH"
  build
}

are_there() {
  local program
  for program in "${PROGRAMS[@]}"; do
    program=$(sed 's|@.*||; s|/v[0-9]*$||' <<<"$program")
    [[ -x $DIRECTORY/${program##*/} ]] || return 1
  done
}

# Retries, because a download may fail.
build() {
  local work program attempt
  work=$(mktemp -d "$(dirname "$DIRECTORY")/build.XXXXXX")
  # Expanded now: the variable no longer exists when the trap runs.
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
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
  mkdir -p "$DIRECTORY"
  mv -f "$work"/bin/* "$DIRECTORY"
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

main
