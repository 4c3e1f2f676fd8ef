/** As much of JSON Schema as docs/api.md uses. */

import { readFileSync } from "node:fs";

export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly $schema?: string;
}

/** Where and why a value does not conform, one line each. */
export function schemaProblems(value: unknown, schema: JsonSchema, at = "$"): string[] {
  if (schema.enum !== undefined) {
    return schema.enum.includes(value) ? [] : [`${at}: ${JSON.stringify(value)}`];
  }
  const types = [schema.type ?? []].flat();
  if (!types.some((type) => isOfType(value, type))) return [`${at} is not ${types.join(" or ")}`];
  if (typeof value === "string") {
    const { pattern } = schema;
    return pattern === undefined || new RegExp(pattern).test(value) ? [] : [`${at}: ${value}`];
  }
  if (typeof value === "number") return value >= (schema.minimum ?? -Infinity) ? [] : [`${at} < 0`];
  if (Array.isArray(value)) {
    return value.flatMap((item, i) => schemaProblems(item, schema.items ?? {}, `${at}[${i}]`));
  }
  if (typeof value !== "object" || value === null) return [];
  const { properties = {}, required = [] } = schema;
  const missing = required.filter((name) => !Object.hasOwn(value, name));
  return [
    ...missing.map((name) => `${at}.${name} is missing`),
    ...Object.entries(value).flatMap(([name, item]) => {
      const property = properties[name];
      if (property !== undefined) return schemaProblems(item, property, `${at}.${name}`);
      return schema.additionalProperties === false ? [`${at}.${name} is unknown`] : [];
    }),
  ];
}

/** The paths of a schema at which there is a value other than `null` in one of the documents. */
export function unusedMembers(
  documents: readonly unknown[],
  schema: JsonSchema,
  at = "$",
): string[] {
  const values = documents.filter((value) => value !== null && value !== undefined);
  if (values.length === 0) return [at];
  if (schema.items !== undefined) {
    return unusedMembers(values.flatMap((value) => value as unknown[]), schema.items, `${at}[]`);
  }
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
    unusedMembers(
      values.map((value) => (value as Record<string, unknown>)[name]),
      property,
      `${at}.${name}`,
    )
  );
}

function isOfType(value: unknown, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "integer":
      return Number.isInteger(value);
    case "array":
      return Array.isArray(value);
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "boolean":
      return typeof value === "boolean";
    default:
      return type === "string" && typeof value === "string";
  }
}

/** That of `/v1/status` in docs/api.md. */
export function statusSchema(): JsonSchema {
  return documentedSchema("/v1/status");
}

export function peersSchema(): JsonSchema {
  return documentedSchema("/v1/peers");
}

function documentedSchema(path: string): JsonSchema {
  const page = readFileSync(new URL("../../docs/api.md", import.meta.url).pathname, "utf8");
  const [, section = ""] = page.split(`\n## GET ${path}\n`);
  const [, text = ""] = /^```json\n([^]*?)^```$/m.exec(section) ?? [];
  return JSON.parse(text) as JsonSchema;
}
