import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PerFamily } from "../../../../src/addr/family.ts";
import type { Family, IpAddress } from "../../../../src/addr/ip.ts";
import { type WireguardKey, ZERO_KEY } from "../../../../src/addr/wireguard_key.ts";
import { type Backend, UNKNOWN_REACHABILITY } from "../../../../src/overlay/backend.ts";
import { InvalidPeerError } from "../../../../src/overlay/peer_lease.ts";
import { BACKENDS } from "../../../../src/backend/backend_registry.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import { privateKeyFrom, publicKeyOf } from "../../../../src/backend/wireguard/key_pair.ts";
import wireguard from "../../../../src/backend/wireguard/wireguard.ts";
import type { WireguardSupport } from "../../../../src/kernel/wireguard/wireguard_support.ts";
import { NO_MAC, type WireguardPeer } from "../../../../src/state/resource.ts";
import { resourceText } from "../../../../src/state/resource_text.ts";
import type { Lease } from "../../../../src/subnet/lease.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import {
  backendHost,
  config,
  each,
  external,
  HOST,
  ip,
  lease,
  prefix,
} from "../../../support/sample_network.ts";
import { stateText } from "../../../support/state_text.ts";

const DUAL: readonly Family[] = [4, 6];
const PSK = "oEHRe5SRIqoumo0vgsCEsf3aNPBnu1xTsXQaUHxUpF4=";
/** Public keys of node 1 (its random bytes are all 1), and of its peers. */
const OWN = publicKeyOf(privateKeyFrom(new Uint8Array(32).fill(1)));
const keyOf = (n: number): WireguardKey => publicKeyOf(privateKeyFrom(new Uint8Array(32).fill(n)));

const directory = mkdtempSync(join(tmpdir(), "wireguard-test-"));
let files = 0;
beforeAll(() => expect(existsSync(directory)).toBe(true));
afterAll(() => rmSync(directory, { recursive: true }));

interface HostDependencies {
  readonly kernel?: FakeKernel;
  readonly keyFile?: string;
  readonly previousLease?: Lease;
}

async function prepare(
  families: readonly Family[],
  options: Record<string, unknown> = {},
  { kernel = hostKernel(), keyFile = freshKeyFile(), previousLease }: HostDependencies = {},
): Promise<Backend> {
  const env = { WIREGUARD_KEY_FILE: keyFile };
  const network = config("wireguard", families, options);
  return await wireguard.prepare(backendHost(kernel, network, { env, previousLease }));
}

function hostKernel(): FakeKernel {
  const kernel = new FakeKernel();
  kernel.seed(...HOST);
  return kernel;
}

function freshKeyFile(): string {
  return join(directory, `folder-${++files}`, "wgkey");
}

function node(n: number, families: readonly Family[], data?: PerFamily<unknown>): Lease {
  const plain = lease(n, "wireguard", families);
  const backendData = data ?? each(families, (family) => ({
    PublicKey: keyOf(n),
    Port: family === 4 ? 51820 : 51821,
  }));
  return { ...plain, attributes: { ...plain.attributes, backendData } };
}

function at(peer: Lease, publicAddresses: PerFamily<IpAddress>): Lease {
  return { ...peer, attributes: { ...peer.attributes, publicAddresses } };
}

function input(families: readonly Family[]) {
  return { own: node(1, families), external: external(families) };
}

function entries(backend: Backend, peer: Lease, families: readonly Family[]): string {
  return stateText(backend.peer(peer, input(families), UNKNOWN_REACHABILITY));
}

function desired(backend: Backend, families: readonly Family[]): string {
  const peers = [2, 3].map((n) => node(n, families));
  return stateText([
    ...backend.node(input(families)),
    ...peers.flatMap((peer) => backend.peer(peer, input(families), UNKNOWN_REACHABILITY)),
  ]);
}

describe("wireguard", () => {
  test("is in the registry", async () => {
    expect(await BACKENDS.find("WireGuard")?.load()).toBe(wireguard);
  });

  test("holds, with IPv4", async () => {
    expect(desired(await prepare([4]), [4])).toBe(`\
link flannel-wg: mtu 1420 state up type wireguard
wireguard flannel-wg listen-port 51820
addr 10.5.1.0/32 dev flannel-wg
wireguard flannel-wg peer ${keyOf(3)} endpoint 192.168.0.3:51820 allowed-ips 10.5.3.0/24
wireguard flannel-wg peer ${keyOf(2)} endpoint 192.168.0.2:51820 allowed-ips 10.5.2.0/24
route 10.5.0.0/16 dev flannel-wg proto 70 scope link
`);
  });

  test("holds, with IPv6 alone, the IPv6 device alone", async () => {
    expect(desired(await prepare([6]), [6])).toBe(`\
link flannel-wg-v6: mtu 1420 state up type wireguard
sysctl net/ipv6/conf/flannel-wg-v6/disable_ipv6 = 0
wireguard flannel-wg-v6 listen-port 51821
addr fc00:0:0:1::/128 dev flannel-wg-v6
wireguard flannel-wg-v6 peer ${keyOf(3)} endpoint [fd00::3]:51821 allowed-ips fc00:0:0:3::/64
wireguard flannel-wg-v6 peer ${keyOf(2)} endpoint [fd00::2]:51821 allowed-ips fc00:0:0:2::/64
route fc00::/48 dev flannel-wg-v6 proto 70
`);
  });

  test("holds, in dual stack, both, with one key", async () => {
    const backend = await prepare(DUAL);
    const both = desired(backend, DUAL).split("\n").filter(Boolean).sort();
    const apart = [desired(await prepare([4]), [4]), desired(await prepare([6]), [6])]
      .join("").split("\n").filter(Boolean).sort();
    expect(both).toEqual(apart);
    expect(backend.mtuBytes(external(DUAL))).toBe(1420);
    const keys = backend.node(input(DUAL))
      .flatMap((entry) => entry.kind === "wireguard-device" ? [publicKeyOf(entry.privateKey)] : []);
    expect(keys).toEqual([OWN, OWN]);
  });

  test.each(["ipv4", "ipv6"])(
    "holds, with the mode %s, one device for both families",
    async (Mode) => {
      const endpoint = (n: number) =>
        Mode === "ipv4" ? `192.168.0.${n}:51820` : `[fd00::${n}]:51820`;
      expect(desired(await prepare(DUAL, { Mode }), DUAL)).toBe(`\
link flannel-wg: mtu 1420 state up type wireguard
sysctl net/ipv6/conf/flannel-wg/disable_ipv6 = 0
wireguard flannel-wg listen-port 51820
addr 10.5.1.0/32 dev flannel-wg
addr fc00:0:0:1::/128 dev flannel-wg
wireguard flannel-wg peer ${keyOf(3)} endpoint ${
        endpoint(3)
      } allowed-ips 10.5.3.0/24,fc00:0:0:3::/64
wireguard flannel-wg peer ${keyOf(2)} endpoint ${
        endpoint(2)
      } allowed-ips 10.5.2.0/24,fc00:0:0:2::/64
route 10.5.0.0/16 dev flannel-wg proto 70 scope link
route fc00::/48 dev flannel-wg proto 70
`);
    },
  );

  test("recognizes a lease with its key, and says how a copied host gets its own", async () => {
    const keyFile = freshKeyFile();
    const { identity } = await prepare(DUAL, {}, { keyFile });
    const match = (backendData: PerFamily<unknown>, backendType = "wireguard") =>
      identity?.matchIn({ publicAddresses: {}, backendType, backendData });
    expect(identity?.texts).toEqual([OWN]);
    for (const family of DUAL) {
      expect(match({ [family]: { PublicKey: OWN } })).toBe(`PublicKey ${OWN}`);
    }
    expect(match({ 4: { PublicKey: keyOf(2) }, 6: null })).toBe(undefined);
    expect(match({ 4: { PublicKey: OWN } }, "vxlan")).toBe(undefined);
    expect(identity?.remedy).toBe(
      `delete the key file and the devices (rm ${keyFile}; ip link delete flannel-wg; ` +
        "ip link delete flannel-wg-v6)",
    );
  });

  test("reads its options in any case and passes them on", async () => {
    const options = { psk: PSK, listenport: 1000, LISTENPORTV6: 1001, mtu: 9000 };
    const backend = await prepare(DUAL, { ...options, persistentKeepaliveInterval: 25 });
    expect(desired(backend, DUAL)).toContain("link flannel-wg: mtu 8920 state up type wireguard\n");
    expect(desired(backend, DUAL)).toContain("wireguard flannel-wg listen-port 1000\n");
    expect(desired(backend, DUAL)).toContain("wireguard flannel-wg-v6 listen-port 1001\n");
    const [peer] = backend.peer(node(2, DUAL), input(DUAL), UNKNOWN_REACHABILITY) as [
      WireguardPeer,
    ];
    expect(peer.presharedKey as string).toBe(PSK);
    expect(resourceText(peer)).toContain(
      "preshared-key (hidden) endpoint 192.168.0.2:51820 persistent-keepalive 25 ",
    );
    expect(backend.mtuBytes(external(DUAL))).toBe(8920);
  });

  test.each(["", ZERO_KEY])("treats the PSK '%s' as none, as the kernel does", async (PSK) => {
    const backend = await prepare([4], { PSK });
    expect(backend.peer(node(2, [4]), input([4]), UNKNOWN_REACHABILITY)[0]).not.toHaveProperty(
      "presharedKey",
    );
  });

  test("follows the external interface's MTU when none is given", async () => {
    const backend = await prepare([4]);
    expect(backend.mtuBytes({ ...external([4]), mtuBytes: 1400 })).toBe(1320);
  });

  const where = "in the network configuration's Backend object";
  const refused: [string, Record<string, unknown>, readonly Family[], string][] = [
    [
      "a short PSK",
      { PSK: PSK.slice(1) },
      [4],
      `PSK ${where} has an invalid value, which is secret and not shown; it must be a key of ` +
      "32 bytes in base64, as wg " +
      "genpsk prints",
    ],
    [
      "a PSK of another type",
      { PSK: 7 },
      [4],
      `PSK ${where} has an invalid value, which is secret and not shown; it `,
    ],
    [
      "an unknown mode",
      { Mode: "ipv5" },
      [4],
      `Mode ${where} is "ipv5"; it must be one of "separate", "auto", "ipv4", "ipv6"`,
    ],
    [
      "a port out of range",
      { ListenPort: 65536 },
      [4],
      `ListenPort ${where} is 65536; it must be an integer from 1 to 65535`,
    ],
    [
      "no port",
      { ListenPortV6: 0 },
      [6],
      `ListenPortV6 ${where} is 0; it must be an integer from 1`,
    ],
    [
      "a keepalive that is text",
      { PersistentKeepaliveInterval: "25s" },
      [4],
      `PersistentKeepaliveInterval ${where} is "25s"; it must be an integer from 0 to 65535`,
    ],
    ["an MTU too small", { MTU: 100 }, [4], `MTU ${where} is 100; it must be an integer from 200`],
    [
      "an MTU too small for IPv6",
      { MTU: 1359 },
      DUAL,
      "MTU 1359 leaves 1279 bytes for packets in the tunnel; IPv6 needs 1280, so it must be at " +
      "least 1360",
    ],
    [
      "one port for two devices",
      { ListenPort: 51821 },
      DUAL,
      'ListenPort and ListenPortV6 are both 51821; the two devices of the mode "separate" need ',
    ],
    [
      "a mode that needs the other family",
      { Mode: "ipv6" },
      [4],
      'Mode "ipv6" needs IPv6 between the nodes, and the network has no IPv6; ',
    ],
  ];
  test.each(refused)("rejects %s", async (_name, options, families, message) => {
    const error = await prepare(families, options).catch((error: unknown) => error) as Error;
    expect(error.name).toBe("ConfigError");
    expect(error.message).toStartWith(message);
    expect(error.message).not.toContain("\n");
    expect(error.message).not.toContain(PSK.slice(1));
  });

  test("rejects an underlay with too small an MTU for IPv6, unless MTU is given", async () => {
    const prepareOver = (mtuBytes: number, families: readonly Family[], options = {}) =>
      wireguard.prepare(backendHost(hostKernel(), config("wireguard", families, options), {
        env: { WIREGUARD_KEY_FILE: freshKeyFile() },
        external: { ...external(families), mtuBytes },
      }));
    const error = await prepareOver(1359, DUAL).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(BackendError);
    expect((error as Error).message).toBe(
      "interface eth0 has an MTU of 1359 bytes, which leaves 1279 for packets in the tunnel; " +
        "IPv6 needs 1280 (RFC 8200): raise its MTU to at least 1360, or set EnableIPv6 to " +
        "false in the network configuration",
    );
    await expect(prepareOver(1360, DUAL)).resolves.toBeDefined();
    await expect(prepareOver(1359, [4])).resolves.toBeDefined();
    await expect(prepareOver(1359, DUAL, { MTU: 1360 })).resolves.toBeDefined();
  });

  test.each(["separate", "auto"])(
    "with the mode %s has no IPv6 while the underlay is too small for it, and says so",
    async (Mode) => {
      const backend = await prepare(DUAL, { Mode });
      const small = { ...external(DUAL), mtuBytes: 1359 };
      const { own } = input(DUAL);
      expect(backend.externalProblem?.(small)).toStartWith("interface eth0 has an MTU of 1359 ");
      expect(backend.externalProblem?.({ ...small, mtuBytes: 1360 })).toBe(undefined);
      const entries = backend.node({ own, external: small })
        .filter(({ kind }) => kind === "address" || kind === "route");
      expect(stateText(entries)).toBe(`\
addr 10.5.1.0/32 dev flannel-wg
route 10.5.0.0/16 dev flannel-wg proto 70 scope link
`);
    },
  );

  test("needs different ports only for two devices", async () => {
    const options = { ListenPort: 51821 };
    expect((await prepare([4], options)).type).toBe("wireguard");
    expect((await prepare(DUAL, { ...options, Mode: "auto" })).type).toBe("wireguard");
  });

  test("advertises, with two devices, what Go flannel does", async () => {
    const { attributes } = await prepare(DUAL, { ListenPort: 1000 });
    expect(JSON.stringify(attributes)).toBe(JSON.stringify({
      publicAddresses: { 4: "192.168.0.1", 6: "fd00::1" },
      backendType: "wireguard",
      backendData: {
        4: { PublicKey: OWN, Port: 1000 },
        6: { PublicKey: OWN, Port: 51821 },
      },
    }));
  });

  test("advertises, with one device, the port that it listens on in both families", async () => {
    const { attributes } = await prepare(DUAL, { Mode: "auto", ListenPort: 1000 });
    expect(attributes.backendData as unknown).toEqual({
      4: { PublicKey: OWN, Port: 1000 },
      6: { PublicKey: OWN, Port: 1000 },
    });
  });

  test("owns both its devices in every mode, and what is on them", async () => {
    const backend = await prepare([4], { Mode: "ipv4" });
    expect(backend.ownership(external([4])) as unknown).toEqual({
      links: new Set(["flannel-wg", "flannel-wg-v6"]),
      linkTypes: new Set(["wireguard"]),
      networks: ["10.5.0.0/16"],
      routeLink: "eth0",
      extraKinds: ["wireguard-device", "wireguard-peer"],
    });
  });
});

describe("wireguard on a kernel without WireGuard", () => {
  function attempt(support: WireguardSupport | undefined) {
    const env = { WIREGUARD_KEY_FILE: freshKeyFile() };
    const host = backendHost(hostKernel(), config("wireguard", [4]), {
      env,
      wireguardSupport: () => Promise.resolve(support),
    });
    return { host, prepared: wireguard.prepare(host) };
  }

  test("uses a program in user space and logs it", async () => {
    const { host, prepared } = attempt({ userspace: "wireguard-go" });
    const backend = await prepared;
    expect(stateText(backend.node(input([4])))).toContain(
      "link flannel-wg: mtu 1420 state up type wireguard (user space)\n",
    );
    expect(host.logged).toContain(
      "warning: this kernel does not support WireGuard (modprobe wireguard); using " +
        "wireguard-go in " +
        "user space, which is slower",
    );
  });

  test("names the module and the program if there is neither, and creates no key", async () => {
    const { host, prepared } = attempt(undefined);
    const error = await prepared.catch((error: unknown) => error) as Error;
    expect(error.name).toBe("BackendError");
    expect(error.message).toContain("modprobe wireguard");
    expect(error.message).toContain("install wireguard-go");
    expect(existsSync(host.env["WIREGUARD_KEY_FILE"] as string)).toBe(false);
  });
});

describe("a peer of wireguard", () => {
  test("without a port, as of old versions of Go flannel, has ours", async () => {
    const data = { 4: { PublicKey: keyOf(2) }, 6: { PublicKey: keyOf(2), Port: 0 } };
    const separate = await prepare(DUAL, { ListenPort: 1000, ListenPortV6: 1001 });
    expect(entries(separate, node(2, DUAL, data), DUAL)).toBe(`\
wireguard flannel-wg peer ${keyOf(2)} endpoint 192.168.0.2:1000 allowed-ips 10.5.2.0/24
wireguard flannel-wg-v6 peer ${keyOf(2)} endpoint [fd00::2]:1001 allowed-ips fc00:0:0:2::/64
`);
    const one = await prepare(DUAL, { ListenPort: 1000, ListenPortV6: 1001, Mode: "ipv6" });
    expect(entries(one, node(2, DUAL, data), DUAL)).toContain("endpoint [fd00::2]:1000 ");
  });

  test("with a port of its own has that one", async () => {
    const data = { 4: { publickey: keyOf(2), PORT: 7 }, 6: { PublicKey: keyOf(2), Port: 8 } };
    const text = entries(await prepare(DUAL), node(2, DUAL, data), DUAL);
    expect(text).toContain("endpoint 192.168.0.2:7 ");
    expect(text).toContain("endpoint [fd00::2]:8 ");
  });

  test("of Go flannel with one device has that device's port", async () => {
    const dual = await prepare(DUAL, { Mode: "ipv6" });
    expect(entries(dual, node(2, DUAL), DUAL)).toContain("endpoint [fd00::2]:51820 ");
    const alone = await prepare([6], { Mode: "ipv6" });
    expect(entries(alone, node(2, [6]), [6])).toContain("endpoint [fd00::2]:51820 ");
    const other = { 6: { PublicKey: keyOf(2), Port: 7 } };
    expect(entries(alone, node(2, [6], other), [6])).toContain("endpoint [fd00::2]:7 ");
  });

  test("that lacks a family has only the other one", async () => {
    const separate = await prepare(DUAL);
    expect(entries(separate, node(2, [6]), DUAL)).toBe(
      `wireguard flannel-wg-v6 peer ${
        keyOf(2)
      } endpoint [fd00::2]:51821 allowed-ips fc00:0:0:2::/64\n`,
    );
    const auto = await prepare(DUAL, { Mode: "auto" });
    expect(entries(auto, node(2, [4]), DUAL)).toBe(
      `wireguard flannel-wg peer ${keyOf(2)} endpoint 192.168.0.2:51820 allowed-ips 10.5.2.0/24\n`,
    );
  });

  test("without a family of our network has no entry", async () => {
    for (const Mode of ["separate", "auto"]) {
      expect(entries(await prepare([4], { Mode }), node(2, [6]), [4])).toBe("");
    }
  });

  const publicV4 = ip("203.0.113.2");
  const privateV4 = ip("172.31.0.2");
  const publicV6 = ip("2001:db8::2");
  const privateV6 = ip("fd00::2");
  const ours: PerFamily<IpAddress> = { 4: ip("10.0.0.1"), 6: ip("2001:db8::1") };
  const ourPrivate: PerFamily<IpAddress> = { 4: ip("10.0.0.1"), 6: ip("fd00::1") };
  const ourLocal: PerFamily<IpAddress> = { 4: ip("10.0.0.1"), 6: ip("fe80::1") };
  const choices: [string, PerFamily<IpAddress>, PerFamily<IpAddress>, string][] = [
    ["over IPv4 when it has no IPv6", { 4: privateV4 }, ours, "172.31.0.2"],
    ["over IPv4 when its IPv4 is public", { 4: publicV4, 6: publicV6 }, ours, "203.0.113.2"],
    ["over IPv6 when both IPv6 are public", { 4: privateV4, 6: publicV6 }, ours, "[2001:db8::2]"],
    ["over IPv4 when its IPv6 is private", { 4: privateV4, 6: privateV6 }, ours, "172.31.0.2"],
    ["over IPv4 when our IPv6 is private", { 4: privateV4, 6: publicV6 }, ourPrivate, "172.31.0.2"],
    [
      "over IPv4 when our IPv6 is link-local",
      { 4: privateV4, 6: publicV6 },
      ourLocal,
      "172.31.0.2",
    ],
    ["over IPv6 when it has no IPv4", { 6: privateV6 }, ours, "[fd00::2]"],
    ["over IPv6 when we have no IPv4", { 4: publicV4, 6: privateV6 }, { 6: publicV6 }, "[fd00::2]"],
  ];
  test.each(choices)("is reached, with the mode auto, %s", async (_name, theirs, own, endpoint) => {
    const backend = await prepare(DUAL, { Mode: "auto" });
    const network = {
      own: node(1, DUAL),
      external: { ...external(DUAL), addresses: own, publicAddresses: own },
    };
    const peer = at(node(2, DUAL), theirs);
    expect(stateText(backend.peer(peer, network, UNKNOWN_REACHABILITY))).toContain(
      ` ${endpoint}:51820 `,
    );
  });

  const good = { PublicKey: keyOf(2), Port: 51820 };
  /** Of order 8. */
  const LOW_ORDER = "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=";
  const invalid: [string, Lease, Record<string, unknown>, string][] = [
    ["another backend's", lease(2, "vxlan", [4]), {}, "its backend is vxlan, this node's is wireg"],
    ["no data", node(2, [4], {}), {}, "it has the subnet 10.5.2.0/24 but no BackendData"],
    [
      "data that is null",
      node(2, [4], { 4: null }),
      {},
      "it has the subnet 10.5.2.0/24 but no Back",
    ],
    ["data that is text", node(2, [4], { 4: "x" }), {}, 'is the string "x", not an object'],
    [
      "a short key",
      node(2, [4], { 4: { ...good, PublicKey: "AAAA" } }),
      {},
      'its BackendData has an invalid PublicKey "AAAA"',
    ],
    [
      "a key of zeros",
      node(2, [4], { 4: { ...good, PublicKey: ZERO_KEY } }),
      {},
      `its BackendData has an invalid PublicKey "${ZERO_KEY}"`,
    ],
    [
      "a key of low order",
      node(2, [4], { 4: { ...good, PublicKey: LOW_ORDER } }),
      {},
      `its BackendData has the PublicKey ${LOW_ORDER}, a point of low order`,
    ],
    [
      "our own key",
      node(2, [4], { 4: { ...good, PublicKey: OWN } }),
      {},
      `its BackendData has this node's own PublicKey ${OWN}: it is a previous lease of this node`,
    ],
    [
      "a port out of range",
      node(2, [4], { 4: { ...good, Port: 65536 } }),
      {},
      "its BackendData has an invalid Port 65536",
    ],
    [
      "a port that is text",
      node(2, [4], { 4: { ...good, Port: "51820" } }),
      {},
      'its BackendData has an invalid Port "51820"',
    ],
    [
      "two keys for one device",
      node(2, DUAL, { 4: good, 6: { ...good, PublicKey: keyOf(3) } }),
      { Mode: "auto" },
      `its BackendData has the PublicKey ${keyOf(2)}, but its BackendV6Data has ${keyOf(3)}; a `,
    ],
    [
      "no address",
      at(node(2, [4]), {}),
      {},
      "it has no public IPv4 address",
    ],
    [
      "an address of many",
      at(node(2, [4]), { 4: ip("192.168.0.2"), 6: ip("ff02::1") }),
      { Mode: "ipv6" },
      "its public address ff02::1 is multicast",
    ],
    [
      "no address of the family that the mode asks for",
      at(node(2, DUAL), { 4: ip("192.168.0.2") }),
      { Mode: "ipv6" },
      "it has no public IPv6 address",
    ],
  ];
  test.each(invalid)("is ignored with the reason: %s", async (_name, peer, options, reason) => {
    const backend = await prepare(DUAL, options);
    expect(() => backend.peer(peer, input(DUAL), UNKNOWN_REACHABILITY)).toThrow(InvalidPeerError);
    expect(() => backend.peer(peer, input(DUAL), UNKNOWN_REACHABILITY)).toThrow(reason);
  });
});

describe("any lease data", () => {
  const part = fc.oneof(
    fc.record({
      PublicKey: fc.oneof(fc.constantFrom(keyOf(2), keyOf(3), OWN, ZERO_KEY), fc.jsonValue()),
      Port: fc.oneof(fc.integer({ min: -1, max: 65536 }), fc.jsonValue()),
    }, { requiredKeys: [] }),
    fc.jsonValue(),
  );

  test.each(["separate", "auto", "ipv4", "ipv6"])(
    "gives entries or a reason with the mode %s, and allowed IPs that are the peer's own alone",
    async (Mode) => {
      const backend = await prepare(DUAL, { Mode });
      let accepted = 0;
      fc.assert(
        fc.property(part, part, (ipv4, ipv6) => {
          let peers: WireguardPeer[];
          try {
            const peer = node(2, DUAL, { 4: ipv4, 6: ipv6 });
            peers = backend.peer(peer, input(DUAL), UNKNOWN_REACHABILITY) as WireguardPeer[];
          } catch (error) {
            if (!(error instanceof InvalidPeerError)) throw error;
            return;
          }
          accepted++;
          expect(peers.flatMap(({ allowedIps }) => allowedIps)).toEqual([
            prefix("10.5.2.0/24"),
            prefix("fc00:0:0:2::/64"),
          ]);
          for (const { endpoint, publicKey } of peers) {
            expect(endpoint?.port).toBeWithin(1, 65536);
            expect([OWN, ZERO_KEY]).not.toContain(publicKey);
          }
        }),
        { numRuns: 25_000 },
      );
      expect(accepted).toBeGreaterThan(10);
    },
    30_000,
  );
});

describe("wireguard takes as its key", () => {
  const DEVICE_KEY = privateKeyFrom(new Uint8Array(32).fill(9));

  function kernelWithDevice(privateKey = DEVICE_KEY): FakeKernel {
    const kernel = hostKernel();
    kernel.seed(
      {
        kind: "link",
        type: "wireguard",
        name: "flannel-wg-v6",
        mtuBytes: 1420,
        mac: NO_MAC,
        up: true,
        implementation: "kernel",
      },
      { kind: "wireguard-device", link: "flannel-wg-v6", privateKey, listenPort: 51821 },
    );
    return kernel;
  }

  const advertised = (backend: Backend) => backend.attributes.backendData[4] as unknown;

  test("that of the key file, run after run", async () => {
    const keyFile = freshKeyFile();
    const backend = await prepare([4], {}, { keyFile });
    expect(advertised(backend)).toMatchObject({ PublicKey: OWN });
    const again = await prepare([4], {}, { keyFile, kernel: kernelWithDevice() });
    expect(advertised(again)).toMatchObject({ PublicKey: OWN });
  });

  test("that of a file that another process creates at the same time", async () => {
    const keyFile = freshKeyFile();
    const starting = [5, 6, 7].map((n) => {
      const host = backendHost(hostKernel(), config("wireguard", [4]), {
        env: { WIREGUARD_KEY_FILE: keyFile },
        random: (length) => new Uint8Array(length).fill(n),
      });
      return wireguard.prepare(host).then((backend) => ({ host, key: advertised(backend) }));
    });
    const all = await Promise.all(starting);
    const PublicKey = publicKeyOf(readFileSync(keyFile, "latin1") as WireguardKey);
    for (const { key } of all) expect(key).toMatchObject({ PublicKey });
    const logged = all.flatMap(({ host }) =>
      host.logged.filter((line) => line.includes("key file"))
    );
    expect(logged).toEqual(Array.from(
      { length: 2 },
      () =>
        `warning: another process has just created the WireGuard key file ${keyFile}; using ` +
        "its key",
    ));
  });

  test("without a file, that of a device by which the stored lease knows this node", async () => {
    const keyFile = freshKeyFile();
    const previousLease = node(1, [6], { 6: { PublicKey: publicKeyOf(DEVICE_KEY), Port: 1 } });
    const backend = await prepare([4], {}, { keyFile, kernel: kernelWithDevice(), previousLease });
    expect(advertised(backend)).toMatchObject({ PublicKey: publicKeyOf(DEVICE_KEY) });
    expect(readFileSync(keyFile, "latin1")).toBe(DEVICE_KEY);
  });

  test("without a file and a lease, that of a device", async () => {
    const backend = await prepare([4], {}, { kernel: kernelWithDevice() });
    expect(advertised(backend)).toMatchObject({ PublicKey: publicKeyOf(DEVICE_KEY) });
  });

  test("otherwise a new one, if the device's is another node's or none", async () => {
    const previousLease = node(1, [4], { 4: { PublicKey: keyOf(7), Port: 1 } });
    const other = await prepare([4], {}, { kernel: kernelWithDevice(), previousLease });
    expect(advertised(other)).toMatchObject({ PublicKey: OWN });
    const none = await prepare([4], {}, { kernel: kernelWithDevice(ZERO_KEY) });
    expect(advertised(none)).toMatchObject({ PublicKey: OWN });
  });
});
