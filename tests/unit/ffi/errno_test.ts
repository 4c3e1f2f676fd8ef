import { expect, test } from "bun:test";
import { errnoName } from "../../../ffi/errno.ts";

test("error numbers have the names that the kernel's sources use", () => {
  expect([17, 11, 95, 105, 4].map(errnoName)).toEqual([
    "EEXIST",
    "EAGAIN",
    "EOPNOTSUPP",
    "ENOBUFS",
    "EINTR",
  ]);
  expect(errnoName(524)).toBe("errno 524");
});
