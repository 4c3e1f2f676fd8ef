/**
 * The daemon's side of the proxy with its real thread, on the loopback device and without a TUN
 * device.
 */

import { expect, test } from "bun:test";
import type { IpAddress } from "../../../../src/addr/ip.ts";
import type { NodeInput } from "../../../../src/overlay/node_input.ts";
import { UdpProxy } from "../../../../src/backend/udp/proxy.ts";
import { runProgram } from "../../../../src/process/run_program.ts";
import { type Clock, systemClock } from "../../../../src/base/clock.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { external, ip, lease, prefix } from "../../../support/sample_network.ts";
import { eventually } from "../../../support/wait.ts";
import { WorkerWatch } from "../../../support/worker_watch.ts";

const NO_DEVICE = "there is no device fl-no-such-tun";
const NEVER = new AbortController().signal;

function input(address: IpAddress): NodeInput {
  const sourceAddresses = { 4: address };
  return { own: lease(1, "", [4]), external: { ...external([4]), sourceAddresses } };
}

function proxyOn(
  port: number,
  clock: Clock = systemClock,
): { proxy: UdpProxy; messages: () => string[] } {
  const { log, records } = collectingLog();
  const proxy = new UdpProxy({
    deviceName: "fl-no-such-tun",
    port,
    network: prefix("10.5.0.0/16"),
    clock,
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

async function isTaken(hostname: string, port: number): Promise<boolean> {
  try {
    (await Bun.udpSocket({ hostname, port })).close();
    return false;
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe("EADDRINUSE");
    return true;
  }
}

test("it reports that it has not started, then what is missing, once", async () => {
  const { proxy, messages } = proxyOn(await freePort());
  await using _proxy = proxy;
  expect(proxy.problems()).toEqual(["the proxy has not started"]);
  await proxy.start(input(ip("127.0.0.1")), NEVER);
  expect(proxy.problems()).toEqual([NO_DEVICE]);
  await Bun.sleep(300); // some attempts
  expect(messages()).toEqual([NO_DEVICE]);
});

test("a port in use is reported, and used as soon as it is free; the end frees it", async () => {
  const holder = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
  const { port } = holder;
  const { proxy } = proxyOn(port);
  await proxy.start(input(ip("127.0.0.1")), NEVER);
  expect(proxy.problems()[1]).toStartWith(
    `cannot listen on UDP port ${port} of 127.0.0.1: a program on this host uses UDP port ` +
      `${port}: `,
  );
  holder.close();
  await eventually("the port is taken", 20_000, () => proxy.problems().length === 1);
  expect(await isTaken("127.0.0.1", port)).toBe(true);
  await proxy[Symbol.asyncDispose]();
  expect(await isTaken("127.0.0.1", port)).toBe(false);
});

test("after a change of the address it listens on the new one", async () => {
  const port = await freePort();
  const { proxy } = proxyOn(port);
  await using _proxy = proxy;
  await proxy.start(input(ip("127.0.0.1")), NEVER);
  proxy.externalChanged(input(ip("127.0.0.2")));
  await eventually("the first is free", 20_000, async () => !(await isTaken("127.0.0.1", port)));
  proxy.externalChanged(input(ip("192.0.2.99"))); // no host has it
  await eventually("it is reported", 20_000, () => proxy.problems().length === 2);
  expect(proxy.problems()[1]).toContain("this host does not have the address");
});

test("a thread that fails frees the port, and is restarted after a while", async () => {
  const port = await freePort();
  const clock = new FakeClock();
  const { proxy, messages } = proxyOn(port, clock);
  using workers = new WorkerWatch();
  await using _proxy = proxy;
  await proxy.start(input(ip("127.0.0.1")), NEVER);
  await eventually("the port is taken", 20_000, () => isTaken("127.0.0.1", port));
  workers.started[0]?.postMessage({ kind: "hops", changes: [null] }); // it cannot read this
  proxy.externalChanged(input(ip("127.0.0.1"))); // wakes it
  await eventually("it is reported", 20_000, () => messages().length === 2);
  expect(messages()[1]).toStartWith("the proxy's thread has ended, restarting it: ");
  expect(proxy.problems()).toEqual(["the proxy's thread has ended, restarting it"]);
  expect(await isTaken("127.0.0.1", port)).toBe(false);
  await clock.advance(1000);
  await eventually("the next one has it", 20_000, () => isTaken("127.0.0.1", port));
  expect(workers.started).toHaveLength(2);
  await eventually("it reports its state", 20_000, () => {
    expect(proxy.problems()).toEqual([NO_DEVICE]);
    return true;
  });
}, 60_000);

test("thousands of peers, added one by one, do not delay its end", async () => {
  // The best of several attempts, because the machine may be busy.
  let shortestMs = Infinity;
  for (let attempt = 0; attempt < 5 && shortestMs > 900; attempt++) {
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
    shortestMs = Math.min(shortestMs, performance.now() - before);
  }
  expect(shortestMs).toBeLessThan(900); // shorter than the time limit
});

test("a process that cannot open more files reports the limit, and where to raise it", async () => {
  const root = new URL("../../../../", import.meta.url).pathname;
  const script = `
    import { openSync } from "node:fs";
    import { libc } from "${root}ffi/libc.ts";
    import { UdpProxy } from "${root}src/backend/udp/proxy.ts";
    import { systemClock as clock } from "${root}src/base/clock.ts";
    const options = { deviceName: "fl-no-such-tun", port: 8285, network: "10.5.0.0/16", clock };
    const input = {
      own: { subnets: { 4: "10.5.1.0/24" } },
      external: { sourceAddresses: { 4: "127.0.0.1" } },
    };
    const proxy = new UdpProxy(options);
    libc(); // opened early, as in the daemon
    try {
      for (;;) openSync("/dev/null");
    } catch {
      await proxy.start(input, new AbortController().signal)
        .catch(({ name, message }) => console.error(name + ": " + message));
    }`;
  const limited = ["-c", 'ulimit -n 100; exec "$@"', "sh", process.execPath, "-e", script];
  expect((await runProgram("sh", limited)).stderr).toBe(
    "BackendError: cannot start the proxy: this process may not open more than 100 files; raise " +
      "the limit (LimitNOFILE= in its systemd unit)\n",
  );
});
