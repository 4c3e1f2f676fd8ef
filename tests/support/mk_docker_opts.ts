/**
 * What deploy/docker/mk-docker-opts.sh has in common with Go flannel's script of this name: the
 * interop test runs these cases with both.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../../src/process/run_program.ts";

export const MK_DOCKER_OPTS =
  new URL("../../deploy/docker/mk-docker-opts.sh", import.meta.url).pathname;

export interface DockerOptsInput {
  /** After `-f` and `-d`. */
  readonly args?: readonly string[];
  /** The subnet file; undefined: there is none. */
  readonly subnetFile?: string | undefined;
  readonly env?: Readonly<Record<string, string>>;
}

export interface DockerOptsCase extends DockerOptsInput {
  readonly name: string;
  /** The file that is written. */
  readonly expected: string;
}

export interface DockerOptsRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The file that was written, if any. */
  readonly written: string | undefined;
}

/** Runs a script of this name by a shell, such as `dash`, in a directory of its own. */
export async function runMkDockerOpts(
  { shell, script }: { readonly shell: string; readonly script: string },
  { args = [], subnetFile, env = {} }: DockerOptsInput,
): Promise<DockerOptsRun> {
  const directory = mkdtempSync(join(tmpdir(), "docker opts "));
  try {
    if (subnetFile !== undefined) writeFileSync(join(directory, "subnet.env"), subnetFile);
    const command = `cd "$1"; shift; exec ${shell} ${script} -f ./subnet.env -d docker.env "$@"`;
    const result = await runProgram("sh", ["-c", command, "sh", directory, ...args], {
      env: { PATH: process.env["PATH"], ...env },
    });
    const path = join(directory, "docker.env");
    return { ...result, written: existsSync(path) ? readFileSync(path, "utf8") : undefined };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export const SUBNET_FILE = `FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.72.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;

const BIP = 'DOCKER_OPT_BIP="--bip=10.5.72.1/24"\n';
const MTU = 'DOCKER_OPT_MTU="--mtu=1450"\n';
const OFF = 'DOCKER_OPT_IPMASQ="--ip-masq=false"\n';
const ON = 'DOCKER_OPT_IPMASQ="--ip-masq=true"\n';
const ALL = " --bip=10.5.72.1/24 --ip-masq=false --mtu=1450";
const BOTH = `${BIP}${OFF}${MTU}DOCKER_OPTS="${ALL}"\n`;

/** In each of these, Go flannel's script succeeds. */
export const DOCKER_OPTS_CASES: readonly DockerOptsCase[] = [
  { name: "no option", subnetFile: SUBNET_FILE, expected: BOTH },
  { name: "-i", args: ["-i"], subnetFile: SUBNET_FILE, expected: BIP + OFF + MTU },
  { name: "-c", args: ["-c"], subnetFile: SUBNET_FILE, expected: `DOCKER_OPTS="${ALL}"\n` },
  { name: "-i -c", args: ["-i", "-c"], subnetFile: SUBNET_FILE, expected: BOTH },
  {
    name: "-m",
    args: ["-m"],
    subnetFile: SUBNET_FILE,
    expected: `${BIP}${MTU}DOCKER_OPTS=" --bip=10.5.72.1/24 --mtu=1450"\n`,
  },
  {
    name: "-k",
    args: ["-k", "DOCKER_NETWORK_OPTIONS"],
    subnetFile: SUBNET_FILE,
    expected: `${BIP}${OFF}${MTU}DOCKER_NETWORK_OPTIONS="${ALL}"\n`,
  },
  {
    name: "letters in one argument",
    args: ["-cmkKEY"],
    subnetFile: SUBNET_FILE,
    expected: 'KEY=" --bip=10.5.72.1/24 --mtu=1450"\n',
  },
  {
    name: "an empty argument",
    args: ["-i", ""],
    subnetFile: SUBNET_FILE,
    expected: BIP + OFF + MTU,
  },
  {
    name: "a network that Docker masquerades",
    args: ["-i"],
    subnetFile: SUBNET_FILE.replace("true", "false"),
    expected: BIP + ON + MTU,
  },
  {
    name: "an invalid FLANNEL_IPMASQ that -m ignores",
    args: ["-im"],
    subnetFile: SUBNET_FILE.replace("true", "yes"),
    expected: BIP + MTU,
  },
  {
    name: "quotes, comments, export, blank lines, other variables, no newline at the end",
    args: ["-i"],
    subnetFile:
      "# flannel\n\nexport FLANNEL_SUBNET='10.5.72.1/24'\n  FLANNEL_MTU=\"1450\" # bytes\n" +
      "OTHER='a b'\nFLANNEL_IPMASQ=true \nFLANNEL_IPV6_SUBNET=fd00:5:0:48::1/64",
    expected: BIP + OFF + MTU,
  },
  {
    name: "a variable twice",
    args: ["-i"],
    subnetFile: `FLANNEL_MTU=1400\n${SUBNET_FILE}`,
    expected: BIP + OFF + MTU,
  },
  {
    name: "neither MTU nor IPMASQ",
    subnetFile: "FLANNEL_SUBNET=10.5.72.1/24\n",
    expected: `${BIP}DOCKER_OPTS=" --bip=10.5.72.1/24"\n`,
  },
  {
    name: "a network with IPv6 only",
    subnetFile: "FLANNEL_IPV6_SUBNET=fd00:5:0:48::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    expected: `${OFF}${MTU}DOCKER_OPTS=" --ip-masq=false --mtu=1450"\n`,
  },
  {
    name: "the combined options of the environment, which come first",
    args: ["-c"],
    subnetFile: SUBNET_FILE,
    env: { DOCKER_OPTS: "--debug  --label=a" },
    expected: `DOCKER_OPTS="--debug  --label=a ${ALL}"\n`,
  },
  {
    name: "more options of the environment, in the order of their names",
    subnetFile: SUBNET_FILE,
    env: { DOCKER_OPT_Z: "--debug", DOCKER_OPT_A: "--ipv6", DOCKER_OPT_MTU: "--mtu=9000" },
    expected: `DOCKER_OPT_A="--ipv6"\n${BIP}${OFF}${MTU}DOCKER_OPT_Z="--debug"\n` +
      `DOCKER_OPTS=" --ipv6${ALL} --debug"\n`,
  },
  {
    name: "more options of the file",
    args: ["-i"],
    subnetFile: `${SUBNET_FILE}DOCKER_OPT_A=--ipv6\n`,
    expected: `DOCKER_OPT_A="--ipv6"\n${BIP}${OFF}${MTU}`,
  },
  {
    name: "no file, but its variables in the environment",
    args: ["-i"],
    env: { FLANNEL_SUBNET: "10.5.72.1/24", FLANNEL_MTU: "1450", FLANNEL_IPMASQ: "true" },
    expected: BIP + OFF + MTU,
  },
];
