/** The connections that were loaded into one charon, and their tunnels as charon reports them. */

import { parseIpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { XfrmStateId } from "../../kernel/xfrm/xfrm_states.ts";
import { type CharonConnection, isOurConnection, secretPrefix } from "./charon_connection.ts";
import { isRefusal } from "./charon_error.ts";
import type { Vici } from "./vici.ts";
import type { ViciMessage } from "./vici_message.ts";
import type { CharonConnections } from "./wanted_connections.ts";

/** The state of one connection. */
export interface Tunnel {
  /** Security associations for packets are in the kernel. */
  readonly isUp: boolean;
  /** charon waits for the peer's response, and retries by itself. */
  readonly isTrying: boolean;
  /** One of its tunnels is being created, replaced or ended. */
  readonly isBusy: boolean;
  readonly associations: readonly IkeAssociation[];
}

/** One of a connection's IKE associations, with the tunnels that it has negotiated. */
export interface IkeAssociation {
  /** charon's number for it. */
  readonly uniqueId: string;
  /** Identifies it at both ends. */
  readonly initiatorSpi: string;
  /** This end has initiated it, and the peer has not responded yet. */
  readonly isUnanswered: boolean;
  /** Age of its youngest tunnel in the kernel; `undefined` without any. */
  readonly ageSeconds: number | undefined;
  /** Packets received through its tunnels; NaN if charon does not report it. */
  readonly packetsIn: number;
  /** Its tunnels; none while one of them is being created, replaced or ended. */
  readonly settledChildren: readonly SettledChild[];
}

/** A tunnel that is in the kernel according to charon, with no operation in progress. */
export interface SettledChild {
  /** charon's number for it. */
  readonly uniqueId: string;
  /** The security associations of its packets, in and out. */
  readonly states: readonly XfrmStateId[];
}

/** One connection to one charon; its state is only valid while the connection lasts. */
export class IkeSession {
  readonly #vici: Vici;
  readonly #network: Prefix;
  /** The connections that were loaded in this session. */
  readonly #loaded = new Map<string, CharonConnection>();
  readonly #refused = new Map<string, string>();
  /** Our connections that charon has, as far as is known. */
  #present: Set<string> | undefined;
  /** charon may have keys that no connection needs. */
  #mayHaveStaleSecrets = true;
  /** Upper bound of the size of a list of all connections that charon has. */
  #listBytes = Infinity;

  constructor(vici: Vici, network: Prefix) {
    this.#vici = vici;
    this.#network = network;
  }

  /** The connections that charon refuses, with the reason. */
  get refused(): ReadonlyMap<string, string> {
    return this.#refused;
  }

  /** Whether charon has so many connections that listing them is expensive. */
  get isLarge(): boolean {
    return this.#listBytes > RESPONSE_BYTES;
  }

  /**
   * Loads the wanted connections into charon. Other connections of flanneld are unloaded if this
   * session has loaded them, or if `maySweep`. Connections of other programs are not touched.
   * charon's actual connections, which other programs may have changed, are only read if
   * `isThorough`, and its keys also after a connection was unloaded. Throws `CharonError` if
   * charon does not respond.
   */
  async sync(
    wanted: CharonConnections,
    { maySweep, isThorough }: { readonly maySweep: boolean; readonly isThorough: boolean },
  ): Promise<void> {
    if (isThorough || this.#present === undefined) this.#present = await this.#presentConnections();
    const present = this.#present;
    for (const name of present) {
      if (wanted.has(name) || !(maySweep || this.#loaded.has(name))) continue;
      await this.#unload(name);
      present.delete(name);
    }
    for (const connection of wanted.values()) {
      const isLoaded = present.has(connection.name) &&
        this.#loaded.get(connection.name) === connection;
      if (!isLoaded && await this.#load(connection)) present.add(connection.name);
    }
    for (const name of this.#refused.keys()) if (!wanted.has(name)) this.#refused.delete(name);
    if (maySweep && (isThorough || this.#mayHaveStaleSecrets)) await this.#dropSecrets(wanted);
  }

  /**
   * The state of our connections, or of the named ones; those without any association are
   * missing. So are those that charon is busy with: a connection that is missing once need not be
   * down.
   */
  async tunnels(names?: Iterable<string>): Promise<Map<string, Tunnel>> {
    const associations = new Map<string, ViciMessage[]>();
    const filters = names === undefined ? [{}] : [...names].map((ike) => ({ ike }));
    for (const filter of filters) {
      const request = { noblock: "yes", ...filter };
      for (const message of await this.#vici.list("list-sas", "list-sa", request)) {
        for (const [name, association] of this.#ourSections(message)) {
          associations.set(name, [...associations.get(name) ?? [], association]);
        }
      }
    }
    return new Map([...associations].map(([name, all]) => [name, tunnelOf(all)]));
  }

  /** Starts to create a tunnel, without waiting for it. */
  async initiate({ name, childName }: CharonConnection): Promise<void> {
    await this.#tolerant("initiate", { ike: name, child: childName, timeout: NO_WAIT });
  }

  /** Ends the tunnels of a connection, in the kernel and, by a message, at the peer. */
  async terminate(name: string): Promise<void> {
    await this.#tolerant("terminate", { ike: name, force: "yes", timeout: NO_WAIT });
  }

  /** Ends one IKE association, by its number. */
  async terminateAssociation(uniqueId: string): Promise<void> {
    await this.#tolerant("terminate", { "ike-id": uniqueId, force: "yes", timeout: NO_WAIT });
  }

  /**
   * Starts to create a tunnel that will replace the one with this number. If that one carries
   * packets, it continues to until then.
   */
  async rekey(childId: string): Promise<void> {
    await this.#tolerant("rekey", { "child-id": childId });
  }

  /** Calls back with the name of a connection when a tunnel of it has come up or gone down. */
  async onTunnelChange(listener: (name: string) => void): Promise<void> {
    await this.#vici.subscribe("child-updown", (message) => {
      for (const [name] of this.#ourSections(message)) listener(name);
    });
  }

  #ourSections(message: ViciMessage): [string, ViciMessage][] {
    return sectionsOf(message).filter(([name]) => isOurConnection(name, this.#network));
  }

  async #presentConnections(): Promise<Set<string>> {
    const names = this.isLarge
      ? (await this.#vici.list("list-conns", "list-conn")).flatMap(Object.keys)
      : listOf((await this.#vici.request("get-conns"))["conns"]);
    this.#listBytes = names.reduce((sum, name) => sum + listedBytes(name), 0);
    return new Set(names.filter((name) => isOurConnection(name, this.#network)));
  }

  /** Returns whether charon has accepted it. */
  async #load(connection: CharonConnection): Promise<boolean> {
    const { name, secret, definition } = connection;
    try {
      await this.#vici.command("load-shared", secret);
      await this.#vici.command("load-conn", definition);
      this.#listBytes += listedBytes(name);
      this.#loaded.set(name, connection);
      this.#refused.delete(name);
      return true;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#refused.set(name, error.message);
      return false;
    }
  }

  async #unload(name: string): Promise<void> {
    await this.#tolerant("unload-conn", { name });
    await this.terminate(name);
    this.#loaded.delete(name);
    this.#mayHaveStaleSecrets = true;
  }

  async #dropSecrets(wanted: CharonConnections): Promise<void> {
    this.#mayHaveStaleSecrets = false;
    if (wanted.size > LISTED_SECRETS) return;
    const needed = new Set([...wanted.values()].map(({ secretId }) => secretId));
    const { keys } = await this.#vici.request("get-shared");
    for (const id of listOf(keys)) {
      if (!id.startsWith(secretPrefix(this.#network)) || needed.has(id)) continue;
      await this.#tolerant("unload-shared", { id });
    }
  }

  /** For a command that charon refuses if there is nothing to do. */
  async #tolerant(command: string, message: ViciMessage): Promise<void> {
    try {
      await this.#vici.command(command, message);
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  }
}

/**
 * The largest list in one response, about 7000 connections: charon drops a response of more than
 * 512 KiB silently, and other programs may add connections. A longer list is requested with one
 * event for each connection, which takes charon and flanneld ten times as long.
 */
const RESPONSE_BYTES = 384 * 1024;
/** For the names of our keys, which have up to 42 bytes. An unused key does no harm. */
const LISTED_SECRETS = 10_000;
/** As the time limit of a command: do not wait for the operation that it starts. */
const NO_WAIT = "-1";
/** The responder's SPI until it has responded (RFC 7296 3.1). */
const NO_SPI = "0".repeat(16);

/** From the IKE associations of one connection in `list-sas`. */
function tunnelOf(messages: readonly ViciMessage[]): Tunnel {
  const associations = messages.map(associationOf);
  return {
    isUp: associations.some(({ ageSeconds }) => ageSeconds !== undefined),
    isTrying: messages.some(({ state }) => state === "CREATED" || state === "CONNECTING"),
    isBusy: messages.flatMap(childrenOf).some(({ state }) => state !== "INSTALLED"),
    associations,
  };
}

function associationOf(message: ViciMessage): IkeAssociation {
  const children = childrenOf(message);
  const installed = children.filter(({ state }) => state === "INSTALLED");
  const ages = installed.map((child) => Number(textOf(child["install-time"])));
  return {
    uniqueId: textOf(message["uniqueid"]),
    initiatorSpi: textOf(message["initiator-spi"]),
    isUnanswered: message["initiator"] === "yes" && message["responder-spi"] === NO_SPI,
    ageSeconds: ages.length === 0 ? undefined : Math.min(...ages),
    packetsIn: children.reduce((sum, child) => sum + Number(textOf(child["packets-in"])), 0),
    settledChildren: installed.length < children.length
      ? []
      : children.map((child) => settledChild(child, message)),
  };
}

/** The tunnels of an IKE association. */
function childrenOf(association: ViciMessage): ViciMessage[] {
  return sectionsOf(association["child-sas"]).map(([, child]) => child);
}

function settledChild(child: ViciMessage, association: ViciMessage): SettledChild {
  const states = [
    stateId(association["local-host"], child["spi-in"]),
    stateId(association["remote-host"], child["spi-out"]),
  ];
  return {
    uniqueId: textOf(child["uniqueid"]),
    states: states.filter((state) => state !== undefined),
  };
}

/** `undefined` if charon does not report it. */
function stateId(
  host: ViciMessage[string] | undefined,
  spi: ViciMessage[string] | undefined,
): XfrmStateId | undefined {
  const destination = parseIpAddress(textOf(host));
  const isSpi = typeof spi === "string" && /^[0-9a-f]{8}$/.test(spi);
  return destination && isSpi ? { destination, spi: Number.parseInt(spi, 16) } : undefined;
}

/** The size of a name in a list of VICI: LIST_ITEM, the length, and its bytes. */
function listedBytes(name: string): number {
  return 3 + Buffer.byteLength(name);
}

/** The text of a value; `undefined` as text for a list or a section. */
function textOf(item: ViciMessage[string] | undefined): string {
  return typeof item === "string" ? item : "undefined";
}

function listOf(item: ViciMessage[string] | undefined): readonly string[] {
  return Array.isArray(item) ? item as readonly string[] : [];
}

function sectionsOf(item: ViciMessage[string] | undefined): [string, ViciMessage][] {
  if (typeof item !== "object" || Array.isArray(item)) return [];
  return Object.entries(item as ViciMessage).filter(
    (entry): entry is [string, ViciMessage] =>
      typeof entry[1] === "object" && !Array.isArray(entry[1]),
  );
}
