/** What a link codec is: how devices of one type are read and created. */

import type { Link } from "../../state/resource.ts";
import type { Attributes } from "../wire/message_reader.ts";
import type { RtnetlinkBatch } from "./entry_codec.ts";

/** Attributes that every device has. */
export type LinkBase = Pick<Link, "kind" | "name" | "mtuBytes" | "mac" | "up">;

export interface LinkCodec<L extends Link = Link> {
  /** IFLA_INFO_KIND. */
  readonly linkKind: string;
  /**
   * The device, given its IFLA_INFO_DATA; `undefined` if it has options that ours never have: it
   * counts as a device of another type.
   */
  decode(base: LinkBase, data: Attributes | undefined): L | undefined;
  /** Absent for devices that rtnetlink cannot create. */
  readonly creation?: LinkCreation<L>;
}

export interface LinkCreation<L extends Link = Link> {
  /** Name of the device that carries its packets, for types that name one. */
  underlayOf?(link: L): string;
  /** Appends the creation of the device; it may not exist yet (RTM_NEWLINK). */
  append(batch: RtnetlinkBatch, link: L, underlayIndex: number): void;
  /**
   * The cause of a refusal for which the kernel gives no reason or a vague one, and its cure.
   * `readLinks` reads all devices.
   */
  hint?(link: L, refusal: LinkRefusal, readLinks: () => readonly Link[]): string | undefined;
}

export interface LinkRefusal {
  /** As errno(3) spells it. */
  readonly errno: string;
  readonly extack: string | undefined;
}

/** The hint for a type of tunnel whose module could not be loaded. */
export function missingModule(linkKind: string): string {
  return `this kernel has no ${linkKind} tunnels; load the module: modprobe ${linkKind}`;
}
