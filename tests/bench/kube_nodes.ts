/** Imaginary nodes of a Kubernetes cluster, as large as real ones, each with a lease. */

import { timestamp } from "../../src/base/timestamp.ts";
import { mapParallel } from "../../src/lab/map_parallel.ts";
import { FLANNEL_PREFIX, type KubeAdmin } from "../support/kube/kube_admin.ts";
import { macAt } from "./leases.ts";

/** The label of some of the nodes, with which one call deletes all of them. */
export type NodeGroup = "stays" | "leaves";

/** Makes the nodes `from` … `to - 1`. */
export async function createKubeNodes(
  admin: KubeAdmin,
  { from, to, group }: { readonly from: number; readonly to: number; readonly group: NodeGroup },
): Promise<void> {
  const indexes = Array.from({ length: to - from }, (_, number) => from + number);
  await mapParallel(
    indexes,
    CONCURRENT_CALLS,
    (index) => admin.call("POST", NODES, node(index, group)),
  );
}

export async function deleteKubeNodes(admin: KubeAdmin, group: NodeGroup): Promise<void> {
  await admin.call("DELETE", `${NODES}?labelSelector=${GROUP_LABEL}%3D${group}`);
}

/**
 * Heartbeats of the nodes `0` … `nodes - 1`, each as a kubelet sends it, for so many seconds. A
 * busy server confirms fewer than `perSecond`: resolves with the number that it has confirmed.
 */
export async function sendHeartbeats(
  admin: KubeAdmin,
  { nodes, perSecond, seconds }: {
    readonly nodes: number;
    readonly perSecond: number;
    readonly seconds: number;
  },
): Promise<number> {
  const begunMs = performance.now();
  const endMs = begunMs + seconds * 1000;
  let next = 0;
  await Promise.all(Array.from({ length: CONCURRENT_CALLS }, async () => {
    while (performance.now() < endMs) {
      const number = next++;
      await Bun.sleep(Math.max(begunMs + number * 1000 / perSecond - performance.now(), 0));
      const path = `${NODES}/${nodeName(number % nodes)}/status`;
      await admin.call("PATCH", path, heartbeat(), "application/strategic-merge-patch+json");
    }
  }));
  return next;
}

const NODES = "/api/v1/nodes";
const GROUP_LABEL = "bench";
const CONCURRENT_CALLS = 16;
/** The kubelet reports as many (`--node-status-max-images`): most of a node's 13 kB. */
const IMAGES = 50;

function nodeName(index: number): string {
  return `node-${index}`;
}

function node(index: number, group: NodeGroup): object {
  const name = nodeName(index);
  const [high, low] = [index >> 8, index & 0xff];
  const podCIDR = `10.${high}.${low}.0/24`;
  const address = `172.16.${high}.${low}`;
  const id = index.toString(16).padStart(32, "0");
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: {
        [GROUP_LABEL]: group,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": `zone-${index % 3}`,
      },
      annotations: {
        [`${FLANNEL_PREFIX}backend-data`]: `{"VNI":1,"VtepMAC":"${macAt(index)}"}`,
        [`${FLANNEL_PREFIX}backend-type`]: "vxlan",
        [`${FLANNEL_PREFIX}kube-subnet-manager`]: "true",
        [`${FLANNEL_PREFIX}public-ip`]: address,
        "node.alpha.kubernetes.io/ttl": "0",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
      },
    },
    spec: { podCIDR, podCIDRs: [podCIDR], providerID: `example:///zone/${id}` },
    status: {
      addresses: [{ type: "InternalIP", address }, { type: "Hostname", address: name }],
      allocatable: { cpu: "7910m", memory: "31Gi", pods: "110", "ephemeral-storage": "95Gi" },
      capacity: { cpu: "8", memory: "32Gi", pods: "110", "ephemeral-storage": "100Gi" },
      conditions: [...kubeletConditions(), flannelCondition()],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
      images: Array.from({ length: IMAGES }, (_, number) => image(number, index)),
      nodeInfo: {
        architecture: "amd64",
        bootID: id,
        containerRuntimeVersion: "containerd://2.1.0",
        kernelVersion: "6.1.0",
        kubeProxyVersion: "",
        kubeletVersion: "v1.37.2",
        machineID: id,
        operatingSystem: "linux",
        osImage: "Debian GNU/Linux 12 (bookworm)",
        systemUUID: id,
      },
    },
  };
}

function image(number: number, node: number): object {
  const name = `registry.example.com/team-${number % 7}/some-service-${number}`;
  const digest = (number * 2654435761 % 2 ** 32).toString(16).padStart(8, "0").repeat(8);
  return {
    names: [`${name}@sha256:${digest}`, `${name}:v1.${number}.${node % 9}`],
    sizeBytes: 10_000_000 + number * 7919,
  };
}

/** The patch with which a kubelet says that nothing but the time has changed. */
function heartbeat(): object {
  const conditions = kubeletConditions();
  const $setElementOrder = ["NetworkUnavailable", ...conditions.map(({ type }) => type)];
  return {
    status: {
      "$setElementOrder/conditions": $setElementOrder.map((type) => ({ type })),
      conditions: conditions.map(({ type, lastHeartbeatTime }) => ({ type, lastHeartbeatTime })),
    },
  };
}

function kubeletConditions(): { readonly type: string; readonly lastHeartbeatTime: string }[] {
  return [
    condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
    condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
    condition("PIDPressure", "False", "KubeletHasSufficientPID"),
    condition("Ready", "True", "KubeletReady"),
  ];
}

function flannelCondition(): object {
  return {
    ...condition("NetworkUnavailable", "False", "FlannelIsUp"),
    message: "Flannel is running on this node",
  };
}

function condition(type: string, status: string, reason: string) {
  const now = timestamp(Date.now());
  const message = `kubelet has ${reason}`;
  return { type, status, reason, message, lastHeartbeatTime: now, lastTransitionTime: now };
}
