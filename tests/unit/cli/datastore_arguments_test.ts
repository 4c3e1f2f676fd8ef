import { describe, expect, test } from "bun:test";
import { parseDatastoreCommand } from "../../../src/cli/datastore_arguments.ts";

/** The configuration that these flags write. */
function initial(...args: string[]): unknown {
  const command = parseDatastoreCommand(args);
  if (command.kind !== "serve") throw new Error(`expected a server: ${JSON.stringify(command)}`);
  return command.options.initial;
}

describe("parseDatastoreCommand()", () => {
  test("serves loopback without TLS and writes nothing by default", () => {
    expect(parseDatastoreCommand([])).toEqual({
      kind: "serve",
      options: {
        listen: { host: "127.0.0.1" as never, port: 2379 },
        directory: "/var/lib/flannel/datastore",
        tls: undefined,
        insecure: false,
        initial: undefined,
        progressNotifyMs: 600_000,
      },
      logFormat: "text",
      verbosity: 0,
    });
  });

  test("reads the interval of progress notifications in seconds", () => {
    expect(parseDatastoreCommand(["--watch-progress-seconds=5"])).toMatchObject({
      options: { progressNotifyMs: 5_000 },
    });
    expect(parseDatastoreCommand(["--watch-progress-seconds=0"])).toEqual({
      kind: "error",
      message: '--watch-progress-seconds is "0"; it must be a whole number from 1 to 3600',
    });
  });

  test("skips blank arguments", () => {
    expect(parseDatastoreCommand(["", "--insecure", " "]))
      .toEqual(parseDatastoreCommand(["--insecure"]));
    expect(parseDatastoreCommand(["", "export", ""])).toEqual(parseDatastoreCommand(["export"]));
    expect(parseDatastoreCommand(["migrate", "--to", "", "--overwrite"]))
      .toMatchObject({ message: expect.stringContaining("--to is missing") });
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
    expect(parseDatastoreCommand(args, environment)).toMatchObject({
      from: { endpoints: ["http://192.0.2.1:2379"], username: "root", password: "one" },
      to: { endpoints: ["http://192.0.2.2:2379"], username: "", password: "two" },
    });
    // An empty variable counts as unset.
    expect(parseDatastoreCommand(["export"], { FLANNELD_ETCD_ENDPOINTS: "" }))
      .toEqual(parseDatastoreCommand(["export"]));
    // The target is never read from the environment.
    expect(parseDatastoreCommand(["migrate"], environment)).toMatchObject({ kind: "error" });
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
      const command = parseDatastoreCommand([`--network=${network}`, `--backend=${backend}`]);
      return command.kind === "error" ? command.message : command.kind;
    };
    expect(message("host-gw")).toBe("serve");
    expect(message("WireGuard")).toBe("serve");
    expect(message("vxlna")).toBe(
      '--backend is "vxlna"; it must be one of alloc, extension, host-gw, ipip, ipsec, ' +
        "tencent-vpc, udp, vxlan, wireguard",
    );
    expect(message("ipsec")).toStartWith("--backend ipsec needs a PSK");
    expect(message("udp")).toBe("serve");
    expect(message("udp", "10.5.0.0/16,fd00:5::/48")).toBe(
      "--network has fd00:5::/48, but --backend udp supports IPv4 only; use one IPv4 network, or " +
        "use extension, host-gw, vxlan or wireguard",
    );
    expect(message("wireguard", "fd00:5::/48")).toBe("serve");
  });

  test("distinguishes the two stores of a migration by their flags", () => {
    const args = ["--etcd-endpoints=http://a:1", "--etcd-cafile=ca", "--to", "b:2,c:2"];
    const more = ["--to-certfile=cert", "--to-keyfile=key", "--to-username=u", "--overwrite"];
    expect(parseDatastoreCommand(["migrate", ...args, ...more])).toEqual({
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
    const message = (...args: string[]) => {
      const command = parseDatastoreCommand(args);
      return command.kind === "error" ? command.message : command.kind;
    };
    expect(message("export", "--listen=127.0.0.1")).toContain("unknown flag --listen");
    expect(message("export", "--to=http://a:1")).toContain("unknown flag --to");
    expect(message("--overwrite")).toContain("unknown flag --overwrite");
    expect(message("import", "there")).toBe('unexpected argument "there"');
    expect(message("migrate", "--to=a:1", "--to-certfile=c")).toBe(
      "--to-certfile is given without --to-keyfile; a certificate needs its key",
    );
    expect(message("--network=10.5.0.0/16", "--net-config-path=f")).toBe(
      "--network and --net-config-path exclude each other; omit one",
    );
    expect(message("export", "--help")).toBe("help");
  });
});
