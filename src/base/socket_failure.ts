/** Why a call over a UNIX socket has failed, where the caller can say what to do. */

/**
 * `absent`: no program listens at the socket. `denied`: this user may not connect. `undefined` for
 * any other error.
 */
export function socketFailure(error: unknown): "absent" | "denied" | undefined {
  const { code = "" } = error as { readonly code?: string };
  return ABSENT.has(code) ? "absent" : DENIED.has(code) ? "denied" : undefined;
}

/** Codes of system calls, and of the runtime's `fetch`. */
const ABSENT: ReadonlySet<string> = new Set([
  "ENOENT",
  "ECONNREFUSED",
  "ConnectionRefused",
  "FailedToOpenSocket",
]);
const DENIED: ReadonlySet<string> = new Set(["EACCES", "EPERM"]);
