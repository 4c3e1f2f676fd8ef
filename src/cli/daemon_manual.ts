/** What the manual says about the daemon besides its flags. */

import type { CommandManual } from "./command.ts";

export const DAEMON_MANUAL: CommandManual = {
  variables: [
    [
      "NODE_NAME",
      "With --kube-subnet-mgr: the name of this host's Node (field spec.nodeName of the pod).",
    ],
    [
      "POD_NAME, POD_NAMESPACE",
      "With --kube-subnet-mgr, without NODE_NAME: the pod by which the Node is found.",
    ],
    [
      "KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT",
      "With --kube-subnet-mgr: the API server, in a pod.",
    ],
    [
      "EVENT_QUEUE_DEPTH",
      "With --kube-subnet-mgr: as for Go flannel an integer, otherwise the daemon does not " +
      "start. It has no other effect: changes of nodes are not queued.",
    ],
    [
      "CONT_WHEN_CACHE_NOT_READY",
      "With --kube-subnet-mgr: for Go flannel, whether to continue if the API server has not " +
      "answered for ten minutes. It has no effect: the daemon waits, and /readyz says for what.",
    ],
    ["NOTIFY_SOCKET", "Where systemd receives READY=1, STOPPING=1 and the status line."],
    ["WATCHDOG_USEC, WATCHDOG_PID", "Systemd's watchdog; notified at half that interval."],
    ["FLANNELD_UDP_DATA_PATH", "How the udp backend moves packets: fou or tun."],
    [
      "WIREGUARD_KEY_FILE",
      "File of the wireguard backend's private key (default /run/flannel/wgkey).",
    ],
    ["CHARON_VICI_SOCKET", "Control socket of a running charon for the ipsec backend."],
    ["ACCESS_KEY_ID, ACCESS_KEY_SECRET", "Access key of the tencent-vpc backend."],
    [
      "TENCENT_VPC_ENDPOINT, TENCENT_METADATA_ENDPOINT",
      "Other addresses of the Tencent Cloud API and metadata service.",
    ],
    ["PATH", "Searched first for iptables-restore and other programs."],
  ],
  files: [
    [
      "/run/flannel/subnet.env",
      "The network, the subnet of this host and the MTU, for the CNI plugin.",
    ],
    [
      "/run/flannel/flanneld.sock",
      "The socket of flanneld status, next to the subnet file; for root only.",
    ],
    ["/etc/kube-flannel/net-conf.json", "With --kube-subnet-mgr: the network configuration."],
    [
      "/run/flannel/wgkey",
      "The private key of the wireguard backend. A file that other users can read is refused.",
    ],
  ],
  signals: [
    [
      "SIGTERM, SIGINT",
      "The daemon ends within five seconds. Devices, routes and rules stay in place, so that the " +
      "network works while it is restarted or upgraded.",
    ],
  ],
  exitStatuses: [
    ["0", "It was stopped by a signal, or has printed what was asked for."],
    ["1", "It cannot start or continue, or a number on the command line is out of range."],
    ["2", "The command line or an environment variable is invalid."],
  ],
  examples: [
    [
      "flanneld --etcd-endpoints=http://192.0.2.1:2379 --iface=eth1 --ip-masq",
      "Join the network that is configured in etcd, by the interface eth1.",
    ],
    [
      "flanneld --kube-subnet-mgr --ip-masq",
      "In a pod: use the pod CIDRs that Kubernetes assigns to its nodes.",
    ],
    ["flanneld version --json", "Print what a bug report needs."],
  ],
};
