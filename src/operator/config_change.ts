/** What another network configuration changes, and for which nodes. Pure. */

import { entriesOf } from "../addr/family.ts";
import { isJsonObject } from "../base/json_object.ts";
import { printableName, quoted } from "../base/quoting.ts";
import { assignableText, type NetworkConfig } from "../config/network_config.ts";
import type { OptionSchema } from "../config/option_schema.ts";
import { publicAddressDefect } from "../config/public_address_rule.ts";
import { subnetFits } from "../subnet/allocation.ts";
import type { LeaseRecord } from "../subnet/etcd/lease_records.ts";
import { isInvalidLease } from "../subnet/lease_codec.ts";
import { effectiveConfigText } from "./config_text.ts";
import { isReservation, recordAddress, recordName, sessionOfNode } from "./stored_lease.ts";
import type { StoredNetwork } from "./stored_network.ts";

/** A configuration with the options of its backend. */
export interface CompleteConfig {
  readonly config: NetworkConfig;
  readonly options: OptionSchema;
}

/** A line for each key whose value differs, such as `SubnetLen: 24 -> 25`; without secrets. */
export function changedKeys(before: CompleteConfig, after: CompleteConfig): string[] {
  const isOtherBackend = before.config.backend.type !== after.config.backend.type;
  // The options of two backends have nothing in common; what is not the default matters.
  const valuesOf = isOtherBackend ? chosenValues : allValues;
  const [old, next] = [valuesOf(before), valuesOf(after)];
  const changed = [...new Set([...old.keys(), ...next.keys()])].flatMap((key) => {
    const [from = "none", to = "none"] = [old.get(key), next.get(key)];
    return from === to ? [] : [`${key}: ${from} -> ${to}`];
  });
  if (isOtherBackend) return changed;
  const secrets = secretNames(after).filter((name) =>
    optionOf(before, name) !== optionOf(after, name)
  );
  return [...changed, ...secrets.map((name) => `Backend.${name}: another secret`)];
}

/** By key, with `Backend.` before the options of the backend. */
function allValues({ config, options }: CompleteConfig): Map<string, string> {
  const document = JSON.parse(effectiveConfigText(config, options, "flanneld")) as object;
  return new Map(
    Object.entries(document).flatMap(([key, value]) =>
      isJsonObject(value)
        ? Object.entries(value).map(([name, option]): [string, string] => [
          `${key}.${printableName(name)}`,
          quoted(option),
        ])
        : [[key, quoted(value)]]
    ),
  );
}

/** Those, without options that have their defaults. */
function chosenValues(given: CompleteConfig): Map<string, string> {
  const defaults = new Map(
    Object.entries(given.options).map(([name, { default: value }]) => [
      `Backend.${name}`,
      quoted(Array.isArray(value) ? value.join(" ") : value),
    ]),
  );
  return new Map([...allValues(given)].filter(([key, value]) => defaults.get(key) !== value));
}

function secretNames({ options }: CompleteConfig): string[] {
  return Object.entries(options).filter(([, { isSecret }]) => isSecret).map(([name]) => name);
}

function optionOf({ config: { backend } }: CompleteConfig, name: string): unknown {
  const entries = Object.entries(backend.options);
  return entries.findLast(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];
}

export interface ConfigEffects {
  /** Nodes that lose their subnet, or cannot start; a line each. */
  readonly losses: readonly string[];
  /** Other effects, a line each. */
  readonly notes: readonly string[];
}

/**
 * What the configuration means for the nodes with these leases, when they are restarted. A lease
 * that has not expired counts as that of a node that runs: one of Go flannel has no session.
 */
export function configEffects(
  { before, after, network, isTaken }: {
    /** `undefined` if there was none, or an invalid one. */
    readonly before: NetworkConfig | undefined;
    readonly after: NetworkConfig;
    readonly network: Pick<StoredNetwork, "leases" | "sessions">;
    /** Whether a node has taken the reservation. */
    readonly isTaken: (record: LeaseRecord) => boolean;
  },
): ConfigEffects {
  const losses: string[] = [];
  const notes: string[] = [];
  const isUsed = (record: LeaseRecord) => !isReservation(record) || isTaken(record);
  for (const record of network.leases) {
    const reason = whyLost(record, after);
    if (reason === undefined) continue;
    if (isUsed(record)) losses.push(`${nodeName(record, network)} ${reason}`);
    else notes.push(`no node could then take the reservation of ${recordName(record)}`);
  }
  const running = network.leases.filter(isUsed).length;
  if (running > 0 && before !== undefined) {
    if (before.backend.type !== after.backend.type) {
      notes.push(
        `nodes with ${before.backend.type} and nodes with ${after.backend.type} ignore each ` +
          "other until all of them are restarted",
      );
    }
    const nodes = running === 1 ? "1 node keeps" : `${running} nodes keep`;
    notes.push(`${nodes} the previous configuration until flanneld is restarted there`);
  }
  return { losses, notes };
}

/** What its node loses at its next start, to follow its name; `undefined` if nothing. */
function whyLost(record: LeaseRecord, { families }: NetworkConfig): string | undefined {
  for (const [family, subnet] of entriesOf(record.subnets)) {
    const network = families[family];
    if (network === undefined) return `loses ${subnet}: the network no longer has IPv${family}`;
    if (subnetFits(network, subnet)) continue;
    return `loses ${subnet}, which is not one of ${assignableText(network)}`;
  }
  if (isInvalidLease(record.lease)) return undefined;
  for (const [family, address] of entriesOf(record.lease.attributes.publicAddresses)) {
    const defect = publicAddressDefect(address, family, { config: { families } });
    if (defect !== undefined) {
      return `cannot start: its public address ${address} is ${defect}`;
    }
  }
  return undefined;
}

function nodeName(record: LeaseRecord, network: Pick<StoredNetwork, "sessions">): string {
  const hostname = sessionOfNode(record, network)?.hostname;
  const address = recordAddress(record);
  const node = address === undefined ? `the node of ${recordName(record)}` : address;
  return hostname === undefined
    ? `${node} (no session)`
    : `${node} (${printableName(hostname)}, alive)`;
}
