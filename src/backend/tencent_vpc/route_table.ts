/** Route tables of a VPC, and the changes that a table needs for this node. */

import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import { parsePrefixMasked, type Prefix, prefixContains, prefixLength } from "../../addr/prefix.ts";

export interface RouteTable {
  readonly id: string;
  /** The table of subnets that are associated with no other one. */
  readonly isMain: boolean;
  /** The associated subnets of the VPC. */
  readonly subnetIds: readonly string[];
  readonly routes: readonly CloudRoute[];
}

export interface CloudRoute {
  /** `undefined` if it is not an integer that JavaScript can represent. */
  readonly id: number | undefined;
  readonly destination: Prefix | undefined;
  /** `NORMAL_CVM` for an instance. */
  readonly gatewayType: string;
  /** For an instance, its address. */
  readonly gateway: string;
  /** `USER` unless Tencent Cloud has created it itself. */
  readonly type: string;
  readonly isEnabled: boolean;
}

/** The route that this node needs. */
export interface OwnRoute {
  /** This node's subnet. */
  readonly destination: Prefix;
  readonly instance: IpAddress;
  /** Of the overlay: it contains the subnets of all nodes. */
  readonly network: Prefix;
}

export interface RouteChanges {
  readonly remove: readonly CloudRoute[];
  readonly create: boolean;
  /** A route to the same destination that is not flannel's. */
  readonly conflict: CloudRoute | undefined;
}

/**
 * The table that routes the packets of instances in this subnet: the associated one, or the main
 * one. `undefined` if there is none.
 */
export function tableOf(
  tables: readonly RouteTable[],
  subnetId: string | undefined,
): RouteTable | undefined {
  const associated = subnetId === undefined
    ? undefined
    : tables.find(({ subnetIds }) => subnetIds.includes(subnetId));
  return associated ?? tables.find(({ isMain }) => isMain) ?? tables[0];
}

/**
 * The changes that the table needs. Outdated routes of flannel are removed: routes to this node's
 * subnet that are disabled or name another instance, which had the subnet before; and routes by
 * this instance to another subnet of the same size, which this instance had before.
 */
export function routeChanges(table: RouteTable, own: OwnRoute): RouteChanges {
  const remove: CloudRoute[] = [];
  let conflict: CloudRoute | undefined;
  let exists = false;
  for (const route of table.routes) {
    if (route.destination === own.destination) {
      if (!isNodeRoute(route, own)) conflict = route;
      else if (route.gateway === own.instance && route.isEnabled) exists = true;
      else remove.push(route);
    } else if (isNodeRoute(route, own) && route.gateway === own.instance) {
      remove.push(route);
    }
  }
  return { remove, create: !exists && conflict === undefined, conflict };
}

/** Routes by an instance to subnets of the overlay that no node has. */
export function orphanedRoutes(
  table: RouteTable,
  own: OwnRoute,
  inUse: ReadonlySet<Prefix>,
): CloudRoute[] {
  return table.routes.filter((route) =>
    isNodeRoute(route, own) && !inUse.has(route.destination as Prefix)
  );
}

/** Whether a user has created it, by an instance, to a subnet of the same size as this node's. */
function isNodeRoute({ destination, gatewayType, type }: CloudRoute, own: OwnRoute): boolean {
  return destination !== undefined && gatewayType === "NORMAL_CVM" && type === "USER" &&
    prefixLength(destination) === prefixLength(own.destination) &&
    prefixContains(own.network, destination);
}

/** The tables in a response to DescribeRouteTables; `undefined` if it is not one. */
export function parseRouteTables(reply: unknown): RouteTable[] | undefined {
  if (!isObject(reply) || !Array.isArray(reply["RouteTableSet"])) return undefined;
  return reply["RouteTableSet"].flatMap((table: unknown): RouteTable[] => {
    if (!isObject(table) || typeof table["RouteTableId"] !== "string") return [];
    return [{
      id: table["RouteTableId"],
      isMain: table["Main"] === true,
      subnetIds: objects(table["AssociationSet"]).flatMap(({ SubnetId }) =>
        typeof SubnetId === "string" ? SubnetId : []
      ),
      routes: objects(table["RouteSet"]).map(parseRoute),
    }];
  });
}

function parseRoute(route: Readonly<Record<string, unknown>>): CloudRoute {
  const { RouteId, DestinationCidrBlock, GatewayType, GatewayId, RouteType, Enabled } = route;
  return {
    id: Number.isSafeInteger(RouteId) ? RouteId as number : undefined,
    destination: parsePrefixMasked(textOf(DestinationCidrBlock)),
    gatewayType: textOf(GatewayType),
    gateway: parseIpAddress(textOf(GatewayId)) ?? textOf(GatewayId),
    type: textOf(RouteType),
    isEnabled: Enabled === true,
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function objects(value: unknown): Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
