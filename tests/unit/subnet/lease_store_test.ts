import { describe, expect, test } from "bun:test";
import {
  DuplicateNodeError,
  OutOfSubnetsError,
  StoreError,
} from "../../../src/subnet/lease_store.ts";

describe("the errors of a store", () => {
  test("are told apart by name in a log", () => {
    const errors = [StoreError, OutOfSubnetsError, DuplicateNodeError].map((Kind) => new Kind("x"));
    expect(errors.map(String)).toEqual([
      "StoreError: x",
      "OutOfSubnetsError: x",
      "DuplicateNodeError: x",
    ]);
  });
});
