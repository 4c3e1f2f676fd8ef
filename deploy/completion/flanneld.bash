# bash completion; written by "npm run docs" from the declarations of commands in src/cli.

# Sets what the command $1 has: subcommands, flags, and those of the flags that take a value.
_flanneld_command() {
  commands= flags= valued=
  case $1 in
    'flanneld')
      commands='lab datastore leases config cni install-cni status peers licenses version help'
      flags='--etcd-endpoints --etcd-prefix --etcd-keyfile --etcd-certfile --etcd-cafile --etcd-username --etcd-password --join --join-file --join-state --kube-subnet-mgr --kube-api-url --kubeconfig-file --kube-annotation-prefix --net-config-path --set-node-network-unavailable --iface --iface-regex --iface-can-reach --public-ip --public-ipv6 --subnet-file --subnet-lease-renew-margin --ip-masq --ip-masq-fully-random-disable --ip-blackhole-route --iptables-resync --iptables-forward-rules --healthz-ip --healthz-port -v --log-format --vmodule --log_backtrace_at --version --help'
      valued='etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password join join-file join-state kube-api-url kubeconfig-file kube-annotation-prefix net-config-path iface iface-regex iface-can-reach public-ip public-ipv6 subnet-file subnet-lease-renew-margin iptables-resync healthz-ip healthz-port v log-format vmodule log_backtrace_at'
      ;;
    'flanneld lab')
      commands='down'
      flags='--hosts --backend --ipv6 --ipv6-only --etcd --kube --kube-apiserver --cni-bin-dir --keep --json --help'
      valued='hosts backend kube-apiserver cni-bin-dir'
      ;;
    'flanneld lab down')
      flags='--help'
      ;;
    'flanneld datastore')
      commands='token user export import migrate'
      flags='--listen --data-dir --cert-file --key-file --client-ca-file --insecure --advertise --secret --network --backend --net-config-path --etcd-prefix --watch-progress-seconds --log-format -v --help'
      valued='listen data-dir cert-file key-file client-ca-file advertise secret network backend net-config-path etcd-prefix watch-progress-seconds log-format v'
      ;;
    'flanneld datastore token')
      commands='create prepare list rotate revoke'
      flags='--data-dir --help'
      valued='data-dir'
      ;;
    'flanneld datastore token create')
      flags='--data-dir --ttl --description --help'
      valued='data-dir ttl description'
      ;;
    'flanneld datastore token prepare')
      flags='--help'
      ;;
    'flanneld datastore token list')
      flags='--data-dir --help'
      valued='data-dir'
      ;;
    'flanneld datastore token rotate')
      flags='--data-dir --help'
      valued='data-dir'
      ;;
    'flanneld datastore token revoke')
      flags='--data-dir --help'
      valued='data-dir'
      ;;
    'flanneld datastore user')
      commands='list add remove'
      flags='--help'
      ;;
    'flanneld datastore user list')
      flags='--data-dir --help'
      valued='data-dir'
      ;;
    'flanneld datastore user add')
      flags='--data-dir --help'
      valued='data-dir'
      ;;
    'flanneld datastore user remove')
      flags='--data-dir --help'
      valued='data-dir'
      ;;
    'flanneld datastore export')
      flags='--etcd-endpoints --etcd-cafile --etcd-certfile --etcd-keyfile --etcd-username --etcd-password --help'
      valued='etcd-endpoints etcd-cafile etcd-certfile etcd-keyfile etcd-username etcd-password'
      ;;
    'flanneld datastore import')
      flags='--etcd-endpoints --etcd-cafile --etcd-certfile --etcd-keyfile --etcd-username --etcd-password --overwrite --help'
      valued='etcd-endpoints etcd-cafile etcd-certfile etcd-keyfile etcd-username etcd-password'
      ;;
    'flanneld datastore migrate')
      flags='--etcd-endpoints --etcd-cafile --etcd-certfile --etcd-keyfile --etcd-username --etcd-password --to --to-cafile --to-certfile --to-keyfile --to-username --to-password --overwrite --help'
      valued='etcd-endpoints etcd-cafile etcd-certfile etcd-keyfile etcd-username etcd-password to to-cafile to-certfile to-keyfile to-username to-password'
      ;;
    'flanneld leases')
      commands='reserve release'
      flags='--json --etcd-endpoints --etcd-prefix --etcd-keyfile --etcd-certfile --etcd-cafile --etcd-username --etcd-password --join-state --kube-subnet-mgr --kube-api-url --kubeconfig-file --kube-annotation-prefix --net-config-path --help'
      valued='etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password join-state kube-api-url kubeconfig-file kube-annotation-prefix net-config-path'
      ;;
    'flanneld leases reserve')
      flags='--etcd-endpoints --etcd-prefix --etcd-keyfile --etcd-certfile --etcd-cafile --etcd-username --etcd-password --join-state --kube-subnet-mgr --kube-api-url --kubeconfig-file --kube-annotation-prefix --net-config-path --help'
      valued='etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password join-state kube-api-url kubeconfig-file kube-annotation-prefix net-config-path'
      ;;
    'flanneld leases release')
      flags='--force --etcd-endpoints --etcd-prefix --etcd-keyfile --etcd-certfile --etcd-cafile --etcd-username --etcd-password --join-state --kube-subnet-mgr --kube-api-url --kubeconfig-file --kube-annotation-prefix --net-config-path --help'
      valued='etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password join-state kube-api-url kubeconfig-file kube-annotation-prefix net-config-path'
      ;;
    'flanneld config')
      commands='show check set'
      flags='--help'
      ;;
    'flanneld config show')
      flags='--etcd-endpoints --etcd-prefix --etcd-keyfile --etcd-certfile --etcd-cafile --etcd-username --etcd-password --join-state --kube-subnet-mgr --kube-api-url --kubeconfig-file --kube-annotation-prefix --net-config-path --iface --iface-regex --iface-can-reach --public-ip --public-ipv6 --help'
      valued='etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password join-state kube-api-url kubeconfig-file kube-annotation-prefix net-config-path iface iface-regex iface-can-reach public-ip public-ipv6'
      ;;
    'flanneld config check')
      flags='--etcd-endpoints --etcd-prefix --etcd-keyfile --etcd-certfile --etcd-cafile --etcd-username --etcd-password --join-state --kube-subnet-mgr --kube-api-url --kubeconfig-file --kube-annotation-prefix --net-config-path --help'
      valued='etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password join-state kube-api-url kubeconfig-file kube-annotation-prefix net-config-path'
      ;;
    'flanneld config set')
      flags='--force --etcd-endpoints --etcd-prefix --etcd-keyfile --etcd-certfile --etcd-cafile --etcd-username --etcd-password --join-state --kube-subnet-mgr --kube-api-url --kubeconfig-file --kube-annotation-prefix --net-config-path --help'
      valued='etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password join-state kube-api-url kubeconfig-file kube-annotation-prefix net-config-path'
      ;;
    'flanneld cni')
      flags='--help'
      ;;
    'flanneld install-cni')
      flags='--conf --conf-dir --bin-dir --skip-conf --skip-plugin --help'
      valued='conf conf-dir bin-dir'
      ;;
    'flanneld status')
      flags='--json --watch --subnet-file --help'
      valued='subnet-file'
      ;;
    'flanneld peers')
      flags='--json --subnet-file --help'
      valued='subnet-file'
      ;;
    'flanneld licenses')
      flags='--help'
      ;;
    'flanneld version')
      flags='--json --help'
      ;;
    'flanneld help')
      flags='--help'
      ;;
  esac
}

# Sets what completes the flag $2, or the arguments, of the command $1.
_flanneld_values() {
  kind=none words=
  case "$1 $2" in
    'flanneld etcd-keyfile' | \
      'flanneld etcd-certfile' | \
      'flanneld etcd-cafile' | \
      'flanneld join-file' | \
      'flanneld join-state' | \
      'flanneld kubeconfig-file' | \
      'flanneld net-config-path' | \
      'flanneld subnet-file' | \
      'flanneld lab kube-apiserver' | \
      'flanneld datastore cert-file' | \
      'flanneld datastore key-file' | \
      'flanneld datastore client-ca-file' | \
      'flanneld datastore net-config-path' | \
      'flanneld datastore export etcd-cafile' | \
      'flanneld datastore export etcd-certfile' | \
      'flanneld datastore export etcd-keyfile' | \
      'flanneld datastore import etcd-cafile' | \
      'flanneld datastore import etcd-certfile' | \
      'flanneld datastore import etcd-keyfile' | \
      'flanneld datastore migrate etcd-cafile' | \
      'flanneld datastore migrate etcd-certfile' | \
      'flanneld datastore migrate etcd-keyfile' | \
      'flanneld datastore migrate to-cafile' | \
      'flanneld datastore migrate to-certfile' | \
      'flanneld datastore migrate to-keyfile' | \
      'flanneld leases etcd-keyfile' | \
      'flanneld leases etcd-certfile' | \
      'flanneld leases etcd-cafile' | \
      'flanneld leases join-state' | \
      'flanneld leases kubeconfig-file' | \
      'flanneld leases net-config-path' | \
      'flanneld leases reserve etcd-keyfile' | \
      'flanneld leases reserve etcd-certfile' | \
      'flanneld leases reserve etcd-cafile' | \
      'flanneld leases reserve join-state' | \
      'flanneld leases reserve kubeconfig-file' | \
      'flanneld leases reserve net-config-path' | \
      'flanneld leases release etcd-keyfile' | \
      'flanneld leases release etcd-certfile' | \
      'flanneld leases release etcd-cafile' | \
      'flanneld leases release join-state' | \
      'flanneld leases release kubeconfig-file' | \
      'flanneld leases release net-config-path' | \
      'flanneld config show etcd-keyfile' | \
      'flanneld config show etcd-certfile' | \
      'flanneld config show etcd-cafile' | \
      'flanneld config show join-state' | \
      'flanneld config show kubeconfig-file' | \
      'flanneld config show net-config-path' | \
      'flanneld config check etcd-keyfile' | \
      'flanneld config check etcd-certfile' | \
      'flanneld config check etcd-cafile' | \
      'flanneld config check join-state' | \
      'flanneld config check kubeconfig-file' | \
      'flanneld config check net-config-path' | \
      'flanneld config check ' | \
      'flanneld config set etcd-keyfile' | \
      'flanneld config set etcd-certfile' | \
      'flanneld config set etcd-cafile' | \
      'flanneld config set join-state' | \
      'flanneld config set kubeconfig-file' | \
      'flanneld config set net-config-path' | \
      'flanneld config set ' | \
      'flanneld install-cni conf' | \
      'flanneld status subnet-file' | \
      'flanneld peers subnet-file') kind=file ;;
    'flanneld kube-subnet-mgr' | \
      'flanneld set-node-network-unavailable' | \
      'flanneld ip-masq' | \
      'flanneld ip-masq-fully-random-disable' | \
      'flanneld ip-blackhole-route' | \
      'flanneld iptables-forward-rules' | \
      'flanneld version' | \
      'flanneld help' | \
      'flanneld lab ipv6' | \
      'flanneld lab ipv6-only' | \
      'flanneld lab etcd' | \
      'flanneld lab kube' | \
      'flanneld lab keep' | \
      'flanneld lab json' | \
      'flanneld lab help' | \
      'flanneld lab down help' | \
      'flanneld datastore insecure' | \
      'flanneld datastore help' | \
      'flanneld datastore token help' | \
      'flanneld datastore token create help' | \
      'flanneld datastore token prepare help' | \
      'flanneld datastore token list help' | \
      'flanneld datastore token rotate help' | \
      'flanneld datastore token revoke help' | \
      'flanneld datastore user help' | \
      'flanneld datastore user list help' | \
      'flanneld datastore user add help' | \
      'flanneld datastore user remove help' | \
      'flanneld datastore export help' | \
      'flanneld datastore import overwrite' | \
      'flanneld datastore import help' | \
      'flanneld datastore migrate overwrite' | \
      'flanneld datastore migrate help' | \
      'flanneld leases json' | \
      'flanneld leases kube-subnet-mgr' | \
      'flanneld leases help' | \
      'flanneld leases reserve kube-subnet-mgr' | \
      'flanneld leases reserve help' | \
      'flanneld leases release force' | \
      'flanneld leases release kube-subnet-mgr' | \
      'flanneld leases release help' | \
      'flanneld config help' | \
      'flanneld config show kube-subnet-mgr' | \
      'flanneld config show help' | \
      'flanneld config check kube-subnet-mgr' | \
      'flanneld config check help' | \
      'flanneld config set force' | \
      'flanneld config set kube-subnet-mgr' | \
      'flanneld config set help' | \
      'flanneld cni help' | \
      'flanneld install-cni skip-conf' | \
      'flanneld install-cni skip-plugin' | \
      'flanneld install-cni help' | \
      'flanneld status json' | \
      'flanneld status watch' | \
      'flanneld status help' | \
      'flanneld peers json' | \
      'flanneld peers help' | \
      'flanneld licenses help' | \
      'flanneld version json' | \
      'flanneld version help' | \
      'flanneld help help') kind=words words='true false' ;;
    'flanneld iface' | \
      'flanneld config show iface') kind=interface ;;
    'flanneld v' | \
      'flanneld datastore v') kind=words words='0 1 2 3 4 5' ;;
    'flanneld log-format' | \
      'flanneld datastore log-format') kind=words words='text json' ;;
    'flanneld lab backend' | \
      'flanneld datastore backend') kind=words words='alloc extension host-gw ipip ipsec tencent-vpc udp vxlan wireguard' ;;
    'flanneld lab cni-bin-dir' | \
      'flanneld datastore data-dir' | \
      'flanneld datastore token data-dir' | \
      'flanneld datastore token create data-dir' | \
      'flanneld datastore token list data-dir' | \
      'flanneld datastore token rotate data-dir' | \
      'flanneld datastore token revoke data-dir' | \
      'flanneld datastore user list data-dir' | \
      'flanneld datastore user add data-dir' | \
      'flanneld datastore user remove data-dir' | \
      'flanneld install-cni conf-dir' | \
      'flanneld install-cni bin-dir') kind=directory ;;
    'flanneld help ') kind=words words='lab datastore leases config cni install-cni status peers licenses version' ;;
  esac
}

_flanneld() {
  local commands flags valued kind words
  local command=flanneld flag= last= prefix= current=${COMP_WORDS[COMP_CWORD]} word index
  _flanneld_command "$command"
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    if [[ $word = = ]]; then
      flag=$last # readline splits words at the equals sign
    elif [[ -n $flag ]]; then
      flag=
    elif [[ $word = -* ]]; then
      last=${word#-} last=${last#-}
      if [[ " $valued " = *" $last "* ]]; then flag=$last; fi
    elif [[ " $commands " = *" $word "* ]]; then
      command+=" $word"
      _flanneld_command "$command"
    fi
  done
  if [[ $current = = ]]; then
    flag=$last current=
  elif [[ -z $flag && $current = -*=* ]]; then
    prefix=${current%%=*}= flag=${prefix%=} current=${current#*=}
    flag=${flag#-} flag=${flag#-}
  fi

  if [[ -n $flag ]]; then
    _flanneld_values "$command" "$flag"
  elif [[ $current = -* ]]; then
    kind=words words=$flags
    if [[ $current = -[!-]* ]]; then words=${words//--/-}; fi # one dash is as good as two
  elif [[ -n $commands ]]; then
    kind=words words=$commands
  else
    _flanneld_values "$command" ""
  fi

  case $kind in
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -P "$prefix" -- "$current") ;;
    file) mapfile -t COMPREPLY < <(compgen -f -P "$prefix" -- "$current") ;;
    directory) mapfile -t COMPREPLY < <(compgen -d -P "$prefix" -- "$current") ;;
    interface)
      mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net)" -P "$prefix" -- "$current")
      ;;
    *) COMPREPLY=() ;;
  esac
  if [[ $kind = file || $kind = directory ]]; then compopt -o filenames 2>/dev/null; fi
}

complete -F _flanneld flanneld
