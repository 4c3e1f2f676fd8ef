/**
 * Generic netlink (Documentation/networking/generic_netlink.rst): kernel subsystems that share one
 * netlink protocol. Each is a family with a name; the kernel assigns its number.
 */

import { errnoName } from "../../../ffi/errno.ts";
import { type LibnlGeneric, libnlGeneric } from "../../../ffi/libnl.ts";
import * as k from "../../../ffi/linux.ts";
import { readUint32 } from "../../../ffi/memory.ts";
import { AttributeWriter } from "./attribute_writer.ts";
import { KernelError } from "./kernel_error.ts";
import { allocated } from "./message_batch.ts";
import { Attributes, type MessageReader } from "./message_reader.ts";
import { type NetlinkRefusal, NetlinkSocket, type Outgoing } from "./netlink_socket.ts";

/** Writes the attributes of a message. */
export type WriteAttributes = (attributes: AttributeWriter) => void;

/**
 * Reads one message of a dump, whose attributes begin at `attributesAt`. The message is valid until
 * it returns.
 */
export type ReadMessage = (message: MessageReader, attributesAt: number) => void;

/** A generic netlink family: its name, as the kernel spells it, and the version of its protocol. */
export interface FamilyName {
  readonly name: string;
  readonly version: number;
}

/**
 * Opens a family in this thread's network namespace; the kernel loads its module if needed.
 * `undefined` if the kernel has no such family. Throws `KernelError`, and `LibraryError` where
 * libnl-genl is missing.
 */
export function openFamily(family: FamilyName): GenericFamily | undefined {
  const socket = new NetlinkSocket(k.NETLINK_GENERIC);
  try {
    const id = familyId(socket, family.name);
    if (id !== undefined) return new GenericFamily(socket, family, id);
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
  socket[Symbol.dispose]();
  return undefined;
}

/** A family, and a socket for messages to it. */
export class GenericFamily implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #id: number;
  readonly #version: number;

  constructor(socket: NetlinkSocket, { version }: FamilyName, id: number) {
    this.#socket = socket;
    this.#version = version;
    this.#id = id;
  }

  /**
   * Sends one command and waits until it is performed; returns the refusal, if any. The message has
   * room for `maxBytes`, headers included; `write` throws `RangeError` if it needs more.
   */
  command(
    command: number,
    write: WriteAttributes,
    maxBytes: number = MESSAGE_BYTES,
  ): NetlinkRefusal | undefined {
    const sequence = this.#socket.reserve(1);
    const head = { ...this.#head(command, sequence), flags: k.NLM_F_REQUEST | k.NLM_F_ACK };
    return withMessage(
      head,
      write,
      maxBytes,
      (message) => this.#socket.exchange(message, sequence, 1).get(0),
    );
  }

  /**
   * Dumps a table. If the result is "interrupted", the table changed during the dump, and what was
   * read is useless. Throws `KernelError` if refused.
   */
  dump(command: number, write: WriteAttributes, read: ReadMessage): "complete" | "interrupted" {
    const sequence = this.#socket.reserve(1);
    const head = { ...this.#head(command, sequence), flags: k.NLM_F_REQUEST | k.NLM_F_DUMP };
    return withMessage(
      head,
      write,
      MESSAGE_BYTES,
      (request) =>
        this.#socket.dump(request, sequence, (message) => {
          const attributesAt = message.start + k.genlmsghdr.size;
          if (message.type === this.#id && attributesAt <= message.end) {
            read(message, attributesAt);
          }
        }),
    );
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #head(command: number, sequence: number): Omit<MessageHead, "flags"> {
    return { id: this.#id, version: this.#version, command, sequence };
  }
}

/** The fields of struct nlmsghdr and struct genlmsghdr. */
interface MessageHead {
  readonly id: number;
  readonly flags: number;
  readonly sequence: number;
  readonly command: number;
  readonly version: number;
}

/** Enough for a command with a few attributes. */
const MESSAGE_BYTES = 1024;
/** The version of the control family, which lists all families. */
const CONTROL_VERSION = 2;

const attributes = new Attributes();

function familyId(socket: NetlinkSocket, name: string): number | undefined {
  const sequence = socket.reserve(1);
  const head = {
    id: k.GENL_ID_CTRL,
    version: CONTROL_VERSION,
    command: k.CTRL_CMD_GETFAMILY,
    flags: k.NLM_F_REQUEST,
    sequence,
  };
  let id: number | undefined;
  const refusal = withMessage(
    head,
    (request) => request.text(k.CTRL_ATTR_FAMILY_NAME, name),
    MESSAGE_BYTES,
    (request) =>
      socket.get(request, sequence, (reply) => {
        id = attributes.read(reply, reply.start + k.genlmsghdr.size, reply.end)
          .u16(k.CTRL_ATTR_FAMILY_ID);
      }),
  );
  const code = refusal && errnoName(refusal.errno);
  if (code !== undefined && code !== "ENOENT") {
    throw new KernelError({
      operation: `look up the generic netlink family ${name}`,
      errno: code,
      extack: refusal?.extack,
    });
  }
  return id;
}

/** Builds a message, calls `use` with it, and frees it. */
function withMessage<T>(
  head: MessageHead,
  write: WriteAttributes,
  maxBytes: number,
  use: (message: Outgoing) => T,
): T {
  const nl: LibnlGeneric = libnlGeneric();
  const message = allocated(nl.nlmsg_alloc_size(maxBytes));
  try {
    const { sequence, id, flags, command, version } = head;
    nl.genlmsg_put(message, 0, sequence, id, 0, flags, command, version);
    write(new AttributeWriter(nl, message));
    const address = allocated(nl.nlmsg_hdr(message));
    return use({ address, length: readUint32(address) });
  } finally {
    nl.nlmsg_free(message);
  }
}
