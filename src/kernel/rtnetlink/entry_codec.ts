/** What a codec is: how the entries of some kinds are written to and read from rtnetlink. */

import type { Libnl } from "../../../ffi/libnl.ts";
import type { Family } from "../../addr/ip.ts";
import type { Address, FdbEntry, Neighbour, Route } from "../../state/resource.ts";
import type { EntryOperation } from "../table/entry_operation.ts";
import type { LibnlBatch } from "../wire/libnl_batch.ts";
import type { MessageBatch } from "../wire/message_batch.ts";
import type { MessageReader } from "../wire/message_reader.ts";

/** Entries on devices, and blackhole routes. For devices themselves, see `LinkCodec`. */
export type RtnetlinkEntry = Address | Neighbour | FdbEntry | Route;
export type RtnetlinkKind = RtnetlinkEntry["kind"];

/** Names of devices by interface index. */
export type LinkNames = ReadonlyMap<number, string>;

export interface EntryCodec<Entry extends RtnetlinkEntry = RtnetlinkEntry> {
  readonly kinds: readonly Entry["kind"][];
  /** RTM_NEW*. */
  readonly newType: number;
  /** RTM_DEL*. */
  readonly deleteType: number;
  /** RTNLGRP_*: the multicast groups that announce changes. */
  readonly groups: readonly number[];
  /** Errno names with which the kernel refuses to delete an entry that does not exist. */
  readonly absentErrnos: ReadonlySet<string>;
  /** Families that must be dumped one by one; 0 stands for all at once. */
  readonly dumpFamilies: readonly (Family | 0)[];
  /** Whether a dump can be limited to one device. */
  readonly isDumpedByDevice: boolean;

  /** `undefined` for a malformed message, and for an entry that this program does not deal with. */
  decode(message: MessageReader, names: LinkNames): Entry | undefined;
  /** Whether an entry of a message of `newType` counts as absent, such as a dynamic neighbour. */
  isIgnored(message: MessageReader): boolean;
  /** The index of the device that the entry is on; 0 if there is none. */
  ifindexOf(message: MessageReader): number;
  /** Appends a request for the whole table; `ifindex` 0 stands for all devices. */
  dump(batch: MessageBatch, request: DumpRequest<Entry["kind"]>): void;
  encoder(batch: RtnetlinkBatch): EntryEncoder<Entry>;
}

export interface DumpRequest<Kind extends RtnetlinkKind = RtnetlinkKind> {
  readonly kind: Kind;
  readonly family: Family | 0;
  readonly ifindex: number;
}

/** A batch, and libnl to build its messages with. */
export type RtnetlinkBatch = LibnlBatch<Libnl>;

/**
 * Appends messages to one batch. Entries that differ only in their addresses share libnl objects:
 * each message puts other bytes into the same addresses.
 */
export interface EntryEncoder<Entry extends RtnetlinkEntry = RtnetlinkEntry> extends Disposable {
  /** Appends the message for one entry on the device `ifindex` (0 for a blackhole). */
  append(operation: EntryOperation, entry: Entry, ifindex: number): void;
}
