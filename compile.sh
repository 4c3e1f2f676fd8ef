#!/bin/bash
# Builds the executable: dist/flanneld, or dist/flanneld-TARGET for a named target.
#
#   ./compile.sh [linux-x64|linux-x64-baseline|linux-x64-musl|linux-arm64|linux-arm64-musl]
#
# Installs what the build lacks: the locked npm packages, and as root the Debian packages of libnl,
# whose libraries travel inside the executable. Other targets' runtimes come from npm and their
# libnl from Debian. Two builds of one commit give the same bytes, whatever the directory.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

readonly LIBNL_PACKAGES=(libnl-3-200 libnl-route-3-200 libnl-genl-3-200 libnl-xfrm-3-200)
readonly LIBNL_SONAMES=(
  libnl-3.so.200 libnl-route-3.so.200 libnl-genl-3.so.200 libnl-xfrm-3.so.200)
# The code of the udp backend's thread, without its suffix.
readonly WORKER=src/backend/udp/proxy_worker
# The paths whose changes mark the version's commit as dirty.
readonly SOURCES=(
  src ffi deploy/kube-flannel.yml licenses LICENSE NOTICE compile.sh package.json package-lock.json)

main() {
  local host target output
  host=$(host_target)
  target=${1:-$host}
  output=dist/flanneld${1:+-$target}
  check_target "$target"

  mkdir -p dist
  exec 9>dist/.lock
  flock 9 # two builds in one tree would overwrite each other's files
  install_npm_packages
  local work=dist/build/$target runtime
  rm -rf "$work"
  mkdir -p "$work/lib"
  collect_libnl "$target" "$host" "$work/lib"
  write_entry "$work"
  runtime=$(runtime_of "$target" "$host")

  # __dirname would carry this directory's name into the bytes; only pino's transports, which a
  # compiled program cannot have, use it. NODE_ENV would otherwise be the caller's.
  # A worker is an entry point of its own, found under the path of its source below /$bunfs/root.
  # --splitting: each dynamic import loads a file of its own, so memory holds only what is used;
  # in one file, every module would be there. It needs the format esm.
  env -u BUN_OPTIONS NODE_ENV=production node_modules/.bin/bun build "$work/entry.ts" \
    "${WORKER}.ts" --root . \
    --compile --minify --bytecode --format=esm --splitting --target="bun-$target" \
    ${runtime:+--compile-executable-path="$runtime"} \
    --no-compile-autoload-dotenv --no-compile-autoload-bunfig \
    --define __dirname='"/"' --define __filename='"/"' \
    --define FLANNELD_COMMIT="\"$(commit)\"" \
    --define FLANNELD_PROXY_WORKER="\"/\$bunfs/root/$WORKER.js\"" \
    --outfile "$work/flanneld" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
  mv -f "$work/flanneld" "$output"
  echo "built $output ($(stat -c %s "$output") bytes, $(commit))"
}

fail() {
  echo "compile.sh: $*" >&2
  exit 1
}

host_target() {
  local libc=
  if ldd --version 2>&1 | grep -qi musl; then libc=-musl; fi
  case $(uname -s)-$(uname -m) in
    Linux-x86_64) echo "linux-x64$libc" ;;
    Linux-aarch64) echo "linux-arm64$libc" ;;
    *) fail "this machine ($(uname -sm)) cannot build; Linux on x86-64 or arm64 can" ;;
  esac
}

check_target() {
  case $1 in
    linux-x64 | linux-x64-baseline | linux-x64-musl | linux-arm64 | linux-arm64-musl) ;;
    *) fail "unknown target $1; there are linux-x64, linux-x64-baseline, linux-x64-musl," \
      "linux-arm64 and linux-arm64-musl" ;;
  esac
}

install_npm_packages() {
  command -v npm >/dev/null || fail "npm is missing (Debian package npm)"
  ! npm_packages_are_installed || return 0
  echo "installing npm packages"
  local npm=(npm ci --no-audit --no-fund --loglevel=error --fetch-retries=5)
  "${npm[@]}" >&2 || { sleep 5 && "${npm[@]}" >&2; } || fail "npm ci failed"
}

# Whether node_modules holds the locked versions; packages for other platforms may be absent.
npm_packages_are_installed() {
  node -e '
    const { packages: locked } = require("./package-lock.json");
    const { packages: installed } = require("./node_modules/.package-lock.json");
    process.exitCode = Object.entries(locked).every(([path, { version, optional }]) =>
      path === "" || (optional && !installed[path]) || installed[path]?.version === version
    ) ? 0 : 1;
  ' 2>/dev/null
}

# The short commit, with .dirty if a file that goes into the executable differs from it.
commit() {
  local id git=(git -c safe.directory='*')
  id=$("${git[@]}" rev-parse --short=12 HEAD 2>/dev/null) || {
    echo unknown
    return
  }
  if [[ -n $("${git[@]}" status --porcelain -- "${SOURCES[@]}" 2>/dev/null) ]]; then id+=.dirty; fi
  echo "$id"
}

# Path of the target's Bun runtime; empty for the runtime of this machine.
runtime_of() {
  local target=$1 host=$2 name version folder
  [[ $target != "$host" ]] || return 0
  name=bun-${target/arm64/aarch64}
  version=$(node -p 'require("./package.json").devDependencies.bun')
  folder=dist/runtimes/$name-$version
  if [[ ! -x $folder/package/bin/bun ]]; then
    echo "fetching the runtime $name $version" >&2
    rm -rf "$folder" "$folder.new"
    mkdir -p "$folder.new"
    npm pack --silent --fetch-retries=5 --pack-destination "$folder.new" "@oven/$name@$version" \
      >/dev/null ||
      fail "cannot fetch the npm package @oven/$name@$version, the runtime of the target"
    tar -xzf "$folder.new"/*.tgz -C "$folder.new"
    rm "$folder.new"/*.tgz
    mv "$folder.new" "$folder" # complete, or absent
  fi
  echo "$folder/package/bin/bun"
}

# Copies libnl for the target into a folder, under its SONAMEs.
collect_libnl() {
  local target=$1 host=$2 folder=$3
  case $target in
    *-musl) return 0 ;; # Debian's copies need glibc; Alpine users install the package libnl3
    "${host%-musl}" | "$host-baseline") copy_system_libnl "$folder" ;;
    linux-x64*) fetch_libnl amd64 "$folder" ;;
    linux-arm64*) fetch_libnl arm64 "$folder" ;;
  esac
}

copy_system_libnl() {
  local folder=$1 soname path missing=
  for soname in "${LIBNL_SONAMES[@]}"; do [[ -n $(system_library "$soname") ]] || missing=yes; done
  if [[ -n $missing ]]; then
    [[ $(id -u) = 0 ]] ||
      fail "libnl is missing; install ${LIBNL_PACKAGES[*]}, or run this once as root"
    echo "installing ${LIBNL_PACKAGES[*]}"
    { apt-get update && apt-get install -y --no-install-recommends "${LIBNL_PACKAGES[@]}"; } \
      >"$folder/apt.log" 2>&1 || fail "$(cat "$folder/apt.log")"
    rm "$folder/apt.log"
  fi
  for soname in "${LIBNL_SONAMES[@]}"; do
    path=$(system_library "$soname")
    [[ -n $path ]] || fail "$soname is still missing after installing ${LIBNL_PACKAGES[*]}"
    cp -L "$path" "$folder/$soname"
  done
}

system_library() {
  local ldconfig architecture
  ldconfig=$(PATH=$PATH:/usr/sbin:/sbin command -v ldconfig) || return 0
  case $(uname -m) in x86_64) architecture=x86-64 ;; *) architecture=AArch64 ;; esac
  # awk reads the whole list: ldconfig fails if its output is closed early.
  "$ldconfig" -p | awk -v name="$1" -v arch="$architecture" \
    '$1 == name && index($0, arch) && !found++ { print $NF }'
}

# Downloads the Debian packages of another architecture, with package lists of its own.
fetch_libnl() {
  local architecture=$1 folder=$2 cache package
  cache=$PWD/dist/runtimes/libnl-$architecture
  if [[ ! -e $cache/complete ]]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
      fail "libnl for $architecture comes from Debian packages; apt-get and dpkg-deb are missing"
    echo "fetching libnl for $architecture"
    rm -rf "$cache"
    mkdir -p "$cache/lists/partial" "$cache/cache/archives/partial"
    local apt=(apt-get -qq -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"
      -o "Dir::State::Lists=$cache/lists" -o "Dir::Cache=$cache/cache" -o Debug::NoLocking=1
      -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=)
    (cd "$cache" && "${apt[@]}" update && "${apt[@]}" download "${LIBNL_PACKAGES[@]}") \
      >"$cache/log" 2>&1 || fail "cannot fetch libnl for $architecture: $(tail -n 3 "$cache/log")"
    for package in "$cache"/*.deb; do dpkg-deb -x "$package" "$cache/root"; done
    rm -rf "$cache/lists" "$cache/cache" "$cache"/*.deb
    touch "$cache/complete"
  fi
  local soname
  for soname in "${LIBNL_SONAMES[@]}"; do
    cp -L "$(find "$cache/root" -name "$soname")" "$folder/$soname"
  done
}

# The entry point: registers the libraries, then runs src/main.ts.
write_entry() {
  local work=$1 index=0 soname imports= entries=
  for soname in "${LIBNL_SONAMES[@]}"; do
    [[ -e $work/lib/$soname ]] || continue
    imports+="import lib$index from \"./lib/$soname\" with { type: \"file\" };"$'\n'
    entries+="  [\"$soname\", lib$index],"$'\n'
    index=$((index + 1))
  done
  cat >"$work/embedded_libraries.ts" <<END
import { setEmbeddedLibraries } from "../../../ffi/embedded.ts";
${imports}setEmbeddedLibraries(new Map<string, string>([
${entries}]));
END
  cat >"$work/entry.ts" <<END
import "./embedded_libraries.ts";
import "../../../src/main.ts";
END
}

main "$@"
