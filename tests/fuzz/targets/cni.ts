/** What container runtimes, operators and the daemon write for the CNI plugin. */

import { CniError } from "../../../src/cni/cni_error.ts";
import { checkConflist } from "../../../src/cni/conflist.ts";
import { delegateConfig, delegateConfigText } from "../../../src/cni/delegate_config.ts";
import { parsePluginConfig } from "../../../src/cni/plugin_config.ts";
import { parseSubnetEnvironment } from "../../../src/cni/subnet_environment.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

const decoder = new TextDecoder();

const SUBNET = "FLANNEL_NETWORK=10.5.0.0/16,10.6.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\n" +
  "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1450\n" +
  "FLANNEL_IPMASQ=false\n";
const SUBNET_ENVIRONMENT = parseSubnetEnvironment(SUBNET, "subnet.env");

const pluginConfig: FuzzTarget = {
  name: "cni-config",
  isJson: true,
  seeds: [
    '{"name":"cbr0","cniVersion":"0.3.1","type":"flannel","delegate":{"hairpinMode":true,' +
    '"isDefaultGateway":true},"runtimeConfig":{"portMappings":[{"hostPort":80}]}}',
    '{"name":"a","cniVersion":"1.1.0","ipam":{"type":"x","routes":[{"dst":"10.0.0.0/8"}]},' +
    '"cni.dev/valid-attachments":[{"containerID":"c","ifname":"eth0"}],"prevResult":{}}',
  ],
  dictionary: ["__proto__", "name", "ipam", "ranges", "null", "10.0.0.0/8", "../x"],
  refusals: [CniError],
  run(input) {
    const text = delegateConfigText(
      delegateConfig(parsePluginConfig(decoder.decode(input)), SUBNET_ENVIRONMENT),
    );
    // Its own configuration is one that it could pass on.
    const { name, type, ipam } = JSON.parse(text);
    equal(typeof type === "string" && !type.includes("/") && typeof name === "string", true);
    equal(ipam.ranges, [[{ subnet: "10.5.72.0/24" }], [{ subnet: "fc00::/64" }]]);
  },
};

const conflist: FuzzTarget = {
  name: "cni-conflist",
  isJson: true,
  seeds: [
    '{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel","delegate":{' +
    '"hairpinMode":true}},{"type":"portmap","capabilities":{"portMappings":true}}]}',
  ],
  dictionary: ["plugins", "type", "flannel", "null"],
  refusals: [CniError],
  run: (input) => checkConflist(decoder.decode(input)),
};

const subnetEnvironment: FuzzTarget = {
  name: "cni-subnet-file",
  seeds: [SUBNET],
  dictionary: ["FLANNEL_SUBNET=", "FLANNEL_NETWORK=", ",", "/0", "__proto__=", "[x]\n"],
  refusals: [CniError],
  run(input) {
    const { networks, subnets, mtuBytes } = parseSubnetEnvironment(decoder.decode(input), "file");
    equal(networks.length > 0 && Object.keys(subnets).length > 0 && mtuBytes > 0, true);
  },
};

export const CNI_TARGETS: readonly FuzzTarget[] = [pluginConfig, conflist, subnetEnvironment];
