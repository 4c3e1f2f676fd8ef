/**
 * The entries of a namespace's kernel as sorted text in the notation of `ip` and `bridge`.
 *
 * They are read with iproute2, not with our own netlink code, so that the two check each other. The
 * entries that the topology and the kernel create by themselves are left out.
 */

import { namespaceScript } from "../../src/lab/namespace.ts";

/** Each MAC address to be printed by a name, such as `<h2>`. */
export type MacNames = ReadonlyMap<string, string>;

/**
 * Devices, addresses, permanent neighbours, forwarding entries, routes, FOU ports; sorted lines.
 */
export async function kernelText(namespace: string, names: MacNames = new Map()): Promise<string> {
  const output = await namespaceScript(namespace, READ_ALL);
  const [fdb, routes6, batch] = output.split("\n===\n") as [string, string, string];
  // Without foo over UDP in the kernel, the last command fails.
  const [links, addresses, neighbours, routes4, fou = []] = batch.trim().split("\n").map(
    parseEntries,
  ) as [Json[], Json[], Json[], Json[], Json[]?];
  const lines = [
    ...links.filter(isNotTopology).map(linkLine),
    ...addresses.filter(isNotTopology).flatMap(addressLines),
    ...neighbours.map((entry) =>
      `neigh ${entry["dst"]} lladdr ${entry["lladdr"]} dev ${entry["dev"]} nud permanent`
    ),
    ...parseEntries(fdb).filter((entry) => entry["dst"] !== undefined).map((entry) =>
      `fdb ${entry["mac"]} dev ${entry["ifname"]} dst ${entry["dst"]} self ${entry["state"]}`
    ),
    ...[...routes4, ...parseEntries(routes6)].filter(isNotKernelRoute).map(routeLine),
    ...fou.map((entry) => `fou port ${entry["port"]} ipproto ${entry["ipproto"]}`),
  ];
  const named = lines.map((line) => {
    for (const [mac, name] of names) line = line.replaceAll(mac, name);
    return line;
  });
  return named.sort().map((line) => `${line}\n`).join("");
}

/** The output of one command; nothing is an empty list. */
function parseEntries(output: string): Json[] {
  return output.trim() === "" ? [] : JSON.parse(output) as Json[];
}

type Json = { readonly [key: string]: unknown };

/** As few program starts as possible: in a virtual machine, one costs as much as all the output. */
const READ_ALL = `bridge -j fdb show; echo; echo ===
ip -j -d -N -6 route show; echo; echo ===
ip -j -d -N -batch - <<END || true
link show
address show
neigh show nud permanent
route show
fou show
END
`;

const TOPOLOGY_DEVICES = ["lo", "eth0", "cni0"];
/**
 * A tunnel's module puts one of these into every namespace
 * (Documentation/admin-guide/sysctl/net.rst).
 */
const FALLBACK_DEVICES = [
  ...["tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0"],
  ...["ip_vti0", "ip6_vti0"],
];

function isNotTopology(link: Json): boolean {
  const name = link["ifname"] as string;
  return !TOPOLOGY_DEVICES.includes(name) && !FALLBACK_DEVICES.includes(name);
}

function linkLine(link: Json): string {
  const flags = link["flags"] as string[];
  const info = (link["linkinfo"] ?? {}) as { info_kind?: string; info_data?: Json };
  const data = info.info_data ?? {};
  const base = `link ${link["ifname"]}: mtu ${link["mtu"]} state ` +
    (flags.includes("UP") ? "up" : "down");
  if (info.info_kind === "ipip") return `${base} ${tunnelWords(data)}`;
  const withMac = `${base} address ${link["address"]}`;
  if (info.info_kind !== "vxlan") return `${withMac} type ${info.info_kind ?? "none"}`;
  return `${withMac} type vxlan id ${data["id"]} local ${data["local"] ?? data["local6"]} ` +
    `dev ${data["link"]} dstport ${data["port"]} ` +
    `${data["learning"] === false ? "nolearning" : "learning"}${data["gbp"] ? " gbp" : ""}`;
}

/** Of an ipip device, whose link-layer address is the local address once more. */
function tunnelWords(data: Json): string {
  const encap = data["encap"] as Json | undefined;
  return `type ipip remote ${data["remote"]} local ${data["local"]}` +
    (encap === undefined
      ? ""
      : ` encap ${encap["type"]} encap-sport ${encap["sport"]} encap-dport ${encap["dport"]}`);
}

/** Without link-local addresses: the kernel gives them by itself. */
function addressLines(link: Json): string[] {
  return (link["addr_info"] as Json[])
    .filter((address) => !String(address["local"]).startsWith("fe80:"))
    .map((address) => `addr ${address["local"]}/${address["prefixlen"]} dev ${link["ifname"]}`);
}

/** RTPROT_KERNEL 2, RTPROT_BOOT 3 on the topology's own devices, multicast and link-local. */
function isNotKernelRoute(route: Json): boolean {
  if (String(route["protocol"]) === "2" || route["dst"] === "default") return false;
  const destination = String(route["dst"]);
  return !destination.startsWith("fe80:") && !destination.startsWith("ff00:");
}

function routeLine(route: Json): string {
  const words = ["route"];
  const type = String(route["type"] ?? "unicast");
  const destination = String(route["dst"]);
  const isIpv6 = destination.includes(":");
  if (type !== "unicast" && type !== "1") words.push(type === "6" ? "blackhole" : type);
  words.push(destination.includes("/") ? destination : `${destination}/${isIpv6 ? 128 : 32}`);
  if (route["gateway"] !== undefined) words.push("via", String(route["gateway"]));
  if (route["dev"] !== undefined && words[1] !== "blackhole") {
    words.push("dev", String(route["dev"]));
  }
  words.push("proto", String(route["protocol"] ?? "boot"));
  const scope = String(route["scope"] ?? "0");
  if (scope === "253" || scope === "link") words.push("scope", "link");
  if (route["prefsrc"] !== undefined) words.push("src", String(route["prefsrc"]));
  const metric = Number(route["metric"] ?? 0);
  if (metric !== (isIpv6 ? 1024 : 0)) words.push("metric", String(metric));
  if ((route["flags"] as string[] | undefined)?.includes("onlink")) words.push("onlink");
  return words.join(" ");
}
