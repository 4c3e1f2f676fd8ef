/** The kernel tables that are in use. A new table is one more line here. */

import type { Clock } from "../base/clock.ts";
import type { Resource, ResourceKind } from "../state/resource.ts";
import type { Step } from "../state/step.ts";
import { FOU_TABLE } from "./fou_ports.ts";
import { SYSCTL_TABLE } from "./sysctl/sysctl_table.ts";
import type { KernelListener } from "./table/kernel_event.ts";
import type { KernelTable, KernelTableType } from "./table/kernel_table.ts";
import type { StepResult } from "./table/step_result.ts";
import { TUN_DEVICES } from "./tun_devices.ts";
import { WIREGUARD_TABLE } from "./wireguard/wireguard_table.ts";
import { XFRM_POLICIES } from "./xfrm/xfrm_policies.ts";

/** Each is opened on first use. */
const TYPES: readonly KernelTableType[] = [
  FOU_TABLE,
  SYSCTL_TABLE,
  TUN_DEVICES,
  WIREGUARD_TABLE,
  XFRM_POLICIES,
];
/** Kinds that rtnetlink holds are absent. */
export const TABLE_BY_KIND: Partial<Record<ResourceKind, KernelTableType>> = Object.fromEntries(
  TYPES.flatMap((type) => type.kinds.map((kind) => [kind, type])),
);

export class KernelTables implements Disposable {
  readonly #open = new Map<KernelTableType, KernelTable>();
  readonly #clock: Clock;
  readonly #listener: KernelListener;
  #watches: DisposableStack | undefined;

  constructor(clock: Clock, listener: KernelListener) {
    this.#clock = clock;
    this.#listener = listener;
  }

  /** The table that performs a step; `undefined` for rtnetlink. */
  typeFor({ op, resource }: Step): KernelTableType | undefined {
    if (resource.kind !== "link") return TABLE_BY_KIND[resource.kind];
    return op === "set" ? TYPES.find((type) => type.creates?.(resource)) : undefined;
  }

  async dump(
    kinds: readonly ResourceKind[],
    links: ReadonlySet<string> | undefined,
  ): Promise<Resource[]> {
    const wanted = TYPES.filter((type) => type.kinds.some((kind) => kinds.includes(kind)));
    const found: Resource[] = [];
    for (const type of wanted) {
      const entries = await this.#table(type).dump(links ?? new Set());
      found.push(...entries.filter(({ kind }) => kinds.includes(kind)));
    }
    return found;
  }

  apply(type: KernelTableType, steps: readonly Step[]): Promise<readonly StepResult[]> {
    return this.#table(type).apply(steps);
  }

  /** Notifies of changes from now on, also in tables that are opened later. */
  watch(): void {
    if (this.#watches !== undefined) return;
    this.#watches = new DisposableStack();
    for (const table of this.#open.values()) this.#watches.use(table.watch(this.#listener));
  }

  unwatch(): void {
    this.#watches?.dispose();
    this.#watches = undefined;
  }

  [Symbol.dispose](): void {
    this.unwatch();
    for (const table of this.#open.values()) table[Symbol.dispose]();
    this.#open.clear();
  }

  #table(type: KernelTableType): KernelTable {
    let table = this.#open.get(type);
    if (table === undefined) {
      this.#open.set(type, table = type.open(this.#clock));
      this.#watches?.use(table.watch(this.#listener));
    }
    return table;
  }
}
