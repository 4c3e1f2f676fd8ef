import { expect, test } from "bun:test";
import { KernelError } from "../../../src/kernel/kernel.ts";

test("an error of the kernel has its parts as fields, and a message of all of them", () => {
  const cause = new Error("cause");
  const extack = "Nexthop has invalid gateway";
  const error = new KernelError({ operation: "set route X", errno: "ENETUNREACH", extack, cause });
  expect(error).toMatchObject({
    operation: "set route X",
    errno: "ENETUNREACH",
    errnoNumber: 101,
    extack,
    reason: "ENETUNREACH (Nexthop has invalid gateway)",
    message: "cannot set route X: ENETUNREACH (Nexthop has invalid gateway)",
    cause,
  });
});

test("an errno is given by name or by number", () => {
  const named = new KernelError({ operation: "x", errno: "EEXIST" });
  const numbered = new KernelError({ operation: "x", errno: 17 });
  for (const { errno, errnoNumber } of [named, numbered]) {
    expect({ errno, errnoNumber }).toEqual({ errno: "EEXIST", errnoNumber: 17 });
  }
  expect(new KernelError({ operation: "x", errno: 524 }).errno).toBe("errno 524");
  expect(new KernelError({ operation: "x", errno: "ENOSUCH" }).errnoNumber).toBeUndefined();
});
