/**
 * The kernel that runs this folder's tests has what they need: two hosts on one wire, joined by
 * each kind of tunnel, set up with `ip` and `wg` alone. If these fail, the others will too.
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missingFeatures } from "../../src/lab/kernel_features.ts";
import { ipBatch, namespaceScript } from "../../src/lab/namespace.ts";
import { runProgram } from "../../src/process/run_program.ts";

const HOSTS = [1, 2] as const;
type HostNumber = (typeof HOSTS)[number];

const directory = mkdtempSync(join(tmpdir(), "kernel-test-"));
const namespace = (host: HostNumber) => `kernel-test-${host}`;
const other = (host: HostNumber): HostNumber => host === 1 ? 2 : 1;

beforeAll(async () => {
  await ipBatch([
    ...HOSTS.map((host) => `netns add ${namespace(host)}`),
    `link add eth0 netns ${namespace(1)} type veth peer name eth0 netns ${namespace(2)}`,
  ]);
  await onEach((host) => `
    ip link set lo up
    ip addr add 192.0.2.${host}/24 dev eth0
    ip addr add 2001:db8::${host}/64 dev eth0 nodad
    ip link set eth0 up`);
});

afterAll(async () => {
  await ipBatch(HOSTS.map((host) => `netns del ${namespace(host)}`));
  rmSync(directory, { recursive: true, force: true });
});

test("no feature is missing", async () => {
  expect(await missingFeatures(["wireguard", "ipip", "fou", "esp4", "esp6", "tun", "vxlan"]))
    .toEqual([]);
});

test("WireGuard carries IPv4 and IPv6, over either", async () => {
  const keys = new Map(
    await Promise.all(HOSTS.map(async (host) => [host, await newKey()] as const)),
  );
  for (const host of HOSTS) writeFileSync(join(directory, `${host}`), keys.get(host)?.secret ?? "");
  await onEach((host) => `
    for n in 4 6; do ip link add wg$n type wireguard; done
    wg set wg4 listen-port 51820 private-key ${directory}/${host} \\
      peer ${keys.get(other(host))?.public} allowed-ips 10.1.${other(host)}.0/24 \\
      endpoint 192.0.2.${other(host)}:51820
    wg set wg6 listen-port 51821 private-key ${directory}/${host} \\
      peer ${keys.get(other(host))?.public} allowed-ips fd00:1:${other(host)}::/64 \\
      endpoint '[2001:db8::${other(host)}]:51821'
    ip addr add 10.1.${host}.1/16 dev wg4
    ip addr add fd00:1:${host}::1/32 dev wg6 nodad
    for n in 4 6; do ip link set wg$n up; done`);
  await expectPing("10.1.2.1");
  await expectPing("fd00:1:2::1");
  const handshakes = await namespaceScript(namespace(1), "wg show all latest-handshakes\n");
  expect(handshakes).toMatch(/^wg4\t\S+\t[1-9]\d+\nwg6\t\S+\t[1-9]\d+\n$/);
});

test("an ipip device reaches its peer by an onlink route", async () => {
  await onEach((host) => `
    ip link add tunnel type ipip local 192.0.2.${host}
    ip addr add 10.2.${host}.1/32 dev tunnel
    ip link set tunnel up
    ip route add 10.2.${other(host)}.0/24 via 192.0.2.${other(host)} dev tunnel onlink`);
  await expectPing("10.2.2.1", fullPayload(20));
  // The kernel accepts no second one with the same ends, with or without UDP around it.
  await onEach(() => "ip link del tunnel");
});

test("an ipip device in UDP (fou) reaches its peer", async () => {
  await onEach((host) => `
    ip fou add port 8285 ipproto 4
    ip link add fou0 type ipip local 192.0.2.${host} ttl inherit \\
      encap fou encap-sport 8285 encap-dport 8285
    ip addr add 10.3.${host}.1/32 dev fou0
    ip link set fou0 mtu 1472 up
    ip route add 10.3.${other(host)}.0/24 via 192.0.2.${other(host)} dev fou0 onlink`);
  await expectPing("10.3.2.1", fullPayload(28));
});

test("ESP states encrypt what a policy sends them, and count it", async () => {
  const key = `0x${"0123456789abcdef".repeat(2)}01234567`;
  const state = (from: HostNumber, to: HostNumber) =>
    `ip xfrm state add src 192.0.2.${from} dst 192.0.2.${to} proto esp spi 0x100${from} reqid 11 ` +
    `mode tunnel aead 'rfc4106(gcm(aes))' ${key} 128`;
  const policy = (from: HostNumber, to: HostNumber, direction: string) =>
    `ip xfrm policy add src 10.4.${from}.0/24 dst 10.4.${to}.0/24 dir ${direction} ` +
    `tmpl src 192.0.2.${from} dst 192.0.2.${to} proto esp reqid 11 mode tunnel`;
  await onEach((host) => `
    ip addr add 10.4.${host}.1/24 dev lo
    ip route add 10.4.${other(host)}.0/24 dev eth0 src 10.4.${host}.1
    ${state(host, other(host))}
    ${state(other(host), host)}
    ${policy(host, other(host), "out")}
    ${policy(other(host), host, "in")}`);
  await expectPing("10.4.2.1");
  // A ping would also come back in plain text.
  const states = await namespaceScript(namespace(2), "ip -s xfrm state\n");
  expect(states.match(/[1-9]\d*\(bytes\), [1-9]\d*\(packets\)/g)).toHaveLength(2);
});

test("a FOU port belongs to its namespace", async () => {
  const fou = await runProgram("unshare", ["--net", "ip", "fou", "show"]);
  expect(fou).toMatchObject({ exitCode: 0, stdout: "" });
});

function onEach(script: (host: HostNumber) => string): Promise<string[]> {
  return Promise.all(HOSTS.map((host) => namespaceScript(namespace(host), `${script(host)}\n`)));
}

/**
 * Pings from the first host until a reply arrives; by default with a small packet. The next one is
 * sent late enough that not two replies arrive when the first takes a while, for a handshake.
 */
async function expectPing(address: string, payloadBytes = 56): Promise<void> {
  const command = `ping -n -c 1 -w 20 -i 5 -M do -s ${payloadBytes} ${address}\n`;
  expect(await namespaceScript(namespace(1), command)).toContain("1 received");
}

/** Payload of the largest echo request that fits an Ethernet of 1500 bytes in such a tunnel. */
function fullPayload(overheadBytes: number): number {
  return 1500 - overheadBytes - 28; // IP and ICMP headers of the request
}

async function newKey(): Promise<{ secret: string; public: string }> {
  const secret = (await runProgram("wg", ["genkey"])).stdout;
  return { secret, public: (await runProgram("wg", ["pubkey"], { stdin: secret })).stdout.trim() };
}
