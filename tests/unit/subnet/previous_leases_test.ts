/** Which leases a node had with another address, by the identity of its device. */

import { beforeEach, expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { type PreviousLease, previousLeases } from "../../../src/subnet/etcd/previous_leases.ts";
import { LeaseRecords } from "../../../src/subnet/etcd/lease_records.ts";
import { DuplicateNodeError } from "../../../src/subnet/etcd/allocation_errors.ts";
import { deviceIdentity, failure, value } from "../../etcd/lease_store_fixture.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeEtcd } from "../../support/fake_etcd.ts";

const MAC = "02:00:00:00:00:01";
const SUBNETS = "/net/subnets/";
const SESSION = "/net/sessions/192.0.2.1";
const forever = new AbortController().signal;
const { log, records: logged } = collectingLog();

let etcd: FakeEtcd;

beforeEach(() => {
  etcd = new FakeEtcd();
});

async function former(): Promise<PreviousLease[]> {
  const records = new LeaseRecords(etcd.client(), "/net", collectingLog().log);
  return await previousLeases(await records.all(forever), {
    etcd: etcd.client(),
    records,
    clock: etcd.clock,
    log,
    // One that leases may spell in several ways carries any of them.
    identity: { ...deviceIdentity(MAC), texts: [MAC, MAC.replaceAll(":", "-")] },
    sessionIdentity: "own",
    ownAddress: "192.0.2.77" as IpAddress,
  }, forever);
}

test("those that carry the mark are found, however JSON spells it, and no others", async () => {
  etcd.put(`${SUBNETS}10.5.1.0-24`, value("192.0.2.1"));
  etcd.put(`${SUBNETS}10.5.2.0-24`, value("192.0.2.2").replace(MAC, MAC.replace("2", "\\u0032")));
  etcd.put(`${SUBNETS}10.5.3.0-24`, value("192.0.2.3", "02:00:00:00:00:99"));
  etcd.put(`${SUBNETS}10.5.4.0-24`, `{${MAC}`);
  etcd.put(`${SUBNETS}10.5.5.0-24`, `{"PublicIP":"192.0.2.5","Extra":"${MAC}"}`);
  const found = await former();
  expect(found.map(({ record, match, address }) => [record.lease.key, match, address])).toEqual([
    ["10.5.1.0-24", `VtepMAC ${MAC}`, "192.0.2.1"],
    ["10.5.2.0-24", `VtepMAC ${MAC}`, "192.0.2.2"],
  ] as never);
});

test("each is this node's as long as no other node has a session of its address", async () => {
  etcd.put(`${SUBNETS}10.5.1.0-24`, value("192.0.2.1"));
  etcd.put(`${SUBNETS}10.5.2.0-24`, value("0.0.0.0"));
  const [withAddress, without] = await former();
  expect(withAddress?.guards).toEqual([{ key: SESSION, createRevision: 0n }]);
  expect(without).toMatchObject({ address: undefined as never, guards: [] });
  etcd.put(SESSION, '{"identity":"own"}', etcd.grant(30).id);
  const [own] = await former();
  expect(own?.guards).toEqual([
    { key: SESSION, modRevision: etcd.get(SESSION)?.modRevision as bigint },
  ]);
});

test("another live node that has one is named with what to do", async () => {
  const { id } = etcd.grant(10);
  etcd.put(`${SUBNETS}10.5.1.0-24`, value("192.0.2.1"));
  etcd.put(SESSION, '{"identity":"other","hostname":"host-b","interface":"eth0"}', id);
  const error = failure(former());
  for (let i = 0; i < 20; i++) {
    await etcd.clock.advance(2000);
    etcd.keepAlive(id);
  }
  expect(logged.at(-1)?.msg).toStartWith(
    `lease 10.5.1.0-24 with this node's VtepMAC ${MAC} belonged to node host-b a moment ago`,
  );
  expect(await error).toBeInstanceOf(DuplicateNodeError);
  expect((await error).message).toBe(
    "node host-b (interface eth0) is alive, and its lease 10.5.1.0-24 of 192.0.2.1 has the same " +
      `VtepMAC ${MAC} as this node; the other nodes can reach only one of the two; if this host ` +
      "is a copy of that one, delete the device on this host and start flanneld again",
  );
  expect(await error).toMatchObject({
    publicAddress: "192.0.2.1",
    lease: "10.5.1.0-24",
    holder: { hostname: "host-b", interface: "eth0" },
  });
});
