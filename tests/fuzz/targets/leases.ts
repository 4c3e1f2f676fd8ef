/** Other nodes' leases: from the store's key and value to entries of the kernel. */

import { mkdtempSync, rmSync } from "node:fs";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { SOCKET_VARIABLE } from "../../../src/backend/ipsec/charon_paths.ts";
import { OverlayController } from "../../../src/overlay/overlay_controller.ts";
import { ReachabilitySource } from "../../../src/overlay/peer_reachability.ts";
import type { Backend } from "../../../src/overlay/backend.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Resource } from "../../../src/state/resource.ts";
import {
  decodeLease,
  decodeLeaseValue,
  encodeLeaseKey,
  encodeLeaseValue,
  isInvalidLease,
} from "../../../src/subnet/lease_codec.ts";
import type { Lease, LeaseAttributes } from "../../../src/subnet/lease.ts";
import { LeaseTable } from "../../../src/subnet/lease_table.ts";
import { FakeCharon } from "../../support/fake_charon.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import {
  backendHost,
  config,
  external,
  HOST,
  lease,
  warningsLog,
} from "../../support/sample_network.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

/** For the files of a backend. */
const DIRECTORY = mkdtempSync("/dev/shm/fuzz-lease-");
process.on("exit", () => rmSync(DIRECTORY, { recursive: true, force: true }));

const OPTIONS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  extension: { SubnetAddCommand: "true" },
  ipsec: { PSK: "0123456789".repeat(10) },
  "tencent-vpc": { AccessKeyID: "id", AccessKeySecret: "secret" },
};

/** A node of one backend type, which gets the leases. */
interface Node {
  readonly table: LeaseTable;
  readonly overlay: OverlayController;
  put(lease: Lease): void;
}

const nodes = new Map<string, Promise<Node>>();

function nodeOf(type: string): Promise<Node> {
  const known = nodes.get(type);
  if (known !== undefined) return known;
  const made = makeNode(type);
  nodes.set(type, made);
  return made;
}

async function makeNode(type: string): Promise<Node> {
  const families = BACKENDS.find(type)?.families ?? [];
  const kernel = new FakeKernel();
  kernel.seed(...HOST);
  kernel.delivery = "now";
  const network = config(type, families, OPTIONS[type] ?? {});
  const prepared = await (await BACKENDS.forNetwork(network).load()).prepare(
    backendHost(kernel, network, {
      runDirectory: DIRECTORY,
      env: {
        WIREGUARD_KEY_FILE: `${DIRECTORY}/wgkey`,
        // Without it, a charon would be started.
        [SOCKET_VARIABLE]: new FakeCharon(`${DIRECTORY}/vici-${type}`).path,
      },
    }),
  );
  // Its entries outside the kernel are absent; its peers' entries are still computed.
  const backend: Backend = new Proxy(prepared, {
    get(backend, name) {
      const member: unknown = name === "target" ? undefined : Reflect.get(backend, name, backend);
      return typeof member === "function" ? member.bind(backend) : member;
    },
  });
  const ext = external(families);
  const own = lease(1, backend.attributes.backendType, families);
  const overlay: OverlayController = new OverlayController({
    backend,
    entryStore: {
      setDesired: (_owner: string, resources: readonly Resource[]) => {
        for (const resource of resources) equal(typeof resourceKey(resource), "string");
      },
      removeOwner: () => {},
    },
    reachability: new ReachabilitySource({
      kernel,
      ownership: () => backend.ownership(ext),
      external: () => ext,
      onChanged: () => overlay.reachabilityChanged(),
    }),
    clock: systemClock,
    log: warningsLog(),
  }, ext);
  overlay.ownChanged(own);
  const table = new LeaseTable({
    config: network,
    own,
    backendType: backend.attributes.backendType,
    onRejected: ({ reason }) => equal(typeof reason, "string"),
    seed: 0.5,
  });
  return {
    table,
    overlay,
    put: (changed) => overlay.applyChanges(table.apply({ kind: "put", lease: changed })),
  };
}

const VALUES: readonly unknown[] = [
  {
    PublicIP: "192.168.0.2",
    PublicIPv6: null,
    BackendType: "vxlan",
    BackendData: { VNI: 1, VtepMAC: "02:00:00:00:00:02" },
  },
  {
    PublicIP: "192.168.0.3",
    PublicIPv6: "fd00::3",
    BackendType: "vxlan",
    BackendData: { VNI: 1, VtepMAC: "02:00:00:00:00:03" },
    BackendV6Data: { VNI: 1, VtepMAC: "02:00:00:00:01:03" },
  },
  {
    PublicIP: "192.168.0.4",
    PublicIPv6: null,
    BackendType: "wireguard",
    BackendData: { PublicKey: "4gQkyT1A6sNCf1eBHXkTNlLPU3vRl0ZgHRZXnTQdmUU=", Port: 51820 },
  },
  ...["host-gw", "ipip", "ipsec", "udp", "extension", "tencent-vpc"].map((type) => ({
    PublicIP: "192.168.0.5",
    PublicIPv6: null,
    BackendType: type,
    BackendData: "text",
  })),
];
const KEYS = ["10.5.2.0-24", "10.5.3.0-24&fc00:0:0:3::-64", "0.0.0.0-0&fc00:0:0:3::-64"];

/** The key, an end of line, and the value. */
const leases: FuzzTarget = {
  name: "lease",
  seeds: VALUES.flatMap((value) => KEYS.map((key) => `${key}\n${JSON.stringify(value)}`)),
  dictionary: [
    "10.5.255.0-24",
    "&",
    "-",
    "\n",
    "null",
    "PublicIP",
    "BackendV6Data",
    '"BackendType":"wireguard"',
    "ff:ff:ff:ff:ff:ff",
    "__proto__",
    "127.0.0.1",
    "::ffff:1.2.3.4",
  ],
  async run(input) {
    const text = new TextDecoder().decode(input);
    const end = text.indexOf("\n");
    await take(text.slice(0, Math.max(end, 0)), text.slice(end + 1));
  },
};

/** The value alone, under a valid key, so that more inputs pass the first checks. */
const leaseValues: FuzzTarget = {
  name: "lease-value",
  isJson: true,
  seeds: VALUES.map((value) => JSON.stringify(value)),
  dictionary: leases.dictionary ?? [],
  maxBytes: 16_384,
  run: (input) => take("10.5.7.0-24&fc00:0:0:7::-64", new TextDecoder().decode(input)),
};

let revision = 0n;

async function take(key: string, value: string): Promise<void> {
  revision++;
  const decoded = decodeLease({ key, value, created: revision, changed: revision });
  if (isInvalidLease(decoded)) return equal(typeof decoded.reason, "string");
  equal(encodeLeaseKey(decoded.subnets), key);
  const { attributes } = decoded;
  // A round trip preserves the value, except numbers that JSON does not have.
  const rewritten = (text: string) => encodeLeaseValue(decodeLeaseValue(text) as LeaseAttributes);
  const written = rewritten(encodeLeaseValue(attributes));
  equal(rewritten(written), written);
  const type = attributes.backendType.toLowerCase();
  const node = await nodeOf(BACKENDS.types.includes(type) ? type : "alloc");
  const renewed = { ...decoded, changed: decoded.changed + 1n };
  for (const each of [decoded, renewed]) node.put(each);
  node.overlay.applyChanges(node.table.apply({ kind: "delete", key: decoded.key }));
}

export const LEASE_TARGETS: readonly FuzzTarget[] = [leases, leaseValues];
