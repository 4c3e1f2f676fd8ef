import { expect, test } from "bun:test";
import { unsentText } from "../../../../src/backend/udp/unsent.ts";

const PEER = 0xc0000209; // 192.0.2.9
const ONE = "the proxy could not send a packet to 192.0.2.9: ";

// asm-generic/errno.h and errno-base.h
test.each([
  [1, "EPERM; this host's firewall refuses it: let it pass UDP to port 8285"],
  [
    13,
    "EACCES; a route of this host prohibits it, or it is a broadcast address, see " +
    '"ip route get 192.0.2.9"',
  ],
  [
    90,
    'EMSGSIZE; it is too large for the way, whose MTU "ip route get 192.0.2.9" shows: give the ' +
    "external interface that one",
  ],
  [101, 'ENETUNREACH; this host has no route to it, see "ip route get 192.0.2.9"'],
  [113, 'EHOSTUNREACH; this host has no route to it, see "ip route get 192.0.2.9"'],
  [22, 'EINVAL; see "ip route get 192.0.2.9" and the firewall'],
  [524, 'errno 524; see "ip route get 192.0.2.9" and the firewall'],
])("a packet that is refused with errno %p is told with what to do", (errno, text) => {
  expect(unsentText({ packets: 1, errno, destination: PEER }, 8285)).toBe(ONE + text);
});

test("of many packets the last one's peer is named", () => {
  expect(unsentText({ packets: 12, errno: 1, destination: 0xffffffff }, 9000)).toBe(
    "the proxy could not send 12 packets, the last of them to 255.255.255.255: EPERM; this host's " +
      "firewall refuses it: let it pass UDP to port 9000",
  );
});
