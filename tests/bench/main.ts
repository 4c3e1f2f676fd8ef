/**
 * `npm run bench`: our executable against Go flannel, side by side on this machine.
 *
 *     npm run bench -- [--quick] [--only PART[,PART]] [--ours PATH] [--record | --json]
 *     npm run bench -- --record-from FILE
 *
 * The part `wireguard` is there where the kernel has WireGuard; elsewhere
 * `tests/vm/run npm run bench -- --only wireguard` runs it in a virtual machine.
 * The part `udp` compares more there: the kernel's own data paths too.
 *
 * Every figure is a ratio within one run: the absolute ones are this machine's. `--record` writes
 * the tables to docs/performance.md with the commit, the machine and the date; those of parts
 * that were not run stay. What is written in the virtual machine is gone at its end: there,
 * `--json` prints the results as the last line, which `--record-from` takes from a file.
 * Everything happens in network namespaces that are removed at the end.
 */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { wireguardSupport } from "../../src/kernel/wireguard/wireguard_support.ts";
import { Bench, type BenchSizes } from "./bench.ts";
import { benchBurst } from "./burst.ts";
import { benchChange } from "./change.ts";
import { benchCni } from "./cni.ts";
import { benchDatastore } from "./datastore.ts";
import { benchIdle } from "./idle.ts";
import { benchIpsec } from "./ipsec.ts";
import { benchKube } from "./kube.ts";
import { benchMemory } from "./memory.ts";
import { benchPeers } from "./peers.ts";
import { describeOrigin, type PartResults, recordResults } from "./record.ts";
import { benchSize } from "./size.ts";
import { benchStart } from "./start.ts";
import { markdownTable, type Measured, type Row } from "./table.ts";
import { benchUdp } from "./udp.ts";
import { benchWireguard } from "./wireguard.ts";

const PARTS: { readonly [name: string]: (bench: Bench) => Promise<readonly Row[] | Measured> } = {
  peers: benchPeers,
  start: benchStart,
  change: benchChange,
  burst: benchBurst,
  idle: benchIdle,
  memory: benchMemory,
  size: benchSize,
  datastore: benchDatastore,
  udp: benchUdp,
  ipsec: benchIpsec,
  cni: benchCni,
  kube: benchKube,
  ...(await wireguardSupport() === "kernel" ? { wireguard: benchWireguard } : {}),
};

const FULL: BenchSizes = {
  small: 1_000,
  large: 10_000,
  huge: 50_000,
  kubeNodes: 5_000,
  repetitions: 3,
  changes: 200,
  idleSeconds: 60,
};
const QUICK: BenchSizes = {
  small: 100,
  large: 1_000,
  huge: 2_000,
  kubeNodes: 500,
  repetitions: 1,
  changes: 30,
  idleSeconds: 11,
};

await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      record: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      "record-from": { type: "string" },
      only: { type: "string" },
      ours: { type: "string", default: "dist/flanneld" },
    },
  });
  const file = values["record-from"];
  if (file !== undefined) return recordResults(resultsIn(readFileSync(file, "utf8")));
  const parts = values.only?.split(",") ?? Object.keys(PARTS);
  const unknown = parts.find((name) => !(name in PARTS));
  if (unknown !== undefined) {
    throw new Error(`there is no part ${unknown}; there are ${Object.keys(PARTS).join(", ")}`);
  }
  await using bench = await Bench.create({
    sizes: values.quick ? QUICK : FULL,
    // Each daemon starts in a directory of its own.
    ours: resolve(values.ours),
    theirs: { name: "Go flannel", path: await goFlannel() },
  });
  const stop = () => bench[Symbol.asyncDispose]().finally(() => process.exit(130));
  process.once("SIGINT", stop).once("SIGTERM", stop);
  const results: PartResults[] = [];
  const origin = await describeOrigin({ isQuick: values.quick });
  for (const name of parts) {
    const measured = await PARTS[name]?.(bench) ?? [];
    const { rows, details } = "rows" in measured ? measured : { rows: measured };
    console.log(`\n${name}\n\n${markdownTable(rows)}${details ? `\n\n${details}` : ""}`);
    results.push({ part: name, origin, rows, ...(details && { details }) });
  }
  if (values.record) recordResults(results);
  if (values.json) console.log(JSON.stringify(results));
}

/** The last line of what `--json` printed. */
function resultsIn(output: string): PartResults[] {
  return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "");
}

/** Builds Go flannel, if that has not been done yet. */
async function goFlannel(): Promise<string> {
  const script = new URL("../interop/go_flannel.sh", import.meta.url).pathname;
  const child = Bun.spawn(["bash", script], { stdout: "pipe", stderr: "inherit" });
  const path = (await new Response(child.stdout).text()).trim();
  if (await child.exited !== 0) throw new Error("Go flannel is not available, see above");
  return path;
}
