/**
 * Changes of this node's annotations by other programs: they are reported with the program's name,
 * and a program that repeats them is answered at growing intervals.
 */

import { backoffMs, type Clock } from "../../base/clock.ts";
import { quoted } from "../../base/quoting.ts";
import type { KubeNodeMetadata } from "../../kube/kube_api.ts";
import type { Log } from "../../log/log.ts";
import { RecurringEvent } from "../../log/recurring_event.ts";
import { valueOf } from "./node_annotations.ts";

export interface ForeignChangesOptions {
  /** The name of this node. */
  readonly node: string;
  readonly clock: Pick<Clock, "nowMs" | "random">;
  readonly log: Log;
}

export class ForeignChanges {
  readonly #options: ForeignChangesOptions;
  readonly #event: RecurringEvent;
  #count = 0;
  #lastMs = 0;
  #text: string | undefined;

  constructor(options: ForeignChangesOptions) {
    this.#options = options;
    this.#event = new RecurringEvent(options);
  }

  /** Another program keeps changing the annotations. */
  get problem(): string | undefined {
    if (!this.#event.isFrequent) return undefined;
    return `${this.#text}, again and again; the other nodes may use its values; stop that ` +
      `program, or, if it is flanneld, make sure that NODE_NAME is ${quoted(this.#options.node)} ` +
      "on one host only";
  }

  /** How long to wait before the annotations are read, and written again if they differ. */
  pauseMs(): number {
    if (this.#options.clock.nowMs() - this.#lastMs >= QUIET_MS) this.#count = 0;
    return this.#count === 0 ? 0 : backoffMs(this.#count, PAUSE, this.#options.clock);
  }

  /** The Node was read; these annotations are not as this node wrote them. */
  found(node: KubeNodeMetadata, changed: KubeNodeMetadata["annotations"]): void {
    const names = Object.keys(changed);
    if (names.length === 0) return;
    this.#count++;
    this.#lastMs = this.#options.clock.nowMs();
    this.#text = `${changeText(node, names)} of node ${quoted(node.name)}`;
    this.#event.occurred("warn", `${this.#text}; restoring`);
  }
}

const QUIET_MS = 60_000;
/** Shorter than what `RecurringEvent` takes for quiet. */
const PAUSE = { firstMs: 500, maxMs: 30_000 };

/** Such as `"kubectl-edit" changed the annotation flannel.alpha.coreos.com/public-ip to "x"`. */
function changeText(node: KubeNodeMetadata, names: readonly string[]): string {
  const name = names[0] as string;
  const value = valueOf(node.annotations, name);
  const more = names.length > 1 ? ` and ${names.length - 1} more` : "";
  if (value === undefined) return `another program removed the annotation ${name}${more}`;
  const owners = node.managedFields.filter(({ annotations }) => annotations.includes(name));
  const [newest] = owners.sort((a, b) => (b.timeMs ?? 0) - (a.timeMs ?? 0));
  const who = newest === undefined ? "another program" : quoted(newest.manager);
  return `${who} changed the annotation ${name} to ${quoted(value)}${more}`;
}
