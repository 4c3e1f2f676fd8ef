/**
 * tencent-vpc: the cloud's own router knows which instance has which subnet.
 *
 * The journey of a packet from a workload at 10.5.1.7 on instance A (172.16.0.4) to one at 10.5.2.9
 * on instance B (172.16.0.5, subnet 10.5.2.0/24), by what decides each hop:
 *
 *   1. It leaves the workload by its default route and reaches A's bridge.
 *   2. A has no route of its own for 10.5.2.0/24: A's DEFAULT ROUTE sends it to the VPC's router.
 *   3. The ROUTE TABLE of A's subnet of the VPC has `10.5.2.0/24 by NORMAL_CVM 172.16.0.5`, which B
 *      made: the VPC's router hands the packet to B as it is.
 *   4. B forwards, and its own route for 10.5.2.0/24, the bridge's, delivers.
 *
 * So each node keeps one route in the cloud, the one to itself, and nothing in the kernel.
 */

import { ConfigError } from "../../config/config_error.ts";
import { type OptionValues, readOptions, stringOption } from "../../config/option_schema.ts";
import { quoted } from "../../base/quoting.ts";
import { systemClock } from "../../base/clock.ts";
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
  // deno-lint-ignore require-await -- so that what is thrown is a rejection
  async prepare(host) {
    const { config, env, log } = host;
    const options = readOptions(config.backend.options, OPTIONS, log);
    const target = new RouteTarget({
      network: ipv4Network(config),
      credentials: readCredentials(options, env),
      apiEndpoint: readEndpoint("TENCENT_VPC_ENDPOINT", API_ENDPOINT, env),
      metadataEndpoint: readEndpoint("TENCENT_METADATA_ENDPOINT", METADATA_ENDPOINT, env),
      clock: systemClock,
      log,
    });
    return {
      type: TENCENT_VPC.type,
      // Without a type, as Go flannel has it for this backend.
      attributes: {
        publicAddresses: advertisedAddresses(host),
        backendType: "",
        backendData: {},
      },
      needsReachability: false,
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
      "tencent-vpc needs a key of Tencent Cloud: set AccessKeyID and AccessKeySecret in the " +
        "network configuration's Backend object, or ACCESS_KEY_ID and ACCESS_KEY_SECRET in the " +
        "daemon's environment",
    );
  }
  return { accessKeyId, accessKeySecret };
}

/** For networks in which the usual names do not resolve, and for tests. */
function readEndpoint(name: string, usual: string, env: BackendHost["env"]): URL {
  const text = env[name] || usual;
  const url = URL.parse(text);
  if (url === null || !["http:", "https:"].includes(url.protocol) || url.pathname !== "/") {
    throw new ConfigError(`${name} is ${quoted(text)}; it must be an URL like ${usual}`);
  }
  return url;
}
