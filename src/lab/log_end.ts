/** The last lines of a program's log, for the error that reports its end. */

import { readFileSync } from "node:fs";

const LINES = 10;

export function logEnd(path: string): string {
  return readFileSync(path, "utf8").trimEnd().split("\n").slice(-LINES).join("\n");
}
