/** The datastore as etcdctl sees it (version 3.4, of Debian). */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { Code } from "@connectrpc/connect";
import { AlarmRequest_AlarmAction as AlarmAction } from "../../src/etcd/api/rpc_pb.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { eventually } from "../support/wait.ts";
import { RawClient } from "./raw_client.ts";

let server: EtcdServer;

beforeAll(async () => {
  server = await EtcdServer.start({ kind: "datastore" });
});

afterAll(() => server[Symbol.asyncDispose]());

/** Runs etcdctl with text on its standard input. */
async function etcdctlWith(input: string, ...args: readonly string[]): Promise<string> {
  const child = Bun.spawn(["etcdctl", `--endpoints=${server.url}`, ...args], {
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "ignore",
    env: { ...process.env, ETCDCTL_API: "3" },
  });
  return await new Response(child.stdout).text();
}

async function failureOf(...args: readonly string[]): Promise<string> {
  return await server.etcdctl(...args).then(() => "no failure", (error) => error.message);
}

test("put, get and del", async () => {
  expect(await server.etcdctl("put", "a", "1")).toBe("OK\n");
  expect(await server.etcdctl("put", "a", "2", "--prev-kv")).toBe("OK\na\n1\n");
  expect(await server.etcdctl("put", "b", "3")).toBe("OK\n");
  expect(await server.etcdctl("get", "a", "c")).toBe("a\n2\nb\n3\n");
  expect(await server.etcdctl("get", "", "--prefix", "--keys-only", "--limit=1")).toBe("a\n\n");
  expect(await server.etcdctl("get", "a", "--rev=2", "--print-value-only")).toBe("1\n");
  expect(await server.etcdctl("del", "a", "--prev-kv")).toBe("1\na\n2\n");
});

test("txn", async () => {
  const transaction = 'ver("t") = "0"\n\nput t 1\n\nget t\n\n';
  expect(await etcdctlWith(transaction, "txn")).toContain("SUCCESS\n\nOK\n");
  expect(await etcdctlWith(transaction, "txn")).toContain("FAILURE\n\nt\n1\n");
});

test("watch, from now on and from the past", async () => {
  const { revision } = JSON.parse(await server.etcdctl("get", "w", "-w", "json")).header;
  const watch = (...args: string[]) =>
    Bun.spawn(
      ["timeout", "120", "etcdctl", `--endpoints=${server.url}`, "watch", "w", ...args],
      { stdout: "pipe", stderr: "ignore", env: { ...process.env, ETCDCTL_API: "3" } },
    );
  const reading = (child: ReturnType<typeof watch>) => {
    const output = { text: "" };
    void (async () => {
      for await (const chunk of child.stdout) output.text += new TextDecoder().decode(chunk);
    })();
    return output;
  };
  const wanted = "PUT\nw\n1\nDELETE\nw\n\n";
  const present = watch();
  const received = reading(present);
  // Until it receives one: the watch does not receive changes before its creation.
  await eventually("the watch is there", 30_000, async () => {
    await server.etcdctl("put", "w", "0");
    return received.text !== "";
  });
  await server.etcdctl("put", "w", "1");
  await server.etcdctl("del", "w");
  const past = watch(`--rev=${revision + 1}`);
  for (const output of [received, reading(past)]) {
    await eventually("both changes", 30_000, () => output.text.endsWith(wanted));
    expect(output.text.replaceAll("PUT\nw\n0\n", "")).toBe(wanted);
  }
  for (const child of [present, past]) child.kill();
});

test("lease", async () => {
  const [, id = ""] = (await server.etcdctl("lease", "grant", "100")).split(" ");
  await server.etcdctl("put", "leased", "1", `--lease=${id}`);
  expect(await server.etcdctl("lease", "timetolive", id, "--keys")).toMatch(
    /granted with TTL\(100s\), remaining\((100|[4-9]\d)s\), attached keys\(\[leased\]\)/,
  );
  expect(await server.etcdctl("lease", "keep-alive", "--once", id)).toContain("TTL(100)");
  expect(await server.etcdctl("lease", "list")).toBe(`found 1 leases\n${id}\n`);
  expect(await server.etcdctl("lease", "revoke", id)).toBe(`lease ${id} revoked\n`);
  expect(await server.etcdctl("get", "leased")).toBe("");
  expect(await failureOf("lease", "revoke", id)).toContain("requested lease not found");
});

test("compaction", async () => {
  await server.etcdctl("put", "c", "1");
  const { revision } = JSON.parse(await server.etcdctl("put", "c", "2", "-w", "json")).header;
  expect(await server.etcdctl("compaction", `${revision}`)).toBe(
    `compacted revision ${revision}\n`,
  );
  expect(await failureOf("get", "c", `--rev=${revision - 1}`)).toContain(
    "required revision has been compacted",
  );
  expect(await failureOf("compaction", `${revision + 9}`)).toContain("is a future revision");
});

test("the member and its state", async () => {
  expect(await server.etcdctl("member", "list")).toMatch(
    new RegExp(`^[0-9a-f]+, started, flanneld, , ${server.url}, false\n$`),
  );
  expect(await server.etcdctl("endpoint", "status")).toMatch(/, 3\.4\.0, [\d.]+ kB, true, false, /);
});

test("there are no alarms, and none can be raised", async () => {
  expect(await server.etcdctl("alarm", "list")).toBe("");
  using client = new RawClient(server.url);
  const raised = await client.maintenance.alarm({ action: AlarmAction.ACTIVATE }).then(
    () => "no failure",
    (error) => `${Code[error.code]}: ${error.rawMessage}`,
  );
  expect(raised).toBe(
    "Unimplemented: flanneld datastore has no alarms (action 1)",
  );
});

test("a user name and password are accepted, but protect nothing", async () => {
  expect(await server.etcdctl("--user=a:b", "put", "u", "1")).toBe("OK\n");
});

test("a call that is not implemented is rejected by its name", async () => {
  expect(await failureOf("snapshot", "save", "/dev/null")).toContain(
    "flanneld datastore does not implement etcdserverpb.Maintenance.Snapshot",
  );
  expect(await failureOf("defrag")).toContain("etcdserverpb.Maintenance.Defragment");
  expect(await failureOf("user", "list")).toContain("etcdserverpb.Auth.UserList");
  expect(await failureOf("member", "add", "a", "--peer-urls=http://127.0.0.1:1")).toContain(
    "etcdserverpb.Cluster.MemberAdd",
  );
});
