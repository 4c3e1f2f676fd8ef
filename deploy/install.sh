#!/bin/sh
# Installs or upgrades flanneld on this host. The manual is docs/install.md.
#
#   curl --proto '=https' --tlsv1.2 -fsSL https://MIRROR/VERSION/install.sh |
#     FLANNELD_ETCD_ENDPOINTS=http://192.0.2.10:2379 sh -s -- --mirror https://MIRROR
#
# It is POSIX sh. Nothing happens before the last line is read, so that a download that was cut off
# does nothing.

main() {
  set -eu
  umask 022
  set_defaults
  read_arguments "$@"
  case $action in
    help) usage ;;
    uninstall) uninstall ;;
    install) install_release ;;
  esac
}

usage() {
  cat <<'END'
Usage: install.sh [OPTION]...

Installs flanneld, or upgrades it; what is up to date is left alone. FLANNELD_* variables of the
environment become the settings in /etc/flanneld/flanneld.env, and FLANNEL_DATASTORE_FLAGS and
FLANNEL_DATASTORE_SECRET those in /etc/flanneld/datastore.env. Settings that are in these files stay.

  --node              Run the daemon (the default on a host without flanneld).
  --datastore         Run the datastore; with --node, both.
  --version VERSION   Install this version.
  --channel NAME      Install the version that this channel names (default: stable).
  --mirror URL        Where the releases are (https).
  --from DIR          Install from a directory: a release or a copy of a mirror. Nothing is
                      downloaded.
  --minisign-key KEY  Public key that the release has to be signed with.
  --no-start          Start and restart nothing.
  --dry-run           Say what would be changed.
  --uninstall         Remove flanneld; settings and data stay.
  --purge             With --uninstall: remove settings and data too.
  -h, --help          Print this text.

Environment: INSTALL_FLANNELD_VERSION, INSTALL_FLANNELD_CHANNEL, INSTALL_FLANNELD_MIRROR,
INSTALL_FLANNELD_FROM and INSTALL_FLANNELD_MINISIGN_KEY for the options of these names;
INSTALL_FLANNELD_READY_SECONDS: how long an upgrade waits for the daemon (default: 60).
END
}

set_defaults() {
  # A publisher of releases sets these two.
  default_mirror=
  default_minisign_key=

  action=install roles='' dry_run='' start=yes purge=''
  version=${INSTALL_FLANNELD_VERSION:-}
  channel=${INSTALL_FLANNELD_CHANNEL:-stable}
  mirror=${INSTALL_FLANNELD_MIRROR:-$default_mirror}
  from=${INSTALL_FLANNELD_FROM:-}
  minisign_key=${INSTALL_FLANNELD_MINISIGN_KEY:-$default_minisign_key}
  ready_seconds=${INSTALL_FLANNELD_READY_SECONDS:-60}

  executable=/usr/local/bin/flanneld
  units=/etc/systemd/system
  settings=/etc/flanneld
  unfinished=$settings/.unfinished # there while files and processes may differ
  share=/usr/local/share
  work='' kept='' changed='' restarted='' is_upgrade='' settled='' was_interrupted=''
}

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --version | --channel | --mirror | --from | --minisign-key)
        [ -n "${2:-}" ] || fail "$1 needs a value; see --help"
        ;;
    esac
    case $1 in
      --node) roles="$roles flanneld" ;;
      --datastore) roles="$roles flannel-datastore" ;;
      --version) version=$2 && shift ;;
      --channel) channel=$2 && shift ;;
      --mirror) mirror=$2 && shift ;;
      --from) from=$2 && shift ;;
      --minisign-key) minisign_key=$2 && shift ;;
      --no-start) start='' ;;
      --dry-run) dry_run=yes ;;
      --uninstall) action=uninstall ;;
      --purge) purge=yes ;;
      -h | --help) action=help ;;
      *) fail "unknown argument \"$1\"; see --help" ;;
    esac
    shift
  done
  [ -z "$purge" ] || [ "$action" != install ] || fail "--purge needs --uninstall"
}

say() {
  echo "install.sh: $*"
}

# One line, whatever the programs have said that it cites.
fail() {
  echo "install.sh: $(printf '%s' "$*" | tr -s '\n' ' ')" >&2
  exit 1
}

install_release() {
  check_host
  trap on_exit EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/flanneld.XXXXXX") ||
    fail "cannot create a temporary directory; set TMPDIR to one with 300 MB of free space"
  find_release
  fetch_checksums
  fetch_deploy_files
  choose_roles
  if [ -e "$unfinished" ]; then was_interrupted=yes; fi
  place_executable
  place_manuals
  place_settings
  if has systemctl; then place_units; fi
  if [ -z "$dry_run" ]; then run_services; else list_restarts; fi
  settled=yes
  [ -n "$changed" ] || say "nothing to change"
}

check_host() {
  require_root
  lock_host
  [ "$(uname -s)" = Linux ] || fail "flanneld needs Linux; this is $(uname -s)"
  case $(uname -m) in
    x86_64 | amd64) architecture=amd64 ;;
    aarch64 | arm64) architecture=arm64 ;;
    *) fail "there is no flanneld for $(uname -m); there is one for x86_64 and aarch64" ;;
  esac
  for tool in sha256sum mktemp tar gzip sed grep; do
    has "$tool" || fail "$tool is missing; install it and run this again"
  done
  [ ! -e /usr/bin/flanneld ] ||
    fail "/usr/bin/flanneld is there, from a package; upgrade that package, or remove it first"
}

require_root() {
  [ -n "$dry_run" ] || [ "$(id -u)" = 0 ] ||
    fail "this changes the system and needs root; run it by sudo, or add --dry-run"
}

# One at a time. The kernel releases the lock when the script has ended, however it ends.
lock_host() {
  [ -z "$dry_run" ] && has flock && [ -w /run ] || return 0
  exec 9>/run/flanneld-install.lock
  flock -n 9 || fail "another install.sh is running; run this again when it has ended"
}

has() {
  command -v "$1" >/dev/null 2>&1
}

# Rolls back what was begun and did not succeed; restores the previous processes too.
on_exit() {
  status=$?
  trap - EXIT
  trap '' INT TERM HUP
  if [ -z "$settled" ] && [ -n "$kept" ]; then roll_back; fi
  rm -f "$executable.new"
  rm -rf "$work"
  exit "$status"
}

# --- the release ----------------------------------------------------------------------------------

# Sets `release`: the directory or the URL of one version.
find_release() {
  if [ -n "$from" ]; then
    base=${from%/}
    [ -d "$base" ] || fail "--from $from is not a directory"
  else
    [ -n "$mirror" ] || fail "there is no place to install from; name one by --mirror or --from"
    case $mirror in
      https://?*) base=${mirror%/} ;;
      *) fail "the mirror \"$mirror\" does not begin with https://" ;;
    esac
  fi
  release=$base
  [ -z "$from" ] || [ ! -e "$base/SHA256SUMS" ] || return 0
  if [ -z "$version" ]; then
    fetch "$channel"
    version=$(head -n 1 "$work/$channel" | tr -d '[:space:]')
  fi
  case $version in
    '' | [!A-Za-z0-9]* | *[!A-Za-z0-9._+-]*)
      fail "\"$version\" is not a version; check --version, or $base/$channel"
      ;;
  esac
  release=$base/$version
}

# Copies a file of the release to $work.
fetch() {
  if [ -z "$from" ]; then
    download "$release/$1" "$work/$1"
  else
    reason=$(cp "$release/$1" "$work/$1" 2>&1) || fail "cannot read $release/$1: $reason"
  fi
}

download() {
  if has curl; then
    reason=$(curl --proto '=https' --proto-redir '=https' --tlsv1.2 --fail --silent --show-error \
      --location --retry 3 --connect-timeout 20 --speed-limit 1000 --speed-time 60 \
      --output "$2" "$1" 2>&1)
  elif has wget && wget --help 2>&1 | grep -q -e --https-only; then
    wget_over_tls "$1" "$2"
  else
    fail "curl is missing (or GNU wget); install it, or download the release and use --from"
  fi || fail "cannot download $1: $reason; check the mirror, https_proxy and the CA certificates"
}

# --https-only does not apply to redirects: what a redirect to http has delivered is not used.
wget_over_tls() {
  responses=$(wget --https-only --secure-protocol=TLSv1_2 --no-verbose --server-response --tries=3 \
    --timeout=60 --output-document="$2" "$1" 2>&1) && succeeded=yes || succeeded=''
  reason=$(echo "$responses" | grep -v '^ ') || reason=$responses
  if echo "$responses" | grep -qi '^ *location: *http:'; then
    reason="the mirror redirects to http" succeeded=''
  fi
  [ -n "$succeeded" ]
}

fetch_checksums() {
  fetch SHA256SUMS
  [ -n "$minisign_key" ] || return 0
  has minisign ||
    fail "minisign is missing and the release has to be signed; install it and run this again"
  fetch SHA256SUMS.minisig
  reason=$(minisign -Vq -P "$minisign_key" -m "$work/SHA256SUMS" 2>&1) ||
    fail "the signature $release/SHA256SUMS.minisig is wrong: $reason; nothing was changed"
}

digest() {
  [ ! -f "$1" ] || sha256sum <"$1" | cut -d ' ' -f 1
}

# The sha256 of a file of the release, if it has this file.
listed_digest() {
  sed -n "s/^\([0-9a-f]\{64\}\) [ *]$1\$/\1/p" "$work/SHA256SUMS"
}

fetch_verified() {
  wanted=$(listed_digest "$1")
  [ -n "$wanted" ] || fail "$release/SHA256SUMS does not list $1; choose another version"
  fetch "$1"
  found=$(digest "$work/$1")
  [ "$found" = "$wanted" ] ||
    fail "the sha256 of $release/$1 is $found instead of $wanted; nothing was changed," \
      "download it again or use another mirror"
}

fetch_deploy_files() {
  fetch_verified flanneld-deploy.tar.gz
  reason=$(tar -xzf "$work/flanneld-deploy.tar.gz" -C "$work" 2>&1) ||
    fail "cannot unpack flanneld-deploy.tar.gz in $work: $reason"
}

# The roles of the arguments, and those that this host has already.
choose_roles() {
  chosen=
  for role in flannel-datastore flanneld; do
    if has_role "$role" || [ -e "$units/$role.service" ]; then chosen="$chosen $role"; fi
  done
  roles=${chosen:- flanneld}
  if has_role flanneld && ! has iptables; then
    say "iptables is missing; install it, unless the network's configuration has EnableNFTables"
  fi
}

has_role() {
  case "$roles " in *" $1 "*) ;; *) return 1 ;; esac
}

# --- files ----------------------------------------------------------------------------------------

place_executable() {
  asset=flanneld-linux-$architecture
  wanted=$(listed_digest "$asset")
  [ -n "$wanted" ] || fail "$release/SHA256SUMS does not list $asset; choose another version"
  [ "$(digest "$executable")" != "$wanted" ] || return 0
  if [ -e "$executable" ]; then is_upgrade=yes; fi
  if [ -n "$dry_run" ]; then
    note_change "$executable"
    return
  fi
  fetch_executable "$asset"
  reason=$({ mkdir -p "${executable%/*}" && cp "$work/$asset" "$executable.new"; } 2>&1) ||
    fail "cannot write $executable.new: $reason"
  rm "$work/$asset"
  chmod 755 "$executable.new"
  reason=$("$executable.new" --version 2>&1) ||
    fail "$asset does not run on this host: $reason; it needs glibc; nothing was changed"
  keep "$executable"
  mv -f "$executable.new" "$executable"
  label "$executable"
  note_change "$executable"
}

# Downloads the smallest form that this host can read.
fetch_executable() {
  if has zstd && [ -n "$(listed_digest "$1.zst")" ]; then
    fetch_verified "$1.zst"
    zstd -dqc "$work/$1.zst" >"$work/$1" || fail "cannot decompress $1.zst in $work"
  elif [ -n "$(listed_digest "$1.gz")" ]; then
    fetch_verified "$1.gz"
    gzip -dc "$work/$1.gz" >"$work/$1" || fail "cannot decompress $1.gz in $work"
  else
    fetch_verified "$1"
  fi
  [ "$(digest "$work/$1")" = "$(listed_digest "$1")" ] ||
    fail "the sha256 of $1 is wrong after decompression; nothing was changed, use another version"
}

place_manuals() {
  for page in "$work"/deploy/man/*.8; do
    [ ! -e "$page" ] || place "$page" "$share/man/man8/${page##*/}" 644
  done
  [ -d "$work/deploy/completion" ] || return 0
  place "$work/deploy/completion/flanneld.bash" "$share/bash-completion/completions/flanneld" 644
  place "$work/deploy/completion/_flanneld" "$share/zsh/site-functions/_flanneld" 644
  place "$work/deploy/completion/flanneld.fish" "$share/fish/vendor_completions.d/flanneld.fish" 644
}

place_units() {
  systemd=$work/deploy/systemd
  for role in $roles; do
    place "$systemd/$role.service" "$units/$role.service" 644
  done
  place "$systemd/10-flannel.network" /etc/systemd/network/10-flannel.network 644
  place "$systemd/networkd.conf" /etc/systemd/networkd.conf.d/flannel.conf 644
  [ ! -d /etc/NetworkManager ] ||
    place "$systemd/network_manager.conf" /etc/NetworkManager/conf.d/flannel.conf 644
}

place_settings() {
  # Other lines of a value with several lines can look like a variable.
  names=$(env | sed -n 's/^\(FLANNELD_[A-Z0-9_]*\)=.*/\1/p')
  # shellcheck disable=SC2086 # names of variables
  if has_role flanneld; then merge_settings flanneld.env $names; fi
  if has_role flannel-datastore; then
    merge_settings datastore.env FLANNEL_DATASTORE_FLAGS FLANNEL_DATASTORE_SECRET
  fi
}

# Variables of the environment replace those in a file of settings; an empty one removes it.
merge_settings() {
  file=$settings/$1 merged=$work/$1
  shift
  if [ -e "$file" ]; then
    cat "$file" >"$merged" || fail "cannot read $file"
  else
    echo "# Read by systemd; the variables are in flanneld --help and docs/install.md." >"$merged"
  fi
  for name in "$@"; do
    value=
    eval "[ -n \"\${$name+set}\" ] && value=\$$name" || continue
    case $value in
      *"
"*) fail "$name has more than one line; a setting has one" ;;
    esac
    # From a file, because a command line with a password is visible to all users.
    printf '%s=%s\n' "$name" "$(quoted "$value")" >"$work/line"
    if [ -n "$value" ] && grep -Fxq -f "$work/line" "$merged"; then continue; fi
    sed "/^$name=/d" "$merged" >"$merged.other"
    mv "$merged.other" "$merged"
    if [ -n "$value" ]; then cat "$work/line" >>"$merged"; fi
  done
  place "$merged" "$file" 600
}

# A value as systemd.exec(5), EnvironmentFile=, and sh read it.
quoted() {
  case $1 in
    *[!A-Za-z0-9_@%+=:,./-]*)
      printf '"%s"' "$(printf '%s' "$1" | sed 's/["\\$`]/\\&/g')"
      ;;
    *) printf '%s' "$1" ;;
  esac
}

# place SOURCE TARGET MODE: writes a file unless it is there with this content.
place() {
  [ "$(digest "$1")" != "$(digest "$2")" ] || return 0
  if [ -z "$dry_run" ]; then
    keep "$2"
    chmod "$3" "$1"
    put "$1" "$2"
  fi
  note_change "$2"
}

# Replaces a file in one step.
put() {
  reason=$({ mkdir -p "${2%/*}" && cp -p "$1" "$2.new" && mv -f "$2.new" "$2"; } 2>&1) ||
    fail "cannot write $2: $reason"
  label "$2"
}

# Sets the label of SELinux.
label() {
  has restorecon || return 0
  reason=$(restorecon "$1" 2>&1) || fail "cannot set the SELinux label of $1: $reason"
}

note_change() {
  changed="$changed $1"
  if [ -n "$dry_run" ]; then say "would write $1"; else say "wrote $1"; fi
}

is_changed() {
  for path in "$@"; do
    case " $changed " in *" $path "*) return 0 ;; esac
  done
  return 1
}

# Keeps a file, or its absence, for a rollback.
keep() {
  if [ ! -e "$unfinished" ]; then
    reason=$({ mkdir -p "$settings" && : >"$unfinished"; } 2>&1) ||
      fail "cannot write to $settings: $reason"
  fi
  mkdir -p "$work/previous${1%/*}"
  if [ -e "$1" ]; then
    ln "$1" "$work/previous$1" 2>/dev/null || cp -p "$1" "$work/previous$1" ||
      fail "cannot keep a copy of $1 in $work; nothing was changed there"
  fi
  kept="$kept $1"
}

roll_back() {
  for path in $kept; do
    if [ -e "$work/previous$path" ]; then
      put "$work/previous$path" "$path"
    else
      rm -f "$path"
    fi
  done
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    for service in $restarted; do
      restart "$service"
      await_ready "$service" "$ready_seconds"
      say "rolled back; $service is $outcome"
    done
  fi
  rm -f "$unfinished"
}

# --- services -------------------------------------------------------------------------------------

run_services() {
  if ! has systemctl; then
    settle
    for role in $roles; do
      say "there is no systemd here; to run $role as root: $(command_of "$role")"
    done
    return
  fi
  for role in $roles; do
    [ -z "$start" ] || systemctl enable --quiet "$role"
  done
  if [ ! -d /run/systemd/system ] || [ -z "$start" ]; then
    settle
    say "started nothing; on a running system: systemctl enable --now$roles"
    return
  fi
  if [ -n "$changed$was_interrupted" ]; then systemctl daemon-reload; fi
  reload_network_managers
  for role in $roles; do run_service "$role"; done
  settle
}

# What the unit of a role runs, as a command for a shell.
command_of() {
  case $1 in
    flanneld) echo "set -a; . $settings/flanneld.env; $executable" ;;
    *)
      # shellcheck disable=SC2016 # for that shell
      echo "set -a; . $settings/datastore.env; $executable datastore" '$FLANNEL_DATASTORE_FLAGS'
      ;;
  esac
}

# From here on, the files stay as they are.
settle() {
  settled=yes
  rm -f "$unfinished"
}

reload_network_managers() {
  if is_changed /etc/systemd/network/10-flannel.network \
    /etc/systemd/networkd.conf.d/flannel.conf; then
    systemctl try-restart systemd-networkd
  fi
  if is_changed /etc/NetworkManager/conf.d/flannel.conf &&
    systemctl is-active --quiet NetworkManager; then
    systemctl reload NetworkManager
  fi
}

needs_restart() {
  case $1 in
    flanneld) file=$settings/flanneld.env ;;
    *) file=$settings/datastore.env ;;
  esac
  [ -n "$was_interrupted" ] || is_changed "$executable" "$units/$1.service" "$file"
}

list_restarts() {
  for role in $roles; do
    if needs_restart "$role"; then say "would start or restart $role"; fi
  done
}

# Starts a service, or restarts it if a file of it has changed.
run_service() {
  was_ready=
  if systemctl is-active --quiet "$1"; then was_ready=yes; fi
  if needs_restart "$1"; then
    restarted="$1 $restarted"
  elif [ -n "$was_ready" ]; then
    return 0
  fi
  if [ -n "$was_ready" ]; then seconds=$ready_seconds; else seconds=10; fi
  restart "$1"
  await_ready "$1" "$seconds"
  case $outcome in
    ready) say "$1 is ready" ;;
    waiting)
      [ -z "$was_ready" ] ||
        fail "$1 is not ready after $seconds s: $(status_text "$1"); see journalctl -u $1"
      say "$1 was started and waits: $(status_text "$1")"
      ;;
    failed)
      # It has not worked before either: there is nothing to go back to.
      [ -n "$is_upgrade$was_ready" ] || settle
      fail "$1 does not start; see journalctl -u $1"
      ;;
  esac
}

restart() {
  previous_process=$(unit_property "$1" MainPID)
  systemctl reset-failed "$1" 2>/dev/null || true
  systemctl restart --no-block "$1"
}

# await_ready SERVICE SECONDS: sets `outcome` to ready, waiting (alive, but not ready) or failed.
await_ready() {
  outcome=waiting waited=0
  while :; do
    case $(unit_property "$1" ActiveState) in
      active) [ "$(unit_property "$1" MainPID)" = "$previous_process" ] || outcome=ready ;;
      failed) outcome=failed ;;
      *) [ "$(unit_property "$1" NRestarts)" -lt 3 ] || outcome=failed ;;
    esac
    [ "$outcome" = waiting ] && [ "$waited" -lt "$2" ] || return 0
    sleep 1
    waited=$((waited + 1))
  done
}

unit_property() {
  systemctl show --value --property "$2" "$1"
}

status_text() {
  text=$(unit_property "$1" StatusText)
  echo "${text:-no status}"
}

# --- removal --------------------------------------------------------------------------------------

uninstall() {
  require_root
  lock_host
  if [ -d /run/systemd/system ]; then
    for service in flanneld flannel-datastore; do
      if [ -e "$units/$service.service" ]; then stop_service "$service"; fi
    done
  fi
  remove_network
  remove "$executable" "$units/flanneld.service" "$units/flannel-datastore.service" \
    /etc/systemd/network/10-flannel.network /etc/systemd/networkd.conf.d/flannel.conf \
    /etc/NetworkManager/conf.d/flannel.conf "$share"/man/man8/flanneld*.8 \
    "$share/bash-completion/completions/flanneld" "$share/zsh/site-functions/_flanneld" \
    "$share/fish/vendor_completions.d/flanneld.fish" /run/flannel
  if [ -n "$purge" ]; then
    remove "$settings" /var/lib/flannel /var/lib/private/flannel
  else
    say "settings in $settings and data in /var/lib/flannel stay; --purge removes them"
  fi
  if [ -d /run/systemd/system ] && [ -z "$dry_run" ]; then systemctl daemon-reload; fi
}

# wireguard-go and charon outlive the daemon: KillMode=process.
stop_service() {
  act systemctl disable --quiet --now "$1"
  act_if_possible systemctl kill --kill-whom=all "$1"
}

# The devices, routes and rules that the daemon leaves to keep packets flowing.
remove_network() {
  has ip || return 0
  for device in /sys/class/net/flannel.* /sys/class/net/flannel-* /sys/class/net/flannel0; do
    [ ! -e "$device" ] || act_if_possible ip link delete "${device##*/}"
  done
  for family in 4 6; do act_if_possible ip "-$family" route flush proto 70; done
  if has nft; then
    act_if_possible nft delete table ip flannel-ipv4
    act_if_possible nft delete table ip6 flannel-ipv6
  fi
  for program in iptables ip6tables; do
    if has "$program"; then remove_chains "$program"; fi
  done
}

remove_chains() {
  if "$1" -n -t nat -L FLANNEL-POSTRTG >/dev/null 2>&1; then
    act_if_possible "$1" -t nat -D POSTROUTING -m comment --comment "flanneld masq" \
      -j FLANNEL-POSTRTG
    act_if_possible "$1" -t nat -F FLANNEL-POSTRTG
    act_if_possible "$1" -t nat -X FLANNEL-POSTRTG
  fi
  if "$1" -n -L FLANNEL-FWD >/dev/null 2>&1; then
    act_if_possible "$1" -D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
    act_if_possible "$1" -F FLANNEL-FWD
    act_if_possible "$1" -X FLANNEL-FWD
  fi
}

# Runs a command, unless this is a dry run.
act() {
  if [ -n "$dry_run" ]; then
    say "would run $*"
  else
    "$@"
  fi
}

# What is absent need not be removed.
act_if_possible() {
  act "$@" 2>/dev/null || true
}

remove() {
  for path in "$@"; do
    if [ ! -e "$path" ]; then continue; fi
    if [ -n "$dry_run" ]; then
      say "would remove $path"
    else
      reason=$(rm -rf "$path" 2>&1) || fail "cannot remove $path: $reason"
      say "removed $path"
    fi
  done
}

# In braces, so that the last line does nothing without its end.
{ main "$@"; }
