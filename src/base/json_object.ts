/** Objects of parsed JSON or YAML, before their members are checked. */

export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether it is an object, and not null or an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
