import { beforeEach, describe, expect, test } from "bun:test";
import { RateLimitedWarnings, withoutValues } from "../../../src/log/rate_limited_warnings.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { warningsLog } from "../../support/sample_network.ts";

const length = (key: string) => ({
  what: "ignoring lease",
  name: key,
  reason: `its subnet ${key.replace("-", "/")} is not a /24, the configured length`,
});

let clock: FakeClock;
let log: ReturnType<typeof warningsLog>;
let lines: RateLimitedWarnings;

beforeEach(() => {
  clock = new FakeClock();
  log = warningsLog();
  lines = new RateLimitedWarnings({ log, clock });
});

describe("warnings of one kind", () => {
  test("are all logged if they are few", async () => {
    for (let i = 0; i < 5; i++) lines.warn(length(`10.5.${i}.128-25`));
    await clock.advance(120_000);
    expect(log.lines).toHaveLength(5);
    expect(log.lines[4]).toBe(
      "ignoring lease 10.5.4.128-25: its subnet 10.5.4.128/25 is not a /24, the configured length",
    );
  });

  test("are counted if they are 65 536; a later single one is logged without a count", async () => {
    for (let i = 0; i < 65_536; i++) lines.warn(length(`10.${i >> 8}.${i & 255}.128-25`));
    await clock.advance(1000);
    expect(log.lines).toHaveLength(6);
    expect(log.lines[5]).toStartWith(
      "ignoring lease 10.255.255.128-25: its subnet 10.255.255.128/25",
    );
    expect(log.lines[5]).toEndWith("(and 65530 more like it)");
    lines.warn(length("10.7.7.128-25"));
    await clock.advance(2000);
    expect(log.lines[6]).toStartWith("ignoring lease 10.7.7.128-25: ");
    expect(log.lines[6]).not.toContain("more like it");
  });

  test("that never end are logged once a minute", async () => {
    for (let second = 0; second < 3600; second++) {
      for (let i = 0; i < 20; i++) lines.warn(length(`10.${second >> 8}.${second & 255}.${i}-25`));
      await clock.advance(1000);
    }
    expect(log.lines.length).toBeLessThan(80);
    await clock.advance(120_000);
    const counts = log.lines.map((line) => 1 + Number(/and (\d+) more/.exec(line)?.[1] ?? 0));
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(72_000);
  });

  test("start over after a quiet minute", async () => {
    for (let i = 0; i < 9; i++) lines.warn(length(`10.5.${i}.128-25`));
    await clock.advance(200_000);
    expect(log.lines).toHaveLength(6);
    lines.warn(length("10.5.90.128-25"));
    expect(log.lines).toHaveLength(7);
    for (let i = 0; i < 4; i++) lines.warn(length(`10.5.${i}.128-25`));
    await clock.advance(60_000);
    for (let i = 0; i < 4; i++) lines.warn(length(`10.5.${i}.128-25`));
    expect(log.lines).toHaveLength(15);
  });

  test("do not hide warnings of another kind", () => {
    for (let i = 0; i < 1000; i++) lines.warn(length(`10.5.${i}.128-25`));
    lines.warn({ what: "ignoring lease", name: "hello", reason: "its key does not name a subnet" });
    lines.warn({ what: "no route to lease", name: "10.5.2.0-24", reason: "unreachable" });
    expect(log.lines.slice(5)).toEqual([
      "ignoring lease hello: its key does not name a subnet",
      "no route to lease 10.5.2.0-24: unreachable",
    ]);
  });

  test("of too many kinds share a limit", async () => {
    for (let i = 0; i < 10_000; i++) {
      const word = [...String(i)].map((digit) => "abcdefghij"[Number(digit)]).join("");
      lines.warn({ what: "ignoring lease", name: "x", reason: `its ${word} is wrong` });
    }
    await clock.advance(1000);
    expect(log.lines.length).toBeLessThan(60);
    // And are forgotten.
    await clock.advance(120_000);
    lines.warn({ what: "ignoring lease", name: "x", reason: "something else is wrong" });
    expect(log.lines.at(-1)).toBe("ignoring lease x: something else is wrong");
  });

  test("that are pending are logged at the end, and names cannot forge a line", () => {
    for (let i = 0; i < 8; i++) lines.warn({ what: "a", name: `n${i}\n`, reason: "b" });
    lines[Symbol.dispose]();
    expect(log.lines.at(-1)).toBe("a n7\\n: b (and 2 more like it)");
  });
});

test("a kind is a reason without the values that differ between leases", () => {
  const pairs: [string, string][] = [
    ["its subnet 10.5.3.128/25 is not a /24, the x", "its subnet # is not a #, the x"],
    ['its backend is "host\\"gw", this node\'s is "vxlan"', "its backend is #, this node's is #"],
    ["the VtepMAC ff:ff:ff:ff:ff:ff of its BackendData is", "the VtepMAC # of its BackendData is"],
    ['its VNI is {"a":[1,2…, this node\'s is 1', "its VNI is #, this node's is #"],
    ["overlaps older lease 10.5.3.0-24&fc00::-64", "overlaps older lease #"],
    ["its backend is not named: nothing", "its backend is not named: nothing"],
  ];
  for (const [reason, kind] of pairs) expect(withoutValues(reason)).toBe(kind);
});
