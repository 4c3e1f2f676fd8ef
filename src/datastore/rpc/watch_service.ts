/** Watch.Watch: one stream in each direction, with any number of watches on it. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type Event,
  Event_EventType as EventType,
  EventSchema,
} from "../../subnet/etcd/rpc/kv_pb.ts";
import {
  WatchCreateRequest_FilterType as FilterType,
  type WatchRequest as WatchRequestMessage,
  type WatchResponseSchema,
} from "../../subnet/etcd/rpc/rpc_pb.ts";
import type { Change } from "../entry.ts";
import { keyRange } from "../key_range.ts";
import type { Storage } from "../storage.ts";
import type { WatchEvent, WatchHub } from "../watch_hub.ts";
import type { WatchOutput, WatchRequest, WatchStream } from "../watch_stream.ts";
import { responseHeader } from "./header.ts";

type Response = MessageInitShape<typeof WatchResponseSchema>;

/** Serves until the client ends its side or the hub is closed. */
export async function* serveWatches({ hub, storage, requests, signal }: {
  readonly hub: WatchHub;
  readonly storage: Storage;
  readonly requests: AsyncIterable<WatchRequestMessage>;
  readonly signal: AbortSignal;
}): AsyncGenerator<Response> {
  using stream = hub.open();
  const close = () => stream[Symbol.dispose]();
  signal.addEventListener("abort", close, { once: true });
  // A connection that is cut ends the requests with an error, which nobody is left to hear.
  void readRequests(requests, stream).catch(() => {}).finally(close);
  try {
    for (let output = await stream.next(); output !== undefined; output = await stream.next()) {
      yield responseOf(output, storage);
    }
  } finally {
    signal.removeEventListener("abort", close);
  }
}

async function readRequests(
  requests: AsyncIterable<WatchRequestMessage>,
  stream: WatchStream,
): Promise<void> {
  for await (const { requestUnion } of requests) {
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
  }
}

type CreateRequest = Extract<
  WatchRequestMessage["requestUnion"],
  { case: "createRequest" }
>["value"];

function watchRequest(message: CreateRequest): WatchRequest {
  // The first key there can be: an empty key stands for all of them.
  const key = message.key.length === 0 ? FIRST_KEY : message.key;
  return {
    range: keyRange(key, message.rangeEnd),
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
        cancelReason: "etcdserver: mvcc: required revision has been compacted",
        header: header(0n),
      };
  }
}

/** One message for all watches that report the change as it is. */
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
