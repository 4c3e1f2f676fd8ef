import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DatastoreError } from "../../../src/datastore/mvcc/datastore_error.ts";
import { Storage } from "../../../src/datastore/mvcc/storage.ts";
import { openDatabase } from "../../../src/datastore/mvcc/storage_file.ts";
import { MvccStore } from "../../../src/datastore/mvcc/mvcc_store.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
/** The file of a stopped store. */
const FILES = ["datastore.lock", "datastore.sqlite"];
let folder: string;
let directory: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "datastore-test-"));
  directory = join(folder, "made", "here");
  file = join(directory, "datastore.sqlite");
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function fill(): void {
  using storage = new Storage(directory);
  const store = new MvccStore(storage, () => 0);
  for (let number = 0; number < 300; number++) {
    store.write((transaction) => {
      const key = bytes(`key-${number}`);
      transaction.put({ key, value: bytes("x".repeat(100)), lease: 0n }, undefined);
    });
  }
}

function failure(): string {
  try {
    new Storage(directory);
  } catch (error) {
    expect(error).toBeInstanceOf(DatastoreError);
    return (error as Error).message;
  }
  throw new Error("the file was opened");
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, string> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (text + chunk).split("\n");
    text = lines.pop() ?? "";
    yield* lines;
  }
  return "the process ended";
}

/** The error for a file, which has to remain unchanged. */
function failureOf(change: () => void): string {
  fill();
  change();
  const before = readFileSync(file);
  const message = failure();
  expect(readFileSync(file).equals(before)).toBe(true);
  expect(message).toStartWith(`${file} `);
  return message;
}

test("creates a directory for its owner only, with one file that keeps its identity", () => {
  const [first, second] = [0, 1].map(() => {
    using storage = new Storage(directory);
    return storage.identity;
  });
  expect(second).toEqual(first as NonNullable<typeof first>);
  expect(first?.clusterId).toBeGreaterThan(0n);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  expect(readdirSync(directory).toSorted()).toEqual(FILES);
});

test("the next start removes the files of a killed first start, and nothing else", () => {
  fill();
  const drafts = ["datastore.sqlite.new", "datastore.sqlite.new-journal"];
  const others = ["datastore.sqlite.bak", "datastore.sqlite.old.new", "4711.new"];
  for (const name of [...drafts, ...others]) writeFileSync(join(directory, name), "");
  new Storage(directory)[Symbol.dispose]();
  expect(readdirSync(directory).toSorted()).toEqual([...FILES, ...others].toSorted());
});

test(
  "of several processes that start at once, one serves and the others name it",
  async () => {
    // On tmpfs: its device and inode numbers are those of /proc/locks.
    const memory = mkdtempSync("/dev/shm/datastore-test-");
    using cleanup = new DisposableStack();
    cleanup.defer(() => rmSync(memory, { recursive: true, force: true }));
    // Opens the directory of each line on stdin, and keeps it open.
    const contend =
      `import { Storage } from "${import.meta.dir}/../../../src/datastore/mvcc/storage.ts";
    const open = [];
    for await (const directory of console) {
      try { open.push(new Storage(directory)); console.log("open"); }
      catch (error) { console.log(error.message); }
    }`;
    const children = Array.from({ length: 4 }, () => {
      const child = Bun.spawn([process.execPath, "-e", contend], { stdin: "pipe", stdout: "pipe" });
      cleanup.defer(() => child.kill());
      const lines = linesOf(child.stdout);
      return {
        pid: child.pid,
        open: async (directory: string) => {
          child.stdin.write(`${directory}\n`);
          await child.stdin.flush();
          return (await lines.next()).value;
        },
      };
    });
    for (let round = 0; round < 20; round++) {
      const contested = join(memory, `${round}`);
      const outcomes = await Promise.all(children.map(({ open }) => open(contested)));
      const winner = children[outcomes.indexOf("open")]?.pid;
      const refused =
        `${contested} is in use by process ${winner}; stop it or choose another --data-dir`;
      expect(outcomes.toSorted()).toEqual([refused, refused, refused, "open"]);
      expect(readdirSync(contested).toSorted()).toEqual(
        [...FILES, "datastore.sqlite-wal"].toSorted(),
      );
    }
  },
  60_000,
);

test("only the owner can read the data, even if others can read the directory", () => {
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755);
  using storage = new Storage(directory);
  storage.transaction(() => storage.removeLease(1n));
  const modes = readdirSync(directory).map((name) =>
    [name, statSync(join(directory, name)).mode & 0o777] as const
  );
  expect(modes.toSorted()).toEqual(
    [...FILES, "datastore.sqlite-wal"].toSorted().map((name) => [name, 0o600]),
  );
});

describe("a file that cannot be used is reported and not changed", () => {
  test("when it is not a database", () => {
    expect(failureOf(() => writeFileSync(file, "no database".repeat(1_000)))).toContain(
      "is damaged (file is not a database) and was not changed; restore it from a backup",
    );
  });

  test("when it is empty", () => {
    expect(failureOf(() => truncateSync(file, 0))).toContain("is damaged (it is empty)");
  });

  test("when its end is missing", () => {
    const size = () => statSync(file).size;
    expect(failureOf(() => truncateSync(file, size() / 2))).toContain("is damaged (");
  });

  test("when a page in its middle was overwritten", () => {
    const message = failureOf(() => {
      const content = readFileSync(file);
      content.fill(0xa5, 8 * 4096, 12 * 4096);
      writeFileSync(file, content);
    });
    expect(message).toContain("is damaged (");
  });

  test("when a crash has damaged it and its log", () => {
    fill();
    using storage = new Storage(directory);
    new MvccStore(storage, () => 0).write((transaction) => transaction.delete([bytes("key-1")]));
    const crashed = join(folder, "crashed");
    cpSync(directory, crashed, { recursive: true });
    directory = crashed;
    file = join(crashed, "datastore.sqlite");
    const content = readFileSync(file);
    content.fill(0xa5, 8 * 4096, 12 * 4096);
    writeFileSync(file, content);
    const log = readFileSync(`${file}-wal`);
    expect(log.length).toBeGreaterThan(0);
    expect(failure()).toContain("is damaged (");
    expect(readFileSync(file).equals(content)).toBe(true);
    expect(readFileSync(`${file}-wal`).equals(log)).toBe(true);
  });

  test("when it belongs to another program", () => {
    const message = failureOf(() => {
      rmSync(file);
      const other = new Database(file);
      other.run("CREATE TABLE theirs (a)");
      other.close();
    });
    expect(message).toContain("is not a datastore of flanneld; choose another --data-dir");
  });

  test("when --data-dir is not a directory, or is below a file", () => {
    for (
      const [path, problem] of [
        ["/dev/null", "is not a directory"],
        ["/dev/null/data", "is below a file that is not a directory"],
      ] as const
    ) {
      expect(() => openDatabase(path)).toThrow(`--data-dir ${path} ${problem}`);
    }
  });

  test("when a later version has written it", () => {
    const message = failureOf(() => {
      const later = new Database(file);
      later.run("PRAGMA user_version = 3");
      later.close();
    });
    expect(message).toContain("has layout 3, but this version of flanneld supports layout 2");
    expect(message).toContain("flanneld datastore export, and import into another --data-dir");
  });

  test("when another process has it open", () => {
    const open =
      `import { Storage } from "${import.meta.dir}/../../../src/datastore/mvcc/storage.ts";
      new Storage("${directory}");`;
    using storage = new Storage(directory);
    void storage;
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, "-e", open]);
    expect(exitCode).toBe(1);
    expect(stderr.toString()).toContain(`${directory} is in use by `);
  });

  test("when another program reads it", () => {
    using cleanup = new DisposableStack();
    const message = failureOf(() => {
      const other = cleanup.use(new Database(file));
      other.run("BEGIN");
      other.query("SELECT * FROM state").get();
    });
    expect(message).toContain("is in use by another program, such as sqlite3");
  });
});

test("a log without its file is not treated as a new store", () => {
  fill();
  cpSync(file, `${file}-wal`);
  rmSync(file);
  expect(failure()).toContain("is missing, but ");
  expect(readdirSync(directory).toSorted()).toEqual(["datastore.lock", "datastore.sqlite-wal"]);
});

test("names a directory that cannot be created", () => {
  writeFileSync(join(folder, "made"), "");
  expect(failure()).toBe(
    `--data-dir ${dirname(file)} is below a file that is not a directory`,
  );
});

test("a file of the first layout is upgraded with checksums and keeps its content", () => {
  fill();
  const former = new Database(file);
  for (const table of ["live", "history"]) former.run(`ALTER TABLE ${table} DROP COLUMN checksum`);
  former.run("PRAGMA user_version = 1");
  former.close();
  for (const attempt of ["upgraded", "as it is"]) {
    using storage = new Storage(directory);
    const everything = { range: { start: bytes(""), end: undefined } };
    for (const revision of [undefined, 301n]) {
      const entries = storage.entries({ ...everything, revision });
      expect({ attempt, count: entries.length }).toEqual({ attempt, count: 300 });
    }
    const { changes } = storage.changesFrom(everything.range, 1n, { changes: 1_000, bytes: 1e6 });
    expect(changes.length).toBe(300);
  }
  using later = new Database(file, { readonly: true });
  expect(later.query("PRAGMA user_version").values()).toEqual([[2]]);
  expect(later.query("SELECT COUNT(*) FROM live WHERE checksum = 0").values()).toEqual([[0]]);
});
