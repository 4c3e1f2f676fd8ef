import { describe, expect, test } from "bun:test";
import { HOST_GW } from "../../../src/backend/host_gw/host_gw_descriptor.ts";
import { VXLAN } from "../../../src/backend/vxlan/vxlan_descriptor.ts";
import { parseLabCommand } from "../../../src/cli/lab_arguments.ts";

const SELF = ["/usr/bin/flanneld"];

describe("parseLabCommand()", () => {
  test("has three IPv4 vxlan hosts by default and runs this program", () => {
    expect(parseLabCommand([], SELF)).toEqual({
      kind: "run",
      json: false,
      options: {
        hosts: 3,
        backend: VXLAN,
        families: [4],
        keep: false,
        daemon: SELF,
        datastore: SELF,
      },
    });
  });

  test("uses a real etcd with --etcd", () => {
    const command = parseLabCommand(["--etcd"], SELF);
    expect(command.kind === "run" && Object.keys(command.options)).not.toContain("datastore");
  });

  test("reads every option", () => {
    const args = ["--hosts=5", "--backend", "host-gw", "--ipv6", "--keep", "--json"];
    expect(parseLabCommand(args, SELF)).toMatchObject({
      json: true,
      options: { hosts: 5, backend: HOST_GW, families: [4, 6], keep: true },
    });
    expect(parseLabCommand(["--ipv6-only"], SELF)).toMatchObject({ options: { families: [6] } });
  });

  test("reads down with and without a name", () => {
    expect(parseLabCommand(["down"], SELF)).toEqual({ kind: "down" });
    expect(parseLabCommand(["down", "fl-lab-000001"], SELF))
      .toEqual({ kind: "down", name: "fl-lab-000001" });
  });

  test("skips blank arguments", () => {
    expect(parseLabCommand(["", "--json", " "], SELF)).toEqual(parseLabCommand(["--json"], SELF));
    expect(parseLabCommand(["", "down", ""], SELF)).toEqual({ kind: "down" });
  });

  test.each([[["--help"]], [["-h"]], [["down", "--help"]]])("returns the help for %p", (args) => {
    expect(parseLabCommand(args, SELF)).toEqual({ kind: "help" });
  });

  test.each([
    [["--hosts", "0"], /--hosts is "0"/],
    [["--hosts", "many"], /--hosts is "many"/],
    [["--hosts", "2.5"], /--hosts is "2.5"; it must be a number from 1 to 1000/],
    [["--keep=perhaps"], /--keep is "perhaps"; it must be true or false/],
    [["--backend=ipip", "--ipv6"], /--backend ipip supports IPv4 only; omit --ipv6/],
    [["--backend=UDP", "--ipv6-only"], /--backend udp supports IPv4 only/],
    [["--backend=Vxlans"], /--backend is "Vxlans"; it must be one of alloc, .*, vxlan, wireguard/],
    [["--backend="], /--backend is ""/],
    [["--backend"], /--backend needs a value/],
    [["down", "a", "b"], /unexpected argument "b"; down takes at most the name of one lab/],
    [["down", "--keep"], /unexpected argument "--keep"; down takes/],
    [["--keep", "down"], /unexpected argument "down"/],
    [["up"], /unexpected argument "up"/],
    [["--host=3"], /--hosts/],
  ])("refuses %p with one line that names the fault", (args, message) => {
    expect(parseLabCommand(args, SELF)).toEqual({
      kind: "error",
      message: expect.stringMatching(message),
    });
  });
});
