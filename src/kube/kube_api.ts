/**
 * The part of the Kubernetes API that the daemon uses: nodes, and the pod in which it runs.
 *
 * Each method makes one attempt and throws `KubeError`; its callers decide what is repeated, and
 * when. https://kubernetes.io/docs/reference/using-api/api-concepts/
 */

export interface KubeApi extends AsyncDisposable {
  /** For messages, such as `the Kubernetes API at https://10.96.0.1:443`. */
  readonly description: string;

  /** Throws `KubeError` of kind `not-found` if there is no such node. */
  node(name: string, signal: AbortSignal): Promise<KubeNode>;

  pod(
    name: { readonly namespace: string; readonly pod: string },
    signal: AbortSignal,
  ): Promise<KubePod>;

  /**
   * All nodes as of one revision, some at a time, from the server's cache: the state may be some
   * seconds old, but not older than `notOlderThan`, the resource version of another list. What has
   * changed since is watched from its resource version.
   */
  listNodes(
    signal: AbortSignal,
    options?: { readonly notOlderThan?: string },
  ): AsyncIterable<KubeNodePage<KubeListedNode>>;

  /** All nodes as of now, without their spec: a tenth of the bytes. */
  listNodeMetadata(signal: AbortSignal): AsyncIterable<KubeNodePage<KubeNodeMetadata>>;

  /**
   * The changes after this resource version, without spec and status. One connection: returns when
   * the server closes it properly, which it does every few minutes, and throws `KubeError`
   * otherwise, of kind `expired` if the server no longer has these changes.
   */
  watchNodes(
    resourceVersion: string,
    signal: AbortSignal,
    options?: KubeWatchOptions,
  ): AsyncIterable<KubeNodeEvent>;

  /** A strategic merge patch of the subresource `status`, which may contain annotations. */
  patchNodeStatus(name: string, patch: KubeNodeStatusPatch, signal: AbortSignal): Promise<KubeNode>;
}

export interface KubeWatchOptions {
  /** Only changes of the node with this name. */
  readonly name?: string;
  /**
   * Called when the server has begun to answer. It may still end the watch at once, because it no
   * longer has these changes.
   */
  readonly onOpened?: () => void;
}

/** What both a node and its metadata alone have. Checked when read; other members are dropped. */
export interface KubeNodeMetadata {
  readonly name: string;
  /** Differs when a node is deleted and created again. */
  readonly uid: string;
  /** Opaque; to be compared for equality only. */
  readonly resourceVersion: string;
  /** Milliseconds since 1970, a multiple of 1000. */
  readonly createdMs: number;
  readonly annotations: Readonly<Record<string, string>>;
  readonly managedFields: readonly KubeManagedFields[];
}

export interface KubeListedNode extends KubeNodeMetadata {
  /** `spec.podCIDRs`, or `spec.podCIDR` alone; empty while none is assigned. As text. */
  readonly podCidrs: readonly string[];
}

export interface KubeNode extends KubeListedNode {
  readonly conditions: readonly KubeCondition[];
}

export interface KubeCondition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

/** Who last wrote which annotations, and when. */
export interface KubeManagedFields {
  readonly manager: string;
  /** Milliseconds since 1970; `undefined` if the server does not say. */
  readonly timeMs: number | undefined;
  /** Names of the annotations that this manager owns. */
  readonly annotations: readonly string[];
}

export interface KubePod {
  /** `spec.nodeName`; empty while the pod is not scheduled. */
  readonly nodeName: string;
}

export interface KubeNodePage<T> {
  readonly nodes: readonly T[];
  /** That of the whole list, the same on each page. */
  readonly resourceVersion: string;
}

export type KubeNodeEvent =
  | { readonly kind: "put"; readonly node: KubeNodeMetadata }
  | { readonly kind: "delete"; readonly node: KubeNodeMetadata }
  /** Nothing changed up to this resource version. */
  | { readonly kind: "bookmark"; readonly resourceVersion: string };

export interface KubeNodeStatusPatch {
  readonly metadata?: {
    /** The server refuses the patch (`invalid`) if the node has another one. */
    readonly uid?: string;
    /** `null` removes an annotation. */
    readonly annotations?: Readonly<Record<string, string | null>>;
  };
  readonly status?: { readonly conditions: readonly Readonly<Record<string, string>>[] };
}
