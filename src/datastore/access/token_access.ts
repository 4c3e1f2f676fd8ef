/** Access by tokens: the CA, the server's certificate, and who may use the datastore. */

import { isUnspecified } from "../../addr/ip.ts";
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../log/log.ts";
import { AccessControl } from "./access_control.ts";
import { ACCESS_FILE } from "./access_record.ts";
import type { DatastoreCa } from "./datastore_ca.ts";
import { serveControl } from "./control_server.ts";
import type { PreparedAccess } from "./prepared_access.ts";
import { ServerIdentity } from "./server_identity.ts";
import { reachableAddresses, serverNames } from "./server_names.ts";

export interface TokenAccessOptions {
  /** Addresses and names for nodes, the best one first, besides the machine's own. */
  readonly advertise: readonly string[];
  /** Used by a directory that has no CA and no tokens yet. */
  readonly prepared?: PreparedAccess | undefined;
}

export interface TokenAccessContext extends TokenAccessOptions {
  readonly ca: DatastoreCa;
  /** The data directory, which this process has locked. */
  readonly directory: string;
  /** The address that the server listens on. */
  readonly host: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class TokenAccess implements Disposable {
  readonly control: AccessControl;
  readonly identity: ServerIdentity;
  readonly #context: TokenAccessContext;

  /** Throws `DatastoreError` for unusable files. */
  static async open(context: TokenAccessContext): Promise<TokenAccess> {
    const { ca, directory, clock, log } = context;
    const { fingerprint } = ca;
    const { prepared } = context;
    const firstToken = prepared?.token.fingerprint === fingerprint ? prepared.token : undefined;
    const control = await AccessControl.open({ directory, fingerprint, firstToken, clock, log });
    if (prepared !== undefined) reportUnusedSecret(context, control, prepared);
    const names = () => serverNames([...context.advertise, context.host]);
    return new TokenAccess(
      context,
      control,
      await ServerIdentity.create({ ca, names, clock, log }),
    );
  }

  private constructor(
    context: TokenAccessContext,
    control: AccessControl,
    identity: ServerIdentity,
  ) {
    this.#context = context;
    this.control = control;
    this.identity = identity;
  }

  [Symbol.dispose](): void {
    this.identity[Symbol.dispose]();
  }

  /** Where nodes reach a server on this address, the best address or name first. */
  get hosts(): readonly string[] {
    const { advertise, host } = this.#context;
    if (advertise.length > 0) return advertise;
    if (!isUnspecified(host)) return [host];
    const addresses = reachableAddresses();
    return addresses.length > 0 ? addresses : ["127.0.0.1"];
  }

  /** Serves the operator's commands until disposed. */
  serveControl(port: number): Disposable {
    const { directory } = this.#context;
    return serveControl({ directory, control: this.control, hosts: () => this.hosts, port });
  }
}

/** Warns if nodes cannot join with the secret's token: the directory has another CA or token. */
function reportUnusedSecret(
  { ca, directory, log }: TokenAccessContext,
  control: AccessControl,
  { token }: PreparedAccess,
): void {
  const reason = token.fingerprint !== ca.fingerprint
    ? `${directory} has another CA`
    : !control.admits(token)
    ? `its token was revoked, or ${ACCESS_FILE} in ${directory} is older`
    : undefined;
  if (reason === undefined) return;
  log.warn(
    `ignoring the secret ${token.id}: ${reason}, and nodes with the token of this secret cannot ` +
      "join; remove the secret, and give the nodes the command that flanneld datastore token " +
      "prints here",
  );
}
