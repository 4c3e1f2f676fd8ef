/** User and password for etcd, exchanged for a token that is sent with each call. */

import { isAuthenticationDisabled } from "./call_failure.ts";
import { etcdMethods } from "./etcd_messages.ts";
import type { Transport } from "./grpc_transport.ts";

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

export class Authentication {
  readonly #credentials: Credentials;
  #token: Promise<string | undefined> | undefined;
  #accepted: string | undefined;

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  /**
   * The token, requested at the first use and after `forget`; concurrent callers share one request.
   * `undefined` if authentication is disabled in etcd. Throws what the transport throws.
   */
  token(transport: Transport, timeoutMs: number): Promise<string | undefined> {
    this.#token ??= this.#authenticate(transport, timeoutMs).then((token) => {
      this.#accepted = token;
      return token;
    }, (error) => {
      this.#token = undefined;
      throw error;
    });
    return this.#token;
  }

  /** The server did not accept this token. A newer one that was obtained meanwhile is kept. */
  forget(token: string | undefined): void {
    if (token === this.#accepted) this.#token = undefined;
  }

  async #authenticate(transport: Transport, timeoutMs: number): Promise<string | undefined> {
    try {
      const { username, password } = this.#credentials;
      const message = { name: username, password };
      const options = { header: { hasleader: "true" }, timeoutMs };
      const { token } = await transport.unary(etcdMethods.authenticate, message, options);
      return token;
    } catch (error) {
      if (isAuthenticationDisabled(error)) return undefined;
      throw error;
    }
  }
}
