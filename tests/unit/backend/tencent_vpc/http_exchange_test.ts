import type { BunFile } from "bun";
import { expect, test } from "bun:test";
import { exchange, HttpError } from "../../../../src/backend/tencent_vpc/http_exchange.ts";
import { type Clock, systemClock } from "../../../../src/base/clock.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { TestCa } from "../../../support/certificates.ts";

const NEVER = new AbortController().signal;

/** The response to a request, or the error. */
async function outcome(
  respond: (request: Request) => Response,
  signal = NEVER,
  clock: Clock = systemClock,
): Promise<unknown> {
  await using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: respond });
  try {
    return await exchange(server.url, { method: "GET" }, { clock, signal });
  } catch (error) {
    return error;
  }
}

test("a response is returned with any status", async () => {
  const respond = () => new Response("no", { status: 404 });
  expect(await outcome(respond)).toEqual({ status: 404, text: "no" });
});

test("an endless response is not read to the end", async () => {
  const mebibyte = new Uint8Array(1024 * 1024);
  const endless = () =>
    new Response(new ReadableStream({ pull: (controller) => controller.enqueue(mebibyte) }));
  const error = await outcome(endless);
  expect(error).toBeInstanceOf(HttpError);
  expect((error as Error).message).toMatch(
    /^cannot reach http:.*: the response has more than 16777216 bytes$/,
  );
}, 10_000);

test("a redirection of a signed request is not followed", async () => {
  const paths: string[] = [];
  const elsewhere = (request: Request) => {
    paths.push(new URL(request.url).pathname);
    return Response.redirect("/elsewhere");
  };
  expect(await outcome(elsewhere)).toBeInstanceOf(HttpError);
  expect(paths).toEqual(["/"]);
});

test("a server that does not respond in time is an error", async () => {
  const clock = new FakeClock();
  const asked = Promise.withResolvers<void>();
  const never = () => {
    asked.resolve();
    return new Response(new ReadableStream());
  };
  const response = outcome(never, NEVER, clock);
  await asked.promise;
  await clock.advance(10_000);
  const error = await response;
  expect(error).toBeInstanceOf(HttpError);
  expect((error as Error).message).toMatch(/^cannot reach http:.*: no response within 10 s$/);
});

test("the end of the daemon is reported as such, not as a fault of the server", async () => {
  const stop = new AbortController();
  const reason = new Error("the daemon ends");
  const respond = () => {
    stop.abort(reason);
    return new Response(new ReadableStream());
  };
  expect(await outcome(respond, stop.signal)).toBe(reason);
});

test("a certificate is verified even if the environment disables that", async () => {
  using ca = new TestCa();
  const files = ca.sign("server", ["IP:127.0.0.1"]);
  const [cert, key] = [files.certFile, files.keyFile].map((path) => Bun.file(path));
  await using server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: cert as BunFile, key: key as BunFile },
    fetch: () => new Response("yes"),
  });
  const module =
    new URL("../../../../src/backend/tencent_vpc/http_exchange.ts", import.meta.url).pathname;
  const clockModule = new URL("../../../../src/base/clock.ts", import.meta.url).pathname;
  const program = `
    const { exchange } = await import(${JSON.stringify(module)});
    const { systemClock: clock } = await import(${JSON.stringify(clockModule)});
    const response = exchange(new URL(${JSON.stringify(server.url)}), { method: "GET" },
      { clock, signal: new AbortController().signal });
    console.log(await response.then(({ text }) => text, ({ message }) => message));`;
  const ask = async (env: Record<string, string>) => {
    const child = Bun.spawn([process.execPath, "-e", program], {
      env: { PATH: process.env["PATH"] ?? "", ...env },
      stdout: "pipe",
      stderr: "ignore",
    });
    return (await new Response(child.stdout).text()).trim();
  };
  expect(await ask({ NODE_TLS_REJECT_UNAUTHORIZED: "0" })).toMatch(/cannot reach .* certificate/);
  expect(await ask({ SSL_CERT_FILE: ca.caFile })).toBe("yes");
});
