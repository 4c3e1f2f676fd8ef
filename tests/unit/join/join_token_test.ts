import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  joinTargetText,
  joinTokenText,
  newJoinToken,
  parseJoinTarget,
  parseJoinToken,
} from "../../../src/join/join_token.ts";

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length })
    .map((array) => Buffer.from(array).toString("base64url"));

const tokens = fc.record({
  id: fc.stringMatching(/^[a-z2-9]{6}$/),
  fingerprint: bytes(32),
  secret: bytes(16),
});

const hosts = fc.oneof(
  fc.constantFrom("192.168.56.11", "fd00::1", "2001:db8::5:1", "localhost", "ds-1.example.org"),
  fc.domain(),
);

const FINGERPRINT = Buffer.alloc(32, 7).toString("base64url");

describe("a join token", () => {
  test("is read as it was written", () => {
    fc.assert(fc.property(tokens, (token) => {
      expect(parseJoinToken(joinTokenText(token))).toEqual(token);
    }));
  });

  test("is refused when it is truncated anywhere, or one character is another one", () => {
    fc.assert(fc.property(tokens, fc.nat(), fc.stringMatching(/^[\w-]$/), (token, at, other) => {
      const text = joinTokenText(token);
      const place = at % text.length;
      expect(parseJoinToken(text.slice(0, place))).toHaveProperty("problem");
      fc.pre(text[place] !== other);
      const changed = text.slice(0, place) + other + text.slice(place + 1);
      expect(parseJoinToken(changed)).toHaveProperty("problem");
    }));
  });

  test("is refused with a reason that does not contain it", () => {
    const text = joinTokenText(newJoinToken(FINGERPRINT));
    const body = text.split(".")[2] as string;
    const cases: [text: string, problem: RegExp][] = [
      [text.slice(0, -1), /truncated/],
      [`${text.slice(0, 20)}${text[20] === "A" ? "B" : "A"}${text.slice(21)}`, /damaged/],
      [`${text}=`, /character that base64url does not have/],
      [`${text}AAAA`, /damaged/],
      [text.replace("F1.", "F2."), /format F2 of a later version/],
      [text.replace("F1.", "K10"), /does not begin with F1/],
      ["", /does not begin with F1/],
      [`${text}.x`, /does not begin with F1/],
    ];
    for (const [given, problem] of cases) {
      const read = parseJoinToken(given) as { problem: string };
      expect([given, read.problem]).toEqual([given, expect.stringMatching(problem)]);
      expect(read.problem).not.toContain(body.slice(0, 8));
    }
  });

  test("never crashes the reader, whatever the text is", () => {
    fc.assert(fc.property(fc.string(), (text) => {
      parseJoinToken(text);
      expect(parseJoinTarget(text)).toHaveProperty("problem");
    }));
  });

  test("differs from every other one", () => {
    const made = Array.from({ length: 100 }, () => newJoinToken(FINGERPRINT));
    expect(new Set(made.map(({ secret }) => secret)).size).toBe(100);
    expect(new Set(made.map(({ id }) => id)).size).toBe(100);
    for (const { id } of made) expect(id).toMatch(/^[a-z2-9]{6}$/);
  });
});

describe("TOKEN@HOST[:PORT]", () => {
  test("is read as it was written", () => {
    fc.assert(fc.property(
      tokens,
      hosts,
      fc.integer({ min: 1, max: 65_535 }),
      (token, host, port) => {
        const target = { token, host, port };
        expect(parseJoinTarget(joinTargetText(target))).toEqual(target);
      },
    ));
  });

  test("has the port only if it is not the default", () => {
    const token = newJoinToken(FINGERPRINT);
    const text = joinTokenText(token);
    expect(joinTargetText({ token, host: "10.0.0.1", port: 2379 })).toBe(`${text}@10.0.0.1`);
    expect(joinTargetText({ token, host: "fd00::1", port: 2380 })).toBe(`${text}@[fd00::1]:2380`);
    expect(parseJoinTarget(`${text}@[fd00::1]`)).toEqual({ token, host: "fd00::1", port: 2379 });
  });

  test.each([
    ["", "the address is missing"],
    ["@", "is not @HOST"],
    ["@10.0.0.1:0", "is not @HOST"],
    ["@10.0.0.1:65536", "is not @HOST"],
    ["@http://10.0.0.1", "is not @HOST"],
    ["@fd00::1", "is not @HOST"],
    ["@10.0.0.1/x", "is not @HOST"],
    ["@10.0.0.256", "is not @HOST"],
    ["@10.0.0", "is not @HOST"],
    ["@[::::]", "is not @HOST"],
    ["@[10.0.0.1]", "is not @HOST"],
    ["@..", "is not @HOST"],
    ["@node-", "is not @HOST"],
    ["@-", "is not @HOST"],
  ])("is refused with %p after the token", (rest, problem) => {
    const text = joinTokenText(newJoinToken(FINGERPRINT));
    expect(parseJoinTarget(`${text}${rest}`)).toEqual({
      problem: expect.stringContaining(problem),
    });
  });
});
