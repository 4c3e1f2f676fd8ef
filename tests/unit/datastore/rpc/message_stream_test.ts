import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "bun:test";
import { readMessages } from "../../../../src/datastore/rpc/message_stream.ts";
import { frame } from "../../../../src/etcd/api/message_frames.ts";

async function* chunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += size) {
    yield await Promise.resolve(bytes.subarray(start, start + size));
  }
}

async function read(bytes: Uint8Array, size = bytes.length): Promise<Uint8Array[]> {
  return await Array.fromAsync(readMessages(chunks(bytes, size)));
}

async function codeOf(bytes: Uint8Array): Promise<string> {
  const failure = await read(bytes).then(() => undefined, (error: unknown) => error);
  return failure instanceof ConnectError ? Code[failure.code] : `${failure}`;
}

test("messages do not depend on the chunks in which they arrive", async () => {
  const messages = [0, 1, 300, 5, 7_000].map((length) => new Uint8Array(length).fill(length));
  const body = Buffer.concat(messages.map(frame));
  for (const size of [1, 2, 4, 5, 6, 299, 4_096, body.length]) {
    expect(await read(body, size)).toEqual(messages);
  }
});

test("a message does not keep the memory of others that arrived with it", async () => {
  const [first] = await read(Buffer.concat([frame(new Uint8Array(10)), new Uint8Array(9_000)]));
  expect(first?.buffer.byteLength).toBe(10);
});

test("rejects a compressed, a too large and an incomplete message", async () => {
  const prefix = (flag: number, length: number) => {
    const bytes = Buffer.from(frame(new Uint8Array(8)));
    bytes[0] = flag;
    bytes.writeUInt32BE(length, 1);
    return bytes;
  };
  expect(await codeOf(prefix(1, 8))).toBe("Unimplemented");
  expect(await codeOf(prefix(0, 0xffff_ffff))).toBe("ResourceExhausted");
  expect(await codeOf(prefix(0, 9))).toBe("InvalidArgument");
  expect(await codeOf(prefix(0, 8).subarray(0, 3))).toBe("InvalidArgument");
});
