import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { PerFamily } from "../../../../src/addr/family.ts";
import type { Family } from "../../../../src/addr/ip.ts";
import { type MacAddress, parseMacAddress } from "../../../../src/addr/mac.ts";
import {
  type Backend,
  type PeerReachability,
  UNKNOWN_REACHABILITY,
} from "../../../../src/overlay/backend.ts";
import { InvalidPeerError } from "../../../../src/overlay/peer_lease.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import vxlan from "../../../../src/backend/vxlan/vxlan.ts";
import type { Resource } from "../../../../src/state/resource.ts";
import type { Lease } from "../../../../src/subnet/lease.ts";
import { vxlanDevice } from "../../../support/arbitrary_state.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import {
  backendHost,
  config,
  ETH0,
  external,
  HOST,
  ip,
  lease,
  mac,
} from "../../../support/sample_network.ts";
import { stateText } from "../../../support/state_text.ts";

const DUAL: readonly Family[] = [4, 6];
const DIRECT: PeerReachability = { direct: { 4: true, 6: true }, path: {} };

async function prepare(
  families: readonly Family[],
  options: Record<string, unknown> = {},
  kernel = hostKernel(),
): Promise<Backend> {
  return await vxlan.prepare(backendHost(kernel, config("vxlan", families, options)));
}

function parsedMac(text: string): MacAddress {
  return parseMacAddress(text) as MacAddress;
}

function hostKernel(): FakeKernel {
  const kernel = new FakeKernel();
  kernel.seed(...HOST);
  return kernel;
}

function input(families: readonly Family[]) {
  return { own: lease(1, "vxlan", families), external: external(families) };
}

function desired(
  backend: Backend,
  families: readonly Family[],
  facts = UNKNOWN_REACHABILITY,
): string {
  const peers = [2, 3].map((n) => lease(n, "vxlan", families));
  return stateText([
    ...backend.node(input(families)),
    ...peers.flatMap((peer) => backend.peer(peer, input(families), facts)),
  ]);
}

describe("vxlan", () => {
  test("holds, with IPv4", async () => {
    expect(desired(await prepare([4]), [4])).toBe(`\
link flannel.1: mtu 1450 state up address 02:01:01:01:01:01 type vxlan id 1 \
local 192.168.0.1 dev eth0 dstport 8472 nolearning
addr 10.5.1.0/32 dev flannel.1
fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.2 self permanent
fdb 02:00:00:00:00:03 dev flannel.1 dst 192.168.0.3 self permanent
neigh 10.5.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent
neigh 10.5.3.0 lladdr 02:00:00:00:00:03 dev flannel.1 nud permanent
route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink
route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 proto 70 onlink
`);
  });

  test("holds, with IPv6 alone", async () => {
    expect(desired(await prepare([6]), [6])).toBe(`\
link flannel-v6.1: mtu 1430 state up address 02:01:01:01:01:01 type vxlan id 1 \
local fd00::1 dev eth0 dstport 8472 nolearning
sysctl net/ipv6/conf/flannel-v6.1/accept_ra = 0
sysctl net/ipv6/conf/flannel-v6.1/disable_ipv6 = 0
addr fc00:0:0:1::/128 dev flannel-v6.1
fdb 02:00:00:00:00:02 dev flannel-v6.1 dst fd00::2 self permanent
fdb 02:00:00:00:00:03 dev flannel-v6.1 dst fd00::3 self permanent
neigh fc00:0:0:2:: lladdr 02:00:00:00:00:02 dev flannel-v6.1 nud permanent
neigh fc00:0:0:3:: lladdr 02:00:00:00:00:03 dev flannel-v6.1 nud permanent
route fc00:0:0:2::/64 via fc00:0:0:2:: dev flannel-v6.1 proto 70 onlink
route fc00:0:0:3::/64 via fc00:0:0:3:: dev flannel-v6.1 proto 70 onlink
`);
  });

  test("holds, in dual stack, both, and publishes the smaller MTU", async () => {
    const backend = await prepare(DUAL);
    const both = desired(backend, DUAL).split("\n").filter((line) => line !== "").sort();
    const apart = [desired(await prepare([4]), [4]), desired(await prepare([6]), [6])]
      .join("").split("\n").filter((line) => line !== "").sort();
    expect(both).toEqual(apart);
    expect(backend.mtuBytes(external(DUAL))).toBe(1430);
  });

  test("holds, with DirectRouting, a plain route to a peer that needs no gateway", async () => {
    const backend = await prepare(DUAL, { DirectRouting: true });
    expect(backend.needsReachability).toBe(true);
    const peer = lease(2, "vxlan", DUAL);
    expect(stateText(backend.peer(peer, input(DUAL), DIRECT))).toBe(`\
route 10.5.2.0/24 via 192.168.0.2 dev eth0 proto 70
route fc00:0:0:2::/64 via fd00::2 dev eth0 proto 70
`);
    const halfDirect = { direct: { 4: false, 6: true }, path: {} };
    expect(stateText(backend.peer(peer, input(DUAL), halfDirect))).toBe(`\
fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.2 self permanent
neigh 10.5.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent
route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink
route fc00:0:0:2::/64 via fd00::2 dev eth0 proto 70
`);
  });

  test("has no direct route without DirectRouting, even if the peer needs no gateway", async () => {
    const backend = await prepare([4]);
    expect(backend.needsReachability).toBe(false);
    expect(backend.peer(lease(2, "vxlan", [4]), input([4]), DIRECT)).toHaveLength(3);
  });

  test("has only the other family's entries for a peer that lacks one", async () => {
    const backend = await prepare(DUAL);
    expect(stateText(backend.peer(lease(2, "vxlan", [6]), input(DUAL), UNKNOWN_REACHABILITY))).not
      .toContain("10.5.2");
    expect(backend.peer(lease(2, "vxlan", [6]), input(DUAL), UNKNOWN_REACHABILITY)).toHaveLength(3);
  });

  test("has a device that learns no addresses and marks no packets by default", async () => {
    const [device] = (await prepare([4])).node(input([4]));
    expect(device).toMatchObject({ learning: false, gbp: false });
    const options = { Learning: true, GBP: true };
    expect((await prepare([4], options)).node(input([4]))[0])
      .toMatchObject({ learning: true, gbp: true });
  });

  test("ignores routers as a precaution, but cannot do without IPv6", async () => {
    const sysctls = (await prepare([6])).node(input([6])).filter(({ kind }) => kind === "sysctl");
    expect(sysctls).toStrictEqual([
      {
        kind: "sysctl",
        path: "net/ipv6/conf/flannel-v6.1/accept_ra",
        value: "0",
        isPrecaution: true,
      },
      { kind: "sysctl", path: "net/ipv6/conf/flannel-v6.1/disable_ipv6", value: "0" },
    ]);
  });

  test("accepts an MTU that is too small for IPv6 in a network without it", async () => {
    expect((await prepare([4], { MTU: 1000 })).mtuBytes(external([4]))).toBe(950);
  });

  test("reads its options in any case and passes them to the device", async () => {
    const backend = await prepare([4], {
      vni: 7,
      PORT: 4789,
      gbp: true,
      learning: true,
      mtu: 1400,
    });
    expect(stateText(backend.node(input([4])))).toContain(
      "link flannel.7: mtu 1350 state up address 02:01:01:01:01:01 type vxlan id 7 " +
        "local 192.168.0.1 dev eth0 dstport 4789 learning gbp",
    );
    expect(backend.mtuBytes(external([4]))).toBe(1350);
  });

  test("reduces an explicit MTU by the overhead of each family", async () => {
    const jumbo = { ...external(DUAL), mtuBytes: 9000 };
    expect((await prepare(DUAL, { MTU: 8000 })).mtuBytes(jumbo)).toBe(7930);
  });

  test("limits MTU to the external interface's, and warns", async () => {
    const host = backendHost(hostKernel(), config("vxlan", [4], { MTU: 9000 }));
    const backend = await vxlan.prepare(host);
    expect(backend.mtuBytes(external([4]))).toBe(1450);
    expect(backend.mtuBytes({ ...external([4]), mtuBytes: 9100 })).toBe(8950);
    expect(host.logged).toEqual([
      "warning: MTU 9000 exceeds the 1500 bytes of eth0; using 1500",
    ]);
  });

  test("recognizes a lease of its device by the MAC address of either family", async () => {
    const { identity, attributes } = await prepare(DUAL);
    const { 4: data, 6: data6 } = attributes.backendData;
    const mac = (one: unknown) => (one as { VtepMAC: string }).VtepMAC;
    const match = (backendData: PerFamily<unknown>, backendType = "vxlan") =>
      identity?.matchIn({ publicAddresses: {}, backendType, backendData });
    expect(identity?.texts).toEqual([mac(data), mac(data6)]);
    expect(match({ 4: data })).toBe(`VtepMAC ${mac(data)}`);
    expect(match({ 6: data6 })).toBe(`VtepMAC ${mac(data6)}`);
    expect(match({ 4: { VtepMAC: "02:00:00:00:00:99" } })).toBe(undefined);
    expect(match({ 4: data }, "wireguard")).toBe(undefined);
    expect(match({ 4: { VtepMAC: 5 }, 6: null })).toBe(undefined);
    expect(match({ 4: { VtepMAC: [mac(data)] } })).toBe(undefined);
    expect(identity?.remedy).toBe(
      "delete the device (ip link delete flannel.1; ip link delete flannel-v6.1)",
    );
  });

  test("accepts an MTU equal to the interface's without a warning", async () => {
    const host = backendHost(hostKernel(), config("vxlan", [4], { MTU: 1500 }));
    expect((await vxlan.prepare(host)).mtuBytes(host.external)).toBe(1450);
    const plain = backendHost(hostKernel(), config("vxlan", [4]));
    await vxlan.prepare(plain);
    expect([...host.logged, ...plain.logged]).toEqual([]);
  });

  test("accepts a VNI with the longest device name that Linux allows", async () => {
    const backend = await prepare([4], { VNI: 9_999_999 });
    expect(backend.type).toBe("vxlan");
    expect(backend.node(input([4]))[0]).toMatchObject({ name: "flannel.9999999" });
    const withV6 = await prepare([6], { VNI: 9999 });
    expect(withV6.node(input([6]))[0]).toMatchObject({ name: "flannel-v6.9999" });
    await expect(prepare([6], { VNI: 99_999 })).rejects.toThrow(
      "the device name flannel-v6.99999 longer",
    );
  });

  test("keeps no multicast or zero MAC address of an existing device", async () => {
    const kernel = hostKernel();
    kernel.seed({ ...vxlanDevice("flannel.1"), mac: parsedMac("01:00:5e:00:00:01") });
    const host = backendHost(kernel, config("vxlan", [4]));
    const { attributes } = await vxlan.prepare(host);
    expect(attributes.backendData[4]).toMatchObject({ VtepMAC: "02:01:01:01:01:01" });
    expect(host.logged).toEqual([]);
  });

  test("follows the external interface's MTU when none is given", async () => {
    const backend = await prepare([4]);
    expect(backend.mtuBytes({ ...external([4]), mtuBytes: 1400 })).toBe(1350);
  });

  test("rejects an underlay with too small an MTU for IPv6, and says what to do", async () => {
    const prepareOver = (mtuBytes: number, families: readonly Family[]) =>
      vxlan.prepare(backendHost(hostKernel(), config("vxlan", families), {
        external: { ...external(families), mtuBytes },
      }));
    const error = await prepareOver(1349, DUAL).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(BackendError);
    expect((error as Error).message).toBe(
      "interface eth0 has an MTU of 1349 bytes, which leaves 1279 for packets in the tunnel; " +
        "IPv6 needs 1280 (RFC 8200): raise its MTU to at least 1350, or set EnableIPv6 to " +
        "false in the network configuration",
    );
    await expect(prepareOver(1350, DUAL)).resolves.toBeDefined();
    await expect(prepareOver(1349, [4])).resolves.toBeDefined();
  });

  test("has no IPv6 while the underlay's MTU is too small, and reports it", async () => {
    const backend = await prepare(DUAL);
    const small = { ...external(DUAL), mtuBytes: 1349 };
    const at = { own: lease(1, "vxlan", DUAL), external: small };
    expect(backend.externalProblem?.(small)).toStartWith("interface eth0 has an MTU of 1349 bytes");
    expect(backend.externalProblem?.({ ...small, mtuBytes: 1350 })).toBe(undefined);
    const peer = lease(2, "vxlan", DUAL);
    expect(stateText([...backend.node(at), ...backend.peer(peer, at, UNKNOWN_REACHABILITY)])).toBe(
      `\
link flannel-v6.1: mtu 1279 state up address 02:01:01:01:01:01 type vxlan id 1 \
local fd00::1 dev eth0 dstport 8472 nolearning
link flannel.1: mtu 1299 state up address 02:01:01:01:01:01 type vxlan id 1 \
local 192.168.0.1 dev eth0 dstport 8472 nolearning
addr 10.5.1.0/32 dev flannel.1
fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.2 self permanent
neigh 10.5.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent
route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink
`,
    );
    const direct = await prepare(DUAL, { DirectRouting: true });
    expect(direct.peer(peer, at, DIRECT)).toHaveLength(2); // It needs no tunnel.
  });

  const refused: [Record<string, unknown>, readonly Family[], string][] = [
    [{ VNI: -1 }, [4], "VNI in"],
    [{ VNI: 16777216 }, [4], "VNI in"],
    [{ VNI: 10_000_000 }, [4], "the device name flannel.10000000 longer than the 15"],
    [{ VNI: 10_000 }, [6], "the device name flannel-v6.10000 longer than the 15"],
    [{ Port: 65536 }, [4], "Port in"],
    [{ Port: "8472" }, [4], "Port in"],
    [{ MTU: 1300 }, DUAL, "MTU 1300 leaves 1230 bytes for packets in the tunnel"],
  ];
  for (const [options, families, message] of refused) {
    const network = `IPv${families.join(" and IPv")}`;
    test(`rejects the options ${JSON.stringify(options)} with ${network}`, async () => {
      await expect(prepare(families, options)).rejects.toThrow(message);
    });
  }

  test("rejects a network with a family that the external interface does not have", async () => {
    const host = backendHost(hostKernel(), config("vxlan", DUAL), { external: external([4]) });
    await expect(vxlan.prepare(host)).rejects.toThrow(
      "external interface eth0 has no IPv6 address",
    );
  });

  test("advertises its VNI and MAC as Go flannel does", async () => {
    const { attributes } = await prepare(DUAL, { VNI: 5 });
    expect(JSON.parse(JSON.stringify(attributes))).toEqual({
      publicAddresses: { 4: "192.168.0.1", 6: "fd00::1" },
      backendType: "vxlan",
      backendData: {
        4: { VNI: 5, VtepMAC: "02:01:01:01:01:01" },
        6: { VNI: 5, VtepMAC: "02:01:01:01:01:01" },
      },
    });
  });

  test("owns its devices and the routes in its networks", async () => {
    const backend = await prepare(DUAL);
    expect(backend.ownership(external(DUAL)) as unknown).toEqual({
      links: new Set(["flannel.1", "flannel-v6.1"]),
      linkTypes: new Set(["vxlan"]),
      networks: ["10.5.0.0/16", "fc00::/48"],
      routeLink: "eth0",
    });
  });
});

describe("vxlan chooses as its MAC", () => {
  const previousLease = lease(1, "vxlan", [4], mac(8));

  test("the existing device's", async () => {
    const kernel = hostKernel();
    kernel.seed(vxlanDevice("flannel.1", { mac: 7 }));
    const host = backendHost(kernel, config("vxlan", [4]), { previousLease });
    expect((await vxlan.prepare(host)).attributes.backendData[4]).toMatchObject({
      VtepMAC: mac(7),
    });
  });

  test("else the stored lease's", async () => {
    const host = backendHost(hostKernel(), config("vxlan", [4]), { previousLease });
    expect((await vxlan.prepare(host)).attributes.backendData[4]).toMatchObject({
      VtepMAC: mac(8),
    });
  });

  test("else a random one, locally administered", async () => {
    const random = (length: number) => new Uint8Array(length).fill(0xff);
    const host = backendHost(hostKernel(), config("vxlan", [4]), { random });
    expect((await vxlan.prepare(host)).attributes.backendData[4]).toMatchObject({
      VtepMAC: "fe:ff:ff:ff:ff:ff",
    });
  });

  test("never that of a device of another type", async () => {
    const kernel = hostKernel();
    kernel.seed({ ...ETH0, name: "flannel.1", linkKind: "bridge" });
    const host = backendHost(kernel, config("vxlan", [4]));
    expect((await vxlan.prepare(host)).attributes.backendData[4]).toMatchObject({
      VtepMAC: "02:01:01:01:01:01",
    });
  });

  test.each<[unknown]>([["ff:ff:ff:ff:ff:ff"], ["no address"], [5], [[mac(8)]]])(
    "never that of a lease with the VtepMAC %p",
    async (vtepMac) => {
      const invalid = lease(1, "vxlan", [4], vtepMac as MacAddress);
      const host = backendHost(hostKernel(), config("vxlan", [4]), { previousLease: invalid });
      expect((await vxlan.prepare(host)).attributes.backendData[4]).toMatchObject({
        VtepMAC: "02:01:01:01:01:01",
      });
    },
  );

  test("never that of this node's lease with another backend", async () => {
    const plain = lease(1, "vxlan", [4], mac(8));
    const attributes = { ...plain.attributes, backendType: "other" };
    const host = backendHost(hostKernel(), config("vxlan", [4]), {
      previousLease: { ...plain, attributes },
    });
    expect((await vxlan.prepare(host)).attributes.backendData[4]).toMatchObject({
      VtepMAC: "02:01:01:01:01:01",
    });
  });
});

test("vxlan sends from the address on which it receives, also after that has changed", async () => {
  const host = backendHost(hostKernel(), config("vxlan", [4]));
  const backend = await vxlan.prepare(host);
  for (const address of ["192.168.0.1", "203.0.113.9"]) {
    const sourceAddresses = { 4: ip(address) };
    const input = { own: lease(1, "vxlan", [4]), external: { ...external([4]), sourceAddresses } };
    expect(stateText(backend.node(input))).toContain(`local ${address} dev eth0`);
  }
});

describe("vxlan ignores the lease of a peer", () => {
  const good = lease(2, "vxlan", [4]);
  const withData = (data: unknown): Lease => ({
    ...good,
    attributes: { ...good.attributes, backendData: { 4: data } },
  });
  const bad: [string, Lease, string][] = [
    [
      "of another backend",
      lease(2, "host-gw", [4]),
      "its backend is host-gw, this node's is vxlan",
    ],
    [
      "without a backend",
      { ...good, attributes: { ...good.attributes, backendType: "" } },
      "its backend is not named",
    ],
    [
      "without BackendData",
      withData(undefined),
      "it has the subnet 10.5.2.0/24 but no BackendData",
    ],
    ["with null as BackendData", withData(null), "but no BackendData"],
    [
      "with text as BackendData",
      withData("x"),
      'its BackendData is the string "x", not an object',
    ],
    [
      "with BackendData encoded twice",
      withData('{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}'),
      `its BackendData is the string "{\\"VNI\\":1,\\"VtepMAC\\":\\"02:00:00:00:00:02\\"}", ` +
      "not an object; it was encoded as JSON twice",
    ],
    [
      "with a list as BackendData",
      withData([1]),
      "its BackendData is the array [1], not an object",
    ],
    ["with a MAC that is none", withData({ VNI: 1, VtepMAC: "no" }), 'an invalid VtepMAC "no"'],
    ["with a number as MAC", withData({ VNI: 1, VtepMAC: 5 }), "an invalid VtepMAC 5"],
    [
      "with a list of MACs",
      withData({ VNI: 1, VtepMAC: [mac(2)] }),
      `an invalid VtepMAC ["${mac(2)}"]`,
    ],
    [
      "with a zero MAC",
      withData({ VNI: 1, VtepMAC: "00:00:00:00:00:00" }),
      "the VtepMAC 00:00:00:00:00:00, a zero address",
    ],
    [
      "with a broadcast MAC",
      withData({ VNI: 1, VtepMAC: "ff:ff:ff:ff:ff:ff" }),
      "the VtepMAC ff:ff:ff:ff:ff:ff, a multicast address",
    ],
    ["with another VNI", withData({ VNI: 2, VtepMAC: mac(2) }), "its VNI is 2, this node's is 1"],
    [
      "with this node's own MAC",
      withData({ VNI: 1, VtepMAC: "02:01:01:01:01:01" }),
      "its BackendData has this node's own VtepMAC 02:01:01:01:01:01",
    ],
    ["without a public address", {
      ...good,
      attributes: { ...good.attributes, publicAddresses: {} },
    }, "but no public IPv4 address"],
  ];
  for (const [what, peer, message] of bad) {
    test(what, async () => {
      const backend = await prepare([4]);
      expect(() => backend.peer(peer, input([4]), UNKNOWN_REACHABILITY)).toThrow(InvalidPeerError);
      expect(() => backend.peer(peer, input([4]), UNKNOWN_REACHABILITY)).toThrow(message);
    });
  }

  test("but not one that names no VNI", async () => {
    const backend = await prepare([4]);
    const peer = withData({ VtepMAC: mac(2) });
    expect(backend.peer(peer, input([4]), UNKNOWN_REACHABILITY)).toEqual(
      backend.peer(good, input([4]), UNKNOWN_REACHABILITY),
    );
  });

  test("but reads the keys of BackendData in any case", async () => {
    const backend = await prepare([4]);
    const peer = withData({ vni: 1, vtepmac: "02-00-00-00-00-02" });
    expect(backend.peer(peer, input([4]), UNKNOWN_REACHABILITY)).toEqual(
      backend.peer(good, input([4]), UNKNOWN_REACHABILITY),
    );
  });
});

test(
  "any BackendData gives vxlan a reason, or a unicast MAC at the peer's own subnets alone",
  async () => {
    const backend = await prepare(DUAL);
    const octets = (length: number) =>
      fc.array(fc.integer({ min: 0, max: 255 }), { minLength: length, maxLength: length })
        .map((bytes) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":"));
    const special = ["02:01:01:01:01:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"];
    const data = fc.oneof(
      fc.record({
        VNI: fc.oneof(fc.constant(1), fc.jsonValue()),
        VtepMAC: fc.oneof(
          octets(6),
          octets(5),
          octets(7),
          fc.constantFrom(...special),
          fc.jsonValue(),
        ),
      }, { requiredKeys: [] }),
      fc.jsonValue(),
    );
    const families = fc.constantFrom<readonly Family[]>([4], [6], DUAL);
    let [runs, accepted] = [0, 0];
    fc.assert(
      fc.property(data, data, families, (ipv4, ipv6, families) => {
        runs++;
        const plain = lease(2, "vxlan", families);
        const backendData = { 4: ipv4, 6: ipv6 };
        const peer = { ...plain, attributes: { ...plain.attributes, backendData } };
        let entries: Resource[];
        try {
          entries = backend.peer(peer, input(DUAL), UNKNOWN_REACHABILITY);
        } catch (error) {
          if (!(error instanceof InvalidPeerError)) throw error;
          return;
        }
        accepted++;
        const macs = entries.flatMap((entry) => entry.kind === "fdb" ? [entry.mac] : []);
        for (const mac of macs) {
          expect(mac).toMatch(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/); // RFC 7042 section 2.1
          expect(special).not.toContain(mac);
        }
        const wanted = families.flatMap((family, i) => [
          `neigh ${PEER[family].gateway} ${macs[i]}`,
          `fdb ${macs[i]} ${PEER[family].remote}`,
          `route ${PEER[family].subnet} ${PEER[family].gateway}`,
        ]);
        expect(entries.map(entryText)).toEqual(wanted);
      }),
      { numRuns: 20_000 },
    );
    expect(accepted).toBeGreaterThan(runs / 100 - 5); // A mutation run tries few.
  },
  120_000,
);

/** What sample_network.ts gives node 2. */
const PEER = {
  4: { subnet: "10.5.2.0/24", gateway: "10.5.2.0", remote: "192.168.0.2" },
  6: { subnet: "fc00:0:0:2::/64", gateway: "fc00:0:0:2::", remote: "fd00::2" },
};

function entryText(entry: Resource): string {
  switch (entry.kind) {
    case "neighbour":
      return `neigh ${entry.address} ${entry.mac}`;
    case "fdb":
      return `fdb ${entry.mac} ${entry.remote}`;
    case "route":
      return `route ${entry.destination} ${entry.gateway}`;
    default:
      return entry.kind;
  }
}
