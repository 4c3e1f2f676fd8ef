/**
 * The socket in the data directory on which operators change tokens and users. The datastore alone
 * writes them, so each change takes effect at once. Access to the socket is access to the
 * directory: its owner's and root's.
 */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { urlHost } from "../../addr/ip.ts";
import { isJsonObject } from "../../base/json_object.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { joinTargetText, type JoinToken } from "../../join/join_token.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import type { AccessControl } from "./access_control.ts";
import { CONTROL_SOCKET, type ControlCommands, type IssuedToken } from "./control_protocol.ts";
import { CA_CERTIFICATE } from "./datastore_ca.ts";

export interface ControlServerOptions {
  readonly directory: string;
  readonly control: AccessControl;
  /** Where nodes reach this datastore, the best address or name first. */
  readonly hosts: () => readonly string[];
  readonly port: number;
}

/** Serves until disposed. Throws `DatastoreError`. */
export function serveControl(options: ControlServerOptions): Disposable {
  const path = join(options.directory, CONTROL_SOCKET);
  const handlers = controlHandlers(options);
  // Of a process that was killed: this one holds the lock of the directory.
  rmSync(path, { force: true });
  const umask = process.umask(0o177);
  try {
    const server = Bun.serve({ unix: path, fetch: (request) => answer(request, handlers) });
    return {
      [Symbol.dispose]: () => {
        void server.stop(true);
        rmSync(path, { force: true });
      },
    };
  } catch (cause) {
    throw new DatastoreError(
      `cannot listen on ${path}: ${errorMessage(cause)}; choose a --data-dir with a shorter path ` +
        "on a local disk",
      { cause },
    );
  } finally {
    process.umask(umask);
  }
}

type Handlers = {
  readonly [Command in keyof ControlCommands]: (
    argument: ControlCommands[Command]["argument"],
  ) => Promise<ControlCommands[Command]["result"]>;
};

async function answer(request: Request, handlers: Handlers): Promise<Response> {
  try {
    const body: unknown = await request.json();
    const { command, argument } = isJsonObject(body) ? body : {};
    if (typeof command !== "string" || !Object.hasOwn(handlers, command)) {
      throw new DatastoreError("this datastore does not know the command: restart it");
    }
    const handle = handlers[command as keyof Handlers] as (argument: unknown) => Promise<unknown>;
    return Response.json({ result: await handle(argument) });
  } catch (error) {
    return Response.json({ error: errorMessage(error) });
  }
}

function controlHandlers(
  { directory, control, hosts, port }: ControlServerOptions,
): Handlers {
  const issued = (token: JoinToken): IssuedToken => {
    const stored = control.tokens.find(({ id }) => id === token.id);
    return {
      id: token.id,
      targets: hosts().map((host) => joinTargetText({ token, host, port })),
      ...(stored?.expiresMs !== undefined && { expiresMs: stored.expiresMs }),
    };
  };
  return {
    lastingToken: () => {
      const token = control.lastingToken;
      return Promise.resolve(token === undefined ? null : issued(token));
    },
    createToken: async (token) =>
      issued(
        await control.createToken({
          ...token,
          ttlSeconds: token.ttlSeconds > 0 ? token.ttlSeconds : undefined,
        }),
      ),
    listTokens: () =>
      Promise.resolve(control.tokens.map(({ hash: _hash, secret: _secret, ...token }) => ({
        ...token,
        isExpired: control.isExpired(token),
      }))),
    rotateToken: async () => issued(await control.rotateToken()),
    revokeToken: async (id) => {
      await control.revokeToken(id);
      return null;
    },
    listUsers: () => Promise.resolve(control.users.map(({ hash: _hash, ...user }) => user)),
    addUser: async (name) => {
      const endpoint = `https://${urlHost(hosts()[0] ?? "127.0.0.1")}:${port}`;
      const caFile = join(directory, CA_CERTIFICATE);
      return { ...await control.addUser(name), caFile, endpoint };
    },
    removeUser: async (name) => {
      await control.removeUser(name);
      return control.tokens.filter((token) => !control.isExpired(token)).length;
    },
  };
}
