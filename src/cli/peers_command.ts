/** `flanneld peers`: the other nodes, and the path of a packet to one of them. See docs/api.md. */

import { type IpAddress, parseIpAddress } from "../addr/ip.ts";
import { systemClock } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { packetPath, type PathStep } from "../control/packet_path.ts";
import type { PeerDocument } from "../control/peer_document.ts";
import { pathText, peersTable } from "../control/peers_table.ts";
import { readPeers } from "../control/status_client.ts";
import { NetlinkKernel } from "../kernel/netlink_kernel.ts";
import { absenceText, askDaemons, NO_DAEMON } from "./ask_daemons.ts";
import type { OptionsOf } from "./flag.ts";
import type { PEERS_FLAGS } from "./status_flags.ts";

export interface PeersOptions extends OptionsOf<typeof PEERS_FLAGS> {
  /** A subnet or an address; `undefined` for all peers. */
  readonly target: string | undefined;
}

export interface PeersOutput {
  out(text: string): Promise<void>;
  err(text: string): void;
}

/** A peer, and with an address the steps of a packet to it. */
interface ShownPeer extends PeerDocument {
  readonly steps?: readonly PathStep[];
}

const FAILURE = 1;

/** Runs the subcommand and returns the exit status. */
export async function peersCommand(options: PeersOptions, output: PeersOutput): Promise<number> {
  try {
    return await show(options, output);
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    output.err(`flanneld peers: ${printableLine(error.message)}\n`);
    return FAILURE;
  }
}

async function show(options: PeersOptions, output: PeersOutput): Promise<number> {
  const { json, subnetFile, target } = options;
  const query = target === undefined
    ? {}
    : target.includes("/")
    ? { subnet: target }
    : { address: target };
  const { answers, failures } = await askDaemons(
    subnetFile,
    (socket) => readPeers(socket, query),
  );
  for (const failure of failures) output.err(`flanneld peers: ${printableLine(failure)}\n`);
  if (answers.length === 0 && failures.length === 0) {
    output.err(`flanneld peers: ${absenceText(subnetFile)}\n`);
    return NO_DAEMON;
  }
  const address = target === undefined ? undefined : parseIpAddress(target);
  const peers = await withSteps(answers.flatMap((one) => one.peers), address);
  if (json) await output.out(`${JSON.stringify(peers, null, 2)}\n`);
  else await output.out(textOf(peers));
  if (target !== undefined && peers.length === 0) {
    output.err(`flanneld peers: no other node has ${printableLine(target)}\n`);
    return FAILURE;
  }
  const isRight = peers.every(({ steps = [] }) => steps.every(({ ok }) => ok));
  return isRight && failures.length === 0 ? 0 : FAILURE;
}

/** Throws `KernelError`. */
async function withSteps(
  peers: readonly PeerDocument[],
  address: IpAddress | undefined,
): Promise<readonly ShownPeer[]> {
  if (address === undefined || peers.length === 0) return peers;
  using kernel = new NetlinkKernel({ clock: systemClock });
  const shown: ShownPeer[] = [];
  for (const peer of peers) {
    shown.push({ ...peer, steps: await packetPath(address, peer, kernel) });
  }
  return shown;
}

function textOf(peers: readonly ShownPeer[]): string {
  const steps = peers.flatMap((peer) => peer.steps === undefined ? [] : [pathText(peer.steps)]);
  return [peersTable(peers), ...steps].join("\n");
}
