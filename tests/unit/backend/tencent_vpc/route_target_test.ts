import { describe, expect, test } from "bun:test";
import type { NodeInput } from "../../../../src/overlay/node_input.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import { RouteTarget } from "../../../../src/backend/tencent_vpc/route_target.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import {
  FakeTencent,
  freshState,
  KEY,
  nodeRoute,
  PLACE,
  refusal,
  table,
} from "../../../support/fake_tencent.ts";
import { external, ip, lease, prefix } from "../../../support/sample_network.ts";

const INPUT: NodeInput = { own: lease(1, "", [4]), external: external([4]) };
const OWN = "10.5.1.0/24 by 192.168.0.1";
const CHECK_MS = 60_000;

/** The cloud checks the timestamps of requests, so the wall time is real. */
function fakeClock(): FakeClock {
  return Object.assign(new FakeClock(() => 0.5), { wallMs: Date.now });
}

/** A node in a cloud of its own, and what it logs. */
class Node implements AsyncDisposable {
  readonly cloud: FakeTencent = new FakeTencent();
  readonly clock = fakeClock();
  readonly target: RouteTarget;
  readonly #records;

  constructor(key: { id?: string; secret?: string } = {}) {
    const { log, records } = collectingLog();
    this.#records = records;
    this.target = new RouteTarget({
      network: prefix("10.5.0.0/16"),
      credentials: {
        accessKeyId: key.id ?? KEY.id,
        accessKeySecret: key.secret ?? KEY.secret,
      },
      apiEndpoint: this.cloud.url,
      metadataEndpoint: this.cloud.url,
      clock: this.clock,
      log,
    });
  }

  async start(): Promise<void> {
    await this.target.start(INPUT, new AbortController().signal);
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await this.target.whenSettled();
  }

  warnings(): string[] {
    return this.#records.filter(({ level }) => level === "warn").map(({ msg }) => msg);
  }

  log(): string {
    return JSON.stringify(this.#records);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.target[Symbol.asyncDispose]();
    await this.cloud[Symbol.asyncDispose]();
  }
}

/** What `start` throws. */
async function refused(node: Node): Promise<string> {
  const error = await node.start().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(BackendError);
  return (error as Error).message;
}

/** What it throws after some attempts, with time passing. */
async function refusedAfterPauses(node: Node): Promise<string> {
  let message: string | undefined;
  const ending = refused(node).then((text) => message = text);
  while (message === undefined) {
    await Bun.sleep(10);
    await node.clock.advance(100);
  }
  return await ending;
}

describe("a node in the cloud", () => {
  test("creates its route at startup, and only checks it from then on", async () => {
    await using node = new Node();
    await node.start();
    expect(node.cloud.routes()).toEqual([OWN]);
    expect(node.cloud.calls).toEqual(["DescribeRouteTables", "CreateRoutes"]);
    await node.pass(CHECK_MS);
    await node.pass(CHECK_MS);
    expect(node.cloud.calls.slice(2)).toEqual(["DescribeRouteTables", "DescribeRouteTables"]);
    expect(node.target.problems()).toEqual([]);
    expect(node.log()).not.toContain(KEY.secret);
  });

  test("finds the route of the previous run, and keeps it at the end", async () => {
    await using node = new Node();
    node.cloud.state.tables[0]?.RouteSet.push(nodeRoute(9, "10.5.1.0/24", "192.168.0.1"));
    await node.start();
    expect(node.cloud.calls).toEqual(["DescribeRouteTables"]);
    await node.target[Symbol.asyncDispose]();
    expect(node.cloud.routes()).toEqual([OWN]);
  });

  test("replaces the routes of earlier leases and touches no other", async () => {
    await using node = new Node();
    const others = [
      nodeRoute(11, "10.5.2.0/24", "192.168.0.2"),
      nodeRoute(12, "10.99.0.0/24", "192.168.0.1"),
      { ...nodeRoute(13, "10.5.3.0/24", "nat-1"), GatewayType: "NAT" },
    ];
    node.cloud.state.tables[0]?.RouteSet.push(
      nodeRoute(14, "10.5.1.0/24", "192.168.0.77"),
      nodeRoute(15, "10.5.7.0/24", "192.168.0.1"),
      ...others,
    );
    await node.start();
    expect(node.cloud.routes()).toEqual([
      OWN,
      "10.5.2.0/24 by 192.168.0.2",
      "10.5.3.0/24 by nat-1",
      "10.99.0.0/24 by 192.168.0.1",
    ]);
  });

  test("uses the table of its own subnet of the VPC, also beyond the first hundred", async () => {
    await using node = new Node();
    node.cloud.state.tables.push(
      ...Array.from({ length: 130 }, (_, n) => table(`rtb-${n}`, false, [`subnet-${n}`])),
      table("rtb-own", false, [PLACE.subnetId]),
    );
    await node.start();
    expect(node.cloud.routes("rtb-own")).toEqual([OWN]);
    expect(node.cloud.routes("rtb-main")).toEqual([]);
  });

  test("stops reading after 1000 tables", async () => {
    await using node = new Node();
    const others = Array.from({ length: 1500 }, (_, n) => table(`rtb-${n}`, false));
    node.cloud.state.tables.push(...others);
    await node.start();
    expect(node.cloud.calls).toEqual([...Array(10).fill("DescribeRouteTables"), "CreateRoutes"]);
  });

  test("restores its route when it is removed, changed or disabled", async () => {
    await using node = new Node();
    await node.start();
    const { RouteSet } = node.cloud.state.tables[0] as ReturnType<typeof table>;
    const damages = [
      () => RouteSet.pop(),
      () => (RouteSet.at(-1) as { GatewayId: string }).GatewayId = "192.168.0.9",
      () => (RouteSet.at(-1) as { Enabled: boolean }).Enabled = false,
    ];
    for (const damage of damages) {
      damage();
      await node.pass(CHECK_MS);
      expect(node.cloud.routes()).toEqual([OWN]);
      expect(RouteSet.at(-1)?.Enabled).toBe(true);
    }
  });

  test("moves its route when its address changes, also during a check", async () => {
    await using node = new Node();
    await node.start();
    const at = (address: string) => ({
      ...INPUT,
      external: { ...INPUT.external, addresses: { 4: ip(address) } },
    });
    node.target.externalChanged(at("192.168.0.50"));
    node.target.externalChanged(at("192.168.0.51"));
    await node.target.whenSettled();
    await node.pass(0);
    expect(node.cloud.routes()).toEqual(["10.5.1.0/24 by 192.168.0.51"]);
  });
});

describe("a failure", () => {
  test("that passes is retried at growing intervals, and logged once", async () => {
    await using node = new Node();
    const outage = { status: 502, text: "<html>Bad Gateway</html>" };
    node.cloud.faults.push(outage, outage, outage);
    await node.start();
    expect(node.target.problems()).toEqual([
      "cannot read the response to DescribeRouteTables, with status 502: the body is not JSON",
    ]);
    await node.pass(749);
    expect(node.cloud.calls).toHaveLength(1);
    await node.pass(1);
    expect(node.cloud.calls).toHaveLength(2);
    await node.pass(1500);
    await node.pass(3000);
    expect(node.cloud.routes()).toEqual([OWN]);
    expect(node.target.problems()).toEqual([]);
    expect(node.warnings()).toHaveLength(1);
  });

  test("that recurs later is retried from the shortest interval on", async () => {
    await using node = new Node();
    await node.start();
    const outage = { status: 502, text: "<html>Bad Gateway</html>" };
    for (let again = 0; again < 2; again++) {
      node.cloud.faults.push(outage, outage);
      await node.pass(CHECK_MS);
      await node.pass(750);
      await node.pass(1500);
      expect(node.target.problems()).toEqual([]);
    }
    expect(node.cloud.calls.filter((call) => call === "DescribeRouteTables")).toHaveLength(7);
  });

  test("because of too many requests is retried", async () => {
    await using node = new Node();
    node.cloud.faults.push(refusal("RequestLimitExceeded", "slow down"));
    await node.start();
    expect(node.target.problems()).toEqual([
      "Tencent Cloud refused DescribeRouteTables: slow down (RequestLimitExceeded)",
    ]);
    await node.pass(1000);
    expect(node.target.problems()).toEqual([]);
  });

  test("because of a full table names the limit, and the routes that no node uses", async () => {
    await using node = new Node();
    node.cloud.state = freshState();
    for (let n = 2; n <= 50; n++) {
      node.cloud.state.tables[0]?.RouteSet.push(nodeRoute(n, `10.5.${n}.0/24`, "192.168.0.99"));
    }
    await node.start();
    expect(node.target.problems()).toEqual([
      "Tencent Cloud refused CreateRoutes: rtb-main is full: it has 50 routes, and each node " +
      "needs one; remove routes, request a higher quota from Tencent Cloud (50 by default), or " +
      "use a backend that needs no cloud routes, such as vxlan (LimitExceeded)",
    ]);
    for (let n = 2; n <= 49; n++) node.target.put(lease(n, "", [4]));
    node.target.remove(lease(49, "", [4]));
    node.target.allowSweep();
    await node.pass(1000);
    expect(node.target.problems()[0]).toContain(
      "remove routes that no node uses any more, such as 10.5.49.0/24, 10.5.50.0/24, request",
    );
    expect(node.cloud.routes()).toHaveLength(49);
    node.cloud.state.tables[0]?.RouteSet.pop();
    await node.pass(2000);
    expect(node.cloud.routes()).toContain(OWN);
  });

  test("because of a conflicting foreign route is reported, not resolved", async () => {
    await using node = new Node();
    const foreign = { ...nodeRoute(9, "10.5.1.0/24", "vpngw-1"), GatewayType: "VPN" };
    node.cloud.state.tables[0]?.RouteSet.push(foreign);
    await node.start();
    expect(node.target.problems()).toEqual([
      "the route 10.5.1.0/24 by VPN vpngw-1 in rtb-main was not created by flannel and makes " +
      "this node's subnet unreachable: delete it, or choose another Network",
    ]);
    node.cloud.state.tables[0]?.RouteSet.pop();
    await node.pass(CHECK_MS);
    expect(node.cloud.routes()).toEqual([OWN]);
    expect(node.target.problems()).toEqual([]);
  });

  test("of a key that sees no table names the key that is needed", async () => {
    await using node = new Node();
    const { tables } = node.cloud.state;
    node.cloud.state.tables = [];
    await node.start();
    expect(node.target.problems()).toEqual([
      `no route table of ${PLACE.vpcId} in ${PLACE.region} is visible to this access key: use a ` +
      "key of the account that owns the VPC, and allow DescribeRouteTables, CreateRoutes and " +
      "DeleteRoutes for this key on all its route tables",
    ]);
    node.cloud.state.tables = tables;
    await node.pass(CHECK_MS);
    expect(node.cloud.routes()).toEqual([OWN]);
    expect(node.target.problems()).toEqual([]);
  });

  test("to remove a route without a usable id says to remove it in the console", async () => {
    await using node = new Node();
    const route = { ...nodeRoute(9, "10.5.1.0/24", "192.168.0.9"), RouteId: 2 ** 60 };
    node.cloud.state.tables[0]?.RouteSet.push(route);
    await node.start();
    expect(node.target.problems()).toEqual([
      "cannot remove the route 10.5.1.0/24 by NORMAL_CVM 192.168.0.9 of an earlier lease from " +
      "rtb-main: it has no usable RouteId; remove it in the console of Tencent Cloud",
    ]);
  });

  test("to remove an earlier lease's route does not prevent creating the new one", async () => {
    await using node = new Node();
    node.cloud.state.tables[0]?.RouteSet.push(
      nodeRoute(8, "10.5.8.0/24", "192.168.0.1"),
      { ...nodeRoute(9, "10.5.9.0/24", "192.168.0.1"), RouteId: 2 ** 60 },
    );
    node.cloud.faults.push({ ...refusal("UnsupportedOperation", "no"), action: "DeleteRoutes" });
    await node.start();
    expect(node.cloud.routes()).toContain(OWN);
    expect(node.target.problems()).toEqual([
      "Tencent Cloud refused DeleteRoutes: no (UnsupportedOperation)",
    ]);
    await node.pass(1000);
    expect(node.cloud.routes()).toEqual([OWN, "10.5.9.0/24 by 192.168.0.1"]);
    expect(node.target.problems()).toEqual([
      "cannot remove the route 10.5.9.0/24 by NORMAL_CVM 192.168.0.1 of an earlier lease from " +
      "rtb-main: it has no usable RouteId; remove it in the console of Tencent Cloud",
    ]);
  });

  test("because of the access key ends the start, and says what to do", async () => {
    {
      await using node = new Node({ secret: "wrong" });
      expect(await refused(node)).toBe(
        "Tencent Cloud refused DescribeRouteTables: the signature is wrong " +
          "(AuthFailure.SignatureFailure); check AccessKeyID and AccessKeySecret",
      );
    }
    {
      await using node = new Node({ id: "AKIDunknown" });
      expect(await refused(node)).toContain("no such SecretId (AuthFailure.SecretIdNotFound)");
    }
    await using node = new Node();
    node.cloud.faults.push(refusal("UnauthorizedOperation", "not yours"));
    expect(await refused(node)).toEndWith(
      "allow DescribeRouteTables, CreateRoutes and DeleteRoutes for this key",
    );
  });

  test("because of the clock is retried", async () => {
    await using node = new Node();
    node.cloud.faults.push(refusal("AuthFailure.SignatureExpire", "too old"));
    await node.start();
    expect(node.target.problems()[0]).toEndWith("; correct the clock of this machine");
    await node.pass(1000);
    expect(node.target.problems()).toEqual([]);
  });

  test("outside of the cloud ends the start after some attempts", async () => {
    await using node = new Node();
    node.cloud.metadata.clear();
    expect(await refusedAfterPauses(node)).toMatch(
      /^cannot read the VPC of this instance: http:.*\/placement\/region returned status 404; /,
    );
  });

  test("without the subnet's name the main table is used; an invalid name is refused", async () => {
    await using node = new Node();
    node.cloud.metadata.delete(`network/interfaces/macs/${PLACE.mac}/subnet-id`);
    await node.start();
    expect(node.cloud.routes()).toEqual([OWN]);
    await using strange = new Node();
    strange.cloud.metadata.set("mac", "../../x y");
    expect(await refusedAfterPauses(strange)).toContain(
      '/mac returned an invalid value: "../../x y"',
    );
  });
});

test("stopping does not wait for a server that does not respond", async () => {
  using silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { log } = collectingLog();
  const url = new URL(`http://127.0.0.1:${silent.port}`);
  const target = new RouteTarget({
    network: prefix("10.5.0.0/16"),
    credentials: { accessKeyId: KEY.id, accessKeySecret: KEY.secret },
    apiEndpoint: url,
    metadataEndpoint: url,
    clock: fakeClock(),
    log,
  });
  const stop = new AbortController();
  const starting = target.start(INPUT, stop.signal);
  await Bun.sleep(50);
  stop.abort(new Error("stopping"));
  await expect(starting).rejects.toThrow("stopping");
  await target[Symbol.asyncDispose]();
});
