# shellcheck shell=bash
# Sourced by the scripts that provide what the tests need and Debian lacks: programs, kernels and root
# file systems, each of which is made once and then found in /var/tmp/flanneld-test.

readonly CACHE=${FLANNELD_TEST_CACHE:-/var/tmp/flanneld-test}

# cached TARGET COMMAND...: runs the command, which makes TARGET, unless it is there; others wait
# meanwhile. The command has a folder for its work, $work, from which TARGET can be renamed.
cached() {
  local target=$1
  shift
  mkdir -p "$(dirname "$target")"
  exec 9>"$target.lock"
  flock 9
  [[ ! -e $target ]] || return 0
  work=$(mktemp -d "$(dirname "$target")/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  "$@"
}

# key_of FILE...: for the name of what depends on the content of these files.
key_of() {
  cat "$@" | sha256sum | cut -c -16
}
