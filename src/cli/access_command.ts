/** `flanneld datastore token` and `flanneld datastore user`: who may join, and who has joined. */

import { assertNever } from "../base/assert_never.ts";
import { tableLines } from "../base/text_table.ts";
import { timestamp } from "../base/timestamp.ts";
import { callControl } from "../datastore/access/control_client.ts";
import type {
  IssuedToken,
  ListedToken,
  ListedUser,
  UserAccess,
} from "../datastore/access/control_protocol.ts";
import { DatastoreError } from "../datastore/mvcc/datastore_error.ts";

export type AccessAction =
  | { readonly kind: "show" }
  | { readonly kind: "create"; readonly description: string; readonly ttlSeconds: number }
  | { readonly kind: "list" }
  | { readonly kind: "rotate" }
  | { readonly kind: "revoke"; readonly id: string }
  | { readonly kind: "list-users" }
  | { readonly kind: "add-user"; readonly name: string }
  | { readonly kind: "remove-user"; readonly name: string };

/** What a command prints: its result to standard output, an explanation to standard error. */
export interface AccessOutput {
  readonly out: string;
  readonly note: string;
}

/** Performs it on the datastore that serves `directory`. Throws `DatastoreError`. */
export async function performAccess(
  directory: string,
  action: AccessAction,
): Promise<AccessOutput> {
  switch (action.kind) {
    case "show": {
      const token = await callControl(directory, "lastingToken", null);
      if (token === null) {
        throw new DatastoreError(
          "the token that does not expire was revoked; make one that does with flanneld " +
            "datastore token create, or another lasting one with flanneld datastore token rotate",
        );
      }
      return { out: commandOf(token), note: otherAddresses(token) };
    }
    case "create": {
      const { description, ttlSeconds } = action;
      const token = await callControl(directory, "createToken", { description, ttlSeconds });
      const until = token.expiresMs === undefined
        ? "does not expire"
        : `expires at ${timestamp(token.expiresMs)}`;
      const note = `token ${token.id} ${until}; it is shown only now\n${otherAddresses(token)}`;
      return { out: commandOf(token), note };
    }
    case "list":
      return { out: tokenTable(await callControl(directory, "listTokens", null)), note: "" };
    case "rotate": {
      const token = await callControl(directory, "rotateToken", null);
      const note = `the earlier token is no longer valid; ${NODES_STAY}\n${otherAddresses(token)}`;
      return { out: commandOf(token), note };
    }
    case "revoke":
      await callControl(directory, "revokeToken", action.id);
      return { out: "", note: `token ${action.id} is no longer valid; ${NODES_STAY}\n` };
    case "list-users":
      return { out: userTable(await callControl(directory, "listUsers", null)), note: "" };
    case "add-user": {
      const access = await callControl(directory, "addUser", action.name);
      const note = `the password is shown only now; copy ${access.caFile} to the machine that ` +
        "uses it, and adapt its path\n";
      return { out: variablesOf(access), note };
    }
    case "remove-user": {
      const validTokens = await callControl(directory, "removeUser", action.name);
      return { out: "", note: `${action.name} is cut off; ${rejoinText(validTokens)}\n` };
    }
    default:
      return assertNever(action);
  }
}

const NODES_STAY = "nodes that have joined with it remain members, and flanneld datastore user " +
  "remove cuts one off";

function rejoinText(validTokens: number): string {
  return validTokens === 0
    ? "it cannot join again without a new token"
    : `it can join again if it has one of the ${validTokens} valid tokens: see flanneld ` +
      "datastore token rotate";
}

function commandOf({ targets }: IssuedToken): string {
  return `flanneld --join ${targets[0]}\n`;
}

function otherAddresses({ targets }: IssuedToken): string {
  const others = targets.slice(1).map((target) => target.slice(target.lastIndexOf("@")));
  if (others.length === 0) return "";
  return `other addresses of this machine: ${others.join(", ")}; --advertise of flanneld ` +
    "datastore chooses one\n";
}

/** For flanneld, Go flannel, and etcdctl with ETCDCTL_ instead of FLANNELD_ETCD_. */
function variablesOf({ endpoint, caFile, name, password }: UserAccess): string {
  return `FLANNELD_ETCD_ENDPOINTS=${endpoint}\nFLANNELD_ETCD_CAFILE=${caFile}\n` +
    `FLANNELD_ETCD_USERNAME=${name}\nFLANNELD_ETCD_PASSWORD=${password}\n`;
}

function tokenTable(tokens: readonly ListedToken[]): string {
  return table(
    ["TOKEN", "CREATED", "EXPIRES", "DESCRIPTION"],
    tokens.map((token) => [
      token.id,
      timestamp(token.createdMs),
      token.isExpired ? "expired" : token.expiresMs === undefined ? "never" : timestamp(
        token.expiresMs,
      ),
      token.description,
    ]),
  );
}

function userTable(users: readonly ListedUser[]): string {
  return table(
    ["USER", "JOINED", "TOKEN", "FROM"],
    users.map((user) => [
      user.name,
      timestamp(user.createdMs),
      user.token ?? "-",
      user.address ?? "-",
    ]),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return tableLines([head, ...rows]).map((line) => `${line}\n`).join("");
}
