/** A daemon loads the code of the store that it uses only: a node has no memory to waste. */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";

const SRC = new URL("../../../src/", import.meta.url).pathname;
const STORES = ["etcd/api", "etcd/client", "kube", "subnet/etcd", "subnet/kube"];
/** Read with the flags. */
const OF_FLAGS = ["etcd/client/endpoint.ts"];

/** The files that run when this one is loaded. */
function loadedWith(entry: string): string[] {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const loaded = new Set<string>([join(SRC, entry)]);
  for (const file of loaded) {
    for (const { kind, path } of transpiler.scanImports(readFileSync(file, "utf8"))) {
      if (kind === "import-statement" && /^\..*\.ts$/.test(path)) {
        loaded.add(join(file, "..", path));
      }
    }
  }
  return [...loaded].map((file) => relative(SRC, file));
}

function ofStores(files: readonly string[]): string[] {
  return [
    ...new Set(
      files.filter((file) => !OF_FLAGS.includes(file)).flatMap((file) => {
        const store = STORES.find((room) => file.startsWith(`${room}/`));
        return store === undefined ? [] : [store];
      }),
    ),
  ].sort();
}

test("with the daemon, no store", () => {
  const files = [...loadedWith("daemon/daemon.ts"), ...loadedWith("daemon/system_ports.ts")];
  expect(files).toContain("daemon/lease_stores.ts");
  expect(ofStores(files)).toEqual([]);
});

test("with etcd, nothing of Kubernetes", () => {
  expect(ofStores(loadedWith("daemon/etcd_store.ts"))).toEqual([
    "etcd/api",
    "etcd/client",
    "subnet/etcd",
  ]);
});

test("with Kubernetes, nothing of etcd", () => {
  expect(ofStores(loadedWith("daemon/kube_store.ts"))).toEqual(["kube", "subnet/kube"]);
});
