/** The values of `--backend`. */

import { BACKENDS } from "../backend/backend_registry.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import type { FlagReading } from "./flag_values.ts";

export function readBackend(type: string): FlagReading<BackendDescriptor> {
  const value = BACKENDS.find(type);
  return value === undefined ? { allowed: `one of ${BACKENDS.types.join(", ")}` } : { value };
}
