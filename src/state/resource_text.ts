/** Entries as text in the notation of `ip` and `bridge`, for goldens, messages and logs. */

import { familyOf } from "../addr/ip.ts";
import { assertNever } from "../addr/assert_never.ts";
import { STAGES } from "./plan.ts";
import {
  IPV6_DEFAULT_METRIC,
  type Link,
  type Resource,
  type Route,
  RT_TABLE_MAIN,
} from "./resource.ts";

/** One line: the object, then what `ip OBJECT show` would print of it. */
export function resourceText(resource: Resource): string {
  switch (resource.kind) {
    case "link":
      return linkText(resource);
    case "address":
      return `addr ${resource.address}/${resource.prefixLength} dev ${resource.link}`;
    case "neighbour":
      return `neigh ${resource.address} lladdr ${resource.mac} dev ${resource.link} nud permanent`;
    case "fdb":
      return `fdb ${resource.mac} dev ${resource.link} dst ${resource.remote} self permanent`;
    case "route":
      return routeText(resource);
    case "sysctl":
      return `sysctl ${resource.path} = ${resource.value}`;
    default:
      return assertNever(resource);
  }
}

/** All entries, one line each, sorted by the order in which they are made, then by text. */
export function stateText(resources: Iterable<Resource>): string {
  return [...resources]
    .map((resource) => ({ stage: STAGES[resource.kind], text: resourceText(resource) }))
    .sort((a, b) => a.stage - b.stage || (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .map(({ text }) => `${text}\n`)
    .join("");
}

function linkText(link: Link): string {
  const base = `link ${link.name}: mtu ${link.mtuBytes} state ${link.up ? "up" : "down"} ` +
    `address ${link.mac}`;
  if (link.type === "other") return link.linkKind === "" ? base : `${base} type ${link.linkKind}`;
  return `${base} type vxlan id ${link.vni} local ${link.local} dev ${link.underlay} ` +
    `dstport ${link.port} ${link.learning ? "learning" : "nolearning"}${link.gbp ? " gbp" : ""}`;
}

function routeText(route: Route): string {
  const words = ["route"];
  if (route.type === "blackhole") words.push("blackhole");
  words.push(route.destination);
  if (route.gateway !== undefined) words.push("via", route.gateway);
  if (route.link !== undefined && route.type !== "blackhole") words.push("dev", route.link);
  if (route.multipath) words.push("multipath");
  words.push("proto", String(route.protocol));
  if (route.scope === "link") words.push("scope", "link");
  if (route.source !== undefined) words.push("src", route.source);
  const defaultMetric = familyOf(route.destination) === 4 ? 0 : IPV6_DEFAULT_METRIC;
  if (route.metric !== defaultMetric) words.push("metric", String(route.metric));
  if (route.onlink) words.push("onlink");
  if (route.table !== RT_TABLE_MAIN) words.push("table", String(route.table));
  return words.join(" ");
}
