/** docs/api.md says what the daemon sends. The daemon's own documents: status_report_test.ts. */

import { expect, test } from "bun:test";
import { KUBERNETES, NOT_READY, READY, STARTING } from "../../support/status_documents.ts";
import { schemaProblems, statusSchema, unusedMembers } from "../../support/json_schema.ts";

const DOCUMENTS = [READY, NOT_READY, STARTING, KUBERNETES];

test.each(DOCUMENTS)("a document conforms", (document) => {
  expect(schemaProblems(document, statusSchema())).toEqual([]);
});

test("every member of the schema occurs", () => {
  expect(unusedMembers(DOCUMENTS, statusSchema())).toEqual([]);
});

test("what does not conform is found", () => {
  const { pid: _pid, ...incomplete } = READY;
  const wrong = { ...incomplete, extra: 1, startedAt: "now", rules: { mode: "nft", inSync: 1 } };
  expect(schemaProblems(wrong, statusSchema()).sort()).toEqual([
    '$.rules.mode: "nft"',
    "$.extra is unknown",
    "$.pid is missing",
    "$.rules.inSync is not boolean",
    "$.startedAt: now",
  ].sort());
});
