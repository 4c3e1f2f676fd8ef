/** Finds the program that uses a UDP port, for the message about a port in use. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { commandOf, runningProcesses } from "./proc_files.ts";

/**
 * Why a UDP port cannot be used, and what to do; `option` is the key of the Backend object that
 * sets it. A socket of the kernel looks like one of a program that is not visible in this PID
 * namespace.
 */
export function udpPortTaken(port: number, option: string): string {
  const remedy = `set ${option} in the Backend object to a port that is free on every node`;
  const holder = holderOf(port);
  return holder === undefined
    ? `UDP port ${port} is in use by a device of the kernel ("ip -d link show") or a program in ` +
      `a container ("ss -ulnp sport = :${port}"); ${remedy}`
    : `a program on this host uses UDP port ${port}: ${holder}; end it, or ${remedy}`;
}

/** Such as `socat (process 77)`. */
function holderOf(port: number): string | undefined {
  const inodes = ["udp", "udp6"].flatMap((table) => {
    try {
      return socketInodes(readFileSync(`/proc/net/${table}`, "utf8"), port);
    } catch {
      return [];
    }
  });
  const sockets = new Set(inodes.map((inode) => `socket:[${inode}]`));
  if (sockets.size === 0) return undefined;
  const pid = runningProcesses().find((pid) => filesOf(pid).some((file) => sockets.has(file)));
  if (pid === undefined) return undefined;
  return `${commandOf(pid) ?? "a program that has ended"} (process ${pid})`;
}

/** The inodes of sockets with this local port in a table of /proc/net (proc_pid_net(5)). */
export function socketInodes(table: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return table.split("\n").slice(1).map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[LOCAL_ADDRESS]?.endsWith(suffix))
    .map((fields) => fields[INODE] ?? "0")
    .filter((inode) => inode !== "0");
}

const LOCAL_ADDRESS = 1;
const INODE = 9;

/** The targets of its descriptors; empty if it has ended, or without permission. */
function filesOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return "";
      }
    });
  } catch {
    return [];
  }
}
