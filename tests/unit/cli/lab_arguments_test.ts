import { describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { HOST_GW } from "../../../src/backend/host_gw/host_gw_descriptor.ts";
import { VXLAN } from "../../../src/backend/vxlan/vxlan_descriptor.ts";
import { type CommandReading, readCommand } from "../../../src/cli/command_reader.ts";
import { LAB, type LabAction } from "../../../src/cli/lab_arguments.ts";

function read(args: readonly string[]): CommandReading<LabAction> {
  return readCommand(LAB, args, {});
}

function action(args: readonly string[]): LabAction {
  const reading = read(args);
  if (reading.kind !== "action") throw new Error(`expected an action: ${JSON.stringify(reading)}`);
  return reading.action;
}

describe("flanneld lab", () => {
  test("has three IPv4 vxlan hosts by default and runs this program", () => {
    expect(action([])).toEqual({
      kind: "run",
      json: false,
      etcd: false,
      daemon: "",
      hosts: 3,
      backend: VXLAN,
      families: [4],
      keep: false,
    });
  });

  test("has a Kubernetes cluster with --kube, whose programs are paths of any directory", () => {
    expect(action(["--kube"])).toMatchObject({
      kube: { apiServer: "kube-apiserver", cniDirectories: ["/opt/cni/bin", "/usr/lib/cni"] },
    });
    const args = ["--kube", "--kube-apiserver=bin/kube-apiserver", "--cni-bin-dir=/a,plugins"];
    expect(action(args)).toMatchObject({
      kube: {
        apiServer: resolve("bin/kube-apiserver"),
        cniDirectories: ["/a", resolve("plugins")],
      },
    });
  });

  test("reads the relay that a lab starts", () => {
    expect(action(["relay", "/s", "2001:db8::1", "6443"])).toEqual({
      kind: "relay",
      relay: { socket: "/s", host: "2001:db8::1", port: 6443 },
    });
  });

  test("reads every option", () => {
    const args = ["--hosts=5", "--backend", "host-gw", "--ipv6", "--keep", "--json", "--etcd"];
    expect(action(args)).toMatchObject({
      json: true,
      etcd: true,
      hosts: 5,
      backend: HOST_GW,
      families: [4, 6],
      keep: true,
    });
    expect(action(["--ipv6-only"])).toMatchObject({ families: [6] });
  });

  test("reads down with and without a name", () => {
    expect(action(["down"])).toEqual({ kind: "down" });
    expect(action(["down", "fl-lab-000001"]))
      .toEqual({ kind: "down", name: "fl-lab-000001" });
  });

  test("skips blank arguments", () => {
    expect(action(["", "--json", " "])).toEqual(action(["--json"]));
    expect(action(["", "down", ""])).toEqual({ kind: "down" });
  });

  test.each([[["--help"]], [["-h"]], [["down", "--help"]]])("returns the help for %p", (args) => {
    expect(read(args)).toMatchObject({ kind: "help" });
  });

  test.each([
    [["--hosts", "0"], /--hosts is "0"/],
    [["--hosts", "many"], /--hosts is "many"/],
    [["--hosts", "2.5"], /--hosts is "2.5"; it must be a number from 1 to 1000/],
    [["--kube-apiserver=/bin/true"], /--kube-apiserver needs --kube/],
    [["--cni-bin-dir=/opt/cni/bin", "--kube=false"], /--cni-bin-dir needs --kube/],
    [["--kube", "--kube-apiserver="], /--kube-apiserver is ""; it must be the name or the path/],
    [["--kube", "--cni-bin-dir=,"], /--cni-bin-dir is ","; it must be a list/],
    [["relay", "/s"], /ADDRESS is missing/],
    [["--keep=perhaps"], /--keep is "perhaps"; it must be true or false/],
    [["--backend=ipip", "--ipv6"], /--backend ipip supports IPv4 only; omit --ipv6/],
    [["--backend=UDP", "--ipv6-only"], /--backend udp supports IPv4 only/],
    [["--backend=Vxlans"], /--backend is "Vxlans"; it must be one of alloc, .*, vxlan, wireguard/],
    [["--backend="], /--backend is ""/],
    [["--backend"], /--backend needs a value/],
    [["down", "a", "b"], /unexpected argument "b"; it takes \[NAME\]/],
    [["down", "--keep"], /unknown flag --keep; /],
    [["--keep", "down"], /flags are not allowed before the subcommand down/],
    [["up"], /unknown subcommand "up"; the subcommands are down; /],
    [["--host=3"], /--hosts/],
  ])("refuses %p with one line that names the fault", (args, message) => {
    expect(read(args)).toEqual({
      kind: "error",
      exitCode: 2,
      message: expect.stringMatching(message),
    });
  });
});
