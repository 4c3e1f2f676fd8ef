import { describe, expect, test } from "bun:test";
import type { ExcludedAddress } from "../../../src/addr/excluded_address.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import {
  type HostDependencies,
  readHostDependencies,
} from "../../../src/host/host_dependencies.ts";
import type { RouteLookup } from "../../../src/kernel/kernel.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { ip } from "../../support/sample_network.ts";

const isOverlayDevice = (name: string) => BACKENDS.isDeviceName(name);

const NONE: HostDependencies = { gateways: [], resolvers: [], endpoints: [] };

function excluded(address: string, what = "the gateway of this host"): ExcludedAddress {
  return { address: ip(address), what };
}

describe("readHostDependencies", () => {
  const ROUTES: Record<string, RouteLookup> = {
    "203.0.113.1": { link: "eth0", gateway: ip("192.168.0.254"), local: false },
    "2001:db8::1": { link: "eth0", gateway: ip("fe80::1"), local: false },
    "10.0.0.5": { link: "eth1", gateway: ip("10.0.1.1"), local: false },
    "10.0.0.6": { link: "flannel.1", gateway: ip("10.5.2.0"), local: false },
  };
  const FILES: Record<string, string> = {
    "/etc/resolv.conf": "# comment\nnameserver 127.0.0.53\nsearch example\n nameserver 1.2.3.4\n",
    "/run/systemd/resolve/resolv.conf":
      "nameserver 192.168.0.53\nnameserver\tFD00::53\nnameserver fe80::1%eth0\nnameserver x\n",
  };
  const clock = new FakeClock();
  const options = {
    isOverlayDevice,
    clock,
    kernel: {
      routeTo: (address: IpAddress) =>
        Promise.resolve<RouteLookup>(ROUTES[address] ?? { local: false }),
    },
    read: (path: string) =>
      path in FILES ? Promise.resolve(FILES[path] as string) : Promise.reject(new Error("ENOENT")),
    resolve: (name: string) =>
      name === "etcd.example"
        ? Promise.resolve(["10.0.0.5", "fd00::5"])
        : Promise.reject(new Error("unknown")),
  };

  test("finds gateways, stores and the name servers behind systemd-resolved", async () => {
    const endpoints = [
      "https://etcd.example:2379",
      "http://10.0.0.6:2379",
      "http://[fd00::6]:2379",
      "http://nowhere.example:2379",
    ];
    expect(await readHostDependencies({ ...options, endpoints })).toEqual({
      gateways: [
        excluded("192.168.0.254"),
        excluded("fe80::1"),
        excluded("10.0.1.1", "the gateway on the way to https://etcd.example:2379"),
      ],
      resolvers: [
        excluded("127.0.0.53", "a name server of /etc/resolv.conf"),
        excluded("192.168.0.53", "a name server of /run/systemd/resolve/resolv.conf"),
        excluded("fd00::53", "a name server of /run/systemd/resolve/resolv.conf"),
      ],
      endpoints: [
        excluded("10.0.0.5", "the address of https://etcd.example:2379"),
        excluded("fd00::5", "the address of https://etcd.example:2379"),
        excluded("10.0.0.6", "the address of http://10.0.0.6:2379"),
        excluded("fd00::6", "the address of http://[fd00::6]:2379"),
      ],
    });
  });

  test("leaves out what cannot be determined", async () => {
    const kernel = { routeTo: () => Promise.reject(new Error("EMFILE")) };
    const read = () => Promise.reject(new Error("ENOENT"));
    expect(await readHostDependencies({ kernel, read, isOverlayDevice, clock, endpoints: [] }))
      .toEqual(NONE);
  });

  test("leaves out a store whose name is not resolved within two seconds", async () => {
    const resolve = () => new Promise<never>(() => {});
    const reading = readHostDependencies({ ...options, resolve, endpoints: ["http://slow:2379"] });
    let isDone = false;
    reading.then(() => isDone = true);
    await clock.advance(1900);
    expect(isDone).toBe(false);
    await clock.advance(100);
    expect((await reading).endpoints).toEqual([]);
  });
});
