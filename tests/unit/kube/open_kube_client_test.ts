/** Which server and credentials the flags choose. */

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import type { KubeClient } from "../../../src/kube/kube_client.ts";
import { openKubeClient } from "../../../src/kube/open_kube_client.ts";
import { kubeconfigText } from "../../../src/lab/kube/kubeconfig_text.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeKubeApi, json } from "../../support/fake_kube_api.ts";
import { nodeJson } from "../../support/kube_objects.ts";

const NEVER = new AbortController().signal;
const IN_POD = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };

function open(
  flags: { readonly kubeconfigFile?: string; readonly apiUrl?: string },
  environment: Readonly<Record<string, string>> = {},
): Promise<KubeClient> {
  const { log } = collectingLog();
  const given = { kubeconfigFile: "", apiUrl: "", ...flags };
  return openKubeClient({ ...given, environment, version: "v1", clock: systemClock, log });
}

function kubeconfig(server: string): { readonly path: string } & Disposable {
  const directory = mkdtempSync(join(tmpdir(), "open-kube-test-"));
  const path = join(directory, "config");
  writeFileSync(path, kubeconfigText({ cluster: { server }, user: { token: "abc" } }));
  return { path, [Symbol.dispose]: () => rmSync(directory, { recursive: true }) };
}

test("a kubeconfig takes precedence over the pod, and the URL over both servers", async () => {
  using file = kubeconfig("https://from-file:6443");
  const kubeconfigFile = file.path;
  const server = async (...args: Parameters<typeof open>) => {
    await using client = await open(...args);
    return client.description.replace("the Kubernetes API at ", "");
  };
  expect(await server({}, IN_POD)).toBe("https://10.96.0.1:443");
  expect(await server({ kubeconfigFile }, IN_POD)).toBe("https://from-file:6443");
  const apiUrl = "https://from-flag:6443/";
  expect(await server({ kubeconfigFile, apiUrl }, IN_POD)).toBe("https://from-flag:6443");
  expect(await server({ apiUrl }, IN_POD)).toBe("https://from-flag:6443");
  expect(await server({ apiUrl: "127.0.0.1:8080" })).toBe("http://127.0.0.1:8080");
});

test("KUBECONFIG is not read", async () => {
  using file = kubeconfig("https://from-file:6443");
  await expect(open({}, { KUBECONFIG: file.path })).rejects.toThrow(
    /^cannot find the Kubernetes API: /,
  );
});

test("with a URL alone calls are anonymous; with a kubeconfig they have its token", async () => {
  await using api = await FakeKubeApi.start(json(nodeJson("n1")));
  using file = kubeconfig("https://elsewhere");
  const header = async (flags: Parameters<typeof open>[0]) => {
    await using client = await open(flags);
    await client.node("n1", NEVER);
    return api.requests.at(-1)?.headers["authorization"];
  };
  expect(await header({ apiUrl: api.url })).toBeUndefined();
  expect(await header({ apiUrl: api.url, kubeconfigFile: file.path })).toBe("Bearer abc");
  expect(api.requests[0]?.headers["user-agent"]).toBe("flanneld/v1");
});
