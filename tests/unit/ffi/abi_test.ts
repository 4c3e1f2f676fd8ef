/** Compares constants and struct layouts with the system's headers, by a C program. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RTNL_LINK_VXLAN_F_GBP } from "../../../ffi/libnl.ts";
import * as linux from "../../../ffi/linux.ts";
import { RT_TABLE_MAIN } from "../../../src/state/resource.ts";

const HEADERS = [
  "sys/socket.h",
  "netinet/in.h",
  "sys/mman.h",
  "fcntl.h",
  "sys/file.h",
  "poll.h",
  "linux/netlink.h",
  "linux/genetlink.h",
  "linux/wireguard.h",
  "linux/time_types.h",
  "linux/rtnetlink.h",
  "linux/nexthop.h",
  "linux/if.h",
  "linux/if_link.h",
  "linux/if_tunnel.h",
  "sys/ioctl.h",
  "linux/if_tun.h",
  "linux/sockios.h",
  "linux/udp.h",
  "sys/eventfd.h",
  "linux/fou.h",
  "linux/if_addr.h",
  "linux/neighbour.h",
  "linux/xfrm.h",
  "netlink/route/link/vxlan.h",
];

const scalars = Object.entries({ ...linux, RTNL_LINK_VXLAN_F_GBP, RT_TABLE_MAIN })
  .flatMap(([name, value]) => typeof value === "number" ? [[name, value] as const] : []);
const structs = Object.entries(linux)
  .flatMap(([name, value]) => typeof value === "object" ? [[name, value] as const] : []);

let folder: string;
let seen: Map<string, number>;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "abi-"));
  const lines = scalars.map(([name]) => line(name, name));
  for (const [name, layout] of structs) {
    for (const field of Object.keys(layout)) {
      const value = field === "size"
        ? `sizeof(struct ${name})`
        : `offsetof(struct ${name}, ${field})`;
      lines.push(line(`${name}.${field}`, value));
    }
  }
  const includes = HEADERS.map((header) => `#include <${header}>\n`).join("");
  writeFileSync(
    join(folder, "abi.c"),
    `#define _GNU_SOURCE\n#include <stddef.h>\n#include <stdio.h>\n${includes}` +
      `int main(void) {\n${lines.join("")}  return 0;\n}\n`,
  );
  run("gcc", "-I/usr/include/libnl3", "-o", join(folder, "abi"), join(folder, "abi.c"));
  seen = new Map(
    run(join(folder, "abi")).trim().split("\n").map((text) => {
      const [name = "", value] = text.split(" ");
      return [name, Number(value)];
    }),
  );
});

afterAll(() => rmSync(folder, { recursive: true }));

test("every constant has the value of its header", () => {
  expect(scalars.length).toBeGreaterThan(80);
  const ours = Object.fromEntries(scalars);
  expect(ours).toEqual(Object.fromEntries(scalars.map(([name]) => [name, seen.get(name) ?? NaN])));
});

for (const [name, layout] of structs) {
  test(`struct ${name} has the size and the offsets of its header`, () => {
    const fields = Object.keys(layout);
    const theirs = fields.map((field) => [field, seen.get(`${name}.${field}`)]);
    expect(layout as Record<string, number>).toEqual(Object.fromEntries(theirs));
  });
}

function line(name: string, value: string): string {
  return `  printf("%s %lld\\n", "${name}", (long long)(${value}));\n`;
}

function run(...command: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command[0]}: ${stderr.toString()}`);
  return stdout.toString();
}
