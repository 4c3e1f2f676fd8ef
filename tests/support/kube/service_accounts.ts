/** Service accounts with their roles, their tokens, and the kubeconfigs that programs get. */

import { sign } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ISSUER } from "../../../src/lab/kube/api_server_settings.ts";
import { kubeconfigText } from "../../../src/lab/kube/kubeconfig_text.ts";
import {
  type ClusterRole,
  manifestObjects,
  objectOfKind,
  type PolicyRule,
} from "../kube_manifest.ts";
import type { KubeAdmin } from "./kube_admin.ts";

export type { PolicyRule };

/** The rules of the manifest: the tests show that they are enough. */
export const FLANNEL_RULES: readonly PolicyRule[] =
  objectOfKind<ClusterRole>(manifestObjects(), "ClusterRole").rules;

export const FLANNEL_NAMESPACE = "kube-flannel";
const HOUR_SECONDS = 3600;
/** The API server accepts a token for so long after its time. */
const LEEWAY_SECONDS = 60;
const RBAC = "/apis/rbac.authorization.k8s.io/v1";

export interface ServiceAccountOptions {
  readonly admin: KubeAdmin;
  readonly url: string;
  readonly name: string;
  /** For its kubeconfig, token and CA. */
  readonly directory: string;
  /** The key that the API server checks tokens with. */
  readonly signingKeyFile: string;
  readonly caFile: string;
}

/**
 * One account in flannel's namespace. Its tokens are signed here, with the API server's own key,
 * because the server issues none that lives less than ten minutes.
 */
export class ServiceAccount {
  readonly name: string;
  /** As in the audit log. */
  readonly user: string;
  readonly directory: string;
  readonly kubeconfig: string;
  readonly #options: ServiceAccountOptions;
  #uid = "";

  private constructor(options: ServiceAccountOptions) {
    this.#options = options;
    this.name = options.name;
    this.user = `system:serviceaccount:${FLANNEL_NAMESPACE}:${options.name}`;
    this.directory = options.directory;
    this.kubeconfig = join(options.directory, "kubeconfig");
  }

  /** Creates the account with a role of its own, its kubeconfig and a token of an hour. */
  static async create(
    options: ServiceAccountOptions,
    rules: readonly PolicyRule[],
  ): Promise<ServiceAccount> {
    const { admin, name, directory } = options;
    const account = new ServiceAccount(options);
    const path = `/api/v1/namespaces/${FLANNEL_NAMESPACE}/serviceaccounts`;
    const created = await admin.call("POST", path, serviceAccount(name)) as {
      metadata: { uid: string };
    };
    account.#uid = created.metadata.uid;
    await admin.call("POST", `${RBAC}/clusterroles`, clusterRole(name, rules));
    await admin.call("POST", `${RBAC}/clusterrolebindings`, binding(name));
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    account.writeCa(readFileSync(options.caFile, "utf8"));
    account.writeToken(account.token(HOUR_SECONDS));
    writeFileSync(account.kubeconfig, account.#kubeconfigText());
    return account;
  }

  /** Leaves a binding to a role that does not exist. */
  async removeRole(): Promise<void> {
    await this.#options.admin.call("DELETE", `${RBAC}/clusterroles/${this.name}`);
  }

  /** Replaces the rules of its role, or creates it with them. */
  async allow(rules: readonly PolicyRule[]): Promise<void> {
    const role = clusterRole(this.name, rules);
    await this.#options.admin.call("PUT", `${RBAC}/clusterroles/${this.name}`, role);
  }

  /**
   * A token that the API server accepts for so many seconds from now, and for up to ten more if it
   * has just accepted it.
   */
  token(seconds: number): string {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: ISSUER,
      aud: [ISSUER],
      sub: this.user,
      iat: now - LEEWAY_SECONDS,
      nbf: now - LEEWAY_SECONDS,
      exp: now + seconds - LEEWAY_SECONDS,
      "kubernetes.io": {
        namespace: FLANNEL_NAMESPACE,
        serviceaccount: { name: this.name, uid: this.#uid },
      },
    };
    const content = `${encode({ alg: "RS256", typ: "JWT" })}.${encode(claims)}`;
    const key = readFileSync(this.#options.signingKeyFile);
    return `${content}.${sign("RSA-SHA256", Buffer.from(content), key).toString("base64url")}`;
  }

  /** Replaces the token in its file, as a kubelet does. */
  writeToken(token: string): void {
    replaceFile(join(this.directory, "token"), token);
  }

  /** Replaces the authorities that the program trusts. */
  writeCa(pem: string): void {
    replaceFile(join(this.directory, "ca.crt"), pem);
  }

  #kubeconfigText(): string {
    const cluster = { server: this.#options.url, "certificate-authority": "ca.crt" };
    return kubeconfigText({ cluster, user: { tokenFile: "token" } });
  }
}

function serviceAccount(name: string): object {
  return { apiVersion: "v1", kind: "ServiceAccount", metadata: { name } };
}

function clusterRole(name: string, rules: readonly PolicyRule[]): object {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name },
    rules,
  };
}

function binding(name: string): object {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
    subjects: [{ kind: "ServiceAccount", name, namespace: FLANNEL_NAMESPACE }],
  };
}

/** A reader sees the old content or the new one. */
function replaceFile(path: string, content: string): void {
  writeFileSync(`${path}.new`, content, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
