/**
 * A Kubernetes control plane for one test: kube-apiserver and its store, in a namespace of the
 * test. There is no kubelet and no controller manager: `admin` creates the nodes with their
 * podCIDRs.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { entriesOf, valuesOf } from "../../../src/addr/family.ts";
import { urlHost } from "../../../src/addr/ip.ts";
import { mayUseNodes } from "../../../src/lab/kube/api_server_call.ts";
import { API_PORT, ISSUER, SERVICE_RANGES } from "../../../src/lab/kube/api_server_settings.ts";
import { LabEtcd } from "../../../src/lab/lab_etcd.ts";
import { namespaceScript, spawnInNamespace } from "../../../src/lab/namespace.ts";
import type { TopologyRecord } from "../../../src/lab/topology_record.ts";
import type { Station } from "../../../src/lab/topology.ts";
import type { DetachedProcess } from "../../../src/process/detached_process.ts";
import { type CertificateFiles, TestCa } from "../certificates.ts";
import { FLANNELD } from "../host.ts";
import { manifestObjects, objectOfKind } from "../kube_manifest.ts";
import { provided } from "../provided.ts";
import { runCommand } from "../run_command.ts";
import { eventually } from "../wait.ts";
import { AUDIT_POLICY, type AuditedCall, readAuditLog, readRefusedCalls } from "./audit_log.ts";
import { KubeAdmin } from "./kube_admin.ts";
import { FLANNEL_RULES, type PolicyRule, ServiceAccount } from "./service_accounts.ts";

export interface ControlPlaneOptions {
  readonly record: TopologyRecord;
  /** Where it runs, and its addresses. */
  readonly station: Station;
  /** What holds the API server's data: Debian's etcd by default. */
  readonly store?: "etcd" | "flanneld datastore";
  /** Further flags of kube-apiserver. */
  readonly args?: readonly string[];
}

const STORE_PORT = 2379;
/** The data need not survive a crash of the machine. */
const ETCD_ARGS = ["--unsafe-no-fsync"];
/** It starts within 5 to 15 s; builds of several tests share the processors. */
const READY_MS = 120_000;

export class ControlPlane {
  readonly url: string;
  readonly directory: string;
  readonly ca: TestCa;
  readonly admin: KubeAdmin;
  readonly #options: ControlPlaneOptions;
  #etcd: LabEtcd | undefined;
  #certificate: CertificateFiles;
  #apiServer: DetachedProcess | undefined;
  #flannel: ServiceAccount | undefined;

  private constructor(options: ControlPlaneOptions) {
    const { record, station } = options;
    this.#options = options;
    this.directory = join(record.directory, "control-plane");
    mkdirSync(join(this.directory, "run"), { recursive: true, mode: 0o700 });
    const address = valuesOf(station.addresses)[0] as string;
    this.url = `https://${urlHost(address)}:${API_PORT}`;
    this.ca = new TestCa("test cluster", this.directory);
    this.#certificate = this.#signServer(this.ca);
    writeFileSync(join(this.directory, "audit-policy.json"), AUDIT_POLICY);
    this.admin = this.#connect(address);
    this.#etcd = this.#startStore();
  }

  /** Starts everything; resolves when the account of flannel's manifest may list nodes. */
  static async start(options: ControlPlaneOptions): Promise<ControlPlane> {
    await kubeApiServer();
    const plane = new ControlPlane(options);
    await runCommand("openssl", ["genrsa", "-out", join(plane.directory, "sa.key"), "2048"]);
    await plane.#etcd?.ready(READY_MS);
    await plane.startApiServer();
    await plane.ready();
    const namespace = objectOfKind(manifestObjects(), "Namespace");
    await plane.admin.call("POST", "/api/v1/namespaces", namespace);
    plane.#flannel = await plane.createAccount("flannel", FLANNEL_RULES);
    await plane.waitUntilAllowed(plane.#flannel);
    return plane;
  }

  /** The account of flannel's manifest. */
  get flannel(): ServiceAccount {
    if (this.#flannel === undefined) throw new Error("the control plane has not started");
    return this.#flannel;
  }

  /** Throws if the store is flanneld's own datastore. */
  get etcd(): LabEtcd {
    if (this.#etcd === undefined) throw new Error("the store of the control plane is not etcd");
    return this.#etcd;
  }

  get auditFile(): string {
    return join(this.directory, "audit.log");
  }

  /** The calls of an account so far. */
  calls(account: ServiceAccount = this.flannel): AuditedCall[] {
    return readAuditLog(this.auditFile, account.user);
  }

  /** The calls so far whose token or certificate was refused. */
  refusedCalls(): AuditedCall[] {
    return readRefusedCalls(this.auditFile);
  }

  /** Creates a service account in flannel's namespace with a role of these rules. */
  createAccount(name: string, rules: readonly PolicyRule[]): Promise<ServiceAccount> {
    return ServiceAccount.create({
      admin: this.admin,
      url: this.url,
      name,
      directory: join(this.directory, `account-${name}`),
      signingKeyFile: join(this.directory, "sa.key"),
      caFile: this.ca.caFile,
    }, rules);
  }

  /** A server's certificate for this control plane's addresses. */
  #signServer(ca: TestCa): CertificateFiles {
    const addresses = [...valuesOf(this.#options.station.addresses), "127.0.0.1", "10.96.0.1"];
    return ca.sign("kube-apiserver", [
      ...addresses.map((address) => `IP:${address}`),
      "DNS:kubernetes.default.svc",
    ]);
  }

  /** Serves with a certificate of this CA from the next start on; the administrator trusts it. */
  serveFrom(ca: TestCa): void {
    this.#certificate = this.#signServer(ca);
    this.admin.trust(readFileSync(ca.caFile, "utf8"));
  }

  /** Starts kube-apiserver; `ready` waits for it. */
  async startApiServer(): Promise<void> {
    const { record, station } = this.#options;
    this.#apiServer = spawnInNamespace(station.namespace, {
      runDirectory: join(this.directory, "run"),
      logFile: join(this.directory, "kube-apiserver.log"),
      command: [await kubeApiServer(), ...this.#apiServerFlags()],
    });
    record.addProcess(this.#apiServer.pid);
  }

  /** Ends kube-apiserver at once. After SIGTERM it would serve its watches for a minute. */
  async killApiServer(): Promise<void> {
    this.#apiServer?.signal("SIGKILL");
    await this.#apiServer?.exited;
    this.#apiServer = undefined;
  }

  /** Stops and continues it: its connections stay open and nothing answers. */
  freezeApiServer({ frozen }: { frozen: boolean }): void {
    this.#apiServer?.signal(frozen ? "SIGSTOP" : "SIGCONT");
  }

  /** Resets connections of nodes to kube-apiserver; those of the administrator are let through. */
  async refuseNodes({ refused }: { readonly refused: boolean }): Promise<void> {
    await namespaceScript(
      this.#options.station.namespace,
      refused
        ? `nft -f - <<'END'
table inet refuse {
  chain input {
    type filter hook input priority 0
    iifname eth0 tcp dport ${API_PORT} reject with tcp reset
  }
}
END
`
        : "nft delete table inet refuse\n",
    );
  }

  /**
   * Replaces etcd by version 3.6 while the API server runs. It has the same keys and revisions.
   * etcd itself takes over the data of the next older version only, so etcdutl restores them.
   */
  async upgradeEtcd(): Promise<void> {
    const { record, station } = this.#options;
    const programs = await provided("kube/etcd.sh", { timeoutMs: PROVIDED_MS });
    const directory = join(this.directory, "store-upgraded");
    mkdirSync(directory, { mode: 0o700 });
    await this.etcd.stop();
    await runCommand(join(programs, "etcdutl"), [
      ...["snapshot", "restore", join(this.directory, "store/data/member/snap/db")],
      ...["--skip-hash-check", "--data-dir", join(directory, "data"), "--name", "default"],
      ...["--initial-cluster", "default=http://127.0.0.1:2380"],
      ...["--initial-advertise-peer-urls", "http://127.0.0.1:2380"],
    ]);
    this.#etcd = new LabEtcd(station, {
      directory,
      clock: systemClock,
      args: ETCD_ARGS,
      executable: join(programs, "server"),
    });
    record.addProcess(this.#etcd.pid);
    await this.#etcd.ready(READY_MS);
  }

  /** Waits until kube-apiserver serves. Its authorizer may refuse accounts for a moment longer. */
  async ready(): Promise<void> {
    let hasEnded = false;
    this.#apiServer?.exited.then(() => hasEnded = true);
    await eventually("kube-apiserver is ready", READY_MS, async () => {
      if (hasEnded) return true;
      return await this.admin.call("GET", "/readyz") === "ok";
    });
    if (hasEnded) throw new Error(`kube-apiserver ended:\n${this.logEnd()}`);
  }

  /** Waits until the API server knows the rules of an account, of which this is one. */
  async waitUntilAllowed(account: ServiceAccount, verb = "list"): Promise<void> {
    const post = (path: string, body: object) => this.admin.call("POST", path, body);
    await eventually(
      `${account.name} may ${verb} nodes`,
      READY_MS,
      () => mayUseNodes({ user: account.user, verb }, post),
    );
  }

  logEnd(): string {
    const log = readFileSync(join(this.directory, "kube-apiserver.log"), "utf8");
    return log.trimEnd().split("\n").slice(-15).join("\n");
  }

  /** The relay in the namespace, and the administrator's certificate. */
  #connect(address: string): KubeAdmin {
    const socket = join(this.directory, "api.sock");
    const { record, station } = this.#options;
    const relay = spawnInNamespace(station.namespace, {
      runDirectory: join(this.directory, "run"),
      logFile: join(this.directory, "relay.log"),
      command: [FLANNELD, "lab", "relay", socket, address, String(API_PORT)],
    });
    record.addProcess(relay.pid);
    const admin = this.ca.sign("admin", [], "system:masters");
    const [ca, cert, key] = [this.ca.caFile, admin.certFile, admin.keyFile]
      .map((file) => readFileSync(file, "utf8")) as [string, string, string];
    return new KubeAdmin({ url: this.url, socket, tls: { ca, cert, key } });
  }

  #startStore(): LabEtcd | undefined {
    const { record, station, store = "etcd" } = this.#options;
    const directory = join(this.directory, "store");
    mkdirSync(directory, { mode: 0o700 });
    if (store === "etcd") {
      const options = { directory, clock: systemClock, args: ETCD_ARGS };
      const etcd = new LabEtcd(station, options);
      record.addProcess(etcd.pid);
      return etcd;
    }
    const datastore = spawnInNamespace(station.namespace, {
      runDirectory: join(this.directory, "run"),
      logFile: join(this.directory, "datastore.log"),
      command: [
        ...[FLANNELD, "datastore", `--listen=127.0.0.1:${STORE_PORT}`],
        `--data-dir=${join(directory, "data")}`,
      ],
    });
    record.addProcess(datastore.pid);
    return undefined;
  }

  #apiServerFlags(): string[] {
    const { station, args = [] } = this.#options;
    const families = entriesOf(station.addresses);
    const file = (name: string) => join(this.directory, name);
    return [
      `--etcd-servers=${this.#etcd?.endpoints ?? `http://127.0.0.1:${STORE_PORT}`}`,
      "--bind-address=::",
      `--secure-port=${API_PORT}`,
      `--advertise-address=${families[0]?.[1]}`,
      `--tls-cert-file=${this.#certificate.certFile}`,
      `--tls-private-key-file=${this.#certificate.keyFile}`,
      `--client-ca-file=${this.ca.caFile}`,
      `--service-account-issuer=${ISSUER}`,
      `--service-account-key-file=${file("sa.key")}`,
      `--service-account-signing-key-file=${file("sa.key")}`,
      "--authorization-mode=Node,RBAC",
      `--service-cluster-ip-range=${families.map(([family]) => SERVICE_RANGES[family]).join()}`,
      `--audit-policy-file=${file("audit-policy.json")}`,
      `--audit-log-path=${this.auditFile}`,
      "--audit-log-mode=blocking", // a call is in the log before its answer
      ...args,
    ];
  }
}

/** Building them may take long. */
const PROVIDED_MS = 1_800_000;

let executable: Promise<string> | undefined;

export function kubeApiServer(): Promise<string> {
  executable ??= provided("kube/kube_apiserver.sh", { timeoutMs: PROVIDED_MS });
  return executable;
}
