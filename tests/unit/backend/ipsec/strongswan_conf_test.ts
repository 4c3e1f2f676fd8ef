import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installedPlugins, strongswanConf } from "../../../../src/backend/ipsec/strongswan_conf.ts";

const directory = mkdtempSync(join(tmpdir(), "conf-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

test("charon has its own socket, installs no routes, and logs what matters to stderr", () => {
  const socket = "/run/flannel/charon.vici";
  expect(strongswanConf({ socket, plugins: ["nonce", "vici"] })).toBe(`\
# Written by flanneld at every start of charon; changes are lost.
charon {
  load = nonce vici
  # flanneld maintains routes and policies.
  install_routes = no
  install_virtual_ip = no
  plugins {
    vici {
      socket = unix:///run/flannel/charon.vici
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
`);
});

test("if its plugins are not known, charon loads its default ones", () => {
  expect(strongswanConf({ socket: "/s", plugins: undefined })).not.toContain("load =");
});

test("of the installed plugins, those that key exchange needs are loaded", () => {
  const plugins = join(directory, "plugins");
  mkdirSync(plugins);
  for (const name of ["vici", "updown", "kernel-netlink", "bypass-lan", "random", "stroke"]) {
    writeFileSync(join(plugins, `libstrongswan-${name}.so`), "");
  }
  expect(installedPlugins(join(directory, "charon"))).toEqual(["random", "kernel-netlink", "vici"]);
});
