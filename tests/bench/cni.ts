/** The CNI plugin: ADD and DEL of a pod through `flannel`, against its delegate alone. */

import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { cniPrograms } from "../support/cni_node.ts";
import type { Bench } from "./bench.ts";
import { median, type Row } from "./table.ts";

const SUBNET = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\n" +
  "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:1::1/64\n" +
  "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n";

/** Pods for each repetition of the bench. */
const PODS = 20;

export async function benchCni(bench: Bench): Promise<Row[]> {
  const { host } = bench.takeHost();
  const directory = mkdtempSync(join(tmpdir(), "flbench-cni-"));
  try {
    const runtime = new Runtime(bench.ours.path, await cniPrograms(), {
      directory,
      namespace: host.namespace,
      pod: host.workloadNamespace,
    });
    const times = { flannel: new Times(), bridge: new Times() };
    for (let pod = 0; pod < PODS * bench.sizes.repetitions; pod++) {
      // In turn, so that a disturbance of the machine meets both.
      for (const type of ["flannel", "bridge"] as const) await runtime.attach(type, times[type]);
    }
    return rows(times.flannel, times.bridge);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Milliseconds of each pod. */
class Times {
  readonly add: number[] = [];
  readonly del: number[] = [];
  readonly version: number[] = [];
}

function rows(flannel: Times, bridge: Times): Row[] {
  const row = (what: string, key: keyof Times): Row => {
    const [ours, theirs] = [median(flannel[key]), median(bridge[key])];
    const added = (ours - theirs).toPrecision(2);
    return {
      what,
      unit: "ms",
      ours,
      theirs,
      against: "bridge alone",
      note: `the plugin flannel adds ${added} ms to its delegate`,
    };
  };
  return [
    row("cni: ADD of a pod, dual stack", "add"),
    row("cni: DEL of a pod, dual stack", "del"),
    {
      ...row("cni: start of the plugin (VERSION)", "version"),
      note: "the start of one program against that of another: ours of the JavaScript runtime",
    },
  ];
}

class Runtime {
  readonly #directory: string;
  readonly #namespace: string;
  readonly #pod: string;
  readonly #bin: string;
  #delegate = "";

  constructor(
    flanneld: string,
    programs: string,
    where: { readonly directory: string; readonly namespace: string; readonly pod: string },
  ) {
    this.#directory = where.directory;
    this.#namespace = where.namespace;
    this.#pod = where.pod;
    this.#bin = join(where.directory, "bin");
    mkdirSync(this.#bin);
    symlinkSync(flanneld, join(this.#bin, "flannel"));
    for (const name of ["bridge", "host-local"]) {
      symlinkSync(join(programs, name), join(this.#bin, name));
    }
    writeFileSync(join(where.directory, "subnet.env"), SUBNET);
    chmodSync(where.directory, 0o700);
  }

  /** One pod: VERSION, ADD and DEL. The delegate alone gets the same configuration from us. */
  async attach(type: "flannel" | "bridge", times: Times): Promise<void> {
    const config = type === "flannel" ? this.#flannelConfig() : await this.#delegateConfig();
    times.version.push(await this.#call(type, "VERSION", config));
    times.add.push(await this.#call(type, "ADD", config));
    times.del.push(await this.#call(type, "DEL", config));
  }

  #flannelConfig(): string {
    return JSON.stringify({
      name: "cbr0",
      cniVersion: "1.0.0",
      type: "flannel",
      delegate: { hairpinMode: true, isDefaultGateway: true },
      subnetFile: join(this.#directory, "subnet.env"),
      dataDir: join(this.#directory, "flannel"),
      ipam: { dataDir: join(this.#directory, "networks") },
    });
  }

  /** What the plugin saves is what it has given its delegate. */
  async #delegateConfig(): Promise<string> {
    if (this.#delegate === "") {
      await this.#call("flannel", "ADD", this.#flannelConfig());
      this.#delegate = await Bun.file(join(this.#directory, "flannel", "pod")).text();
      await this.#call("flannel", "DEL", this.#flannelConfig());
    }
    return this.#delegate;
  }

  /** Milliseconds until the plugin has ended. */
  async #call(type: string, command: string, config: string): Promise<number> {
    const begunMs = systemClock.nowMs();
    const program = join(this.#bin, type);
    const { exitCode, stdout, stderr } = await runProgram(
      "nsenter",
      [`--net=/run/netns/${this.#namespace}`, program],
      {
        stdin: config,
        env: {
          PATH: process.env["PATH"],
          CNI_COMMAND: command,
          CNI_CONTAINERID: "pod",
          CNI_NETNS: `/run/netns/${this.#pod}`,
          CNI_IFNAME: "eth0",
          CNI_PATH: this.#bin,
        },
      },
    );
    if (exitCode !== 0) throw new Error(`${type} failed at ${command}: ${stdout}${stderr}`);
    return systemClock.nowMs() - begunMs;
  }
}
