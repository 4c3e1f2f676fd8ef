/** TLS and users: the etcd flags against an etcd that requires them. */

import { describe, expect, test } from "bun:test";
import { TestCa } from "../support/certificates.ts";
import { Cluster, PREFIX } from "../support/cluster.ts";
import { IPV4 } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const VXLAN = { ...IPV4, Backend: { Type: "vxlan" } };
/** Where the topology puts etcd. */
const ETCD_NAME = "IP:192.0.2.253";

function tlsCluster(ca: TestCa, hosts: number): Promise<Cluster> {
  const server = ca.sign("etcd", [ETCD_NAME, "DNS:localhost", "IP:127.0.0.1"]);
  return Cluster.create({
    hosts,
    etcdScheme: "https",
    etcdArgs: [
      `--cert-file=${server.certFile}`,
      `--key-file=${server.keyFile}`,
      `--trusted-ca-file=${ca.caFile}`,
      "--client-cert-auth",
    ],
  });
}

describe("TLS", () => {
  test("with a client certificate two hosts reach each other", async () => {
    using ca = new TestCa();
    await using cluster = await tlsCluster(ca, 2);
    const client = ca.sign("node");
    await cluster.configure(VXLAN);
    await cluster.startAll({
      flags: [
        `--etcd-cafile=${ca.caFile}`,
        `--etcd-certfile=${client.certFile}`,
        `--etcd-keyfile=${client.keyFile}`,
      ],
    });
    await cluster.attachWorkloads();
    await cluster.expectMesh();
  }, 120_000);

  test("a server of another CA is refused and logged", async () => {
    using ca = new TestCa();
    using other = new TestCa("another CA");
    await using cluster = await tlsCluster(ca, 1);
    await cluster.configure(VXLAN);
    const host = cluster.host(1);
    const daemon = host.start({ flags: [`--etcd-cafile=${other.caFile}`] });
    await eventually(
      "the log names the certificate",
      30_000,
      () => daemon.logLines(/certificate|issuer|self.signed/i).length > 0,
    );
    expect((await host.http("/readyz")).status).toBe(503);
    expect(await host.kernel()).toBe("");
  }, 120_000);
});

test("a user and a password are used, and the password is in no log", async () => {
  await using cluster = await Cluster.create({ hosts: 2, etcdArgs: ["--auth-token-ttl=2"] });
  await cluster.configure(VXLAN);
  const { etcd } = cluster;
  const password = "hunter2-not-to-be-logged";
  for (const [name, secret] of [["root", "r00t"], ["flannel", password]] as const) {
    await etcd.call("auth/user/add", { name, password: secret });
  }
  await etcd.call("auth/role/add", { name: "flannel" });
  const encode = (text: string) => new TextEncoder().encode(text).toBase64();
  await etcd.call("auth/role/grant", {
    name: "flannel",
    perm: { permType: "READWRITE", key: encode(`${PREFIX}/`), range_end: encode(`${PREFIX}0`) },
  });
  await etcd.call("auth/user/grant", { user: "root", role: "root" });
  await etcd.call("auth/user/grant", { user: "flannel", role: "flannel" });
  await etcd.call("auth/enable", {});
  await etcd.authenticate("root", "r00t");
  await cluster.host(1).up({
    flags: ["--etcd-username=flannel", `--etcd-password=${password}`, "-v=10"],
  });
  await cluster.host(2).up({
    env: { FLANNELD_ETCD_USERNAME: "flannel", FLANNELD_ETCD_PASSWORD: password, FLANNELD_V: "10" },
  });
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  // Tokens live for two seconds here: the watch and the renewals outlive them.
  await Bun.sleep(4_000);
  /** The test's own token is as short-lived. */
  const asRoot = <T>(what: string, call: () => Promise<T>) =>
    eventually(what, 30_000, async () => {
      await etcd.authenticate("root", "r00t");
      return await call();
    });
  const lease = await asRoot("there is a lease", () => cluster.leaseOf(cluster.host(2)));
  const key = `${PREFIX}/subnets/${lease.key}`;
  await asRoot("it is deleted", async () => (await etcd.delete(key), true));
  await asRoot("it is taken again", async () => (await etcd.list(key)).length === 1);
  for (const host of cluster.hosts) {
    expect(host.daemon.log()).not.toContain("hunter2");
    expect(host.daemon.log()).toContain("flannel");
  }
}, 120_000);

test("a wrong password is logged without the password, and nothing is created", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure(VXLAN);
  await cluster.etcd.call("auth/user/add", { name: "root", password: "r00t" });
  await cluster.etcd.call("auth/user/grant", { user: "root", role: "root" });
  await cluster.etcd.call("auth/enable", {});
  const host = cluster.host(1);
  const daemon = host.start({ flags: ["--etcd-username=root", "--etcd-password=hunter2"] });
  await eventually(
    "it is logged",
    30_000,
    () => daemon.logLines(/authenticat|password/i).length > 0,
  );
  expect(daemon.log()).not.toContain("hunter2");
  expect(await host.kernel()).toBe("");
}, 120_000);
