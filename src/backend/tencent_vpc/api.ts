/**
 * A client for the three calls about route tables of Tencent Cloud's VPC API, version 2017-03-12.
 *
 * The vendor's package for Node.js has nine dependencies, for a signature and a POST request.
 */

import type { Clock } from "../../base/clock.ts";
import { OperatorError } from "../../base/operator_error.ts";
import { quoted } from "../../base/quoting.ts";
import { exchange, HttpError } from "./http_exchange.ts";
import { parseRouteTables, type RouteTable } from "./route_table.ts";
import { type AccessKey, authorization, CONTENT_TYPE } from "./signature.ts";

export const API_ENDPOINT = "https://vpc.tencentcloudapi.com";

export interface VpcApiOptions {
  readonly endpoint: URL;
  readonly region: string;
  readonly credentials: AccessKey;
  /** For the timestamp and the time limit of a request. */
  readonly clock: Clock;
}

export interface ApiRefusal {
  /** Such as `CreateRoutes`. */
  readonly action: string;
  /** Such as `AuthFailure.SignatureFailure`. */
  readonly code: string;
  readonly message: string;
  /** For Tencent Cloud's support; `undefined` if the response has none. */
  readonly requestId: string | undefined;
}

/** The API refused a call. */
export class ApiError extends OperatorError {
  override readonly name = "ApiError";
  readonly action: string;
  readonly code: string;
  readonly requestId: string | undefined;

  constructor({ action, code, message, requestId }: ApiRefusal, options?: ErrorOptions) {
    super(`Tencent Cloud refused ${action}: ${message} (${code})`, options);
    this.action = action;
    this.code = code;
    this.requestId = requestId;
  }
}

/** For CreateRoutes. */
export interface NewRoute {
  readonly destination: string;
  /** Address of the instance that receives the packets. */
  readonly instance: string;
}

/** All methods throw `ApiError`, `HttpError`, or the reason of `signal`. */
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
        // Strings, unlike other numbers of this API.
        Offset: String(tables.length),
        Limit: String(PAGE),
      }, signal);
      const page = parseRouteTables(reply);
      if (page === undefined) {
        throw new HttpError("cannot read the response to DescribeRouteTables: no RouteTableSet");
      }
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

  /** Returns the `Response` object. */
  async #call(
    action: string,
    parameters: object,
    signal: AbortSignal,
  ): Promise<Readonly<Record<string, unknown>>> {
    const { endpoint, region, credentials, clock } = this.#options;
    const payload = JSON.stringify(parameters);
    const timestampSeconds = Math.floor(clock.wallMs() / 1000);
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
    }, { clock, signal });
    return readReply(action, status, text);
  }
}

/** The largest number of tables in one response. */
const PAGE = 100;
/** So that a server that repeats the same page forever cannot block the daemon. */
const MAX_TABLES = 1000;

/** The `Response` object in the body of a response. Throws `ApiError` or `HttpError`. */
export function readReply(
  action: string,
  status: number,
  text: string,
): Readonly<Record<string, unknown>> {
  const unreadable = (reason: string) =>
    new HttpError(`cannot read the response to ${action}, with status ${status}: ${reason}`, {
      status,
    });
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw unreadable("the body is not JSON");
  }
  const response = member(body, "Response");
  if (typeof response !== "object" || response === null) {
    throw unreadable("the body has no Response");
  }
  const error = member(response, "Error");
  if (error !== undefined && error !== null) {
    const requestId = member(response, "RequestId");
    throw new ApiError({
      action,
      code: textOf(member(error, "Code")).slice(0, 100),
      message: textOf(member(error, "Message")).slice(0, 500),
      requestId: typeof requestId === "string" ? requestId.slice(0, 100) : undefined,
    });
  }
  if (status !== 200) throw unreadable("a result has status 200");
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
