import { expect, test } from "bun:test";
import { requireNetworkPrivilege } from "../../../src/daemon/network_privilege.ts";

const status = (capabilities: string) => () =>
  `Name:\tflanneld\nCapPrm:\t000001ffffffffff\nCapEff:\t${capabilities}\n`;

test("a process with CAP_NET_ADMIN among its capabilities may go on, and one that cannot tell", () => {
  for (const read of [status("000001ffffffffff"), status("0000000000001000"), () => ""]) {
    expect(() => requireNetworkPrivilege(read)).not.toThrow();
  }
});

test.each(["0000000000000000", "000001ffffffefff", "0000000000002000"])(
  "a process with the capabilities %s may not",
  (capabilities) => {
    expect(() => requireNetworkPrivilege(status(capabilities))).toThrow("it lacks CAP_NET_ADMIN");
  },
);
