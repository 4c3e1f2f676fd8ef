/** The two ends of the proxy: its TUN device and its UDP socket. */

import { errnoName } from "../../../ffi/errno.ts";
import { errno, libc } from "../../../ffi/libc.ts";
import * as k from "../../../ffi/linux.ts";
import { addressOf } from "../../../ffi/memory.ts";
import { attachTun, SystemError } from "../../../ffi/tun_device.ts";
import { formatIpv4 } from "../../addr/ip.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { udpPortTaken } from "../../process/udp_port.ts";
import type { ProxySettings } from "./proxy_messages.ts";

export class ProxyEnds implements Disposable {
  /** -1 while the device is not open. */
  tunFd = -1;
  /** -1 while the socket is not open. */
  socketFd = -1;
  #settings: ProxySettings;
  #tunProblem = "";
  #socketProblem = "";

  constructor(settings: ProxySettings) {
    this.#settings = settings;
  }

  get settings(): ProxySettings {
    return this.#settings;
  }

  get areOpen(): boolean {
    return this.tunFd >= 0 && this.socketFd >= 0;
  }

  get problems(): string[] {
    return [this.#tunProblem, this.#socketProblem].filter((problem) => problem !== "");
  }

  /** A new address needs a new socket. */
  set(settings: ProxySettings): void {
    if (settings.localAddress !== this.#settings.localAddress) this.#closeSocket();
    this.#settings = settings;
  }

  /** Opens each end that is not open. `problems` says why one cannot be opened. */
  open(): void {
    if (this.tunFd < 0) this.#openTun();
    if (this.socketFd < 0) this.#openSocket();
  }

  /** For a device that has been deleted. */
  closeTun(): void {
    if (this.tunFd >= 0) libc().close(this.tunFd);
    this.tunFd = -1;
  }

  [Symbol.dispose](): void {
    this.closeTun();
    this.#closeSocket();
  }

  #openTun(): void {
    const { deviceName } = this.#settings;
    try {
      const fd = attachTun(deviceName);
      this.tunFd = fd ?? -1;
      this.#tunProblem = fd === undefined ? `there is no device ${deviceName}` : "";
    } catch (error) {
      this.#tunProblem = error instanceof SystemError && error.errno === EBUSY
        ? `another process has the device ${deviceName} open, perhaps Go flannel; find it with ` +
          `"fuser -v /dev/net/tun" and stop it`
        : `cannot open the device ${deviceName}: ${errorMessage(error)}`;
    }
  }

  #openSocket(): void {
    const { localAddress, port } = this.#settings;
    const fd = libc().socket(k.AF_INET, k.SOCK_DGRAM | k.SOCK_CLOEXEC, 0);
    if (fd >= 0) {
      const name = new DataView(new ArrayBuffer(k.sockaddr_in.size));
      name.setUint16(k.sockaddr_in.sin_family, k.AF_INET, true);
      name.setUint16(k.sockaddr_in.sin_port, port);
      name.setUint32(k.sockaddr_in.sin_addr, localAddress);
      if (libc().bind(fd, addressOf(new Uint8Array(name.buffer)), k.sockaddr_in.size) === 0) {
        enlargeBuffers(fd);
        this.socketFd = fd;
        this.#socketProblem = "";
        return;
      }
    }
    const reason = errno();
    if (fd >= 0) libc().close(fd);
    const where = `UDP port ${port} of ${formatIpv4(localAddress)}`;
    this.#socketProblem = reason === EADDRINUSE
      ? `cannot listen on ${where}: ${udpPortTaken(port, "Port")}`
      : reason === EADDRNOTAVAIL
      ? `cannot listen on ${where}: this host does not have the address`
      : `cannot listen on ${where}: ${errnoName(reason)}`;
  }

  #closeSocket(): void {
    if (this.socketFd >= 0) libc().close(this.socketFd);
    this.socketFd = -1;
  }
}

/** Room for the packets of some milliseconds, while the thread is busy. */
function enlargeBuffers(fd: number): void {
  const bytes = addressOf(new Uint8Array(Uint32Array.of(SOCKET_BUFFER_BYTES).buffer));
  for (const option of [k.SO_RCVBUFFORCE, k.SO_SNDBUFFORCE]) {
    libc().setsockopt(fd, k.SOL_SOCKET, option, bytes, 4); // else the default size is used
  }
}

const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;
// asm-generic/errno.h
const EBUSY = 16;
const EADDRINUSE = 98;
const EADDRNOTAVAIL = 99;
