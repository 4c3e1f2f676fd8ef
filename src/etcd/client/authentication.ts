/** User and password for etcd, exchanged for a token that is sent with each call. */

import type { Transport } from "@connectrpc/connect";
import { Auth } from "../api/rpc_pb.ts";
import { isAuthenticationDisabled } from "./call_failure.ts";

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
   * `undefined` if authentication is disabled in etcd. Throws `ConnectError`.
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
      const header = new Headers({ hasleader: "true" });
      const response = await transport.unary(
        Auth.method.authenticate,
        undefined,
        timeoutMs,
        header,
        { name: username, password },
      );
      return response.message.token;
    } catch (error) {
      if (isAuthenticationDisabled(error)) return undefined;
      throw error;
    }
  }
}
