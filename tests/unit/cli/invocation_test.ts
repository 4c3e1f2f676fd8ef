import { expect, test } from "bun:test";
import { parseInvocation } from "../../../src/cli/invocation.ts";

test("the executable is the CNI plugin under the name flannel, as runtimes start it", () => {
  for (const name of ["flannel", "/opt/cni/bin/flannel", "./flannel"]) {
    expect(parseInvocation(name, [])).toEqual({ program: "cni" });
  }
});

test("the daemon may have the name flannel, too: it has flags", () => {
  const args = ["--kube-subnet-mgr"];
  expect(parseInvocation("/usr/local/bin/flannel", args)).toEqual({ program: "flanneld", args });
});

test("it copies a file under the name install-conf, whatever its arguments are", () => {
  expect(parseInvocation("/opt/bin/install-conf", ["a", "b"])).toEqual({
    program: "install-conf",
    args: ["a", "b"],
  });
  expect(parseInvocation("install-conf", [])).toEqual({ program: "install-conf", args: [] });
});

test("the subcommand cni is found without the other commands, unless it has arguments", () => {
  expect(parseInvocation("flanneld", ["cni"])).toEqual({ program: "cni" });
  expect(parseInvocation("flanneld", ["cni", "--help"])).toEqual({
    program: "flanneld",
    args: ["cni", "--help"],
  });
  expect(parseInvocation("flanneld", [])).toEqual({ program: "flanneld", args: [] });
});
