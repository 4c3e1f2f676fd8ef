/** Documents of the status socket, for texts and schemas. */

import type { StatusDocument } from "../../src/control/status_document.ts";

export const READY: StatusDocument = {
  version: "v1.2.3",
  pid: 4711,
  startedAt: "2026-01-02T03:04:05Z",
  time: "2026-01-05T07:08:09Z",
  subnetFile: "/run/flannel/subnet.env",
  ready: true,
  step: null,
  node: { hostname: "node1", publicAddresses: ["192.0.2.11", "2001:db8::11"] },
  network: {
    networks: ["10.5.0.0/16", "fd00:5::/48"],
    subnets: ["10.5.72.0/24", "fd00:5:0:48::/64"],
  },
  backend: { type: "vxlan", devices: ["flannel.1", "flannel-v6.1"] },
  externalInterface: {
    name: "eth1",
    mtuBytes: 1500,
    addresses: ["192.0.2.11", "2001:db8::11"],
    reasons: [
      "using interface eth1 (--iface=eth1), MTU 1500",
      "IPv4 address 192.0.2.11, advertised to the other nodes",
      "IPv6 address 2001:db8::11, advertised to the other nodes",
    ],
  },
  mtu: { bytes: 1430, baseBytes: 1500, base: "interface", overheadBytes: 70 },
  store: {
    kind: "etcd",
    description: "etcd at http://192.0.2.21:2379, http://192.0.2.22:2379, http://192.0.2.23:2379",
    endpoint: "http://192.0.2.22:2379",
    connectedSince: "2026-01-05T06:00:00Z",
    lease: { key: "10.5.72.0-24&fd00:5:0:48::-64", expiresAt: "2026-01-06T05:00:00Z" },
  },
  rules: { mode: "iptables", inSync: true },
  peers: { tunnel: 10, direct: 2, unreachable: 1, ignored: 0, departing: 0 },
  repairs: [
    {
      time: "2026-01-05T07:00:00Z",
      action: "restored",
      entry: "neigh 10.5.73.0 dev flannel.1 lladdr 02:00:00:00:00:73 nud permanent",
    },
    { time: "2026-01-04T07:00:00Z", action: "removed", entry: "route 10.5.9.0/24 dev flannel.1" },
  ],
  problems: [],
};

/** A name from outside with a character that controls a terminal. */
export const NOT_READY: StatusDocument = {
  ...READY,
  ready: false,
  node: { hostname: "node1\u001b[2J", publicAddresses: ["192.0.2.11"] },
  mtu: { bytes: 1350, baseBytes: 1400, base: "configuration", overheadBytes: 50 },
  rules: { mode: "nftables", inSync: false },
  repairs: [],
  problems: [
    {
      area: "conflict",
      text:
        "route 10.5.73.0/24 via 10.5.73.0 dev flannel.1: conflicts with an existing entry not " +
        "owned by flanneld: route 10.5.73.0/24 dev eth7",
      action: "delete the entry of the other program; flanneld then installs its own",
    },
  ],
};

/** As early as possible. */
export const STARTING: StatusDocument = {
  ...READY,
  ready: false,
  step: "reading the network configuration at /coreos.com/network/config in etcd",
  node: { hostname: "node1", publicAddresses: [] },
  network: null,
  backend: null,
  externalInterface: null,
  mtu: null,
  store: {
    kind: "datastore",
    description: "etcd at https://192.0.2.21:2379",
    endpoint: null,
    connectedSince: null,
    lease: null,
  },
  rules: null,
  peers: null,
  repairs: [],
  problems: [
    {
      area: "start",
      text: "reading the network configuration at /coreos.com/network/config in etcd",
      action: "wait, or fix what the last line of the log names; flanneld continues by itself",
    },
  ],
};

export const KUBERNETES: StatusDocument = {
  ...READY,
  backend: { type: "host-gw", devices: [] },
  mtu: { bytes: 1500, baseBytes: 1500, base: "interface", overheadBytes: 0 },
  store: {
    kind: "kubernetes",
    description: "the Kubernetes API at https://10.96.0.1:443",
    endpoint: null,
    connectedSince: null,
    lease: { key: "node/node1", expiresAt: null },
  },
};
