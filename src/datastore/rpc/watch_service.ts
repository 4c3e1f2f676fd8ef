/** Watch.Watch: one stream in each direction, with any number of watches on it. */

import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { type Event, Event_EventType as EventType, EventSchema } from "../../etcd/api/kv_pb.ts";
import {
  Watch,
  WatchCreateRequest_FilterType as FilterType,
  type WatchRequest as WatchRequestMessage,
  WatchRequestSchema,
  WatchResponseSchema,
} from "../../etcd/api/rpc_pb.ts";
import type { MemoryPool } from "../mvcc/memory_pool.ts";
import type { Change } from "../mvcc/revision_entry.ts";
import { keyInterval } from "../mvcc/key_interval.ts";
import type { Storage } from "../mvcc/storage.ts";
import { RequestError } from "../mvcc/request_error.ts";
import { sizeOfAll, type WatchEvent, type WatchOutput } from "../mvcc/watch_event.ts";
import type { WatchHub } from "../mvcc/watch_hub.ts";
import { HISTORY_PAGE_BYTES, type WatchOptions, type WatchStream } from "../mvcc/watch_stream.ts";
import { responseHeader } from "./response_header.ts";
import { frame } from "../../etcd/api/message_frames.ts";
import type { MessageWriter } from "./message_stream.ts";
import { parseMessage } from "./unary_call.ts";

type Response = MessageInitShape<typeof WatchResponseSchema>;

export const WATCH_PATH = `/${Watch.typeName}/${Watch.method.watch.name}`;

export interface WatchServiceOptions {
  readonly hub: WatchHub;
  readonly storage: Storage;
  readonly pool: MemoryPool;
}

/**
 * Serves until the client ends its side or the hub is closed. Throws `ConnectError` for an invalid
 * request, and errors of reading the history.
 */
export async function serveWatches(
  { hub, storage, pool }: WatchServiceOptions,
  messages: AsyncIterable<Uint8Array>,
  writer: MessageWriter,
): Promise<void> {
  using stream = hub.open();
  const close = () => stream[Symbol.dispose]();
  writer.onClose(close);
  const { peer } = writer;
  let failure: ConnectError | undefined;
  const reading = readRequests(messages, stream).catch((error: unknown) => {
    // A broken connection ends the requests with an error that cannot be reported to the client.
    if (error instanceof ConnectError) failure = error;
  });
  void reading.finally(close);
  while (!stream.isClosed) {
    using page = stream.isBehind ? await pool.take(HISTORY_PAGE_BYTES, peer) : undefined;
    const output = stream.take();
    if (output === undefined) {
      page?.[Symbol.dispose]();
      await stream.change();
      continue;
    }
    const bytes = bytesOf(output);
    const needed = page === undefined ? bytes : Math.max(0, bytes - HISTORY_PAGE_BYTES);
    // A stream that holds a page never waits for more memory: if all did, none would release any.
    using _share = page !== undefined
      ? pool.overdraw(needed, peer)
      : pool.tryTake(needed, peer) ?? await pool.take(needed, peer);
    if (bytes > LARGE_BYTES) {
      await writer.sendAll([messageOf(output, storage)]);
      continue;
    }
    const slow = writer.send(frameOf(output, storage));
    if (slow !== undefined) await slow;
  }
  if (failure !== undefined) throw failure;
}

async function readRequests(
  messages: AsyncIterable<Uint8Array>,
  stream: WatchStream,
): Promise<void> {
  for await (const message of messages) {
    const { requestUnion } = parseMessage(WatchRequestSchema, message);
    switch (requestUnion.case) {
      case "createRequest":
        stream.create(watchRequest(requestUnion.value));
        break;
      case "cancelRequest":
        stream.cancel(requestUnion.value.watchId);
        break;
      case "progressRequest":
        stream.requestProgress();
        break;
    }
    await stream.room();
  }
}

type CreateRequest = Extract<
  WatchRequestMessage["requestUnion"],
  { case: "createRequest" }
>["value"];

function watchRequest(message: CreateRequest): WatchOptions {
  // An empty key means the first possible key.
  const key = message.key.length === 0 ? FIRST_KEY : message.key;
  return {
    range: keyInterval(key, message.rangeEnd),
    startRevision: message.startRevision,
    id: message.watchId,
    previous: message.prevKv,
    progress: message.progressNotify,
    without: new Set(message.filters.flatMap((filter) => FILTERED[filter] ?? [])),
  };
}

const FIRST_KEY = new Uint8Array(1);

const FILTERED: Readonly<Record<FilterType, Change["kind"]>> = {
  [FilterType.NOPUT]: "put",
  [FilterType.NODELETE]: "delete",
};

/** Messages above this size are sent in pieces. */
const LARGE_BYTES = 128 << 10;

function bytesOf(output: WatchOutput): number {
  return output.kind === "events" ? sizeOfAll(output.events) : 0;
}

/** The encoded message of a single change: many streams with one watch each share it. */
const frames = new WeakMap<Change, { readonly id: bigint; readonly bytes: Uint8Array }>();

function frameOf(output: WatchOutput, storage: Storage): Uint8Array {
  if (output.kind !== "events" || !isLone(output)) return newFrame(output, storage);
  const { change } = output.events[0] as WatchEvent;
  const known = frames.get(change);
  if (known?.id === output.id) return known.bytes;
  const bytes = newFrame(output, storage);
  frames.set(change, { id: output.id, bytes });
  return bytes;
}

function newFrame(output: WatchOutput, storage: Storage): Uint8Array {
  return frame(messageOf(output, storage));
}

function messageOf(output: WatchOutput, storage: Storage): Uint8Array {
  return toBinary(WatchResponseSchema, create(WatchResponseSchema, responseOf(output, storage)));
}

type Events = Extract<WatchOutput, { kind: "events" }>;

/** Whether the message is a single change, without a previous value, at its own revision. */
function isLone({ events, revision }: Events): boolean {
  const [event] = events;
  return events.length === 1 && event?.previous === undefined &&
    event?.change.revision === revision;
}

function responseOf(output: WatchOutput, { identity }: Storage): Response {
  const header = (revision: bigint) => responseHeader(identity, revision);
  switch (output.kind) {
    case "created":
      return { watchId: output.id, created: true, header: header(output.revision) };
    case "refused":
      return {
        watchId: -1n,
        created: true,
        canceled: true,
        cancelReason: output.reason,
        header: header(output.revision),
      };
    case "events":
      return {
        watchId: output.id,
        events: output.events.map(eventMessage),
        header: header(output.revision),
      };
    case "progress":
      return { watchId: output.id, header: header(output.revision) };
    case "cancelled":
      return { watchId: output.id, canceled: true, header: header(output.revision) };
    case "compacted":
      return {
        watchId: output.id,
        canceled: true,
        compactRevision: output.compactRevision,
        cancelReason: new RequestError("compacted").message,
        header: header(0n),
      };
  }
}

/** One message for all watches that report the change without a previous value. */
const messages = new WeakMap<Change, Event>();

function eventMessage({ change, previous }: WatchEvent): Event {
  if (previous !== undefined) return newEventMessage(change, previous);
  const known = messages.get(change);
  if (known !== undefined) return known;
  const message = newEventMessage(change, undefined);
  messages.set(change, message);
  return message;
}

function newEventMessage(change: Change, prevKv: WatchEvent["previous"]): Event {
  const previous = prevKv && { prevKv };
  return change.kind === "put"
    ? create(EventSchema, { type: EventType.PUT, kv: change.entry, ...previous })
    : create(EventSchema, {
      type: EventType.DELETE,
      kv: { key: change.key, modRevision: change.revision },
      ...previous,
    });
}
