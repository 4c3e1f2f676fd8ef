/** A time as RFC 3339 has it, in UTC and whole seconds, such as `2026-01-02T03:04:05Z`. */
export function timestamp(msSince1970: number): string {
  return new Date(msSince1970).toISOString().replace(/\.\d+/, "");
}
