/** Entries from the text that `resourceText` writes, as far as scenario scripts need them. */

import { parseIpAddress } from "../../src/addr/ip.ts";
import { parseMacAddress } from "../../src/addr/mac.ts";
import { parsePrefix, prefixAddress } from "../../src/addr/prefix.ts";
import { familyOf } from "../../src/addr/ip.ts";
import { defaultMetric, RT_TABLE_MAIN } from "../../src/state/resource.ts";
import type { Link, Resource, Route } from "../../src/state/resource.ts";

/** Words after a keyword, such as `dev eth0`; the flags are those of the words that stand alone. */
class Words {
  readonly #words: string[];
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
    this.#words = text.split(" ");
  }

  next(): string {
    const word = this.#words.shift();
    if (word === undefined) throw new Error(`"${this.#text}" ends too early`);
    return word;
  }

  /** Removes `keyword` and the word after it; returns that word. */
  after(keyword: string): string | undefined {
    const at = this.#words.indexOf(keyword);
    return at < 0 ? undefined : this.#words.splice(at, 2)[1];
  }

  flag(word: string): boolean {
    const at = this.#words.indexOf(word);
    if (at >= 0) this.#words.splice(at, 1);
    return at >= 0;
  }

  end<T>(value: T): T {
    if (this.#words.length === 0) return value;
    throw new Error(`"${this.#text}": cannot parse "${this.#words.join(" ")}"`);
  }
}

/** Throws for text that `resourceText` would not write, and for kinds that no script names. */
export function parseResource(text: string): Resource {
  const words = new Words(text);
  const kind = words.next();
  switch (kind) {
    case "addr": {
      const prefix = words.next().split("/") as [string, string];
      const link = required(words.after("dev"), text);
      const [address, length] = prefix;
      return words.end({
        kind: "address",
        link,
        address: required(parseIpAddress(address), text),
        prefixLength: Number(length),
      });
    }
    case "neigh": {
      const address = required(parseIpAddress(words.next()), text);
      const mac = required(parseMacAddress(required(words.after("lladdr"), text)), text);
      const link = required(words.after("dev"), text);
      words.after("nud");
      return words.end({ kind: "neighbour", link, address, mac });
    }
    case "fdb": {
      const mac = required(parseMacAddress(words.next()), text);
      const link = required(words.after("dev"), text);
      const remote = required(parseIpAddress(required(words.after("dst"), text)), text);
      words.flag("self");
      words.flag("permanent");
      return words.end({ kind: "fdb", link, mac, remote });
    }
    case "route":
      return parseRoute(words, text);
    case "link":
      return parseLink(words, text);
    default:
      throw new Error(`"${text}": unknown kind "${kind}"`);
  }
}

function parseRoute(words: Words, text: string): Route {
  const isBlackhole = words.flag("blackhole");
  const destination = required(parsePrefix(words.next()), text);
  const family = familyOf(prefixAddress(destination));
  const gateway = words.after("via");
  const link = words.after("dev");
  const source = words.after("src");
  const metric = words.after("metric");
  const route: Route = {
    kind: "route",
    type: isBlackhole ? "blackhole" : "unicast",
    destination,
    ...(link === undefined ? {} : { link }),
    ...(gateway === undefined ? {} : { gateway: required(parseIpAddress(gateway), text) }),
    ...(source === undefined ? {} : { source: required(parseIpAddress(source), text) }),
    protocol: Number(required(words.after("proto"), text)),
    scope: words.after("scope") === "link" ? "link" : "universe",
    metric: metric === undefined ? defaultMetric(family) : Number(metric),
    onlink: words.flag("onlink"),
    table: Number(words.after("table") ?? RT_TABLE_MAIN),
  };
  return words.end(route);
}

function parseLink(words: Words, text: string): Link {
  const name = words.next().replace(/:$/, "");
  const base = {
    kind: "link" as const,
    name,
    mtuBytes: Number(required(words.after("mtu"), text)),
    up: words.after("state") === "up",
    mac: required(parseMacAddress(required(words.after("address"), text)), text),
  };
  const type = words.after("type");
  if (type !== "vxlan") return words.end({ ...base, type: "other", linkKind: type ?? "" });
  return words.end({
    ...base,
    type: "vxlan",
    vni: Number(required(words.after("id"), text)),
    local: required(parseIpAddress(required(words.after("local"), text)), text),
    underlay: required(words.after("dev"), text),
    port: Number(required(words.after("dstport"), text)),
    learning: !words.flag("nolearning") && words.flag("learning"),
    gbp: words.flag("gbp"),
  });
}

function required<T>(value: T | undefined, text: string): T {
  if (value === undefined) throw new Error(`"${text}" lacks something, or it is invalid`);
  return value;
}
