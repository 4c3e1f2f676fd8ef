# fish completion; written by "npm run docs" from the declarations of commands in src/cli.

# Subcommands, and flags that take a value, each after the name of its command.
set -g __flanneld_commands \
    'flanneld lab' \
    'flanneld lab down' \
    'flanneld datastore' \
    'flanneld datastore token' \
    'flanneld datastore token create' \
    'flanneld datastore token prepare' \
    'flanneld datastore token list' \
    'flanneld datastore token rotate' \
    'flanneld datastore token revoke' \
    'flanneld datastore user' \
    'flanneld datastore user list' \
    'flanneld datastore user add' \
    'flanneld datastore user remove' \
    'flanneld datastore export' \
    'flanneld datastore import' \
    'flanneld datastore migrate' \
    'flanneld leases' \
    'flanneld leases reserve' \
    'flanneld leases release' \
    'flanneld config' \
    'flanneld config show' \
    'flanneld config check' \
    'flanneld config set' \
    'flanneld cni' \
    'flanneld install-cni' \
    'flanneld status' \
    'flanneld peers' \
    'flanneld licenses' \
    'flanneld version' \
    'flanneld help'
set -g __flanneld_valued \
    'flanneld etcd-endpoints' \
    'flanneld etcd-prefix' \
    'flanneld etcd-keyfile' \
    'flanneld etcd-certfile' \
    'flanneld etcd-cafile' \
    'flanneld etcd-username' \
    'flanneld etcd-password' \
    'flanneld join' \
    'flanneld join-file' \
    'flanneld join-state' \
    'flanneld kube-api-url' \
    'flanneld kubeconfig-file' \
    'flanneld kube-annotation-prefix' \
    'flanneld net-config-path' \
    'flanneld iface' \
    'flanneld iface-regex' \
    'flanneld iface-can-reach' \
    'flanneld public-ip' \
    'flanneld public-ipv6' \
    'flanneld subnet-file' \
    'flanneld subnet-lease-renew-margin' \
    'flanneld iptables-resync' \
    'flanneld healthz-ip' \
    'flanneld healthz-port' \
    'flanneld v' \
    'flanneld log-format' \
    'flanneld vmodule' \
    'flanneld log_backtrace_at' \
    'flanneld lab hosts' \
    'flanneld lab backend' \
    'flanneld lab kube-apiserver' \
    'flanneld lab cni-bin-dir' \
    'flanneld datastore listen' \
    'flanneld datastore data-dir' \
    'flanneld datastore cert-file' \
    'flanneld datastore key-file' \
    'flanneld datastore client-ca-file' \
    'flanneld datastore advertise' \
    'flanneld datastore secret' \
    'flanneld datastore network' \
    'flanneld datastore backend' \
    'flanneld datastore net-config-path' \
    'flanneld datastore etcd-prefix' \
    'flanneld datastore watch-progress-seconds' \
    'flanneld datastore log-format' \
    'flanneld datastore v' \
    'flanneld datastore token data-dir' \
    'flanneld datastore token create data-dir' \
    'flanneld datastore token create ttl' \
    'flanneld datastore token create description' \
    'flanneld datastore token list data-dir' \
    'flanneld datastore token rotate data-dir' \
    'flanneld datastore token revoke data-dir' \
    'flanneld datastore user list data-dir' \
    'flanneld datastore user add data-dir' \
    'flanneld datastore user remove data-dir' \
    'flanneld datastore export etcd-endpoints' \
    'flanneld datastore export etcd-cafile' \
    'flanneld datastore export etcd-certfile' \
    'flanneld datastore export etcd-keyfile' \
    'flanneld datastore export etcd-username' \
    'flanneld datastore export etcd-password' \
    'flanneld datastore import etcd-endpoints' \
    'flanneld datastore import etcd-cafile' \
    'flanneld datastore import etcd-certfile' \
    'flanneld datastore import etcd-keyfile' \
    'flanneld datastore import etcd-username' \
    'flanneld datastore import etcd-password' \
    'flanneld datastore migrate etcd-endpoints' \
    'flanneld datastore migrate etcd-cafile' \
    'flanneld datastore migrate etcd-certfile' \
    'flanneld datastore migrate etcd-keyfile' \
    'flanneld datastore migrate etcd-username' \
    'flanneld datastore migrate etcd-password' \
    'flanneld datastore migrate to' \
    'flanneld datastore migrate to-cafile' \
    'flanneld datastore migrate to-certfile' \
    'flanneld datastore migrate to-keyfile' \
    'flanneld datastore migrate to-username' \
    'flanneld datastore migrate to-password' \
    'flanneld leases etcd-endpoints' \
    'flanneld leases etcd-prefix' \
    'flanneld leases etcd-keyfile' \
    'flanneld leases etcd-certfile' \
    'flanneld leases etcd-cafile' \
    'flanneld leases etcd-username' \
    'flanneld leases etcd-password' \
    'flanneld leases join-state' \
    'flanneld leases kube-api-url' \
    'flanneld leases kubeconfig-file' \
    'flanneld leases kube-annotation-prefix' \
    'flanneld leases net-config-path' \
    'flanneld leases reserve etcd-endpoints' \
    'flanneld leases reserve etcd-prefix' \
    'flanneld leases reserve etcd-keyfile' \
    'flanneld leases reserve etcd-certfile' \
    'flanneld leases reserve etcd-cafile' \
    'flanneld leases reserve etcd-username' \
    'flanneld leases reserve etcd-password' \
    'flanneld leases reserve join-state' \
    'flanneld leases reserve kube-api-url' \
    'flanneld leases reserve kubeconfig-file' \
    'flanneld leases reserve kube-annotation-prefix' \
    'flanneld leases reserve net-config-path' \
    'flanneld leases release etcd-endpoints' \
    'flanneld leases release etcd-prefix' \
    'flanneld leases release etcd-keyfile' \
    'flanneld leases release etcd-certfile' \
    'flanneld leases release etcd-cafile' \
    'flanneld leases release etcd-username' \
    'flanneld leases release etcd-password' \
    'flanneld leases release join-state' \
    'flanneld leases release kube-api-url' \
    'flanneld leases release kubeconfig-file' \
    'flanneld leases release kube-annotation-prefix' \
    'flanneld leases release net-config-path' \
    'flanneld config show etcd-endpoints' \
    'flanneld config show etcd-prefix' \
    'flanneld config show etcd-keyfile' \
    'flanneld config show etcd-certfile' \
    'flanneld config show etcd-cafile' \
    'flanneld config show etcd-username' \
    'flanneld config show etcd-password' \
    'flanneld config show join-state' \
    'flanneld config show kube-api-url' \
    'flanneld config show kubeconfig-file' \
    'flanneld config show kube-annotation-prefix' \
    'flanneld config show net-config-path' \
    'flanneld config show iface' \
    'flanneld config show iface-regex' \
    'flanneld config show iface-can-reach' \
    'flanneld config show public-ip' \
    'flanneld config show public-ipv6' \
    'flanneld config check etcd-endpoints' \
    'flanneld config check etcd-prefix' \
    'flanneld config check etcd-keyfile' \
    'flanneld config check etcd-certfile' \
    'flanneld config check etcd-cafile' \
    'flanneld config check etcd-username' \
    'flanneld config check etcd-password' \
    'flanneld config check join-state' \
    'flanneld config check kube-api-url' \
    'flanneld config check kubeconfig-file' \
    'flanneld config check kube-annotation-prefix' \
    'flanneld config check net-config-path' \
    'flanneld config set etcd-endpoints' \
    'flanneld config set etcd-prefix' \
    'flanneld config set etcd-keyfile' \
    'flanneld config set etcd-certfile' \
    'flanneld config set etcd-cafile' \
    'flanneld config set etcd-username' \
    'flanneld config set etcd-password' \
    'flanneld config set join-state' \
    'flanneld config set kube-api-url' \
    'flanneld config set kubeconfig-file' \
    'flanneld config set kube-annotation-prefix' \
    'flanneld config set net-config-path' \
    'flanneld install-cni conf' \
    'flanneld install-cni conf-dir' \
    'flanneld install-cni bin-dir' \
    'flanneld status subnet-file' \
    'flanneld peers subnet-file'

# Whether the command line so far is one of the command $argv.
function __flanneld_at
    set -l command flanneld
    set -l is_value no
    for word in (commandline -opc)[2..-1]
        if test $is_value = yes
            set is_value no
        else if string match -qr -- '^-' $word
            set -l name (string replace -r -- '^--?' '' $word)
            if contains -- "$command $name" $__flanneld_valued
                set is_value yes
            end
        else if contains -- "$command $word" $__flanneld_commands
            set command "$command $word"
        end
    end
    test "$command" = "$argv"
end

complete -c flanneld -f

complete -c flanneld -n '__flanneld_at flanneld' -a lab -d 'Build a cluster on this machine, test the connections between its hosts, and remove it'
complete -c flanneld -n '__flanneld_at flanneld' -a datastore -d 'Serve the part of etcd\'s API that flannel uses, for a cluster without etcd'
complete -c flanneld -n '__flanneld_at flanneld' -a leases -d 'List the subnets of all nodes, and reserve and release subnets'
complete -c flanneld -n '__flanneld_at flanneld' -a config -d 'Show, check and change the network configuration'
complete -c flanneld -n '__flanneld_at flanneld' -a cni -d 'Connect a container to the network, for container runtimes'
complete -c flanneld -n '__flanneld_at flanneld' -a install-cni -d 'Install the CNI plugin and its configuration on this node'
complete -c flanneld -n '__flanneld_at flanneld' -a status -d 'Show what the daemons on this host are doing, and what is wrong'
complete -c flanneld -n '__flanneld_at flanneld' -a peers -d 'Show the other nodes, and the path of a packet to one of them'
complete -c flanneld -n '__flanneld_at flanneld' -a licenses -d 'Print the licenses of this program and of the software that it contains'
complete -c flanneld -n '__flanneld_at flanneld' -a version -d 'Print the version'
complete -c flanneld -n '__flanneld_at flanneld' -a help -d 'Print the usage of this program or of a subcommand'
complete -c flanneld -n '__flanneld_at flanneld' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the members of the etcd cluster'
complete -c flanneld -n '__flanneld_at flanneld' -l etcd-prefix -r -f -d 'Prefix of the keys in etcd'
complete -c flanneld -n '__flanneld_at flanneld' -l etcd-keyfile -r -F -d 'Private key of the TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld' -l etcd-certfile -r -F -d 'TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld' -l etcd-cafile -r -F -d 'CA certificates that etcd\'s server certificate is verified against (PEM)'
complete -c flanneld -n '__flanneld_at flanneld' -l etcd-username -r -f -d 'User name for etcd'
complete -c flanneld -n '__flanneld_at flanneld' -l etcd-password -r -f -d 'Password for etcd'
complete -c flanneld -n '__flanneld_at flanneld' -l join -r -f -d 'Join the datastore at this address, as flanneld datastore token prints it'
complete -c flanneld -n '__flanneld_at flanneld' -l join-file -r -F -d 'File that contains TOKEN@HOST[:PORT] for --join'
complete -c flanneld -n '__flanneld_at flanneld' -l join-state -r -F -d 'File that keeps what the node has learned when it joined'
complete -c flanneld -n '__flanneld_at flanneld' -l kube-subnet-mgr -d 'Use the pod CIDRs that Kubernetes assigns to the nodes, and publish this node\'s lease as annotations of its Node'
complete -c flanneld -n '__flanneld_at flanneld' -l kube-api-url -r -f -d 'URL of the API server'
complete -c flanneld -n '__flanneld_at flanneld' -l kubeconfig-file -r -F -d 'The kubeconfig file'
complete -c flanneld -n '__flanneld_at flanneld' -l kube-annotation-prefix -r -f -d 'Prefix of the node annotations'
complete -c flanneld -n '__flanneld_at flanneld' -l net-config-path -r -F -d 'File with the network configuration'
complete -c flanneld -n '__flanneld_at flanneld' -l set-node-network-unavailable -d 'Set the node\'s condition NetworkUnavailable to False once its network works'
complete -c flanneld -n '__flanneld_at flanneld' -l iface -r -f -a '(__fish_print_interfaces)' -d 'Interface for the traffic between hosts, by name or by one of its addresses'
complete -c flanneld -n '__flanneld_at flanneld' -l iface-regex -r -f -d 'Regular expression that is matched against the addresses of each interface, then against its name'
complete -c flanneld -n '__flanneld_at flanneld' -l iface-can-reach -r -f -d 'Use the interface and source address of the kernel\'s route to this address'
complete -c flanneld -n '__flanneld_at flanneld' -l public-ip -r -f -d 'IPv4 address at which other nodes reach this node'
complete -c flanneld -n '__flanneld_at flanneld' -l public-ipv6 -r -f -d 'IPv6 address at which other nodes reach this node'
complete -c flanneld -n '__flanneld_at flanneld' -l subnet-file -r -F -d 'File that receives the network, the subnet and the MTU, for the CNI plugin'
complete -c flanneld -n '__flanneld_at flanneld' -l subnet-lease-renew-margin -r -f -d 'Renew the lease this many minutes before it expires'
complete -c flanneld -n '__flanneld_at flanneld' -l ip-masq -d 'Masquerade traffic that leaves the overlay network'
complete -c flanneld -n '__flanneld_at flanneld' -l ip-masq-fully-random-disable -d 'Masquerade without fully random source ports'
complete -c flanneld -n '__flanneld_at flanneld' -l ip-blackhole-route -d 'Keep a blackhole route for the subnet of this node'
complete -c flanneld -n '__flanneld_at flanneld' -l iptables-resync -r -f -d 'Check the firewall rules this often, even without change notifications'
complete -c flanneld -n '__flanneld_at flanneld' -l iptables-forward-rules -d 'Accept forwarded traffic from and to the overlay network'
complete -c flanneld -n '__flanneld_at flanneld' -l healthz-ip -r -f -d 'Address that serves /healthz and /readyz'
complete -c flanneld -n '__flanneld_at flanneld' -l healthz-port -r -f -d 'Port that serves /healthz and /readyz'
complete -c flanneld -n '__flanneld_at flanneld' -o v -r -f -a '0 1 2 3 4 5' -d 'Verbosity of the log'
complete -c flanneld -n '__flanneld_at flanneld' -l log-format -r -f -a 'text json' -d 'Format of the log'
complete -c flanneld -n '__flanneld_at flanneld' -l vmodule -r -f -d 'Accepted for compatibility with klog'
complete -c flanneld -n '__flanneld_at flanneld' -l log_backtrace_at -r -f -d 'Accepted for compatibility with klog'
complete -c flanneld -n '__flanneld_at flanneld' -l version -d 'Print the version and exit'
complete -c flanneld -n '__flanneld_at flanneld' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld lab' -a down -d 'Remove the labs that were killed or started with --keep'
complete -c flanneld -n '__flanneld_at flanneld lab' -l hosts -r -f -d 'Number of hosts, 1 to 1000'
complete -c flanneld -n '__flanneld_at flanneld lab' -l backend -r -f -a 'alloc extension host-gw ipip ipsec tencent-vpc udp vxlan wireguard' -d 'Backend of the network'
complete -c flanneld -n '__flanneld_at flanneld lab' -l ipv6 -d 'Use IPv6 in addition to IPv4'
complete -c flanneld -n '__flanneld_at flanneld lab' -l ipv6-only -d 'Use IPv6 only'
complete -c flanneld -n '__flanneld_at flanneld lab' -l etcd -d 'Use a real etcd instead of flanneld datastore'
complete -c flanneld -n '__flanneld_at flanneld lab' -l kube -d 'Build a Kubernetes cluster'
complete -c flanneld -n '__flanneld_at flanneld lab' -l kube-apiserver -r -F -d 'Name or path of kube-apiserver, for --kube'
complete -c flanneld -n '__flanneld_at flanneld lab' -l cni-bin-dir -r -f -a '(__fish_complete_directories)' -d 'Comma-separated directories of the CNI plugins, for --kube'
complete -c flanneld -n '__flanneld_at flanneld lab' -l keep -d 'Keep the lab running and print how to inspect it'
complete -c flanneld -n '__flanneld_at flanneld lab' -l json -d 'Print the result as one JSON document'
complete -c flanneld -n '__flanneld_at flanneld lab' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld lab down' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore' -a token -d 'Print the command with which nodes join'
complete -c flanneld -n '__flanneld_at flanneld datastore' -a user -d 'List, add and remove those who may read and write'
complete -c flanneld -n '__flanneld_at flanneld datastore' -a export -d 'Write all keys to standard output, with the remaining time of their leases'
complete -c flanneld -n '__flanneld_at flanneld datastore' -a import -d 'Read keys from standard input, as export writes them, into a store'
complete -c flanneld -n '__flanneld_at flanneld datastore' -a migrate -d 'Copy all keys to another store while both are in use'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l listen -r -f -d 'Address and port for clients'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the data, on a local disk'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l cert-file -r -F -d 'Serve TLS with this certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l key-file -r -F -d 'Private key of the certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l client-ca-file -r -F -d 'Require client certificates that are signed by one of these CAs (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l insecure -d 'Serve without TLS and passwords'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l advertise -r -f -d 'Comma-separated names and addresses at which nodes reach this datastore, for --join and for its certificate, which names the addresses of this machine in any case'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l secret -r -f -d 'At the first start, use the CA and the token of this secret, which flanneld datastore token prepare has made, so that nodes can have the token in advance'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l network -r -f -d 'Write a configuration with this network, unless there is one already'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l backend -r -f -a 'alloc extension host-gw ipip ipsec tencent-vpc udp vxlan wireguard' -d 'Backend in that configuration'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l net-config-path -r -F -d 'Write the configuration in this file, unless there is one already'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l etcd-prefix -r -f -d 'Prefix of the key of the configuration'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l watch-progress-seconds -r -f -d 'Interval of progress notifications to idle watches, as etcd\'s --watch-progress-notify-interval'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l log-format -r -f -a 'text json' -d 'Format of the log'
complete -c flanneld -n '__flanneld_at flanneld datastore' -o v -r -f -a '0 1 2 3 4 5' -d 'Verbosity of the log'
complete -c flanneld -n '__flanneld_at flanneld datastore' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore token' -a create -d 'Create another token and print the command with which nodes join'
complete -c flanneld -n '__flanneld_at flanneld datastore token' -a prepare -d 'Make a secret for a datastore that does not run yet, and the token of its nodes'
complete -c flanneld -n '__flanneld_at flanneld datastore token' -a list -d 'List the tokens, without their secrets'
complete -c flanneld -n '__flanneld_at flanneld datastore token' -a rotate -d 'Replace the token that does not expire'
complete -c flanneld -n '__flanneld_at flanneld datastore token' -a revoke -d 'Make a token invalid'
complete -c flanneld -n '__flanneld_at flanneld datastore token' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the running datastore'
complete -c flanneld -n '__flanneld_at flanneld datastore token' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore token create' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the running datastore'
complete -c flanneld -n '__flanneld_at flanneld datastore token create' -l ttl -r -f -d 'How long the token admits nodes, such as 30m, 1h or 7d'
complete -c flanneld -n '__flanneld_at flanneld datastore token create' -l description -r -f -d 'What the token is for, shown by token list'
complete -c flanneld -n '__flanneld_at flanneld datastore token create' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore token prepare' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore token list' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the running datastore'
complete -c flanneld -n '__flanneld_at flanneld datastore token list' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore token rotate' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the running datastore'
complete -c flanneld -n '__flanneld_at flanneld datastore token rotate' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore token revoke' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the running datastore'
complete -c flanneld -n '__flanneld_at flanneld datastore token revoke' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore user' -a list -d 'List the nodes that have joined, and other users'
complete -c flanneld -n '__flanneld_at flanneld datastore user' -a add -d 'Add a user for etcdctl or Go flannel, and print its password'
complete -c flanneld -n '__flanneld_at flanneld datastore user' -a remove -d 'Cut off a node or another user at once'
complete -c flanneld -n '__flanneld_at flanneld datastore user' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore user list' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the running datastore'
complete -c flanneld -n '__flanneld_at flanneld datastore user list' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore user add' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the running datastore'
complete -c flanneld -n '__flanneld_at flanneld datastore user add' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore user remove' -l data-dir -r -f -a '(__fish_complete_directories)' -d 'Directory of the running datastore'
complete -c flanneld -n '__flanneld_at flanneld datastore user remove' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore export' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the datastore or etcd to read from'
complete -c flanneld -n '__flanneld_at flanneld datastore export' -l etcd-cafile -r -F -d 'CA certificates for this store (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore export' -l etcd-certfile -r -F -d 'TLS client certificate for this store (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore export' -l etcd-keyfile -r -F -d 'Private key of that certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore export' -l etcd-username -r -f -d 'User name for this store'
complete -c flanneld -n '__flanneld_at flanneld datastore export' -l etcd-password -r -f -d 'Password for this store'
complete -c flanneld -n '__flanneld_at flanneld datastore export' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore import' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the datastore or etcd to read from'
complete -c flanneld -n '__flanneld_at flanneld datastore import' -l etcd-cafile -r -F -d 'CA certificates for this store (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore import' -l etcd-certfile -r -F -d 'TLS client certificate for this store (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore import' -l etcd-keyfile -r -F -d 'Private key of that certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore import' -l etcd-username -r -f -d 'User name for this store'
complete -c flanneld -n '__flanneld_at flanneld datastore import' -l etcd-password -r -f -d 'Password for this store'
complete -c flanneld -n '__flanneld_at flanneld datastore import' -l overwrite -d 'Replace keys that have other values'
complete -c flanneld -n '__flanneld_at flanneld datastore import' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the datastore or etcd to read from'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l etcd-cafile -r -F -d 'CA certificates for this store (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l etcd-certfile -r -F -d 'TLS client certificate for this store (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l etcd-keyfile -r -F -d 'Private key of that certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l etcd-username -r -f -d 'User name for this store'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l etcd-password -r -f -d 'Password for this store'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l to -r -f -d 'Comma-separated URLs of the etcd that migrate writes to'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l to-cafile -r -F -d 'CA certificates for the store at --to (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l to-certfile -r -F -d 'TLS client certificate for the store at --to (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l to-keyfile -r -F -d 'Private key of that certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l to-username -r -f -d 'User name for the store at --to'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l to-password -r -f -d 'Password for the store at --to'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l overwrite -d 'Replace keys that have other values'
complete -c flanneld -n '__flanneld_at flanneld datastore migrate' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld leases' -a reserve -d 'Reserve a subnet for the node with a public address'
complete -c flanneld -n '__flanneld_at flanneld leases' -a release -d 'Delete a lease or a reservation'
complete -c flanneld -n '__flanneld_at flanneld leases' -l json -d 'Print one JSON document, which docs/operate.md describes'
complete -c flanneld -n '__flanneld_at flanneld leases' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the members of the etcd cluster'
complete -c flanneld -n '__flanneld_at flanneld leases' -l etcd-prefix -r -f -d 'Prefix of the keys in etcd'
complete -c flanneld -n '__flanneld_at flanneld leases' -l etcd-keyfile -r -F -d 'Private key of the TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases' -l etcd-certfile -r -F -d 'TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases' -l etcd-cafile -r -F -d 'CA certificates that etcd\'s server certificate is verified against (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases' -l etcd-username -r -f -d 'User name for etcd'
complete -c flanneld -n '__flanneld_at flanneld leases' -l etcd-password -r -f -d 'Password for etcd'
complete -c flanneld -n '__flanneld_at flanneld leases' -l join-state -r -F -d 'File that keeps what the node has learned when it joined'
complete -c flanneld -n '__flanneld_at flanneld leases' -l kube-subnet-mgr -d 'Use the pod CIDRs that Kubernetes assigns to the nodes, and publish this node\'s lease as annotations of its Node'
complete -c flanneld -n '__flanneld_at flanneld leases' -l kube-api-url -r -f -d 'URL of the API server'
complete -c flanneld -n '__flanneld_at flanneld leases' -l kubeconfig-file -r -F -d 'The kubeconfig file'
complete -c flanneld -n '__flanneld_at flanneld leases' -l kube-annotation-prefix -r -f -d 'Prefix of the node annotations'
complete -c flanneld -n '__flanneld_at flanneld leases' -l net-config-path -r -F -d 'File with the network configuration'
complete -c flanneld -n '__flanneld_at flanneld leases' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the members of the etcd cluster'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l etcd-prefix -r -f -d 'Prefix of the keys in etcd'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l etcd-keyfile -r -F -d 'Private key of the TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l etcd-certfile -r -F -d 'TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l etcd-cafile -r -F -d 'CA certificates that etcd\'s server certificate is verified against (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l etcd-username -r -f -d 'User name for etcd'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l etcd-password -r -f -d 'Password for etcd'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l join-state -r -F -d 'File that keeps what the node has learned when it joined'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l kube-subnet-mgr -d 'Use the pod CIDRs that Kubernetes assigns to the nodes, and publish this node\'s lease as annotations of its Node'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l kube-api-url -r -f -d 'URL of the API server'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l kubeconfig-file -r -F -d 'The kubeconfig file'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l kube-annotation-prefix -r -f -d 'Prefix of the node annotations'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l net-config-path -r -F -d 'File with the network configuration'
complete -c flanneld -n '__flanneld_at flanneld leases reserve' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld leases release' -l force -d 'Release it even if its node is alive'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the members of the etcd cluster'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l etcd-prefix -r -f -d 'Prefix of the keys in etcd'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l etcd-keyfile -r -F -d 'Private key of the TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l etcd-certfile -r -F -d 'TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l etcd-cafile -r -F -d 'CA certificates that etcd\'s server certificate is verified against (PEM)'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l etcd-username -r -f -d 'User name for etcd'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l etcd-password -r -f -d 'Password for etcd'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l join-state -r -F -d 'File that keeps what the node has learned when it joined'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l kube-subnet-mgr -d 'Use the pod CIDRs that Kubernetes assigns to the nodes, and publish this node\'s lease as annotations of its Node'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l kube-api-url -r -f -d 'URL of the API server'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l kubeconfig-file -r -F -d 'The kubeconfig file'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l kube-annotation-prefix -r -f -d 'Prefix of the node annotations'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l net-config-path -r -F -d 'File with the network configuration'
complete -c flanneld -n '__flanneld_at flanneld leases release' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld config' -a show -d 'Print the network configuration with all defaults'
complete -c flanneld -n '__flanneld_at flanneld config' -a check -d 'Report every mistake in a network configuration'
complete -c flanneld -n '__flanneld_at flanneld config' -a set -d 'Check a network configuration and write it to the store'
complete -c flanneld -n '__flanneld_at flanneld config' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld config show' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the members of the etcd cluster'
complete -c flanneld -n '__flanneld_at flanneld config show' -l etcd-prefix -r -f -d 'Prefix of the keys in etcd'
complete -c flanneld -n '__flanneld_at flanneld config show' -l etcd-keyfile -r -F -d 'Private key of the TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config show' -l etcd-certfile -r -F -d 'TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config show' -l etcd-cafile -r -F -d 'CA certificates that etcd\'s server certificate is verified against (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config show' -l etcd-username -r -f -d 'User name for etcd'
complete -c flanneld -n '__flanneld_at flanneld config show' -l etcd-password -r -f -d 'Password for etcd'
complete -c flanneld -n '__flanneld_at flanneld config show' -l join-state -r -F -d 'File that keeps what the node has learned when it joined'
complete -c flanneld -n '__flanneld_at flanneld config show' -l kube-subnet-mgr -d 'Use the pod CIDRs that Kubernetes assigns to the nodes, and publish this node\'s lease as annotations of its Node'
complete -c flanneld -n '__flanneld_at flanneld config show' -l kube-api-url -r -f -d 'URL of the API server'
complete -c flanneld -n '__flanneld_at flanneld config show' -l kubeconfig-file -r -F -d 'The kubeconfig file'
complete -c flanneld -n '__flanneld_at flanneld config show' -l kube-annotation-prefix -r -f -d 'Prefix of the node annotations'
complete -c flanneld -n '__flanneld_at flanneld config show' -l net-config-path -r -F -d 'File with the network configuration'
complete -c flanneld -n '__flanneld_at flanneld config show' -l iface -r -f -a '(__fish_print_interfaces)' -d 'Interface for the traffic between hosts, by name or by one of its addresses'
complete -c flanneld -n '__flanneld_at flanneld config show' -l iface-regex -r -f -d 'Regular expression that is matched against the addresses of each interface, then against its name'
complete -c flanneld -n '__flanneld_at flanneld config show' -l iface-can-reach -r -f -d 'Use the interface and source address of the kernel\'s route to this address'
complete -c flanneld -n '__flanneld_at flanneld config show' -l public-ip -r -f -d 'IPv4 address at which other nodes reach this node'
complete -c flanneld -n '__flanneld_at flanneld config show' -l public-ipv6 -r -f -d 'IPv6 address at which other nodes reach this node'
complete -c flanneld -n '__flanneld_at flanneld config show' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld config check' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the members of the etcd cluster'
complete -c flanneld -n '__flanneld_at flanneld config check' -l etcd-prefix -r -f -d 'Prefix of the keys in etcd'
complete -c flanneld -n '__flanneld_at flanneld config check' -l etcd-keyfile -r -F -d 'Private key of the TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config check' -l etcd-certfile -r -F -d 'TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config check' -l etcd-cafile -r -F -d 'CA certificates that etcd\'s server certificate is verified against (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config check' -l etcd-username -r -f -d 'User name for etcd'
complete -c flanneld -n '__flanneld_at flanneld config check' -l etcd-password -r -f -d 'Password for etcd'
complete -c flanneld -n '__flanneld_at flanneld config check' -l join-state -r -F -d 'File that keeps what the node has learned when it joined'
complete -c flanneld -n '__flanneld_at flanneld config check' -l kube-subnet-mgr -d 'Use the pod CIDRs that Kubernetes assigns to the nodes, and publish this node\'s lease as annotations of its Node'
complete -c flanneld -n '__flanneld_at flanneld config check' -l kube-api-url -r -f -d 'URL of the API server'
complete -c flanneld -n '__flanneld_at flanneld config check' -l kubeconfig-file -r -F -d 'The kubeconfig file'
complete -c flanneld -n '__flanneld_at flanneld config check' -l kube-annotation-prefix -r -f -d 'Prefix of the node annotations'
complete -c flanneld -n '__flanneld_at flanneld config check' -l net-config-path -r -F -d 'File with the network configuration'
complete -c flanneld -n '__flanneld_at flanneld config check' -l help -d 'Print the usage and exit'
complete -c flanneld -n '__flanneld_at flanneld config check' -F

complete -c flanneld -n '__flanneld_at flanneld config set' -l force -d 'Write it even if there are warnings or nodes lose their subnets'
complete -c flanneld -n '__flanneld_at flanneld config set' -l etcd-endpoints -r -f -d 'Comma-separated URLs of the members of the etcd cluster'
complete -c flanneld -n '__flanneld_at flanneld config set' -l etcd-prefix -r -f -d 'Prefix of the keys in etcd'
complete -c flanneld -n '__flanneld_at flanneld config set' -l etcd-keyfile -r -F -d 'Private key of the TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config set' -l etcd-certfile -r -F -d 'TLS client certificate (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config set' -l etcd-cafile -r -F -d 'CA certificates that etcd\'s server certificate is verified against (PEM)'
complete -c flanneld -n '__flanneld_at flanneld config set' -l etcd-username -r -f -d 'User name for etcd'
complete -c flanneld -n '__flanneld_at flanneld config set' -l etcd-password -r -f -d 'Password for etcd'
complete -c flanneld -n '__flanneld_at flanneld config set' -l join-state -r -F -d 'File that keeps what the node has learned when it joined'
complete -c flanneld -n '__flanneld_at flanneld config set' -l kube-subnet-mgr -d 'Use the pod CIDRs that Kubernetes assigns to the nodes, and publish this node\'s lease as annotations of its Node'
complete -c flanneld -n '__flanneld_at flanneld config set' -l kube-api-url -r -f -d 'URL of the API server'
complete -c flanneld -n '__flanneld_at flanneld config set' -l kubeconfig-file -r -F -d 'The kubeconfig file'
complete -c flanneld -n '__flanneld_at flanneld config set' -l kube-annotation-prefix -r -f -d 'Prefix of the node annotations'
complete -c flanneld -n '__flanneld_at flanneld config set' -l net-config-path -r -F -d 'File with the network configuration'
complete -c flanneld -n '__flanneld_at flanneld config set' -l help -d 'Print the usage and exit'
complete -c flanneld -n '__flanneld_at flanneld config set' -F

complete -c flanneld -n '__flanneld_at flanneld cni' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld install-cni' -l conf -r -F -d 'The list of plugins to install, with a plugin of the type flannel'
complete -c flanneld -n '__flanneld_at flanneld install-cni' -l conf-dir -r -f -a '(__fish_complete_directories)' -d 'Where the container runtime reads lists of plugins'
complete -c flanneld -n '__flanneld_at flanneld install-cni' -l bin-dir -r -f -a '(__fish_complete_directories)' -d 'Where the container runtime finds plugins'
complete -c flanneld -n '__flanneld_at flanneld install-cni' -l skip-conf -d 'Do not install the list of plugins'
complete -c flanneld -n '__flanneld_at flanneld install-cni' -l skip-plugin -d 'Do not install the plugin'
complete -c flanneld -n '__flanneld_at flanneld install-cni' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld status' -l json -d 'Print a JSON array with the document of each daemon, which docs/api.md describes'
complete -c flanneld -n '__flanneld_at flanneld status' -l watch -d 'Show the state again every second, until interrupted'
complete -c flanneld -n '__flanneld_at flanneld status' -l subnet-file -r -F -d 'Show only the daemon that has this --subnet-file'
complete -c flanneld -n '__flanneld_at flanneld status' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld peers' -l json -d 'Print a JSON array with a document for each node, which docs/api.md describes'
complete -c flanneld -n '__flanneld_at flanneld peers' -l subnet-file -r -F -d 'Ask only the daemon that has this --subnet-file'
complete -c flanneld -n '__flanneld_at flanneld peers' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld licenses' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld version' -l json -d 'Print one JSON document for a bug report'
complete -c flanneld -n '__flanneld_at flanneld version' -l help -d 'Print the usage and exit'

complete -c flanneld -n '__flanneld_at flanneld help' -l help -d 'Print the usage and exit'
complete -c flanneld -n '__flanneld_at flanneld help' -f -a 'lab datastore leases config cni install-cni status peers licenses version'
