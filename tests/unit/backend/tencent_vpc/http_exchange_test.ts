import type { BunFile } from "bun";
import { expect, test } from "bun:test";
import { exchange, HttpError } from "../../../../src/backend/tencent_vpc/http_exchange.ts";
import { TestCa } from "../../../support/certificates.ts";

const NEVER = new AbortController().signal;

/** What comes of a request to a server that answers so. */
async function outcome(
  answer: (request: Request) => Response,
  signal = NEVER,
): Promise<unknown> {
  await using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
  try {
    return await exchange(server.url, { method: "GET" }, signal);
  } catch (error) {
    return error;
  }
}

test("an answer comes with its status, whatever that is", async () => {
  const answer = () => new Response("no", { status: 404 });
  expect(await outcome(answer)).toEqual({ status: 404, text: "no" });
});

test("an answer that does not end is not read to the end", async () => {
  const mebibyte = new Uint8Array(1024 * 1024);
  const endless = () =>
    new Response(new ReadableStream({ pull: (controller) => controller.enqueue(mebibyte) }));
  const error = await outcome(endless);
  expect(error).toBeInstanceOf(HttpError);
  expect((error as Error).message).toMatch(
    /^cannot reach http:.*: the answer has more than 16777216 bytes$/,
  );
}, 10_000);

test("nobody is sent elsewhere with a signed request", async () => {
  const paths: string[] = [];
  const elsewhere = (request: Request) => {
    paths.push(new URL(request.url).pathname);
    return Response.redirect("/elsewhere");
  };
  expect(await outcome(elsewhere)).toBeInstanceOf(HttpError);
  expect(paths).toEqual(["/"]);
});

test("the end of the daemon is its own reason, not a fault of the server", async () => {
  const stop = new AbortController();
  const reason = new Error("the daemon ends");
  const answer = () => {
    stop.abort(reason);
    return new Response(new ReadableStream());
  };
  expect(await outcome(answer, stop.signal)).toBe(reason);
});

test("a certificate is verified, whatever the environment says", async () => {
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
  const program = `
    const { exchange } = await import(${JSON.stringify(module)});
    const answer = exchange(new URL(${JSON.stringify(server.url)}), { method: "GET" },
      new AbortController().signal);
    console.log(await answer.then(({ text }) => text, ({ message }) => message));`;
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
