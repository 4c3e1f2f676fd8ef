/**
 * Calls with one request and one response, served without Connect to control the cost of the
 * response.
 */

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { errorMessage } from "../../base/operator_error.ts";
import type { Caller } from "../access/auth_sessions.ts";
import type { MemoryPool, MemoryReservation } from "../mvcc/memory_pool.ts";
import { assertCost, costOf, MAX_TRANSACTION_BYTES } from "../mvcc/read_cost.ts";
import { RequestError } from "../mvcc/request_error.ts";
import type { Size } from "../mvcc/storage.ts";
import type { MessageWriter } from "./message_stream.ts";
import type { StreamHandler } from "./grpc_server.ts";

/** The memory that one call has reserved while it is served. */
export class CallReservations implements Disposable {
  readonly #pool: MemoryPool;
  #reservations: MemoryReservation[] = [];
  /** Reserved before the reads are repeated. */
  #prepaid: { readonly cost: number; readonly reservation: MemoryReservation } | undefined;
  #cost = 0;
  readonly #writer: Pick<MessageWriter, "isClosed" | "peer">;

  constructor(pool: MemoryPool, writer: Pick<MessageWriter, "isClosed" | "peer">) {
    this.#pool = pool;
    this.#writer = writer;
  }

  [Symbol.dispose](): void {
    this.#prepaid?.reservation[Symbol.dispose]();
    this.#prepaid = undefined;
    this.restart();
  }

  /** Waits for room. Rejects if the client has disconnected; see `assertWanted`. */
  async take(cost: number): Promise<void> {
    this.#reservations.push(await this.#pool.take(cost, this.#writer.peer));
    this.assertWanted();
  }

  /** Throws `ConnectError` if the client has disconnected: a cancelled call needs no more work. */
  assertWanted(): void {
    if (this.#writer.isClosed) throw new ConnectError("the client has disconnected", Code.Canceled);
  }

  /**
   * For reads that cannot wait, because they belong to a transaction. Throws `RequestError`
   * "responseTooLarge", and "tooManyRequests" if there is no room now.
   */
  charge(size: Size): void {
    const before = Math.max(this.#cost, this.#prepaid?.cost ?? 0);
    this.#cost += costOf(size);
    assertCost(this.#cost, MAX_TRANSACTION_BYTES);
    if (this.#cost <= before) return;
    const reservation = this.#pool.tryTake(this.#cost - before, this.#writer.peer);
    if (reservation === undefined) throw new RequestError("tooManyRequests");
    this.#reservations.push(reservation);
  }

  /** Releases everything before the reads are repeated. */
  restart(): void {
    for (const reservation of this.#reservations) reservation[Symbol.dispose]();
    this.#reservations = [];
    this.#cost = 0;
  }

  /** If `charge` has found no room: waits for room for everything charged so far. */
  async prepay(): Promise<void> {
    const cost = this.#cost;
    this[Symbol.dispose]();
    this.#prepaid = { cost, reservation: await this.#pool.take(cost, this.#writer.peer) };
  }
}

/** A message that is encoded, in parts, or not yet encoded. */
export type UnaryResponse<Output extends DescMessage> =
  | readonly Uint8Array[]
  | MessageInitShape<Output>;

export interface MemoryPools {
  readonly responses: MemoryPool;
  /** For complete requests that may have to wait. */
  readonly requests: MemoryPool;
}

/** Where a call comes from. */
export interface CallingClient {
  readonly address: string;
  /** `undefined` if no token was needed. */
  readonly caller: Caller | undefined;
}

/** The path of a method and its handler, which calls `act` and sends its errors to the client. */
export function unaryCall<Input extends DescMessage, Output extends DescMessage>(
  method: DescMethodUnary<Input, Output>,
  { responses, requests }: MemoryPools,
  act: (
    request: MessageShape<Input>,
    memory: CallReservations,
    client: CallingClient,
  ) => Promise<UnaryResponse<Output>>,
): [path: string, handler: StreamHandler] {
  const handler: StreamHandler = async (messages, writer, caller) => {
    const message = await onlyMessage(messages);
    using held = requests.tryTake(message.length, writer.peer);
    if (held === undefined) throw new RequestError("tooManyRequests");
    const request = parseMessage(method.input, message);
    using memory = new CallReservations(responses, writer);
    const response = await act(request, memory, { address: writer.peer, caller });
    const parts = Array.isArray(response)
      ? response as readonly Uint8Array[]
      : [toBinary(method.output, create(method.output, response as MessageInitShape<Output>))];
    await writer.sendAll(parts);
  };
  return [`/${method.parent.typeName}/${method.name}`, handler];
}

/** Throws `ConnectError` if the bytes are not a message of this type. */
export function parseMessage<Input extends DescMessage>(
  schema: Input,
  bytes: Uint8Array,
): MessageShape<Input> {
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    throw new ConnectError(errorMessage(error), Code.InvalidArgument);
  }
}

async function onlyMessage(messages: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  let only: Uint8Array | undefined;
  for await (const message of messages) {
    if (only !== undefined) {
      throw new ConnectError("the call takes only one message", Code.InvalidArgument);
    }
    only = message;
  }
  if (only !== undefined) return only;
  throw new ConnectError("the call has no message", Code.InvalidArgument);
}
