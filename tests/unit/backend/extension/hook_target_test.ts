import { describe, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { peer, Sandbox, withSubnet } from "./support.ts";

const ADD = { SubnetAddCommand: 'echo "add $SUBNET $(cat)" >> "$OUT"' };
const BOTH = { ...ADD, SubnetRemoveCommand: 'echo "remove $SUBNET $(cat)" >> "$OUT"' };

describe("a peer", () => {
  test("is added once, replaced when it changes, removed when it leaves", async () => {
    using sandbox = new Sandbox();
    await using target = await sandbox.run(BOTH);
    target.put(peer(2, "a"));
    await target.whenSettled();
    target.put({ ...peer(2, "a"), changed: 99n });
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["add 10.5.2.0/24 a"]);
    target.put(peer(2, "b"));
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["remove 10.5.2.0/24 a", "add 10.5.2.0/24 b"]);
    target.remove(peer(2, "b"));
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["remove 10.5.2.0/24 b"]);
    expect(target.problems()).toEqual([]);
    expect(readdirSync(`${sandbox.state}/peers`)).toEqual([]);
  });

  test("that changes while a command runs is updated step by step to its last lease", async () => {
    using sandbox = new Sandbox();
    await using target = await sandbox.run({
      SubnetAddCommand: 'data=$(cat); sleep 0.1; echo "add $data" >> "$OUT"',
      SubnetRemoveCommand: 'echo "remove $(cat)" >> "$OUT"',
    });
    target.put(peer(2, "a"));
    await Bun.sleep(30);
    target.remove(peer(2, "a"));
    target.put(peer(2, "b"));
    target.put(peer(2, "c"));
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["add a", "remove a", "add c"]);
    target.put(peer(2, "d"));
    await Bun.sleep(30);
    target.remove(peer(2, "d"));
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["remove c", "add d", "remove d"]);
  });

  test("waits for the removal of another that had its subnet", async () => {
    using sandbox = new Sandbox();
    await using target = await sandbox.run({
      ...ADD,
      SubnetRemoveCommand: 'sleep 0.1; echo "remove $SUBNET $PUBLIC_IP" >> "$OUT"',
    });
    const [before, after] = [
      withSubnet(2, "10.5.9.0/24", "10.5.9.0-24"),
      withSubnet(3, "10.5.9.0/24", "10.5.9.0-24&fc00::-64"),
    ];
    target.put(before);
    await target.whenSettled();
    sandbox.out();
    target.remove(before);
    target.put(after);
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["remove 10.5.9.0/24 192.168.0.2", "add 10.5.9.0/24"]);
  });

  test("is added in parallel with others, a few at a time", async () => {
    using sandbox = new Sandbox();
    const running = sandbox.path("running");
    await using target = await sandbox.run({
      SubnetAddCommand: `mkdir -p ${running}/$$; ls ${running} | wc -l >> "$OUT"; sleep 0.1; ` +
        `rmdir ${running}/$$`,
    });
    for (let n = 2; n < 14; n++) target.put(peer(n));
    await target.whenSettled();
    const counts = sandbox.out().map(Number);
    expect(counts).toHaveLength(12);
    expect(Math.max(...counts)).toBeLessThanOrEqual(4);
    expect(Math.max(...counts)).toBeGreaterThan(1);
  });
});

describe("a restart", () => {
  test("adds no peer again, and removes departed ones once every lease is known", async () => {
    using sandbox = new Sandbox();
    {
      await using target = await sandbox.run(BOTH);
      for (const n of [2, 3]) target.put(peer(n));
      await target.whenSettled();
    }
    expect(sandbox.out().sort()).toEqual(["add 10.5.2.0/24", "add 10.5.3.0/24"]);
    await using target = await sandbox.run(BOTH);
    target.put(peer(2));
    await target.whenSettled();
    expect(sandbox.out()).toEqual([]);
    target.allowSweep();
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["remove 10.5.3.0/24"]);
  });

  test("in another boot adds all peers, and removes none", async () => {
    using sandbox = new Sandbox();
    {
      await using target = await sandbox.run(BOTH);
      for (const n of [2, 3]) target.put(peer(n));
      await target.whenSettled();
    }
    sandbox.out();
    sandbox.boot = "the next boot";
    await using target = await sandbox.run(BOTH);
    target.put(peer(2));
    target.allowSweep();
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["add 10.5.2.0/24"]);
    expect(readdirSync(`${sandbox.state}/peers`)).toEqual(["node-2.json"]);
  });

  test("adds all peers again if the node itself is set up again", async () => {
    using sandbox = new Sandbox();
    {
      await using target = await sandbox.run({ ...BOTH, ShutdownCommand: 'echo down >> "$OUT"' });
      target.put(peer(2));
      await target.whenSettled();
    }
    expect(sandbox.out()).toEqual(["add 10.5.2.0/24", "down"]);
    await using target = await sandbox.run(BOTH);
    target.put(peer(2));
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["remove 10.5.2.0/24", "add 10.5.2.0/24"]);
  });

  test("reports and ignores files that are not records", async () => {
    using sandbox = new Sandbox();
    {
      await using target = await sandbox.run(BOTH);
      for (const n of [2, 3, 4, 5]) target.put(peer(n));
      await target.whenSettled();
    }
    sandbox.out();
    const file = (n: number) => `${sandbox.state}/peers/node-${n}.json`;
    writeFileSync(file(2), "");
    writeFileSync(file(3), "[]");
    writeFileSync(file(4), '{"boot":"this boot","key":"node-4","input":{"variables":{}}}');
    writeFileSync(`${file(5)}.tmp`, "half a rec");
    await using target = await sandbox.run(BOTH);
    for (const n of [2, 3, 4, 5]) target.put(peer(n));
    target.allowSweep();
    await target.whenSettled();
    expect(sandbox.out().sort()).toEqual([2, 3, 4].map((n) => `add 10.5.${n}.0/24`));
    expect(sandbox.messages("warn").map((line) => /node-\d/.exec(line)?.[0])).toEqual(
      ["node-2", "node-3", "node-4"],
    );
  });
});

describe("a command that fails", () => {
  test("for many peers is logged in a few lines, with their number", async () => {
    using sandbox = new Sandbox();
    await using target = await sandbox.run({ SubnetAddCommand: "exit 1" });
    for (let n = 2; n < 10; n++) target.put(peer(n));
    await target.whenSettled();
    expect(target.problems()).toHaveLength(8);
    expect(sandbox.messages("warn")).toHaveLength(5);
    await target[Symbol.asyncDispose]();
    expect(sandbox.messages("warn")).toHaveLength(6);
    expect(sandbox.messages("warn")[5]).toEndWith("retrying in 1 s (and 2 more like it)");
  });

  test("is retried at growing intervals, and is a problem until it succeeds", async () => {
    using sandbox = new Sandbox();
    await using target = await sandbox.run({
      SubnetAddCommand: 'echo try >> "$OUT"; test -e "$OUT.ok"',
    });
    target.put(peer(2));
    await target.whenSettled();
    expect(target.problems()).toEqual([
      "SubnetAddCommand for 10.5.2.0/24 ended with status 1; retrying",
    ]);
    expect(sandbox.out()).toHaveLength(1);
    for (const delayMs of [1000, 2000, 4000]) {
      await sandbox.clock.advance(delayMs - 1);
      expect(sandbox.out()).toEqual([]);
      await sandbox.clock.advance(1);
      await target.whenSettled();
      expect(sandbox.out()).toEqual(["try"]);
    }
    writeFileSync(sandbox.path("out.ok"), "");
    await sandbox.clock.advance(8000);
    await target.whenSettled();
    expect(target.problems()).toEqual([]);
  });

  test("to remove a changed peer does not prevent adding it", async () => {
    using sandbox = new Sandbox();
    await using target = await sandbox.run({ ...ADD, SubnetRemoveCommand: "exit 5" });
    target.put(peer(2, "a"));
    await target.whenSettled();
    target.put(peer(2, "b"));
    await target.whenSettled();
    expect(sandbox.out()).toEqual(["add 10.5.2.0/24 a", "add 10.5.2.0/24 b"]);
    expect(target.problems()).toEqual([]);
    expect(sandbox.messages("warn")).toEqual([
      "SubnetRemoveCommand for 10.5.2.0/24 ended with status 5; running SubnetAddCommand " +
      "nevertheless",
    ]);
  });

  test("to remove a departed peer is given up in the end", async () => {
    using sandbox = new Sandbox();
    await using target = await sandbox.run({ SubnetRemoveCommand: 'echo no >> "$OUT"; exit 5' });
    target.put(peer(2));
    target.remove(peer(2));
    await target.whenSettled();
    for (let attempt = 2; attempt <= 10; attempt++) {
      await sandbox.clock.advance(60_000);
      await target.whenSettled();
    }
    expect(sandbox.out()).toHaveLength(8);
    expect(target.problems()).toEqual([]);
    expect(sandbox.messages("error")).toEqual([
      "SubnetRemoveCommand for 10.5.2.0/24 ended with status 5; giving up after 8 attempts: " +
      "remove what is left by hand",
    ]);
  });

  test("by printing endlessly is killed, and does not flood the log", async () => {
    using sandbox = new Sandbox();
    await using target = await sandbox.run({ SubnetAddCommand: "yes" });
    target.put(peer(2));
    await target.whenSettled();
    expect(target.problems()).toEqual([
      "SubnetAddCommand for 10.5.2.0/24 failed: it printed more than 1048576 bytes and was " +
      "killed: y; retrying",
    ]);
    expect(sandbox.messages("info").length).toBeLessThan(110);
  });
});

test("records that cannot be written are a problem, but the commands run", async () => {
  using sandbox = new Sandbox();
  sandbox.state = sandbox.path("file");
  writeFileSync(sandbox.state, "");
  await using target = await sandbox.run(BOTH);
  target.put(peer(2));
  await target.whenSettled();
  expect(sandbox.out()).toEqual(["add 10.5.2.0/24"]);
  expect(target.problems()).toEqual([
    expect.stringMatching(/^cannot write .*; after a restart, commands may run again$/),
  ]);
});
