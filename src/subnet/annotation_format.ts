/** How a backend's leases are written as annotations of a Kubernetes Node, as Go flannel does. */

import type { Family } from "../addr/ip.ts";

export interface AnnotationFormat {
  /**
   * Families without annotations where the backend has no data for them. Otherwise those of IPv4
   * are always written, and those of IPv6 with a public address.
   */
  readonly onlyWithData?: readonly Family[];
  /** One text is the data of both families, in the annotation of IPv4. */
  readonly hasSharedData?: boolean;
}
