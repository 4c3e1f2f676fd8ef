/** The status of a daemon on one screen. */

import { printableLine } from "../base/quoting.ts";
import type { MtuDocument, StatusDocument, StoreDocument } from "./status_document.ts";
import { type Paint, PLAIN, wrapped } from "./terminal_text.ts";

export interface TextOptions {
  /** Columns of the terminal. */
  readonly width: number;
  readonly paint?: Paint;
}

const LABEL_WIDTH = 12;

/** One row below the other. What the daemon sent is escaped: it contains names from elsewhere. */
export function statusText(
  document: StatusDocument,
  { width, paint = PLAIN }: TextOptions,
): string {
  const lines = [headline(document, paint)];
  const linesOf = (text: string) => wrapped(printableLine(text), width - LABEL_WIDTH);
  for (const [label, texts] of rowsOf(document)) {
    lines.push(...labelled(label, texts.flatMap(linesOf)));
  }
  for (const { text, action } of document.problems) {
    const [first = "", ...rest] = linesOf(text);
    lines.push(...labelled("problem", [paint.bad(first), ...rest, ...linesOf(`to do: ${action}`)]));
  }
  return lines.map((line) => `${line}\n`).join("");
}

/** The label stands before the first line; the others are indented. */
function labelled(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => `${(index === 0 ? label : "").padEnd(LABEL_WIDTH)}${line}`);
}

function headline({ version, pid, ready, startedAt, time }: StatusDocument, paint: Paint): string {
  const state = ready ? paint.good("ready") : paint.bad("not ready");
  return `flanneld ${printableLine(version)}: ${state}, process ${pid}, ` +
    `running for ${elapsedText(startedAt, time)}`;
}

function rowsOf(document: StatusDocument): (readonly [label: string, texts: readonly string[]])[] {
  const { node, network, backend, externalInterface, mtu, store, rules, peers } = document;
  const { repairs, time, subnetFile } = document;
  const rows: (readonly [string, readonly string[]])[] = [
    ["node", [[node.hostname, ...node.publicAddresses].join(", ")]],
  ];
  if (network !== null) {
    const subnets = network.subnets.length === 0 ? "none yet" : network.subnets.join(" and ");
    rows.push(["subnet", [`${subnets}, of ${network.networks.join(" and ")}`]]);
  }
  rows.push(["subnet file", [subnetFile]]);
  if (backend !== null) {
    const devices = backend.devices.length === 0 ? "" : `, device ${backend.devices.join(", ")}`;
    rows.push(["backend", [`${backend.type}${devices}`]]);
  }
  if (externalInterface !== null) {
    const { name, addresses, reasons } = externalInterface;
    rows.push(["interface", [[name, ...addresses].join(", "), ...reasons]]);
  }
  if (mtu !== null) rows.push(["MTU", [mtuText(mtu, document)]]);
  if (store !== null) rows.push(["store", storeTexts(store, time)]);
  if (rules !== null) {
    rows.push(["rules", [`${rules.mode}, ${rules.inSync ? "in sync" : "not in sync"}`]]);
  }
  if (peers !== null) {
    const counts = Object.entries(peers).map(([path, count]) => `${count} ${path}`);
    rows.push(["peers", [counts.join(", ")]]);
  }
  const texts = repairs.map(({ time, action, entry }) => `${time} ${action}: ${entry}`);
  rows.push(["repairs", texts.length === 0 ? ["none"] : texts]);
  return rows;
}

function mtuText(
  { bytes, base, baseBytes, overheadBytes }: MtuDocument,
  { externalInterface, backend }: StatusDocument,
): string {
  const origin = base === "interface"
    ? `the ${baseBytes} of ${externalInterface?.name}`
    : `the ${baseBytes} of the option MTU`;
  return overheadBytes === 0
    ? `${bytes}: ${origin}`
    : `${bytes}: ${origin}, less ${overheadBytes} for ${backend?.type}`;
}

function storeTexts(store: StoreDocument, time: string): string[] {
  const { kind, description, endpoint, connectedSince, lease } = store;
  const connection = endpoint !== null && connectedSince !== null
    ? [`connected to ${endpoint} for ${elapsedText(connectedSince, time)}`]
    : kind === "kubernetes"
    ? []
    : ["not connected"];
  const what = kind === "datastore"
    ? description.replace(/^etcd/, "flanneld datastore")
    : description;
  if (lease === null) return [what, ...connection];
  const { key, expiresAt } = lease;
  const expiry = expiresAt === null
    ? ""
    : `, expires in ${elapsedText(time, expiresAt)} unless renewed`;
  return [what, ...connection, `lease ${key}${expiry}`];
}

/** Such as `3 d 4 h`, `12 min`, `5 s`. */
export function elapsedText(from: string, to: string): string {
  const seconds = Math.max(0, Math.round((Date.parse(to) - Date.parse(from)) / 1000));
  if (!Number.isFinite(seconds)) return "an unknown time";
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days > 0) return `${days} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  return minutes > 0 ? `${minutes} min` : `${seconds} s`;
}
