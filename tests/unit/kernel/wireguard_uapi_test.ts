/** The text protocol of WireGuard in user space. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { wireguardKeyBytes, ZERO_KEY } from "../../../src/addr/wireguard_key.ts";
import { parseGetReply, parseSetReply, setRequest } from "../../../src/kernel/wireguard/uapi.ts";
import { deviceChange } from "./wireguard_arbitrary.ts";

/** The example of https://www.wireguard.com/xplatform/. */
const EXAMPLE = `private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
listen_port=12912
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
allowed_ip=192.168.4.4/32
endpoint=[abcd:23::33%2]:51820
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
tx_bytes=38333
rx_bytes=2224
allowed_ip=192.168.4.6/32
persistent_keepalive_interval=111
endpoint=182.122.22.19:3233
last_handshake_time_sec=1700000000
last_handshake_time_nsec=500000000
protocol_version=1
public_key=662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58
endpoint=5.152.198.39:51820
preshared_key=0000000000000000000000000000000000000000000000000000000000000000
allowed_ip=192.168.4.10/32
allowed_ip=192.168.4.11/32
errno=0

`;

test("the example of the specification is read completely", () => {
  const { privateKey, ...rest } = parseGetReply(EXAMPLE);
  expect(privateKey as string).toBe("6EtabScXwQA6E7QxVwNT26ypFGzxUMX4V1aA/rpSAno=");
  expect(rest as unknown).toEqual({
    errno: 0,
    listenPort: 12912,
    peers: [
      {
        publicKey: "uFmW/sycfx/G0lcqdu2hHVm80gvo5UOxXOS9hajnWjM=",
        presharedKey: "GIUVCT6VL18i6GXO8wEucvi18LWYrAMJ1drM47cPz1I=",
        endpoint: { address: "abcd:23::33", port: 51820 },
        keepaliveSeconds: 0,
        lastHandshakeMs: 0,
        allowedIps: ["192.168.4.4/32"],
      },
      {
        publicKey: "WEAuaVuhdyscyTCXVfBDJR6nf9zxD75jmJzrfhkyE3Y=",
        endpoint: { address: "182.122.22.19", port: 3233 },
        keepaliveSeconds: 111,
        lastHandshakeMs: 1_700_000_000_500,
        allowedIps: ["192.168.4.6/32"],
      },
      {
        publicKey: "Zi4U/VlFVvUiYEcDNANRJYkDtk81VTdj8ZQmqypRXFg=",
        endpoint: { address: "5.152.198.39", port: 51820 },
        keepaliveSeconds: 0,
        lastHandshakeMs: 0,
        allowedIps: ["192.168.4.10/32", "192.168.4.11/32"],
      },
    ],
  });
});

test("an IPv4 endpoint inside IPv6 is IPv4", () => {
  const text = `public_key=${"1".repeat(64)}\nendpoint=[::ffff:192.0.2.1]:7\nerrno=0\n\n`;
  expect(parseGetReply(text).peers[0]?.endpoint as unknown)
    .toEqual({ address: "192.0.2.1", port: 7 });
});

test("a set request reads back as the response to a get request", () => {
  fc.assert(
    fc.property(deviceChange, (change) => {
      const settings = (change.peers ?? []).filter((peer) => peer.op === "set");
      // Both directions use the same lines, except for those that say how to change a peer.
      const lines = setRequest({ ...change, peers: settings }).trimEnd().split("\n")
        .filter((line) => !/^(?:set|update_only|replace_allowed_ips)=/.test(line));
      const reply = parseGetReply(`${lines.join("\n")}\nerrno=0\n\n`);
      expect(reply.errno).toBe(0);
      expect(reply.privateKey).toBe(change.privateKey);
      expect(reply.listenPort).toBe(change.listenPort ?? 0);
      expect(reply.peers.map(({ publicKey }) => publicKey))
        .toEqual(settings.map(({ publicKey }) => publicKey));
      for (const [i, peer] of reply.peers.entries()) {
        const { presharedKey, endpoint, keepaliveSeconds, allowedIps } = settings[i] as never;
        expect(peer.presharedKey as unknown).toEqual(presharedKey);
        expect(peer.keepaliveSeconds).toEqual(keepaliveSeconds);
        expect([...peer.allowedIps].sort()).toEqual([...allowedIps as string[]].sort() as never);
        if (
          !String((endpoint as { address?: string } | undefined)?.address).startsWith("::ffff:")
        ) {
          expect(peer.endpoint as unknown).toEqual(endpoint);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("a request has one line for each setting, and the removal of a peer only its key", () => {
  const [publicKey] = fc.sample(deviceChange, 50).flatMap(({ peers = [] }) => peers)
    .map((peer) => peer.publicKey);
  const hex = wireguardKeyBytes(publicKey as never).toHex();
  expect(setRequest({ privateKey: ZERO_KEY, listenPort: 0 }))
    .toBe(`set=1\nprivate_key=${"0".repeat(64)}\nlisten_port=0\n\n`);
  expect(setRequest({ peers: [{ op: "remove", publicKey: publicKey as never }] }))
    .toBe(`set=1\npublic_key=${hex}\nremove=true\n\n`);
});

test("the errno of a response is read with either sign", () => {
  expect(parseSetReply("errno=0\n\n")).toBe(0);
  expect(parseSetReply("errno=-98\n\n")).toBe(98);
  expect(parseSetReply("errno=98\n\n")).toBe(98);
  expect(parseGetReply("errno=-22\n\n").errno).toBe(22);
});

test("a response without an errno is an error", () => {
  expect(parseSetReply("\n\n")).toBe(71);
  expect(parseSetReply("errno=zero\n\n")).toBe(71);
  expect(parseGetReply("listen_port=5\n\n").errno).toBe(71);
});

test("garbage is read without an error", () => {
  const keys = [
    "private_key",
    "listen_port",
    "public_key",
    "preshared_key",
    "endpoint",
    "allowed_ip",
    "persistent_keepalive_interval",
    "last_handshake_time_sec",
    "last_handshake_time_nsec",
    "errno",
    "",
    "unknown",
  ];
  const value = fc.oneof(
    fc.string(),
    fc.stringMatching(/^[0-9a-f]{64}$/),
    fc.constantFrom("-1", "65536", "1e9", "[::1]:5", "[::1:5", "1.2.3.4:", "10.0.0.0/33", "::/0"),
  );
  const line = fc.oneof(
    fc.tuple(fc.constantFrom(...keys), value).map(([key, value]) => `${key}=${value}`),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
      const text = `${lines.join("\n")}\n\n`;
      const { listenPort, peers } = parseGetReply(text);
      parseSetReply(text);
      expect(listenPort >= 0 && listenPort <= 65_535).toBe(true);
      for (const { publicKey, lastHandshakeMs } of peers) {
        expect(publicKey.length).toBe(44);
        expect(Number.isFinite(lastHandshakeMs)).toBe(true);
      }
    }),
    { numRuns: 100_000 },
  );
});
