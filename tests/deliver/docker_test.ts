/**
 * Docker on two machines with the subnets of flanneld: node1 as the packages of Fedora and CentOS
 * have set up Go flannel, node2 as docs/docker.md says, first with a network of its own.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type IpAddress, parseIpAddress } from "../../src/addr/ip.ts";
import { type Prefix, prefixContainsAddress } from "../../src/addr/prefix.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { FLANNEL_FILES, subnetOf, unitProperty } from "../support/machines/flannel_machines.ts";
import type { Machine } from "../support/machines/machine.ts";
import { TEST_ADDRESSES } from "../support/machines/machine_network.ts";
import { type MachineFile, Machines } from "../support/machines/machines.ts";
import { MK_DOCKER_OPTS } from "../support/mk_docker_opts.ts";
import { runCommand } from "../support/run_command.ts";
import { eventually } from "../support/wait.ts";

const DROP_IN =
  new URL("../../deploy/docker/docker.service.d/flannel.conf", import.meta.url).pathname;
const MANUAL = new URL("../../docs/docker.md", import.meta.url).pathname;
const UNITS = "/etc/systemd/system";
const ETCD = "http://192.168.56.11:2379";
const NODE_SETTINGS = `FLANNELD_ETCD_ENDPOINTS=${ETCD}
FLANNELD_IFACE=eth1
FLANNELD_IP_MASQ=true
`;
const READY_MS = 60_000;
/** That of vxlan in a network with both families. */
const MTU_BYTES = 1430;
/** After the headers of IP and ICMP. */
const FULL_PAYLOAD_BYTES = { 4: MTU_BYTES - 28, 6: MTU_BYTES - 48 } as const;

let directory: string;
let machines: Machines;
let one: Machine;
let two: Machine;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "docker-"));
  machines = await Machines.create({
    count: 2,
    root: "docker",
    // runc limits devices by bpf(2), and gives each container a keyring.
    systemCalls: ["bpf", "add_key", "keyctl"],
    files: [...WITHOUT_FORWARDING, ...SETTINGS, await imageFile(directory)],
  });
  await machines.boot();
  [one, two] = [machines.at(1), machines.at(2)];
  await Promise.all(machines.all.map((machine) => machine.run("docker import /root/box.tar box")));
  await one.run("systemctl start flannel-datastore");
  await two.write("/etc/flanneld/flanneld.env", NODE_SETTINGS);
  await Promise.all([
    connectAsFedora(one, "-iface=eth1 -ip-masq"),
    two.run("systemctl start flanneld"),
  ]);
  await one.run(runContainer("web", "--restart always --publish 8080:80"));
}, 180_000);

afterAll(async () => {
  await machines?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
}, 60_000);

test("a network of its own, as in the manual, leaves docker0 as it is", async () => {
  const [, commands = ""] = /```sh\n([^`]*docker network create[^`]*)```/
    .exec(readFileSync(MANUAL, "utf8")) ?? [];
  await two.run(commands);
  await two.run(runContainer("own", "--network flannel"));
  expect(await two.run("ip -4 -o address show docker0")).toContain(" 172.17.0.1/16 ");
  await expectFullMtu(one, two, "own");
  expect(await outsideSource(two, "own")).toBe(two.address(4));
  await two.run("docker rm --force own && docker network rm flannel");
}, 120_000);

test("with the drop-in, an engine that runs takes the subnet and the MTU of flanneld", async () => {
  await two.write(`${UNITS}/docker.service.d/flannel.conf`, readFileSync(DROP_IN));
  await two.run("systemctl daemon-reload && systemctl restart docker");
  await two.run(runContainer("web", "--restart always --publish 8080:80"));
  for (const machine of [one, two]) {
    const { subnets, mtuBytes } = await subnetOf(machine);
    expect(mtuBytes).toBe(MTU_BYTES);
    const network = "{{(index .IPAM.Config 0).Subnet}} {{json .Options}}";
    const inspected = await machine.run(`docker network inspect --format '${network}' bridge`);
    expect(inspected).toStartWith(`${subnets[4]} `);
    expect(inspected).toContain(`"com.docker.network.driver.mtu":"${MTU_BYTES}"`);
    expect(inspected).toContain('"com.docker.network.bridge.enable_ip_masquerade":"false"');
    expect(await machine.run("iptables -S FORWARD")).toStartWith("-P FORWARD DROP\n");
  }
}, 120_000);

test("containers reach one another at the full MTU, with their own addresses", async () => {
  await expectFullMtu(one, two);
  await expectFullMtu(two, one);
  const { address } = await container(two);
  const source = await sourceSeen(
    { at: two, device: "docker0", address },
    () => ping(one, address),
  );
  expect(source).toBe((await container(one)).address);
});

test("a restart of flanneld loses no packet and leaves Docker running", async () => {
  const engines = await mainProcesses();
  const { pid } = await container(one);
  const { address } = await container(two);
  await one.run(`rm -f /run/enough; systemd-run --quiet --unit pings sh -c '
    until [ -e /run/enough ]; do
      nsenter --target ${pid} --net ping -n -q -c 100 -i 0.01 ${address} | tee -a /run/pings |
        grep -q " 100 received" || exit 1
    done'`);
  await Promise.all([one, two].map((machine) => machine.run("systemctl restart flanneld")));
  expect(await unitProperty(one, "ActiveState", "pings")).toBe("active");
  await one.run("touch /run/enough");
  await eventually("the pings have ended", READY_MS, async () => {
    return await unitProperty(one, "ActiveState", "pings") !== "active";
  });
  expect(await unitProperty(one, "Result", "pings")).toBe("success");
  expect(await one.run("cat /run/pings")).toContain(" 0% packet loss");
  expect(await mainProcesses()).toEqual(engines);
}, 120_000);

test("a published port is reachable from the other host and its containers", async () => {
  const url = `http://${two.address(4)}:8080/`;
  expect(await one.run(`docker exec web busybox wget -q -O - ${url}`)).toBe("hello from node2\n");
  expect(await one.run(`/usr/local/bin/busybox wget -q -O - ${url}`)).toBe("hello from node2\n");
});

describe("packets to the outside have the address of the host", () => {
  const DOCKERS_RULE = /-A POSTROUTING -s \S+ ! -o docker0 -j MASQUERADE/;

  test("by flanneld's rules", async () => {
    for (const machine of [one, two]) {
      expect(await outsideSource(machine)).toBe(machine.address(4));
      expect(await machine.run("iptables -t nat -S POSTROUTING")).not.toMatch(DOCKERS_RULE);
    }
  });

  test("by Docker's rule, if flanneld runs without --ip-masq", async () => {
    await connectAsFedora(one, "-iface=eth1");
    await awaitContainer(one);
    expect(await one.run("iptables -t nat -S POSTROUTING")).toMatch(DOCKERS_RULE);
    expect(await one.run("iptables -t nat -S")).not.toContain("FLANNEL");
    expect(await outsideSource(one)).toBe(one.address(4));
    await expectPing(one, two);
    await expectPing(two, one);
  }, 120_000);
});

test("Docker waits for flanneld, and then its containers are back in the network", async () => {
  await two.run("systemctl stop docker.socket docker flanneld && rm -r /run/flannel/*");
  await one.run("systemctl stop flannel-datastore");
  await two.run("systemctl start --no-block docker");
  await eventually("flanneld waits", READY_MS, async () => {
    return (await unitProperty(two, "StatusText")).includes(ETCD);
  });
  expect(await unitProperty(two, "ActiveState", "docker")).toBe("inactive");
  await one.run("systemctl start flannel-datastore");
  await awaitContainer(two);
  await expectPing(one, two);
}, 120_000);

test("Docker tries to start until a flanneld that has failed is repaired", async () => {
  await two.run("systemctl stop docker.socket docker flanneld && rm -r /run/flannel/*");
  const wrong = NODE_SETTINGS.replace("true", "perhaps");
  await two.write("/etc/flanneld/flanneld.env", wrong);
  await two.run("systemctl start --no-block docker");
  await eventually("Docker has tried three times", READY_MS, async () => {
    return Number(await unitProperty(two, "NRestarts", "docker")) >= 3;
  });
  expect(await two.journal("docker")).toContain(
    "cannot read /run/flannel/subnet.env; start flanneld",
  );
  await two.write("/etc/flanneld/flanneld.env", NODE_SETTINGS);
  await awaitContainer(two);
  await expectPing(one, two);
}, 120_000);

test("with the drop-in for IPv6, as in the manual, containers have both families", async () => {
  const [, dropIn = ""] = /```ini\n([^`]*--fixed-cidr-v6[^`]*)```/
    .exec(readFileSync(MANUAL, "utf8").replaceAll(/^ {2}/gm, "")) ?? [];
  await two.run("systemctl stop docker.socket docker");
  await connectAsFedora(one, "-iface=eth1 -ip-masq");
  for (const machine of [one, two]) {
    await machine.write(`${UNITS}/docker.service.d/flannel.conf`, readFileSync(DROP_IN));
    await machine.write(`${UNITS}/docker.service.d/ipv6.conf`, dropIn);
    await machine.run("systemctl daemon-reload && systemctl restart docker");
    await awaitContainer(machine);
  }
  const [from, to] = [(await container(one)).ipv6, (await container(two)).ipv6];
  for (const [machine, address] of [[one, from], [two, to]] as const) {
    const { subnets } = await subnetOf(machine);
    expect(prefixContainsAddress(subnets[6] as Prefix, parseIpAddress(address) as IpAddress))
      .toBe(true);
  }
  await expectPing(one, two);
  const source = await sourceSeen(
    { at: two, device: "docker0", address: to },
    () => ping(one, to),
  );
  expect(source).toBe(from);
  await ping(one, to, { payloadBytes: FULL_PAYLOAD_BYTES[6] });
  expect(
    await sourceSeen(
      { device: "machines0", address: TEST_ADDRESSES[6] },
      () => ping(one, TEST_ADDRESSES[6]),
    ),
  ).toBe(one.address(6));
}, 180_000);

/** Docker sets the policy of FORWARD to drop if it has to enable forwarding itself. */
const WITHOUT_FORWARDING = FLANNEL_FILES.filter(({ path }) => !path.startsWith("/etc/sysctl.d/"));

/** The same on both machines. */
const SETTINGS: readonly MachineFile[] = [
  {
    path: "/etc/flanneld/datastore.env",
    content: "FLANNEL_DATASTORE_FLAGS=--listen 192.168.56.11 " +
      "--network 10.5.0.0/16,fd00:5::/48 --insecure\n",
  },
  {
    path: "/usr/libexec/flannel/mk-docker-opts.sh",
    content: { copyOf: MK_DOCKER_OPTS },
    mode: 0o755,
  },
  // The disk of a machine is an overlay already.
  { path: "/etc/docker/daemon.json", content: '{"storage-driver": "vfs"}\n' },
  { path: "/usr/local/bin/busybox", content: { copyOf: "/bin/busybox" }, mode: 0o755 },
];

/** The file system of an image: busybox. */
async function imageFile(folder: string): Promise<MachineFile> {
  const root = join(folder, "root");
  mkdirSync(join(root, "bin"), { recursive: true });
  await runCommand("cp", ["/bin/busybox", join(root, "bin/busybox")]);
  await runCommand("tar", ["-cf", join(folder, "box.tar"), "-C", root, "."]);
  return { path: "/root/box.tar", content: { copyOf: join(folder, "box.tar") } };
}

/** A web server that says on which host it is. */
function runContainer(name: string, options: string): string {
  return `docker run --detach --name ${name} --stop-signal KILL ${options} box /bin/busybox sh -c \\
    "echo hello from $(hostname) >/index.html; exec busybox httpd -f -h / -p 80"`;
}

/** As the packages of Fedora and CentOS do, and with an empty argument. */
async function connectAsFedora(machine: Machine, options: string): Promise<void> {
  await machine.write(
    "/etc/sysconfig/flanneld",
    `FLANNEL_ETCD_ENDPOINTS="${ETCD}"
FLANNEL_ETCD_PREFIX="/coreos.com/network"
FLANNEL_OPTIONS="${options}"
`,
  );
  await machine.write(`${UNITS}/flanneld.service`, FEDORA_UNIT);
  await machine.write(
    `${UNITS}/docker.service.d/flannel.conf`,
    "[Service]\nEnvironmentFile=-/run/flannel/docker\n",
  );
  await machine.run("systemctl daemon-reload; systemctl restart flanneld docker");
}

const FEDORA_UNIT = `[Unit]
After=network-online.target
Before=docker.service

[Service]
Type=notify
EnvironmentFile=/etc/sysconfig/flanneld
EnvironmentFile=-/etc/sysconfig/docker-network
ExecStart=/usr/local/bin/flanneld -etcd-endpoints=\${FLANNEL_ETCD_ENDPOINTS} \\
  -etcd-prefix=\${FLANNEL_ETCD_PREFIX} \${FLANNEL_NONE} $FLANNEL_OPTIONS
ExecStartPost=/usr/libexec/flannel/mk-docker-opts.sh -k DOCKER_OPTS -d /run/flannel/docker
Restart=on-failure
`;

/** Its process on the machine, 0 if it does not run, and its addresses. */
async function container(
  machine: Machine,
  name = "web",
): Promise<{ readonly pid: string; readonly address: string; readonly ipv6: string }> {
  const addresses = "{{.IPAddress}} {{.GlobalIPv6Address}}";
  const format = `{{.State.Pid}} {{range .NetworkSettings.Networks}}${addresses}{{end}}`;
  const [pid = "", address = "", ipv6 = ""] =
    (await machine.run(`docker inspect --format '${format}' ${name}`)).trim().split(" ");
  return { pid, address, ipv6 };
}

async function awaitContainer(machine: Machine): Promise<void> {
  await eventually("the container runs", READY_MS, async () => {
    return (await container(machine)).pid !== "0";
  });
}

/** Pings from a container; throws without an answer. */
async function ping(
  machine: Machine,
  address: string,
  { name = "web", payloadBytes = 56, waitSeconds = 10 } = {},
): Promise<void> {
  const { pid } = await container(machine, name);
  const options = `-n -M do -s ${payloadBytes} -c 1 -W ${waitSeconds}`;
  await machine.run(`nsenter --target ${pid} --net ping ${options} ${address} 2>&1`);
}

/** A packet of the full MTU arrives. */
async function expectPing(from: Machine, to: Machine): Promise<void> {
  const { address } = await container(to);
  await ping(from, address, { payloadBytes: FULL_PAYLOAD_BYTES[4] });
}

/** The largest packet arrives, and a larger one is not sent. */
async function expectFullMtu(from: Machine, to: Machine, name = "web"): Promise<void> {
  const { address } = await container(to, name);
  await ping(from, address, { payloadBytes: FULL_PAYLOAD_BYTES[4] });
  await expect(ping(from, address, { payloadBytes: FULL_PAYLOAD_BYTES[4] + 1, waitSeconds: 1 }))
    .rejects.toThrow(`message too long, mtu=${MTU_BYTES}`);
}

/** The source address of the pings of a container when they arrive at the test. */
async function outsideSource(machine: Machine, name = "web"): Promise<string> {
  const address = TEST_ADDRESSES[4];
  return await sourceSeen({ device: "machines0", address }, () => ping(machine, address, { name }));
}

/** The source address of the first ping to `address` that a capture on this device sees. */
async function sourceSeen(
  { at, device, address }: {
    readonly at?: Machine;
    readonly device: string;
    readonly address: string;
  },
  send: () => Promise<void>,
): Promise<string> {
  const command = [
    "tcpdump",
    "-n",
    "-l",
    "-c",
    "1",
    "-i",
    device,
    `(icmp or icmp6) and dst ${address}`,
  ];
  const inside = at === undefined ? [] : ["netns", "exec", at.place.namespace];
  const [program = "", ...args] = at === undefined ? command : ["ip", ...inside, ...command];
  const { promise: listening, resolve } = Promise.withResolvers<void>();
  const capture = runProgram(program, args, {
    timeoutMs: READY_MS,
    onLine: (line) => line.includes("listening on") && resolve(),
  });
  await Promise.race([listening, capture]);
  await send();
  const { stdout } = await capture;
  return / IP6? (\S+) > /.exec(stdout)?.[1] ?? stdout;
}

async function mainProcesses(): Promise<string[]> {
  return await Promise.all(
    [one, two].map((machine) => unitProperty(machine, "MainPID", "docker")),
  );
}
