/** The tokens and users of a datastore, as a file of its data directory. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { isJsonObject } from "../../base/json_object.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { readRegularText, replaceFile } from "../../base/regular_file.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";

/** A token that admits nodes. */
export interface StoredToken {
  readonly id: string;
  /** SHA-256 of the secret, in base64url. */
  readonly hash: string;
  /** Only of the lasting token, whose command can be printed again. */
  readonly secret?: string;
  readonly description: string;
  /** Milliseconds since 1970, as all times of this file. */
  readonly createdMs: number;
  /** `undefined` for a token that does not expire. */
  readonly expiresMs?: number;
}

/** A node, or another client that an operator has added. */
export interface StoredUser {
  readonly name: string;
  /** SHA-256 of the password, which is random, in base64url. */
  readonly hash: string;
  readonly createdMs: number;
  /** ID of the token with which the node joined. */
  readonly token?: string;
  /** The address from which it joined. */
  readonly address?: string;
}

export interface AccessRecord {
  readonly tokens: readonly StoredToken[];
  readonly users: readonly StoredUser[];
}

/** The name of the file. */
export const ACCESS_FILE = "access.json";
const MAX_FILE_BYTES = 64 << 20;

/** `undefined` if there is no file yet. Throws `DatastoreError`. */
export function readAccess(directory: string): AccessRecord | undefined {
  const path = join(directory, ACCESS_FILE);
  if (!existsSync(path)) return undefined;
  try {
    const value: unknown = JSON.parse(readRegularText(path, MAX_FILE_BYTES));
    if (isJsonObject(value) && value["version"] === 1) {
      const { tokens, users } = value;
      if (isList(tokens, ["id", "hash"]) && isList(users, ["name", "hash"])) {
        return { tokens, users } as unknown as AccessRecord;
      }
    }
    throw new Error("it is not a list of tokens and users");
  } catch (cause) {
    // A parser's message would quote the file.
    const reason = cause instanceof SyntaxError ? "it is not JSON" : errorMessage(cause);
    throw new DatastoreError(
      `${path} is damaged (${reason}) and was not changed; restore it from a backup, or move it ` +
        "away and have every node join again",
      { cause },
    );
  }
}

/** Throws `RegularFileError` and the system's errors. */
export function writeAccess(directory: string, record: AccessRecord): Promise<void> {
  const text = `${JSON.stringify({ version: 1, ...record }, undefined, 1)}\n`;
  return replaceFile(join(directory, ACCESS_FILE), text, { mode: 0o600, flush: true });
}

function isList(value: unknown, texts: readonly string[]): boolean {
  return Array.isArray(value) &&
    value.every((one) => isJsonObject(one) && texts.every((key) => typeof one[key] === "string"));
}
