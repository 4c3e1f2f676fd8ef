/**
 * Tencent Cloud for one VPC: the metadata service and the three calls about route tables, with the
 * checks that the cloud makes. It verifies signatures with its own implementation (Web Crypto, from
 * the vendor's description), not with the code under test.
 *
 *     bun tests/support/fake_tencent.ts PORT
 *
 * serves in a network namespace of a test, which reads and writes the state at `/state`.
 */

export const KEY = { id: "AKIDtest0123456789", secret: "secret-of-the-test" };
export const PLACE = {
  region: "ap-guangzhou",
  vpcId: "vpc-1a2b3c4d",
  subnetId: "subnet-9z8y7x6w",
  mac: "52:54:00:12:34:56",
};

export interface FakeRoute {
  RouteId: number;
  DestinationCidrBlock: string;
  GatewayType: string;
  GatewayId: string;
  RouteType: string;
  Enabled: boolean;
  RouteDescription?: string;
}

export interface FakeTable {
  RouteTableId: string;
  VpcId: string;
  Main: boolean;
  AssociationSet: { SubnetId: string; RouteTableId: string }[];
  RouteSet: FakeRoute[];
}

export interface FakeState {
  tables: FakeTable[];
  /** Of each route table. */
  limit: number;
  nextRouteId: number;
}

/** One table, the VPC's main one, with the route that every VPC has. */
export function freshState(): FakeState {
  return { tables: [table("rtb-main", true)], limit: 50, nextRouteId: 100 };
}

export function table(id: string, isMain: boolean, subnets: string[] = []): FakeTable {
  return {
    RouteTableId: id,
    VpcId: PLACE.vpcId,
    Main: isMain,
    AssociationSet: subnets.map((SubnetId) => ({ SubnetId, RouteTableId: id })),
    RouteSet: [{
      RouteId: 1,
      DestinationCidrBlock: "172.16.0.0/16",
      GatewayType: "LOCAL",
      GatewayId: "local",
      RouteType: "NETD",
      Enabled: true,
    }],
  };
}

/** A route to a subnet by an instance. */
export function nodeRoute(id: number, destination: string, gateway: string): FakeRoute {
  return {
    RouteId: id,
    DestinationCidrBlock: destination,
    GatewayType: "NORMAL_CVM",
    GatewayId: gateway,
    RouteType: "USER",
    Enabled: true,
  };
}

/** A response instead of the regular one. */
export interface Fault {
  readonly status: number;
  readonly text: string;
  /** The action to respond to; any by default. */
  readonly action?: string;
}

export function refusal(code: string, message = "no"): Fault {
  const Response = { Error: { Code: code, Message: message }, RequestId: "r" };
  return { status: 200, text: JSON.stringify({ Response }) };
}

export class FakeTencent implements AsyncDisposable {
  state: FakeState = freshState();
  /** The actions that were called, in order. */
  readonly calls: string[] = [];
  /** Responses to the next calls of the API. */
  readonly faults: Fault[] = [];
  /** Values of the metadata service, by path. */
  readonly metadata: Map<string, string> = new Map([
    ["placement/region", PLACE.region],
    ["mac", PLACE.mac],
    [`network/interfaces/macs/${PLACE.mac}/vpc-id`, PLACE.vpcId],
    [`network/interfaces/macs/${PLACE.mac}/subnet-id`, PLACE.subnetId],
  ]);
  readonly #server: Bun.Server<undefined>;

  constructor(port = 0) {
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port,
      fetch: (request) => this.#respond(request),
    });
  }

  get url(): URL {
    return this.#server.url;
  }

  /** The routes of a table except for the VPC's own, sorted, as `DESTINATION by GATEWAY`. */
  routes(tableId = "rtb-main"): string[] {
    const found = this.state.tables.find(({ RouteTableId }) => RouteTableId === tableId);
    return (found?.RouteSet ?? [])
      .filter(({ GatewayType }) => GatewayType !== "LOCAL")
      .map((route) => `${route.DestinationCidrBlock} by ${route.GatewayId}`)
      .sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
  }

  async #respond(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/state") {
      if (request.method === "PUT") this.state = await request.json() as FakeState;
      return Response.json(this.state);
    }
    if (request.method === "GET" && pathname.startsWith("/latest/meta-data/")) {
      const value = this.metadata.get(pathname.slice("/latest/meta-data/".length));
      return new Response(value ?? "<html>404</html>", { status: value === undefined ? 404 : 200 });
    }
    const action = request.headers.get("X-TC-Action") ?? "none";
    this.calls.push(action);
    const matches = (one: Fault) => one.action === undefined || one.action === action;
    const index = this.faults.findIndex(matches);
    const [fault] = index < 0 ? [] : this.faults.splice(index, 1);
    if (fault !== undefined) return new Response(fault.text, { status: fault.status });
    const payload = await request.text();
    const response = await whyRefused(request, pathname, payload) ??
      this.#perform(action, JSON.parse(payload));
    return Response.json({ Response: { ...response, RequestId: "request-1" } });
  }

  // deno-lint-ignore no-explicit-any -- parameters of a request are not typed
  #perform(action: string, parameters: any): object {
    if (action === "DescribeRouteTables") {
      const { Offset = "0", Limit = "20", Filters } = parameters;
      if (typeof Offset !== "string" || typeof Limit !== "string") {
        return failure("InvalidParameter", "Offset and Limit are strings");
      }
      const wanted = Filters[0].Name === "vpc-id" ? Filters[0].Values : [];
      const tables = this.state.tables.filter(({ VpcId }) => wanted.includes(VpcId));
      const [from, count] = [Number(Offset), Math.min(Number(Limit), 100)];
      return { TotalCount: tables.length, RouteTableSet: tables.slice(from, from + count) };
    }
    const found = this.state.tables.find(({ RouteTableId }) =>
      RouteTableId === parameters.RouteTableId
    );
    if (found === undefined) return failure("ResourceNotFound", "no such route table");
    if (action === "CreateRoutes") return this.#create(found, parameters.Routes[0]);
    if (action !== "DeleteRoutes") return failure("InvalidAction", action);
    const index = found.RouteSet.findIndex(({ RouteId }) =>
      RouteId === parameters.Routes[0].RouteId
    );
    if (index < 0) return failure("ResourceNotFound", "no such route");
    if (found.RouteSet[index]?.RouteType !== "USER") {
      return failure("UnsupportedOperation.SystemRoute", "it is the system's");
    }
    found.RouteSet.splice(index, 1);
    return { RouteSet: [] };
  }

  #create(found: FakeTable, route: FakeRoute): object {
    if (found.RouteSet.length >= this.state.limit) return failure("LimitExceeded", "超过配额限制");
    if (
      found.RouteSet.some((other) => other.DestinationCidrBlock === route.DestinationCidrBlock)
    ) {
      return failure("InvalidParameterValue.Duplicate", "there is such a route");
    }
    if (route.DestinationCidrBlock.startsWith("172.16.")) {
      return failure("InvalidParameterValue.VpcCidrConflict", "it is inside the VPC");
    }
    found.RouteSet.push({ ...route, RouteId: this.state.nextRouteId++, RouteType: "USER" });
    return { TotalCount: 1, RouteTableSet: [found] };
  }
}

function failure(code: string, message: string): object {
  return { Error: { Code: code, Message: message } };
}

const AUTHORIZATION = new RegExp(
  "^TC3-HMAC-SHA256 Credential=([^/]+)/(\\d{4}-\\d\\d-\\d\\d)/vpc/tc3_request, " +
    "SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$",
);

/** The API's error for a request that is malformed or not signed correctly. */
async function whyRefused(
  request: Request,
  path: string,
  payload: string,
): Promise<object | undefined> {
  const header = (name: string) => request.headers.get(name) ?? "";
  if (request.method !== "POST" || path !== "/") return failure("InvalidAction", "not a call");
  if (header("X-TC-Version") !== "2017-03-12") return failure("NoSuchVersion", "unknown version");
  if (header("X-TC-Region") !== PLACE.region) return failure("UnsupportedRegion", "no such region");
  const timestamp = header("X-TC-Timestamp");
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) {
    return failure("AuthFailure.SignatureExpire", "the signature has expired");
  }
  const match = AUTHORIZATION.exec(header("Authorization"));
  if (match === null) return failure("AuthFailure.InvalidAuthorization", "malformed");
  const [, id, date, names = "", signature] = match;
  if (id !== KEY.id) return failure("AuthFailure.SecretIdNotFound", "no such SecretId");
  if (date !== new Date(Number(timestamp) * 1000).toISOString().slice(0, 10)) {
    return failure("AuthFailure.SignatureFailure", "another day");
  }
  const signed = names.split(";");
  if (!signed.includes("content-type") || !signed.includes("host")) {
    return failure("AuthFailure.SignatureFailure", "content-type and host must be signed");
  }
  const lines = signed.map((name) => `${name}:${header(name).trim().toLowerCase()}\n`).join("");
  const canonical = `POST\n/\n\n${lines}\n${names}\n${await sha256(payload)}`;
  const toSign = `TC3-HMAC-SHA256\n${timestamp}\n${date}/vpc/tc3_request\n${await sha256(
    canonical,
  )}`;
  let key: Uint8Array = new TextEncoder().encode(`TC3${KEY.secret}`);
  for (const part of [date, "vpc", "tc3_request"]) key = await hmac(key, part);
  return hex(await hmac(key, toSign)) === signature
    ? undefined
    : failure("AuthFailure.SignatureFailure", "the signature is wrong");
}

async function sha256(text: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

async function hmac(secret: Uint8Array, text: string): Promise<Uint8Array> {
  const method = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", new Uint8Array(secret), method, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(text)));
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

if (import.meta.main) new FakeTencent(Number(process.argv[2]));
