/** The document of `flanneld status`, from what the daemon knows. Loaded when it is served. */

import { hostname } from "node:os";
import { valuesOf } from "../addr/family.ts";
import { timestamp } from "../base/timestamp.ts";
import { versionText } from "../cli/version.ts";
import type {
  MtuDocument,
  PeerCountsDocument,
  ProblemDocument,
  StatusDocument,
  StoreDocument,
} from "../control/status_document.ts";
import type { NetworkStatus, ProblemArea } from "./network_status.ts";
import type { StatusFacts } from "./status_facts.ts";

export function statusDocument(facts: StatusFacts): StatusDocument {
  const { options, readiness, clock, config, startedMs } = facts;
  const status = facts.network?.status();
  const external = status?.external;
  const problems = problemsOf(facts, status);
  return {
    version: versionText(),
    pid: process.pid,
    startedAt: timestamp(startedMs),
    time: timestamp(clock.wallMs()),
    subnetFile: options.subnetFile,
    ready: problems.length === 0,
    step: readiness.start?.step ?? null,
    node: {
      hostname: hostname(),
      publicAddresses: valuesOf(external?.publicAddresses ?? {}),
    },
    network: config === undefined ? null : {
      networks: valuesOf(config.families).map(({ network }) => network),
      subnets: valuesOf(status?.own.lease.subnets ?? {}),
    },
    backend: config === undefined
      ? null
      : { type: config.backend.type, devices: status === undefined ? [] : devicesOf(status) },
    externalInterface: external === undefined ? null : {
      name: external.name,
      mtuBytes: external.mtuBytes,
      addresses: valuesOf(external.addresses),
      reasons: facts.reasons ?? [],
    },
    mtu: status === undefined ? null : mtuOf(status, facts),
    store: storeOf(facts, status),
    rules: status === undefined ? null : { mode: status.rules.mode, inSync: status.rules.isInSync },
    peers: status === undefined ? null : peersOf(status),
    repairs: (status?.repairs ?? []).map(({ atMs, action, entry }) => ({
      time: timestamp(atMs),
      action,
      entry,
    })),
    problems,
  };
}

function devicesOf({ backend, own, external }: NetworkStatus): string[] {
  return backend.node({ own: own.lease, external }).flatMap((entry) =>
    entry.kind === "link" ? [entry.name] : []
  );
}

/** The MTU, and whether it was derived from the option MTU, which some backends have. */
function mtuOf({ backend, external }: NetworkStatus, { config }: StatusFacts): MtuDocument {
  const bytes = backend.mtuBytes(external);
  const configured = config?.backend.options["MTU"];
  const base = typeof configured === "number" && configured !== external.mtuBytes &&
      backend.mtuBytes({ ...external, mtuBytes: configured }) === bytes
    ? { base: "configuration" as const, baseBytes: configured }
    : { base: "interface" as const, baseBytes: external.mtuBytes };
  return { bytes, ...base, overheadBytes: base.baseBytes - bytes };
}

function storeOf(
  { opened, clock }: StatusFacts,
  status: NetworkStatus | undefined,
): StoreDocument | null {
  if (opened === undefined) return null;
  const { kind, store } = opened;
  const { connection } = store;
  const remainingMs = status?.own.remainingMs ?? Infinity;
  return {
    kind,
    description: store.description,
    endpoint: connection?.endpoint ?? null,
    connectedSince: connection === undefined ? null : timestamp(connection.sinceMs),
    lease: status === undefined ? null : {
      key: status.own.lease.key,
      expiresAt: remainingMs === Infinity ? null : timestamp(clock.wallMs() + remainingMs),
    },
  };
}

function peersOf(
  { peers: { tunnel, direct, unreachable, ignored, departing } }: NetworkStatus,
): PeerCountsDocument {
  return { tunnel, direct, unreachable, ignored, departing };
}

function problemsOf(
  { readiness: { start } }: StatusFacts,
  status: NetworkStatus | undefined,
): ProblemDocument[] {
  const starting = (text: string) => ({ area: "start", text, action: ACTIONS.start });
  const problems = (status?.problems ?? []).map(({ area, text }) => ({
    area,
    text,
    action: ACTIONS[area],
  }));
  if (start === undefined) return problems;
  return [starting(start.step), ...problems, ...start.details.map(starting)];
}

const ACTIONS: Readonly<Record<ProblemArea | "start", string>> = {
  start: "wait, or fix what the last line of the log names; flanneld continues by itself",
  interface: "restore the interface and its address, or restart flanneld with another --iface",
  rules: "see the log; flanneld installs them as soon as the kernel accepts them",
  "subnet file": "make its directory writable; flanneld tries again every 5 s",
  lease: "stop the other program that writes this node's lease, as the text says",
  "public address": "restore the connection to the store; flanneld tries again",
  peers: "see the log; restart flanneld if this lasts",
  conflict: "delete the entry of the other program; flanneld then installs its own",
  entry: "fix what the kernel reports; flanneld tries again every 30 s or sooner",
  backend: "see the manual of the backend; flanneld tries again",
};
