/**
 * Access rights: a daemon that lacks one waits, names the rule in the log and in `/readyz`, and
 * continues by itself as soon as it has it.
 */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { AuditedCall } from "../support/kube/audit_log.ts";
import { callLines } from "../support/kube/call_text.ts";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import type { KubeHost } from "../support/kube/kube_host.ts";
import {
  FLANNEL_RULES,
  type PolicyRule,
  type ServiceAccount,
} from "../support/kube/service_accounts.ts";
import { eventually } from "../support/wait.ts";

const PROBLEM_MS = 30_000;
const TIMEOUT_MS = 120_000;
/** For so long, calls are counted. The daemon waits half a second and then longer between them. */
const COUNTED_MS = 2_000;
const MAX_CALLS = 4;

let cluster: KubeCluster;
let host: KubeHost;

beforeAll(async () => {
  cluster = await KubeCluster.create({ hosts: 1 });
  host = cluster.host(1);
  host.configure(networkConfig([4], { Type: "vxlan" }));
  await host.createPod();
}, 240_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

beforeEach(() => cluster.createNodes());

afterEach(async () => {
  await host.daemon.stop();
  await cluster.deleteNodes();
  rmSync(host.subnetFile, { force: true });
}, 60_000);

interface MissingRule {
  readonly resource: string;
  readonly verb: string;
  /** The call as the message describes it, and as the audit log has it. */
  readonly what: string;
  readonly call: string;
}

test.each<MissingRule>([
  {
    resource: "pods",
    verb: "get",
    what: "get pod kube-flannel/kube-flannel-ds-h1",
    call: "get namespaces/kube-flannel/pods/kube-flannel-ds-h1",
  },
  { resource: "nodes", verb: "get", what: "get node h1", call: "get nodes/h1" },
  {
    resource: "nodes",
    verb: "list",
    what: "list nodes",
    call: "list nodes?limit=500&resourceVersion=0",
  },
  {
    resource: "nodes",
    verb: "watch",
    what: "watch nodes",
    call: "watch nodes?allowWatchBookmarks=true&resourceVersion=VERSION" +
      "&timeoutSeconds=SECONDS&watch=true",
  },
  {
    resource: "nodes/status",
    verb: "patch",
    what: "patch the status of node h1",
    call: "patch nodes/h1/status?fieldManager=flanneld",
  },
])("$resource: $verb", async (missing) => {
  const { resource, verb, what, call } = missing;
  const rules = FLANNEL_RULES.flatMap((rule) => without(rule, missing));
  const name = `no-${verb}-${resource.replace("/", "-")}`;
  const account = await cluster.plane.createAccount(name, rules);
  await cluster.plane.waitUntilAllowed(account, verb === "list" ? "get" : "list");
  const daemon = startAs(account);
  const message = await reported(`cannot ${what} (`);
  expect(message).toContain("403 Forbidden");
  const refused = () => cluster.plane.calls(account).filter(({ status }) => status !== 200);
  await expectPatience(refused);
  expect(new Set(callLines(refused()).filter((line) => !line.startsWith(" "))))
    .toEqual(new Set([`${call} → 403`]));
  expect(daemon.logLines(/403 Forbidden/)).toHaveLength(1);
  const pasted = pastedRules(message);
  expect(pasted).toEqual([{ apiGroups: [""], resources: [resource], verbs: [verb] }]);
  await account.allow([...rules, ...pasted]);
  await host.ready();
  expect(daemon.logLines(/works again/)).toHaveLength(1);
}, TIMEOUT_MS);

test("without the role, what the messages ask for adds up to the manifest's role", async () => {
  const account = await cluster.plane.createAccount("without-role", []);
  await account.removeRole();
  const daemon = startAs(account);
  const rules: PolicyRule[] = [];
  for (
    const what of ["get pod", "get node", "patch the status of node", "list nodes", "watch nodes"]
  ) {
    rules.push(...pastedRules(await reported(`cannot ${what}`)));
    await account.allow(rules);
  }
  await host.ready();
  expect(daemon.logLines(/403 Forbidden/)).toHaveLength(rules.length);
  const rights = (list: readonly PolicyRule[]) =>
    list.flatMap(({ resources, verbs }) => verbs.map((verb) => `${resources}: ${verb}`)).sort();
  expect(rights(rules)).toEqual(rights(FLANNEL_RULES));
}, TIMEOUT_MS);

test("an unknown token is reported, and the next one in its file is used", async () => {
  const { plane } = cluster;
  const account = await plane.createAccount("stranger", FLANNEL_RULES);
  await plane.waitUntilAllowed(account);
  account.writeToken(`${account.token(600).slice(0, -8)}AAAAAAAA`); // another signature
  const daemon = startAs(account);
  const message = await reported("cannot get pod kube-flannel/kube-flannel-ds-h1 (");
  expect(message).toContain("401 Unauthorized");
  expect(message).toContain(
    "; check the token or client certificate, and that they belong to this cluster",
  );
  await expectPatience(() => plane.refusedCalls());
  expect(daemon.logLines(/401 Unauthorized/)).toHaveLength(1);
  account.writeToken(account.token(600));
  await host.ready();
  expect(daemon.logLines(/works again/)).toHaveLength(1);
  expect(daemon.log()).not.toContain(account.token(600).slice(0, 20));
}, TIMEOUT_MS);

/** The rule as it is in the message, pasted below `rules:` of a ClusterRole. */
function pastedRules(message: string): readonly PolicyRule[] {
  const [, rule = ""] = /; add to the ClusterRole: (- \{.*?\})/.exec(message) ?? [];
  return (Bun.YAML.parse(`rules:\n${rule}\n`) as { rules: readonly PolicyRule[] }).rules;
}

/** What is left of the rule. */
function without(rule: PolicyRule, { resource, verb }: MissingRule): PolicyRule[] {
  if (!rule.resources.includes(resource)) return [rule];
  const verbs = rule.verbs.filter((one) => one !== verb);
  return verbs.length === 0 ? [] : [{ ...rule, verbs }];
}

/** As the manifest does: the pod names the node. */
function startAs(account: ServiceAccount) {
  return host.start({ account, nodeName: null, env: host.podVariables });
}

/** Waits until the log has this text, and `/readyz` the whole line; returns its message. */
async function reported(text: string): Promise<string> {
  return await eventually(`it reports ${text}`, PROBLEM_MS, async () => {
    const line = host.daemon.log().split("\n").find((one) => one.includes(text));
    if (line === undefined) return undefined;
    const message = line.slice(line.indexOf(text));
    const { status, body } = await host.http("/readyz");
    expect(body).toContain(message);
    return status === 503 && message;
  });
}

/** The daemon keeps trying, with pauses. */
async function expectPatience(refused: () => readonly AuditedCall[]): Promise<void> {
  const before = refused().length;
  await eventually("it tries again", PROBLEM_MS, () => refused().length > before);
  await Bun.sleep(COUNTED_MS);
  expect(refused().length - before).toBeLessThanOrEqual(1 + MAX_CALLS);
  expect((await host.http("/healthz")).status).toBe(200);
}
