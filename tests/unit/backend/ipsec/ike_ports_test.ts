import { expect, test } from "bun:test";
import { requireIkePorts } from "../../../../src/backend/ipsec/ike_ports.ts";

/** A line of /proc/self/status; bits of linux/capability.h. */
const WITHOUT = `CapEff:\t${(1n << 12n | 1n << 13n).toString(16).padStart(16, "0")}\n`;
const WITH = `CapEff:\t${(1n << 10n | 1n << 12n).toString(16).padStart(16, "0")}\n`;

test("a charon that may not listen on port 500 is not started", () => {
  expect(() => requireIkePorts(WITHOUT, 1024))
    .toThrow(/^missing CAP_NET_BIND_SERVICE, which charon needs for UDP port 500: grant it/);
});

test("one that may is started: by its capability, or where the port needs none", () => {
  requireIkePorts(WITH, 1024);
  requireIkePorts(WITHOUT, 0);
  requireIkePorts(WITHOUT, 500);
  expect(() => requireIkePorts(WITHOUT, 501)).toThrow("missing");
});
