/** The steps of a packet, with the kernel's tables as they should be and damaged. */

import { beforeEach, expect, test } from "bun:test";
import { packetPath } from "../../../src/control/packet_path.ts";
import { pathText } from "../../../src/control/peers_table.ts";
import type { PeerDocument } from "../../../src/control/peer_document.ts";
import type { RouteLookup } from "../../../src/kernel/kernel.ts";
import type { Resource } from "../../../src/state/resource.ts";
import { deviceOf, resourceKey } from "../../../src/state/resource_key.ts";
import { resourceText } from "../../../src/state/resource_text.ts";
import { ip, prefix } from "../../support/sample_network.ts";
import { parseMacAddress } from "../../../src/addr/mac.ts";

const mac = parseMacAddress("02:00:00:00:00:02");
if (mac === undefined) throw new Error("the address is not valid");

const NEIGHBOUR: Resource = {
  kind: "neighbour",
  link: "flannel.1",
  address: ip("10.5.2.0"),
  mac,
};
const FDB: Resource = { kind: "fdb", link: "flannel.1", mac, remote: ip("192.168.0.2") };
const ROUTE: Resource = {
  kind: "route",
  type: "unicast",
  destination: prefix("10.5.2.0/24"),
  link: "flannel.1",
  gateway: ip("10.5.2.0"),
  onlink: true,
  scope: "universe",
  metric: 0,
  protocol: 70,
  table: 254,
};
const ENTRIES = [NEIGHBOUR, FDB, ROUTE];

const PEER: PeerDocument = {
  lease: "10.5.2.0-24",
  subnets: ["10.5.2.0/24"],
  publicAddresses: ["192.168.0.2"],
  path: "tunnel",
  identities: [mac],
  problem: null,
  entries: ENTRIES.map((entry) => ({
    key: resourceKey(entry),
    device: deviceOf(entry) ?? null,
    text: resourceText(entry),
  })),
};

let routes: Record<string, RouteLookup>;
let entries: Resource[];

beforeEach(() => {
  routes = {
    "10.5.2.7": { link: "flannel.1", gateway: ip("10.5.2.0"), local: false },
    "192.168.0.2": { link: "eth0", source: ip("192.168.0.1"), local: false },
  };
  entries = [...ENTRIES];
});

async function steps(peer = PEER): Promise<string> {
  return pathText(
    await packetPath(ip("10.5.2.7"), peer, {
      routeTo: (address) => Promise.resolve(routes[address] ?? { local: false }),
      dump: (kinds, links) => {
        expect([...kinds].sort()).toEqual(["fdb", "neighbour", "route"]);
        expect([...links ?? []]).toEqual(["flannel.1"]);
        return Promise.resolve(entries);
      },
    }),
  );
}

test("every step is ok if the kernel holds what is wanted", async () => {
  expect(await steps()).toBe(` 1  ok     route to 10.5.2.7: via 10.5.2.0 dev flannel.1
 2  ok     ${resourceText(NEIGHBOUR)}
 3  ok     ${resourceText(FDB)}
 4  ok     ${resourceText(ROUTE)}
 5  ok     the outer packet: route to 192.168.0.2: dev eth0 src 192.168.0.1
`);
});

test("a step is wrong if its entry is missing", async () => {
  entries = [NEIGHBOUR, ROUTE];
  expect(await steps()).toContain(
    ` 3  wrong  ${resourceText(FDB)}\n           the kernel does not have it\n`,
  );
});

test("a step is wrong if its entry differs", async () => {
  entries = [NEIGHBOUR, { ...FDB, remote: ip("192.168.0.9") } as Resource, ROUTE];
  expect(await steps()).toContain(" 3  wrong  fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.9");
  expect(await steps()).toContain(`it should be: ${resourceText(FDB)}\n`);
});

test("a step is wrong if another route takes precedence", async () => {
  routes["10.5.2.7"] = { link: "eth1", local: false };
  expect(await steps()).toStartWith(` 1  wrong  route to 10.5.2.7: dev eth1
           another route or rule takes precedence: flanneld's is by flannel.1
`);
});

test.each([
  [{ local: false }, "route to 192.168.0.2: unreachable", "no route to the public address"],
  [{ local: true, link: "lo" }, "local dev lo", "the public address is one of this host"],
  [{ local: false, link: "flannel.1" }, "dev flannel.1", "the tunnel leads into itself"],
])("the outer packet cannot leave: %p", async (lookup, text, problem) => {
  routes["192.168.0.2"] = lookup;
  expect(await steps()).toContain(text);
  expect(await steps()).toContain(problem);
});

test("a peer without entries has the route only", async () => {
  const peer = { ...PEER, path: "direct" as const, entries: [] };
  expect(await steps(peer)).toBe(" 1  ok     route to 10.5.2.7: via 10.5.2.0 dev flannel.1\n");
});
