/** The flags of `flanneld lab`. */

import { BACKENDS, DEFAULT_BACKEND } from "../backend/backend_registry.ts";
import { MAX_HOSTS } from "../lab/lab_options.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import { readBackend } from "./backend_flag.ts";
import { boolean, custom, type FlagTable, list, text } from "./flag.ts";
import type { FlagReading } from "./flag_values.ts";

const LAB = "flanneld lab";

export const LAB_FLAGS = {
  hosts: custom<number>({
    name: "hosts",
    section: LAB,
    metavar: "N",
    help: `Number of hosts, 1 to ${MAX_HOSTS}.`,
    default: 3,
    defaultText: "3",
    read: readHosts,
  }),
  backend: custom<BackendDescriptor>({
    name: "backend",
    section: LAB,
    metavar: "TYPE",
    completion: BACKENDS.types,
    help: "Backend of the network.",
    default: DEFAULT_BACKEND,
    defaultText: DEFAULT_BACKEND.type,
    read: readBackend,
  }),
  ipv6: boolean({ name: "ipv6", section: LAB, help: "Use IPv6 in addition to IPv4." }),
  ipv6Only: boolean({ name: "ipv6-only", section: LAB, help: "Use IPv6 only." }),
  etcd: boolean({
    name: "etcd",
    section: LAB,
    help: "Use a real etcd instead of flanneld datastore.",
  }),
  kube: boolean({
    name: "kube",
    section: LAB,
    help: "Build a Kubernetes cluster: the hosts are nodes of a real API server, and CNI plugins " +
      "connect the pods.",
  }),
  kubeApiServer: text({
    name: "kube-apiserver",
    section: LAB,
    metavar: "PROGRAM",
    completion: "file",
    help: "Name or path of kube-apiserver, for --kube.",
    default: "kube-apiserver",
    check: (value) => value === "" ? "the name or the path of a program" : undefined,
  }),
  cniDirectories: list({
    name: "cni-bin-dir",
    section: LAB,
    metavar: "DIRECTORIES",
    completion: "directory",
    help: "Comma-separated directories of the CNI plugins, for --kube.",
    default: ["/opt/cni/bin", "/usr/lib/cni"],
  }),
  keep: boolean({
    name: "keep",
    section: LAB,
    help: "Keep the lab running and print how to inspect it.",
  }),
  json: boolean({ name: "json", section: LAB, help: "Print the result as one JSON document." }),
  daemon: text({
    name: "daemon",
    section: LAB,
    metavar: "PROGRAM",
    help: "Run this program instead of the lab's own executable.",
    isHidden: true,
  }),
} as const satisfies FlagTable;

/** Any spelling of a whole number that JavaScript knows, such as 1e2. */
function readHosts(text: string): FlagReading<number> {
  const hosts = Number(text);
  return Number.isInteger(hosts) && hosts >= 1 && hosts <= MAX_HOSTS
    ? { value: hosts }
    : { allowed: `a number from 1 to ${MAX_HOSTS}` };
}
