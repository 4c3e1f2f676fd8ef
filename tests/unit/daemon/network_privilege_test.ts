import { expect, test } from "bun:test";
import { requireNetworkPrivilege } from "../../../src/daemon/network_privilege.ts";

const status = (capabilities: string) =>
  `Name:\tflanneld\nCapPrm:\t000001ffffffffff\nCapEff:\t${capabilities}\n`;

test("CAP_NET_ADMIN, or capabilities that cannot be read, let the daemon start", () => {
  for (const text of [status("000001ffffffffff"), status("0000000000001000"), ""]) {
    expect(() => requireNetworkPrivilege(text)).not.toThrow();
  }
});

test.each(["0000000000000000", "000001ffffffefff", "0000000000002000"])(
  "the capabilities %s do not",
  (capabilities) => {
    expect(() => requireNetworkPrivilege(status(capabilities))).toThrow(
      "missing CAP_NET_ADMIN: run flanneld as root",
    );
  },
);
