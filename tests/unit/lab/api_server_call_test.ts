/** Calls to an API server through a Unix socket: their objects, and what a failure says. */

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callApiServer } from "../../../src/lab/kube/api_server_call.ts";

const PATH = "/api/v1/nodes/n1";
const GET = { method: "GET", path: PATH };

/** A server with one response, and how to reach it. */
function serve(respond: (request: Request) => Response | Promise<Response>) {
  const directory = mkdtempSync(join(tmpdir(), "api-server-"));
  const socket = join(directory, "socket");
  const server = Bun.serve({ unix: socket, fetch: respond });
  return {
    access: { url: "http://localhost", socket, tls: { ca: "" } },
    async [Symbol.asyncDispose]() {
      await server.stop(true);
      rmSync(directory, { recursive: true });
    },
  };
}

test("a call sends its body and token, and returns the object or the text", async () => {
  await using server = serve(async (request) => {
    if (request.method === "GET") return new Response("ok");
    const { headers } = request;
    const sent = [headers.get("authorization"), headers.get("content-type"), await request.text()];
    return Response.json({ sent });
  });
  expect(await callApiServer(server.access, GET)).toBe("ok");
  const patch = { method: "PATCH", path: PATH, body: { a: 1 }, contentType: "application/x" };
  expect(await callApiServer({ ...server.access, token: "t" }, patch))
    .toEqual({ sent: ["Bearer t", "application/x", '{"a":1}'] });
});

test("a refusal names the call, with what the server says", async () => {
  await using server = serve(() => new Response("no such node\n", { status: 404 }));
  await expect(callApiServer(server.access, GET))
    .rejects.toThrow(`cannot call the API server: GET ${PATH}: 404 no such node`);
});

test("a call that takes too long is named", async () => {
  await using server = serve(() => new Promise(() => {}));
  await expect(callApiServer(server.access, { ...GET, timeoutMs: 50 })).rejects
    .toThrow(`cannot call the API server: GET ${PATH}: no complete response within 0.05 s`);
});

test("a server that is not there is named by the call", async () => {
  const access = { url: "http://localhost", socket: "/nonexistent/socket", tls: { ca: "" } };
  await expect(callApiServer(access, GET))
    .rejects.toThrow(`cannot call the API server: GET ${PATH}: `);
});

test("an abort is thrown with its own reason", async () => {
  await using server = serve(() => new Promise(() => {}));
  const stop = new AbortController();
  const call = callApiServer({ ...server.access, signal: stop.signal }, GET);
  stop.abort(new Error("enough"));
  await expect(call).rejects.toThrow("enough");
});
