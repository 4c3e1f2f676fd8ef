/** Where this instance is, as Tencent Cloud's metadata service tells it. */

import { quoted } from "../../base/quoting.ts";
import { exchange, HttpError } from "./http_exchange.ts";

export interface Placement {
  readonly region: string;
  readonly vpcId: string;
  /** The VPC's subnet that the instance is in; `undefined` where the service does not tell. */
  readonly subnetId: string | undefined;
}

export const METADATA_ENDPOINT = "http://metadata.tencentyun.com";

/** Throws `HttpError`, or the reason of `signal`. */
export async function readPlacement(endpoint: URL, signal: AbortSignal): Promise<Placement> {
  const read = (path: string) => readValue(endpoint, path, signal);
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

/** Names of regions, VPCs and subnets, and MAC addresses: they go into URLs and headers. */
const VALUE = /^[A-Za-z0-9:_-]{1,100}$/;

async function readValue(endpoint: URL, path: string, signal: AbortSignal): Promise<string> {
  const url = new URL(`/latest/meta-data/${path}`, endpoint);
  const { status, text } = await exchange(url, { method: "GET" }, signal);
  if (status !== 200) throw new HttpError(`${url} answers with status ${status}`);
  const value = text.trim();
  if (!VALUE.test(value)) {
    throw new HttpError(`${url} answers ${quoted(value, 100)}`);
  }
  return value;
}
