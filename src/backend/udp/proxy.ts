/**
 * The proxy of the udp backend, the data path on kernels without FOU: a thread moves packets
 * between the TUN device and a UDP socket. This is the daemon's side; `proxy_worker.ts` runs in the
 * thread.
 */

import { type Ipv4, ipv4Number } from "../../addr/ip.ts";
import { type Prefix, prefixAddress, prefixLength } from "../../addr/prefix.ts";
import { whenAborted } from "../../base/abort.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { Lease, LeaseKey } from "../../subnet/lease.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import { peerAddress } from "../../overlay/peer_lease.ts";
import type { BackendTarget } from "../../overlay/backend_target.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import type { Subnet } from "./next_hops.ts";
import type { HopChange, ProxySettings } from "./proxy_messages.ts";
import type { UdpProxyOptions } from "./proxy_options.ts";
import { ProxyThread } from "./proxy_thread.ts";
import { RestartDelay } from "./restart_delay.ts";
import { unsentText } from "./unsent.ts";

export class UdpProxy implements BackendTarget {
  readonly #options: UdpProxyOptions;
  readonly #restarts: RestartDelay;
  readonly #peers = new Map<LeaseKey, HopChange>();
  #settings: ProxySettings | undefined;
  #thread: ProxyThread | undefined;
  /** Not sent to the thread yet. */
  #changes: HopChange[] = [];
  /** All peers are known. */
  #isComplete = false;
  #problems: readonly string[] = ["the proxy has not started"];
  #isStopped = false;

  constructor(options: UdpProxyOptions) {
    this.#options = options;
    this.#restarts = new RestartDelay(options.clock);
  }

  async start(input: NodeInput, stop: AbortSignal): Promise<void> {
    this.#settings = this.#settingsOf(input);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#launch(resolve);
    await Promise.race([promise, whenAborted(stop)]);
  }

  externalChanged(input: NodeInput): void {
    this.#settings = this.#settingsOf(input);
    this.#thread?.send({ kind: "settings", settings: this.#settings });
  }

  put(peer: Lease): void {
    const subnet = peer.subnets[4];
    if (subnet === undefined) return;
    const hop = ipv4Number(peerAddress(peer, 4) as Ipv4);
    const change = { subnet: subnetOf(subnet), hop };
    this.#peers.set(peer.key, change);
    this.#change(change);
  }

  remove(peer: Lease): void {
    const known = this.#peers.get(peer.key);
    this.#peers.delete(peer.key);
    if (known !== undefined) this.#change({ subnet: known.subnet });
  }

  allowSweep(): void {
    this.#flush();
    this.#isComplete = true;
    this.#thread?.send({ kind: "complete" });
  }

  /** The thread handles every command that has been sent before the next packet. */
  whenSettled(): Promise<void> {
    this.#flush();
    return Promise.resolve();
  }

  problems(): readonly string[] {
    return this.#problems;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    this.#restarts[Symbol.dispose]();
    await this.#thread?.[Symbol.asyncDispose]();
  }

  /** Starts a thread and sends it the whole state. */
  #launch(onState: () => void): void {
    if (this.#settings === undefined) return;
    this.#restarts.started();
    this.#changes = [];
    this.#thread = new ProxyThread({
      settings: this.#settings,
      clock: this.#options.clock,
      onEvent: (event) => {
        if (event.kind === "unsent") {
          this.#options.log.warn(unsentText(event, this.#options.port));
          return;
        }
        this.#problemsChanged(event.problems);
        onState();
      },
      onEnd: (reason) => {
        onState();
        this.#threadEnded(reason);
      },
    });
    if (this.#peers.size > 0) {
      this.#thread.send({ kind: "hops", changes: [...this.#peers.values()] });
    }
    if (this.#isComplete) this.#thread.send({ kind: "complete" });
  }

  #problemsChanged(problems: readonly string[]): void {
    const { log, deviceName, port } = this.#options;
    for (const problem of problems) log.warn(problem);
    if (this.#problems.length > 0 && problems.length === 0) {
      log.info(`the proxy moves packets between ${deviceName} and UDP port ${port}`);
    }
    this.#problems = problems;
  }

  #threadEnded(reason: string): void {
    if (this.#isStopped) return;
    this.#problems = ["the proxy's thread has ended, restarting it"];
    this.#options.log.error(`the proxy's thread has ended, restarting it: ${reason}`);
    this.#restarts.schedule(() => this.#launchAgain());
  }

  #launchAgain(): void {
    try {
      this.#launch(() => {});
    } catch (error) {
      this.#threadEnded(errorMessage(error));
    }
  }

  /** Many peers change at once: the thread is woken once for all of them. */
  #change(change: HopChange): void {
    if (this.#changes.length === 0) queueMicrotask(() => this.#flush());
    this.#changes.push(change);
  }

  #flush(): void {
    if (this.#changes.length === 0) return;
    this.#thread?.send({ kind: "hops", changes: this.#changes });
    this.#changes = [];
  }

  #settingsOf({ own, external }: NodeInput): ProxySettings {
    const { deviceName, port, network } = this.#options;
    const subnet = own.subnets[4];
    if (subnet === undefined) throw new BackendError("this node has no IPv4 subnet");
    return {
      deviceName,
      port,
      network: subnetOf(network),
      localAddress: ipv4Number(external.sourceAddresses[4] as Ipv4),
      nodeAddress: subnetOf(subnet).address,
    };
  }
}

function subnetOf(prefix: Prefix): Subnet {
  return {
    address: ipv4Number(prefixAddress(prefix) as Ipv4),
    length: prefixLength(prefix),
  };
}
