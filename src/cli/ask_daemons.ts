/** Asks all daemons of this host, or the one with a subnet file. */

import { printableLine } from "../base/quoting.ts";
import { socketsIn, StatusCallError } from "../control/status_client.ts";
import { STATUS_DIRECTORY, statusSocketPath } from "../control/status_path.ts";

export const NO_DAEMON = 3;

export interface DaemonAnswers<T> {
  readonly answers: readonly T[];
  /** The reason for each daemon that runs but has not answered. */
  readonly failures: readonly string[];
}

/** An empty `subnetFile` stands for all daemons in /run/flannel. Throws `StatusCallError`. */
export async function askDaemons<T>(
  subnetFile: string,
  ask: (socket: string) => Promise<T>,
): Promise<DaemonAnswers<T>> {
  const sockets = subnetFile === "" ? socketsIn(STATUS_DIRECTORY) : [statusSocketPath(subnetFile)];
  const results = await Promise.allSettled(sockets.map(ask));
  const answers = results.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
  const failures = results.flatMap((one) => {
    if (one.status === "fulfilled") return [];
    if (!(one.reason instanceof StatusCallError)) throw one.reason;
    return one.reason.isAbsent ? [] : [one.reason.message];
  });
  return { answers, failures };
}

export function absenceText(subnetFile: string): string {
  const where = subnetFile === "" ? `in ${STATUS_DIRECTORY}` : `with --subnet-file=${subnetFile}`;
  return `no flanneld runs ${printableLine(where)}; start it, or name its --subnet-file`;
}
