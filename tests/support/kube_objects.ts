/** Nodes as a kube-apiserver sends them. */

import type { KubeNode } from "../../src/kube/kube_api.ts";

export interface NodeFields {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly podCidrs?: readonly string[];
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** An object of the API, with the members that tests change. */
export interface ApiObject {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly [member: string]: unknown;
}

export function nodeJson(name: string, fields: NodeFields = {}): ApiObject {
  const { podCidrs = ["10.244.1.0/24"] } = fields;
  return {
    ...nodeMetadataJson(name, fields),
    spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs },
    status: {
      capacity: { cpu: "4" },
      conditions: [
        {
          type: "Ready",
          status: "True",
          reason: "KubeletReady",
          message: "ready",
          lastHeartbeatTime: "2026-01-31T12:00:00Z",
        },
      ],
      images: [{ names: ["registry/image@sha256:1"], sizeBytes: 1 }],
    },
  };
}

export function nodeMetadataJson(name: string, fields: NodeFields = {}): ApiObject {
  const { annotations = { "flannel.alpha.coreos.com/public-ip": "192.0.2.1" } } = fields;
  return {
    metadata: {
      name,
      uid: fields.uid ?? `uid-of-${name}`,
      resourceVersion: fields.resourceVersion ?? "17",
      creationTimestamp: "2026-01-31T12:00:00Z",
      labels: { "kubernetes.io/os": "linux" },
      annotations,
      managedFields: [
        {
          manager: "flanneld",
          operation: "Update",
          subresource: "status",
          apiVersion: "v1",
          fieldsType: "FieldsV1",
          time: "2026-01-31T12:00:05Z",
          fieldsV1: {
            "f:metadata": {
              "f:annotations": {
                ".": {},
                ...Object.fromEntries(Object.keys(annotations).map((key) => [`f:${key}`, {}])),
              },
            },
          },
        },
      ],
    },
  };
}

/** What the client makes of `nodeJson(name)`. */
export function decodedNode(name: string): KubeNode {
  return {
    name,
    uid: `uid-of-${name}`,
    resourceVersion: "17",
    createdMs: Date.parse("2026-01-31T12:00:00Z"),
    annotations: { "flannel.alpha.coreos.com/public-ip": "192.0.2.1" },
    managedFields: [
      {
        manager: "flanneld",
        timeMs: Date.parse("2026-01-31T12:00:05Z"),
        annotations: ["flannel.alpha.coreos.com/public-ip"],
      },
    ],
    podCidrs: ["10.244.1.0/24"],
    conditions: [
      { type: "Ready", status: "True", reason: "KubeletReady", message: "ready" },
    ],
  };
}
