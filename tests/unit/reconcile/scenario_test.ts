/**
 * Scenario scripts: events in, the kernel's text out. Each file in `scenarios/` is one story. A
 * line is a command or, indented, the expected output of the command above; `#` begins a comment.
 *
 *     start                           the daemon starts; it knows nothing yet
 *     node [mtu N] [vni N]            desire the node's own entries
 *     peer N [mac N] [at N]           desire a peer's entries; `peer N leaves` withdraws them
 *     complete                        everything that is desired is known: sweep
 *     kernel has TEXT                 an entry from before the start, without a notification
 *     other set|delete TEXT           another program changes an entry; to delete it, the beginning
 *                                     of its text is enough
 *     other may delete TEXT           the same, if the entry exists
 *     link NAME up|down               another program
 *     refuse ERRNO N                  the kernel refuses the next N steps
 *     interrupt N                     the next N dumps are interrupted
 *     lose notifications              of what follows, until `overrun`
 *     overrun                         the kernel reports that notifications were lost
 *     within batch: COMMAND           performs the command after the first step of the next batch
 *     wait TIME                       `200ms`, `30s`
 *     forget                          the steps and log lines so far
 *     steps | kernel | status | log   requests to the kernel since the last time; all entries but
 *                                     the underlay's; failures and conflicts; lines at info and
 *                                     above
 *
 * `UPDATE_GOLDENS=1` writes the expected output. Read the difference before you commit it.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { resourceText } from "../../../src/state/resource_text.ts";
import type { Resource } from "../../../src/state/resource.ts";
import {
  address,
  foreignEntries,
  foundDevice,
  peerEntries,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { NODE_ENTRIES, peerOf, ReconcilerScene } from "../../support/reconciler_scene.ts";
import { parseResource } from "../../support/resource_parser.ts";

const FOLDER = `${import.meta.dir}/scenarios`;

describe("scenario", () => {
  const names = readdirSync(FOLDER).sort();

  test("scripts are found", () => {
    expect(names.length).toBeGreaterThan(10);
  });

  test.each(names)("%s", async (name) => {
    const path = `${FOLDER}/${name}`;
    const script = readFileSync(path, "utf8");
    const played = await play(script);
    if (process.env["UPDATE_GOLDENS"] === "1") writeFileSync(path, played);
    expect(played).toBe(script);
  });

  test("text of every entry is parsed to the entry", () => {
    const entries = fc.oneof(peerEntries, foreignEntries, foundDevice);
    fc.assert(fc.property(entries, (resource) => {
      expect(parseResource(resourceText(resource))).toEqual(resource);
    }));
  });
});

/** The script with the output that there is now. */
async function play(script: string): Promise<string> {
  await using stage = new Stage();
  const lines: string[] = [];
  for (const line of script.trimEnd().split("\n")) {
    if (line.startsWith("  ")) continue; // Output of an earlier run.
    lines.push(line);
    if (line !== "" && !line.startsWith("#")) {
      lines.push(...(await stage.perform(line)).map((output) => `  ${output}`));
    }
  }
  return `${lines.join("\n")}\n`;
}

class Stage implements AsyncDisposable {
  readonly #scene = new ReconcilerScene();

  /** Performs a command and gives the lines that it prints. */
  async perform(line: string): Promise<readonly string[]> {
    if (line.startsWith("wait ")) {
      await this.#scene.clock.advance(milliseconds(line.slice("wait ".length)));
      return [];
    }
    if (line.startsWith("within batch: ")) {
      const { kernel } = this.#scene;
      kernel.betweenSteps = (done) => {
        if (done !== 1) return;
        kernel.betweenSteps = () => {};
        this.#change(line.slice("within batch: ".length));
      };
      return [];
    }
    return this.#show(line) ?? (this.#change(line), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scene[Symbol.asyncDispose]();
  }

  #show(line: string): readonly string[] | undefined {
    const { kernel, reconciler, logged } = this.#scene;
    switch (line) {
      case "steps":
        return kernel.takeAsked();
      case "kernel":
        return this.#scene.kernelText().trimEnd().split("\n").filter((text) => text !== "");
      case "status": {
        const { failing, conflicts } = reconciler.status();
        return [
          ...failing.map((one) => `failing: ${JSON.stringify(one)}`),
          ...conflicts.map((one) => `conflict: ${JSON.stringify(one)}`),
        ];
      }
      case "log":
        return logged.records.splice(0)
          .filter(({ level }) => level !== "trace" && level !== "debug")
          .map(({ level, msg }) => `${level}: ${msg}`);
      default:
        return undefined;
    }
  }

  #change(line: string): void {
    const scene = this.#scene;
    const { kernel } = scene;
    const words = line.split(" ");
    const option = (name: string) => {
      const at = words.indexOf(name);
      return at < 0 ? {} : { [name]: Number(words[at + 1]) };
    };
    const rest = (count: number) => words.slice(count).join(" ");
    switch (words[0]) {
      case "start":
        return scene.start();
      case "complete":
        return scene.reconciler.allowSweep();
      case "node": {
        const options = { ...option("mtu"), ...option("vni") };
        const devices = ["flannel.1", "flannel-v6.1"] as const;
        const isPlain = Object.keys(options).length === 0;
        return scene.desire(
          "node",
          isPlain
            ? NODE_ENTRIES
            : [...devices.map((name) => vxlanDevice(name, options)), address(1)],
        );
      }
      case "peer": {
        const n = Number(words[1]);
        const { mac, at } = { ...option("mac"), ...option("at") } as { mac?: number; at?: number };
        const changed = {
          ...(mac === undefined ? {} : { macNumber: mac }),
          ...(at === undefined ? {} : { at }),
        };
        return scene.desire(`peer ${n}`, words[2] === "leaves" ? [] : peerOf(n, changed));
      }
      case "kernel":
        return kernel.seed(parseResource(rest(2)));
      case "other": {
        const isOptional = words[1] === "may";
        if (!isOptional && words[1] !== "delete") {
          return kernel.outside({ op: "set", resource: parseResource(rest(2)) });
        }
        const found = this.#find(rest(isOptional ? 3 : 2));
        if (found === undefined && isOptional) return;
        if (found === undefined) throw new Error(`no entry, or several: ${line}`);
        return kernel.outside({ op: "delete", resource: found });
      }
      case "forget":
        kernel.takeAsked();
        scene.logged.records.splice(0);
        return;
      case "link":
        return kernel.setLinkState(words[1] as string, words[2] as "up" | "down");
      case "refuse": {
        let left = Number(words[2]);
        kernel.refuse = () => left-- > 0 ? words[1] : undefined;
        return;
      }
      case "interrupt":
        kernel.interruptedDumps = Number(words[1]);
        return;
      case "lose":
        kernel.delivery = "held";
        return;
      case "overrun":
        kernel.overrun();
        kernel.delivery = "soon";
        return;
      default:
        throw new Error(`unknown command: ${line}`);
    }
  }

  /** The only entry whose text begins so. */
  #find(beginning: string): Resource | undefined {
    const found = [...this.#scene.kernel.table.values()]
      .filter((one) => resourceText(one).startsWith(beginning));
    return found.length === 1 ? found[0] : undefined;
  }
}

function milliseconds(text: string): number {
  const match = /^(\d+)(ms|s)$/.exec(text);
  if (match === null) throw new Error(`${text} is not a time`);
  return Number(match[1]) * (match[2] === "s" ? 1000 : 1);
}
