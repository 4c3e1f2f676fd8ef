/**
 * The image for arm64 in an arm64 machine that qemu emulates: a datastore and a daemon run in it.
 *
 * RELEASE_IMAGE is the path of the image; tests/deliver/release/run.sh sets it.
 */

import { beforeAll, describe, expect, test } from "bun:test";
import { runProgram } from "../../../src/process/run_program.ts";

const SCRIPT = new URL("arm64_machine.sh", import.meta.url).pathname;
/** It takes 75 s on two processors of 2023. */
const MACHINE_SECONDS = 900;
/** Not a fault: where other programs run too, the emulated datastore may take seconds to answer. */
const LATE = /: (no response in time|PING timed out) \(http:\/\/192\.168\.58\.11:2379\)$/;

describe("an arm64 machine with the files of the image", () => {
  /** What the machine has shown, by heading. */
  let shown: ReadonlyMap<string, string>;

  beforeAll(async () => {
    const image = process.env["RELEASE_IMAGE"];
    if (!image) throw new Error("RELEASE_IMAGE is not set; npm run test:release sets it");
    const options = { timeoutMs: (MACHINE_SECONDS + 300) * 1000, env: process.env };
    const args = [SCRIPT, image, String(MACHINE_SECONDS)];
    const { exitCode, stdout, stderr } = await runProgram("bash", args, options);
    if (exitCode !== 0 || !stdout.includes("== end")) {
      throw new Error(`the machine did not reach its end: ${stdout.slice(-4000)}${stderr}`);
    }
    shown = sections(stdout);
  }, (MACHINE_SECONDS + 300) * 1000);

  test("runs the programs of the image", () => {
    expect(section("version")).toMatch(/^v\d+\.\d+\.\d+/);
    expect(section("iptables")).toMatch(/^iptables v\S+ \(nf_tables\)$/m);
    expect(section("nft")).toMatch(/^nftables v/m);
  });

  test("runs a datastore, and a daemon without warnings", () => {
    expect(section("/tmp/datastore.log")).toContain("] ready; ");
    const log = section("/tmp/flanneld.log");
    expect(log).toContain("] ready; ");
    expect(log.split("\n").filter((line) => /^[EW]/.test(line) && !LATE.test(line))).toEqual([]);
    expect(section("subnet")).toMatch(/^FLANNEL_NETWORK=10\.7\.0\.0\/16$/m);
    expect(section("subnet")).toMatch(/^FLANNEL_IPV6_NETWORK=fd00:7::\/48$/m);
  });

  test("has the devices and rules of both families", () => {
    expect(section("device")).toMatch(/inet 10\.7\.\d+\.0\/32/);
    expect(section("device-v6")).toMatch(/inet6 fd00:7:0:\w+::\/128/);
    for (const name of ["rules", "rules-v6"]) {
      expect(section(name)).toContain('-A POSTROUTING -m comment --comment "flanneld masq"');
    }
  });

  function section(name: string): string {
    const text = shown.get(name);
    if (text === undefined) throw new Error(`the machine has not shown ${name}`);
    return text;
  }
});

function sections(console: string): ReadonlyMap<string, string> {
  const parts = console.replaceAll("\r", "").split(/^== /m).slice(1);
  return new Map(parts.map((part) => {
    const end = part.indexOf("\n");
    return [part.slice(0, end), part.slice(end + 1)];
  }));
}
