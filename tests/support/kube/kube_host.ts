/** A host that is a node: its daemon's flags, environment and net-conf.json. */

import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { apiServerVariables } from "../../../src/lab/kube/api_server_settings.ts";
import { spawnInNamespace } from "../../../src/lab/namespace.ts";
import type { TopologyRecord } from "../../../src/lab/topology_record.ts";
import type { LabHost } from "../../../src/lab/topology.ts";
import type { DetachedProcess } from "../../../src/process/detached_process.ts";
import { type Daemon, Host, type StartOptions } from "../host.ts";
import type { ControlPlane } from "./control_plane.ts";
import { FLANNEL_NAMESPACE, type ServiceAccount } from "./service_accounts.ts";

export interface KubeStartOptions extends StartOptions {
  /** Whose kubeconfig it gets; by default that of flannel's manifest. */
  readonly account?: ServiceAccount;
  /** The node's name in NODE_NAME; by default the host's. `null`: without the variable. */
  readonly nodeName?: string | null;
}

/** Where a host's own relay listens; the API server's certificate is valid for it. */
export const RELAY_URL = "https://127.0.0.1:7443";
const PORT_RELAY = new URL("port_relay.ts", import.meta.url).pathname;

export class KubeHost extends Host {
  readonly configFile: string;
  readonly #record: TopologyRecord;
  readonly #plane: ControlPlane;
  #relay: DetachedProcess | undefined;

  constructor(record: TopologyRecord, station: LabHost, plane: ControlPlane) {
    super(record, station, "");
    this.#record = record;
    this.#plane = plane;
    this.configFile = join(this.directory, "net-conf.json");
  }

  /** What the manifest names instead of the node: the pod that `createPod` makes. */
  get podVariables(): { readonly POD_NAME: string; readonly POD_NAMESPACE: string } {
    return { POD_NAME: `kube-flannel-ds-${this.name}`, POD_NAMESPACE: FLANNEL_NAMESPACE };
  }

  /** Creates the pod in which the daemon runs. */
  async createPod(): Promise<void> {
    const { admin } = this.#plane;
    await admin.createPod({ name: this.podVariables.POD_NAME, nodeName: this.name });
  }

  /** Writes net-conf.json. */
  configure(config: object): void {
    writeFileSync(this.configFile, JSON.stringify(config));
  }

  override start(options: KubeStartOptions = {}): Daemon {
    const { account = this.#plane.flannel, nodeName = this.name } = options;
    return super.start({
      store: [
        "--kube-subnet-mgr",
        `--kubeconfig-file=${account.kubeconfig}`,
        `--net-config-path=${this.configFile}`,
      ],
      ...options,
      env: { ...(nodeName === null ? {} : { NODE_NAME: nodeName }), ...options.env },
    });
  }

  override async up(options: KubeStartOptions = {}): Promise<Daemon> {
    return await super.up(options);
  }

  /** Starts a relay to the API server on this host, at `RELAY_URL`. */
  startRelay(): void {
    const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = apiServerVariables(
      this.#plane.url,
    );
    this.#relay = spawnInNamespace(this.station.namespace, {
      runDirectory: join(this.directory, "run"),
      logFile: join(this.directory, "relay.log"),
      command: [
        ...[process.execPath, PORT_RELAY, new URL(RELAY_URL).port],
        ...[host, port],
      ],
    });
    this.#record.addProcess(this.#relay.pid);
  }

  /** Cuts all connections of the relay, and refuses new ones. */
  async stopRelay(): Promise<void> {
    this.#relay?.signal("SIGKILL");
    await this.#relay?.exited;
  }

  /** The annotations of flannel's prefix on its node. */
  annotations(): Promise<Readonly<Record<string, string>>> {
    return this.#plane.admin.flannelAnnotations(this.name);
  }

  /**
   * What a pod gets: the credentials of its account in the place where a kubelet mounts them (links
   * to the account's files), and the variables that name the API server. Start with
   * `store: ["--kube-subnet-mgr", …]` and this environment.
   */
  mountServiceAccount(
    account: ServiceAccount,
    apiUrl: string = this.#plane.url,
  ): Readonly<Record<string, string>> {
    const directory = join(this.directory, "run/secrets/kubernetes.io/serviceaccount");
    mkdirSync(directory, { recursive: true });
    for (const name of ["token", "ca.crt"]) {
      symlinkSync(join(account.directory, name), join(directory, name));
    }
    writeFileSync(join(directory, "namespace"), FLANNEL_NAMESPACE);
    return apiServerVariables(apiUrl);
  }
}
