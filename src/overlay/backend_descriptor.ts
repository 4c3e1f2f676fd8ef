/**
 * What can be said of a backend without loading it. Each backend has a small file with these facts
 * next to its module; the registry, the command line and the lab read them.
 */

import type { Family } from "../addr/ip.ts";
import type { AnnotationFormat } from "../subnet/annotation_format.ts";
import type { BackendModule } from "./backend.ts";

export interface BackendDescriptor {
  /**
   * In lower case, as `Backend.Type` in the configuration and `BackendType` in a lease spell it.
   */
  readonly type: string;
  /** Leases do not name it: their `BackendType` is empty. */
  readonly isUnnamedInLeases?: true;
  /** Address families that a network with this backend may have. */
  readonly families: readonly Family[];
  /** False if it only assigns subnets and leaves the packets to something else. */
  readonly connectsNodes: boolean;
  /** How its leases are written in Kubernetes, where that is not as most backends do. */
  readonly annotations?: AnnotationFormat;
  /** Packets between nodes are encrypted. */
  readonly encrypts: boolean;
  /** Whether it may create a device of this name, with some options; absent if it creates none. */
  isDeviceName?(name: string): boolean;
  /** A device that only one daemon in each network namespace can use. */
  readonly soleDevice?: string;
  /** An option without a default whose value may not appear on a command line. */
  readonly requiredSecret?: string;
  /** What `flanneld lab` must provide; absent if any machine will do. */
  readonly lab?: LabRequirements;
  /** Loads the backend itself, which may be large. */
  load(): Promise<BackendModule>;
}

/** What a machine must have to run a backend in a lab. */
export interface LabRequirements {
  /** Why no lab can run it. */
  readonly unsupported?: string;
  /** Ways to run it, the preferred one first; one that the machine supports is enough. */
  readonly oneOf?: readonly LabPrerequisites[];
  /**
   * Options that it does not work without: further members of the configuration's `Backend` object.
   */
  options?(families: readonly Family[]): Readonly<Record<string, unknown>>;
}

export interface LabPrerequisites {
  readonly features: readonly KernelFeature[];
  /** Programs, any one of which is enough. */
  readonly programs?: readonly string[];
}

/** Parts of the kernel that may be missing or may be a module. The lab knows how to try each. */
export type KernelFeature = "esp4" | "esp6" | "fou" | "ipip" | "tun" | "vxlan" | "wireguard";
