import { expect, test } from "bun:test";
import { connectionOf, isOurConnection } from "../../../../src/backend/ipsec/charon_connection.ts";
import { ip, prefix } from "../../../support/sample_network.ts";

const NETWORK = prefix("10.5.0.0/16");
const local = {
  publicAddress: ip("192.168.0.1"),
  localAddress: ip("192.168.0.1"),
  subnet: prefix("10.5.1.0/24"),
};
const remote = { publicAddress: ip("192.168.0.2"), subnet: prefix("10.5.2.0/24") };
const options = {
  network: NETWORK,
  psk: "k".repeat(96),
  udpEncapsulation: false,
  espProposal: "aes128gcm16-sha256-prfsha256-ecp256",
};

test("a connection has the name and definition of Go flannel's, and detects dead peers", () => {
  const { name, childName, definition } = connectionOf(local, remote, options);
  expect(name).toBe("192.168.0.1-10.5.1.0/24-10.5.2.0/24-192.168.0.2");
  expect(childName).toBe("10.5.1.0/24-10.5.2.0/24");
  expect(definition).toEqual({
    "192.168.0.1-10.5.1.0/24-10.5.2.0/24-192.168.0.2": {
      version: "2",
      local_addrs: ["192.168.0.1"],
      remote_addrs: ["192.168.0.2"],
      proposals: ["aes256-sha256-modp4096"],
      keyingtries: "0",
      encap: "no",
      mobike: "no",
      unique: "never",
      dpd_delay: "30s",
      local: { auth: "psk", id: "192.168.0.1" },
      remote: { auth: "psk", id: "192.168.0.2" },
      children: {
        "10.5.1.0/24-10.5.2.0/24": {
          local_ts: ["10.5.1.0/24"],
          remote_ts: ["10.5.2.0/24"],
          esp_proposals: ["aes128gcm16-sha256-prfsha256-ecp256"],
          mode: "tunnel",
          reqid: "11",
          start_action: "start",
          close_action: "trap",
          dpd_action: "restart",
          rekey_time: "1h",
          policies: "no",
        },
      },
    },
  });
});

test("the key is for these two ends only, and has a name of ours", () => {
  expect(connectionOf(local, remote, options).secret).toEqual({
    id: "flannel-10.5.0.0/16-192.168.0.2",
    type: "IKE",
    data: "k".repeat(96),
    owners: ["192.168.0.1", "192.168.0.2"],
  });
});

test("behind address translation, packets have the interface's address as source", () => {
  const translated = { ...local, localAddress: ip("10.0.2.15") };
  const { name, definition } = connectionOf(translated, remote, {
    ...options,
    udpEncapsulation: true,
  });
  expect(definition[name]).toMatchObject({
    local_addrs: ["10.0.2.15"],
    local: { id: "192.168.0.1" },
    encap: "yes",
  });
});

test.each([
  ["192.168.0.1-10.5.1.0/24-10.5.2.0/24-192.168.0.2", true],
  ["192.168.0.9-10.5.9.0/24-10.5.8.0/24-10.0.0.1", true],
  ["192.168.0.1-10.6.1.0/24-10.6.2.0/24-192.168.0.2", false],
  ["192.168.0.1-10.5.1.0/24-10.6.2.0/24-192.168.0.2", false],
  ["192.168.0.1-10.5.1.0/24-10.5.2.0/24-192.168.0.2-x", false],
  ["host-10.5.1.0/24-10.5.2.0/24-192.168.0.2", false],
  ["office", false],
  ["", false],
])("whether %s is a connection of the network 10.5.0.0/16: %p", (name, expected) => {
  expect(isOurConnection(name, NETWORK)).toBe(expected);
});
