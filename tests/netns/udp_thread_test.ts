/** The proxy's thread with a real TUN device: its commands, and its state after a restart. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { libc } from "../../ffi/libc.ts";
import { attachTun } from "../../ffi/tun_device.ts";
import { systemClock } from "../../src/base/clock.ts";
import { UdpProxy } from "../../src/backend/udp/proxy.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { external, ip, lease, prefix } from "../support/sample_network.ts";
import { eventually } from "../support/wait.ts";
import { WorkerWatch } from "../support/worker_watch.ts";

const DEVICE = "fl-thread";
const PORT = 8285;
const NEVER = new AbortController().signal;
const OWN = { 4: ip("192.168.0.1") };
const INPUT = {
  own: lease(1, "", [4]),
  external: { ...external([4]), addresses: OWN, publicAddresses: OWN, sourceAddresses: OWN },
};

const sh = (script: string) => runProgram("sh", ["-ec", script]);

/** The peers' public addresses are this machine's: 192.168.0.2 has 10.5.2.0/24, and so on. */
beforeAll(async () => {
  const { exitCode, stderr } = await sh(`
for n in 1 2 3; do ip addr add 192.168.0.$n/24 dev lo; done
ip tuntap add ${DEVICE} mode tun
ip addr add 10.5.1.0/32 dev ${DEVICE}
ip link set ${DEVICE} up
ip route add 10.5.0.0/16 dev ${DEVICE}`);
  if (exitCode !== 0) throw new Error(stderr);
});
afterAll(() => sh(`ip link del ${DEVICE}`));

function newProxy() {
  const { log, records } = collectingLog();
  const network = prefix("10.5.0.0/16");
  const proxy = new UdpProxy({ deviceName: DEVICE, port: PORT, network, clock: systemClock, log });
  return { proxy, messages: () => records.map(({ msg }) => msg) };
}

/** A peer's end: the payloads it has received, as the workload at `10.5.N.9` would see them. */
async function peerEnd(n: number): Promise<{ received: string[] } & Disposable> {
  const received: string[] = [];
  const socket = await Bun.udpSocket({
    hostname: `192.168.0.${n}`,
    port: PORT,
    socket: { data: (_socket, packet) => void received.push(packet.subarray(28).toString()) },
  });
  return { received, [Symbol.dispose]: () => socket.close() };
}

test(
  "packets go to the known peers; a restarted thread knows them all",
  async () => {
    using workers = new WorkerWatch();
    const { proxy } = newProxy();
    await using _proxy = proxy;
    using two = await peerEnd(2);
    using three = await peerEnd(3);
    // An ICMP error reports an address that no peer has.
    const sender = await Bun.udpSocket({ socket: { error: () => {} } });
    using _sender = { [Symbol.dispose]: () => sender.close() };
    const arrives = (end: { received: string[] }, n: number, text: string) =>
      eventually(`"${text}" arrives`, 30_000, () => {
        sender.send(text, 9, `10.5.${n}.9`);
        return end.received.includes(text);
      });
    await proxy.start(INPUT, NEVER);
    proxy.put(lease(2, "", [4]));
    proxy.put(lease(3, "", [4]));
    proxy.allowSweep();
    await arrives(two, 2, "to the second");
    await arrives(three, 3, "to the third");

    proxy.remove(lease(3, "", [4]));
    await proxy.whenSettled();
    await arrives(two, 2, "after the third has gone");
    three.received.length = 0;
    sender.send("to no peer", 9, "10.5.3.9");
    await arrives(two, 2, "after one to no peer");
    expect(three.received).toEqual([]);

    workers.started[0]?.postMessage({ kind: "hops", changes: [null] }); // invalid on purpose
    proxy.externalChanged(INPUT); // wakes it
    await eventually("it fails", 30_000, () => proxy.problems().length > 0);
    await arrives(two, 2, "by a new thread");
    expect(workers.started).toHaveLength(2);
    expect(proxy.problems()).toEqual([]);
  },
  120_000,
);

test(
  "a packet that cannot be sent is reported with the address, the reason and what to do",
  async () => {
    const { proxy, messages } = newProxy();
    await using _proxy = proxy;
    const far = lease(2, "", [4]);
    await proxy.start(INPUT, NEVER);
    proxy.put({
      ...far,
      attributes: { ...far.attributes, publicAddresses: { 4: ip("198.51.100.9") } },
    });
    proxy.allowSweep();
    const sender = await Bun.udpSocket({ socket: { error: () => {} } });
    using _sender = { [Symbol.dispose]: () => sender.close() };
    await eventually("it is reported", 30_000, () => {
      sender.send("to far away", 9, "10.5.2.9");
      return messages().length > 1;
    });
    expect(messages()[1]).toBe(
      "the proxy could not send a packet to 198.51.100.9: ENETUNREACH; this host has no route " +
        'to it, check "ip route get 198.51.100.9"',
    );
  },
  120_000,
);

test(
  "a device that another process has is reported, and used when it is free",
  async () => {
    const holder = await eventually("it is free", 30_000, () => attachTun(DEVICE));
    const { proxy } = newProxy();
    await using _proxy = proxy;
    await proxy.start(INPUT, NEVER);
    expect(proxy.problems()).toEqual([
      `another process has the device ${DEVICE} open, perhaps Go flannel; find it with ` +
      '"fuser -v /dev/net/tun" and stop it',
    ]);
    libc().close(holder);
    await eventually("it is taken", 30_000, () => proxy.problems().length === 0);
  },
  120_000,
);
