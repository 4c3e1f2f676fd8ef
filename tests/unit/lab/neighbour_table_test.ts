import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rejectedNeighbours, rejectedText } from "../../../src/lab/neighbour_table.ts";

const directory = mkdtempSync(join(tmpdir(), "neighbour-table-test-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** As printed by Linux 6.1, without some columns. */
const table = (...fulls: string[]) =>
  ["entries  allocs   res_failed table_fulls"].concat(
    fulls.map((full) => `00000002 001553cc 00000018   ${full}`),
  ).join("\n") + "\n";

test("counts the entries that both tables have rejected, on all CPUs", () => {
  writeFileSync(join(directory, "arp_cache"), table("00001ad2", "00000010"));
  writeFileSync(join(directory, "ndisc_cache"), table("00000001", "00000000"));
  expect(rejectedNeighbours(directory)).toBe(0x1ad2 + 0x10 + 1);
  writeFileSync(join(directory, "ndisc_cache"), "entries\n00000002\n"); // an old kernel
  expect(rejectedNeighbours(directory)).toBe(0x1ad2 + 0x10);
});

test("returns nothing where the kernel does not show the counters", () => {
  expect(rejectedNeighbours("/nonexistent")).toBeUndefined();
});

test("names the setting of each family, with enough entries for a full mesh", () => {
  expect(rejectedText(7, { hosts: 60, families: [4, 6] })).toBe(
    "this machine's neighbour table, which all hosts share, overflowed 7 times: pings were " +
      "slow or lost; to allow more entries: sysctl -w net.ipv4.neigh.default.gc_thresh3=7200 " +
      "net.ipv6.neigh.default.gc_thresh3=7200",
  );
});
