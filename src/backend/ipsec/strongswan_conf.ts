/** The settings of flanneld's charon (strongswan.conf(5)). */

import { readdirSync } from "node:fs";
import { dirname } from "node:path";

/**
 * The text of the file. It does not include the machine's /etc/strongswan.conf, whose settings are
 * meant for other tunnels.
 */
export function strongswanConf(
  { socket, plugins }: { readonly socket: string; readonly plugins: readonly string[] | undefined },
): string {
  const load = plugins === undefined ? "" : `\n  load = ${plugins.join(" ")}`;
  // Without lines for each packet; for the groups see "logger configuration" in strongswan.conf(5).
  return `# Written by flanneld at every start of charon; changes are lost.
charon {${load}
  # flanneld maintains routes and policies.
  install_routes = no
  install_virtual_ip = no
  plugins {
    vici {
      socket = unix://${socket}
    }
  }
  filelog {
    stderr {
      default = 1
      enc = 0
      net = 0
      job = 0
      knl = 0
    }
  }
}
`;
}

/**
 * The plugins that charon must load, as far as they are installed; `undefined` if their directory
 * is unknown: charon then loads its default ones.
 */
export function installedPlugins(charonPath: string): string[] | undefined {
  const directories = [`${dirname(charonPath)}/plugins`, ...PLUGIN_DIRECTORIES];
  for (const directory of directories) {
    const files = new Set(filesOf(directory));
    if (!files.has(pluginFile("kernel-netlink"))) continue;
    return PLUGINS.filter((plugin) => files.has(pluginFile(plugin)));
  }
  return undefined;
}

/**
 * What key exchange with a pre-shared key can need: random numbers, ciphers, hashes, key
 * agreement, the kernel, sockets, and the control interface. Plugins that act on their own, such
 * as `bypass-lan` and `updown`, are left out on purpose.
 */
const PLUGINS: readonly string[] = [
  ...["random", "nonce", "openssl", "aesni", "aes", "des", "md5", "sha1", "sha2", "sha3"],
  ...["hmac", "kdf", "gcm", "ccm", "ctr", "cmac", "xcbc", "chapoly", "mgf1", "drbg"],
  ...["curve25519", "gmp", "kernel-netlink", "socket-default", "vici"],
];

const PLUGIN_DIRECTORIES = [
  "/usr/lib/strongswan/plugins",
  "/usr/lib/ipsec/plugins",
  "/usr/lib64/strongswan/plugins",
  "/usr/lib64/ipsec/plugins",
];

function pluginFile(plugin: string): string {
  return `libstrongswan-${plugin}.so`;
}

function filesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
