/**
 * How long it takes to put the entries of many vxlan peers into the kernel (a neighbour, a
 * forwarding entry and a route for each), against `ip -batch` and `bridge -batch` doing the same.
 *
 * Both sides work in a network namespace of their own, on the same kernel, in turn, each time on an
 * empty device. Ours is timed from the first step to the last answer, theirs from the start of the
 * first process to the end of the last; writing their input files is not counted.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { formatAddress } from "../../src/addr/ip.ts";
import { macFromBytes } from "../../src/addr/mac.ts";
import { makePrefix } from "../../src/addr/prefix.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import type { FdbEntry, Neighbour, Route } from "../../src/state/resource.ts";
import { RT_TABLE_MAIN, RTPROT_FLANNEL } from "../../src/state/resource.ts";
import { enterNewNetworkNamespace } from "../support/network_namespace.ts";

export interface ProgramPeersResult {
  readonly peers: number;
  /** Medians over the rounds. */
  readonly oursMs: number;
  readonly iproute2Ms: number;
}

/** Measures both sides. Needs root and iproute2. */
export async function measureProgramPeers(peers = 10_000, rounds = 5): Promise<ProgramPeersResult> {
  using _namespace = enterNewNetworkNamespace();
  const folder = mkdtempSync(join(tmpdir(), "program-peers-"));
  try {
    const entries = peerEntries(peers);
    const files = writeBatchFiles(folder, entries);
    const ours: number[] = [];
    const iproute2: number[] = [];
    run("ip", "link", "add", UNDERLAY, "type", "veth", "peer", "name", `${UNDERLAY}p`);
    run("ip", "link", "set", UNDERLAY, "up");
    // Before its first address the namespace has no table to look gateways up in.
    run("ip", "link", "set", "lo", "up");
    for (let round = 0; round < rounds; round++) {
      ours.push(await timeOurs(entries));
      iproute2.push(timeIproute2(files));
    }
    return { peers, oursMs: median(ours), iproute2Ms: median(iproute2) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const UNDERLAY = "under0";
const DEVICE = "flannel.1";

interface PeerEntries {
  readonly neighbours: Neighbour[];
  readonly fdb: FdbEntry[];
  readonly routes: Route[];
}

/** Subnets 10.0.0.0/24 and up; the peers' own addresses are 172.16.0.1 and up. */
function peerEntries(peers: number): PeerEntries {
  const neighbours: Neighbour[] = [];
  const fdb: FdbEntry[] = [];
  const routes: Route[] = [];
  for (let i = 0; i < peers; i++) {
    const gateway = formatAddress(4, BigInt(0x0a000000 + i * 256));
    const remote = formatAddress(4, BigInt(0xac100001 + i));
    const mac = macFromBytes(Uint8Array.of(2, 0, 0, 0, i >> 8, i & 255));
    neighbours.push({ kind: "neighbour", link: DEVICE, address: gateway, mac });
    fdb.push({ kind: "fdb", link: DEVICE, mac, remote });
    routes.push({
      kind: "route",
      type: "unicast",
      destination: makePrefix(gateway, 24),
      link: DEVICE,
      gateway,
      onlink: true,
      scope: "universe",
      metric: 0,
      protocol: RTPROT_FLANNEL,
      table: RT_TABLE_MAIN,
    });
  }
  return { neighbours, fdb, routes };
}

async function timeOurs({ neighbours, fdb, routes }: PeerEntries): Promise<number> {
  makeDevice();
  using kernel = new NetlinkKernel({ clock: systemClock });
  const steps = [
    ...neighbours.map((resource) => ({ op: "set", resource } as const)),
    ...fdb.map((resource) => ({ op: "set", resource } as const)),
    ...routes.map((resource) => ({ op: "set", resource, exclusive: true } as const)),
  ];
  const begun = performance.now();
  const results = await kernel.apply(steps);
  const elapsed = performance.now() - begun;
  const failure = results.find((result) => result !== undefined);
  if (failure !== undefined) throw failure;
  expectEntries(routes.length);
  return elapsed;
}

interface BatchFiles {
  readonly ip: string;
  readonly bridge: string;
  readonly count: number;
}

function writeBatchFiles(folder: string, { neighbours, fdb, routes }: PeerEntries): BatchFiles {
  const ip = join(folder, "ip.batch");
  const bridge = join(folder, "bridge.batch");
  const lines = [
    ...neighbours.map(({ address, mac }) =>
      `neigh replace ${address} lladdr ${mac} dev ${DEVICE} nud permanent`
    ),
    ...routes.map(({ destination, gateway }) =>
      `route add ${destination} via ${gateway} dev ${DEVICE} proto ${RTPROT_FLANNEL} onlink`
    ),
  ];
  writeFileSync(ip, lines.join("\n") + "\n");
  writeFileSync(
    bridge,
    fdb.map(({ mac, remote }) => `fdb replace ${mac} dev ${DEVICE} dst ${remote} self permanent\n`)
      .join(""),
  );
  return { ip, bridge, count: routes.length };
}

function timeIproute2(files: BatchFiles): number {
  makeDevice();
  const begun = performance.now();
  run("bridge", "-batch", files.bridge);
  run("ip", "-batch", files.ip);
  const elapsed = performance.now() - begun;
  expectEntries(files.count);
  return elapsed;
}

function makeDevice(): void {
  Bun.spawnSync(["ip", "link", "del", DEVICE], { stdio: ["ignore", "ignore", "ignore"] });
  const options = ["id", "1", "dev", UNDERLAY, "dstport", "8472", "nolearning"];
  run("ip", "link", "add", DEVICE, "type", "vxlan", ...options);
  run("ip", "link", "set", DEVICE, "up");
}

/** Checks that the work was done; a program of neither side counts each kind. */
function expectEntries(count: number): void {
  const tables = [
    run("ip", "-4", "route", "show", "dev", DEVICE, "proto", String(RTPROT_FLANNEL)),
    run("ip", "-4", "neigh", "show", "dev", DEVICE, "nud", "permanent"),
    run("bridge", "fdb", "show", "dev", DEVICE),
  ];
  for (const table of tables) {
    const found = table.trimEnd().split("\n").length;
    if (found !== count) throw new Error(`${found} entries instead of ${count}`);
  }
}

function run(...command: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  return stdout.toString();
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] as number;
}

if (import.meta.main) {
  const { peers, oursMs, iproute2Ms } = await measureProgramPeers();
  console.log(
    `${peers} vxlan peers: ours ${oursMs.toFixed(0)} ms, iproute2 ${iproute2Ms.toFixed(0)} ms, ` +
      `ratio ${(iproute2Ms / oursMs).toFixed(2)}`,
  );
}
