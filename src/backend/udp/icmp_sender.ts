/** Sends ICMP errors by the host's routing, with the kernel's rate limit. */

import { libc } from "../../../ffi/libc.ts";
import {
  AF_INET,
  IPPROTO_RAW,
  MSG_DONTWAIT,
  SOCK_CLOEXEC,
  SOCK_RAW,
  sockaddr_in,
} from "../../../ffi/linux.ts";
import { addressOf } from "../../../ffi/memory.ts";
import type { Clock } from "../../base/clock.ts";
import { icmpError, sourceOf } from "./ip_packet.ts";

/**
 * A raw socket (raw(7)) for whole packets. An error that is written to the TUN device, as in Go
 * flannel, is dropped by the kernel: its source is an address of this host, a "martian" there.
 */
export class IcmpSender implements Disposable {
  /** -1 without CAP_NET_RAW: no errors are sent then. */
  #fd = libc().socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  readonly #name = new Uint8Array(sockaddr_in.size);
  readonly #clock: Pick<Clock, "nowMs">;
  #tokens = BURST;
  #filledAtMs: number;

  constructor(clock: Pick<Clock, "nowMs">) {
    this.#clock = clock;
    this.#filledAtMs = clock.nowMs();
  }

  /** Sends an error about the packet at `at` to its sender, from the address `source`. */
  send(
    offender: { readonly view: DataView; readonly at: number },
    why: { readonly type: number; readonly code: number; readonly source: number },
  ): void {
    if (this.#fd < 0 || !this.#takeToken()) return;
    const packet = icmpError(offender, why);
    if (packet === undefined) return;
    const name = new DataView(this.#name.buffer);
    name.setUint16(sockaddr_in.sin_family, AF_INET, true);
    name.setUint32(sockaddr_in.sin_addr, sourceOf(offender.view, offender.at));
    libc().sendto(
      this.#fd,
      addressOf(packet),
      packet.length,
      MSG_DONTWAIT,
      addressOf(this.#name),
      sockaddr_in.size,
    );
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) libc().close(this.#fd);
    this.#fd = -1; // Another thread may be given the same number.
  }

  #takeToken(): boolean {
    const now = this.#clock.nowMs();
    this.#tokens = Math.min(BURST, this.#tokens + (now - this.#filledAtMs) * PER_SECOND / 1000);
    this.#filledAtMs = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

/** The kernel's own limits: net.ipv4.icmp_msgs_per_sec and icmp_msgs_burst. */
const PER_SECOND = 1000;
const BURST = 50;
