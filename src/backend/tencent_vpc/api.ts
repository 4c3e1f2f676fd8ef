/**
 * A small client of Tencent Cloud's VPC API, version 2017-03-12: three calls about route tables.
 *
 * The vendor's own package for Node.js brings nine others along for what are a signature and a POST.
 */

import { quoted } from "../../base/quoting.ts";
import { exchange, HttpError } from "./http_exchange.ts";
import { parseRouteTables, type RouteTable } from "./route_table.ts";
import { type AccessKey, authorization, CONTENT_TYPE } from "./signature.ts";

export const API_ENDPOINT = "https://vpc.tencentcloudapi.com";

export interface VpcApiOptions {
  readonly endpoint: URL;
  readonly region: string;
  readonly credentials: AccessKey;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}

/** The API refused a call. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** Such as `AuthFailure.SignatureFailure`. */
  readonly code: string;

  constructor(action: string, code: string, message: string) {
    super(`Tencent Cloud refuses ${action}: ${message} (${code})`);
    this.code = code;
  }
}

/** For DeleteRoutes and CreateRoutes. */
export interface NewRoute {
  readonly destination: string;
  /** Address of the instance that takes the packets. */
  readonly instance: string;
}

/** All throw `ApiError`, `HttpError`, or the reason of `signal`. */
export class VpcApi {
  readonly #options: VpcApiOptions;

  constructor(options: VpcApiOptions) {
    this.#options = options;
  }

  async routeTables(vpcId: string, signal: AbortSignal): Promise<RouteTable[]> {
    const tables: RouteTable[] = [];
    for (;;) {
      const reply = await this.#call("DescribeRouteTables", {
        Filters: [{ Name: "vpc-id", Values: [vpcId] }],
        // Text, unlike other numbers of this API.
        Offset: String(tables.length),
        Limit: String(PAGE),
      }, signal);
      const page = parseRouteTables(reply);
      if (page === undefined) throw new HttpError("DescribeRouteTables: the reply has no tables");
      tables.push(...page);
      if (page.length < PAGE || tables.length >= MAX_TABLES) return tables;
    }
  }

  async createRoute(tableId: string, route: NewRoute, signal: AbortSignal): Promise<void> {
    await this.#call("CreateRoutes", {
      RouteTableId: tableId,
      Routes: [{
        DestinationCidrBlock: route.destination,
        GatewayType: "NORMAL_CVM",
        GatewayId: route.instance,
        RouteDescription: "flannel",
        Enabled: true,
      }],
    }, signal);
  }

  async deleteRoute(tableId: string, routeId: number, signal: AbortSignal): Promise<void> {
    const parameters = { RouteTableId: tableId, Routes: [{ RouteId: routeId }] };
    await this.#call("DeleteRoutes", parameters, signal);
  }

  /** The reply's `Response` object. */
  async #call(
    action: string,
    parameters: object,
    signal: AbortSignal,
  ): Promise<Readonly<Record<string, unknown>>> {
    const { endpoint, region, credentials, nowMs } = this.#options;
    const payload = JSON.stringify(parameters);
    const timestampSeconds = Math.floor(nowMs() / 1000);
    const { host } = endpoint;
    const signed = { service: "vpc", host, action, payload, timestampSeconds };
    const { status, text } = await exchange(endpoint, {
      method: "POST",
      headers: {
        "Authorization": authorization(signed, credentials),
        "Content-Type": CONTENT_TYPE,
        "X-TC-Action": action,
        "X-TC-Version": "2017-03-12",
        "X-TC-Region": region,
        "X-TC-Timestamp": String(timestampSeconds),
      },
      body: payload,
    }, signal);
    return readReply(action, status, text);
  }
}

/** The most that one call gives. */
const PAGE = 100;
/** A server that gives the same page for ever must not keep us. */
const MAX_TABLES = 1000;

/** The `Response` object of a reply's body. Throws `ApiError` or `HttpError`. */
export function readReply(
  action: string,
  status: number,
  text: string,
): Readonly<Record<string, unknown>> {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new HttpError(`${action}: the answer, with status ${status}, is not JSON`);
  }
  const response = member(body, "Response");
  if (typeof response !== "object" || response === null) {
    throw new HttpError(`${action}: the answer, with status ${status}, has no Response`);
  }
  const error = member(response, "Error");
  if (error !== undefined && error !== null) {
    const [code, message] = [textOf(member(error, "Code")), textOf(member(error, "Message"))];
    throw new ApiError(action, code.slice(0, 100), message.slice(0, 500));
  }
  if (status !== 200) throw new HttpError(`${action}: the answer has status ${status}`);
  return response as Readonly<Record<string, unknown>>;
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : quoted(value);
}
