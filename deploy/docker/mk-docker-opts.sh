#!/bin/sh
# Writes the options of dockerd that follow from the subnet file of flanneld: docs/docker.md. Options
# and output are those of Go flannel's script of this name.

main() {
  set -eu
  export LC_ALL=C
  set_defaults
  read_arguments "$@"
  read_subnet_file
  set_docker_options
  write_docker_file
  check_routes
}

usage() {
  cat <<'END'
Usage: mk-docker-opts.sh [OPTION]...

Writes the options of dockerd that follow from the subnet file of flanneld, as lines NAME="OPTION".

  -f FILE   The subnet file (default: /run/flannel/subnet.env).
  -d FILE   The file to write (default: /run/docker_opts.env).
  -i        Write each option as a variable of its own: DOCKER_OPT_BIP, DOCKER_OPT_IPMASQ and
            DOCKER_OPT_MTU. Variables of the environment with such names are options, too.
  -c        Write all options as one variable. Without -i and -c, both.
  -k NAME   The name of this variable (default: DOCKER_OPTS). If the environment has it, its value
            comes first.
  -m        Leave --ip-masq out.
  -h        Print this text.
END
}

set_defaults() {
  subnet_file=/run/flannel/subnet.env docker_file=/run/docker_opts.env
  individual='' combined='' key=DOCKER_OPTS ip_masq=yes
  carriage_return=$(printf '\r')
  newline='
'
}

read_arguments() {
  while getopts :f:d:icmk:h option; do
    case $option in
      f) subnet_file=$OPTARG ;;
      d) docker_file=$OPTARG ;;
      i) individual=yes ;;
      c) combined=yes ;;
      m) ip_masq='' ;;
      k) key=$OPTARG ;;
      h) help ;;
      :) fail "-$OPTARG needs a value; see -h" ;;
      *) [ "$OPTARG" != '?' ] || help && fail "unknown option -$OPTARG; see -h" ;;
    esac
  done
  shift $((OPTIND - 1))
  # Go flannel's script ignores them, and some units have an empty one.
  [ -z "$*" ] || warn "ignoring the arguments \"$*\"; see -h"
  [ -n "$individual$combined" ] || individual=yes combined=yes
  is_name "$key" || fail "-k is \"$key\"; it must be the name of a variable, such as DOCKER_OPTS"
}

help() {
  usage
  exit
}

warn() {
  printf 'mk-docker-opts.sh: %s\n' "$*" >&2
}

fail() {
  warn "$*"
  exit 1
}

is_name() {
  case $1 in '' | [0-9]* | *[!A-Za-z0-9_]*) return 1 ;; esac
}

# --- the subnet file ------------------------------------------------------------------------------

# Its variables take precedence over those of the environment.
read_subnet_file() {
  subnet=${FLANNEL_SUBNET:-} mtu=${FLANNEL_MTU:-} masquerades=${FLANNEL_IPMASQ:-} ipv6_subnet=''
  if [ -r "$subnet_file" ] && [ ! -d "$subnet_file" ]; then
    number=0
    while IFS= read -r line || [ -n "$line" ]; do
      number=$((number + 1))
      read_line "$line"
    done <"$subnet_file"
  elif [ -z "$subnet" ]; then
    fail "cannot read $subnet_file; start flanneld, or name its --subnet-file by -f"
  fi
  check_values
}

# Lines are read, not run: the rights to write the file are not those to run commands.
read_line() {
  line=${1%"$carriage_return"}
  line=${line#"${line%%[![:space:]]*}"}
  line=${line#export }
  name=${line%%=*}
  is_name "$name" || return 0
  case $line in
    FLANNEL_SUBNET=*) read_value && subnet=$value ;;
    FLANNEL_IPV6_SUBNET=*) read_value && ipv6_subnet=$value ;;
    FLANNEL_MTU=*) read_value && mtu=$value ;;
    FLANNEL_IPMASQ=*) read_value && masquerades=$value ;;
    DOCKER_OPT_*=* | "$key"=*) read_value && export "$name=$value" ;;
  esac
}

# Sets `value`: what is after the name in `line`, without quotes and comment.
read_value() {
  value=${line#*=}
  case $value in
    \"*\"*) value=${value#\"} && rest=${value#*\"} && value=${value%%\"*} ;;
    \'*\'*) value=${value#\'} && rest=${value#*\'} && value=${value%%\'*} ;;
    *) rest=${value#"${value%%[[:space:]]*}"} && value=${value%%[[:space:]]*} ;;
  esac
  case ${rest#"${rest%%[![:space:]]*}"} in
    '' | '#'*) ;;
    *) fail "line $number of $subnet_file is not NAME=VALUE: $line" ;;
  esac
}

check_values() {
  case $subnet in
    '')
      [ -n "$ipv6_subnet" ] ||
        fail "$subnet_file has no FLANNEL_SUBNET; flanneld writes it when it has a subnet"
      ;;
    # Leading zeros would make a number octal.
    *[!0-9./]* | */*/* | *.0[0-9]*) fail_subnet ;;
    [0-9]*.[0-9]*.[0-9]*.[0-9]*/[0-9]*) ;;
    *) fail_subnet ;;
  esac
  case $mtu in *[!0-9]*) fail_value FLANNEL_MTU "$mtu" "a number of bytes" ;; esac
  [ -n "$ip_masq" ] || masquerades=''
  case $masquerades in
    '' | true | false) ;;
    *) fail_value FLANNEL_IPMASQ "$masquerades" "true or false" ;;
  esac
}

fail_subnet() {
  fail_value FLANNEL_SUBNET "$subnet" "an address such as 10.5.72.1/24"
}

fail_value() {
  fail "$1 in $subnet_file is \"$2\"; it must be $3"
}

# --- Docker ---------------------------------------------------------------------------------------

# One of flanneld and Docker masquerades.
set_docker_options() {
  [ -z "$subnet" ] || export "DOCKER_OPT_BIP=--bip=$subnet"
  [ -z "$mtu" ] || export "DOCKER_OPT_MTU=--mtu=$mtu"
  case $masquerades in
    true) export DOCKER_OPT_IPMASQ=--ip-masq=false ;;
    false) export DOCKER_OPT_IPMASQ=--ip-masq=true ;;
  esac
}

# One write, so that a reader does not see a part of it.
write_docker_file() {
  eval "options=\${$key-}"
  [ -z "$options" ] || options="$options "
  text=''
  for name in $(option_names); do
    [ "$name" != "$key" ] || continue
    eval "value=\$$name"
    [ -z "$individual" ] || add_line "$name" "$value"
    options="$options $value"
  done
  [ -z "$combined" ] || add_line "$key" "$options"
  printf '%s' "$text" >"$docker_file" || exit 1 # the shell has said why
}

# awk, because a value in the output of env may have lines that look like variables.
option_names() {
  awk 'BEGIN { for (name in ENVIRON) if (name ~ /^DOCKER_OPT_[A-Za-z0-9_]*$/) print name }' | sort
}

# As systemd.exec(5), EnvironmentFile=, and sh read it.
add_line() {
  case $2 in
    *[\"\\\$\`]*) quoted=$(printf '%s' "$2" | sed 's/["\\$`]/\\&/g') ;;
    *) quoted=$2 ;;
  esac
  text="$text$1=\"$quoted\"$newline"
}

# With a route of the whole subnet to another host, no container would get an answer.
check_routes() {
  [ -n "$subnet" ] && command -v ip >/dev/null || return 0
  address=${subnet%/*}
  network=${address%.*}.$((${address##*.} - 1))/${subnet#*/}
  route=$(ip -4 route show exact "$network" 2>/dev/null | grep -m 1 ' via ') || return 0
  fail "the route \"$route\" leads the subnet of this host to another one; remove it"
}

main "$@"
