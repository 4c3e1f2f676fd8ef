/** WireGuard devices and peers in the real kernel, inspected with `wg`. */

import { afterEach, beforeEach, describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { Prefix } from "../../src/addr/prefix.ts";
import {
  parseWireguardKey,
  type WireguardKey,
  wireguardKeyFromBytes,
} from "../../src/addr/wireguard_key.ts";
import type { KernelEvent } from "../../src/kernel/kernel.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { wireguardSupport } from "../../src/kernel/wireguard/wireguard_support.ts";
import {
  type Link,
  NO_MAC,
  type Resource,
  type WireguardDevice,
  type WireguardPeer,
} from "../../src/state/resource.ts";
import { endpointText, resourceText } from "../../src/state/resource_text.ts";
import { sameResource } from "../../src/state/same_resource.ts";
import {
  collect,
  find,
  remove,
  run,
  runJson,
  Sandbox,
  set,
  until,
} from "../netns/netlink_support.ts";

const NAME = "flannel-wg";
const LINKS: ReadonlySet<string> = new Set([NAME]);
/** WireGuard is read every 2 to 60 s, less often the longer a dump takes. */
const POLLED_MS = 100_000;

const LINK: Link = {
  kind: "link",
  type: "wireguard",
  implementation: "kernel",
  name: NAME,
  mtuBytes: 1420,
  mac: NO_MAC,
  up: true,
};
const DEVICE: WireguardDevice = {
  kind: "wireguard-device",
  link: NAME,
  privateKey: key("wg genkey"),
  listenPort: 51820,
};

setDefaultTimeout(60_000);

let sandbox: Sandbox;
let kernel: NetlinkKernel;
beforeEach(() => {
  sandbox = new Sandbox();
  kernel = sandbox.kernel;
});
afterEach(() => sandbox[Symbol.dispose]());

test("the kernel's implementation is detected without creating a device", async () => {
  const before = linkNames();
  expect(await wireguardSupport()).toBe("kernel");
  expect(linkNames()).toEqual(before);
});

test("a device equals one of `ip link add type wireguard`, is changed and deleted", async () => {
  expect(await set(kernel, LINK)).toBeUndefined();
  expect(await find(kernel, LINK)).toEqual(LINK);
  const shown = run(`ip -d link show ${NAME}`);
  expect(shown).toContain("wireguard");
  expect(shown).toContain("mtu 1420");
  const changed: Link = { ...LINK, mtuBytes: 1300, up: false };
  expect(await kernel.apply([{ op: "change", resource: changed, from: LINK }])).toEqual([
    undefined,
  ]);
  expect(await find(kernel, LINK)).toEqual(changed);
  expect(await remove(kernel, LINK)).toBeUndefined();
  expect(await find(kernel, LINK)).toBeUndefined();
});

test("a device without a key reads as no entry, and as desired once it has one", async () => {
  await set(kernel, LINK);
  expect(await read()).toEqual([]);
  expect(await set(kernel, DEVICE)).toBeUndefined();
  expect(await read()).toEqual([DEVICE]);
  expect(run(`wg show ${NAME} private-key`).trim()).toBe(DEVICE.privateKey);
  expect(run(`wg show ${NAME} listen-port`).trim()).toBe("51820");
  expect(await remove(kernel, DEVICE)).toBeUndefined();
  expect(await read()).toEqual([]);
  expect(run(`wg show ${NAME} private-key`).trim()).toBe("(none)");
});

test("peers of every kind read back as they were set, and as `wg` shows them", async () => {
  const peers = [
    peer(1),
    peer(2, { endpoint: { address: "2001:db8::2" as IpAddress, port: 1 } }),
    peer(3, { presharedKey: key("wg genpsk"), keepaliveSeconds: 65_535 }),
    peer(4, { allowedIps: prefixes("0.0.0.0/0", "10.5.4.0/32", "::/0", "fc00::4/128") }),
    peer(5, { allowedIps: [] }),
    withoutEndpoint(peer(6)),
  ];
  await make(...peers);
  expect(sorted(await read("wireguard-peer"))).toEqual(sorted(peers));
  expect(shownPeers()).toEqual(peers.map(line).sort());
});

test("a peer is changed in place, one setting at a time", async () => {
  const before = peer(1);
  await make(before, peer(2));
  const changes: Partial<WireguardPeer>[] = [
    { endpoint: { address: "192.0.2.77" as IpAddress, port: 4000 } },
    { endpoint: { address: "2001:db8::77" as IpAddress, port: 4000 } },
    { presharedKey: key("wg genpsk") },
    { keepaliveSeconds: 25 },
    { allowedIps: prefixes("10.5.1.0/24", "fc00:0:0:1::/64") },
    { allowedIps: prefixes("10.5.7.0/24") },
    { allowedIps: [] },
  ];
  for (const change of changes) {
    const after = { ...before, ...change };
    expect(await set(kernel, after)).toBeUndefined();
    expect(shownPeers()).toEqual([line(after), line(peer(2))].sort());
    expect(await set(kernel, before)).toBeUndefined();
    expect(shownPeers()).toEqual([line(before), line(peer(2))].sort());
  }
});

test("a prefix that another peer gets is removed from its previous peer", async () => {
  await make(peer(1), peer(2));
  const taken = { ...peer(2), allowedIps: peer(1).allowedIps };
  await set(kernel, taken);
  expect(shownPeers()).toEqual([line({ ...peer(1), allowedIps: [] }), line(taken)].sort());
});

test("removing a peer twice succeeds", async () => {
  await make(peer(1), peer(2));
  expect(await remove(kernel, peer(1))).toBeUndefined();
  expect(shownPeers()).toEqual([line(peer(2))]);
  expect(await remove(kernel, peer(1))).toBeUndefined();
});

test("a thousand peers are set, read in several messages, and removed", async () => {
  const peers = Array.from({ length: 1000 }, (_, i) =>
    peer(i, {
      publicKey: numberedKey(i),
      presharedKey: numberedKey(i + 5000),
      allowedIps: prefixes(`10.${i >> 8}.${i & 255}.0/24`, `fc00:${(i + 1).toString(16)}::/64`),
    }));
  await make();
  expect((await kernel.apply(peers.map((resource) => ({ op: "set", resource })))).filter(Boolean))
    .toEqual([]);
  expect(sorted(await read("wireguard-peer"))).toEqual(sorted(peers));
  expect(shownPeers()).toEqual(peers.map(line).sort());
  await kernel.apply(peers.map((resource) => ({ op: "delete", resource })));
  expect(shownPeers()).toEqual([]);
});

test("a peer with more allowed IPs than fit a message has them all", async () => {
  const allowedIps = Array.from(
    { length: 3000 },
    (_, i) => `10.${i >> 8}.${i & 255}.0/24` as Prefix,
  ).sort();
  await make(peer(1, { allowedIps }), peer(2, { allowedIps: prefixes("10.200.0.0/24") }));
  const found = (await read("wireguard-peer")).find(({ publicKey }) =>
    publicKey === peer(1).publicKey
  );
  expect(found?.allowedIps).toEqual(allowedIps);
  const fewer = allowedIps.slice(500);
  await set(kernel, peer(1, { allowedIps: fewer }));
  expect(run(`wg show ${NAME} allowed-ips`)).not.toContain("10.0.0.0/24");
  expect((await read("wireguard-peer")).length).toBe(2);
  expect(run(`wg show ${NAME} allowed-ips`).match(/\/24/g)?.length).toBe(fewer.length + 1);
});

describe("what cannot be done", () => {
  test("a peer that the kernel refuses fails alone, without its keys in the text", async () => {
    await make();
    const peers = [
      peer(1),
      peer(2, { allowedIps: prefixes("10.5.2.0/40"), presharedKey: key("wg genpsk") }),
      peer(3),
    ];
    const results = await kernel.apply(peers.map((resource) => ({ op: "set", resource })));
    expect(results.map((error) => error?.errno)).toEqual([undefined, "EINVAL", undefined]);
    expect(results[1]?.message).not.toContain(peers[1]?.presharedKey as string);
    expect(shownPeers()).toContain(line(peer(3)));
  });

  test("a port that is taken is named, and the key is not", async () => {
    await set(kernel, LINK);
    using _socket = await udpSocket(51820);
    const error = await set(kernel, DEVICE);
    expect(error?.errno).toBe("EADDRINUSE");
    expect(error?.message).toContain("set ListenPort in the Backend object to a port");
    expect(error?.message).not.toContain(DEVICE.privateKey);
  });

  test("without its device nothing is set, read or removed", async () => {
    for (const resource of [DEVICE, peer(1)]) {
      expect((await set(kernel, resource))?.errno).toBe("ENODEV");
      expect(await remove(kernel, resource)).toBeUndefined();
    }
    run(`ip link add ${NAME} type bridge`);
    expect(await read()).toEqual([]);
    expect((await set(kernel, peer(1)))?.errno).toBe("ENODEV");
  });
});

test("a recreated device gets the entries of its predecessor", async () => {
  await make(peer(1));
  run(`ip link del ${NAME}`);
  run(`ip link add ${NAME} type wireguard`);
  expect(await set(kernel, peer(1))).toBeUndefined();
  expect(await set(kernel, DEVICE)).toBeUndefined();
  expect(shownPeers()).toEqual([line(peer(1))]);
  expect(sorted(await read())).toEqual(sorted([DEVICE, peer(1)]));
});

describe("a change by another program is notified:", () => {
  const cases: [string, () => void, (event: KernelEvent) => boolean][] = [
    [
      "a removed peer",
      () => wg(`peer ${peer(1).publicKey} remove`),
      (event) => isPeer(event, 1) && event.kind === "changed" && event.deleted,
    ],
    [
      "an added peer",
      () => wg(`peer ${peer(9).publicKey} allowed-ips 10.9.0.0/24`),
      (event) => isPeer(event, 9, { allowedIps: prefixes("10.9.0.0/24") }),
    ],
    [
      "other allowed IPs",
      () => wg(`peer ${peer(1).publicKey} allowed-ips 10.9.0.0/24`),
      (event) => isPeer(event, 1, { allowedIps: prefixes("10.9.0.0/24") }),
    ],
    [
      "another endpoint",
      () => wg(`peer ${peer(1).publicKey} endpoint 192.0.2.99:9`),
      (event) => isPeer(event, 1, { endpoint: { address: "192.0.2.99" as IpAddress, port: 9 } }),
    ],
    [
      "another keepalive",
      () => wg(`peer ${peer(1).publicKey} persistent-keepalive 9`),
      (event) => isPeer(event, 1, { keepaliveSeconds: 9 }),
    ],
    [
      "another port",
      () => wg("listen-port 9"),
      (event) =>
        event.kind === "changed" && event.resource.kind === "wireguard-device" &&
        event.resource.listenPort === 9,
    ],
  ];
  test.each(cases)("%s", async (_, change, isExpected) => {
    await make(peer(1), peer(2));
    using collected = collect(kernel);
    change();
    expect(await until(() => wireguardEvents(collected.events).length > 0, POLLED_MS)).toBe(true);
    const events = wireguardEvents(collected.events);
    expect(events.length).toBe(1);
    expect(isExpected(events[0] as KernelEvent)).toBe(true);
  }, 300_000);

  test("but not our own changes, nor the same change twice", async () => {
    await make(peer(1));
    using collected = collect(kernel);
    await set(kernel, peer(2));
    await set(kernel, { ...peer(1), keepaliveSeconds: 5 });
    await set(kernel, { ...DEVICE, listenPort: 51821 });
    wg(`peer ${peer(3).publicKey}`);
    await until(() => wireguardEvents(collected.events).length > 0, POLLED_MS);
    await Bun.sleep(5000);
    const events = wireguardEvents(collected.events);
    expect(events.length).toBe(1);
    expect(isPeer(events[0] as KernelEvent, 3)).toBe(true);
  }, 300_000);
});

describe("a peer in touch", () => {
  /** The other end, in the same namespace: each device sends to the other's port on loopback. */
  const FAR = "far";
  const farKey = key("wg genkey");
  const nearPublicKey = publicKeyOf(DEVICE.privateKey);
  const far = peer(1, {
    publicKey: publicKeyOf(farKey),
    endpoint: { address: "127.0.0.1" as IpAddress, port: 4001 },
  });

  beforeEach(async () => {
    await make(far);
    await Bun.write("/run/far.key", farKey);
    run(`ip link add ${FAR} type wireguard`);
    run(
      `wg set ${FAR} listen-port 4001 private-key /run/far.key peer ${nearPublicKey} ` +
        "endpoint 127.0.0.1:51820 persistent-keepalive 1 allowed-ips 10.5.9.0/24",
    );
    run(`ip link set ${FAR} up`);
    expect(await until(() => handshake() > 0, POLLED_MS)).toBe(true);
  });

  test("at the endpoint it was given, it has not roamed", async () => {
    expect(await readPeer()).toEqual(far);
  });

  test("keeps its session when one of its settings changes", async () => {
    const before = handshake();
    const after = { ...far, allowedIps: prefixes("10.5.7.0/24", "fc00::/64"), keepaliveSeconds: 7 };
    expect(await set(kernel, after)).toBeUndefined();
    expect(handshake()).toBe(before);
    expect(sameResource(after, await readPeer())).toBe(true);
  });

  test("from an endpoint that the kernel learned, it is notified and left alone", async () => {
    using collected = collect(kernel);
    run(`wg set ${FAR} listen-port 4002`);
    expect(await until(() => endpointOf() === "127.0.0.1:4002", POLLED_MS)).toBe(true);
    expect(await until(() => wireguardEvents(collected.events).length > 0, POLLED_MS)).toBe(true);
    const [event] = wireguardEvents(collected.events);
    const learned = { address: "127.0.0.1" as IpAddress, port: 4002 };
    expect(event as unknown).toEqual({
      kind: "changed",
      resource: { ...far, endpoint: learned, roamed: true },
      deleted: false,
    });
    const found = await readPeer();
    expect(sameResource(far, found)).toBe(true);
    // Once disconnected, it is notified again, without `roamed`.
    const now = Date.now;
    const clock = spyOn(Date, "now").mockImplementation(() => now() + 200_000);
    expect(await until(() => wireguardEvents(collected.events).length > 1, POLLED_MS)).toBe(true);
    clock.mockRestore();
    expect(wireguardEvents(collected.events)[1] as unknown).toEqual({
      kind: "changed",
      resource: { ...far, endpoint: learned },
      deleted: false,
    });
    expect((await readPeer()).roamed).toBe(true);
    // A change of another setting keeps the endpoint; a new endpoint replaces it.
    await set(kernel, { ...far, keepaliveSeconds: 9 });
    expect(endpointOf()).toBe("127.0.0.1:4002");
    await set(kernel, { ...far, endpoint: { address: "192.0.2.9" as IpAddress, port: 5 } });
    expect(endpointOf()).toBe("192.0.2.9:5");
  }, 300_000);

  test("whose endpoint another process set has roamed, and a new endpoint is set", async () => {
    using again = new NetlinkKernel({ clock: systemClock });
    const found = (await again.dump(["wireguard-peer"], LINKS))[0] as WireguardPeer;
    expect(found).toEqual({ ...far, roamed: true });
    const moved = { ...far, endpoint: { address: "192.0.2.9" as IpAddress, port: 5 } };
    expect(sameResource(far, found)).toBe(true);
    await set(again, moved);
    expect(endpointOf()).toBe("192.0.2.9:5");
  });

  function handshake(): number {
    return Number(run(`wg show ${NAME} latest-handshakes`).trim().split("\t")[1]);
  }

  function endpointOf(): string | undefined {
    return run(`wg show ${NAME} endpoints`).trim().split("\t")[1];
  }

  async function readPeer(): Promise<WireguardPeer> {
    return (await read("wireguard-peer"))[0] as WireguardPeer;
  }
});

function linkNames(): unknown[] {
  return runJson("ip -j link").map(({ ifname }) => ifname);
}

/** Creates the device, with its key, and these peers. */
async function make(...peers: readonly WireguardPeer[]): Promise<void> {
  const steps = [LINK, DEVICE, ...peers].map((resource) => ({ op: "set" as const, resource }));
  expect((await kernel.apply(steps)).filter(Boolean)).toEqual([]);
}

async function read(): Promise<Resource[]>;
async function read(kind: "wireguard-peer"): Promise<WireguardPeer[]>;
async function read(kind?: "wireguard-peer"): Promise<Resource[]> {
  const kinds = kind === undefined ? ["wireguard-device", "wireguard-peer"] as const : [kind];
  return await kernel.dump(kinds, LINKS);
}

/** The peers as `wg` shows them, one line each, sorted. */
function shownPeers(): string[] {
  const [, ...lines] = run(`wg show ${NAME} dump`).trimEnd().split("\n");
  return lines.map((text) => {
    const [publicKey, presharedKey, endpoint, allowedIps = "", , , , keepalive] = text.split("\t");
    const sorted = allowedIps.split(",").sort().join(",");
    return [publicKey, presharedKey, endpoint, sorted, keepalive].join(" ");
  }).sort();
}

/** A peer as `shownPeers` gives it. */
function line(peer: WireguardPeer): string {
  const { publicKey, presharedKey, endpoint, allowedIps, keepaliveSeconds } = peer;
  return [
    publicKey,
    presharedKey ?? "(none)",
    endpoint === undefined ? "(none)" : endpointText(endpoint),
    allowedIps.join() || "(none)",
    keepaliveSeconds || "off",
  ].join(" ");
}

function sorted<T extends Resource>(resources: readonly T[]): T[] {
  return resources.toSorted((a, b) => resourceText(a) < resourceText(b) ? -1 : 1);
}

function peer(n: number, changes: Partial<WireguardPeer> = {}): WireguardPeer {
  return {
    kind: "wireguard-peer",
    link: NAME,
    publicKey: numberedKey(n),
    endpoint: { address: `192.0.2.${n % 250 + 1}` as IpAddress, port: 51820 },
    keepaliveSeconds: 0,
    allowedIps: prefixes(`10.5.${n & 255}.0/24`),
    ...changes,
  };
}

function withoutEndpoint({ endpoint: _, ...rest }: WireguardPeer): WireguardPeer {
  return rest;
}

function prefixes(...texts: string[]): Prefix[] {
  return texts.sort() as Prefix[];
}

function numberedKey(n: number): WireguardKey {
  return wireguardKeyFromBytes(
    Uint8Array.from({ length: 32 }, (_, i) => i * 7 + (n >> 8 * (i & 1)) & 255),
  );
}

function key(command: string): WireguardKey {
  return parseWireguardKey(run(command).trim()) as WireguardKey;
}

function publicKeyOf(privateKey: WireguardKey): WireguardKey {
  const { stdout } = Bun.spawnSync(["wg", "pubkey"], { stdin: Buffer.from(privateKey) });
  return parseWireguardKey(stdout.toString().trim()) as WireguardKey;
}

function wg(setting: string): void {
  run(`wg set ${NAME} ${setting}`);
}

function wireguardEvents(events: readonly KernelEvent[]): KernelEvent[] {
  return events.filter((event) =>
    event.kind === "changed" && event.resource.kind.startsWith("wireguard-")
  );
}

function isPeer(event: KernelEvent, n: number, changes: Partial<WireguardPeer> = {}): boolean {
  if (event.kind !== "changed" || event.resource.kind !== "wireguard-peer") return false;
  const { resource } = event;
  return resource.publicKey === peer(n).publicKey &&
    Object.entries(changes).every(([field, value]) =>
      Bun.deepEquals(resource[field as keyof WireguardPeer], value)
    );
}

/** Another program's UDP port. */
async function udpSocket(port: number): Promise<Disposable> {
  const socket = await Bun.udpSocket({ port, hostname: "0.0.0.0" });
  return { [Symbol.dispose]: () => socket.close() };
}
