/** How often each thread of a process wakes up, and what that costs. */

import { readdirSync, readFileSync } from "node:fs";

export interface ThreadActivity {
  readonly program: string;
  /** As the program named it; several threads may have one name. */
  readonly name: string;
  readonly wakeUps: number;
  readonly cpuMs: number;
}

/**
 * Starts to count. A thread that sleeps until something happens gives up the processor once for
 * each wake-up: a voluntary context switch (proc_pid_status(5)). A thread that ended in the
 * meantime is not counted.
 */
export function threadActivity(pid: number): { since(): Omit<ThreadActivity, "program">[] } {
  const before = readThreads(pid);
  return {
    since: () =>
      [...readThreads(pid)].map(([thread, { name, wakeUps, cpuMs }]) => ({
        name,
        wakeUps: wakeUps - (before.get(thread)?.wakeUps ?? 0),
        cpuMs: cpuMs - (before.get(thread)?.cpuMs ?? 0),
      })),
  };
}

/** One line for all threads of a program that have one name, those that wake most often first. */
export function threadTable(threads: readonly ThreadActivity[], seconds: number): string {
  const groups = Map.groupBy(
    threads.filter(({ wakeUps }) => wakeUps > 0),
    ({ program, name }) => `${program} | ${name}`,
  );
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const lines = [...groups].map(([title, group]) => ({
    title,
    program: group[0]?.program ?? "",
    wakeUps: sum(group.map(({ wakeUps }) => wakeUps)) * 60 / seconds,
    cpuMs: sum(group.map(({ cpuMs }) => cpuMs)) * 60 / seconds,
  })).toSorted((a, b) => a.program.localeCompare(b.program) || b.wakeUps - a.wakeUps);
  return [
    "Wake-ups of each thread:",
    "",
    "| program | thread | wake-ups per minute | CPU ms per minute |",
    "|---|---|---|---|",
    ...lines.map(({ title, wakeUps, cpuMs }) =>
      `| ${title} | ${Math.round(wakeUps)} | ${cpuMs.toFixed(1)} |`
    ),
  ].join("\n");
}

function readThreads(pid: number): Map<string, Omit<ThreadActivity, "program">> {
  const threads = new Map<string, Omit<ThreadActivity, "program">>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const directory = `/proc/${pid}/task/${thread}`;
    try {
      const status = readFileSync(`${directory}/status`, "utf8");
      const [cpuNs] = readFileSync(`${directory}/schedstat`, "utf8").split(" ");
      threads.set(thread, {
        name: /^Name:\t(.*)$/m.exec(status)?.[1] ?? "",
        wakeUps: Number(/^voluntary_ctxt_switches:\t(\d+)$/m.exec(status)?.[1]),
        cpuMs: Number(cpuNs) / 1e6,
      });
    } catch {
      // It has just ended.
    }
  }
  return threads;
}
