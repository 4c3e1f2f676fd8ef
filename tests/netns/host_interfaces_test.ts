import { expect, test } from "bun:test";

/** Runs a script of `ip` commands in a new network namespace, then reads the host there. */
async function readIn(setup: string, canReach = ""): Promise<Record<string, unknown>> {
  const root = new URL("../../", import.meta.url).pathname;
  const reader = `
    import { systemClock } from "${root}src/base/clock.ts";
    import { readInterfaces, readSelectionInput } from "${root}src/host/interface_reader.ts";
    import { NetlinkKernel } from "${root}src/kernel/netlink_kernel.ts";
    using kernel = new NetlinkKernel({ clock: systemClock });
    const canReach = ${JSON.stringify(canReach)} || undefined;
    console.log(JSON.stringify(await readSelectionInput({
      kernel,
      canReach,
      readInterfaces: () => readInterfaces(systemClock),
    })));
  `;
  const child = Bun.spawn(
    ["unshare", "--net", "sh", "-ec", `${setup}\nexec "$@"`, "sh", process.execPath, "-e", reader],
    { stdout: "pipe", stderr: "pipe" },
  );
  const [output, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  expect([await child.exited, errors]).toEqual([0, ""]);
  return JSON.parse(output) as Record<string, unknown>;
}

const plain = { isPermanent: true, isTemporary: false, isDeprecated: false };

test("devices, addresses and their flags are read from the kernel, in its order", async () => {
  const host = await readIn(`
    ip link add b0 mtu 1400 type veth peer name a0
    ip address add 10.1.0.2/24 dev b0
    ip address add 10.1.0.3/24 label b0:1 dev b0
    ip link property add dev b0 altname lan altname a-name-of-more-than-15-characters
    ip address add 10.2.0.1/24 valid_lft 1000 preferred_lft 500 dev b0
    ip address add 10.3.0.1/24 valid_lft 1000 preferred_lft 0 dev b0
    ip -6 address add fd00::1/64 nodad dev b0
    ip link set b0 up
    ip link set lo up
  `);
  expect(host["interfaces"]).toEqual([
    {
      name: "lo",
      mtuBytes: 65_536,
      isUp: true,
      ifindex: 1,
      addresses: [
        { address: "127.0.0.1", prefixLength: 8, ...plain },
        { address: "::1", prefixLength: 128, ...plain },
      ],
    },
    expect.objectContaining({ name: "a0", isUp: false, addresses: [] }),
    {
      name: "b0",
      altNames: ["lan", "a-name-of-more-than-15-characters"],
      ifindex: expect.any(Number),
      mtuBytes: 1400,
      isUp: true,
      addresses: [
        { address: "10.1.0.2", prefixLength: 24, ...plain },
        // The kernel has one bit for IPv6's temporary and IPv4's secondary addresses.
        { address: "10.2.0.1", prefixLength: 24, ...plain, isPermanent: false },
        { address: "10.3.0.1", prefixLength: 24, ...plain, isPermanent: false, isDeprecated: true },
        { address: "10.1.0.3", prefixLength: 24, ...plain, isTemporary: true, label: "b0:1" },
        { address: "fd00::1", prefixLength: 64, ...plain },
      ],
    },
  ]);
  expect(host["defaultRoutes"]).toEqual({});
});

test("the default route with the lowest metric counts, even with several next hops", async () => {
  const setup = `
    for name in u1 u2 u3; do
      ip link add $name type veth peer name p$name
      ip link set $name up
      ip link set p$name up
    done
    ip address add 10.1.0.2/24 dev u1
    ip address add 10.2.0.2/24 dev u2
    ip address add 10.3.0.2/24 dev u3
    ip -6 address add fd00::2/64 nodad dev u3
    ip -6 route add default via fd00::1
    ip route add default via 10.1.0.1 metric 200
  `;
  const single = await readIn(`${setup}\nip route add default via 10.2.0.1 metric 100`);
  expect(single["defaultRoutes"]).toEqual({ 4: "u2", 6: "u3" });
  const several = await readIn(
    `${setup}\nip route add default metric 50 nexthop via 10.2.0.1 nexthop via 10.3.0.1`,
  );
  expect(["u2", "u3"]).toContain((several["defaultRoutes"] as { 4: string })[4]);
});

test("the route to an address is the kernel's, and an own address has none", async () => {
  const setup = `
    ip link add u1 type veth peer name p1
    ip link set u1 up
    ip link set p1 up
    ip link set lo up
    ip address add 10.1.0.2/24 dev u1
    ip address add 10.1.0.9/24 dev u1
    ip route add 10.9.0.0/16 via 10.1.0.1 src 10.1.0.9
  `;
  expect((await readIn(setup, "10.1.0.7"))["routeToTarget"]).toEqual({
    link: "u1",
    source: "10.1.0.2",
  });
  expect((await readIn(setup, "10.9.1.1"))["routeToTarget"]).toEqual({
    link: "u1",
    source: "10.1.0.9",
  });
  expect((await readIn(setup, "10.1.0.2"))["routeToTarget"]).toBeUndefined();
  expect((await readIn(setup, "192.0.2.1"))["routeToTarget"]).toBeUndefined();
});
