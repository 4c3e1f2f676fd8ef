/** Members of a kubeconfig, with checks whose messages name the member and never show a secret. */

import { isJsonObject, type JsonObject } from "../base/json_object.ts";
import { OperatorError } from "../base/operator_error.ts";
import { quoted } from "../base/quoting.ts";

/** A member is missing or wrong. The message does not name the file. */
export class KubeconfigProblem extends OperatorError {
  override readonly name = "KubeconfigProblem";
}

/** One object of the file. Absent members and null read as empty. */
export class KubeconfigReader {
  readonly #members: JsonObject;
  /** Such as `cluster "k"`. */
  readonly #of: string;

  static of(value: unknown, of: string): KubeconfigReader {
    if (isJsonObject(value)) return new KubeconfigReader(value, of);
    throw new KubeconfigProblem(`${of} is ${typeOf(value)}, not an object`);
  }

  private constructor(members: JsonObject, of: string) {
    this.#members = members;
    this.#of = of;
  }

  has(name: string): boolean {
    return this.#value(name) !== undefined;
  }

  /** The unchecked value, such as an extension. */
  raw(name: string): unknown {
    return this.#value(name);
  }

  text(name: string): string {
    const value = this.#value(name) ?? "";
    if (typeof value === "string") return value;
    throw this.problem(name, `is ${quoted(value)}, not a string; write it in quotes`);
  }

  /** As `text`, but the value appears in no message. */
  secret(name: string): string {
    const value = this.#value(name) ?? "";
    if (typeof value === "string") return value;
    throw this.problem(name, `is ${typeOf(value)}, not a string; write it in quotes`);
  }

  required(name: string): string {
    const value = this.text(name);
    if (value !== "") return value;
    throw this.problem(name, "is missing");
  }

  flag(name: string): boolean {
    const value = this.#value(name) ?? false;
    if (typeof value === "boolean") return value;
    throw this.problem(name, `is ${quoted(value)}; write true or false`);
  }

  /** Decoded text. */
  base64(name: string): string {
    const value = this.secret(name).replace(/\s/g, "");
    if (/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return Buffer.from(value, "base64").toString();
    throw this.problem(
      name,
      `is not base64; the path of a file belongs in ${name.replace(/-data$/, "")}`,
    );
  }

  inner(name: string): KubeconfigReader | undefined {
    const value = this.#value(name);
    return value === undefined ? undefined : KubeconfigReader.of(value, this.place(name));
  }

  list(name: string): readonly unknown[] {
    const value = this.#value(name) ?? [];
    if (Array.isArray(value)) return value;
    throw this.problem(name, `is ${typeOf(value)}, not a list`);
  }

  /** The member `kind` of the entry with this name in a list such as `clusters`. */
  named(list: string, name: string, kind: string): KubeconfigReader {
    const entry = this.list(list).find((one) => nameOf(one) === name);
    if (entry !== undefined) {
      return KubeconfigReader.of(
        (entry as Record<string, unknown>)[kind],
        `${kind} ${quoted(name)}`,
      );
    }
    throw new KubeconfigProblem(`${list} has no entry with the name ${quoted(name)}`);
  }

  /** A member in words, such as `server of cluster "k"`. */
  place(name: string): string {
    return `${name} of ${this.#of}`;
  }

  problem(name: string, what: string): KubeconfigProblem {
    return new KubeconfigProblem(`${this.place(name)} ${what}`);
  }

  #value(name: string): unknown {
    return Object.hasOwn(this.#members, name) ? this.#members[name] ?? undefined : undefined;
  }
}

function nameOf(entry: unknown): unknown {
  return (entry as { readonly name?: unknown } | null)?.name;
}

function typeOf(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
