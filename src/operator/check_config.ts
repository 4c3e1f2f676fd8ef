/**
 * Every mistake in a network configuration, each with its line and column.
 *
 * The daemon's own parsers decide what is a mistake, and stop at the first one. So the key that has
 * it is removed, and the rest is parsed again, until nothing is wrong.
 */

import { BACKENDS } from "../backend/backend_registry.ts";
import { isJsonObject, type JsonObject } from "../base/json_object.ts";
import { quoted } from "../base/quoting.ts";
import { ConfigError } from "../config/config_error.ts";
import {
  type NetworkConfig,
  parseNetworkConfig,
  readNetworkConfig,
  type SubnetAllocation,
} from "../config/network_config.ts";
import { NO_WARNINGS } from "../config/option_schema.ts";
import type { BackendModule } from "../overlay/backend.ts";
import {
  parsePositionedJson,
  positionAt,
  type PositionedMember,
  type PositionedValue,
  type TextPosition,
} from "./positioned_json.ts";

export interface ConfigMistake extends TextPosition {
  /** With an error, no daemon can use the configuration; a warning is probably a mistake. */
  readonly severity: "error" | "warning";
  readonly message: string;
}

export interface ConfigCheck {
  /** In the order of the text. */
  readonly mistakes: readonly ConfigMistake[];
  /** `undefined` if there are errors. */
  readonly config: NetworkConfig | undefined;
}

/** What `flanneld config show` prints instead of a secret. */
export const REDACTED = "[redacted]";

const SOURCE = "the network configuration";

export async function checkConfigText(
  text: string,
  allocation: SubnetAllocation,
): Promise<ConfigCheck> {
  const document = parsePositionedJson(text);
  if ("problem" in document) {
    const message = `not JSON: ${document.problem}`;
    const { offset } = document;
    return {
      mistakes: [{ ...positionAt(text, offset), severity: "error", message }],
      config: undefined,
    };
  }
  return await new Check(text, document, allocation).run();
}

/** The keys of one object of the document, as far as they have no error yet. */
class Check {
  readonly #text: string;
  readonly #document: PositionedValue;
  readonly #allocation: SubnetAllocation;
  readonly #mistakes: ConfigMistake[] = [];
  #hasError = false;

  constructor(text: string, document: PositionedValue, allocation: SubnetAllocation) {
    this.#text = text;
    this.#document = document;
    this.#allocation = allocation;
  }

  async run(): Promise<ConfigCheck> {
    const backend = this.#backend;
    this.#reportRepeated(this.#document.members);
    this.#reportRepeated(backend?.value.members ?? []);
    this.#reportPlaceholders(this.#document.members);
    this.#reportPlaceholders(backend?.value.members ?? []);
    const parsed = this.#parse();
    if (parsed !== undefined) {
      const { config, value } = parsed;
      const warnings = (value: JsonObject) => warningsOf((warn) => this.#read(value, warn));
      this.#reportWarnings(value, this.#document, warnings);
      await this.#checkBackend(config);
    }
    const mistakes = this.#mistakes.toSorted((a, b) => a.line - b.line || a.column - b.column);
    return { mistakes, config: this.#hasError ? undefined : parsed?.config };
  }

  get #backend(): PositionedMember | undefined {
    return memberOf(this.#document, "Backend");
  }

  /** Removes keys until the rest can be parsed. */
  #parse(): { readonly config: NetworkConfig; readonly value: JsonObject } | undefined {
    if (!isJsonObject(this.#document.value)) {
      // The message for what is not an object is that of the parser.
      this.#tryRead(this.#document.value as JsonObject);
      return undefined;
    }
    let value = this.#document.value;
    for (;;) {
      const read = this.#tryRead(value);
      if ("config" in read) return { config: read.config, value };
      const key = read.key === "Type" ? "Backend" : read.key;
      const next = key && withoutKey(value, key);
      // A required key that was removed because it was wrong has been reported.
      if (!next || next === value) return undefined;
      value = next;
    }
  }

  #tryRead(
    value: JsonObject,
  ): { readonly config: NetworkConfig } | { readonly key: string | undefined } {
    try {
      return { config: this.#read(value, NO_WARNINGS.warn) };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { key } = error;
      const wasRemoved = key !== undefined && memberOf(this.#document, key) !== undefined &&
        withoutKey(value, key) === value;
      if (!wasRemoved || key === "Type") this.#report("error", error.message, this.#placeOf(key));
      return { key };
    }
  }

  #read(value: JsonObject, warn: (message: string) => void): NetworkConfig {
    const options = { source: SOURCE, allocation: this.#allocation, warn };
    return value === this.#document.value
      ? parseNetworkConfig(this.#text, options)
      : readNetworkConfig(value, options);
  }

  async #checkBackend(config: NetworkConfig): Promise<void> {
    const container = this.#backend?.value ?? this.#document;
    let module: BackendModule;
    try {
      module = await BACKENDS.forNetwork(config).load();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return this.#report("error", error.message, this.#placeOf(error.key));
    }
    const check = (options: JsonObject, warn: (message: string) => void) =>
      module.checkConfig({ ...config, backend: { ...config.backend, options } }, { warn });
    const failure = (options: JsonObject) => failureOf(() => check(options, NO_WARNINGS.warn));
    let { options } = config.backend;
    for (;;) {
      const error = failure(options);
      if (error === undefined) break;
      const key = error.key ?? culprit(options, failure);
      const member = key === undefined ? undefined : memberOf(container, key);
      this.#report("error", error.message, member ?? this.#placeOf("Backend"));
      const next = key === undefined ? options : withoutKey(options, key);
      if (next === options) return;
      options = next;
      // An option that is required and wrong is reported once.
      const after = failure(options);
      if (after !== undefined && after.key === key) return;
    }
    const warnings = (options: JsonObject) => warningsOf((warn) => check(options, warn));
    this.#reportWarnings(options, container, warnings);
  }

  /** A warning is about the one key without which it does not occur, if there is one. */
  #reportWarnings(
    value: JsonObject,
    container: PositionedValue,
    warnings: (value: JsonObject) => readonly string[],
  ): void {
    const all = warnings(value);
    if (all.length === 0) return;
    const keys = Object.keys(value).slice(0, MAX_KEYS);
    const without = keys.map((key) => ({ key, warnings: warnings(withoutKey(value, key)) }));
    for (const warning of all) {
      const [one, another] = without.filter(({ warnings }) => !warnings.includes(warning));
      const member = one && !another ? memberOf(container, one.key) : undefined;
      this.#report("warning", warning, member ?? container);
    }
  }

  #reportRepeated(members: readonly PositionedMember[]): void {
    for (const named of Map.groupBy(members, ({ name }) => name.toLowerCase()).values()) {
      for (const { name, offset } of named.slice(0, -1)) {
        const message = `${quoted(name)} is given ${named.length} times; the last one counts`;
        this.#report("warning", message, { offset });
      }
    }
  }

  #reportPlaceholders(members: readonly PositionedMember[]): void {
    for (const { name, value } of members) {
      if (value.value !== REDACTED) continue;
      const message = `${name} is ${quoted(REDACTED)}, which flanneld config show prints instead ` +
        "of a secret; write the secret";
      this.#report("error", message, value);
    }
  }

  #placeOf(key: string | undefined): { readonly offset: number } {
    if (key === undefined) return this.#document;
    const backend = this.#backend;
    return memberOf(this.#document, key) ?? (backend && memberOf(backend.value, key)) ??
      (key === "Type" ? backend : undefined) ?? this.#document;
  }

  #report(
    severity: ConfigMistake["severity"],
    message: string,
    { offset }: { readonly offset: number },
  ): void {
    if (severity === "error") this.#hasError = true;
    const mistake = { ...positionAt(this.#text, offset), severity, message };
    if (!this.#mistakes.some((one) => JSON.stringify(one) === JSON.stringify(mistake))) {
      this.#mistakes.push(mistake);
    }
  }
}

/** Enough for every option; the time grows with its square. */
const MAX_KEYS = 100;

/** The key without which the check succeeds, or fails differently. */
function culprit(
  options: JsonObject,
  failure: (options: JsonObject) => ConfigError | undefined,
): string | undefined {
  const message = failure(options)?.message;
  const keys = Object.keys(options).slice(0, MAX_KEYS);
  return keys.find((key) => failure(withoutKey(options, key)) === undefined) ??
    keys.find((key) => failure(withoutKey(options, key))?.message !== message);
}

function failureOf(check: () => unknown): ConfigError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
}

/** The warnings until the check ends or fails. */
function warningsOf(check: (warn: (message: string) => void) => unknown): string[] {
  const warnings: string[] = [];
  failureOf(() => check((message) => warnings.push(message)));
  return warnings;
}

/** The last one of this name, which counts. */
function memberOf({ members }: PositionedValue, key: string): PositionedMember | undefined {
  return members.findLast(({ name }) => name.toLowerCase() === key.toLowerCase());
}

/** The object itself if it has no such key. Keys match in any case. */
function withoutKey(value: JsonObject, key: string): JsonObject {
  const entries = Object.entries(value);
  const rest = entries.filter(([name]) => name.toLowerCase() !== key.toLowerCase());
  return rest.length === entries.length ? value : Object.fromEntries(rest);
}
