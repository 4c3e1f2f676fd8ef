/** `flanneld datastore` as a program: start, errors and stop; export, import and migrate. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import { TestCa } from "../support/certificates.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer, freePorts } from "../support/etcd_server.ts";
import { DUAL } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";
import { attributes, IPV4, request, testNode } from "../etcd/lease_store_fixture.ts";

const PROGRAM = [process.execPath, join(import.meta.dir, "../../src/main.ts"), "datastore"];
const CONFIG = "/coreos.com/network/config";
const forever = new AbortController().signal;
let directory: string;

beforeEach(() => {
  directory = mkdtempSync("/dev/shm/datastore-test-");
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

async function run(args: readonly string[], input = ""): Promise<Outcome> {
  const child = start(args, { input });
  const [out, err, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, out, err };
}

function start(
  args: readonly string[],
  { input = "", env = {} }: { input?: string; env?: Record<string, string> } = {},
) {
  return Bun.spawn([...PROGRAM, ...args], {
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...env },
  });
}

function clientOf(url: string, tls = {}): EtcdClient {
  return new EtcdClient({ clock: systemClock, endpoints: [url], tls, log: collectingLog().log });
}

async function valueOf(client: EtcdClient, key: string): Promise<string | undefined> {
  return (await client.range({ key }, forever)).keyValues[0]?.value;
}

const put = (client: EtcdClient, key: string, value: string, lease = 0n) =>
  client.transaction({ compare: [], success: [{ put: { key, value, lease } }] }, forever);

describe("serving", () => {
  test("writes the configuration once, notifies systemd, keeps the data", async () => {
    const [port] = await freePorts(2);
    const url = `http://127.0.0.1:${port}`;
    using notifications = new NotifySocket(join(directory, "notify"));
    await eventually("systemd listens", 30_000, () => existsSync(notifications.path));
    const flags = [`--listen=127.0.0.1:${port}`, `--data-dir=${directory}/data`];
    for (const network of ["10.5.0.0/16", "10.6.0.0/16"]) {
      const child = start([...flags, "--network", network, "--backend=host-gw"], {
        env: { NOTIFY_SOCKET: notifications.path },
      });
      using cleanup = new DisposableStack();
      cleanup.defer(() => child.kill("SIGKILL"));
      await notifications.received(`READY=1\nSTATUS=serving etcd's API at ${url} from`);
      await using client = clientOf(url);
      expect(await valueOf(client, CONFIG)).toBe(
        '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}',
      );
      const ended = client.watch("/", forever)[Symbol.asyncIterator]();
      await ended.next();
      child.kill("SIGTERM");
      expect(await child.exited).toBe(0);
      await notifications.received("STOPPING=1");
      expect(await new Response(child.stderr).text()).toContain(
        `stopped by SIGTERM; the data stays in ${directory}/data`,
      );
    }
  });

  test("with TLS, a client certificate of another CA changes nothing", async () => {
    using ca = new TestCa();
    using strangers = new TestCa("stranger");
    const files = { ...ca.sign("server", ["IP:127.0.0.1"]), caFile: ca.caFile };
    const own = ca.sign("client");
    await using server = await EtcdServer.start({
      kind: "datastore",
      tls: { ...files, clientCaFile: ca.caFile },
    });
    for (const tls of [{}, strangers.sign("client")]) {
      await using stranger = clientOf(server.url, { caFile: ca.caFile, ...tls });
      const refusal = await put(stranger, "/a", "stranger")
        .then(() => "no failure", (error: Error) => error.message);
      expect(refusal).toContain("cannot change /a in etcd");
    }
    await using client = clientOf(server.url, { caFile: ca.caFile, ...own });
    expect(await valueOf(client, "/a")).toBeUndefined();
    expect((await put(client, "/a", "friend")).revision).toBe(2n);
  });

  test("each error ends with one line that says what to do", async () => {
    const [port] = await freePorts(2);
    const configured = (config: object) => {
      const path = join(directory, crypto.randomUUID());
      writeFileSync(path, JSON.stringify(config));
      return `--net-config-path=${path}`;
    };
    const cases: [args: string[], exitCode: number, line: string][] = [
      [["--listen=8.8.8.8:1"], 1, "this machine has no such address"],
      [["--listen=192.0.2.1:1", "--insecure"], 1, "this machine has no such address"],
      [["--listen=node-1:2379"], 2, '--listen is "node-1:2379"; it must be an address'],
      [["--cert-file=a"], 2, "--cert-file is given without --key-file"],
      [["--client-ca-file=a"], 2, "--client-ca-file needs --cert-file and --key-file"],
      [["--cert-file=/none", "--key-file=/none"], 1, "cannot read --cert-file: ENOENT"],
      [["--network=10.5.0.0"], 2, '--network is "10.5.0.0"; it must be a network'],
      [["--network=10.5.0.0/16,10.6.0.0/16"], 2, "it may contain one network of each family"],
      [["--network=10.5.0.0/30"], 2, "too small for four subnets"],
      [["--backend=vxlan"], 2, "--backend is given without --network"],
      [["--network=10.5.0.0/16", "--backend=vxlna"], 2, '--backend is "vxlna"; it must be one of'],
      [
        ["--network=10.5.0.0/16,fd00:5::/48", "--backend=ipip"],
        2,
        "--network has fd00:5::/48, but --backend ipip supports IPv4 only",
      ],
      [[configured({ Network: "10.5.0.0/16", Backend: { Type: "vxlans" } })], 1, "did you mean"],
      [
        [configured({ ...DUAL, Backend: { Type: "ipsec" } })],
        1,
        "the ipsec backend carries IPv4 only",
      ],
      [
        [configured({ Network: "10.5.0.0/16", Backend: { Type: "udp", Port: "8285" } })],
        1,
        'Port in the network configuration\'s Backend object is "8285"; it must be an integer',
      ],
      [["--net-config-path=/none"], 1, "cannot read --net-config-path: ENOENT"],
      [["--net-config-path=/etc/hostname"], 1, "/etc/hostname"],
      [["--insecure=maybe"], 2, '--insecure is "maybe"; it must be true or false'],
      [["--netwrk=1"], 2, "unknown flag --netwrk; the nearest known flag is --network"],
      [["exprt"], 2, 'unknown subcommand "exprt"; did you mean export?'],
      [["migrate"], 2, "--to is missing"],
      [["export", `--etcd-endpoints=http://127.0.0.1:${port}`], 1, "connection refused"],
      [["import"], 1, "not a flanneld export: unexpected header"],
    ];
    await Promise.all(cases.map(async ([args, exitCode, line], index) => {
      const flags = args[0]?.startsWith("-") ? [...args, `--data-dir=${directory}/${index}`] : args;
      const outcome = await run(flags);
      const last = outcome.err.trimEnd().split("\n").at(-1) ?? "";
      expect([args, outcome.exitCode, last]).toEqual([
        args,
        exitCode,
        expect.stringContaining(line),
      ]);
      expect(last).toMatch(/^flanneld datastore(?: \w+)?: /);
      expect(outcome.out).toBe("");
    }));
  }, 180_000);

  test("--help names the flags and commands", async () => {
    const { exitCode, out } = await run(["--help"]);
    expect(exitCode).toBe(0);
    for (const word of ["--listen", "--data-dir", "--insecure", "export", "import", "migrate"]) {
      expect(out).toContain(word);
    }
  });
});

test("an export omits and names damaged keys, and can be imported", async () => {
  const data = join(directory, "store");
  await using server = await EtcdServer.start({ kind: "datastore", directory: data });
  const names = Array.from({ length: 250 }, (_, index) => `/k${1000 + index}`);
  await using client = clientOf(server.url);
  for (const key of names) await put(client, key, `value-of-${key}`);
  await server.stop();
  const file = join(data, "data", "datastore.sqlite");
  const content = readFileSync(file);
  for (const name of ["/k1007", "/k1123"]) {
    const value = `value-of-${name}`;
    for (let at = content.indexOf(value); at >= 0; at = content.indexOf(value, at + 1)) {
      content.write("walue", at);
    }
  }
  writeFileSync(file, content);
  await server.start();
  const from = `--etcd-endpoints=${server.url}`;
  const { exitCode, out, err } = await run(["export", from]);
  expect(exitCode).toBe(1);
  expect(err).toContain(
    `the export omits 2 keys that are damaged in ${server.url}: "/k1007", "/k1123"; it is complete`,
  );
  expect(out).not.toContain("/k1123");
  expect((await run(["import", from], out)).err).toContain("248 were already present");
  expect(server.logText()).toContain('key "/k1007" of revision 9 in ');
  await put(client, "/k1007", "again");
  expect(await valueOf(client, "/k1007")).toBe("again");
}, 180_000);

describe("moving", () => {
  let source: EtcdServer;
  let target: EtcdServer;

  beforeAll(async () => {
    [source, target] = await Promise.all([
      EtcdServer.start({ kind: "datastore" }),
      EtcdServer.start({ kind: "etcd" }),
    ]);
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
  });

  test("an export is imported with its leases, and overwrites only with --overwrite", async () => {
    await using client = clientOf(source.url);
    const { id } = await client.grantLease({ ttlSeconds: 500 }, forever);
    // Several pages and transactions.
    for (let start = 0; start < 2_500; start += 100) {
      const success = Array.from({ length: 100 }, (_, index) => ({
        put: { key: `/net/${start + index}`, value: `${index}`, lease: index % 2 ? id : 0n },
      }));
      await client.transaction({ compare: [], success }, forever);
    }
    const exported = await run(["export", `--etcd-endpoints=${source.url}`]);
    expect(exported.err).toBe("exported 2500 keys; leases: 1\n");
    await using copy = await EtcdServer.start({ kind: "datastore" });
    const flags = ["import", `--etcd-endpoints=${copy.url}`];
    const importing = (...more: string[]) => run([...flags, ...more], exported.out);
    expect(await importing()).toEqual({
      exitCode: 0,
      out: "",
      err: "imported 2500 keys; 0 were already present\n",
    });
    await using copied = clientOf(copy.url);
    const read = async (one: EtcdClient) =>
      (await one.range({ key: "/net/", prefix: true }, forever)).keyValues
        .map(({ key, value, lease }) => ({ key, value, lease }));
    expect(await read(copied)).toEqual(await read(client));
    const { grantedSeconds } = await copied.leaseTimeToLive(id, forever);
    expect(grantedSeconds).toBeGreaterThan(400);
    expect(grantedSeconds).toBeLessThanOrEqual(500);

    await put(copied, "/net/7", "changed");
    const refused = await importing();
    expect(refused.exitCode).toBe(1);
    expect(refused.err).toContain("has other values or leases for /net/7; nothing was written");
    expect(await valueOf(copied, "/net/7")).toBe("changed");
    expect((await importing("--overwrite")).err).toBe(
      "imported 1 keys; 2499 were already present\n",
    );
    expect(await valueOf(copied, "/net/7")).toBe("7");
  }, 180_000);

  test("nodes find their leases after a migration to etcd", async () => {
    const addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    const nodeOf = (server: EtcdServer, index: number) =>
      testNode({ etcd: clientOf(server.url), prefix: "/moving", host: `host-${index}` });
    const acquire = (node: ReturnType<typeof nodeOf>, index: number) =>
      node.store.acquire(request(IPV4, { 4: addresses[index] as string }), forever);
    const before = addresses.map((_, index) => nodeOf(source, index));
    const owned = await Promise.all(before.map(acquire));

    const outcome = await run([
      "migrate",
      `--etcd-endpoints=${source.url}`,
      `--to=${target.url}`,
    ]);
    expect(outcome.exitCode).toBe(0);
    expect(outcome.out).toBe(`--etcd-endpoints=${target.url}\n`);
    expect(outcome.err).toContain("verified: all ");
    for (const [index, node] of before.entries()) {
      await owned[index]?.[Symbol.asyncDispose]();
      await node[Symbol.asyncDispose]();
      await using moved = nodeOf(target, index);
      await using own = await acquire(moved, index);
      expect([own.lease.key]).toEqual([owned[index]?.lease.key as typeof own.lease.key]);
      expect(own.lease.attributes).toEqual(attributes({ 4: addresses[index] as string }));
    }
  }, 180_000);
});

/** systemd's end of sd_notify(3). */
class NotifySocket implements Disposable {
  readonly path: string;
  readonly #child;
  #text = "";

  constructor(path: string) {
    this.path = path;
    // Bun has no datagram sockets of this family.
    const script = `import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True: print(s.recv(65536).decode(), flush=True)`;
    this.#child = Bun.spawn(["python3", "-c", script, path], { stdout: "pipe" });
    void this.#read();
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }

  /** Waits for a message with this beginning, and discards everything up to it. */
  async received(beginning: string): Promise<void> {
    await eventually(`systemd receives ${beginning}`, 30_000, () => this.#text.includes(beginning));
    this.#text = this.#text.slice(this.#text.indexOf(beginning) + beginning.length);
  }

  async #read(): Promise<void> {
    for await (const chunk of this.#child.stdout) this.#text += new TextDecoder().decode(chunk);
  }
}
