/** The location of this instance, from Tencent Cloud's metadata service. */

import { quoted } from "../../base/quoting.ts";
import { exchange, type ExchangeContext, HttpError } from "./http_exchange.ts";

export interface Placement {
  readonly region: string;
  readonly vpcId: string;
  /** The VPC's subnet that the instance is in; `undefined` if the service does not know it. */
  readonly subnetId: string | undefined;
}

export const METADATA_ENDPOINT = "http://metadata.tencentyun.com";

/** Throws `HttpError`, or the reason of `signal`. */
export async function readPlacement(endpoint: URL, context: ExchangeContext): Promise<Placement> {
  const read = (path: string) => readValue(endpoint, path, context);
  const region = await read("placement/region");
  const mac = await read("mac");
  const interfacePath = `network/interfaces/macs/${mac}`;
  const vpcId = await read(`${interfacePath}/vpc-id`);
  const subnetId = await read(`${interfacePath}/subnet-id`).catch((error: unknown) => {
    if (error instanceof HttpError) return undefined;
    throw error;
  });
  return { region, vpcId, subnetId };
}

/** Names of regions, VPCs and subnets, and MAC addresses, which become part of URLs and headers. */
const VALUE = /^[A-Za-z0-9:_-]{1,100}$/;

async function readValue(endpoint: URL, path: string, context: ExchangeContext): Promise<string> {
  const url = new URL(`/latest/meta-data/${path}`, endpoint);
  const { status, text } = await exchange(url, { method: "GET" }, context);
  if (status !== 200) throw new HttpError(`${url} returned status ${status}`, { status });
  const value = text.trim();
  if (!VALUE.test(value)) {
    throw new HttpError(`${url} returned an invalid value: ${quoted(value, 100)}`, { status });
  }
  return value;
}
