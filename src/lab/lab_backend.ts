/** What a lab must know of a backend: what it asks of this machine, and the options it needs. */

import type { Family } from "../addr/ip.ts";
import { findCharon, findProgram, packageOf, WIREGUARD_PROGRAMS } from "../process/programs.ts";
import { type KernelFeature, missingFeatures } from "./kernel_features.ts";

export interface LabBackend {
  /** The backend's type, in lower case. */
  readonly backend: string;
  /** Families of the overlay and of the underlay. */
  readonly families: readonly Family[];
}

/** Why this backend cannot work in a lab on this machine; one line each, with what to do. */
export async function backendFaults({ backend, families }: LabBackend): Promise<string[]> {
  switch (backend) {
    case "ipip":
      return await missingFeatures(["ipip"]);
    case "ipsec": {
      const states = families.map((family): KernelFeature => `esp${family}`);
      return [...await missingFeatures(states), ...missingCharon()];
    }
    case "tencent-vpc":
      return ["tencent-vpc writes routes of a network in Tencent Cloud: it works only there"];
    case "udp":
      return await missingOfEach([["fou"], ["tun"]]);
    case "vxlan":
      return await missingFeatures(["vxlan"]);
    case "wireguard":
      return WIREGUARD_PROGRAMS.some((name) => findProgram(name) !== undefined)
        ? await missingOfEach([["wireguard"], ["tun"]])
        : (await missingFeatures(["wireguard"])).map((line) =>
          `${line}, or install: apt-get install ${packageOf("wireguard-go")}`
        );
    default:
      return [];
  }
}

/** The Backend object of the network configuration. */
export function backendConfig({ backend, families }: LabBackend): Record<string, unknown> {
  switch (backend) {
    case "extension":
      return { Type: backend, ...extensionCommands(families) };
    case "ipsec":
      return { Type: backend, PSK: crypto.getRandomValues(new Uint8Array(PSK_BYTES)).toHex() };
    default:
      return { Type: backend };
  }
}

/** The ipsec backend takes no shorter one than 96 bytes. */
const PSK_BYTES = 48;

/** Of several ways to do the same, nothing if one is complete, else what the last lacks. */
async function missingOfEach(ways: readonly (readonly KernelFeature[])[]): Promise<string[]> {
  let missing: string[] = [];
  for (const way of ways) {
    missing = await missingFeatures(way);
    if (missing.length === 0) break;
  }
  return missing;
}

function missingCharon(): string[] {
  if (findCharon() !== undefined) return [];
  return [`there is no program charon; install it with: apt-get install ${packageOf("charon")}`];
}

/** host-gw made of shell commands, as docs/backends/extension.md shows it. */
function extensionCommands(families: readonly Family[]): Record<string, string> {
  const routes = families.map((family) =>
    family === 4 ? "$SUBNET via $PUBLIC_IP" : "$IPV6SUBNET via $PUBLIC_IPV6"
  );
  return {
    SubnetAddCommand: routes.map((route) => `ip route replace ${route}`).join(" && "),
    SubnetRemoveCommand: routes.map((route) => `ip route del ${route}`).join("; "),
  };
}
