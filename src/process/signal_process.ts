/** Signals to processes and process groups. */

/**
 * Sends a signal to a process, or to the group `-pid`. Returns whether it exists. Throws the
 * system's error without permission.
 */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as { code?: string }).code !== "ESRCH") throw error;
    return false;
  }
}
