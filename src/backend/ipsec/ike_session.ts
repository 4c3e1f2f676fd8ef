/** What one charon has been told of our tunnels, and what it says of them. */

import { parseIpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { XfrmStateId } from "../../kernel/xfrm/xfrm_states.ts";
import { type CharonConnection, isOurConnection, secretPrefix } from "./charon_connection.ts";
import { type Vici, ViciError } from "./vici.ts";
import type { ViciMessage } from "./vici_message.ts";

/** Connections by name. */
export type CharonConnections = ReadonlyMap<string, CharonConnection>;

/** What there is of one connection. */
export interface Tunnel {
  /** Security associations for packets are in the kernel. */
  readonly isUp: boolean;
  /** charon waits for the peer's answer, and goes on by itself. */
  readonly isTrying: boolean;
  /** One of its tunnels is being made, replaced or ended. */
  readonly isBusy: boolean;
  readonly associations: readonly IkeAssociation[];
}

/** One of a connection's IKE associations, with the tunnels that it made. */
export interface IkeAssociation {
  /** charon's number of it. */
  readonly uniqueId: string;
  /** By which both ends know it. */
  readonly initiatorSpi: string;
  /** This end has asked for it, and nobody has answered yet. */
  readonly isUnanswered: boolean;
  /** Since its youngest tunnel is in the kernel; `undefined` without any. */
  readonly ageSeconds: number | undefined;
  /** Received through its tunnels; not a number where charon does not say. */
  readonly packetsIn: number;
  /** Its tunnels; none while one of them is being made, replaced or ended. */
  readonly settledChildren: readonly SettledChild[];
}

/** A tunnel that is in the kernel, as charon believes, and that nothing is done about. */
export interface SettledChild {
  /** charon's number of it. */
  readonly uniqueId: string;
  /** What carries its packets, in and out. */
  readonly states: readonly XfrmStateId[];
}

/** One connection to one charon; what it tells is only believed as long as that lasts. */
export class IkeSession {
  readonly #vici: Vici;
  readonly #network: Prefix;
  /** What charon was told in this session. */
  readonly #told = new Map<string, CharonConnection>();
  readonly #refused = new Map<string, string>();
  /** Our connections that charon has, as far as is known. */
  #present: Set<string> | undefined;
  /** charon may have keys that no connection needs. */
  #mayHaveStaleSecrets = true;
  /** How long a list of charon's connections is, anybody's; at most, as far as is known. */
  #listBytes = Infinity;

  constructor(vici: Vici, network: Prefix) {
    this.#vici = vici;
    this.#network = network;
  }

  /** Connections that charon does not take, with its reason. */
  get refused(): ReadonlyMap<string, string> {
    return this.#refused;
  }

  /** Whether charon has so many connections that asking what it has is work. */
  get isLarge(): boolean {
    return this.#listBytes > ANSWER_BYTES;
  }

  /**
   * Makes charon's connections those that are wanted: others of ours are ended if they were made in
   * this session or `maySweep`. What others made is not touched. Only if `isThorough`, or for the keys
   * of connections that are gone, is charon asked what it has: it may have been told something else
   * by others. Throws `ViciError` when charon does
   * not answer any more.
   */
  async sync(
    wanted: CharonConnections,
    { maySweep, isThorough }: { readonly maySweep: boolean; readonly isThorough: boolean },
  ): Promise<void> {
    if (isThorough || this.#present === undefined) this.#present = await this.#presentConnections();
    const present = this.#present;
    for (const name of present) {
      if (wanted.has(name) || !(maySweep || this.#told.has(name))) continue;
      await this.#unload(name);
      present.delete(name);
    }
    for (const connection of wanted.values()) {
      const isKnown = present.has(connection.name) &&
        this.#told.get(connection.name) === connection;
      if (!isKnown && await this.#load(connection)) present.add(connection.name);
    }
    for (const name of this.#refused.keys()) if (!wanted.has(name)) this.#refused.delete(name);
    if (maySweep && (isThorough || this.#mayHaveStaleSecrets)) await this.#dropSecrets(wanted);
  }

  /**
   * What there is of each connection of ours, or of those named, if there is anything at all. One
   * that charon is busy with is left out, so that one missing once does not mean much.
   */
  async tunnels(names?: Iterable<string>): Promise<Map<string, Tunnel>> {
    const associations = new Map<string, ViciMessage[]>();
    const filters = names === undefined ? [{}] : [...names].map((ike) => ({ ike }));
    for (const filter of filters) {
      const question = { noblock: "yes", ...filter };
      for (const message of await this.#vici.list("list-sas", "list-sa", question)) {
        for (const [name, association] of this.#ourSections(message)) {
          associations.set(name, [...associations.get(name) ?? [], association]);
        }
      }
    }
    return new Map([...associations].map(([name, all]) => [name, tunnelOf(all)]));
  }

  /** Begins to make a tunnel; does not wait for it. */
  async initiate({ name, childName }: CharonConnection): Promise<void> {
    await this.#tolerant("initiate", { ike: name, child: childName, timeout: AT_ONCE });
  }

  /** Ends a connection that nobody wants, with what is in the kernel for it; tells the peer. */
  async terminate(name: string): Promise<void> {
    await this.#tolerant("terminate", { ike: name, force: "yes", timeout: AT_ONCE });
  }

  /** Ends one of a connection's IKE associations, by its number. */
  async terminateAssociation(uniqueId: string): Promise<void> {
    await this.#tolerant("terminate", { "ike-id": uniqueId, force: "yes", timeout: AT_ONCE });
  }

  /**
   * Begins to make a tunnel anew beside the one of this number, in whose place it then comes. One
   * that carries packets goes on until then.
   */
  async rekey(childId: string): Promise<void> {
    await this.#tolerant("rekey", { "child-id": childId });
  }

  /** Calls back with a connection's name when a tunnel of it has come or gone. */
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

  /** Gives whether charon has taken it. */
  async #load(connection: CharonConnection): Promise<boolean> {
    const { name, secret, definition } = connection;
    try {
      await this.#vici.command("load-shared", secret);
      await this.#vici.command("load-conn", definition);
      this.#listBytes += listedBytes(name);
      this.#told.set(name, connection);
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
    this.#told.delete(name);
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

  /** A command that charon refuses when there is nothing to do any more. */
  async #tolerant(command: string, message: ViciMessage): Promise<void> {
    try {
      await this.#vici.command(command, message);
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  }
}

/**
 * How long a list in one answer may be, some 7000 connections: charon drops one of more than 512 KiB
 * without a word, and others may add to it. Where it is longer, each connection is asked for with
 * all it has, which takes charon and us ten times as long.
 */
const ANSWER_BYTES = 384 * 1024;
/** For the names of our keys, which have up to 42 bytes; a key too many does no harm. */
const LISTED_SECRETS = 10_000;
/** As the time limit of a command: do not wait for what it begins. */
const AT_ONCE = "-1";
/** The responder's, until it has answered (RFC 7296 3.1). */
const NO_SPI = "0".repeat(16);

/** From the IKE associations of one connection, as `list-sas` gives them. */
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

/** `undefined` where charon does not say it. */
function stateId(
  host: ViciMessage[string] | undefined,
  spi: ViciMessage[string] | undefined,
): XfrmStateId | undefined {
  const destination = parseIpAddress(textOf(host));
  const isSpi = typeof spi === "string" && /^[0-9a-f]{8}$/.test(spi);
  return destination && isSpi ? { destination, spi: Number.parseInt(spi, 16) } : undefined;
}

/** What a list of VICI needs for a name: LIST_ITEM, the length, and its bytes. */
function listedBytes(name: string): number {
  return 3 + Buffer.byteLength(name);
}

function isRefusal(error: unknown): error is ViciError {
  return error instanceof ViciError && error.isRefusal;
}

/** The text of an item; a list or a section has none. */
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
