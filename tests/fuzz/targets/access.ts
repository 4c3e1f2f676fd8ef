/** What operators copy to admit nodes: tokens with an address, and the secret of a datastore. */

import {
  datastoreSecretText,
  parseDatastoreSecret,
} from "../../../src/datastore/access/datastore_secret.ts";
import { preparedAccess } from "../../../src/datastore/access/prepared_access.ts";
import { joinTargetText, parseJoinTarget } from "../../../src/join/join_token.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

const decoder = new TextDecoder();
const [ONE, TWO] = [32, 16].map((size) => Buffer.alloc(size, 1).toString("base64url")) as [
  string,
  string,
];
const TOKEN = { id: "k7f3qa", fingerprint: ONE, secret: TWO };

const joinTarget: FuzzTarget = {
  name: "join-target",
  seeds: ["192.168.56.11", "fd00::1", "ds.example.org"].flatMap((host) =>
    [2379, 65_535].map((port) => joinTargetText({ token: TOKEN, host, port }))
  ),
  dictionary: ["F1.", "D1.", "F2.", "@", "@[", "]:", ":0", ":65536", "::ffff:192.0.2.1", "%eth0"],
  run(input) {
    const read = parseJoinTarget(decoder.decode(input));
    if ("problem" in read) return equal(read.problem.includes("\n"), false);
    equal(parseJoinTarget(joinTargetText(read)), read);
  },
};

const datastoreSecret: FuzzTarget = {
  name: "datastore-secret",
  seeds: [ONE, Buffer.alloc(32, 0xff).toString("base64url")].map((caKey) =>
    datastoreSecretText({ id: "abc", caKey, tokenSecret: TWO })
  ),
  dictionary: ["D1.", "F1.", "D9.", ".", "=", "-_", "AAAAAAAA"],
  run(input) {
    // The second one has a valid checksum, which mutated text hardly ever has.
    const caKey = Buffer.concat([input, Buffer.alloc(32)]).toString("base64url", 0, 32);
    for (
      const text of [
        decoder.decode(input),
        datastoreSecretText({ id: "abc", caKey, tokenSecret: TWO }),
      ]
    ) {
      const read = parseDatastoreSecret(text);
      if ("problem" in read) {
        equal(read.problem.includes("\n"), false);
      } else {
        equal(datastoreSecretText(read), text);
        // OpenSSL accepts it too; making a key takes a third of a millisecond.
        if (input.length % 16 === 0) preparedAccess(read);
      }
    }
  },
};

export const ACCESS_TARGETS: readonly FuzzTarget[] = [joinTarget, datastoreSecret];
