/** The kinds of entries: what each defines besides its fields, and that one file defines it. */

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import {
  dumpedKinds,
  RESOURCE_KINDS,
  type ResourceKind,
  STAGE,
} from "../../../src/state/resource.ts";

const KINDS = Object.keys(RESOURCE_KINDS) as ResourceKind[];
const SRC = new URL("../../../src/", import.meta.url).pathname;
const FILES = ["state", "reconcile"].flatMap((room) =>
  (readdirSync(SRC + room, { recursive: true }) as string[])
    .filter((name) => name.endsWith(".ts"))
    .map((name) => ({
      name: `${room}/${name}`,
      text: readFileSync(`${SRC}${room}/${name}`, "utf8"),
    }))
);

describe("a kind", () => {
  test("defines when its entries are created and how they are read", () => {
    const rows = KINDS.map((name) => {
      const { stage, isExclusive, needsLinkUp, foreign, dump } = RESOURCE_KINDS[name];
      const words = [`${name}: stage ${stage}`];
      if (isExclusive) words.push("created exclusively");
      if (needsLinkUp) words.push("needs its device up");
      if (foreign !== "conflicts") words.push(`foreign entry ${foreign}`);
      words.push(dump === undefined ? "not dumped" : `dumped by ${dump.extent}, ${dump.when}`);
      return words.join(", ");
    });
    expect(rows).toEqual([
      "link: stage 0, dumped by table, always",
      "address: stage 2, needs its device up, dumped by devices, always",
      "neighbour: stage 3, needs its device up, dumped by devices, always",
      "fdb: stage 3, needs its device up, dumped by devices, always",
      "route: stage 4, created exclusively, needs its device up, dumped by table, always",
      "sysctl: stage 1, foreign entry is replaced, not dumped",
      "wireguard-device: stage 1, needs its device up, dumped by devices, requested",
      "wireguard-peer: stage 3, needs its device up, dumped by devices, requested",
      "fou: stage 1, dumped by table, requested",
      "xfrm-policy: stage 4, created exclusively, dumped by table, requested",
    ]);
    expect(Object.values(STAGE)).toEqual([0, 1, 2, 3, 4]);
  });

  test("is dumped as dumpedKinds() selects it; a parameter never is", () => {
    expect(dumpedKinds(({ extent }) => extent === "table")).toEqual([
      "link",
      "route",
      "fou",
      "xfrm-policy",
    ]);
    expect(dumpedKinds(() => true)).toEqual(KINDS.filter((name) => name !== "sysctl"));
  });

  test("is named only in its own file and in the list of kinds", () => {
    // Devices carry the other entries; addresses keep routes alive; a route may vanish silently;
    // sysctls are read from files.
    const special: Partial<Record<ResourceKind, string[]>> = {
      link: [
        "reconcile/entry_planner.ts",
        "reconcile/kernel_cache.ts",
        "state/ownership.ts",
        "state/plan.ts",
        "state/resource_key.ts",
      ],
      address: ["reconcile/kernel_cache.ts"],
      route: ["reconcile/kernel_cache.ts"],
      sysctl: ["reconcile/dump_loader.ts"],
    };
    for (const kind of KINDS) {
      const naming = FILES.filter(({ text }) => new RegExp(`kind(:| [!=]==) "${kind}"`).test(text));
      const [own, ...others] = naming.map(({ name }) => name)
        .sort((a, b) => Number(b.includes("/kinds/")) - Number(a.includes("/kinds/")));
      expect(own).toStartWith("state/kinds/");
      expect(others.sort()).toEqual(special[kind] ?? []);
    }
  });

  test("is one file of the folder kinds, and each of its files is listed", () => {
    const kindFiles = FILES.map(({ name }) => name)
      .filter((name) => /\/kinds\/(?!entry_kind)/.test(name));
    const list = FILES.find(({ name }) => name === "state/resource.ts")?.text as string;
    const listed = [...list.matchAll(/import \{[^}]*\} from "\.\/(kinds\/(?!entry_kind)[^"]+)"/g)]
      .map((match) => `state/${match[1]}`);
    expect(listed.sort()).toEqual(kindFiles.sort());
    expect(kindFiles).toHaveLength(KINDS.length);
  });
});
