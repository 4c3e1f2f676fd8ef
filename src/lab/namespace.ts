/** Runs commands in network namespaces (ip-netns(8)), with as few program starts as possible. */

import { runProgram } from "../process/run_program.ts";
import { programEnvironment } from "../process/program_lookup.ts";
import { type DetachedProcess, startDetached } from "../process/detached_process.ts";

/** Creating the largest topology takes seconds. */
const TIMEOUT_MS = 60_000;

/**
 * Set in the environment of every program of a topology and inherited by its children; the value is
 * the prefix of the topology's names. It identifies the processes of a killed owner, even before
 * they enter one of the namespaces.
 */
export const TOPOLOGY_VARIABLE = "FLANNEL_LAB";

/** The variable for a program in a namespace named `<prefix of the topology>-<word>`. */
export function topologyMark(namespace: string): Record<string, string> {
  return { [TOPOLOGY_VARIABLE]: namespace.slice(0, Math.max(0, namespace.lastIndexOf("-"))) };
}

export interface BatchOptions {
  /** A namespace of the topology, for the mark. */
  readonly markedAs?: string;
  readonly signal?: AbortSignal | undefined;
}

/** Runs lines of `ip` commands in the caller's namespace, in order; throws at the first failure. */
export async function ipBatch(
  lines: readonly string[],
  { markedAs = "", signal }: BatchOptions = {},
): Promise<void> {
  if (lines.length === 0) return;
  const result = await runProgram("ip", ["-batch", "-"], {
    stdin: lines.join("\n") + "\n",
    env: { ...programEnvironment(), ...topologyMark(markedAs) },
    timeoutMs: TIMEOUT_MS,
    ...(signal === undefined ? {} : { signal }),
  });
  if (result.exitCode !== 0) {
    throw new Error(`cannot set up network namespaces: ${result.stderr.trim()}`);
  }
}

/**
 * Runs a shell script (sh -e) in a namespace and returns its standard output. Throws with its
 * standard error when it fails.
 */
export async function namespaceScript(
  namespace: string,
  script: string,
  signal?: AbortSignal,
): Promise<string> {
  const result = await runProgram("ip", ["netns", "exec", namespace, "sh", "-es"], {
    stdin: script,
    env: { ...programEnvironment(), ...topologyMark(namespace) },
    timeoutMs: TIMEOUT_MS,
    ...(signal === undefined ? {} : { signal }),
  });
  if (result.exitCode !== 0) {
    throw new Error(`a script in ${namespace} failed: ${result.stderr.trim()}`);
  }
  return result.stdout;
}

export interface NamespaceProgram {
  readonly command: readonly string[];
  /** Mounted over /run, where daemons keep their locks and sockets. */
  readonly runDirectory: string;
  readonly logFile: string;
  /** In addition to PATH and the mark; nothing else is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
}

/**
 * Starts a long-running program in a namespace. The process is the program itself: `ip` and `sh`
 * replace themselves with it (exec).
 */
export function spawnInNamespace(namespace: string, program: NamespaceProgram): DetachedProcess {
  const inside = 'mount --bind "$0" /run && exec "$@"';
  const { command, runDirectory, logFile, env = {}, workingDirectory } = program;
  return startDetached(
    "ip",
    ["netns", "exec", namespace, "sh", "-c", inside, runDirectory, ...command],
    {
      logFile,
      env: { PATH: process.env["PATH"] ?? "", ...topologyMark(namespace), ...env },
      ...(workingDirectory === undefined ? {} : { workingDirectory }),
    },
  );
}
