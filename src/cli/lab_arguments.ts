/** `flanneld lab`: what it is, and how it is read. Pure. */

import { resolve } from "node:path";
import type { Family } from "../addr/ip.ts";
import type { SocketRelay } from "../lab/kube/socket_relay.ts";
import type { LabKubeOptions, LabOptions } from "../lab/lab_options.ts";
import { argument, optionalArgument } from "./argument.ts";
import { type Command, command, type GivenArguments } from "./command.ts";
import type { OptionsOf } from "./flag.ts";
import { ArgumentError } from "./flag_reader.ts";
import { LAB_FLAGS } from "./lab_flags.ts";
import { LAB_MANUAL } from "./lab_manual.ts";

export type LabAction =
  | { readonly kind: "down"; readonly name?: string }
  /** For the lab itself, which runs it in a namespace. */
  | { readonly kind: "relay"; readonly relay: SocketRelay }
  | LabRun;

/** A lab, without the command that starts this program. */
export interface LabRun extends Pick<LabOptions, "hosts" | "backend" | "families" | "keep"> {
  readonly kind: "run";
  /** The program to run as the daemon; empty for this one. */
  readonly daemon: string;
  /** Whether the store is a real etcd. */
  readonly etcd: boolean;
  readonly kube?: Omit<LabKubeOptions, "flanneld">;
  readonly json: boolean;
}

const DOWN: Command<LabAction> = command({
  name: "down",
  summary: "Remove the labs that were killed or started with --keep.",
  arguments: {
    name: optionalArgument({ metavar: "NAME", help: "Remove only the lab of this name." }),
  },
  read: (_options, { name }) => ({ kind: "down", ...(name !== undefined && { name }) }),
});

const RELAY: Command<LabAction> = command({
  name: "relay",
  summary: "Connect a Unix socket to a server in this network namespace.",
  isHidden: true,
  arguments: {
    socket: argument({ metavar: "SOCKET", help: "The path of the socket to listen on." }),
    host: argument({ metavar: "ADDRESS", help: "The address of the server." }),
    port: argument({ metavar: "PORT", help: "The port of the server." }),
  },
  read: (_options, { socket, host, port }) => ({
    kind: "relay",
    relay: { socket, host, port: Number(port) },
  }),
});

export const LAB: Command<LabAction> = command({
  name: "lab",
  summary:
    "Build a cluster on this machine, test the connections between its hosts, and remove it.",
  description: [
    "Builds hosts on this machine (network namespaces), runs this program in them, and pings " +
    "every workload from every other at full MTU. Removes everything afterwards. Needs root.",
  ],
  flags: LAB_FLAGS,
  commands: [DOWN, RELAY],
  manual: LAB_MANUAL,
  read: (options, _values, { flags }) => readRun(options, flags),
});

function readRun(
  flags: OptionsOf<typeof LAB_FLAGS>,
  given: GivenArguments["flags"],
): LabRun {
  const { hosts, backend, ipv6, ipv6Only, keep, daemon, etcd, json } = flags;
  const families: Family[] = ipv6Only ? [6] : ipv6 ? [4, 6] : [4];
  if (families.includes(6) && !backend.families.includes(6)) {
    throw new ArgumentError(
      `--backend ${backend.type} supports IPv4 only; omit --ipv6 and --ipv6-only`,
    );
  }
  const unused = given.find(({ name }) => KUBE_FLAGS.includes(name));
  if (unused !== undefined && !flags.kube) throw new ArgumentError(`--${unused.name} needs --kube`);
  const kube = flags.kube ? { kube: kubeOptions(flags) } : {};
  return { kind: "run", hosts, backend, families, keep, daemon, etcd, json, ...kube };
}

const KUBE_FLAGS: readonly string[] = [
  LAB_FLAGS.kubeApiServer.name,
  LAB_FLAGS.cniDirectories.name,
];

/** The programs run in other working directories. */
function kubeOptions(
  { kubeApiServer, cniDirectories }: OptionsOf<typeof LAB_FLAGS>,
): Omit<LabKubeOptions, "flanneld"> {
  return {
    apiServer: kubeApiServer.includes("/") ? resolve(kubeApiServer) : kubeApiServer,
    cniDirectories: cniDirectories.map((directory) => resolve(directory)),
  };
}
