/**
 * The TLS certificate of a running datastore, signed by its own CA.
 *
 * It is made at each start, and again before it expires, when the machine's addresses change, and
 * when the clock was corrected to a time before it. New connections get the new one; those that
 * exist are not affected.
 */

import { type Clock, repeat } from "../../base/clock.ts";
import type { Log } from "../../log/log.ts";
import { RepeatedFailure } from "../../log/repeated_failure.ts";
import type { KeyedCertificate } from "./certificate.ts";
import type { DatastoreCa } from "./datastore_ca.ts";

export interface ServerIdentityOptions {
  readonly ca: DatastoreCa;
  /** The addresses and names as of now. */
  readonly names: () => readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

const DAY_MS = 86_400_000;
const VALID_MS = 90 * DAY_MS;
/** A client with a clock that is behind accepts a new certificate too. */
const BACKDATED_MS = 3_600_000;
const RENEW_BEFORE_MS = 30 * DAY_MS;
const CHECK_MS = 10_000;

type Signer = typeof import("./certificate.ts").serverCertificate;

export class ServerIdentity implements Disposable {
  /** Notified of each new certificate. */
  onRenewed: (certificate: KeyedCertificate) => void = () => undefined;
  readonly #options: ServerIdentityOptions;
  readonly #sign: Signer;
  readonly #checks: Disposable;
  #current: Issued;

  static async create(options: ServerIdentityOptions): Promise<ServerIdentity> {
    const { serverCertificate } = await import("./certificate.ts");
    return new ServerIdentity(options, serverCertificate);
  }

  private constructor(options: ServerIdentityOptions, sign: Signer) {
    const { clock, log } = options;
    this.#options = options;
    this.#sign = sign;
    this.#current = this.#issue(options.names());
    const checking = new RepeatedFailure({ log, clock, what: "renewing the TLS certificate" });
    this.#checks = repeat(clock, CHECK_MS, () => {
      try {
        this.#check();
        checking.succeeded();
      } catch (error) {
        checking.failed(error);
      }
    });
  }

  [Symbol.dispose](): void {
    this.#checks[Symbol.dispose]();
  }

  /** The certificate, followed by that of the CA, for clients that know only its fingerprint. */
  get current(): KeyedCertificate {
    return this.#current.certificate;
  }

  #check(): void {
    const names = this.#options.names();
    const reason = this.#whyRenew(names);
    if (reason === undefined) return;
    this.#current = this.#issue(names);
    this.onRenewed(this.#current.certificate);
    this.#options.log.info(`renewed the TLS certificate: ${reason}`);
  }

  #whyRenew(names: readonly string[]): string | undefined {
    const { names: certified, notBeforeMs, notAfterMs } = this.#current;
    const wallMs = this.#options.clock.wallMs();
    const added = names.filter((name) => !certified.includes(name));
    const removed = certified.filter((name) => !names.includes(name));
    if (added.length > 0) return `this machine now also has ${added.join(", ")}`;
    if (removed.length > 0) return `this machine no longer has ${removed.join(", ")}`;
    if (wallMs < notBeforeMs) return "the clock was set back to a time before its validity";
    return wallMs > notAfterMs - RENEW_BEFORE_MS ? "it expires soon" : undefined;
  }

  #issue(names: readonly string[]): Issued {
    const { ca, clock } = this.#options;
    const notBeforeMs = clock.wallMs() - BACKDATED_MS;
    const notAfterMs = notBeforeMs + VALID_MS;
    const { cert, key } = this.#sign(ca, { names, notBeforeMs, notAfterMs });
    return { names, notBeforeMs, notAfterMs, certificate: { cert: `${cert}${ca.cert}`, key } };
  }
}

interface Issued {
  readonly names: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly certificate: KeyedCertificate;
}
