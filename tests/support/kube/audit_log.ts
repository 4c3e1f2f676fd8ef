/** The API server's audit log: which calls a service account made, and those without an account. */

import { readFileSync } from "node:fs";

export interface AuditedCall {
  /** When the server received it, in milliseconds since 1970. */
  readonly timeMs: number;
  readonly verb: string;
  /** Path and query. */
  readonly uri: string;
  readonly status: number;
  readonly userAgent: string;
  /** The content of a patch. */
  readonly body: unknown;
}

/**
 * What is logged: all calls of service accounts, with the content of their patches, and the calls
 * whose credentials the server did not accept, which belong to no group.
 */
export const AUDIT_POLICY = JSON.stringify({
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [
    { level: "Request", userGroups: ["system:serviceaccounts"], verbs: ["patch"] },
    { level: "Metadata", userGroups: ["system:serviceaccounts"] },
    { level: "None", userGroups: ["system:authenticated", "system:unauthenticated"] },
    { level: "Metadata" },
  ],
});

/** The calls of a user as the server received them; a watch counts when it begins. */
export function readAuditLog(file: string, user: string): AuditedCall[] {
  return auditEvents(file).filter((event) =>
    event.user.username === user &&
    event.stage === (event.verb === "watch" ? "ResponseStarted" : "ResponseComplete")
  ).map(auditedCall).sort((a, b) => a.timeMs - b.timeMs);
}

/** The calls whose credentials the server did not accept: it does not know whose they are. */
export function readRefusedCalls(file: string): AuditedCall[] {
  return auditEvents(file).filter(({ user }) => user.username === undefined).map(auditedCall);
}

function auditEvents(file: string): AuditEvent[] {
  return readFileSync(file, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

function auditedCall(event: AuditEvent): AuditedCall {
  return {
    timeMs: Date.parse(event.requestReceivedTimestamp),
    verb: event.verb,
    uri: event.requestURI,
    status: event.responseStatus?.code ?? 0,
    userAgent: event.userAgent ?? "",
    body: event.requestObject,
  };
}

interface AuditEvent {
  readonly stage: string;
  readonly requestReceivedTimestamp: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username?: string };
  readonly userAgent?: string;
  readonly responseStatus?: { readonly code?: number };
  readonly requestObject?: unknown;
}
