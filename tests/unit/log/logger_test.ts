import { describe, expect, test } from "bun:test";
import { createLogger, type LoggerOptions } from "../../../src/log/logger.ts";
import { standardErrorOutput } from "../../../src/log/log_output.ts";
import { textLine } from "../../../src/log/text_line.ts";
import type { Log } from "../../../src/log/log.ts";

function collect(options: Partial<LoggerOptions> = {}): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const log = createLogger({
    format: "text",
    verbosity: 0,
    write: (line) => lines.push(line),
    ...options,
  });
  return { log, lines };
}

const HEADER = /^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ /;

describe("text", () => {
  test("a line has klog's header in local time, the component, the message, the fields", () => {
    const time = new Date(2026, 0, 2, 3, 4, 5, 67).getTime() + 0.089;
    const record = { level: "warn", time, pid: 42, component: "vxlan", vni: 1, dev: "a b" };
    expect(textLine(JSON.stringify({ ...record, msg: "recreated" }))).toBe(
      'W0102 03:04:05.067089      42 vxlan] recreated vni=1 dev="a b"\n',
    );
  });

  test("the levels are klog's letters", () => {
    const { log, lines } = collect({ verbosity: 10 });
    for (const level of ["fatal", "error", "warn", "info", "debug", "trace"] as const) {
      log[level]("x");
    }
    expect(lines.map((line) => line[0]).join("")).toBe("FEWIII");
    for (const line of lines) expect(line).toMatch(HEADER);
  });

  test("the time is now", () => {
    const { log, lines } = collect();
    const before = Date.now();
    log.info("x");
    const [, clock] = (lines[0] as string).split(" ");
    const [hours, minutes, seconds] = (clock as string).split(":").map(Number);
    const now = new Date(before).setHours(hours as number, minutes, Math.floor(seconds as number));
    // Of the same day or, at midnight, of the next.
    const apart = Math.abs(now - before);
    expect(Math.min(apart, 86_400_000 - apart)).toBeLessThan(5000);
  });

  test("an error shows its causes, and its stack only at debug and trace", () => {
    const { log, lines } = collect({ verbosity: 4 });
    const err = new Error("cannot add route", { cause: new Error("EEXIST") });
    log.error({ err }, "failed");
    log.debug({ err }, "failed");
    expect(lines[0]).toEndWith('] failed err="cannot add route: EEXIST"\n');
    expect(lines[1]).toContain("logger_test.ts");
    for (const line of lines) expect(line.indexOf("\n")).toBe(line.length - 1);
  });

  test("a message or a field cannot forge a line", () => {
    const { log, lines } = collect();
    log.info({ key: "a\nE0101 forged" }, "b\r\n\x1b[31mE0101 forged");
    expect(lines[0]).toEndWith(
      '] b\\r\\n\\u001b[31mE0101 forged key="a\\nE0101 forged"\n',
    );
  });
});

describe("json", () => {
  test("is one object per line, with the level's name and an ISO time", () => {
    const { log, lines } = collect({ format: "json" });
    log.child({ component: "etcd" }).info({ revision: 7 }, "read");
    expect(JSON.parse(lines[0] as string)).toEqual({
      level: "info",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      pid: process.pid,
      component: "etcd",
      revision: 7,
      msg: "read",
    });
  });
});

describe("verbosity", () => {
  for (const [verbosity, levels] of [[0, "I"], [1, "ID"], [3, "ID"], [4, "IDT"], [10, "IDT"]]) {
    test(`-v ${verbosity} logs ${levels}`, () => {
      const { log, lines } = collect({ verbosity: verbosity as number });
      log.info("I");
      log.debug("D");
      log.trace("T");
      expect(lines.map((line) => line.at(-2)).join("")).toBe(levels as string);
    });
  }
});

for (const format of ["text", "json"] as const) {
  test(`text from outside makes no long line in ${format}, in any position`, () => {
    const { log, lines } = collect({ format });
    const long = "x".repeat(1_400_000);
    const err = Object.assign(new Error(long), { detail: long });
    log.warn(`its backend is "${long}"`);
    log.warn({ value: long, list: [long], nested: { deep: { deeper: long } } }, "fields");
    log.child({ lease: long }).error({ err, key: "10.5.2.0-24" }, long);
    log.fatal({ err }, "stack");
    expect(lines).toHaveLength(4);
    for (const line of lines) {
      expect(line.length).toBeLessThan(16_000);
      expect(line).toContain("…");
      expect(line.indexOf("\n")).toBe(line.length - 1);
      if (format === "json") expect(JSON.parse(line)).toMatchObject({ pid: process.pid });
    }
    expect(lines[2]).toContain("10.5.2.0-24");
  });

  test(`text from outside cannot reverse the text or end a line in ${format}`, () => {
    const { log, lines } = collect({ format });
    const evil = "a\u2028b\u202ec\u2066d\u009b2Je\u007ff\r\ud83d";
    log.info({ key: evil, object: { evil } }, evil);
    expect(lines[0]).not.toMatch(
      /[\u2028-\u202e\u2066-\u2069\u007f-\u009f\r]|\ud83d(?![\udc00-\udfff])/,
    );
    for (const escape of ["\\u2028", "\\u202e", "\\u2066", "\\u009b", "\\u007f", "\\r"]) {
      expect(lines[0]?.split(escape)).toHaveLength(4);
    }
    if (format === "json") expect(JSON.parse(lines[0] as string)).toMatchObject({ key: evil });
  });

  test(`secrets are redacted in ${format}, also two objects deep`, () => {
    const { log, lines } = collect({ format });
    log.info({ password: "hunter2", options: { etcdPassword: "hunter2" } }, "a");
    log.child({ psk: "hunter2" }).info({ config: { backend: { PSK: "hunter2" } } }, "b");
    expect(lines).toHaveLength(2);
    expect(lines.join("")).not.toContain("hunter2");
    expect(lines.join("").split("[redacted]")).toHaveLength(5);
  });
}

describe("standard error", () => {
  const failure = (code: string) => Object.assign(new Error(code), { code });

  test("a short write is continued", () => {
    const written: string[] = [];
    const writeLine = standardErrorOutput({
      write: (bytes) => {
        written.push(new TextDecoder().decode(bytes.subarray(0, 3)));
        return Math.min(3, bytes.length);
      },
    });
    writeLine("abcdefgh\n");
    expect(written.join("")).toBe("abcdefgh\n");
  });

  test("lines dropped at a full pipe are counted and reported; only the first one waits", () => {
    let attempts = 0;
    let isFull = true;
    let written = "";
    const writeLine = standardErrorOutput({
      maxRetries: 3,
      write: (bytes) => {
        attempts++;
        if (isFull) throw failure("EAGAIN");
        written += new TextDecoder().decode(bytes);
        return bytes.length;
      },
    });
    writeLine("a\n");
    expect(attempts).toBe(4);
    writeLine("b\n");
    expect(attempts).toBe(5);
    isFull = false;
    writeLine("c\n");
    writeLine("d\n");
    expect(written).toBe("dropped 2 log lines (stderr not read)\nc\nd\n");
    isFull = true;
    writeLine("e\n");
    isFull = false;
    writeLine("f\n");
    expect(written).toEndWith("d\ndropped 1 log line (stderr not read)\nf\n");
  });

  test("if the reader is gone, lines are dropped and the program continues", async () => {
    const logger = new URL("../../../src/log/logger.ts", import.meta.url).pathname;
    const script = `
      const { createLogger } = await import(${JSON.stringify(logger)});
      const log = createLogger({ format: "text", verbosity: 0 });
      await Bun.stdin.text();
      for (let i = 0; i < 2000; i++) log.info("x".repeat(200));
      console.log("alive");
    `;
    const child = Bun.spawn([process.execPath, "-e", script], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    await child.stderr.cancel();
    child.stdin.end();
    expect(await new Response(child.stdout).text()).toBe("alive\n");
    expect(await child.exited).toBe(0);
  });
});
