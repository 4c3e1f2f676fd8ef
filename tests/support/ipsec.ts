/** The state of the kernel and of charon on one host with ipsec, read with `ip` and over VICI. */

import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { Vici } from "../../src/backend/ipsec/vici.ts";
import type { ViciMessage } from "../../src/backend/ipsec/vici_message.ts";
import type { Host } from "./host.ts";

export const PSK: string = "0123456789abcdef".repeat(6);

/** The Backend object of a network configuration. */
export function ipsecBackend(options: Record<string, unknown> = {}): Record<string, unknown> {
  return { Type: "ipsec", PSK, ...options };
}

/** The policies, in the notation of `resourceText`, sorted; without those of sockets. */
export async function policyText(host: Host): Promise<string> {
  const output = await host.sh("ip xfrm policy list");
  const policies = output.split(/^(?=src )/m).map((text) => text.trim().replace(/\s+/g, " "));
  return policies.filter((text) => text !== "" && !/ socket (in|out|fwd) /.test(text))
    .map((text) => `xfrm policy ${text.replace(" priority 0", "").replace(" ptype main", "")}\n`)
    .sort().join("");
}

/** The policies for peers 10.5.n.0/24 at 192.0.2.n, on the host `own`. */
export function expectedPolicies(peers: readonly number[], own = 1): string {
  return peers.flatMap((n) => {
    const policy = (from: number, to: number, direction: string) =>
      `xfrm policy src 10.5.${from}.0/24 dst 10.5.${to}.0/24 dir ${direction} ` +
      `tmpl src 192.0.2.${from} dst 192.0.2.${to} proto esp reqid 11 mode tunnel\n`;
    return [policy(own, n, "out"), policy(n, own, "in"), policy(n, own, "fwd")];
  }).sort().join("");
}

/** Process number of the host's charon. */
export async function charonPid(host: Host): Promise<number> {
  return Number(await Bun.file(join(host.directory, "run", "charon.pid")).text());
}

/** Connects to the host's charon: the one of its daemon, or else one that runs already. */
export async function withCharon<T>(host: Host, use: (vici: Vici) => Promise<T>): Promise<T> {
  const own = Vici.connect(join(host.directory, "charon.vici"), systemClock);
  const foreign = () => Vici.connect(join(host.directory, "run", "charon.vici"), systemClock);
  using vici = await own.catch(foreign);
  return await use(vici);
}

/** Names of charon's connections, sorted. */
export async function connections(host: Host): Promise<string[]> {
  const { conns } = await withCharon(host, (vici) => vici.request("get-conns"));
  return [...conns as string[]].sort();
}

/** Names of charon's pre-shared keys, sorted. */
export async function secrets(host: Host): Promise<string[]> {
  const { keys } = await withCharon(host, (vici) => vici.request("get-shared"));
  return [...keys as string[]].sort();
}

/** IKE associations, each under the name of its connection. */
export function associations(host: Host): Promise<ViciMessage[]> {
  return withCharon(host, (vici) => vici.list("list-sas", "list-sa"));
}

/** The name of the connection from one host to another. */
export function connectionName(from: number, to: number): string {
  return `192.0.2.${from}-10.5.${from}.0/24-10.5.${to}.0/24-192.0.2.${to}`;
}
