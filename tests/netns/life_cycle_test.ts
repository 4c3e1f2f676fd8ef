/** From the start to the end of one daemon: its file, its endpoints, its signals, its log. */

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startDetached } from "../../src/process/detached_process.ts";
import { Cluster } from "../support/cluster.ts";
import { FLANNELD, type Host } from "../support/host.ts";
import { DUAL, IPV4, IPV6_ONLY, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const VXLAN = { ...IPV4, Backend: { Type: "vxlan" } };

async function single(config: object = VXLAN): Promise<{ cluster: Cluster; host: Host }> {
  const cluster = await Cluster.create({ hosts: 1, families: [4, 6] });
  rememberSubnets(cluster, {
    ipv4: !("EnableIPv4" in config),
    ipv6: "EnableIPv6" in config,
  });
  await cluster.configure(config);
  return { cluster, host: cluster.host(1) };
}

describe("the subnet file", () => {
  test.each([
    [
      "IPv4",
      VXLAN,
      [],
      "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\n" +
      "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
    ],
    [
      "dual stack with masquerading",
      { ...DUAL, Backend: { Type: "vxlan" } },
      ["--ip-masq"],
      "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\n" +
      "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:1::1/64\n" +
      "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n",
    ],
    [
      "IPv6 only",
      { ...IPV6_ONLY, Backend: { Type: "host-gw" } },
      [],
      "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:1::1/64\n" +
      "FLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n",
    ],
  ])("of a network with %s is exact", async (_name, config, flags, text) => {
    const { cluster, host } = await single(config);
    await using _ = cluster;
    await host.up({ flags });
    expect(host.subnetText()).toBe(text);
    expect(statSync(host.subnetFile).mode & 0o777).toBe(0o644);
  }, 120_000);

  test("gets its missing directories, and no temporary file stays next to it", async () => {
    const { cluster, host } = await single();
    await using _ = cluster;
    const directory = join(host.directory, "made", "for it");
    host.start({ flags: [`--subnet-file=${directory}/subnet.env`] });
    await eventually(
      "it is written",
      30_000,
      () => readFileSync(`${directory}/subnet.env`, "utf8").includes("FLANNEL_IPMASQ=false\n"),
    );
    // The status socket may be open already.
    expect(readdirSync(directory).filter((name) => name !== "flanneld.sock"))
      .toEqual(["subnet.env"]);
  }, 120_000);

  test("with broken lines costs a warning and no more", async () => {
    const { cluster, host } = await single();
    await using _ = cluster;
    writeFileSync(
      host.subnetFile,
      "FLANNEL_SUBNET=10.5.9.1/24\nFLANNEL_NETWORK=10.5\n\0\x01=\nx\n",
    );
    const daemon = await host.up();
    expect(host.subnetText()).toContain("FLANNEL_SUBNET=10.5.9.1/24\n");
    expect(daemon.logLines(/^W.*subnet\.env/).length).toBeGreaterThan(0);
  }, 120_000);
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "%s ends the daemon in time with status 0 and keeps the data plane",
  async (signal) => {
    const { cluster, host } = await single();
    await using _ = cluster;
    await host.up({ flags: ["--ip-masq"] });
    const [kernel, rules] = [await host.kernel(), await host.sh("iptables-save | grep FLANNEL")];
    const { code, milliseconds } = await host.daemon.stop(signal);
    expect(code).toBe(0);
    expect(host.daemon.log()).not.toContain("not all parts ended");
    expect(milliseconds).toBeLessThan(20_000);
    expect(await host.kernel()).toBe(kernel);
    expect(await host.sh("iptables-save | grep FLANNEL")).toBe(rules);
    expect(await cluster.leases()).toHaveLength(1);
  },
  120_000,
);

test(
  "SIGTERM ends the daemon with status 0 at any time, even while it waits for etcd",
  async () => {
    const { cluster, host } = await single();
    await using _ = cluster;
    for (const delayMs of [0, 30, 60, 120, 200]) {
      const daemon = host.start();
      // Before that the program is still being loaded, and a signal kills it.
      await eventually("its first line", 30_000, () => daemon.log().includes("\n"));
      await Bun.sleep(delayMs);
      const { code } = await daemon.stop();
      expect({ delayMs, code, log: daemon.logEnd() }).toMatchObject({ code: 0 });
      expect(daemon.log()).not.toContain("not all parts ended");
    }
    await cluster.etcd.kill();
    const daemon = host.start();
    await eventually("it waits", 30_000, () => daemon.logLines(/etcd.*192\.0\.2\.253/).length > 1);
    expect(await daemon.stop()).toMatchObject({ code: 0 });
  },
  120_000,
);

describe("/readyz", () => {
  test("is 503 with the current step during the start, and 200 after it", async () => {
    const { cluster, host } = await single();
    await using _ = cluster;
    await cluster.configure("{}");
    host.start();
    await eventually(
      "the server answers",
      30_000,
      async () => (await host.http("/healthz")).status === 200,
    );
    const early = await host.http("/readyz");
    expect(early.status).toBe(503);
    await eventually(
      "/readyz names the current step",
      30_000,
      async () =>
        /waiting for a valid network configuration: .*Network/.test(
          (await host.http("/readyz")).body,
        ),
    );
    expect((await host.http("/elsewhere")).status).toBe(404);
    await cluster.configure(VXLAN);
    await host.ready();
    expect((await host.http("/healthz")).status).toBe(200);
  }, 120_000);

  test("is 503 while the subnet file cannot be written, and 200 soon after it can", async () => {
    const { cluster, host } = await single();
    await using _ = cluster;
    // Its directory cannot be created in place of a dangling link.
    const directory = join(host.directory, "in-the-way");
    await host.sh(`ln -s ${host.directory}/nothing/there ${directory}`);
    const daemon = host.start({ flags: [`--subnet-file=${directory}/subnet.env`] });
    await eventually(
      "/readyz names the problem",
      30_000,
      async () => (await host.http("/readyz")).body.includes("cannot write the subnet file"),
    );
    expect((await host.http("/readyz")).status).toBe(503);
    expect(daemon.log()).not.toContain("] ready;");
    await host.sh(`rm ${directory}`);
    await eventually("it is ready", 60_000, () => host.isReady());
    expect(daemon.log().match(/cannot write the subnet file/g)).toHaveLength(1);
    expect(daemon.log()).toContain("] ready;");
  }, 120_000);

  test(
    "is 503 while another program's device has the name of ours, and 200 after that",
    async () => {
      const { cluster, host } = await single();
      await using _ = cluster;
      await host.up();
      await host.sh(
        "ip -batch - <<'END'\nlink add decoy type bridge\nlink set flannel.1 name gone\n" +
          "link set decoy name flannel.1\nlink del gone\nEND",
      );
      await eventually(
        "it is not ready",
        30_000,
        async () => (await host.http("/readyz")).status === 503,
      );
      expect((await host.http("/readyz")).body).toContain("flannel.1");
      expect((await host.http("/healthz")).status).toBe(200);
      await host.sh("ip link del flannel.1");
      await eventually(
        "it is ready again",
        30_000,
        async () => (await host.http("/readyz")).status === 200,
      );
    },
    120_000,
  );
});

test("systemd receives READY=1 after the subnet file and STOPPING=1 at the end", async () => {
  const { cluster, host } = await single();
  await using _ = cluster;
  const [socket, received] = [join(host.directory, "notify"), join(host.directory, "received")];
  // perl is on every Debian machine; Bun has no datagram sockets of the Unix family.
  const program = `use IO::Socket::UNIX; use Socket; my $s = IO::Socket::UNIX->new(
    Local => $ARGV[0], Type => SOCK_DGRAM) or die; $| = 1;
    while (defined $s->recv(my $m, 4096)) {
      $m =~ s/\\n/ /g; print -e $ARGV[1] ? "file " : "", "$m\\n";
    }`;
  const listener = startDetached("perl", ["-e", program, socket, host.subnetFile], {
    logFile: received,
    env: {},
  });
  cluster.record.addProcess(listener.pid);
  await eventually("the socket is there", 30_000, () => statSync(socket).isSocket());
  await Bun.write(host.subnetFile, "");
  await Bun.$`rm ${host.subnetFile}`;
  await host.up({ env: { NOTIFY_SOCKET: socket } });
  const lines = () => readFileSync(received, "utf8").split("\n");
  await eventually("READY=1 comes", 30_000, () => lines().some((line) => line.includes("READY=1")));
  const ready = lines().filter((line) => line.includes("READY=1"));
  expect(ready).toHaveLength(1);
  expect(ready[0]).toStartWith("file ");
  expect(lines().some((line) => line.includes("STATUS="))).toBe(true);
  await host.daemon.stop();
  const stopping = () => lines().filter((line) => line.includes("STOPPING=1")).length;
  await eventually("STOPPING=1 comes", 30_000, () => stopping() > 0);
  expect(stopping()).toBe(1);
}, 120_000);

describe("the log", () => {
  test("has klog's header on every line and nothing on standard output", async () => {
    const { cluster, host } = await single();
    await using _ = cluster;
    const daemon = await host.up();
    await daemon.stop();
    for (const line of daemon.log().trimEnd().split("\n")) {
      expect(line).toMatch(/^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [a-z0-9_./:-]+\] \S/);
    }
  }, 120_000);

  test(
    "of a start without problems has no warning and no error, and names the chosen interface",
    async () => {
      const { cluster, host } = await single({ ...DUAL, Backend: { Type: "vxlan" } });
      await using _ = cluster;
      const daemon = await host.up({ flags: ["--ip-masq"] });
      expect(daemon.logLines(/^[WEF]/)).toEqual([]);
      expect(daemon.logLines(/interface|address/).join("\n")).toMatch(
        /eth0[^]*192\.0\.2\.1[^]*2001:db8::1/,
      );
    },
    120_000,
  );

  test("is JSON, line by line, with --log-format=json", async () => {
    const { cluster, host } = await single();
    await using _ = cluster;
    const daemon = await host.up({ flags: ["--log-format=json"] });
    const lines = daemon.log().trimEnd().split("\n").map((line) => JSON.parse(line));
    expect(lines.length).toBeGreaterThan(3);
  }, 120_000);
});

test("every flag has an environment form, and the flag wins", async () => {
  const { cluster, host } = await single();
  await using _ = cluster;
  await cluster.etcd.put(
    "/elsewhere/config",
    JSON.stringify({ ...VXLAN, Backend: { Type: "vxlan", VNI: 7 } }),
  );
  host.start({
    bare: true,
    flags: ["--healthz-port=8471"],
    env: {
      FLANNELD_ETCD_ENDPOINTS: host.endpoints,
      FLANNELD_ETCD_PREFIX: "/elsewhere",
      FLANNELD_SUBNET_FILE: host.subnetFile,
      FLANNELD_IP_MASQ: "true",
      FLANNELD_IFACE: "eth0",
      FLANNELD_HEALTHZ_PORT: "1",
    },
  });
  await host.ready();
  expect(await host.kernel()).toContain("link flannel.7: ");
  expect(host.subnetText()).toContain("FLANNEL_IPMASQ=true\n");
}, 120_000);

test("an .env and a bunfig.toml in the current directory are not read", async () => {
  const { cluster, host } = await single();
  await using _ = cluster;
  const trap = join(host.directory, "trap");
  mkdirSync(trap);
  writeFileSync(join(trap, ".env"), "FLANNELD_ETCD_PREFIX=/stolen\nFLANNELD_IP_MASQ=true\n");
  writeFileSync(join(trap, "bunfig.toml"), 'preload = ["./evil.ts"]\n');
  writeFileSync(join(trap, "evil.ts"), 'require("fs").writeFileSync("ran", "");\n');
  await host.up({ workingDirectory: trap });
  expect(host.subnetText()).toContain("FLANNEL_IPMASQ=false\n");
  expect(readdirSync(trap).sort()).toEqual([".env", "bunfig.toml", "evil.ts"]);
}, 120_000);

test(
  "without an interface for the network, the daemon ends with one line and the remedy",
  async () => {
    const { cluster, host } = await single();
    await using _ = cluster;
    const daemon = host.start({ flags: ["--iface=nope0"] });
    expect(await daemon.exitCode()).toBe(1);
    expect(daemon.logLines(/^[EF]/)).toHaveLength(1);
    expect(daemon.logLines(/^[EF]/)[0]).toContain("nope0");
    expect(await host.kernel()).toBe("");
  },
  120_000,
);

test(
  "workloads reach each other past a REJECT rule of another program in FORWARD",
  async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure(VXLAN);
    for (const host of cluster.hosts) {
      await host.sh("iptables -P FORWARD DROP; iptables -A FORWARD -j REJECT");
    }
    await cluster.startAll();
    await cluster.attachWorkloads();
    await cluster.expectMesh();
  },
  120_000,
);

test("the program under test is an executable of its own", () => {
  expect(readFileSync(FLANNELD).subarray(0, 4).toString("latin1")).toBe("\x7fELF");
});

test(
  "a table that iptables cannot show does not stop the start, and is named by /readyz",
  async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    await cluster.configure({ ...IPV4, Backend: { Type: "vxlan" } });
    const one = cluster.host(1);
    await one.sh("iptables -P FORWARD ACCEPT; nft add rule ip filter FORWARD ct mark set 1");
    one.start();
    await eventually("the subnet file is written", 60_000, () => existsSync(one.subnetFile));
    const { status, body } = await one.http("/readyz");
    expect([status, body]).toEqual([
      503,
      expect.stringContaining("IPv4 iptables cannot show the table filter ("),
    ]);
    expect(await one.sh("nft list chain ip filter FORWARD | grep -c FLANNEL-FWD")).toBe("1\n");
    await one.sh("nft flush chain ip filter FORWARD");
    await one.ready();
    expect(await one.sh("iptables -S FORWARD")).toContain("-j FLANNEL-FWD");
  },
  120_000,
);
