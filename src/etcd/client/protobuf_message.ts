/**
 * Protobuf messages as tables of fields (https://protobuf.dev/programming-guides/encoding/).
 *
 * The generated messages of protobuf-es describe themselves at run time, for reflection and JSON:
 * loading them costs more than everything else in the client. Here, a message is a table, read and
 * written with the same library's reader and writer.
 */

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** A property of a message: one field, or the alternatives of a oneof. */
interface Property<Value, Init = Value> {
  readonly fields: readonly FieldReader<Value>[];
  /** The value if nothing was received. */
  initial(): Value;
  write(writer: BinaryWriter, value: Init, presence: Presence): void;
}

/** Whether a default value is written, or nothing instead of it. */
type Presence = "explicit" | "implicit";

interface FieldReader<Value> {
  readonly number: number;
  readonly wireType: WireType;
  read(reader: BinaryReader, before: Value): Value;
}

// deno-lint-ignore no-explicit-any -- the types of properties are inferred, in `MessageOf`
type Properties = Readonly<Record<string, Property<any, any>>>;

type ValueOf<P> = P extends Property<infer Value, infer _> ? Value : never;
/** Properties that may be undefined, such as nested messages. */
type OptionalIn<P extends Properties> = {
  [K in keyof P]: undefined extends ValueOf<P[K]> ? K : never;
}[keyof P];
type MessageOf<P extends Properties> =
  & { readonly [K in Exclude<keyof P, OptionalIn<P>>]: ValueOf<P[K]> }
  & { readonly [K in OptionalIn<P>]?: ValueOf<P[K]> };
type InitOf<P extends Properties> = {
  readonly [K in keyof P]?: P[K] extends Property<infer _, infer Init> ? Init : never;
};

export interface MessageType<Message, Init> {
  encode(message: Init): Uint8Array;
  /** Throws if the bytes are not a message. Unknown fields are skipped. */
  decode(bytes: Uint8Array): Message;
  writeTo(writer: BinaryWriter, message: Init): void;
  readFrom(reader: BinaryReader, length: number): Message;
}

/** What `decode` of this type returns. */
export type Decoded<Type> = Type extends MessageType<infer Message, infer _> ? Message : never;
/** What `encode` of this type takes: properties that are absent have their default. */
export type Encodable<Type> = Type extends MessageType<infer _, infer Init> ? Init : never;

export function messageType<P extends Properties>(
  properties: P,
): MessageType<MessageOf<P>, InitOf<P>> {
  const entries = Object.entries(properties);
  const byNumber: { readonly name: string; readonly field: FieldReader<unknown> }[] = [];
  for (const [name, { fields }] of entries) {
    for (const field of fields) byNumber[field.number] = { name, field };
  }
  const type: MessageType<MessageOf<P>, InitOf<P>> = {
    encode(message) {
      const writer = new BinaryWriter();
      type.writeTo(writer, message);
      return writer.finish();
    },
    decode: (bytes) => type.readFrom(new BinaryReader(bytes), bytes.length),
    writeTo(writer, message) {
      for (const [name, property] of entries) {
        const value = message[name];
        if (value !== undefined) property.write(writer, value, "implicit");
      }
    },
    readFrom(reader, length) {
      const end = reader.pos + length;
      if (end > reader.len) throw new RangeError("a message exceeds its container");
      const message: Record<string, unknown> = {};
      for (const [name, property] of entries) message[name] = property.initial();
      while (reader.pos < end) {
        const [number, wireType] = reader.tag();
        const known = byNumber[number];
        if (known === undefined || known.field.wireType !== wireType) {
          reader.skip(wireType, number);
        } else {
          message[known.name] = known.field.read(reader, message[known.name]);
        }
      }
      if (reader.pos > end) throw new RangeError("a field exceeds its message");
      return message as MessageOf<P>;
    },
  };
  return type;
}

function scalar<Value>(
  number: number,
  { wireType, initial, isDefault, read, write }: {
    readonly wireType: WireType;
    readonly initial: Value;
    readonly isDefault: (value: Value) => boolean;
    readonly read: (reader: BinaryReader) => Value;
    readonly write: (writer: BinaryWriter, value: Value) => void;
  },
): Property<Value> {
  return {
    fields: [{ number, wireType, read }],
    initial: () => initial,
    write(writer, value, presence) {
      if (presence === "explicit" || !isDefault(value)) write(writer.tag(number, wireType), value);
    },
  };
}

export function bytes(number: number): Property<Uint8Array> {
  return scalar<Uint8Array>(number, {
    wireType: WireType.LengthDelimited,
    initial: new Uint8Array(),
    isDefault: ({ length }) => length === 0,
    read: (reader) => reader.bytes(),
    write: (writer, value) => writer.bytes(value),
  });
}

export function string(number: number): Property<string> {
  return scalar(number, {
    wireType: WireType.LengthDelimited,
    initial: "",
    isDefault: (value) => value === "",
    read: (reader) => reader.string(true),
    write: (writer, value) => writer.string(value),
  });
}

export function bool(number: number): Property<boolean> {
  return scalar(number, {
    wireType: WireType.Varint,
    initial: false,
    isDefault: (value) => !value,
    read: (reader) => reader.bool(),
    write: (writer, value) => writer.bool(value),
  });
}

export function int64(number: number): Property<bigint> {
  return scalar(number, {
    wireType: WireType.Varint,
    initial: 0n,
    isDefault: (value) => value === 0n,
    read: (reader) => BigInt(reader.int64()),
    write: (writer, value) => writer.int64(value),
  });
}

export function uint64(number: number): Property<bigint> {
  return scalar(number, {
    wireType: WireType.Varint,
    initial: 0n,
    isDefault: (value) => value === 0n,
    read: (reader) => BigInt(reader.uint64()),
    write: (writer, value) => writer.uint64(value),
  });
}

/** An enum, by its numbers. */
export function enumeration(number: number): Property<number> {
  return scalar(number, {
    wireType: WireType.Varint,
    initial: 0,
    isDefault: (value) => value === 0,
    read: (reader) => reader.int32(),
    write: (writer, value) => writer.int32(value),
  });
}

export function nested<Message, Init>(
  number: number,
  type: MessageType<Message, Init>,
): Property<Message | undefined, Init> {
  const wireType = WireType.LengthDelimited;
  return {
    fields: [{ number, wireType, read: (reader) => type.readFrom(reader, reader.uint32()) }],
    initial: () => undefined,
    write(writer, value) {
      type.writeTo(writer.tag(number, wireType).fork(), value);
      writer.join();
    },
  };
}

export function listOf<Message, Init>(
  number: number,
  type: MessageType<Message, Init>,
): Property<Message[], readonly Init[]> {
  const one = nested(number, type);
  const read = (reader: BinaryReader, before: Message[]) => {
    before.push(type.readFrom(reader, reader.uint32()));
    return before;
  };
  return {
    fields: [{ number, wireType: WireType.LengthDelimited, read }],
    initial: () => [],
    write(writer, values) {
      for (const value of values) one.write(writer, value, "explicit");
    },
  };
}

type OneofValue<P extends Properties> =
  | { readonly [K in keyof P]: { readonly case: K; readonly value: Present<P[K]> } }[keyof P]
  | { readonly case: undefined };
type OneofInit<P extends Properties> = {
  readonly [K in keyof P]: {
    readonly case: K;
    readonly value: P[K] extends Property<infer _, infer Init> ? Init : never;
  };
}[keyof P];
type Present<P> = Exclude<ValueOf<P>, undefined>;

/** Alternatives, of which the last one received counts; a default value is written as well. */
export function oneof<P extends Properties>(
  alternatives: P,
): Property<OneofValue<P>, OneofInit<P>> {
  const fields = Object.entries(alternatives).flatMap(([name, property]) =>
    property.fields.map(({ number, wireType, read }) => ({
      number,
      wireType,
      read: (reader: BinaryReader) =>
        ({ case: name, value: read(reader, property.initial()) }) as OneofValue<P>,
    }))
  );
  return {
    fields,
    initial: () => ({ case: undefined }),
    write: (writer, value) => alternatives[value.case]?.write(writer, value.value, "explicit"),
  };
}
