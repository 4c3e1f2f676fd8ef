#!/bin/bash
# Installs Debian packages that are missing: tests/install.sh PACKAGE...
# Without root it lists them and fails. The installation starts no service.
set -euo pipefail

missing=()
for package in "$@"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state = installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "these Debian packages are missing: ${missing[*]}" >&2
  exit 1
fi

echo "installing ${missing[*]}"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d # asked by packages before they start their service
cleanup() {
  rm -f "$log"
  [[ -z ${placed:-} ]] || rm -f "$policy"
}
trap cleanup EXIT
if [[ ! -e $policy ]]; then
  placed=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
# Another apt may hold the lock for a while, and a download may fail once.
apt=(apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
for attempt in 1 2 3; do
  if { "${apt[@]}" update && "${apt[@]}" -y install --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then exit 0; fi
  echo "attempt $attempt failed:" >&2
  tail -n 20 "$log" >&2
  [[ $attempt = 3 ]] || sleep 10
done
exit 1
