import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ApiError, readReply } from "../../../../src/backend/tencent_vpc/api.ts";
import { HttpError } from "../../../../src/backend/tencent_vpc/http_exchange.ts";
import {
  type CloudRoute,
  orphanedRoutes,
  type OwnRoute,
  parseRouteTables,
  routeChanges,
  tableOf,
} from "../../../../src/backend/tencent_vpc/route_table.ts";
import { freshState, nodeRoute, table } from "../../../support/fake_tencent.ts";
import { ip, prefix } from "../../../support/sample_network.ts";

const OWN: OwnRoute = {
  destination: prefix("10.5.1.0/24"),
  instance: ip("172.16.0.4"),
  network: prefix("10.5.0.0/16"),
};

/** The changes to a table with these routes, as text. */
function changes(...routes: object[]): string[] {
  const [parsed] = parseRouteTables({
    RouteTableSet: [{ ...table("rtb", true), RouteSet: routes }],
  }) ?? [];
  if (parsed === undefined) throw new Error("no table");
  const { remove, create, conflict } = routeChanges(parsed, OWN);
  const text = ({ id, destination }: CloudRoute) => `${id} ${destination}`;
  return [
    ...remove.map((route) => `remove ${text(route)}`),
    ...(create ? ["create"] : []),
    ...(conflict === undefined ? [] : [`conflict ${text(conflict)}`]),
  ];
}

describe("a node's route", () => {
  test("is made where there is none, and left alone where it is right", () => {
    expect(changes()).toEqual(["create"]);
    expect(changes(nodeRoute(7, "10.5.1.0/24", "172.16.0.4"))).toEqual([]);
  });

  test("replaces that of an instance which had the subnet before, and one that is disabled", () => {
    expect(changes(nodeRoute(7, "10.5.1.0/24", "172.16.0.9"))).toEqual([
      "remove 7 10.5.1.0/24",
      "create",
    ]);
    expect(changes({ ...nodeRoute(7, "10.5.1.0/24", "172.16.0.4"), Enabled: false })).toEqual([
      "remove 7 10.5.1.0/24",
      "create",
    ]);
  });

  test("to a subnet that this node had before is removed", () => {
    expect(changes(
      nodeRoute(7, "10.5.2.0/24", "172.16.0.4"),
      nodeRoute(8, "10.5.1.0/24", "172.16.0.4"),
    )).toEqual(["remove 7 10.5.2.0/24"]);
  });

  test.each([
    ["another node's", nodeRoute(7, "10.5.2.0/24", "172.16.0.5")],
    ["outside the network", nodeRoute(7, "10.6.2.0/24", "172.16.0.4")],
    ["of another size", nodeRoute(7, "10.5.0.0/16", "172.16.0.4")],
    ["by another kind of gateway", {
      ...nodeRoute(7, "10.5.2.0/24", "172.16.0.4"),
      GatewayType: "HAVIP",
    }],
    ["the system's", { ...nodeRoute(7, "10.5.2.0/24", "172.16.0.4"), RouteType: "NETD" }],
    ["for IPv6", { RouteId: 7, DestinationIpv6CidrBlock: "::/0", GatewayType: "NORMAL_CVM" }],
  ])("does not concern one that is %s", (_, route) => {
    expect(changes(route)).toEqual(["create"]);
  });

  test.each([{ GatewayType: "NAT", GatewayId: "nat-1" }, { RouteType: "CCN" }])(
    "is not created if there is a conflicting one: %j",
    (other) => {
      expect(changes({ ...nodeRoute(7, "10.5.1.0/24", "172.16.0.9"), ...other })).toEqual([
        "conflict 7 10.5.1.0/24",
      ]);
    },
  );
});

describe("tableOf()", () => {
  const tables = parseRouteTables({
    RouteTableSet: [
      table("rtb-first", false, ["subnet-a"]),
      table("rtb-main", true),
      table("rtb-b", false, ["subnet-b", "subnet-c"]),
    ],
  }) ?? [];

  test("is the instance's subnet's, else the main one, else the first", () => {
    expect(tableOf(tables, "subnet-c")?.id).toBe("rtb-b");
    expect(tableOf(tables, "subnet-x")?.id).toBe("rtb-main");
    expect(tableOf(tables, undefined)?.id).toBe("rtb-main");
    expect(tableOf(tables.filter(({ isMain }) => !isMain), undefined)?.id).toBe("rtb-first");
    expect(tableOf([], undefined)).toBeUndefined();
  });
});

test("orphans() are instances' routes to subnets that no node has", () => {
  const RouteSet = [
    nodeRoute(1, "10.5.1.0/24", "172.16.0.4"),
    nodeRoute(2, "10.5.2.0/24", "172.16.0.5"),
    nodeRoute(3, "10.5.3.0/24", "172.16.0.6"),
    nodeRoute(4, "10.9.3.0/24", "172.16.0.6"),
  ];
  const [parsed] = parseRouteTables({ RouteTableSet: [{ ...table("rtb", true), RouteSet }] }) ?? [];
  const inUse = new Set([OWN.destination, prefix("10.5.2.0/24")]);
  expect(orphanedRoutes(parsed as never, OWN, inUse).map(({ id }) => id)).toEqual([3]);
});

describe("any response of a server", () => {
  /** JSON values in whose objects the names of the API are frequent. */
  const names = fc.constantFrom(
    ...["Response", "Error", "Code", "Message", "RouteTableSet", "RouteTableId", "Main"],
    ...["AssociationSet", "SubnetId", "RouteSet", "RouteId", "DestinationCidrBlock"],
    ...["GatewayType", "GatewayId", "RouteType", "Enabled", "__proto__", "toString"],
  );
  const leaf = fc.oneof(
    fc.constantFrom("NORMAL_CVM", "USER", "10.5.1.0/24", "10.5.2.0/24", "172.16.0.4", "rtb-1"),
    fc.constantFrom<unknown>(true, false, null, 7, -1, 2 ** 60, "", "10.5.1.0/99"),
    fc.string(),
  );
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 5 },
      leaf,
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(names, tie("value"), { maxKeys: 4 }),
    ),
  }));
  const field = (right: unknown) =>
    fc.oneof({ weight: 4, arbitrary: fc.constant(right) }, { weight: 1, arbitrary: value });
  const route = fc.record({
    RouteId: field(7),
    DestinationCidrBlock: field("10.5.1.0/24"),
    GatewayType: field("NORMAL_CVM"),
    GatewayId: field("172.16.0.9"),
    RouteType: field("USER"),
    Enabled: field(true),
  });
  const tables = fc.record({
    RouteTableSet: fc.array(fc.record({
      RouteTableId: field("rtb-1"),
      RouteSet: fc.oneof(fc.array(route, { maxLength: 3 }), value),
      AssociationSet: value,
    })),
  });
  const refusals = fc.record({ Error: fc.record({ Code: value, Message: value }) });
  const reply = fc.oneof(tables, refusals, value).map((Response) => JSON.stringify({ Response }));
  const text = fc.oneof(reply, fc.string(), value.map((any) => JSON.stringify(any)));

  test(
    "is tables, a refusal or unusable; only routes by instances are ever removed",
    () => {
      const outcomes = { tables: 0, refused: 0, unusable: 0, removed: 0 };
      fc.assert(
        fc.property(text, fc.constantFrom(200, 200, 200, 500), (body, status) => {
          let found;
          try {
            found = parseRouteTables(readReply("DescribeRouteTables", status, body));
          } catch (error) {
            if (error instanceof ApiError) outcomes.refused++;
            else if (error instanceof HttpError) outcomes.unusable++;
            else throw error;
            return;
          }
          outcomes.tables++;
          for (const one of found ?? []) {
            for (const { gatewayType, type, destination } of routeChanges(one, OWN).remove) {
              outcomes.removed++;
              expect([gatewayType, type]).toEqual(["NORMAL_CVM", "USER"]);
              expect(String(destination)).toMatch(/^10\.5\.\d+\.0\/24$/);
            }
          }
        }),
        { numRuns: 100_000 },
      );
      for (const count of Object.values(outcomes)) expect(count).toBeGreaterThan(1000);
    },
    60_000,
  );

  test("is unusable with another status, with any content", () => {
    const text = JSON.stringify({ Response: { RouteTableSet: freshState().tables } });
    expect(() => readReply("DescribeRouteTables", 500, text)).toThrow(
      new HttpError(
        "cannot read the response to DescribeRouteTables, with status 500: a result has status 200",
      ),
    );
  });

  test("a valid response is read unchanged", () => {
    const text = JSON.stringify({ Response: { RouteTableSet: freshState().tables } });
    const read = parseRouteTables(readReply("DescribeRouteTables", 200, text)) as unknown;
    expect(read).toEqual([{
      id: "rtb-main",
      isMain: true,
      subnetIds: [],
      routes: [{
        id: 1,
        destination: "172.16.0.0/16",
        gatewayType: "LOCAL",
        gateway: "local",
        type: "NETD",
        isEnabled: true,
      }],
    }]);
  });
});
