/** Shared libraries of the system, from files and from memory. */

import { afterEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setEmbeddedLibraries } from "../../../ffi/embedded.ts";
import { LibraryError, openBytes, openLibrary } from "../../../ffi/library.ts";

const SYMBOLS = { nl_addr_alloc: { args: ["u64"], returns: "ptr" } } as const;

afterEach(() => setEmbeddedLibraries(new Map()));

test("a library that is not found is an error that names it and the package to install", () => {
  const open = () => openLibrary({ sonames: ["libnone.so.1"], debianPackage: "libnone1" }, SYMBOLS);
  expect(open).toThrow(LibraryError);
  expect(open).toThrow(/libnone\.so\.1.*libnone1/);
});

test("the embedded copy is used when the system has no library of that name", () => {
  setEmbeddedLibraries(new Map([["libnl-hidden.so.1", systemLibrary("libnl-3.so.200")]]));
  const library = openLibrary(
    { sonames: ["libnl-hidden.so.1"], debianPackage: "none" },
    SYMBOLS,
  );
  expect(library.symbols.nl_addr_alloc(4)).not.toBeNull();
  expect(readFileSync("/proc/self/maps", "utf8")).toContain("memfd:libnl-hidden.so.1");
});

test("bytes that are not a library are refused and closed, those of a library stay open", () => {
  expect(() => openBytes("libbroken.so", new Uint8Array(64), SYMBOLS)).toThrow();
  expect(openFiles().filter((target) => target.includes("libbroken.so"))).toEqual([]);
  openBytes("libwhole.so", readFileSync(systemLibrary("libnl-3.so.200")), SYMBOLS);
  expect(openFiles().filter((target) => target.includes("libwhole.so"))).toHaveLength(1);
});

test("embedded copies of libnl work on a read-only root without libnl", () => {
  const folder = dirname(systemLibrary("libnl-3.so.200"));
  const script = `
    import { setEmbeddedLibraries } from ${source("ffi/embedded.ts")};
    import { libnl } from ${source("ffi/libnl.ts")};
    import { systemClock } from ${source("src/base/clock.ts")};
    import { NetlinkKernel } from ${source("src/kernel/netlink_kernel.ts")};
    import { readFileSync } from "node:fs";
    let isHidden = false;
    try { libnl(); } catch (error) { isHidden = error.name === "LibraryError"; }
    setEmbeddedLibraries(new Map([
      ["libnl-3.so.200", "/mnt/libnl-3.so.200"],
      ["libnl-route-3.so.200", "/mnt/libnl-route-3.so.200"],
    ]));
    using kernel = new NetlinkKernel({ clock: systemClock });
    const lo = await kernel.link("lo");
    const maps = readFileSync("/proc/self/maps", "utf8");
    const isEmbedded = maps.includes("memfd:libnl-route-3");
    console.log(isHidden, lo.ifindex, /\\/libnl/.test(maps), isEmbedded);`;
  // A mount namespace with copies in /mnt, in which empty files hide the system's libraries.
  const libraries = ["libnl-3.so.200", "libnl-route-3.so.200"];
  const commands = [
    "set -e",
    "mount -t tmpfs tmpfs /mnt",
    ...libraries.map((name) => `cp -L ${folder}/${name} /mnt/${name}`),
    ...libraries.map((name) => `mount --bind /dev/null $(readlink -f ${folder}/${name})`),
    "mount -o remount,ro /mnt",
    "mount -o remount,ro,bind /",
    `exec ${process.execPath} -e '${script}'`,
  ];
  const { stdout, stderr } = Bun.spawnSync([
    ...["unshare", "--mount", "--propagation", "private", "--net"],
    ...["sh", "-c", commands.join("\n")],
  ]);
  expect(stderr.toString()).toBe("");
  expect(stdout.toString()).toBe("true 1 false true\n");
});

function source(path: string): string {
  return JSON.stringify(join(import.meta.dir, "../../..", path));
}

/** Path of the system's library that the loader of this process finds. */
function systemLibrary(soname: string): string {
  const { stdout } = Bun.spawnSync(["sh", "-c", "/sbin/ldconfig -p"]);
  const line = stdout.toString().split("\n").find((text) => text.includes(`${soname} `));
  const path = line?.split("=> ")[1];
  if (path === undefined) throw new Error(`${soname} is not installed`);
  return path;
}

/** The targets of this process's file descriptors. */
function openFiles(): string[] {
  const probe = Bun.spawnSync(["sh", "-c", `readlink /proc/${process.pid}/fd/*`]);
  return probe.stdout.toString().split("\n");
}
