/**
 * The keys with a prefix, kept up to date: a snapshot, then each change once and in order, across
 * disconnections, fail-over and compaction.
 *
 * A watch resumes at the revision of the last event received + 1. The revision in a response's
 * header cannot be used for that: while a backlog is being sent it is ahead of the events, and
 * resuming there would lose the rest. Only a progress notification (a header without events)
 * guarantees that everything up to its revision was sent. Responses are requested without
 * fragments, so each ends at a whole revision.
 */

import type { Log } from "../../log/log.ts";
import { RepeatedFailure } from "../../log/repeated_failure.ts";
import type { Attempt, Calls } from "./calls.ts";
import { backoffMs, type Clock, sleep } from "../../base/clock.ts";
import type { EtcdConnection } from "./etcd_connection.ts";
import type { EtcdWatch, RangeResult } from "./etcd.ts";
import { checkedRevision, checkEvent, hex, InvalidResponseError } from "./response_checks.ts";
import { EtcdError, isUnreachable, needsOperator } from "./etcd_error.ts";
import { etcdKeyRange, keyValue } from "./request_messages.ts";
import {
  etcdMethods,
  type KeyEvent,
  PUT_EVENT,
  type WatchMessage,
  type WatchReply,
} from "./etcd_messages.ts";

/** After a disconnection the first attempt is quick; during an outage attempts become slower. */
const BACKOFF = { firstMs: 50, maxMs: 2_000 };
/**
 * While no server is reached, an attempt costs only a packet or two, so it is repeated each
 * second, and the end of a partition is noticed quickly: 5000 nodes send some 7000 SYNs per
 * second to a machine that refuses or drops them. Once a server responds, even one that is still
 * starting, the longer back-off applies.
 */
const UNREACHABLE_BACKOFF = { firstMs: 50, maxMs: 1_000 };
/** After a refusal, such as a missing permission, which only an operator can change. */
const REFUSED_PAUSE_MS = 20_000;
/** A watch that lasted this long was healthy: the next failure starts a new back-off. */
const HEALTHY_AFTER_MS = 10_000;
/**
 * Reading all keys again is expensive for etcd. It is done at once after a compaction, but less
 * and less often if a server, or a proxy in front of two clusters, keeps contradicting itself.
 */
const REREAD_BACKOFF = { firstMs: 50, maxMs: 30_000 };
const REREADS_FORGOTTEN_MS = 60_000;

export interface WatchSource {
  readonly calls: Calls;
  /** The keys with this prefix, and the ID of the cluster. */
  readonly snapshot: (
    prefix: string,
    signal: AbortSignal,
  ) => Promise<RangeResult & { readonly clusterId: bigint }>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The position in the store's history. */
interface Position {
  /** The first revision that was not received yet. */
  next: bigint;
  readonly clusterId: bigint;
}

/** Ends when the signal aborts. Never throws for an outage, which it logs. */
export async function* watchPrefix(
  source: WatchSource,
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<EtcdWatch, void, void> {
  const failures = new RepeatedFailure({
    what: `watching ${prefix} in etcd`,
    log: source.log,
    clock: source.clock,
  });
  let position: Position | undefined;
  let failed = 0;
  const rereads = new Rereads(source.clock);
  while (!signal.aborted) {
    const startMs = source.clock.nowMs();
    let failure: unknown;
    try {
      if (position === undefined) {
        const snapshot = await source.snapshot(prefix, signal);
        position = { next: snapshot.revision + 1n, clusterId: snapshot.clusterId };
        const { keyValues, revision } = snapshot;
        yield { kind: "snapshot", keyValues, revision };
      }
      using stream = await openStream(source, prefix, position, signal);
      failures.succeeded();
      for await (const response of stream.responses) {
        for (const event of response.events) {
          const change = changeOf(event);
          if (change !== undefined) yield change;
        }
        advance(position, response);
        // The stream works: the next failure starts a new back-off.
        failed = 0;
      }
    } catch (error) {
      failure = error;
    }
    if (signal.aborted) return;
    if (failure instanceof HistoryGap) {
      position = undefined;
      const text = `${failure.message}: reading all keys under ${prefix} again`;
      if (failure.isFault) failures.failed(new Error(text));
      else source.log.info({ prefix }, text);
      await sleep(source.clock, rereads.pauseMs(), signal);
      continue;
    } else {
      failures.failed(failure, needsOperator(failure) ? "error" : "warn");
    }
    if (source.clock.nowMs() - startMs > HEALTHY_AFTER_MS) failed = 0;
    failed++;
    const pauseMs = needsOperator(failure)
      ? REFUSED_PAUSE_MS * (1 - source.clock.random() / 2)
      : backoffMs(failed, isUnreachable(failure) ? UNREACHABLE_BACKOFF : BACKOFF, source.clock);
    if (await source.calls.pause(pauseMs, signal)) failed = 0;
  }
}

/** The events from `position` on are no longer available. */
class HistoryGap extends Error {
  override readonly name = "HistoryGap";
  /** True for an invalid response, false for normal operation such as a compaction. */
  readonly isFault: boolean;

  constructor(reason: string, options: { readonly isFault?: boolean } = {}) {
    super(reason);
    this.isFault = options.isFault ?? false;
  }
}

/** Counts how often all keys were read again recently. */
class Rereads {
  readonly #clock: Clock;
  #count = 0;
  #lastMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts one more; returns the pause before it. */
  pauseMs(): number {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#lastMs > REREADS_FORGOTTEN_MS) this.#count = 0;
    this.#lastMs = nowMs;
    return backoffMs(++this.#count, REREAD_BACKOFF, this.#clock);
  }
}

interface Stream extends Disposable {
  readonly responses: AsyncIterable<WatchReply>;
}

/** Opens the stream and waits until etcd has confirmed the watch. Disposing ends the stream. */
async function openStream(
  source: WatchSource,
  prefix: string,
  position: Position,
  signal: AbortSignal,
): Promise<Stream> {
  const ended = new AbortController();
  const streamSignal = AbortSignal.any([signal, ended.signal]);
  try {
    const watch = await source.calls.once(
      streamSignal,
      (attempt) =>
        createWatch(attempt, { prefix, startRevision: position.next, clock: source.clock }),
    );
    if (watch.created.compactRevision > 0n) throw compacted();
    await assertHistory(source, prefix, position, watch.created, signal);
    return {
      responses: untilFailure(source.calls, watch, { prefix, position }),
      [Symbol.dispose]: () => ended.abort(),
    };
  } catch (error) {
    ended.abort();
    throw error;
  }
}

interface CreatedWatch {
  readonly connection: EtcdConnection;
  readonly created: WatchReply;
  readonly responses: AsyncIterable<WatchReply>;
}

async function createWatch(
  { connection, transport, header, signal, timeoutMs }: Attempt,
  { prefix, startRevision, clock }: {
    readonly prefix: string;
    readonly startRevision: bigint;
    readonly clock: Clock;
  },
): Promise<CreatedWatch> {
  const timedOut = new AbortController();
  using _timer = clock.setTimer(timeoutMs, () => timedOut.abort());
  try {
    const responses = await transport.stream(
      etcdMethods.watch,
      createRequest(prefix, startRevision),
      { header, signal: AbortSignal.any([signal, timedOut.signal]), keepOpen: true },
    );
    const first = await responses.next();
    if (first.done) throw EtcdError.fromText("the stream ended", connection);
    const { created, canceled, compactRevision } = first.value;
    if (!created && !canceled) throw new InvalidResponseError("etcd did not confirm the watch");
    if (canceled && compactRevision === 0n) throw refusal(first.value, connection);
    return { connection, created: first.value, responses };
  } catch (error) {
    if (timedOut.signal.aborted && !signal.aborted) {
      const { url: endpoint } = connection.endpoint;
      throw new EtcdError(`no response in time (${endpoint})`, {
        kind: "interrupted",
        reason: "no response in time",
        endpoint,
        cause: error,
      });
    }
    throw error;
  }
}

function createRequest(
  prefix: string,
  startRevision: bigint,
): WatchMessage {
  const value = {
    ...etcdKeyRange({ key: prefix, prefix: true }),
    startRevision,
    progressNotify: true,
  };
  return { requestUnion: { case: "createRequest", value } };
}

/**
 * A member whose store is behind our position, or belongs to another cluster, would stay silent
 * until it has caught up: forever, if etcd was restored from a backup or created again.
 */
async function assertHistory(
  source: WatchSource,
  prefix: string,
  position: Position,
  created: WatchReply,
  signal: AbortSignal,
): Promise<void> {
  const revision = faultIsGap(() => revisionOf(created, position));
  if (revision + 1n >= position.next) return;
  // This member may merely lag behind; a read that a quorum confirms shows it.
  const current = await source.snapshot(prefix, signal);
  if (current.revision + 1n < position.next) {
    throw new HistoryGap(
      `etcd's revision went back from ${position.next - 1n} to ${current.revision}`,
    );
  }
}

/** The store's revision; throws `HistoryGap` if the position is in another cluster's history. */
function revisionOf({ header }: WatchReply, position: Position): bigint {
  const revision = checkedRevision(header);
  if (header?.clusterId === position.clusterId) return revision;
  throw new HistoryGap(
    `etcd's cluster ID changed from ${hex(position.clusterId)} to ${hex(header?.clusterId ?? 0n)}`,
  );
}

/** Throws before any event of an invalid response is used. */
function checkResponse(response: WatchReply, { prefix, position }: Watched): void {
  const revision = revisionOf(response, position);
  let next = position.next;
  for (const event of response.events) {
    next = checkEvent(event, { prefix, next, revision }).modRevision;
  }
}

/** Turns an invalid response into a gap: everything after it is unreliable. */
function faultIsGap<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof InvalidResponseError)) throw error;
    throw new HistoryGap(error.message, { isFault: true });
  }
}

/** All events of the response were received. */
function advance(position: Position, response: WatchReply): void {
  const last = response.events.at(-1)?.kv?.modRevision ?? response.header?.revision ?? 0n;
  if (last >= position.next) position.next = last + 1n;
}

function changeOf({ type, kv }: KeyEvent): EtcdWatch | undefined {
  if (kv === undefined) return undefined;
  if (type === PUT_EVENT) return { kind: "put", keyValue: keyValue(kv) };
  return { kind: "delete", key: keyValue(kv).key, modRevision: kv.modRevision };
}

/** etcd ended the watch, or refused to start it. */
function refusal(response: WatchReply, { endpoint }: EtcdConnection): Error {
  const reason = response.cancelReason.replace(/^rpc error: code = \w+ desc = /, "");
  return EtcdError.fromText(reason || "etcd ended the watch without a reason", { endpoint });
}

function compacted(): HistoryGap {
  return new HistoryGap("etcd compacted revisions that were not received yet");
}

interface Watched {
  readonly prefix: Uint8Array;
  readonly position: Position;
}

/** The same responses; their end is an error, after which another member is preferred. */
async function* untilFailure(
  calls: Calls,
  { connection, responses }: CreatedWatch,
  { prefix, position }: { readonly prefix: string; readonly position: Position },
): AsyncGenerator<WatchReply> {
  const watched = { prefix: new TextEncoder().encode(prefix), position };
  try {
    for await (const response of responses) {
      if (response.compactRevision > 0n) throw compacted();
      if (response.canceled) throw refusal(response, connection);
      faultIsGap(() => checkResponse(response, watched));
      yield response;
    }
    throw EtcdError.fromText("the stream ended", connection);
  } catch (error) {
    if (error instanceof HistoryGap && !error.isFault) throw error;
    calls.avoid(connection);
    throw error instanceof HistoryGap ? error : EtcdError.from(error, connection);
  }
}
