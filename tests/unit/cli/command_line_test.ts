import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type CommandLine, parseCommandLine } from "../../../src/cli/command_line.ts";
import { commandName } from "../../../src/cli/command.ts";
import { FLANNELD } from "../../../src/cli/commands.ts";
import { parseDaemonLine } from "../../../src/cli/daemon_command.ts";
import { DAEMON_FLAGS } from "../../../src/cli/daemon_flags.ts";
import { environmentName } from "../../../src/cli/flag.ts";
import {
  type JoinTarget,
  joinTargetText,
  newJoinToken,
  parseJoinTarget,
} from "../../../src/join/join_token.ts";
import { type DaemonOptions, describeOptions } from "../../../src/cli/daemon_options.ts";

function run(argv: string[], env: Record<string, string> = {}): DaemonOptions {
  const result = parseCommandLine(argv, env);
  if (result.kind !== "daemon") throw new Error(`expected a run, got ${JSON.stringify(result)}`);
  return result.options;
}

function fault(argv: string[], env: Record<string, string> = {}): string {
  const result = parseCommandLine(argv, env);
  if (result.kind !== "error") throw new Error(`expected an error, got ${JSON.stringify(result)}`);
  const { exitCode, message } = result;
  return `${exitCode} ${/^flanneld: (.+?);? see flanneld --help$/.exec(message)?.[1]}`;
}

const JOIN_TARGET = joinTargetText({
  token: newJoinToken(Buffer.alloc(32).toString("base64url")),
  host: "192.168.56.11",
  port: 2379,
});

describe("defaults", () => {
  test("are those of Go flannel", () => {
    expect(run([])).toEqual({
      etcdEndpoints: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
      etcdPrefix: "/coreos.com/network",
      etcdKeyFile: "",
      etcdCertFile: "",
      etcdCaFile: "",
      etcdUsername: "",
      etcdPassword: "",
      join: undefined,
      joinFile: "",
      joinState: "/var/lib/flannel/joined.json",
      kubeSubnetManager: false,
      kubeApiUrl: "",
      kubeconfigFile: "",
      kubeAnnotationPrefix: "flannel.alpha.coreos.com",
      netConfigPath: "/etc/kube-flannel/net-conf.json",
      setNodeNetworkUnavailable: true,
      interfaces: [],
      interfacePatterns: [],
      interfaceCanReach: undefined,
      publicIp: undefined,
      publicIpv6: undefined,
      subnetFile: "/run/flannel/subnet.env",
      subnetLeaseRenewMarginMinutes: 60,
      ipMasq: false,
      ipMasqFullyRandomDisable: false,
      ipBlackholeRoute: false,
      iptablesResyncSeconds: 5,
      iptablesForwardRules: true,
      healthzIp: "0.0.0.0" as DaemonOptions["healthzIp"],
      healthzPort: 0,
      verbosity: 0,
      logFormat: "text",
      vmodule: "",
      logBacktraceAt: "",
    });
  });
});

describe("Go's flag syntax", () => {
  const forms = [["-etcd-prefix", "/x"], ["--etcd-prefix", "/x"], ["-etcd-prefix=/x"], [
    "--etcd-prefix=/x",
  ]];
  for (const argv of forms) {
    test(`${argv.join(" ")} sets a value`, () => expect(run(argv).etcdPrefix).toBe("/x"));
  }

  test("a value may begin with a dash, contain = or be empty", () => {
    expect(run(["--etcd-prefix", "--ip-masq"])).toMatchObject({
      etcdPrefix: "--ip-masq",
      ipMasq: false,
    });
    expect(run(["--etcd-prefix=a=b"]).etcdPrefix).toBe("a=b");
    expect(run(["--etcd-prefix="]).etcdPrefix).toBe("");
  });

  test("skips a blank argument, as an empty variable of a systemd unit becomes", () => {
    expect(run([""])).toEqual(run([]));
    expect(run(["", "--ip-masq", " ", "--etcd-prefix=/x", ""])).toMatchObject({
      ipMasq: true,
      etcdPrefix: "/x",
    });
    expect(run(["--", "", " "])).toEqual(run([]));
    expect(parseCommandLine(["", "version"], {})).toEqual({ kind: "version", json: false });
    expect(parseCommandLine(["", "help", "", "lab"], {})).toMatchObject({ kind: "help" });
    expect(fault(["--ip-masq", "", "lba"])).toContain('"lba"');
  });

  test("keeps a blank value of a flag", () => {
    const argv = [
      "--public-ip",
      "",
      "--iface=eth0",
      "-iface",
      "",
      "--etcd-prefix",
      "",
      "--ip-masq",
    ];
    expect(run(argv)).toMatchObject({
      publicIp: undefined,
      interfaces: ["eth0"],
      etcdPrefix: "",
      ipMasq: true,
    });
    expect(fault(["--etcd-endpoints", "", "--ip-masq"])).toContain("at least one item");
    expect(fault(["--ip-masq="])).toContain("must be true or false");
  });

  test("explains several flags in one argument", () => {
    expect(fault(["--ip-masq --iface=eth0"])).toBe(
      '2 several flags in one argument: "--ip-masq --iface"; write $OPTIONS instead of ' +
        "${OPTIONS} in a systemd unit, and no quotes around it in a shell",
    );
  });

  for (const text of ["1", "t", "T", "true", "TRUE", "True"]) {
    test(`a boolean may be =${text}`, () => expect(run([`--ip-masq=${text}`]).ipMasq).toBe(true));
  }
  for (const text of ["0", "f", "F", "false", "FALSE", "False"]) {
    test(`a boolean may be =${text}`, () => {
      expect(run([`--iptables-forward-rules=${text}`]).iptablesForwardRules).toBe(false);
    });
  }

  test("a boolean accepts no separate value, and the message says how to write it", () => {
    expect(fault(["--ip-masq", "false"])).toBe(
      '2 unexpected "false" after --ip-masq; write --ip-masq=false',
    );
  });

  const integers: [string, number][] = [
    ["30", 30],
    ["+30", 30],
    ["0x1E", 30],
    ["0o36", 30],
    [
      "036",
      30,
    ],
    ["0b11110", 30],
    ["1_0", 10],
  ];
  for (const [text, value] of integers) {
    test(`the number ${text} is ${value}`, () => {
      expect(run([`--subnet-lease-renew-margin=${text}`]).subnetLeaseRenewMarginMinutes)
        .toBe(value);
    });
  }
  for (const text of ["", "1.5", "1e1", "0x", "08", "1__0", "_1", "1_", "ten", " 1", "0b2"]) {
    test(`${JSON.stringify(text)} is not a number`, () => {
      expect(fault([`--healthz-port=${text}`])).toBe(
        `2 --healthz-port is "${text}"; it must be a whole number from 0 to 65535`,
      );
    });
  }

  test("-- ends the flags", () => {
    expect(fault(["--", "--ip-masq"])).toStartWith('2 unknown subcommand "--ip-masq"');
  });

  test("names the argument with invalid flag syntax", () => {
    expect(fault(["---x"])).toBe("2 invalid flag syntax: ---x");
    expect(fault(["--=x"])).toBe("2 invalid flag syntax: --=x");
    expect(fault(["--etcd-prefix"])).toBe("2 --etcd-prefix needs a value");
  });

  test("the values of a repeatable flag add up; of another flag the last counts", () => {
    expect(run(["--iface=eth0", "--iface", "10.0.0.1"]).interfaces).toEqual(["eth0", "10.0.0.1"]);
    expect(run(["--etcd-prefix=/a", "--etcd-prefix=/b"]).etcdPrefix).toBe("/b");
  });
});

describe("environment", () => {
  test("sets options without a flag; an empty variable counts as unset", () => {
    const env = {
      FLANNELD_ETCD_PREFIX: "/env",
      FLANNELD_IP_MASQ: "true",
      FLANNELD_SUBNET_FILE: "",
    };
    expect(run([], env)).toMatchObject({
      etcdPrefix: "/env",
      ipMasq: true,
      subnetFile: "/run/flannel/subnet.env",
    });
    expect(run(["--etcd-prefix=/flag"], env).etcdPrefix).toBe("/flag");
  });

  test("separates a repeatable flag at commas, except inside a pattern's brackets", () => {
    expect(run([], { FLANNELD_IFACE: "eth0, eth1" }).interfaces).toEqual(["eth0", "eth1"]);
    expect(run([], { FLANNELD_IFACE_REGEX: "eth[0,1]{1,2},(a,b),c\\,d" }).interfacePatterns)
      .toEqual(["eth[0,1]{1,2}", "(a,b)", "c\\,d"]);
  });

  test("a flag replaces the whole list of the environment", () => {
    expect(run(["--iface=ens3"], { FLANNELD_IFACE: "eth0,eth1" }).interfaces).toEqual(["ens3"]);
  });

  test("an invalid value is reported with the name of the variable", () => {
    expect(fault([], { FLANNELD_IP_MASQ: "yes" })).toBe(
      '2 FLANNELD_IP_MASQ is "yes"; it must be true or false',
    );
  });

  test("FLANNELD_VERSION and FLANNELD_HELP are not flags; images set the former", () => {
    expect(parseCommandLine([], { FLANNELD_VERSION: "v1", FLANNELD_HELP: "true" }).kind).toBe(
      "daemon",
    );
  });

  test("warns of a misspelt variable, but not of those of a Kubernetes service", () => {
    const result = parseCommandLine([], {
      FLANNELD_ETCD_ENDPOINT: "http://x",
      FLANNELD_SERVICE_HOST: "10.0.0.1",
    }) as Extract<CommandLine, { kind: "daemon" }>;
    expect(result.warnings).toEqual([
      "unknown environment variable FLANNELD_ETCD_ENDPOINT; did you mean FLANNELD_ETCD_ENDPOINTS?",
    ]);
  });

  test("warns of an empty --iface or --iface-regex, but not of an empty variable", () => {
    const warnings = (args: string[], env = {}) =>
      (parseCommandLine(args, env) as Extract<CommandLine, { kind: "daemon" }>).warnings;
    expect(warnings(["--iface=", "--iface-regex", ""])).toEqual([
      "--iface is empty and has no effect; omit it or name an interface",
      "--iface-regex is empty and has no effect; omit it or name an interface",
    ]);
    expect(warnings(["--iface=eth0"], { FLANNELD_IFACE_REGEX: "" })).toEqual([]);
  });

  test("every flag has an environment variable that sets it", () => {
    expect(environmentName("log_backtrace_at")).toBe("FLANNELD_LOG_BACKTRACE_AT");
    for (const [key, flag] of Object.entries(DAEMON_FLAGS)) {
      const text = flag.isBoolean
        ? String(!flag.default)
        : { number: "7", string: "json" }[typeof flag.default as string] ?? "10.9.8.7";
      const chosen = flag.name === "public-ipv6"
        ? "fd00::7"
        : flag.name === "healthz-ip"
        ? "127.0.0.1"
        : flag.name === "join"
        ? JOIN_TARGET
        : text;
      const env = flag.name === "etcd-keyfile" || flag.name === "etcd-certfile"
        ? { FLANNELD_ETCD_KEYFILE: chosen, FLANNELD_ETCD_CERTFILE: chosen }
        : { [environmentName(flag.name)]: chosen };
      expect(run([], env)[key as keyof DaemonOptions]).not.toEqual(flag.default);
    }
  });
});

describe("--join", () => {
  const warnings = (argv: string[], env = {}) =>
    (parseCommandLine(argv, env) as Extract<CommandLine, { kind: "daemon" }>).warnings;

  test("is read from a flag and from the environment", () => {
    const target = parseJoinTarget(JOIN_TARGET) as JoinTarget;
    expect(run(["--join", JOIN_TARGET]).join).toEqual(target);
    expect(run([], { FLANNELD_JOIN: JOIN_TARGET }).join).toEqual(target);
    expect(run(["--join="]).join).toBeUndefined();
  });

  test.each([
    [JOIN_TARGET.slice(0, 40), "the token is truncated"],
    [JOIN_TARGET.replace("@", "A@"), "the token is damaged: its checksum does not match"],
    [JOIN_TARGET.replace(/@.*/, ""), "the address is missing"],
  ])("with an invalid value, it says what is wrong without the token", (value, problem) => {
    for (const message of [fault(["--join", value]), fault([], { FLANNELD_JOIN: value })]) {
      expect(message).toMatch(/^2 (--join|FLANNELD_JOIN) must be TOKEN@HOST\[:PORT\], as /);
      expect(message).toEndWith(problem);
      expect(message).not.toContain(value.slice(10, 20));
    }
  });

  test("is never shown", () => {
    const text = describeOptions(run(["--join", JOIN_TARGET]));
    expect(text).toBe("--join=[redacted]");
  });

  test("takes precedence over the flags of etcd, with one warning", () => {
    expect(warnings(["--join", JOIN_TARGET])).toEqual([]);
    expect(warnings(["--join", JOIN_TARGET, "--etcd-endpoints=http://10.0.0.1:2379"])).toEqual([
      "--join names the datastore; --etcd-endpoints has no effect",
    ]);
    expect(
      warnings(["--join-file=/etc/join", "--etcd-username=a"], { FLANNELD_ETCD_PASSWORD: "b" }),
    ).toEqual([
      "--join-file names the datastore; --etcd-username, --etcd-password have no effect",
    ]);
    expect(warnings(["--join", JOIN_TARGET, "--kube-subnet-mgr"])).toEqual([
      "--join has no effect with --kube-subnet-mgr",
    ]);
  });
});

describe("checks", () => {
  for (const margin of ["0", "1440", "-1", "99999999999"]) {
    test(`a renewal margin of ${margin} ends with status 1`, () => {
      expect(fault([`--subnet-lease-renew-margin=${margin}`])).toBe(
        `1 --subnet-lease-renew-margin is "${margin}"; it must be a whole number of minutes ` +
          "from 1 to 1439",
      );
    });
  }

  /** Accept any text; whether it is usable turns out later. */
  const anyText = [
    "etcd-cafile",
    "etcd-certfile",
    "etcd-endpoints", // a name without a scheme gets one
    "etcd-keyfile",
    "etcd-password",
    "etcd-prefix",
    "etcd-username",
    "iface",
    "join-file",
    "join-state",
    "kube-annotation-prefix",
    "kube-api-url",
    "kubeconfig-file",
    "log_backtrace_at",
    "net-config-path",
    "subnet-file",
    "vmodule",
  ];

  test.each(
    Object.values(DAEMON_FLAGS).map(({ name }) => name).filter((name) =>
      name !== "join" && !anyText.includes(name)
    ),
  )(
    "--%s says in one line what is allowed, as a flag and as a variable",
    (name) => {
      const message = /^2 (\S+) is "\*\?"; it must be .+$/;
      expect(message.exec(fault([`--${name}=*?`]))?.[1]).toBe(`--${name}`);
      const variable = environmentName(name);
      expect(message.exec(fault([], { [variable]: "*?" }))?.[1]).toBe(variable);
    },
  );

  test.each([
    ["--healthz-port=65536", "a whole number from 0 to 65535"],
    ["--healthz-port=-1", "a whole number from 0 to 65535"],
    ["--iptables-resync=0", "a whole number of seconds from 1 to 86400"],
    ["--iptables-resync=86401", "a whole number of seconds from 1 to 86400"],
  ])("%s is out of range and ends with status 1", (argument, allowed) => {
    const [name, value] = argument.split("=");
    expect(fault([argument])).toBe(`1 ${name} is "${value}"; it must be ${allowed}`);
  });

  const refused: [string[], string][] = [
    [["--subnet-file="], '--subnet-file is ""; it must be the path of a file'],
    [["--etcd-endpoints=,"], '--etcd-endpoints is ","; it must be a list with at least one item'],
    [["--public-ip=fd00::1"], '--public-ip is "fd00::1"; it must be an IPv4 address'],
    [
      ["--public-ip=192.168.1.5/24"],
      '--public-ip is "192.168.1.5/24"; it must be an IPv4 address; leave out "/24"',
    ],
    [
      ["--iface-can-reach=fd00::1/64"],
      '--iface-can-reach is "fd00::1/64"; it must be an IPv4 or IPv6 address; leave out "/64"',
    ],
    [["--public-ipv6=1.2.3.4"], '--public-ipv6 is "1.2.3.4"; it must be an IPv6 address'],
    [["--iface-can-reach=x"], '--iface-can-reach is "x"; it must be an IPv4 or IPv6 address'],
    [["--iface-regex=eth("], '--iface-regex is "eth("; it must be a regular expression'],
    [["--log-format=xml"], '--log-format is "xml"; it must be text or json'],
    [
      ["--etcd-endpoints=http://a:1,ftp://b"],
      '--etcd-endpoints is "http://a:1,ftp://b"; it must be URLs that begin with http:// or ' +
      "https://",
    ],
    [
      ["--kube-api-url=ftp://10.0.0.1"],
      '--kube-api-url is "ftp://10.0.0.1"; it must be a URL such as https://10.0.0.1:6443',
    ],
    [
      ["--kube-api-url=https://[::1"],
      '--kube-api-url is "https://[::1"; it must be a URL such as https://10.0.0.1:6443',
    ],
    [
      ["--etcd-keyfile=k"],
      "--etcd-keyfile is given without --etcd-certfile; a certificate needs its key",
    ],
  ];
  test("--kube-api-url may lack a scheme, as for Go flannel", () => {
    for (const url of ["10.0.0.1:6443", "localhost:8080", "https://[fd00::1]:6443/k8s", ""]) {
      expect(parseCommandLine([`--kube-api-url=${url}`], {})).toMatchObject({
        options: { kubeApiUrl: url },
      });
    }
  });

  test("flags of etcd have no effect with --kube-subnet-mgr", () => {
    expect(parseCommandLine(["--kube-subnet-mgr", "--etcd-keyfile=k"], {}).kind).toBe("daemon");
  });

  test("a password in --kube-api-url is refused and not shown", () => {
    expect(fault(["--kube-api-url=https://admin:sesame@10.0.0.1"])).toBe(
      '2 --kube-api-url is "https://[redacted]@10.0.0.1"; it must be a URL without a user name ' +
        "and password; use --kubeconfig-file",
    );
  });

  for (const [argv, message] of refused) {
    test(`${argv.join(" ")} is rejected`, () => expect(fault(argv)).toBe(`2 ${message}`));
  }

  test("an endpoint without a scheme gets https if there are TLS files", () => {
    expect(run(["--etcd-endpoints=a:2379,https://b"]).etcdEndpoints)
      .toEqual(["http://a:2379", "https://b"]);
    expect(run(["--etcd-endpoints=a:2379", "--etcd-cafile=/ca"]).etcdEndpoints)
      .toEqual(["https://a:2379"]);
  });

  test("an unknown flag is named with the nearest known one", () => {
    expect(fault(["--etcd-endpoint=x"])).toBe(
      "2 unknown flag --etcd-endpoint; the nearest known flag is --etcd-endpoints",
    );
  });
});

describe("subcommands", () => {
  test("take the arguments after them", () => {
    expect(parseCommandLine(["lab", "--hosts", "4"], {}))
      .toMatchObject({ kind: "lab", action: { kind: "run", hosts: 4 } });
    expect(parseCommandLine(["datastore", "export"], {}))
      .toMatchObject({ kind: "datastore", action: { kind: "export" } });
    expect(parseCommandLine(["install-cni", "--skip-conf"], {}))
      .toMatchObject({ kind: "install-cni", options: { skipConf: true, skipPlugin: false } });
    expect(parseCommandLine(["cni"], {})).toEqual({ kind: "cni" });
    expect(parseCommandLine(["version", "--json"], {})).toEqual({ kind: "version", json: true });
    expect(parseCommandLine(["licenses"], {})).toEqual({ kind: "licenses" });
  });

  test.each([
    [["-h"], "flanneld"],
    [["help"], "flanneld"],
    [["help", "lab"], "flanneld lab"],
    [["help", "datastore", "export"], "flanneld datastore export"],
    [["cni", "-help"], "flanneld cni"],
    [["version", "--help"], "flanneld version"],
    [["datastore", "migrate", "--h"], "flanneld datastore migrate"],
  ])("%p returns the help of %s", (argv, name) => {
    const result = parseCommandLine(argv, {});
    expect(result.kind === "help" && commandName(result.path)).toBe(name);
  });

  test.each([
    [["cni", "ADD"], 'flanneld cni: unexpected argument "ADD"; it takes no arguments'],
    [
      ["version", "--hlp"],
      "flanneld version: unknown flag --hlp; the nearest known flag is --help",
    ],
    [["install-cni", "--skip-conf", "no"], 'flanneld install-cni: unexpected argument "no"'],
    [["install-cni", "--conf="], 'flanneld install-cni: --conf is ""; it must be the path of a'],
    [["lab", "--hosts=0"], 'flanneld lab: --hosts is "0"; it must be a number from 1 to 1000'],
    [["help", "lba"], 'flanneld: unknown subcommand "lba"; did you mean lab?'],
    [["help", "cni", "add"], 'flanneld cni: unexpected argument "add"'],
  ])("%p ends with status 2 and one line that names the subcommand", (argv, start) => {
    const result = parseCommandLine(argv, {});
    const command = start.split(":")[0];
    expect(result).toEqual({
      kind: "error",
      exitCode: 2,
      message: expect.stringMatching(new RegExp(`[;?] see ${command} --help$`)),
    });
    expect(result.kind === "error" && result.message).toStartWith(start);
  });

  test("--help takes precedence over --version; neither checks other values", () => {
    expect(parseCommandLine(["--version", "-h"], {}).kind).toBe("help");
    expect(parseCommandLine(["--healthz-port=x", "--version"], {})).toEqual({
      kind: "version",
      json: false,
    });
    expect(parseCommandLine(["--version=false"], {}).kind).toBe("daemon");
    expect(parseCommandLine(["version"], {})).toEqual({ kind: "version", json: false });
  });

  test("an unknown subcommand is explained", () => {
    expect(fault(["lba"])).toBe('2 unknown subcommand "lba"; did you mean lab?');
    expect(fault(["eth0"])).toBe(
      '2 unknown subcommand "eth0"; the subcommands are lab, datastore, leases, config, ' +
        "cni, install-cni, status, peers, licenses, version, help",
    );
    expect(fault(["-v=3", "lab"])).toBe("2 flags are not allowed before the subcommand lab");
  });
});

describe("output", () => {
  const secret = "hunter2";

  test("the password is in no description and in no message", () => {
    const options = run([`--etcd-password=${secret}`, "--etcd-username=root", "-v", "2"]);
    expect(options.etcdPassword).toBe(secret);
    expect(describeOptions(options)).toBe(
      "--etcd-username=root --etcd-password=[redacted] --v=2",
    );
    expect(describeOptions(run([]))).toBe("all flags have their defaults");
  });
});

const subcommands = FLANNELD.commands.map(({ name }) => name);

test("no arguments and no environment make the parser throw", () => {
  const words = fc.oneof(
    fc.string(),
    fc.constantFrom(...Object.values(DAEMON_FLAGS).map((flag) => `--${flag.name}`)),
    fc.tuple(fc.constantFrom(...Object.values(DAEMON_FLAGS).map((flag) => flag.name)), fc.string())
      .map(([name, value]) => `-${name}=${value}`),
  );
  const env = fc.dictionary(
    fc.constantFrom(...Object.values(DAEMON_FLAGS).map((flag) => environmentName(flag.name))),
    fc.string(),
  );
  fc.assert(fc.property(fc.array(words), env, (argv, variables) => {
    const { kind } = parseCommandLine(argv, variables);
    expect(["daemon", "help", "version", "error", ...subcommands]).toContain(kind);
  }));
});

describe("a command line without subcommands", () => {
  test("is read by the daemon alone as with them, or not at all", () => {
    const argument = fc.oneof(
      fc.constantFrom(
        "--iface=eth1",
        "-iface",
        "eth1",
        "--ip-masq",
        "--ip-masq=maybe",
        "-v=4",
        "-v",
        "--healthz",
        "--healthz-port=99999",
        "--subnet-lease-renew-margin=0",
        "--join=x",
        "--versio",
        "--version",
        "--help",
        "-h",
        "-help=1",
        "--etcd-endpoints=ftp://x",
        "--",
        "-",
        "",
        " ",
        "lab",
        "version",
        "--etcd-certfile=a",
        "--public-ip",
        "--Iface=x",
        "--kube-subnet-mgr",
        "-=",
        "--=x",
        "-1",
      ),
      fc.string(),
    );
    const variables = fc.constantFrom({}, { FLANNELD_IFACE: "eth2" }, { FLANNELD_V: "x" });
    fc.assert(
      fc.property(fc.array(argument, { maxLength: 4 }), variables, (argv, environment) => {
        const alone = parseDaemonLine(argv, environment);
        const full = parseCommandLine(argv, environment);
        if (alone === undefined) expect(argv.length).toBeGreaterThan(0);
        else expect(alone).toEqual(full);
      }),
      { numRuns: 3_000 },
    );
  });

  test("is that of a unit, with flags and values in one argument", () => {
    const argv = ["--iface=eth1", "-ip-masq", "--etcd-endpoints=http://192.0.2.1:2379"];
    expect(parseDaemonLine(argv, {})).toMatchObject({ kind: "daemon" });
    expect(parseDaemonLine([], {})).toMatchObject({ kind: "daemon" });
    expect(parseDaemonLine(["--nonsense"], {})).toMatchObject({ kind: "error", exitCode: 2 });
    expect(parseDaemonLine(["--iface", "eth1"], {})).toBeUndefined();
    expect(parseDaemonLine(["--help"], {})).toBeUndefined();
  });
});
