import { describe, expect, test } from "bun:test";
import { readCommand } from "../../../src/cli/command_reader.ts";
import { DATASTORE, type DatastoreAction } from "../../../src/cli/datastore_arguments.ts";
import type { Environment } from "../../../src/cli/flag_reader.ts";
import { datastoreSecretText } from "../../../src/datastore/access/datastore_secret.ts";

function action(args: readonly string[], environment: Environment = {}): DatastoreAction {
  const reading = readCommand(DATASTORE, args, environment);
  if (reading.kind !== "action") throw new Error(`expected an action: ${JSON.stringify(reading)}`);
  return reading.action;
}

/** The message, without the name of the command and where to look. */
function fault(...args: string[]): string | undefined {
  const reading = readCommand(DATASTORE, args, {});
  if (reading.kind !== "error") throw new Error(`expected an error: ${JSON.stringify(reading)}`);
  expect(reading.exitCode).toBe(2);
  return /^datastore(?: \w+)*: (.+); see (datastore(?: \w+)*) --help$/.exec(reading.message)?.[1];
}

/** The configuration that these flags write. */
function initial(...args: string[]): unknown {
  const result = action(args);
  return result.kind === "serve" && result.options.initial;
}

describe("flanneld datastore", () => {
  test("serves loopback without TLS and writes nothing by default", () => {
    expect(action([])).toEqual({
      kind: "serve",
      options: {
        listen: { host: "127.0.0.1" as never, port: 2379 },
        directory: "/var/lib/flannel/datastore",
        tls: undefined,
        insecure: undefined,
        advertise: [],
        initial: undefined,
        progressNotifyMs: 600_000,
      },
      logFormat: "text",
      verbosity: 0,
    });
  });

  test("reads the interval of progress notifications in seconds", () => {
    expect(action(["--watch-progress-seconds=5"])).toMatchObject({
      options: { progressNotifyMs: 5_000 },
    });
    expect(fault("--watch-progress-seconds=0")).toBe(
      '--watch-progress-seconds is "0"; it must be a whole number from 1 to 3600',
    );
  });

  test("reads --insecure as true, as false, or as neither", () => {
    expect(action(["--insecure"])).toMatchObject({ options: { insecure: true } });
    expect(action(["--insecure=false"])).toMatchObject({ options: { insecure: false } });
  });

  test("reads the names for nodes", () => {
    expect(action(["--advertise=ds.example.org,fd00::1"])).toMatchObject({
      options: { advertise: ["ds.example.org", "fd00::1"] },
    });
    expect(fault("--advertise=10.0.0.1:2379")).toBe(
      '--advertise is "10.0.0.1:2379"; it must be names and addresses without a port',
    );
  });

  test("reads what token and user do, and where", () => {
    const directory = "/srv/data";
    const cases: [args: string[], action: object][] = [
      [["token"], { kind: "show" }],
      [["token", "create"], { kind: "create", ttlSeconds: 86_400, description: "" }],
      [
        ["token", "create", "--ttl=1h", "--description", "three VMs"],
        { kind: "create", ttlSeconds: 3_600, description: "three VMs" },
      ],
      [["token", "create", "--ttl=0"], { kind: "create", ttlSeconds: 0, description: "" }],
      [["token", "list"], { kind: "list" }],
      [["token", "rotate"], { kind: "rotate" }],
      [["token", "revoke", "abcdef"], { kind: "revoke", id: "abcdef" }],
      [["user", "list"], { kind: "list-users" }],
      [["user", "add", "backup"], { kind: "add-user", name: "backup" }],
      [["user", "remove", "node-1"], { kind: "remove-user", name: "node-1" }],
    ];
    for (const [args, performed] of cases) {
      expect(action([...args, "--data-dir", directory]) as object)
        .toEqual({ kind: "access", directory, action: performed });
    }
  });

  test("reads where nodes will reach a datastore that is prepared", () => {
    const cases: [text: string, address: object][] = [
      ["192.168.56.11", { host: "192.168.56.11", port: 2379 }],
      ["ds.example.org:2380", { host: "ds.example.org", port: 2380 }],
      ["fd00::1", { host: "fd00::1", port: 2379 }],
      ["[fd00::1]:2380", { host: "fd00::1", port: 2380 }],
    ];
    for (const [text, address] of cases) {
      expect(action(["token", "prepare", text]) as object)
        .toEqual({ kind: "prepare-token", address });
    }
    expect(fault("token", "prepare")).toBe("HOST[:PORT] is missing");
    expect(fault("token", "prepare", "a:b")).toBe(
      'HOST[:PORT] is "a:b"; it must be a name or an address, such as 192.168.56.11 or ' +
        "[fd00::1]:2380",
    );
  });

  test("reads a secret, which it never shows", () => {
    const [caKey, tokenSecret] = [32, 16].map((size) =>
      Buffer.alloc(size, 1).toString("base64url")
    );
    const secret = { id: "abc", caKey: caKey as string, tokenSecret: tokenSecret as string };
    const text = datastoreSecretText(secret);
    expect(action([], { FLANNEL_DATASTORE_SECRET: text }))
      .toMatchObject({ options: { secret } });
    expect(fault("--secret", text.slice(0, 40))).toBe(
      "--secret must be as flanneld datastore token prepare prints it; the secret is truncated",
    );
    const noKey = { ...secret, caKey: Buffer.alloc(32, 0xff).toString("base64url") };
    expect(fault("--secret", datastoreSecretText(noKey))).toBe(
      "--secret must be as flanneld datastore token prepare prints it; the secret abc contains " +
        "no valid key of a CA; make another one",
    );
    for (const other of [["--insecure"], ["--cert-file=a", "--key-file=b"]]) {
      const [flag = ""] = other[0]?.split("=") ?? [];
      expect(fault("--secret", text, ...other))
        .toBe(`--secret (or FLANNEL_DATASTORE_SECRET) and ${flag} exclude each other; omit one`);
    }
  });

  test.each(["1", "0h", "1w", "-1h", "99999999999h", "1.5h", "4000d"])(
    "a --ttl of %s is invalid",
    (ttl) => {
      expect(fault("token", "create", `--ttl=${ttl}`))
        .toBe(`--ttl is "${ttl}"; it must be a duration such as 30m, 1h or 7d, or 0`);
    },
  );

  test("skips blank arguments", () => {
    expect(action(["", "--insecure", " "]))
      .toEqual(action(["--insecure"]));
    expect(action(["", "export", ""])).toEqual(action(["export"]));
    expect(fault("migrate", "--to", "", "--overwrite"))
      .toBe('--to is ""; it must be a list with at least one item');
  });

  test("reads what is not given of a remote store from the environment", () => {
    const environment = {
      FLANNELD_ETCD_ENDPOINTS: "http://192.0.2.1:2379",
      FLANNELD_ETCD_USERNAME: "flannel",
      FLANNELD_ETCD_PASSWORD: "one",
      FLANNELD_TO_PASSWORD: "two",
      FLANNELD_TO: "http://192.0.2.9:2379",
    };
    const args = ["migrate", "--to=http://192.0.2.2:2379", "--etcd-username=root"];
    expect(action(args, environment)).toMatchObject({
      from: { endpoints: ["http://192.0.2.1:2379"], username: "root", password: "one" },
      to: { endpoints: ["http://192.0.2.2:2379"], username: "", password: "two" },
    });
    // An empty variable counts as unset.
    expect(action(["export"], { FLANNELD_ETCD_ENDPOINTS: "" }))
      .toEqual(action(["export"]));
    // The target is never read from the environment.
    expect(() => action(["migrate"], environment)).toThrow("--to is missing; add --to URLS");
  });

  test("describes networks of one family and of both", () => {
    const key = "/coreos.com/network/config";
    expect(initial("--network=10.5.0.0/16")).toEqual({
      key,
      value: '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}',
    });
    expect(initial("--network", "fd00:5::/48,10.5.0.0/16", "--backend=wireguard")).toEqual({
      key,
      value: '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48",' +
        '"Backend":{"Type":"wireguard"}}',
    });
    expect(initial("--network=fd00:5::/48", "--etcd-prefix=/mine/")).toEqual({
      key: "/mine/config",
      value: '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48",' +
        '"Backend":{"Type":"vxlan"}}',
    });
    expect(initial("--net-config-path=/etc/net-conf.json")).toEqual({
      key,
      path: "/etc/net-conf.json",
    });
  });

  test("refuses a backend that no daemon could start with", () => {
    const message = (backend: string, network = "10.5.0.0/16") => {
      return fault(`--network=${network}`, `--backend=${backend}`);
    };
    expect(message("vxlna")).toBe(
      '--backend is "vxlna"; it must be one of alloc, extension, host-gw, ipip, ipsec, ' +
        "tencent-vpc, udp, vxlan, wireguard",
    );
    expect(message("ipsec")).toStartWith("--backend ipsec needs a PSK");
    expect(message("udp", "10.5.0.0/16,fd00:5::/48")).toBe(
      "--network has fd00:5::/48, but --backend udp supports IPv4 only; use one IPv4 network, or " +
        "use extension, host-gw, vxlan or wireguard",
    );
    for (const backend of ["host-gw", "WireGuard", "udp"]) {
      expect(initial("--network=10.5.0.0/16", `--backend=${backend}`)).toBeDefined();
    }
    expect(initial("--network=fd00:5::/48", "--backend=wireguard")).toBeDefined();
    expect(message("vxlan", "10.5.0.0/29")).toStartWith(
      "Network in --network is 10.5.0.0/29, too small",
    );
  });

  test("distinguishes the two stores of a migration by their flags", () => {
    const args = ["--etcd-endpoints=http://a:1", "--etcd-cafile=ca", "--to", "b:2,c:2"];
    const more = ["--to-certfile=cert", "--to-keyfile=key", "--to-username=u", "--overwrite"];
    expect(action(["migrate", ...args, ...more])).toEqual({
      kind: "migrate",
      overwrite: true,
      from: {
        endpoints: ["http://a:1"],
        flagPrefix: "--etcd-",
        caFile: "ca",
        certFile: "",
        keyFile: "",
        username: "",
        password: "",
      },
      to: {
        endpoints: ["b:2", "c:2"],
        flagPrefix: "--to-",
        caFile: "",
        certFile: "cert",
        keyFile: "key",
        username: "u",
        password: "",
      },
    });
  });

  test("accepts only the flags of the given command", () => {
    expect(fault("export", "--listen=127.0.0.1")).toContain("unknown flag --listen");
    expect(fault("export", "--to=http://a:1")).toContain("unknown flag --to");
    expect(fault("--overwrite")).toContain("unknown flag --overwrite");
    expect(fault("import", "there")).toBe('unexpected argument "there"; it takes no arguments');
    expect(fault("migrate", "--to=a:1", "--to-certfile=c")).toBe(
      "--to-certfile is given without --to-keyfile; a certificate needs its key",
    );
    expect(fault("--network=10.5.0.0/16", "--net-config-path=f")).toBe(
      "--network and --net-config-path exclude each other; omit one",
    );
    expect(fault("--insecure", "export"))
      .toBe("flags are not allowed before the subcommand export");
  });
});
