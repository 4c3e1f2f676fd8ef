import { expect, test } from "bun:test";
import { watchConfig } from "../../../src/daemon/config_watch.ts";
import type { SubnetAllocation } from "../../../src/config/network_config.ts";
import { collectingLog } from "../../support/collecting_log.ts";

/** What is logged when the stored configuration becomes this one. */
async function logged(
  text: string | undefined,
  allocation: SubnetAllocation = "flanneld",
): Promise<string[]> {
  const { log, records } = collectingLog();
  const store = {
    allocation,
    async *watchNetworkConfig() {
      await Promise.resolve();
      yield text;
    },
  };
  await watchConfig({ store, source: "/net/config", log }, new AbortController().signal);
  return records.map(({ level, msg }) => `${level}: ${msg}`);
}

test("a valid new configuration is applied by a restart", async () => {
  expect(await logged('{"Network": "10.6.0.0/16", "Backend": {"Type": "host-gw"}}')).toEqual([
    "warn: the network configuration changed; restart flanneld to apply it",
  ]);
});

test("the sizes of subnets do not matter where Kubernetes chooses them", async () => {
  const config = '{"Network": "10.6.0.0/16", "SubnetLen": 8}';
  expect(await logged(config, "kubernetes")).toEqual([
    "warn: the network configuration changed; restart flanneld to apply it",
  ]);
  expect((await logged(config)).join()).toContain("SubnetLen");
});

test("a deleted configuration changes nothing", async () => {
  expect(await logged(undefined)).toEqual([
    "warn: the network configuration at /net/config was deleted; keeping the current configuration",
  ]);
});

test.each([
  ["text that is not JSON", "{", "/net/config is not JSON"],
  ["a network that is not one", '{"Network": "10.6.0.0"}', "10.6.0.0"],
  ["an unknown backend", '{"Network": "10.6.0.0/16", "Backend": {"Type": "vxlann"}}', '"vxlann"'],
  [
    "an invalid option of the backend",
    '{"Network": "10.6.0.0/16", "Backend": {"Type": "vxlan", "VNI": -1}}',
    "VNI",
  ],
  [
    "a family that the backend does not carry",
    '{"EnableIPv6": true, "IPv6Network": "fd00::/48", "Network": "10.6.0.0/16", ' +
    '"Backend": {"Type": "ipip"}}',
    "ipip",
  ],
])("no restart is recommended for %s", async (_, text, reason) => {
  const [line, ...more] = await logged(text);
  expect(more).toEqual([]);
  expect(line).toStartWith(
    "warn: the network configuration changed and is invalid, keeping the current configuration: ",
  );
  expect(line).toContain(reason);
  expect(line).toEndWith("; do not restart flanneld before it is corrected");
});
