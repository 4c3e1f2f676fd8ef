/**
 * Messages of VICI, strongSwan's Versatile IKE Control Interface, to and from bytes: a tree of
 * sections, values and lists.
 *
 * "Message format" in strongSwan's src/libcharon/plugins/vici/README.md. Text is UTF-8, numbers are
 * decimal text, booleans are `yes` and `no`.
 */

/** A value, a list of values, or a section. */
export type ViciItem = string | readonly string[] | ViciMessage;

/** A section's items by name; the message is the outermost section. */
export interface ViciMessage {
  readonly [name: string]: ViciItem;
}

/** Bytes that are not a message, or a message that does not fit the format. */
export class ViciFormatError extends Error {
  override readonly name = "ViciFormatError";
}

/** Throws `ViciFormatError` for a name or a value that is too long for its length field. */
export function encodeMessage(message: ViciMessage): Uint8Array {
  const parts: Uint8Array[] = [];
  encodeSection(message, parts);
  return Buffer.concat(parts);
}

/**
 * Reads a whole message; of two items with one name, the last one counts. Throws `ViciFormatError`
 * for truncated bytes, unknown or unclosed elements, and too many nested sections.
 */
export function decodeMessage(bytes: Uint8Array): ViciMessage {
  const root = newSection();
  /** The open sections, innermost last. */
  const open = [root];
  let list: string[] | undefined;
  const reader = new ElementReader(bytes);
  while (!reader.atEnd) {
    const at = reader.offset;
    const type = reader.u8();
    const section = open.at(-1) as Record<string, ViciItem>;
    if (list !== undefined && type !== LIST_ITEM && type !== LIST_END) {
      throw new ViciFormatError(`element ${type} at byte ${at} inside a list`);
    }
    switch (type) {
      case SECTION_START:
        if (open.length > MAX_DEPTH) {
          throw new ViciFormatError(`more than ${MAX_DEPTH} nested sections`);
        }
        open.push(section[reader.name()] = newSection());
        break;
      case SECTION_END:
        if (open.length === 1) {
          throw new ViciFormatError(`a section ends at byte ${at}, but none is open`);
        }
        open.pop();
        break;
      case KEY_VALUE:
        section[reader.name()] = reader.value();
        break;
      case LIST_START:
        section[reader.name()] = list = [];
        break;
      case LIST_ITEM:
        if (list === undefined) {
          throw new ViciFormatError(`a list item at byte ${at} outside of a list`);
        }
        list.push(reader.value());
        break;
      case LIST_END:
        if (list === undefined) {
          throw new ViciFormatError(`a list ends at byte ${at}, but none is open`);
        }
        list = undefined;
        break;
      default:
        throw new ViciFormatError(`unknown element ${type} at byte ${at}`);
    }
  }
  if (list !== undefined || open.length > 1) throw new ViciFormatError(TRUNCATED);
  return root;
}

/** Element types. */
const SECTION_START = 1;
const SECTION_END = 2;
const KEY_VALUE = 3;
const LIST_START = 4;
const LIST_ITEM = 5;
const LIST_END = 6;

/** charon's messages have at most five. A limit, because functions that walk the tree recurse. */
const MAX_DEPTH = 100;
const TRUNCATED = "the message is truncated";
const NAME_MAX_BYTES = 0xff;
const VALUE_MAX_BYTES = 0xffff;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function encodeSection(section: ViciMessage, parts: Uint8Array[]): void {
  for (const [name, item] of Object.entries(section)) {
    if (typeof item === "string") {
      parts.push(named(KEY_VALUE, name), valueBytes(item));
    } else if (isList(item)) {
      parts.push(named(LIST_START, name));
      for (const value of item) parts.push(Uint8Array.of(LIST_ITEM), valueBytes(value));
      parts.push(Uint8Array.of(LIST_END));
    } else {
      parts.push(named(SECTION_START, name));
      encodeSection(item, parts);
      parts.push(Uint8Array.of(SECTION_END));
    }
  }
}

/** `Array.isArray` does not narrow the type to a read-only list. */
function isList(item: readonly string[] | ViciMessage): item is readonly string[] {
  return Array.isArray(item);
}

function named(type: number, name: string): Uint8Array {
  const bytes = encoder.encode(name);
  if (bytes.length > NAME_MAX_BYTES) {
    throw new ViciFormatError(`the name ${JSON.stringify(name)} is longer than ${NAME_MAX_BYTES}`);
  }
  return Buffer.concat([Uint8Array.of(type, bytes.length), bytes]);
}

/** The value is not shown: it may be a secret. */
function valueBytes(value: string): Uint8Array {
  const bytes = encoder.encode(value);
  if (bytes.length > VALUE_MAX_BYTES) {
    throw new ViciFormatError(`a value of ${bytes.length} bytes is longer than ${VALUE_MAX_BYTES}`);
  }
  return Buffer.concat([Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes]);
}

/** Without a prototype: a name may be `__proto__`. */
function newSection(): Record<string, ViciItem> {
  return Object.create(null) as Record<string, ViciItem>;
}

class ElementReader {
  offset = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.offset === this.#bytes.length;
  }

  u8(): number {
    const value = this.#bytes[this.offset++];
    if (value === undefined) throw new ViciFormatError(TRUNCATED);
    return value;
  }

  name(): string {
    return this.#text(this.u8());
  }

  value(): string {
    const high = this.u8();
    return this.#text(high << 8 | this.u8());
  }

  #text(length: number): string {
    const start = this.offset;
    this.offset += length;
    if (this.offset > this.#bytes.length) throw new ViciFormatError(TRUNCATED);
    return decoder.decode(this.#bytes.subarray(start, this.offset));
  }
}
