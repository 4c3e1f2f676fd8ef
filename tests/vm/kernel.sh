#!/bin/bash
# Provides the kernel that tests/vm/run starts: DIRECTORY/linux, User Mode Linux with kernel.config.
#
#   tests/vm/kernel.sh DIRECTORY
#
# The first of: the existing one, a prebuilt one, a new one. A kernel belongs to the kernel.config
# that it was built from; `linux.key` next to it is that file's checksum. A prebuilt kernel is a
# directory with linux.xz and linux.key: $VMRUN_READY, by default one next to this checkout. A new
# one is built from Debian's kernel source, which takes minutes, once.
set -uo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
readonly CONFIG=$HERE/kernel.config
readonly READY=${VMRUN_READY:-$HERE/../../../shared/tools/uml}
readonly DIRECTORY=$1
# The newest first: since 6.16 system calls are fast (seccomp), since 6.19 a guest may have several
# processors.
readonly SUITES=(forky sid bookworm-backports bookworm)
readonly BUILD_PACKAGES=(gcc make flex bison bc libc6-dev xz-utils)
readonly PROGRESS_SECONDS=30

main() {
  key=$(sha256sum <"$CONFIG")
  exec 9>"$DIRECTORY/lock"
  flock 9 # others wait until the first has built it
  if [[ -x $DIRECTORY/linux && $(cat "$DIRECTORY/linux.key" 2>/dev/null) = "$key" ]]; then
    return
  fi
  if [[ $(cat "$READY/linux.key" 2>/dev/null) = "$key" ]]; then
    if xz -dc "$READY/linux.xz" >"$DIRECTORY/linux.new"; then
      publish
      return
    fi
    say "cannot unpack $READY/linux.xz"
  fi
  build
}

# The key is written last: a kernel without it is incomplete.
publish() {
  rm -f "$DIRECTORY/linux.key"
  chmod +x "$DIRECTORY/linux.new" && mv "$DIRECTORY/linux.new" "$DIRECTORY/linux" &&
    echo "$key" >"$DIRECTORY/linux.key"
}

build() {
  local mirror suite
  [[ $(uname -m) = x86_64 ]] ||
    fail "User Mode Linux exists on x86-64 only; use a kernel that has the features"
  bash "$HERE/../install.sh" "${BUILD_PACKAGES[@]}" || exit
  mirror=$(debian_mirror)
  [[ $mirror ]] ||
    fail "this machine's apt sources name no Debian mirror to fetch the source from"
  work=$DIRECTORY/build
  trap 'rm -rf "$work"' EXIT
  for suite in "${SUITES[@]}"; do
    rm -rf "$work"
    mkdir -p "$work"/{lists/partial,cache/archives/partial,source,output}
    if fetch_source "$mirror" "$suite" && compile "$suite"; then return; fi
  done
  fail "could not build it; the log of the last attempt ends:
$(tail -n 20 "$work/log")"
}

# The machine's mirror of the main archive.
debian_mirror() {
  local try
  for try in 1 2; do
    apt-get indextargets --format '$(REPO_URI)' \
      'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' |
      sort -u | sed -n 1p | grep . && return
    [[ $try = 2 ]] || apt-get -q update >/dev/null 2>&1
  done
}

# Unpacks a suite's kernel source into $work/source, with separate apt lists to keep the machine's
# unchanged. Fails if the suite has none.
fetch_source() {
  local mirror=$1 suite=$2 package apt
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
    >"$work/sources.list"
  apt=(-o Acquire::Retries=3
    -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  apt-get "${apt[@]}" -q update >"$work/log" 2>&1 || return
  package=$(apt-cache "${apt[@]}" depends linux-source 2>/dev/null |
    awk '/Depends: linux-source-/ { print $2; exit }')
  [[ $package ]] || return
  say "fetching $package of $suite"
  (
    cd "$work" && apt-get "${apt[@]}" -q download "$package" >>log 2>&1 &&
      dpkg -x linux-source-*.deb package && rm linux-source-*.deb &&
      tar -C source --strip-components=1 --exclude='*/drivers/gpu/*.[ch]' \
        --exclude='*/Documentation/*.rst' -xf package/usr/src/linux-source-*.tar.xz &&
      rm -r package
  )
}

compile() {
  local begun=$SECONDS maker
  say "building it with $(nproc) processes; this happens once and takes some minutes"
  make -C "$work/source" ARCH=um O="$work/output" "KCONFIG_ALLCONFIG=$CONFIG" allnoconfig \
    >>"$work/log" 2>&1 || return
  nice make -C "$work/output" ARCH=um -j"$(nproc)" linux >>"$work/log" 2>&1 9>&- &
  maker=$!
  until wait_for "$maker" "$PROGRESS_SECONDS"; do
    say "$(grep -c '^  *CC ' "$work/log") files compiled after $((SECONDS - begun)) s"
  done
  wait "$maker" || return
  report_refused_options
  strip -o "$DIRECTORY/linux.new" "$work/output/linux" && publish &&
    say "built Linux $("$DIRECTORY/linux" --version) in $((SECONDS - begun)) s"
}

# Whether the process ends within the given time.
wait_for() {
  local end=$((SECONDS + $2))
  while [[ $SECONDS -lt $end ]]; do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.5
  done
  return 1
}

# Options of kernel.config that this version lacks, or that depend on a disabled one.
report_refused_options() {
  local option
  while read -r option; do
    grep -qxF "$option" "$work/output/.config" || say "without $option"
  done < <(grep -E '^CONFIG_' "$CONFIG")
}

say() { echo "test kernel: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

main
