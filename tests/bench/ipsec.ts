/** IPsec policies: all of a cluster at the start, one more peer, and the kernel's part of it. */

import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { Prefix } from "../../src/addr/prefix.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { XFRM_REQID, type XfrmPolicy } from "../../src/state/resource.ts";
import { resourceText } from "../../src/state/resource_text.ts";
import type { Step } from "../../src/state/step.ts";
import { enterNewNetworkNamespace } from "../support/network_namespace.ts";
import type { Bench } from "./bench.ts";
import type { Program } from "./daemon.ts";
import { addPeer } from "./leases.ts";
import { median, type Row } from "./table.ts";

/** Three policies for each. */
const PEERS = 67;
const POLICIES = 3 * PEERS;
const ADDED = 20;
const TIMEOUT_MS = 120_000;

export async function benchIpsec(bench: Bench): Promise<Row[]> {
  const ours: Costs[] = [];
  const theirs: Costs[] = [];
  const batches: Batch[] = [];
  // In turn, so that a disturbance of the machine meets both.
  for (let repetition = 0; repetition < bench.sizes.repetitions; repetition++) {
    theirs.push(await measure(bench, bench.theirs));
    ours.push(await measure(bench, bench.ours));
    batches.push(await sweepAndAdd());
  }
  const against = bench.theirs.name;
  return [
    {
      what: `start to the last of ${POLICIES} IPsec policies`,
      unit: "s",
      ours: median(ours.map(({ startSeconds }) => startSeconds)),
      theirs: median(theirs.map(({ startSeconds }) => startSeconds)),
      against,
      note: "both start charon first; no peer answers it",
    },
    {
      what: `one peer added among ${PEERS}: etcd put to the third policy, median`,
      unit: "ms",
      ours: median(ours.flatMap(({ latenciesMs }) => latenciesMs)),
      theirs: median(theirs.flatMap(({ latenciesMs }) => latenciesMs)),
      against,
      note: "seen by counting policies again and again, so exact to some 5 ms",
    },
    {
      what: `${POLICIES} stale policies swept and ${POLICIES} added, the kernel's part`,
      unit: "ms",
      ours: median(batches.map(({ oursMs }) => oursMs)),
      theirs: median(batches.map(({ ipMs }) => ipMs)),
      against: "ip -batch",
      note: "Go flannel sweeps none",
    },
  ];
}

interface Costs {
  readonly startSeconds: number;
  /** From the call of etcd to the last policy of the peer. */
  readonly latenciesMs: readonly number[];
}

async function measure(bench: Bench, program: Program): Promise<Costs> {
  const backend = "ipsec";
  const set = await bench.leases(PEERS, { backend });
  const { host, observer } = bench.takeHost();
  // Without firewall rules, which other parts measure.
  const flags = ["--iptables-forward-rules=false"];
  const daemon = bench.start(program, host, set, { flags });
  await policiesReach(host.namespace, POLICIES);
  const startSeconds = (performance.now() - daemon.startedAt) / 1000;
  await Bun.sleep(SETTLE_MS);
  const latenciesMs: number[] = [];
  for (let number = 0; number < ADDED; number++) {
    const startMs = performance.now();
    await addPeer(bench.etcd, set, { backend, number });
    await policiesReach(host.namespace, POLICIES + 3 * (number + 1));
    latenciesMs.push(performance.now() - startMs);
    await Bun.sleep(PAUSE_MS);
  }
  await bench.finish(daemon, host, observer);
  return { startSeconds, latenciesMs };
}

/** By then, the work of the start is done. */
const SETTLE_MS = 3_000;
/** Peers come one at a time, further apart than any debounce. */
const PAUSE_MS = 100;

async function policiesReach(namespace: string, count: number): Promise<void> {
  const deadlineMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const { stdout } = await runProgram("ip", ["-n", namespace, "xfrm", "policy", "count"]);
    // `SPD IN 1 OUT 1 FWD 1`; those of charon's sockets are not among them.
    const counts = [...stdout.matchAll(/\b(?:IN|OUT|FWD)\s+(\d+)/g)].map((match) =>
      Number(match[1])
    );
    const found = counts.slice(0, 3).reduce((sum, value) => sum + value, 0);
    if (found >= count) return;
    if (performance.now() > deadlineMs) {
      throw new Error(`${found} of ${count} policies after ${TIMEOUT_MS} ms`);
    }
  }
}

interface Batch {
  readonly oursMs: number;
  readonly ipMs: number;
}

/** The same changes made by our netlink code and by `ip -batch`, in a namespace of their own. */
async function sweepAndAdd(): Promise<Batch> {
  using _namespace = enterNewNetworkNamespace();
  using kernel = new NetlinkKernel({ clock: systemClock });
  const [stale, wanted] = [policiesOf(1), policiesOf(100)];
  const swap: Step[] = [
    ...wanted.map((resource): Step => ({ op: "set", resource, exclusive: true })),
    ...stale.map((resource): Step => ({ op: "delete", resource })),
  ];
  const lines = [
    ...wanted.map((policy) => ipCommand("add", policy)),
    ...stale.map((policy) => ipCommand("delete", policy)),
  ];
  const undo = [...stale.map((policy) => ipCommand("add", policy))];
  ipBatch(undo);
  await kernel.dump(["xfrm-policy"]); // as the daemon does before it changes anything
  let startMs = performance.now();
  const failed = (await kernel.apply(swap)).filter((result) => result !== undefined);
  const oursMs = performance.now() - startMs;
  if (failed.length > 0) throw failed[0];
  ipBatch(["xfrm policy flush", ...undo]);
  startMs = performance.now();
  ipBatch(lines);
  return { oursMs, ipMs: performance.now() - startMs };
}

/** In this thread's namespace: a program that is started in another way may be in another one. */
function ipBatch(lines: readonly string[]): void {
  const stdin = Buffer.from(`${lines.join("\n")}\n`);
  const { exitCode, stderr } = Bun.spawnSync(["ip", "-batch", "-"], { stdin });
  if (exitCode !== 0) throw new Error(`ip -batch: ${stderr}`);
}

function ipCommand(command: "add" | "delete", policy: XfrmPolicy): string {
  const text = resourceText(policy).replace(/^xfrm policy/, `xfrm policy ${command}`);
  return command === "add" ? text : text.replace(/ tmpl .*/, "");
}

function policiesOf(first: number): XfrmPolicy[] {
  return Array.from({ length: PEERS }, (_, i) => first + i).flatMap((n): XfrmPolicy[] => {
    const [own, peer] = ["10.5.0.0/24" as Prefix, `10.5.${n}.0/24` as Prefix];
    const [here, there] = ["192.0.2.1" as IpAddress, `192.0.2.${n}` as IpAddress];
    const out = { source: here, destination: there, reqid: XFRM_REQID };
    const back = { source: there, destination: here, reqid: XFRM_REQID };
    const kind = "xfrm-policy";
    return [
      { kind, direction: "out", source: own, destination: peer, tunnel: out },
      { kind, direction: "in", source: peer, destination: own, tunnel: back },
      { kind, direction: "fwd", source: peer, destination: own, tunnel: back },
    ];
  });
}
