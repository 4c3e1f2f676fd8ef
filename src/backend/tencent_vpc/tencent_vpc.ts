/**
 * tencent-vpc: a router of the cloud forwards packets to the instance that has the subnet.
 *
 * The journey of a packet from a workload at 10.5.1.7 on instance A (172.16.0.4) to one at 10.5.2.9
 * on instance B (172.16.0.5, subnet 10.5.2.0/24), with the entry that decides each hop:
 *
 *   1. The workload's DEFAULT ROUTE sends it to A's bridge.
 *   2. A has no route for 10.5.2.0/24: A's DEFAULT ROUTE sends it to the router of the VPC.
 *   3. The ROUTE TABLE of A's subnet of the VPC contains `10.5.2.0/24 by NORMAL_CVM 172.16.0.5`,
 *      which B has created: the router forwards the packet to B without encapsulation.
 *   4. B forwards it by the ROUTE for 10.5.2.0/24 of its own bridge.
 *
 * So each node maintains one route in the cloud, to its own subnet, and no kernel entries.
 */

import { ConfigError } from "../../config/config_error.ts";
import { type OptionValues, readOptions, stringOption } from "../../config/option_schema.ts";
import { quoted } from "../../base/quoting.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type { BackendHost, BackendModule } from "../../overlay/backend.ts";
import { devicelessOwnership } from "../../overlay/deviceless_ownership.ts";
import { ipv4Network } from "../../overlay/ipv4_network.ts";
import { API_ENDPOINT } from "./api.ts";
import { METADATA_ENDPOINT } from "./metadata.ts";
import { RouteTarget } from "./route_target.ts";
import type { AccessKey } from "./signature.ts";
import { TENCENT_VPC } from "./tencent_vpc_descriptor.ts";

export const OPTIONS = {
  AccessKeyID: stringOption({ default: "" }),
  AccessKeySecret: stringOption({ default: "", secret: true }),
};

const tencentVpc: BackendModule = {
  checkConfig: ({ backend }, log) => void readOptions(backend.options, OPTIONS, log),
  options: OPTIONS,
  mtuBytes: (_config, external) => external.mtuBytes,
  // deno-lint-ignore require-await -- an error becomes a rejection
  async prepare(host) {
    const { config, env, clock, log } = host;
    const options = readOptions(config.backend.options, OPTIONS, log);
    const target = new RouteTarget({
      network: ipv4Network(config),
      credentials: readCredentials(options, env),
      apiEndpoint: readEndpoint("TENCENT_VPC_ENDPOINT", API_ENDPOINT, env),
      metadataEndpoint: readEndpoint("TENCENT_METADATA_ENDPOINT", METADATA_ENDPOINT, env),
      clock,
      log,
    });
    return {
      type: TENCENT_VPC.type,
      // Without a type, like Go flannel's leases of this backend.
      attributes: {
        publicAddresses: advertisedAddresses(host),
        backendType: "",
        backendData: {},
      },
      needsReachability: false,
      isDirect: true,
      ownership: () => devicelessOwnership(host.config.families),
      mtuBytes: (external) => external.mtuBytes,
      node: () => [],
      peer: () => [],
      target,
    };
  },
};

export default tencentVpc;

/** Both from the configuration, or both from the environment. */
function readCredentials(
  { AccessKeyID, AccessKeySecret }: OptionValues<typeof OPTIONS>,
  env: BackendHost["env"],
): AccessKey {
  if (AccessKeyID !== "" && AccessKeySecret !== "") {
    return { accessKeyId: AccessKeyID, accessKeySecret: AccessKeySecret };
  }
  const { ACCESS_KEY_ID: accessKeyId = "", ACCESS_KEY_SECRET: accessKeySecret = "" } = env;
  if (accessKeyId === "" || accessKeySecret === "") {
    throw new ConfigError(
      "tencent-vpc needs an access key: set AccessKeyID and AccessKeySecret in the " +
        "network configuration's Backend object, or ACCESS_KEY_ID and ACCESS_KEY_SECRET in the " +
        "daemon's environment",
    );
  }
  return { accessKeyId, accessKeySecret };
}

/** Endpoints can be set for networks that do not resolve the default ones, and for tests. */
function readEndpoint(name: string, defaultUrl: string, env: BackendHost["env"]): URL {
  const text = env[name] || defaultUrl;
  const url = URL.parse(text);
  if (url === null || !["http:", "https:"].includes(url.protocol) || url.pathname !== "/") {
    throw new ConfigError(`${name} is ${quoted(text)}; it must be a URL like ${defaultUrl}`);
  }
  return url;
}
