/** Which names a datastore's certificate has. */

import { describe, expect, test } from "bun:test";
import { hostname } from "node:os";
import { reachableAddresses, serverNames } from "../../../../src/datastore/access/server_names.ts";

/** Without the names of this machine. */
function accepted(name: string): boolean {
  return serverNames([name])[0] === name;
}

describe("serverNames()", () => {
  test("has the given names first, then those of this machine", () => {
    const names = serverNames(["db.example.com", "192.0.2.1", "2001:db8::1", "localhost"]);
    expect(names.slice(0, 4)).toEqual(["db.example.com", "192.0.2.1", "2001:db8::1", "localhost"]);
    expect(names).toContain("127.0.0.1");
    if (accepted(hostname())) expect(names).toContain(hostname());
    expect(new Set(names).size).toBe(names.length);
  });

  test.each(["a", "db-1", "db_1.example.com", "a-.b", "1.example", "x".repeat(253)])(
    "accepts the name %s",
    (name) => expect(accepted(name)).toBe(true),
  );

  test.each([
    "",
    "-a",
    "a-",
    "a_",
    ".a",
    "a.",
    "a..b",
    "a.-b",
    "a b",
    "0.0.0.0",
    "::",
    "fe80::1%1",
  ])(
    "leaves out %j",
    (name) => expect(serverNames([name])).not.toContain(name),
  );

  test("leaves out long invalid names as quickly as others", () => {
    for (const end of [".", "-", "_", "..b", "!"]) {
      for (const part of ["a", "a-", "a.a"]) {
        const name = part.repeat(60) + end;
        expect(serverNames([name])).not.toContain(name);
      }
    }
  });
});

test("reachableAddresses() has no loopback address", () => {
  for (const address of reachableAddresses()) expect(address).not.toMatch(/^127\.|^::1$|^fe80:/);
});
