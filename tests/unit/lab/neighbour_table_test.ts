import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { refusalText, refusedNeighbours } from "../../../src/lab/neighbour_table.ts";

const directory = mkdtempSync(join(tmpdir(), "neighbour-table-test-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** As Linux 6.1 writes it, but for some columns. */
const table = (...fulls: string[]) =>
  ["entries  allocs   res_failed table_fulls"].concat(
    fulls.map((full) => `00000002 001553cc 00000018   ${full}`),
  ).join("\n") + "\n";

test("what both tables refused on all processors is counted", () => {
  writeFileSync(join(directory, "arp_cache"), table("00001ad2", "00000010"));
  writeFileSync(join(directory, "ndisc_cache"), table("00000001", "00000000"));
  expect(refusedNeighbours(directory)).toBe(0x1ad2 + 0x10 + 1);
  writeFileSync(join(directory, "ndisc_cache"), "entries\n00000002\n"); // an old kernel
  expect(refusedNeighbours(directory)).toBe(0x1ad2 + 0x10);
});

test("where the kernel does not tell, nothing is known", () => {
  expect(refusedNeighbours("/nonexistent")).toBeUndefined();
});

test("the advice names the setting of each family, and enough for a full mesh", () => {
  expect(refusalText(7, { hosts: 60, families: [4, 6] })).toBe(
    "this machine's neighbour table, which all hosts share, was full 7 times: pings took longer " +
      "or were lost; to allow more entries: sysctl -w net.ipv4.neigh.default.gc_thresh3=7200 " +
      "net.ipv6.neigh.default.gc_thresh3=7200",
  );
});
