/** Tests that ours writes to a Node what a running Go flannel writes there, byte for byte. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { familiesOf } from "../../src/addr/family.ts";
import type { Family } from "../../src/addr/ip.ts";
import { FLANNELD } from "../support/host.ts";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import type { KubeHost } from "../support/kube/kube_host.ts";
import { eventually } from "../support/wait.ts";
import { goFlannel } from "./mixed_cluster.ts";

export interface AnnotationCase {
  readonly name: string;
  readonly families: readonly Family[];
  /** The network configuration's `Backend`. */
  readonly backend: Readonly<Record<string, unknown>>;
  /** What Go flannel writes, with its addresses and keys as `shapeOf` writes them. */
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * On a host of its own for each case, first Go flannel runs, then ours on a new Node. Whatever
 * identifies the host stays there (the device or the key file), so that no byte may differ.
 */
export function describeAnnotations(cases: readonly AnnotationCase[]): void {
  let go: string;
  let cluster: KubeCluster;

  beforeAll(async () => {
    go = await goFlannel();
    cluster = await KubeCluster.create({ hosts: cases.length, families: [4, 6] });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 180_000);

  describe("annotations and condition are those of Go flannel", () => {
    test.each(cases.map((row, index) => [row.name, row, index] as const))(
      "with %s",
      async (_, { families, backend, annotations }, index) => {
        const host = cluster.host(index + 1);
        host.configure(networkConfig(families, backend));
        const written = async (binary: string) => {
          await cluster.createNodes({ families, hosts: [host] });
          const state = await writtenBy(cluster, host, binary);
          await cluster.deleteNodes([host]);
          return state;
        };
        const fromGo = await written(go);
        expect(shapeOf(fromGo.annotations, host)).toEqual(annotations);
        expect(await written(FLANNELD)).toEqual(fromGo);
      },
      180_000,
    );
  });
}

/** What a daemon has written when it says that the network is available. */
async function writtenBy(cluster: KubeCluster, host: KubeHost, binary: string) {
  const daemon = host.start({ binary });
  const { admin } = cluster;
  try {
    const condition = await eventually(
      `${binary} has written the condition`,
      WRITTEN_MS,
      () => admin.condition(host.name, "NetworkUnavailable"),
    );
    const annotations = await admin.flannelAnnotations(host.name);
    return { annotations, condition: withoutTimes(condition) };
  } catch (error) {
    throw new Error(`${(error as Error).message}; its log ends:\n${daemon.logEnd()}`);
  } finally {
    await daemon.stop();
  }
}

/** In a virtual machine, Go flannel needs a minute. */
const WRITTEN_MS = 120_000;

/** The form of the times is the same; the times are not. */
function withoutTimes(condition: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(condition).map(([name, value]) => [name, value.replace(SECONDS, "TIME")]),
  );
}

const SECONDS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** Annotations without what identifies a host. */
function shapeOf(
  annotations: Readonly<Record<string, string>>,
  host: KubeHost,
): Record<string, string> {
  const addresses = new Map(
    familiesOf(host.station.addresses).map((family) =>
      [host.address(family), `IPV${family}`] as const
    ),
  );
  return Object.fromEntries(
    Object.entries(annotations).map(([name, value]) => [
      name,
      addresses.get(value) ?? value.replace(MAC, "MAC").replace(WIREGUARD_KEY, '"KEY"'),
    ]),
  );
}

const MAC = /([0-9a-f]{2}:){5}[0-9a-f]{2}/;
const WIREGUARD_KEY = /"[A-Za-z0-9+/]{43}="/;
