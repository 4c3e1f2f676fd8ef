/** The daemon's side of the proxy with its real thread, on the loopback device and without a TUN device. */

import { expect, test } from "bun:test";
import type { IpAddress } from "../../../../src/addr/ip.ts";
import type { NodeInput } from "../../../../src/backend/backend.ts";
import { UdpProxy } from "../../../../src/backend/udp/proxy.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { external, ip, lease, prefix } from "../../../support/sample_network.ts";
import { eventually } from "../../../support/wait.ts";

const NO_DEVICE = "there is no device fl-no-such-tun";
const NEVER = new AbortController().signal;

function input(address: IpAddress): NodeInput {
  return { own: lease(1, "", [4]), external: { ...external([4]), addresses: { 4: address } } };
}

function proxyOn(port: number): { proxy: UdpProxy; messages: () => string[] } {
  const { log, records } = collectingLog();
  const proxy = new UdpProxy({
    deviceName: "fl-no-such-tun",
    port,
    network: prefix("10.5.0.0/16"),
    localAddress: ip("127.0.0.1"),
    log,
  });
  return { proxy, messages: () => records.map(({ msg }) => msg) };
}

async function freePort(): Promise<number> {
  const socket = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
  const { port } = socket;
  socket.close();
  return port;
}

test("before it has started it says so; then it says what is missing, once", async () => {
  const { proxy, messages } = proxyOn(await freePort());
  await using _proxy = proxy;
  expect(proxy.problems()).toEqual(["the proxy has not started"]);
  await proxy.start(input(ip("127.0.0.1")), NEVER);
  expect(proxy.problems()).toEqual([NO_DEVICE]);
  await Bun.sleep(300); // some attempts
  expect(messages()).toEqual([NO_DEVICE]);
});

test("a port in use is told, and taken once it is free; its end frees it", async () => {
  const holder = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
  const { port } = holder;
  const { proxy } = proxyOn(port);
  await proxy.start(input(ip("127.0.0.1")), NEVER);
  expect(proxy.problems()[1]).toStartWith(`UDP port ${port} of 127.0.0.1 is in use`);
  holder.close();
  await eventually("the port is taken", 3_000, () => proxy.problems().length === 1);
  expect(() => Bun.udpSocket({ hostname: "127.0.0.1", port })).toThrow("EADDRINUSE");
  await proxy[Symbol.asyncDispose]();
  (await Bun.udpSocket({ hostname: "127.0.0.1", port })).close();
});

test("another address is listened on instead", async () => {
  const port = await freePort();
  const { proxy } = proxyOn(port);
  await using _proxy = proxy;
  await proxy.start(input(ip("127.0.0.1")), NEVER);
  proxy.externalChanged(input(ip("127.0.0.2")));
  await eventually("the first is free", 3_000, async () => {
    (await Bun.udpSocket({ hostname: "127.0.0.1", port })).close();
    return true;
  });
  proxy.externalChanged(input(ip("192.0.2.99"))); // nobody has it
  await eventually("it is told", 3_000, () => proxy.problems().length === 2);
  expect(proxy.problems()[1]).toContain("this host does not have the address");
});

test("thousands of peers, given one by one, do not delay its end", async () => {
  const { proxy } = proxyOn(await freePort());
  await proxy.start(input(ip("127.0.0.1")), NEVER);
  for (let number = 2; number < 5_000; number++) {
    const subnets = { 4: prefix(`10.5.${number >> 8}.${number & 255}/32`) };
    proxy.put({
      ...lease(2, "", [4]),
      key: `${number}` as ReturnType<typeof lease>["key"],
      subnets,
    });
  }
  proxy.allowSweep();
  await proxy.whenSettled();
  const before = performance.now();
  await proxy[Symbol.asyncDispose]();
  expect(performance.now() - before).toBeLessThan(900); // it was not given up
});
