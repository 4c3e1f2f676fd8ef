/** Readers of text that operators, programs and other machines write. */

import { parsePeer, parseSetup } from "../../../src/backend/extension/hook_records.ts";
import { BackendError } from "../../../src/overlay/backend_error.ts";
import { HttpError } from "../../../src/backend/tencent_vpc/http_exchange.ts";
import { ApiError, readReply } from "../../../src/backend/tencent_vpc/api.ts";
import {
  parseRouteTables,
  routeChanges,
  tableOf,
} from "../../../src/backend/tencent_vpc/route_table.ts";
import { parseKeyFile } from "../../../src/backend/wireguard/key_file.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { ConfigError } from "../../../src/config/config_error.ts";
import { parseNetworkConfig } from "../../../src/config/network_config.ts";
import { checkConfigText } from "../../../src/operator/check_config.ts";
import { parseGetReply, parseSetReply } from "../../../src/kernel/wireguard/uapi.ts";
import { formatSubnetFile, parsePreviousSubnetFile } from "../../../src/subnet/subnet_file.ts";
import { forwardDropReason } from "../../../src/firewall/iptables/forward_path.ts";
import { iptablesCorrection } from "../../../src/firewall/iptables/iptables_rules.ts";
import {
  parseChainListing,
  parseIptablesSave,
} from "../../../src/firewall/iptables/iptables_save.ts";
import {
  acceptsNetwork,
  countJumps,
  dropsEverything,
  matchesSets,
  readForwardChains,
} from "../../../src/firewall/nftables/foreign_rules.ts";
import { readNftTable, readNftTableNames } from "../../../src/firewall/nftables/nft_listing.ts";
import { nftablesCorrection } from "../../../src/firewall/nftables/nftables_rules.ts";
import { ip, prefix } from "../../support/sample_network.ts";
import { NETWORK4, rulesFor } from "../../unit/firewall/fixtures.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

const decoder = new TextDecoder();

const subnetFile: FuzzTarget = {
  name: "subnet-file",
  seeds: [
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_IPV6_NETWORK=fc00::/48\n" +
    "FLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
    "# made by hand\r\nexport FLANNEL_SUBNET = '10.5.72.1/24'\r\n",
  ],
  dictionary: [
    "FLANNEL_SUBNET=",
    "FLANNEL_NETWORK=",
    "__proto__=",
    "[x]\n",
    "[]=",
    "\\",
    "${HOME}",
    "=",
    ";",
    "\n",
  ],
  run(input) {
    const { networks, subnets } = parsePreviousSubnetFile(decoder.decode(input), () => {});
    if (Object.keys(subnets).length === 0) return;
    const text = formatSubnetFile({ networks, subnets, mtuBytes: 1450, ipMasq: true });
    equal(parsePreviousSubnetFile(text, () => {}).subnets, subnets);
  },
};

const networkConfig: FuzzTarget = {
  name: "network-config",
  isJson: true,
  seeds: [
    '{"Network":"10.5.0.0/16","SubnetLen":24,"SubnetMin":"10.5.10.0","SubnetMax":"10.5.99.0"}',
    '{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fc00::/48","IPv6SubnetLen":64,' +
    '"EnableNFTables":true}',
    '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":1,"Port":8472,"GBP":true,' +
    '"DirectRouting":true,"MTU":1400}}',
    '{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard","Mode":"auto","PSK":"",' +
    '"PersistentKeepaliveInterval":25}}',
    '{"Network":"10.5.0.0/16","Backend":{"Type":"extension","SubnetAddCommand":"echo",' +
    '"ShutdownCommand":"a && b"}}',
    '{"Network":"10.5.0.0/16","Backend":{"Type":"ipsec",' +
    '"PSK":"0123456789012345678901234567890123456789","UDPEncap":true}}',
    '{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":8285}}',
    '{"Network":"10.5.0.0/16","Backend":{"Type":"tencent-vpc","AccessKeyID":"a",' +
    '"AccessKeySecret":"b"}}',
    '{"Network":"10.5.0.0/16","Backend":{"Type":"ipip","DirectRouting":false}}',
  ],
  dictionary: [
    "Network",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "255.255.255.255/32",
    "null",
    "true",
    '"Type"',
    "\\u0000",
  ],
  refusals: [ConfigError],
  async run(input) {
    const text = decoder.decode(input);
    const { config, mistakes } = await checkConfigText(text, "flanneld");
    const hasPlaceholder = mistakes.some(({ message }) => message.includes("write the secret"));
    const isRefused = config === undefined && !hasPlaceholder;
    try {
      await readConfig(text);
    } catch (error) {
      equal([isRefused, mistakes.length > 0], [true, true]);
      throw error;
    }
    equal(isRefused, false);
  },
};

/** As a daemon reads it. */
async function readConfig(text: string): Promise<void> {
  const config = parseNetworkConfig(text, { source: "the store", warn: () => {} });
  await BACKENDS.checkConfig(config, { warn: () => {} } as never);
}

const wireguardUapi: FuzzTarget = {
  name: "wireguard-uapi",
  seeds: [
    `private_key=${"ab".repeat(32)}\nlisten_port=51820\npublic_key=${"cd".repeat(32)}\n` +
    `preshared_key=${
      "00".repeat(32)
    }\nendpoint=192.0.2.1:51820\nlast_handshake_time_sec=1700000000\n` +
    "last_handshake_time_nsec=5\npersistent_keepalive_interval=25\nallowed_ip=10.5.2.0/24\n" +
    `public_key=${"ef".repeat(32)}\nendpoint=[fd00::1%2]:5\nallowed_ip=fc00::/64\nerrno=0\n\n`,
    "errno=-16\n\n",
  ],
  dictionary: [
    "errno=",
    "public_key=",
    "endpoint=",
    "[::ffff:1.2.3.4]:1",
    "allowed_ip=",
    "\n",
    "=",
  ],
  run(input) {
    const { errno, listenPort, peers } = parseGetReply(decoder.decode(input));
    equal([errno >= 0, listenPort >= 0 && listenPort <= 65_535], [true, true]);
    for (const { publicKey, keepaliveSeconds, lastHandshakeMs } of peers) {
      equal([publicKey.length, keepaliveSeconds <= 65_535, Number.isFinite(lastHandshakeMs)], [
        44,
        true,
        true,
      ]);
    }
    equal(parseSetReply(decoder.decode(input)) >= 0, true);
  },
};

const wireguardKey: FuzzTarget = {
  name: "wireguard-key",
  seeds: [`${"A".repeat(43)}=\n`, "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gISE="],
  dictionary: ["=", "\n", "+/", "-_"],
  refusals: [BackendError],
  run(input) {
    const key = parseKeyFile("/run/wgkey", decoder.decode(input));
    equal(parseKeyFile("/run/wgkey", key), key);
  },
};

const IPTABLES_SAVE = `# Generated by iptables-save v1.8.9 (nf_tables)
*nat
:POSTROUTING ACCEPT [0:0]
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment "flanneld masq" \
-j MASQUERADE --random-fully
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
`;

const iptablesSave: FuzzTarget = {
  name: "iptables-save",
  seeds: [IPTABLES_SAVE, "# Table \`filter' is incompatible, use 'nft' tool.\n"],
  dictionary: [
    "*filter\n",
    "COMMIT\n",
    "-A FORWARD ",
    " -j DROP\n",
    " -g FORWARD\n",
    ":FORWARD DROP [0:0]\n",
    '"',
    "\\",
    "!",
    "-s 0.0.0.0/0",
    "-d 10.5.0.0/255.255.0.0",
    "# Table \`nat' is incompatible",
  ],
  refusals: [SyntaxError],
  run(input) {
    const { tables, policies, unreadable } = parseIptablesSave(decoder.decode(input));
    for (const name of unreadable.keys()) equal(tables.has(name), false);
    const rules = rulesFor()[4];
    const partial = new Set(unreadable.keys());
    for (const wanted of [rules, undefined]) {
      iptablesCorrection({ state: tables, rules: wanted, networks: [NETWORK4], partial });
    }
    const chains = tables.get("filter") ?? new Map<string, string[]>();
    forwardDropReason({ chains, policy: policies.get("filter FORWARD"), network: NETWORK4 });
    parseChainListing(decoder.decode(input), "FORWARD");
  },
};

const NFT_TABLE = JSON.stringify({
  nftables: [
    { metainfo: { version: "1.0.6", json_schema_version: 1 } },
    { table: { family: "ip", name: "flannel-ipv4", handle: 1, flags: "dormant" } },
    {
      chain: {
        family: "ip",
        table: "flannel-ipv4",
        name: "postrtg",
        handle: 1,
        type: "nat",
        hook: "postrouting",
        prio: 100,
        policy: "accept",
      },
    },
    {
      chain: {
        family: "ip",
        table: "filter",
        name: "FORWARD",
        handle: 3,
        type: "filter",
        hook: "forward",
        prio: 0,
        policy: "drop",
      },
    },
    {
      rule: {
        family: "ip",
        table: "flannel-ipv4",
        chain: "postrtg",
        handle: 3,
        comment: "flanneld masq",
        expr: [
          { match: { op: "==", left: { "&": [{ meta: { key: "mark" } }, 16384] }, right: 16384 } },
          { return: null },
        ],
      },
    },
    {
      rule: {
        family: "ip",
        table: "flannel-ipv4",
        chain: "postrtg",
        handle: 4,
        expr: [
          {
            match: {
              op: "!=",
              left: { payload: { protocol: "ip", field: "saddr" } },
              right: { prefix: { addr: "10.5.0.0", len: 16 } },
            },
          },
          { masquerade: { flags: "fully-random" } },
        ],
      },
    },
    {
      rule: {
        family: "ip",
        table: "filter",
        chain: "FORWARD",
        handle: 5,
        expr: [
          { counter: { packets: 0, bytes: 0 } },
          { jump: { target: "FLANNEL-FWD" } },
          { drop: null },
        ],
      },
    },
  ],
});

const nftOutput: FuzzTarget = {
  name: "nft-output",
  isJson: true,
  seeds: [NFT_TABLE, '{"nftables":[]}'],
  dictionary: [
    '{"rule":',
    '{"chain":',
    '"expr":[',
    '{"prefix":{"addr":"10.5.0.0","len":129}}',
    "null",
    "[]",
  ],
  refusals: [SyntaxError],
  run(input) {
    const json = decoder.decode(input);
    const table = readNftTable(json);
    const rules = rulesFor()[4];
    for (const wanted of [rules, undefined]) {
      nftablesCorrection({ family: 4, table, rules: wanted, networks: [NETWORK4] });
    }
    readNftTableNames(json);
    readForwardChains(json);
    countJumps(json, "FLANNEL-FWD");
    dropsEverything(json);
    matchesSets(json);
    acceptsNetwork(json, NETWORK4);
  },
};

const cloudReply: FuzzTarget = {
  name: "cloud-reply",
  isJson: true,
  seeds: [
    JSON.stringify({
      Response: {
        TotalCount: 1,
        RouteTableSet: [{
          RouteTableId: "rtb-1",
          Main: true,
          AssociationSet: [{ SubnetId: "subnet-1", RouteTableId: "rtb-1" }],
          RouteSet: [{
            RouteId: 7,
            DestinationCidrBlock: "10.5.2.0/24",
            GatewayType: "NORMAL_CVM",
            GatewayId: "192.168.0.2",
            RouteType: "USER",
            Enabled: true,
          }],
        }],
        RequestId: "x",
      },
    }),
    '{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":"wrong"},' +
    '"RequestId":"x"}}',
  ],
  dictionary: ['"Response"', '"Error"', "null", "[]", '"RouteTableSet"'],
  refusals: [ApiError, HttpError],
  run(input) {
    const tables = parseRouteTables(readReply("DescribeRouteTables", 200, decoder.decode(input))) ??
      [];
    const table = tableOf(tables, "subnet-1");
    const own = {
      destination: prefix("10.5.1.0/24"),
      instance: ip("192.168.0.1"),
      network: NETWORK4,
    };
    if (table !== undefined) routeChanges(table, own);
  },
};

const VARIABLES = {
  NETWORK: "10.5.0.0/16",
  SUBNET: "10.5.2.0/24",
  PUBLIC_IP: "192.168.0.2",
  IPV6NETWORK: "",
  IPV6SUBNET: "",
  PUBLIC_IPV6: "",
};

const extensionRecord: FuzzTarget = {
  name: "extension-record",
  isJson: true,
  seeds: [
    JSON.stringify({
      boot: "b",
      generation: "g",
      isComplete: true,
      mark: "m",
      commands: ["pre", "post"],
      variables: VARIABLES,
      output: "printed\n",
    }),
    JSON.stringify({
      boot: "b",
      key: "10.5.2.0-24",
      generation: "g",
      isCertain: true,
      mark: "m",
      command: "c",
      input: { variables: VARIABLES, stdin: "data\n" },
    }),
  ],
  dictionary: ["__proto__", '"variables"', "null", "[]"],
  refusals: [SyntaxError],
  run(input) {
    const fields: unknown = JSON.parse(decoder.decode(input));
    if (typeof fields !== "object" || fields === null) return;
    for (const parse of [parseSetup, parsePeer]) {
      const record = parse(fields as Readonly<Record<string, unknown>>);
      if (record === undefined) continue;
      const written: unknown = JSON.parse(JSON.stringify(record));
      equal(parse(written as Readonly<Record<string, unknown>>), record);
    }
  },
};

export const TEXT_TARGETS: readonly FuzzTarget[] = [
  subnetFile,
  networkConfig,
  wireguardUapi,
  wireguardKey,
  iptablesSave,
  nftOutput,
  cloudReply,
  extensionRecord,
];
