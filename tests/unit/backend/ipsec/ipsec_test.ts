import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Family } from "../../../../src/addr/ip.ts";
import { type Backend, UNKNOWN_REACHABILITY } from "../../../../src/overlay/backend.ts";
import { InvalidPeerError } from "../../../../src/overlay/peer_lease.ts";
import { SOCKET_VARIABLE } from "../../../../src/backend/ipsec/charon_paths.ts";
import ipsec from "../../../../src/backend/ipsec/ipsec.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import { ConfigError } from "../../../../src/config/config_error.ts";
import { isOurs } from "../../../../src/state/ownership.ts";
import type { XfrmPolicy } from "../../../../src/state/resource.ts";
import { FakeCharon } from "../../../support/fake_charon.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import { FakeXfrmStates } from "../../../support/fake_xfrm_states.ts";
import { expectLeaseDataIgnored } from "../../../support/lease_data.ts";
import {
  backendHost,
  config,
  external,
  ip,
  lease,
  prefix,
} from "../../../support/sample_network.ts";
import { stateText } from "../../../support/state_text.ts";

const PSK = "0123456789abcdef".repeat(6);
const INPUT = { own: lease(1, "ipsec", [4]), external: external([4]) };

const directory = mkdtempSync(join(tmpdir(), "ipsec-"));
const charon = new FakeCharon(join(directory, "vici"));
afterAll(() => {
  charon[Symbol.dispose]();
  rmSync(directory, { recursive: true });
});

function host(options: Record<string, unknown>, families: readonly Family[] = [4]) {
  const env = { [SOCKET_VARIABLE]: charon.path };
  return backendHost(new FakeKernel(), config("ipsec", families, options), { env });
}

test("a kernel without ESP is reported at startup, with the module to load", async () => {
  const start = async (states: FakeXfrmStates) => {
    const env = { [SOCKET_VARIABLE]: charon.path };
    const openXfrmStates = () => states;
    const network = config("ipsec", [4], { PSK });
    const asked = backendHost(new FakeKernel(), network, { env, openXfrmStates });
    await ipsec.prepare(asked);
    return asked.logged.filter((line) => line.startsWith("warning: "));
  };
  const states = new FakeXfrmStates();
  expect(await start(states)).toEqual([]);
  states.hasEsp = false;
  expect(await start(states)).toEqual([
    "warning: this kernel has no ESP for IPv4, packets to other nodes are dropped: load its " +
    'module with "modprobe -a xfrm_user esp4" (some distributions have it in a package of extra ' +
    "modules, such as linux-modules-extra)",
  ]);
});

function prepare(options: Record<string, unknown> = {}): Promise<Backend> {
  return ipsec.prepare(host({ PSK, ...options }));
}

async function configError(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(() => undefined, (error: unknown) => error);
  expect(error).toBeInstanceOf(ConfigError);
  return (error as Error).message;
}

describe("ipsec", () => {
  test("has three policies for each peer, and no device", async () => {
    const backend = await prepare();
    expect(backend.node(INPUT)).toEqual([]);
    const peers = [2, 3].flatMap((n) =>
      backend.peer(lease(n, "ipsec", [4]), INPUT, UNKNOWN_REACHABILITY)
    );
    expect(stateText(peers)).toBe(`\
xfrm policy src 10.5.1.0/24 dst 10.5.2.0/24 dir out tmpl src 192.168.0.1 dst 192.168.0.2 \
proto esp reqid 11 mode tunnel
xfrm policy src 10.5.1.0/24 dst 10.5.3.0/24 dir out tmpl src 192.168.0.1 dst 192.168.0.3 \
proto esp reqid 11 mode tunnel
xfrm policy src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd tmpl src 192.168.0.2 dst 192.168.0.1 \
proto esp reqid 11 mode tunnel
xfrm policy src 10.5.2.0/24 dst 10.5.1.0/24 dir in tmpl src 192.168.0.2 dst 192.168.0.1 \
proto esp reqid 11 mode tunnel
xfrm policy src 10.5.3.0/24 dst 10.5.1.0/24 dir fwd tmpl src 192.168.0.3 dst 192.168.0.1 \
proto esp reqid 11 mode tunnel
xfrm policy src 10.5.3.0/24 dst 10.5.1.0/24 dir in tmpl src 192.168.0.3 dst 192.168.0.1 \
proto esp reqid 11 mode tunnel
`);
  });

  test("owns its policies, but not those with another reqid or of another network", async () => {
    const backend = await prepare();
    const ownership = backend.ownership(external([4]));
    expect(ownership.extraKinds).toEqual(["xfrm-policy"]);
    const [ours] = backend.peer(lease(2, "ipsec", [4]), INPUT, UNKNOWN_REACHABILITY) as [
      XfrmPolicy,
    ];
    expect(isOurs(ours, ownership)).toBe(true);
    const tunnel = ours.tunnel as NonNullable<XfrmPolicy["tunnel"]>;
    expect(isOurs({ ...ours, tunnel: { ...tunnel, reqid: 12 } }, ownership)).toBe(false);
    expect(isOurs({ ...ours, source: prefix("10.6.1.0/24") }, ownership)).toBe(false);
    const { tunnel: _, ...plain } = ours;
    expect(isOurs(plain, ownership)).toBe(false);
  });

  test("advertises its type and the public address, and no data", async () => {
    expect((await prepare()).attributes).toEqual({
      publicAddresses: { 4: ip("192.168.0.1") },
      backendType: "ipsec",
      backendData: {},
    });
  });

  test.each([[{}, 1423], [{ UDPEncap: true }, 1415]])(
    "with %j, leaves %i of 1500 bytes to workloads",
    async (options, expected) => {
      expect((await prepare(options)).mtuBytes(external([4]))).toBe(expected);
    },
  );

  test("behind address translation, tunnels start at the interface's address", async () => {
    const translated = { ...external([4]), publicAddresses: { 4: ip("203.0.113.1") } };
    const backend = await ipsec.prepare({ ...host({ PSK }), external: translated });
    const input = { ...INPUT, external: translated };
    const [out] = backend.peer(lease(2, "ipsec", [4]), input, UNKNOWN_REACHABILITY) as [XfrmPolicy];
    expect(out.tunnel).toMatchObject({ source: "192.168.0.1", destination: "192.168.0.2" });
    expect(backend.attributes.publicAddresses).toEqual({ 4: ip("203.0.113.1") });
  });
});

describe("ipsec refuses", () => {
  test.each([
    [undefined, "is missing"],
    ["short", "has 5 bytes"],
    ["x".repeat(95), "has 95 bytes"],
    ["ü".repeat(47), "has 94 bytes"],
  ])("the PSK %p", async (psk, expected) => {
    const message = await configError(ipsec.prepare(host(psk === undefined ? {} : { PSK: psk })));
    expect(message).toBe(
      `the PSK of the ipsec backend ${expected}; it must have at least 96 bytes: generate one ` +
        'with "openssl rand -hex 48"',
    );
  });

  test("a PSK that is not a string, without showing it", async () => {
    const message = await configError(ipsec.prepare(host({ PSK: [PSK] })));
    expect(message).toContain(
      "PSK in the network configuration's Backend object has an invalid value, which is secret",
    );
    expect(message).not.toContain(PSK);
  });

  test.each([
    ["UDPEncap", "yes", 'UDPEncap in the network configuration\'s Backend object is "yes"'],
    ["ESPProposal", 7, "ESPProposal in the network configuration's Backend object is 7"],
  ])("%s %p", async (name, value, expected) => {
    expect(await configError(prepare({ [name]: value }))).toContain(expected);
  });

  test("an ESPProposal that charon rejects, and leaves no connection in charon", async () => {
    charon.refuse = "flannel-probe";
    const error = await prepare({ ESPProposal: "aes7" }).catch((error: unknown) => error);
    charon.refuse = undefined;
    expect(error).toBeInstanceOf(BackendError);
    expect((error as Error).message).toBe(
      'charon rejected the ESPProposal "aes7"; it must be algorithms in strongSwan\'s notation, ' +
        "such as aes128gcm16-ecp256 (charon refused load-conn: no)",
    );
    await prepare();
    expect(charon.conns.size).toBe(0);
  });

  test.each([
    [(path: string) => `${path}-missing`, "there is no such socket"],
    [(_path: string) => "/etc/hostname", "nothing listens there"],
    [(path: string) => path + "x".repeat(120), "the path is longer than Linux allows"],
  ])("a socket in the environment without a charon: %#", async (pathOf, expected) => {
    const path = pathOf(charon.path);
    const asked = { ...host({ PSK }), env: { [SOCKET_VARIABLE]: path } };
    const error = await ipsec.prepare(asked).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(BackendError);
    expect((error as Error).message).toBe(
      `CHARON_VICI_SOCKET names ${path}, where no charon responds (cannot connect to charon at ` +
        `${path}: ${expected}); correct it, or unset it to let flanneld start one`,
    );
  });

  test("never logs the PSK", async () => {
    const asked = host({ PSK, Psk2: "x", ESPProposal: "aes256-sha256" });
    await ipsec.prepare(asked);
    expect(asked.logged.join("\n")).not.toContain(PSK);
    expect(asked.logged.join("\n")).toContain('unknown key "Psk2"');
  });

  test.each([
    ["of another backend", { ...lease(2, "vxlan", [4]) }, "its backend is vxlan"],
    ["with this node's own address", {
      ...lease(2, "ipsec", [4]),
      attributes: lease(1, "ipsec", [4]).attributes,
    }, "its public address 192.168.0.1 is this node's own"],
    ["without an IPv4 subnet", { ...lease(2, "ipsec", [4]), subnets: {} }, "it has no IPv4 subnet"],
  ])("a peer %s", async (_what, peer, expected) => {
    const backend = await prepare();
    expect(() => backend.peer(peer, INPUT, UNKNOWN_REACHABILITY)).toThrow(expected);
    expect(() => backend.peer(peer, INPUT, UNKNOWN_REACHABILITY)).toThrow(InvalidPeerError);
  });

  test("nothing because of a peer's lease data, which is ignored", async () => {
    expectLeaseDataIgnored(await prepare(), lease(2, "ipsec", [4]), INPUT);
  });
});
