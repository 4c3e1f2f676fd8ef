import { expect, test } from "bun:test";
import fc from "fast-check";
import type { ExternalInterface } from "../../../src/host/external_interface.ts";
import { PeerPaths } from "../../../src/overlay/peer_paths.ts";
import type { Resource } from "../../../src/state/resource.ts";
import type { LeaseKey } from "../../../src/subnet/lease.ts";

const EXTERNAL = { name: "eth0" } as ExternalInterface;
const KEYS = ["a", "b", "c", "d"] as LeaseKey[];

function route(link: string): Resource[] {
  return [{ kind: "route", link } as Resource];
}

test("a backend that never asks for the reachability has tunnels, unless it is direct", () => {
  const tunnels = new PeerPaths({ needsReachability: false });
  tunnels.set(KEYS[0] as LeaseKey, route("flannel.1"), EXTERNAL);
  expect(tunnels.counts(KEYS, () => true)).toEqual({ tunnel: 4, direct: 0 });
  const direct = new PeerPaths({ needsReachability: false, isDirect: true });
  expect(direct.counts(KEYS, (key) => key !== "a")).toEqual({ tunnel: 0, direct: 3 });
});

test("with direct routing, the routes decide, as in a map of each peer's last path", () => {
  const change = fc.record({
    key: fc.constantFrom(...KEYS),
    path: fc.constantFrom("tunnel", "direct", "deleted"),
  });
  fc.assert(fc.property(fc.array(change), fc.subarray(KEYS), (changes, used) => {
    const paths = new PeerPaths({ needsReachability: true });
    const model = new Map<LeaseKey, string>();
    for (const { key, path } of changes) {
      if (path === "deleted") {
        paths.delete(key);
        model.delete(key);
      } else {
        paths.set(key, route(path === "tunnel" ? "flannel.1" : "eth0"), EXTERNAL);
        model.set(key, path);
      }
    }
    for (const [key, path] of model) expect(paths.pathOf(key) as string).toBe(path);
    const shown = [...model.keys()].filter((key) => used.includes(key));
    const count = (path: string) => shown.filter((key) => model.get(key) === path).length;
    expect(paths.counts(model.keys(), (key) => used.includes(key)))
      .toEqual({ tunnel: count("tunnel"), direct: count("direct") });
  }));
});
