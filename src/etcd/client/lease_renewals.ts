/**
 * Renewals on one LeaseKeepAlive stream that stays open, as etcd's own client does it: each takes
 * one message in each direction, instead of a call.
 *
 * A stream that was used before may have ended unnoticed, and a proxy may answer the second request
 * on it late or not at all: etcd's grpc-proxy answers when it renews the lease itself. So a failure
 * on such a stream does not count; the renewal is repeated on a new one.
 */

import type { Clock } from "../../base/clock.ts";
import type { Attempt } from "./calls.ts";
import { etcdMethods } from "./etcd_messages.ts";
import { Code, GrpcError } from "./grpc_error.ts";
import type { OpenCall, Transport } from "./grpc_transport.ts";
import { checkLeaseId, checkTtl } from "./response_checks.ts";

/** After this many late answers in a row, streams are no longer kept. */
const MAX_LATE = 2;

export class LeaseRenewals {
  readonly #clock: Clock;
  #kept: KeptStream | undefined;
  #isBusy = false;
  #lateAnswers = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Renews a lease; returns its time to live in seconds, 0n if it does not exist. */
  async renew(attempt: Attempt, id: bigint): Promise<bigint> {
    // Renewals at the same moment are rare, and need not wait for each other.
    if (this.#isBusy) return await this.#renewOnce(attempt, id);
    this.#isBusy = true;
    try {
      return await this.#renewOnKept(attempt, id) ?? await this.#renewOnNew(attempt, id);
    } finally {
      this.#isBusy = false;
    }
  }

  /** `undefined` if there is no stream, or it has failed. */
  async #renewOnKept(attempt: Attempt, id: bigint): Promise<bigint | undefined> {
    const kept = this.#takeKept(attempt);
    if (kept === undefined) return undefined;
    const { call } = kept;
    // Half of the time, so that the lease does not expire before the renewal on a new stream.
    const timeoutMs = attempt.timeoutMs / 2;
    const startMs = this.#clock.nowMs();
    try {
      call.send({ ID: id });
      const ttlSeconds = await this.#response(call, id, { ...attempt, timeoutMs });
      this.#kept = kept;
      this.#lateAnswers = 0;
      return ttlSeconds;
    } catch {
      attempt.signal.throwIfAborted();
      if (this.#clock.nowMs() - startMs >= timeoutMs) this.#lateAnswers++;
      return undefined;
    }
  }

  async #renewOnNew(attempt: Attempt, id: bigint): Promise<bigint> {
    if (this.#lateAnswers >= MAX_LATE) return await this.#renewOnce(attempt, id);
    const { call, ttlSeconds } = await this.#open(attempt, id);
    this.#kept = { transport: attempt.transport, token: attempt.header["token"], call };
    return ttlSeconds;
  }

  async #renewOnce(attempt: Attempt, id: bigint): Promise<bigint> {
    const { call, ttlSeconds } = await this.#open(attempt, id);
    call.fail(NOT_KEPT);
    return ttlSeconds;
  }

  /**
   * A new stream with the answer to its first request. Our side stays open: at its end, etcd's
   * grpc-proxy cancels the renewal.
   */
  async #open(
    attempt: Attempt,
    id: bigint,
  ): Promise<{ readonly call: RenewalCall; readonly ttlSeconds: bigint }> {
    const { transport, header, signal, timeoutMs } = attempt;
    const call = await transport.open(etcdMethods.leaseKeepAlive, { ID: id }, {
      header,
      signal,
      timeoutMs,
    });
    return { call, ttlSeconds: await this.#response(call, id, attempt) };
  }

  /** The stream of earlier renewals, if this attempt may use it; otherwise ends it. */
  #takeKept({ transport, header }: Attempt): KeptStream | undefined {
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept === undefined) return undefined;
    if (kept.call.isUsable && kept.transport === transport && kept.token === header["token"]) {
      return kept;
    }
    kept.call.fail(NOT_KEPT);
    return undefined;
  }

  /** The answer to the request that was sent last. A failure ends the call. */
  async #response(
    call: RenewalCall,
    id: bigint,
    { signal, timeoutMs }: Pick<Attempt, "signal" | "timeoutMs">,
  ): Promise<bigint> {
    const onAbort = () => call.fail(signal.reason);
    signal.addEventListener("abort", onAbort);
    using _timer = this.#clock.setTimer(
      timeoutMs,
      () => call.fail(new GrpcError("the operation timed out", Code.DeadlineExceeded)),
    );
    try {
      signal.throwIfAborted();
      const { done, value } = await call.next();
      if (done) throw new Error("etcd did not respond to the renewal");
      checkLeaseId(value.ID, id);
      checkTtl(value.TTL);
      return value.TTL;
    } catch (error) {
      call.fail(error);
      throw error;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

const NOT_KEPT = new GrpcError("the stream is no longer used", Code.Canceled);

type RenewalCall = OpenCall<{ readonly ID: bigint }, { readonly ID: bigint; readonly TTL: bigint }>;

interface KeptStream {
  readonly transport: Transport;
  /** The token with which it was opened. */
  readonly token: string | undefined;
  readonly call: RenewalCall;
}
