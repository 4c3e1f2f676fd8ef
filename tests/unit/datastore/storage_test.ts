import { expect, test } from "bun:test";
import { closeSync, openSync, statSync, writeSync } from "node:fs";
import { DatastoreError } from "../../../src/datastore/datastore_error.ts";
import { TestStore } from "./fixture.ts";

test("damage that is found while reading ends the store, and is not the client's fault", async () => {
  using test = new TestStore();
  // More than SQLite keeps in memory.
  for (let number = 0; number < 3_000; number++) test.put(`k${number}`, "v".repeat(3_000));
  await test.restart();
  const { file } = test.storage;
  const handle = openSync(file, "r+");
  writeSync(handle, new Uint8Array(statSync(file).size - 8_192).fill(0xff), null, null, 8_192);
  closeSync(handle);
  expect(() => test.contents()).toThrow(DatastoreError);
  expect((await test.storage.failed).message).toContain("is damaged");
  expect(() => test.put("a")).toThrow("is damaged");
});
