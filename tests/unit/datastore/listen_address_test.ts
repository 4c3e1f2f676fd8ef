import { expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { parseListenAddress, reachOf } from "../../../src/datastore/listen_address.ts";

test("parses an address with its port, by default etcd's", () => {
  const cases: Record<string, string | undefined> = {
    "127.0.0.1:2379": "127.0.0.1 2379",
    "10.0.0.5": "10.0.0.5 2379",
    "localhost:1": "127.0.0.1 1",
    ":2379": "0.0.0.0 2379",
    "[::1]:2380": "::1 2380",
    "[::1]": "::1 2379",
    "fd00::5": "fd00::5 2379",
    "": "0.0.0.0 2379",
    "node-1:2379": undefined,
    "10.0.0.5:65536": undefined,
    "[10.0.0.5]:1": undefined,
    "10.0.0.5:": undefined,
    "http://10.0.0.5:2379": undefined,
    "10.0.0.256:1": undefined,
  };
  for (const [text, wanted] of Object.entries(cases)) {
    const read = parseListenAddress(text);
    expect(read && `${read.host} ${read.port}`).toBe(wanted as string);
  }
});

test("the network of an address determines from where it can be reached", () => {
  const of = (...addresses: string[]) => addresses.map((one) => reachOf(one as IpAddress));
  expect(of("127.0.0.1", "127.8.9.1", "::1")).toEqual(["loopback", "loopback", "loopback"]);
  expect(new Set(of("10.1.2.3", "172.31.0.1", "192.168.56.11", "100.64.0.1", "fd00::1", "fe80::1")))
    .toEqual(new Set(["private"]));
  expect(new Set(of("8.8.8.8", "172.32.0.1", "0.0.0.0", "::", "2001:db8::1", "100.128.0.1")))
    .toEqual(new Set(["public"]));
});
