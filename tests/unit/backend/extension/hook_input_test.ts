import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { InvalidPeerError } from "../../../../src/overlay/peer_lease.ts";
import {
  hookVariables,
  peerInput,
  readInput,
  sameInput,
} from "../../../../src/backend/extension/hook_input.ts";
import { decodeLease, isInvalidLease } from "../../../../src/subnet/lease_codec.ts";
import { each, ip, lease, NETWORKS, prefix } from "../../../support/sample_network.ts";
import { peer } from "./support.ts";

const DUAL = each([4, 6], (family) => NETWORKS[family]);

describe("a peer's commands", () => {
  test("get both families and the data", () => {
    const node = lease(2, "extension", [4, 6]);
    const attributes = { ...node.attributes, backendData: { 4: "02:00:00:00:00:02" } };
    expect(peerInput({ ...node, attributes }, DUAL)).toEqual({
      variables: hookVariables({
        networks: DUAL,
        subnets: { 4: prefix("10.5.2.0/24"), 6: prefix("fc00:0:0:2::/64") },
        publicAddresses: { 4: ip("192.168.0.2"), 6: ip("fd00::2") },
      }),
      stdin: "02:00:00:00:00:02\n",
    });
  });

  test("have empty variables for a family that the network has not", () => {
    const { variables } = peerInput(lease(2, "extension", [4, 6]), { 4: NETWORKS[4] });
    expect(variables as object).toEqual({
      NETWORK: "10.5.0.0/16",
      SUBNET: "10.5.2.0/24",
      PUBLIC_IP: "192.168.0.2",
      IPV6NETWORK: "",
      IPV6SUBNET: "",
      PUBLIC_IPV6: "",
    });
  });

  test("have an empty line for a peer without data", () => {
    expect(peerInput(peer(2), { 4: NETWORKS[4] }).stdin).toBe("\n");
  });

  test("do not run for an invalid peer", () => {
    const cases: [ReturnType<typeof peer>, string][] = [
      [lease(2, "vxlan", [4]), "its backend is vxlan, this node's is extension"],
      [peer(2, { mac: "x" }), "its BackendData is not a string"],
      [peer(2, 7), "its BackendData is not a string"],
      [peer(2, "ü".repeat(40_000)), "its BackendData has 80000 bytes, more than 65536"],
      [
        { ...peer(2), attributes: { ...peer(2).attributes, publicAddresses: {} } },
        "it has the subnet 10.5.2.0/24 but no public IPv4 address",
      ],
    ];
    for (const [node, reason] of cases) {
      expect(() => peerInput(node, DUAL)).toThrow(new InvalidPeerError(reason));
    }
  });
});

describe("whatever is in the datastore", () => {
  const hostile = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("$(id)", "`id`", "';id;'", "\0", "192.0.2.1\nX=1", "192.0.2.1;id", "::1", "🙂"),
  );
  /** Mostly valid, so that leases with one fault are frequent. */
  const mostly = (right: fc.Arbitrary<unknown>) =>
    fc.oneof({ weight: 5, arbitrary: right }, { weight: 1, arbitrary: hostile }, {
      weight: 1,
      arbitrary: fc.jsonValue(),
    });
  const value = mostly(
    fc.record({
      PublicIP: mostly(fc.ipV4()),
      PublicIPv6: mostly(fc.ipV6()),
      BackendType: mostly(fc.constant("extension")),
      BackendData: mostly(hostile),
    }),
  );
  const key = fc.oneof(
    fc.constantFrom("10.5.2.0-24", "10.5.2.0-24&fc00:0:0:2::-64", "0.0.0.0-0&fc00:0:0:2::-64"),
    hostile,
  );
  /** Text that neither a shell nor a reader of an environment interprets. */
  const SAFE = /^[0-9a-f.:/]*$/;

  test("variables are addresses and networks, or the lease is refused", () => {
    let accepted = 0;
    fc.assert(
      fc.property(key, value, (name, content) => {
        const text = typeof content === "string" ? content : JSON.stringify(content);
        const revisions = { created: 1n, changed: 1n };
        const decoded = decodeLease({ key: name, value: text, ...revisions });
        if (isInvalidLease(decoded)) return true;
        try {
          const input = peerInput(decoded, DUAL);
          accepted++;
          if (!Object.values(input.variables).every((text) => SAFE.test(text))) return false;
          const read = readInput(JSON.parse(JSON.stringify(input)));
          return read !== undefined && sameInput(read, input);
        } catch (error) {
          if (!(error instanceof InvalidPeerError)) throw error;
          return true;
        }
      }),
      { numRuns: 100_000 },
    );
    expect(accepted).toBeGreaterThan(10_000);
  }, 60_000);

  test("a record is read back as it was written, or not at all", () => {
    const variable = fc.oneof(fc.constant(""), fc.ipV4(), hostile, fc.constant("10.5.2.0/24"));
    const record = fc.record({
      variables: fc.oneof(
        fc.record({
          NETWORK: variable,
          IPV6NETWORK: variable,
          SUBNET: variable,
          IPV6SUBNET: variable,
          PUBLIC_IP: variable,
          PUBLIC_IPV6: variable,
        }),
        fc.jsonValue(),
      ),
      stdin: fc.oneof(hostile, fc.jsonValue()),
    });
    fc.assert(
      fc.property(fc.oneof(record, fc.jsonValue()), (given) => {
        const input = readInput(given);
        return input === undefined ||
          Object.values(input.variables).every((text) => SAFE.test(text)) &&
            sameInput(input, given as typeof input);
      }),
      { numRuns: 100_000 },
    );
  }, 60_000);
});
