/** The configuration of the delegate: the plugin that connects the container. Pure. */

import { valuesOf } from "../addr/family.ts";
import { splitPrefix } from "../addr/prefix.ts";
import { isJsonObject, type JsonObject } from "../base/json_object.ts";
import { quoted } from "../base/quoting.ts";
import { CNI_CODES, CniError } from "./cni_error.ts";
import type { PluginConfig } from "./plugin_config.ts";
import type { SubnetEnvironment } from "./subnet_environment.ts";

export interface DelegateConfig extends JsonObject {
  readonly type: string;
  readonly ipam: JsonObject;
}

/**
 * What flannel gives its delegate: the keys of `delegate`, completed from the subnet file, and
 * `ipam` with one range for each family and a route for each network. Throws `CniError`.
 */
export function delegateConfig(config: PluginConfig, subnet: SubnetEnvironment): DelegateConfig {
  const base = delegateBase(config);
  return {
    ipMasq: !subnet.ipMasq,
    mtu: subnet.mtuBytes,
    ...base,
    ipam: {
      ...base.ipam,
      ranges: valuesOf(subnet.subnets).map((prefix) => [{ subnet: prefix }]),
      routes: [...ipamRoutes(config.ipam), ...subnet.networks.map((dst) => ({ dst }))],
    },
  };
}

/** The part that does not depend on the subnet file. Throws `CniError`. */
export function delegateBase(config: PluginConfig): DelegateConfig {
  const { name, givenVersion, delegate, ipam, runtimeConfig } = config;
  const type = delegateType(delegate);
  return {
    ...(type === "bridge" && { isGateway: true }),
    ...delegate,
    name,
    type,
    ...(givenVersion !== undefined && { cniVersion: givenVersion }),
    ...(runtimeConfig !== undefined && { runtimeConfig }),
    ipam: { type: "host-local", ...ipam },
  };
}

/** Throws `CniError` for a `delegate` that no delegate can be run with. */
export function delegateType(delegate: JsonObject): string {
  for (const key of ["name", "ipam"]) {
    if (!(key in delegate)) continue;
    const hint = key === "ipam" ? "; write it next to delegate, not into it" : "; remove it";
    throw invalid(`delegate has the key ${key}, which flannel sets itself${hint}`);
  }
  const type = "type" in delegate ? delegate["type"] : "bridge";
  if (typeof type !== "string" || type === "" || type.includes("/")) {
    throw invalid(`the type of delegate is ${quoted(type)}; it must be the name of a plugin`);
  }
  if (type === "flannel") throw invalid("the type of delegate is flannel, which would call itself");
  return type;
}

/** JSON with sorted keys, the same text for the same content. */
export function delegateConfigText(config: JsonObject): string {
  return JSON.stringify(sorted(config));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

function ipamRoutes(ipam: JsonObject): readonly unknown[] {
  const routes = ipam["routes"] ?? [];
  if (!Array.isArray(routes)) throw invalid(`ipam.routes is ${quoted(routes)}, not a list`);
  for (const route of routes as unknown[]) {
    const dst = isJsonObject(route) ? route["dst"] : undefined;
    if (typeof dst !== "string" || splitPrefix(dst) === undefined) {
      throw invalid(`ipam.routes has ${quoted(route)}; a route is {"dst": "10.96.0.0/12"}`);
    }
  }
  return routes;
}

function invalid(message: string): CniError {
  return new CniError(CNI_CODES.invalidConfig, message);
}
