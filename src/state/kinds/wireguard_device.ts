/** What a WireGuard device itself holds (linux/wireguard.h, WGDEVICE_A_*). */

import type { WireguardKey } from "../../addr/wireguard_key.ts";
import { type EntryKind, ON_DEVICE, type ResourceKey, STAGE } from "./entry_kind.ts";

export interface WireguardDevice {
  readonly kind: "wireguard-device";
  readonly link: string;
  /** Secret: never part of a text. */
  readonly privateKey: WireguardKey;
  /** UDP port that packets are received on and sent from. */
  readonly listenPort: number;
}

export const wireguardDeviceKind: EntryKind<WireguardDevice> = {
  ...ON_DEVICE,
  key: ({ link }) => `wireguard-device ${link}` as ResourceKey,
  text: ({ link, listenPort }) => `wireguard ${link} listen-port ${listenPort}`,
  isSame: (desired, actual) =>
    desired.link === actual.link && desired.privateKey === actual.privateKey &&
    desired.listenPort === actual.listenPort,
  stage: STAGE.linkSetting,
  dump: { extent: "devices", when: "requested" },
};
