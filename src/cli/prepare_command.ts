/** `flanneld datastore token prepare`: the token of a datastore that does not run yet. */

import { datastoreSecretText } from "../datastore/access/datastore_secret.ts";
import { newDatastoreSecret } from "../datastore/access/prepared_access.ts";
import { type JoinAddress, joinTargetText } from "../join/join_token.ts";
import type { AccessOutput } from "./access_command.ts";

/** A new secret and its token, as lines of a file with settings. */
export function preparedSettings(address: JoinAddress): AccessOutput {
  const { secret, token } = newDatastoreSecret();
  return {
    out: `FLANNEL_DATASTORE_SECRET=${datastoreSecretText(secret)}\n` +
      `FLANNELD_JOIN=${joinTargetText({ token, ...address })}\n`,
    note: "the first line is for the machine of the datastore and no other, the second for each " +
      "node; they are shown only now\n",
  };
}
