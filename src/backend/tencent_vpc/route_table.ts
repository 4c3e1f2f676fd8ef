/** Route tables of a VPC, and what this node has to change in one. */

import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import { parsePrefixMasked, type Prefix, prefixContains, prefixLength } from "../../addr/prefix.ts";

export interface RouteTable {
  readonly id: string;
  /** The one for subnets that are associated with no other. */
  readonly isMain: boolean;
  /** The VPC's subnets that are associated with it. */
  readonly subnetIds: readonly string[];
  readonly routes: readonly CloudRoute[];
}

export interface CloudRoute {
  /** `undefined` if the cloud names it in a way that we cannot repeat. */
  readonly id: number | undefined;
  readonly destination: Prefix | undefined;
  /** `NORMAL_CVM` for an instance. */
  readonly gatewayType: string;
  /** For an instance, its address. */
  readonly gateway: string;
  /** `USER` if somebody made it. */
  readonly type: string;
  readonly isEnabled: boolean;
}

/** What this node needs. */
export interface OwnRoute {
  /** This node's subnet. */
  readonly destination: Prefix;
  readonly instance: IpAddress;
  /** Of the overlay: other nodes' subnets are in it. */
  readonly network: Prefix;
}

export interface RouteChanges {
  readonly remove: readonly CloudRoute[];
  readonly create: boolean;
  /** Somebody else's route that is in the way. */
  readonly conflict: CloudRoute | undefined;
}

/**
 * The table that decides for packets of instances in this subnet: the subnet's own, or the main one.
 * `undefined` if there is none at all.
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
 * What makes the table right. Removed are routes to instances that flannel made and that are wrong:
 * to this node's subnet by another instance, whose subnet it was before, or disabled; and to another
 * subnet of the same size by this instance, whose subnet that was before.
 */
export function routeChanges(table: RouteTable, own: OwnRoute): RouteChanges {
  const remove: CloudRoute[] = [];
  let conflict: CloudRoute | undefined;
  let isThere = false;
  for (const route of table.routes) {
    if (route.destination === own.destination) {
      if (!isOfNode(route, own)) conflict = route;
      else if (route.gateway === own.instance && route.isEnabled) isThere = true;
      else remove.push(route);
    } else if (isOfNode(route, own) && route.gateway === own.instance) {
      remove.push(route);
    }
  }
  return { remove, create: !isThere && conflict === undefined, conflict };
}

/** Routes to subnets of the overlay by an instance, for subnets that no node has. */
export function orphans(
  table: RouteTable,
  own: OwnRoute,
  inUse: ReadonlySet<Prefix>,
): CloudRoute[] {
  return table.routes.filter((route) =>
    isOfNode(route, own) && !inUse.has(route.destination as Prefix)
  );
}

/** Made by somebody, to a subnet of the size that nodes have, by an instance. */
function isOfNode({ destination, gatewayType, type }: CloudRoute, own: OwnRoute): boolean {
  return destination !== undefined && gatewayType === "NORMAL_CVM" && type === "USER" &&
    prefixLength(destination) === prefixLength(own.destination) &&
    prefixContains(own.network, destination);
}

/** The tables of a reply to DescribeRouteTables; `undefined` if it is not one. */
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
