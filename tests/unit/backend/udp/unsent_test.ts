import { expect, test } from "bun:test";
import { type Unsent, UnsentCounter, unsentText } from "../../../../src/backend/udp/unsent.ts";

const PEER = 0xc0000209; // 192.0.2.9
const ONE = "the proxy could not send a packet to 192.0.2.9: ";

// asm-generic/errno.h and errno-base.h
test.each([
  [1, "EPERM; this host's firewall rejects it: allow UDP to port 8285"],
  [
    13,
    "EACCES; a route of this host prohibits it, or it is a broadcast address, check " +
    '"ip route get 192.0.2.9"',
  ],
  [
    90,
    'EMSGSIZE; it exceeds the path MTU, see "ip route get 192.0.2.9": set the MTU of the ' +
    "external interface to that value",
  ],
  [101, 'ENETUNREACH; this host has no route to it, check "ip route get 192.0.2.9"'],
  [113, 'EHOSTUNREACH; this host has no route to it, check "ip route get 192.0.2.9"'],
  [22, 'EINVAL; check "ip route get 192.0.2.9" and the firewall'],
  [524, 'errno 524; check "ip route get 192.0.2.9" and the firewall'],
])("a packet that is refused with errno %p is reported with what to do", (errno, text) => {
  expect(unsentText({ packets: 1, errno, destination: PEER }, 8285)).toBe(ONE + text);
});

test("of many packets, the peer of the last one is named", () => {
  expect(unsentText({ packets: 12, errno: 1, destination: 0xffffffff }, 9000)).toBe(
    "the proxy could not send 12 packets, the last one to 255.255.255.255: EPERM; this host's " +
      "firewall rejects it: allow UDP to port 9000",
  );
});

test("each error is reported at once, and then once a minute with the number of packets", () => {
  let nowMs = 0;
  const reports: Unsent[] = [];
  const counter = new UnsentCounter({ nowMs: () => nowMs }, (unsent) => reports.push(unsent));
  const take = () => reports.splice(0);
  counter.add({ errno: 1, destination: PEER });
  counter.add({ errno: 101, destination: PEER });
  expect(take()).toEqual([
    { errno: 1, destination: PEER, packets: 1 },
    { errno: 101, destination: PEER, packets: 1 },
  ]);
  nowMs = 59_999;
  for (let n = 0; n < 3; n++) counter.add({ errno: 1, destination: PEER });
  expect(take()).toEqual([]);
  nowMs = 60_000;
  counter.add({ errno: 1, destination: PEER + 1 });
  expect(take()).toEqual([{ errno: 1, destination: PEER + 1, packets: 4 }]);
});
