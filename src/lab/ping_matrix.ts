/** Pings every workload from every other at full MTU, without fragmentation (ping(8), -M do). */

import { familiesOf, type PerFamily } from "../addr/family.ts";
import { FAMILIES, type Family, type IpAddress } from "../addr/ip.ts";
import type { Clock } from "../base/clock.ts";
import { mapParallel } from "./map_parallel.ts";
import { namespaceScript } from "./namespace.ts";

/** One workload. */
export interface PingEnd {
  readonly name: string;
  readonly namespace: string;
  readonly addresses: PerFamily<IpAddress>;
  readonly mtuBytes: number;
}

export interface Ping {
  readonly from: string;
  readonly to: string;
  readonly family: Family;
  /** Round-trip time; absent if there was no reply. */
  readonly milliseconds?: number;
}

export interface PingOptions {
  /**
   * Lost pings are repeated for this time: the last host's lease may not have arrived everywhere.
   */
  readonly timeoutMs: number;
  /** Each round with a new reply restarts that time: the machine may be slow. */
  readonly isPatient?: boolean;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

/** IP and ICMP headers: what an echo request of the full MTU has in addition to its payload. */
const HEADER_BYTES: Readonly<Record<Family, number>> = { 4: 28, 6: 48 };
/** Namespaces that ping at once; with more, the start of the programs dominates the times. */
const CONCURRENCY = 4;

/** Every pair once in each direction and family, in order. */
export async function pingAll(ends: readonly PingEnd[], options: PingOptions): Promise<Ping[]> {
  const { timeoutMs, isPatient = false, clock, signal } = options;
  let deadlineMs = clock.nowMs() + timeoutMs;
  const replied = new Map<string, number>();
  for (;;) {
    const repliedBefore = replied.size;
    await mapParallel(ends, CONCURRENCY, (from) => pingFrom(from, ends, replied, signal));
    const pings = pairs(ends).map(({ from, to, family }): Ping => {
      const milliseconds = replied.get(pingKey(from.name, to.name, family));
      const ping = { from: from.name, to: to.name, family };
      return milliseconds === undefined ? ping : { ...ping, milliseconds };
    });
    const isComplete = pings.every((ping) => ping.milliseconds !== undefined);
    if (isPatient && replied.size > repliedBefore) deadlineMs = clock.nowMs() + timeoutMs;
    if (isComplete || clock.nowMs() > deadlineMs) return pings;
  }
}

/** Sends those pings of one workload that have no reply yet, all at once. */
async function pingFrom(
  from: PingEnd,
  ends: readonly PingEnd[],
  replied: Map<string, number>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const open = pairs([from], ends).filter(({ to, family }) =>
    !replied.has(pingKey(from.name, to.name, family))
  );
  if (open.length === 0) return;
  const commands = open.map(({ to, family }) => {
    const size = Math.min(from.mtuBytes, to.mtuBytes) - HEADER_BYTES[family];
    return `one ${to.name} ${family} ${size} ${to.addresses[family]} &`;
  });
  const output = await namespaceScript(
    from.namespace,
    PING_ONE + commands.join("\n") + "\nwait\n",
    signal,
  );
  for (const line of output.split("\n")) {
    const [to, family, milliseconds] = line.split(" ");
    if (to === undefined || milliseconds === undefined) continue;
    replied.set(pingKey(from.name, to, Number(family) as Family), Number(milliseconds));
  }
}

/** Prints `<name> <family> <milliseconds>` for a reply, and nothing for a lost ping. */
const PING_ONE = `one() {
  text=$(ping -n -\${2} -c 1 -W 1 -M do -s "$3" "$4" 2>&1) || return 0
  case $text in *time=*) text=\${text#*time=}; echo "$1 $2 \${text%% *}";; esac
}
`;

function pairs(
  sources: readonly PingEnd[],
  targets: readonly PingEnd[] = sources,
): { from: PingEnd; to: PingEnd; family: Family }[] {
  return FAMILIES.flatMap((family) =>
    sources.flatMap((from) =>
      targets
        .filter((to) => to.name !== from.name && familiesOf(to.addresses).includes(family))
        .map((to) => ({ from, to, family }))
    )
  );
}

function pingKey(from: string, to: string, family: Family): string {
  return `${from} ${to} ${family}`;
}
