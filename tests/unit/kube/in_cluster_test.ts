/** Access from inside of a pod. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InClusterCredentials } from "../../../src/kube/in_cluster.ts";
import { KubeError } from "../../../src/kube/kube_error.ts";
import { TestCa } from "../../support/certificates.ts";

const ENVIRONMENT = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };

let directory: string;
let ca: TestCa;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "in-cluster-test-"));
  ca = new TestCa();
});
afterEach(() => {
  rmSync(directory, { recursive: true });
  ca[Symbol.dispose]();
});

/** Writes the files as a kubelet does: a directory for each version, and a link to the last one. */
function project(version: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(join(directory, version));
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(directory, version, name), content);
  }
  symlinkSync(version, join(directory, "..new"));
  renameSync(join(directory, "..new"), join(directory, "..data"));
  if (version !== "1") return;
  for (const name of ["token", "ca.crt"]) symlinkSync(`..data/${name}`, join(directory, name));
}

const pem = (of: TestCa) => Bun.file(of.caFile).text();

test("the server is that of the environment, an IPv6 address in brackets", () => {
  const server = (host: string, port = "443") =>
    new InClusterCredentials({
      environment: { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port },
    }).server;
  expect(server("10.96.0.1")).toBe("https://10.96.0.1:443");
  expect(server("fd00:10:96::1", "6443")).toBe("https://[fd00:10:96::1]:6443");
  expect(server("kubernetes.default.svc")).toBe("https://kubernetes.default.svc:443");
});

test("outside of a pod there is none", () => {
  const failureOf = (environment: Record<string, string>) => {
    try {
      new InClusterCredentials({ environment });
    } catch (error) {
      expect(error).toBeInstanceOf(KubeError);
      expect((error as KubeError).kind).toBe("credentials");
      return (error as KubeError).message;
    }
    throw new Error("it was accepted");
  };
  const missing = "cannot find the Kubernetes API: KUBERNETES_SERVICE_HOST and " +
    "KUBERNETES_SERVICE_PORT are not set, as they are in a pod; outside of one, give " +
    "--kubeconfig-file";
  expect(failureOf({})).toBe(missing);
  expect(failureOf({ ...ENVIRONMENT, KUBERNETES_SERVICE_PORT: "" })).toBe(missing);
  expect(failureOf({ ...ENVIRONMENT, KUBERNETES_SERVICE_HOST: "" })).toBe(missing);
  expect(failureOf({ KUBERNETES_SERVICE_PORT: "443" })).toBe(missing);
  expect(failureOf({ KUBERNETES_SERVICE_HOST: "10.96.0.1" })).toBe(missing);
  for (const port of ["tcp://x", "443/x", " 443", "4 43", "70000"]) {
    expect(failureOf({ ...ENVIRONMENT, KUBERNETES_SERVICE_PORT: port })).toBe(
      `cannot find the Kubernetes API: KUBERNETES_SERVICE_HOST=10.96.0.1 and ` +
        `KUBERNETES_SERVICE_PORT=${port} are not a host and a port`,
    );
  }
});

test("each file has an outcome of its own", async () => {
  project("1", { "token": "one", "ca.crt": await pem(ca) });
  const seen: string[] = [];
  const credentials = new InClusterCredentials({
    environment: ENVIRONMENT,
    directory,
    outcomes: (what) => ({
      failed: () => void seen.push(`${what.replace(directory, "DIR")} failed`),
      succeeded: () => void seen.push(`${what.replace(directory, "DIR")} succeeded`),
    }),
  });
  await credentials.current();
  expect(seen).toEqual(["DIR/ca.crt succeeded", "DIR/token succeeded"]);
  project("2", { "token": "", "ca.crt": "garbage" });
  expect((await credentials.current()).authorization).toBe("Bearer one");
  expect(seen.slice(2)).toEqual(["DIR/ca.crt failed", "DIR/token failed"]);
});

test("the files are in the directory that a pod has", async () => {
  const credentials = new InClusterCredentials({ environment: ENVIRONMENT });
  const error = await credentials.current().catch((reason) => reason);
  expect(error.message).toContain("'/var/run/secrets/kubernetes.io/serviceaccount/ca.crt'");
});

test("the token and the CA are read again when the kubelet replaces them", async () => {
  project("1", { "token": "one\n", "ca.crt": await pem(ca) });
  const credentials = new InClusterCredentials({ environment: ENVIRONMENT, directory });
  expect(await credentials.current()).toEqual({
    server: "https://10.96.0.1:443",
    tls: { ca: (await pem(ca)).trim(), rejectUnauthorized: true },
    authorization: "Bearer one",
    proxyUrl: undefined,
  });
  using next = new TestCa();
  project("2", { "token": "two", "ca.crt": await pem(next) });
  const { tls, authorization } = await credentials.current();
  expect(authorization).toBe("Bearer two");
  expect(tls.ca).toBe((await pem(next)).trim());
});

test("a file that is missing is an error that ends when it is there", async () => {
  const credentials = new InClusterCredentials({ environment: ENVIRONMENT, directory });
  const error = await credentials.current().catch((reason) => reason);
  expect(error).toBeInstanceOf(KubeError);
  expect(error.kind).toBe("credentials");
  expect(error.message.replaceAll(directory, "DIR")).toBe(
    "cannot use the pod's service account: cannot read the TLS files for the Kubernetes API: " +
      "ENOENT: no such file or directory, stat 'DIR/ca.crt'; check " +
      "automountServiceAccountToken, or give --kubeconfig-file",
  );
  project("1", { "token": "one", "ca.crt": await pem(ca) });
  expect((await credentials.renewed()).authorization).toBe("Bearer one");
});
