import { beforeEach, describe, expect, test } from "bun:test";
import { SubnetFileWriter } from "../../../src/daemon/subnet_file_writer.ts";
import type { SubnetFile } from "../../../src/subnet/subnet_file.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

let clock: FakeClock;
let mtuBytes: number;
/** The MTU of each write, and the function that ends it. */
let writes: { readonly mtuBytes: number; readonly end: (error?: Error) => void }[];
let writer: SubnetFileWriter;
let messages: () => string[];

beforeEach(() => {
  clock = new FakeClock();
  const { log, records } = collectingLog();
  messages = () => records.map(({ level, msg }) => `${level} ${msg}`);
  mtuBytes = 1450;
  writes = [];
  writer = new SubnetFileWriter({
    path: "/run/flannel/subnet.env",
    content: () => ({ networks: {}, subnets: {}, mtuBytes, ipMasq: false }),
    file: {
      write: (_path: string, content: SubnetFile) =>
        new Promise((resolve, reject) => {
          const end = (error?: Error) => error === undefined ? resolve() : reject(error);
          writes.push({ mtuBytes: content.mtuBytes, end });
        }),
    },
    clock,
    log,
  });
});

describe("the subnet file", () => {
  test("is written by one call at a time, so that the newest content is last", async () => {
    const first = writer.write();
    await clock.advance(0);
    mtuBytes = 1350;
    const second = writer.write();
    await clock.advance(1000);
    expect(writes.map((write) => write.mtuBytes)).toEqual([1450]);
    writes[0]?.end();
    await first;
    await clock.advance(0);
    expect(writes.map((write) => write.mtuBytes)).toEqual([1450, 1350]);
    writes[1]?.end();
    await second;
  });

  test("is retried with the content of that time, and by one timer", async () => {
    void writer.write();
    await clock.advance(0);
    writes[0]?.end(new Error("ENOSPC"));
    await clock.advance(4900);
    expect(writer.problem).toBe("cannot write the subnet file /run/flannel/subnet.env: ENOSPC");
    mtuBytes = 1350;
    void writer.write();
    await clock.advance(0);
    writes[1]?.end();
    await clock.advance(60_000);
    expect(writes.map((write) => write.mtuBytes)).toEqual([1450, 1350]);
    expect(writer.problem).toBeUndefined();
  });

  test("has each reason of a failure in the log once", async () => {
    void writer.write();
    for (const reason of ["ENOSPC", "ENOSPC", "EROFS", undefined]) {
      await clock.advance(0);
      writes.at(-1)?.end(reason === undefined ? undefined : new Error(reason));
      await clock.advance(5000);
    }
    const problem = "cannot write the subnet file /run/flannel/subnet.env";
    expect(messages()).toEqual([
      `error ${problem}: ENOSPC; retrying`,
      `error ${problem}: EROFS; retrying`,
      "info wrote the subnet file /run/flannel/subnet.env",
    ]);
    await writer.written;
  });

  test("is not retried after the end", async () => {
    void writer.write();
    await clock.advance(0);
    writer[Symbol.dispose]();
    writes[0]?.end(new Error("ENOSPC"));
    await clock.advance(60_000);
    expect(writes).toHaveLength(1);
  });
});
