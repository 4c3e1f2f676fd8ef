/** One TCP stream between workloads of two hosts: the udp backend's data paths, and plain ipip. */

import { readFileSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { pingAll } from "../../src/lab/ping_matrix.ts";
import { attachWorkloads, workloadAddresses } from "../../src/lab/workload.ts";
import { parseSubnetFile } from "../../src/subnet/subnet_file.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { startDetached } from "../../src/process/detached_process.ts";
import type { Bench } from "./bench.ts";
import type { Program } from "./daemon.ts";
import { median, type Row } from "./table.ts";

export async function benchUdp(bench: Bench): Promise<Row[]> {
  const ours = (name: string, backend: string, dataPath?: string): Variant => ({
    name,
    program: bench.ours,
    backend,
    env: dataPath === undefined ? {} : { FLANNELD_UDP_DATA_PATH: dataPath },
  });
  const theirs: Variant = { name: "Go's proxy", program: bench.theirs, backend: "udp", env: {} };
  const proxy = ours("our proxy", "udp", "tun");
  const fou = ours("FOU", "udp", "fou");
  const ipip = ours("plain ipip", "ipip");
  const variants = [theirs, proxy, ...(await hasFou() ? [fou, ipip] : [])];
  const seconds = new Map<Variant, number[]>(variants.map((variant) => [variant, []]));
  // In turn, so that a disturbance of the machine meets all.
  for (let repetition = 0; repetition < bench.sizes.repetitions; repetition++) {
    for (const variant of variants) seconds.get(variant)?.push(await measure(bench, variant));
  }
  const of = (variant: Variant) => median(seconds.get(variant) ?? []);
  const row = (one: Variant, other: Variant, goal: number): Row => ({
    what: `udp: ${MEGABYTES} MB in one stream, by ${one.name}`,
    unit: "s",
    ours: of(one),
    theirs: of(other),
    against: other.name,
    goal,
  });
  if (!variants.includes(fou)) return [row(proxy, theirs, 1)];
  return [row(proxy, theirs, 1), row(fou, theirs, 1), row(fou, ipip, 0.9)];
}

interface Variant {
  readonly name: string;
  readonly program: Program;
  readonly backend: string;
  readonly env: Readonly<Record<string, string>>;
}

const MEGABYTES = 300;
const START_MS = 10_000;

/** Seconds that the stream took. */
async function measure(bench: Bench, { program, backend, env }: Variant): Promise<number> {
  const prefix = `/bench-stream-${crypto.randomUUID()}`;
  await bench.etcd.put(
    `${prefix}/config`,
    JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: backend } }),
  );
  const taken = [bench.takeHost(), bench.takeHost()];
  const running = taken.map(({ host, observer }) => {
    const flags = ["--iptables-forward-rules=false"];
    const daemon = bench.start(program, host, { prefix, peers: [] }, { flags, env });
    return { host, observer, daemon };
  });
  const deadline = performance.now() + START_MS;
  while (!running.every(({ daemon }) => daemon.hasSubnetFile)) {
    for (const { daemon } of running) await daemon.assertAlive();
    if (performance.now() > deadline) throw new Error(`${program.name} does not get ready`);
    await Bun.sleep(20);
  }
  const ends = running.map(({ host, daemon }) => {
    const network = parseSubnetFile(readFileSync(daemon.subnetFile, "utf8"));
    const { mtuBytes } = network;
    const namespace = host.workloadNamespace;
    return {
      name: host.name,
      host,
      network,
      namespace,
      addresses: workloadAddresses(network),
      mtuBytes,
    };
  });
  await attachWorkloads(ends);
  const pings = await pingAll(ends, { timeoutMs: START_MS, clock: systemClock });
  if (pings.some(({ milliseconds }) => milliseconds === undefined)) {
    throw new Error(`the workloads of ${program.name} with ${backend} do not reach each other`);
  }
  const [from, to] = ends as [typeof ends[0], typeof ends[0]];
  const seconds = await stream(from.namespace, to.namespace, String(to.addresses[4]));
  for (const { daemon, host, observer } of running) await bench.finish(daemon, host, observer);
  return seconds;
}

async function stream(from: string, to: string, address: string): Promise<number> {
  const server = startDetached("ip", ["netns", "exec", to, "iperf3", "--server", "--one-off"], {
    logFile: "/dev/null",
    env: { PATH: process.env["PATH"] ?? "" },
  });
  try {
    await Bun.sleep(500);
    const client = ["iperf3", "--json", "--bytes", `${MEGABYTES}M`, "--client", address];
    const { stdout } = await runProgram("ip", ["netns", "exec", from, ...client], {
      timeoutMs: 400_000,
    });
    const result = JSON.parse(stdout) as {
      readonly error?: string;
      readonly end?: { readonly sum_received?: { readonly seconds: number } };
    };
    const seconds = result.end?.sum_received?.seconds;
    if (seconds === undefined) throw new Error(`iperf3 failed: ${result.error ?? stdout}`);
    return seconds;
  } finally {
    server.signal("SIGTERM");
    await server.exited;
  }
}

async function hasFou(): Promise<boolean> {
  return (await runProgram("ip", ["fou", "show"])).exitCode === 0;
}
