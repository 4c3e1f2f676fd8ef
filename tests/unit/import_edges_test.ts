/**
 * Which folder may import which, each with its reason, and by which files a folder is entered. A
 * new edge or door is added here, with its reason, in the commit that needs it.
 */

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";

const ROOT = new URL("../../", import.meta.url).pathname;

/** An edge that carries types only is marked `type`: nothing of the target runs in the source. */
const EDGES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  ffi: { base: "its errors are the operator's" },
  base: {},
  addr: {},
  config: {
    addr: "networks and subnets are prefixes",
    base: "unknown keys are reported with the nearest known one",
  },
  log: { base: "text from outside is truncated and escaped; rate limits need a clock" },
  process: {
    base: "its errors are the operator's",
    ffi: "the kernel knows which process listens at a socket",
  },
  health: {
    addr: "the listen address",
    base: "text from outside is escaped",
    ffi: "systemd's socket takes datagrams",
    "type log": "a failed notification is logged",
  },
  state: { addr: "entries consist of addresses", base: "assertNever" },
  "kernel/wire": {
    addr: "addresses to and from bytes",
    base: "clock; its errors are the operator's",
    ffi: "libnl, libc and the kernel's constants",
  },
  "kernel/table": {
    "type base": "clock",
    ffi: "message flags, error numbers",
    "kernel/wire": "its errors",
    state: "steps are about resources",
  },
  "kernel/sysctl": {
    "kernel/table": "it implements a kernel table",
    "kernel/wire": "its errors",
    "type state": "a parameter is a resource",
  },
  "kernel/nexthop": {
    addr: "gateways are addresses",
    ffi: "libnl and the kernel's constants",
    "kernel/sysctl": "whether the kernel shows the gateways of such routes",
    "kernel/table": "what a step asks for",
    "kernel/wire": "messages",
    state: "routes are resources",
  },
  "kernel/wireguard": {
    addr: "endpoints, allowed IPs and keys",
    base: "clock, one task at a time",
    ffi: "the kernel's constants",
    "kernel/table": "it implements a kernel table",
    "kernel/wire": "generic netlink",
    process: "WireGuard in user space is a program",
    state: "devices and peers are resources",
  },
  "kernel/xfrm": {
    addr: "policies are between prefixes",
    base: "clock, messages of errors",
    ffi: "libnl and the kernel's constants",
    "kernel/table": "it implements a kernel table",
    "kernel/wire": "messages",
    "type state": "policies are resources",
  },
  "kernel/rtnetlink": {
    addr: "addresses to and from bytes",
    base: "clock, messages of errors",
    ffi: "libnl and the kernel's constants",
    "kernel/nexthop": "many routes share nexthop objects",
    "kernel/table": "what a step asks for, and its result",
    "kernel/wire": "messages",
    "kernel/wireguard": "whether a TUN device is one of WireGuard in user space",
    process: "the program that has a UDP port",
    state: "entries are resources",
  },
  kernel: {
    addr: "addresses to and from bytes",
    base: "pauses",
    "type base": "clock",
    ffi: "the kernel's constants",
    "kernel/nexthop": "wiring",
    "kernel/rtnetlink": "wiring",
    "kernel/sysctl": "wiring",
    "kernel/table": "wiring; FOU ports and TUN devices are kernel tables",
    "kernel/wire": "sockets",
    "kernel/wireguard": "wiring",
    "kernel/xfrm": "wiring",
    process: "the program that has a UDP port",
    state: "what is read and written are resources",
  },
  "etcd/api": {},
  "etcd/client": {
    addr: "endpoints and the routes to them",
    base: "clock, TLS files, quoting of what a server sent",
    config: "an endpoint that cannot be used is a configuration error",
    "etcd/api": "the framing of messages",
    log: "outages are logged",
  },
  join: {
    addr: "addresses in URLs",
    base: "clock, the file of the credential",
    "etcd/client": "a node joins by etcd's calls",
    log: "waiting for the datastore is logged",
  },
  kube: {
    base: "clock, files that are replaced, TLS files, quoting of what a server sent",
    log: "nodes that cannot be read, credentials that cannot be read again",
    process: "a kubeconfig may name a program that prints credentials",
  },
  subnet: {
    addr: "leases consist of prefixes",
    base: "the subnet file; size limits; tens of thousands of leases",
    config: "a subnet must fit the network",
    log: "an outage of a store is logged",
  },
  "subnet/etcd": {
    addr: "leases consist of prefixes",
    base: "clock, quoting of what a lease says",
    "type config": "the network of a lease",
    "etcd/client": "leases are keys in etcd",
    log: "outages are logged",
    subnet: "it implements the store",
  },
  "subnet/kube": {
    addr: "leases consist of prefixes",
    base: "clock; the file of the network configuration; quoting of what a node says",
    config: "pod CIDRs must fit the network; annotations that an operator writes",
    kube: "leases are Nodes; the kinds of failures",
    log: "outages are logged",
    subnet: "it implements the store",
  },
  host: {
    addr: "interfaces have addresses",
    base: "an unknown name is answered with the nearest known one",
    config: "the overlay network must leave the host's own addresses alone",
    ffi: "address flags, as the kernel spells them",
    kernel: "devices, addresses and routes are read from the kernel",
    log: "changes of the interface are logged",
    state: "routes are resources",
  },
  reconcile: {
    addr: "the family of an entry",
    base: "assertNever, clock",
    "type kernel": "it acts through the kernel port",
    "type log": "repairs and failures are logged",
    state: "it compares desired and actual entries",
  },
  overlay: {
    addr: "peers have addresses",
    base: "tens of thousands of peers; quoting of what a lease says",
    config: "backends read their options",
    "type host": "the external interface",
    "type kernel": "reachability and orphans are read from the kernel port",
    "type kernel/wireguard": "a backend asks what can run WireGuard",
    "type kernel/xfrm": "a backend is given the states of IPsec",
    log: "what was adopted or refused is logged",
    process: "a charon that an earlier run left is named",
    state: "desired entries are resources",
    subnet: "peers are leases",
  },
  backend: {
    addr: "peers have addresses",
    base: "records of commands, charon's settings; an unknown type and the nearest known one",
    config: "each backend reads its options",
    ffi: "the udp proxy moves packets by itself",
    "type host": "the external interface",
    "type kernel": "prepare() is given the kernel port",
    "type kernel/xfrm": "ipsec looks after the states that charon makes",
    log: "what was adopted or refused is logged",
    overlay: "it implements the backend port with the entries that backends share",
    process: "kernel modules are loaded; charon and commands are started",
    state: "desired entries are resources",
    "type subnet": "peers are leases",
  },
  "firewall/rules": {
    addr: "rules name networks",
    base: "its errors are the operator's",
  },
  "firewall/nftables": {
    addr: "rules name networks",
    base: "a lost watch is reopened after a delay; texts of errors",
    ffi: "libnftables; the socket of notifications",
    "firewall/rules": "it implements the rule target",
    "kernel/wire": "notifications of nftables are netlink messages",
    process: "nft, where libnftables is missing",
  },
  "firewall/iptables": {
    addr: "rules name networks",
    base: "texts of errors",
    "firewall/nftables": "nft shows what iptables cannot show",
    "firewall/rules": "it implements the rule target",
    process: "iptables-save and iptables-restore",
  },
  firewall: {
    addr: "each family has its rules",
    base: "assertNever, clock",
    "firewall/iptables": "wiring; other firewalls in iptables-legacy",
    "firewall/nftables": "wiring; other firewalls in nftables",
    "firewall/rules": "the desired rules and the port to what holds them",
    log: "repairs are logged",
    process: "whether iptables-legacy is installed",
  },
  "datastore/mvcc": {
    base: "leases expire; its errors are the operator's",
    "etcd/api": "requests and answers",
    "type log": "compaction and repairs are logged",
  },
  "datastore/access": {
    addr: "the addresses of the machine are in its certificate",
    base: "clock, files, its errors are the operator's",
    "datastore/mvcc": "its errors, the data directory",
    join: "the token, and what a node expects of it",
    log: "changes of tokens and users are logged",
  },
  "datastore/rpc": {
    base: "clock, its errors are the operator's",
    "datastore/access": "who may call",
    "datastore/mvcc": "it serves the store",
    "etcd/api": "the messages",
    "type log": "refused connections are logged",
    process: "connections stay below the limit of open files",
  },
  "datastore/transfer": {
    base: "sizes and quoting",
    "datastore/mvcc": "its errors, leases in words",
    "etcd/api": "the messages",
    "etcd/client": "the other end is any etcd",
  },
  datastore: {
    addr: "the listen address",
    "datastore/access": "wiring",
    backend: "a configuration names a backend that exists",
    base: "clock, TLS files",
    config: "the network's configuration is checked before it is written",
    "datastore/mvcc": "wiring",
    "datastore/rpc": "wiring",
    health: "systemd learns when it serves",
    join: "the command with which nodes join",
    "type log": "wiring",
  },
  cni: {
    addr: "the subnet file has networks",
    base: "files, quoting, its errors are the operator's",
    process: "the delegate is a program",
    subnet: "the subnet file's lines",
  },
  lab: {
    addr: "hosts and workloads have addresses",
    base: "clock; what a CNI plugin prints is JSON",
    "type overlay": "a backend's descriptor says what the backend needs of a machine",
    firewall: "whether this machine can hold the rules in iptables",
    process: "it starts ip, etcd, kube-apiserver, CNI plugins and the daemon",
    subnet: "the daemon's subnet file is read by its parser",
  },
  control: {
    addr: "the address that a packet is sent to",
    base: "clock, one line for each error, quoting of what a daemon sent",
    ffi: "the process at the other end of a socket",
    "type kernel": "the client compares the kernel's tables with what a daemon wants",
    "type log": "a document that cannot be made",
    state: "entries as keys and text",
  },
  cli: {
    addr: "flags that are addresses",
    backend: "--backend is one that exists",
    base: "unknown flags are reported with the nearest known one",
    cni: "the subcommands",
    config: "--network is checked when it is read",
    control: "the subcommands status and peers",
    datastore: "the subcommand",
    "datastore/access": "the subcommands token and user",
    "datastore/mvcc": "its errors end the subcommand with one line",
    "datastore/transfer": "dump, restore and migrate",
    "etcd/client": "--etcd-endpoints is checked when it is read",
    ffi: "a bug report has the versions of libc and libnl",
    host: "--iface-regex is checked when it is read",
    join: "--join is checked when it is read",
    kernel: "peers shows what the kernel does with a packet",
    lab: "the subcommand",
    "type overlay": "descriptors of backends",
    log: "--log-format, and the datastore's log",
  },
  operator: {
    addr: "leases consist of prefixes",
    backend: "which backend a network has",
    base: "clock, quoting, tables",
    cli: "the options of the commands, and how a command ends",
    config: "leases are checked against the configuration",
    "etcd/client": "the store is etcd",
    host: "the MTU is that of the external interface",
    join: "the store may be a datastore that this node has joined",
    kernel: "the external interface is chosen among the kernel's",
    kube: "leases may be Nodes",
    log: "a store's warnings",
    "type overlay": "backends check their options",
    subnet: "the leases and their validation",
    "subnet/etcd": "where leases and sessions are in etcd",
    "subnet/kube": "how Nodes are read",
  },
  daemon: {
    addr: "addresses of each family",
    backend: "the configuration names one",
    base: "clock, errors, queues",
    cli: "the daemon's options",
    config: "the network's configuration is waited for and watched",
    control: "it serves its status",
    "etcd/client": "the lease store is in etcd",
    ffi: "the kernel knows which process has a device",
    firewall: "a node has rules",
    health: "/readyz and systemd show whether it is ready",
    host: "the external interface is chosen and followed",
    join: "the lease store may be a datastore that nodes join",
    kernel: "the system's port to the kernel",
    kube: "the lease store may be the Kubernetes API",
    "kernel/sysctl": "a host that does not forward packets is warned of",
    "kernel/wireguard": "a backend asks for it",
    "kernel/xfrm": "a backend asks for it",
    log: "each step of the start, each change of the host",
    overlay: "leases become entries",
    process: "whether this process may change the network",
    reconcile: "entries are kept in the kernel",
    state: "the scope of the reconciler; entries of a peer as text",
    subnet: "a node has a lease and a subnet file",
    "subnet/etcd": "a lease store",
    "subnet/kube": "a lease store",
  },
  main: {
    base: "assertNever, quoting",
    cli: "what is asked for",
    daemon: "loaded only when it runs",
    log: "the daemon's log",
    operator: "the commands of an operator, loaded only when one runs",
    process: "limits that are too small are reported first",
  },
};

/** Rooms within a folder that have edges of their own. */
const NESTED_ROOMS: readonly string[] = [
  "datastore/access",
  "datastore/mvcc",
  "datastore/rpc",
  "datastore/transfer",
  "etcd/api",
  "etcd/client",
  "firewall/iptables",
  "firewall/nftables",
  "firewall/rules",
  "kernel/nexthop",
  "kernel/rtnetlink",
  "kernel/sysctl",
  "kernel/table",
  "kernel/wire",
  "kernel/wireguard",
  "kernel/xfrm",
  "subnet/etcd",
  "subnet/kube",
];

/**
 * The files of a folder below `src` that files outside of it may import. A nested room can have a
 * door of its own: its siblings count as outside.
 */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  cli: [
    "cni_command.ts",
    "command_help.ts",
    "command_line.ts",
    "commands.ts",
    "config_arguments.ts",
    "daemon_command.ts",
    "daemon_options.ts",
    "datastore_command.ts",
    "install_cni_command.ts",
    "install_conf.ts",
    "interruptible_command.ts",
    "invocation.ts",
    "lab_command.ts",
    "leases_arguments.ts",
    "licenses.ts",
    "store_flags.ts",
    "peers_command.ts",
    "status_command.ts",
    "version.ts",
    "version_report.ts",
  ],
  control: [
    "packet_path.ts",
    "peer_document.ts",
    "peers_table.ts",
    "query_error.ts",
    "status_client.ts",
    "status_document.ts",
    "status_path.ts",
    "screen.ts",
    "status_server.ts",
    "status_text.ts",
    "terminal_text.ts",
  ],
  cni: ["cni_installation.ts", "cni_plugin.ts", "plugin_input.ts"],
  datastore: [
    "listen_address.ts",
    "access/control_client.ts",
    "access/control_protocol.ts",
    "access/datastore_secret.ts",
    "access/prepared_access.ts",
    "mvcc/datastore_error.ts",
    "serve.ts",
    "transfer/transfer.ts",
  ],
  "datastore/mvcc": [
    // The store, its leases and its watches.
    "commit_queue.ts",
    "compactor.ts",
    "lease_clock.ts",
    "lessor.ts",
    "mvcc_store.ts",
    "storage.ts",
    "storage_report.ts",
    "watch_event.ts",
    "watch_hub.ts",
    "watch_stream.ts",
    // Requests.
    "key_writes.ts",
    "range_query.ts",
    "read_cost.ts",
    "memory_pool.ts",
    "transaction.ts",
    "transaction_check.ts",
    // Values and errors.
    "datastore_error.ts",
    "key_interval.ts",
    "request_error.ts",
    "revision_entry.ts",
  ],
  "datastore/access": [
    "access_control.ts",
    "auth_sessions.ts",
    "certificate.ts",
    "control_client.ts",
    "control_protocol.ts",
    "datastore_ca.ts",
    "datastore_secret.ts",
    "prepared_access.ts",
    "token_access.ts",
  ],
  "datastore/rpc": [
    "auth_calls.ts",
    "grpc_server.ts",
    "key_calls.ts",
    "response_header.ts",
    "server_limits.ts",
    "services.ts",
    "watch_service.ts",
  ],
  "datastore/transfer": ["transfer.ts"],
  join: [
    "ca_fingerprint.ts",
    "checked_text.ts",
    "join_datastore.ts",
    "join_error.ts",
    "join_protocol.ts",
    "join_token.ts",
    "node_credential.ts",
  ],
  kube: ["kube_api.ts", "kube_error.ts", "open_kube_client.ts"],
  lab: [
    "kube/kube_prerequisites.ts",
    "kube/socket_relay.ts",
    "lab.ts",
    "lab_backend.ts",
    "lab_options.ts",
    "lab_report.ts",
    "prerequisites.ts",
  ],
  backend: ["backend_registry.ts"],
  "backend/extension": ["extension_descriptor.ts"],
  "backend/ipsec": ["ipsec_descriptor.ts"],
  "backend/tencent_vpc": ["tencent_vpc_descriptor.ts"],
  "backend/udp": ["udp_descriptor.ts"],
  "etcd/api": ["kv_pb.ts", "message_frames.ts", "rpc_pb.ts"],
  "etcd/client": [
    "calls.ts",
    "cluster.ts",
    "endpoint.ts",
    "etcd.ts",
    "etcd_client.ts",
    "etcd_error.ts",
    "etcd_messages.ts",
    "grpc_error.ts",
    "host_network.ts",
    "lease_renewal.ts",
  ],
  subnet: [
    "allocation.ts",
    "annotation_format.ts",
    "etcd/etcd_lease_store.ts",
    "etcd/lease_records.ts",
    "etcd/live_session.ts",
    "etcd/node_identity.ts",
    "etcd/own_records.ts",
    "kube/kube_lease_store.ts",
    "kube/net_config_file.ts",
    "kube/node_annotations.ts",
    "kube/own_node.ts",
    "lease.ts",
    "lease_codec.ts",
    "lease_rows.ts",
    "lease_store.ts",
    "lease_table.ts",
    "lease_validation.ts",
    "packed_lease.ts",
    "prefix_trie.ts",
    "subnet_file.ts",
  ],
  firewall: ["firewall.ts"],
  kernel: [
    "host_devices.ts",
    "kernel.ts",
    "netlink_kernel.ts",
    "sysctl/proc_sys.ts",
    "wire/message_reader.ts",
    "wire/netlink_socket.ts",
    "wireguard/wireguard_support.ts",
    "xfrm/xfrm_states.ts",
  ],
  overlay: [
    // What a backend is.
    "backend.ts",
    "backend_descriptor.ts",
    "backend_error.ts",
    "backend_target.ts",
    "claim.ts",
    "node_input.ts",
    // What backends share.
    "advertised_addresses.ts",
    "deviceless_ownership.ts",
    "ipv4_network.ts",
    "ipv6_mtu.ts",
    "node_entries.ts",
    "peer_lease.ts",
    "peer_route.ts",
    // From leases to entries.
    "blackhole_routes.ts",
    "lease_event_trace.ts",
    "orphans.ts",
    "overlay_controller.ts",
    "peer_paths.ts",
    "peer_reachability.ts",
  ],
  operator: ["config_command.ts", "leases_command.ts", "run_operator.ts"],
  process: [
    // Starting programs.
    "detached_process.ts",
    "file_pages.ts",
    "process_error.ts",
    "program_lookup.ts",
    "run_program.ts",
    "runtime_settings.ts",
    "runtime_settings_mark.ts",
    "secret_variables.ts",
    "signal_process.ts",
    // Processes that run.
    "charon_pid_file.ts",
    "listener_namespace.ts",
    "orphan_processes.ts",
    "proc_files.ts",
    "udp_port.ts",
    // What the host allows.
    "capabilities.ts",
    "kernel_modules.ts",
    "resource_limits.ts",
  ],
  reconcile: ["reconciler.ts"],
  state: [
    "entry_source.ts",
    "ownership.ts",
    "plan.ts",
    "resource.ts",
    "resource_key.ts",
    "resource_text.ts",
    "same_resource.ts",
    "step.ts",
  ],
  daemon: ["daemon.ts", "system_ports.ts"],
  health: ["health_server.ts", "sd_notify.ts"],
  host: [
    "excluded_addresses.ts",
    "external_interface.ts",
    "external_interface_choice.ts",
    "external_interface_follower.ts",
    "host_dependencies.ts",
    "host_interface.ts",
    "interface_pattern.ts",
    "interface_reader.ts",
    "network_changes.ts",
  ],
};

/** npm packages and `bun:` modules; `node:` modules are free except those that start programs. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "bun:ffi": ["ffi"],
  "bun:jsc": ["base"],
  "bun:sqlite": ["datastore/mvcc"],
  "node:child_process": ["process"],
  "node:worker_threads": [],
  "@peculiar/asn1-schema": ["datastore/access"],
  "@peculiar/asn1-x509": ["datastore/access"],
  "@bufbuild/protobuf": [
    "datastore/mvcc",
    "datastore/rpc",
    "datastore/transfer",
    "etcd/api",
    "etcd/client",
  ],
  "@connectrpc/connect": ["datastore/rpc"],
  "@connectrpc/connect-node": ["datastore/rpc"],
  ini: ["subnet"],
  pino: ["log"],
  yaml: ["kube", "lab"],
};

interface Import {
  readonly file: string;
  /** The file that is imported, from the root; a package by its name. */
  readonly target: string;
  readonly from: string;
  /** A folder of ours, or a package. */
  readonly to: string;
  readonly isPackage: boolean;
  readonly isType: boolean;
}

const files = ["src", "ffi"].flatMap((folder) =>
  (readdirSync(`${ROOT}${folder}`, { recursive: true }) as string[])
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`)
);
const imports = files.flatMap(importsOf);

describe("imports between folders", () => {
  test("are found at all", () => {
    expect(files.length).toBeGreaterThan(50);
    expect(imports).toContainEqual({
      file: "src/health/sd_notify.ts",
      target: "ffi/unix_datagram.ts",
      from: "health",
      to: "ffi",
      isPackage: false,
      isType: false,
    });
  });

  test("are those of the table", () => {
    const strays = imports.filter(({ from, to, isPackage, isType }) =>
      !isPackage && from !== to && EDGES[from]?.[to] === undefined &&
      !(isType && EDGES[from]?.[`type ${to}`] !== undefined)
    );
    expect(strays.map(({ file, to, isType }) => `${file} -> ${isType ? "type " : ""}${to}`))
      .toEqual([]);
  });

  test("use every edge of the table", () => {
    const used = new Set(
      imports.flatMap(({ from, to }) => [`${from} ${to}`, `${from} type ${to}`]),
    );
    const listed = Object.entries(EDGES).flatMap(([from, targets]) =>
      Object.keys(targets).map((to) => `${from} ${to}`)
    );
    expect(listed.filter((edge) => !used.has(edge))).toEqual([]);
  });

  test("of values go one way: no folder reaches itself", () => {
    const reaches = (from: string, goal: string, seen = new Set<string>()): boolean =>
      imports.some((one) => {
        if (one.from !== from || one.isType || one.isPackage || one.to === from) return false;
        if (one.to === goal) return true;
        if (seen.has(one.to)) return false;
        seen.add(one.to);
        return reaches(one.to, goal, seen);
      });
    expect(Object.keys(EDGES).filter((folder) => reaches(folder, folder))).toEqual([]);
  });
});

test("the daemon loads neither Connect nor the generated messages of etcd", () => {
  const loaded = new Set<string>();
  const load = (target: string): void => {
    if (loaded.has(target)) return;
    loaded.add(target);
    if (!existsSync(`${ROOT}${target}`)) return;
    // Also what it imports when needed, but not types.
    for (const one of imports) if (one.file === target && !one.isType) load(one.target);
  };
  load("src/daemon/daemon.ts");
  load("src/daemon/system_ports.ts");
  expect(loaded).toContain("src/etcd/client/etcd_client.ts");
  const costly = /^@connectrpc|^@bufbuild\/protobuf(?!\/wire$)|_pb\.ts$|^src\/datastore\//;
  expect([...loaded].filter((target) => costly.test(target))).toEqual([]);
});

describe("doors", () => {
  const entries = Object.entries(DOORS).map(([room, door]) => {
    const isInside = (file: string) => file.startsWith(`src/${room}/`);
    const entering = imports.filter(({ file, target }) => isInside(target) && !isInside(file));
    return { room, door: new Set(door.map((file) => `src/${room}/${file}`)), entering };
  });

  test("are the only files that a room is entered by", () => {
    const strays = entries.flatMap(({ door, entering }) =>
      entering.filter(({ target }) => !door.has(target))
    );
    expect(strays.map(({ file, target }) => `${file} -> ${target}`)).toEqual([]);
  });

  test("hold no file that nothing outside imports", () => {
    const unused = entries.flatMap(({ door, entering }) => {
      const used = new Set(entering.map(({ target }) => target));
      return [...door].filter((file) => !used.has(file));
    });
    expect(unused).toEqual([]);
  });
});

describe("packages", () => {
  test("are imported only where the table says", () => {
    const strays = imports.filter(({ from, to, isPackage }) => {
      if (!isPackage) return false;
      const name = packageName(to);
      return name.startsWith("node:") && !(name in PACKAGES)
        ? false
        : !(PACKAGES[name] ?? []).includes(from);
    });
    expect(strays.map(({ file, to }) => `${file} -> ${to}`)).toEqual([]);
  });

  test("of the table are those of package.json", () => {
    const manifest = JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")) as {
      dependencies: Record<string, string>;
    };
    expect(Object.keys(PACKAGES).filter((name) => !name.includes(":")).sort())
      .toEqual(Object.keys(manifest.dependencies).sort());
  });
});

test("only src/process starts programs", () => {
  const starters = files.filter((file) =>
    !file.startsWith("src/process/") &&
    /\bBun\s*\.\s*(spawn|spawnSync|\$)|import\s*\{[^}]*\$[^}]*\}\s*from\s*"bun"/.test(
      readFileSync(`${ROOT}${file}`, "utf8"),
    )
  );
  expect(starters).toEqual([]);
});

test("only src/main.ts ends the process", () => {
  const enders = files.filter((file) =>
    file !== "src/main.ts" && /\bprocess\s*\.\s*exit\b/.test(readFileSync(`${ROOT}${file}`, "utf8"))
  );
  expect(enders).toEqual([]);
});

test("the daemon reads its command line without the subcommands", () => {
  const seen = new Set(["src/cli/daemon_command.ts"]);
  for (const file of seen) {
    for (const one of imports) if (one.file === file && !one.isType) seen.add(one.target);
  }
  expect([...seen]).toContain("src/cli/daemon_flags.ts");
  const subcommand = /^src\/(backend|datastore|lab|operator|control)\/|(_arguments|commands)\.ts$/;
  expect([...seen].filter((file) => subcommand.test(file)))
    .toEqual(["src/cli/daemon_arguments.ts"]);
});

test("the CNI plugin loads nothing of the daemon: pods wait for its start", () => {
  const seen = new Set(["src/cli/cni_command.ts"]);
  for (const file of seen) {
    for (const one of imports) {
      if (one.file === file && !one.isType) seen.add(one.target);
    }
  }
  const rooms = new Set([...seen].filter((file) => file.startsWith("src/")).map(folderOf));
  expect([...rooms].sort()).toEqual(["addr", "base", "cli", "cni", "process", "subnet"]);
  expect([...seen].filter((file) => file.startsWith("src/cli/") || file.startsWith("src/subnet/")))
    .toEqual(["src/cli/cni_command.ts", "src/cli/version.ts", "src/subnet/subnet_file.ts"]);
});

function importsOf(file: string): Import[] {
  const text = readFileSync(`${ROOT}${file}`, "utf8");
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  // The imports of values, not of types alone.
  const values = new Set(transpiler.scanImports(text).map(({ path }) => path));
  const specifiers = [
    ...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom\s*"([^"]+)"/gm),
    ...text.matchAll(/^import\s*"([^"]+)"/gm),
    ...text.matchAll(/\bimport\(\s*"([^"]+)"/g),
  ].map((match) => match[1] as string);
  return [...new Set([...values, ...specifiers])].flatMap((specifier) => {
    const isPackage = !specifier.startsWith(".");
    const target = isPackage ? specifier : posix.join(posix.dirname(file), specifier);
    const to = isPackage ? specifier : folderOf(target);
    const isType = !values.has(specifier);
    return to === "" ? [] : [{ file, target, from: folderOf(file), to, isPackage, isType }];
  });
}

/** `src/main.ts` is a room of its own. Empty for files at the root, such as LICENSE. */
function folderOf(file: string): string {
  const [top, second = "", third = ""] = file.split("/");
  if (top === "ffi") return "ffi";
  if (top !== "src") return "";
  const nested = `${second}/${third}`;
  return NESTED_ROOMS.includes(nested) ? nested : second.replace(/\.ts$/, "");
}

function packageName(specifier: string): string {
  const parts = specifier.split("/");
  if (specifier.startsWith("node:")) return parts[0] as string;
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0] as string;
}
