import { describe, expect, spyOn, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { HealthServerError, startHealthServer } from "../../../src/health/health_server.ts";

async function get(url: string): Promise<string> {
  const response = await fetch(url);
  return `${response.status} ${await response.text()}`;
}

const ADDRESSES = [
  ["127.0.0.1", "127.0.0.1"],
  ["::1", "[::1]"],
  ["::", "127.0.0.1"],
  ["::", "[::1]"],
  ["0.0.0.0", "127.0.0.1"],
  ["0.0.0.0", "[::1]"],
] as const;

for (const [ip, host] of ADDRESSES) {
  describe(`on ${ip}, reached at ${host}`, () => {
    test("readiness follows the problems, and says what they are", async () => {
      let problems = ["no lease yet", "no subnet file yet"];
      using server = startHealthServer({ ip: ip as IpAddress, port: 0, problems: () => problems });
      const url = `http://${host}:${server.port}`;
      expect(await get(`${url}/healthz`)).toBe("200 flanneld is running\n");
      expect(await get(`${url}/readyz?verbose`)).toBe(
        "503 flanneld is not ready:\n- no lease yet\n- no subnet file yet\n",
      );
      problems = [];
      expect(await get(`${url}/readyz`)).toBe("200 flanneld is ready\n");
      problems = ["route missing"];
      expect(await get(`${url}/readyz`)).toStartWith("503 ");
      expect(await get(`${url}/`)).toStartWith("404 ");
    });
  });
}

test("a problem that quotes text from outside stays one short line", async () => {
  const ip = "127.0.0.1" as IpAddress;
  const problems = () => ["a\n- forged\u202e", "x".repeat(1_000_000)];
  using server = startHealthServer({ ip, port: 0, problems });
  const text = await get(`http://${ip}:${server.port}/readyz`);
  expect(text).toStartWith("503 flanneld is not ready:\n- a\\n- forged\\u202e\n- xxx");
  expect(text.length).toBeLessThan(3000);
});

test("an address that the host does not have is one clear line", () => {
  const start = (): unknown =>
    startHealthServer({ ip: "192.0.2.77" as IpAddress, port: 8471, problems: () => [] });
  expect(start).toThrow(
    "cannot serve /healthz on 192.0.2.77:8471: this host does not have the address; " +
      "set another --healthz-ip",
  );
});

test("a port in use is one clear line", () => {
  using first = startHealthServer({
    ip: "127.0.0.1" as IpAddress,
    port: 0,
    problems: () => [],
  });
  const second = (): unknown =>
    startHealthServer({ ip: "127.0.0.1" as IpAddress, port: first.port, problems: () => [] });
  expect(second).toThrow(HealthServerError);
  expect(second).toThrow(
    `cannot serve /healthz on 127.0.0.1:${first.port}: another program listens there; ` +
      "set another --healthz-port",
  );
});

test("0.0.0.0 serves IPv4 on a kernel without IPv6", async () => {
  const listen = Bun.serve;
  const hostnames: unknown[] = [];
  // Only a kernel that was started with ipv6.disable=1 refuses the socket.
  const serve = spyOn(Bun, "serve").mockImplementation(
    ((options: { hostname: string }) => {
      hostnames.push(options.hostname);
      if (options.hostname !== "::") return listen(options as Parameters<typeof listen>[0]);
      throw Object.assign(new Error("address family not supported"), { code: "EAFNOSUPPORT" });
    }) as typeof listen,
  );
  using _restored = { [Symbol.dispose]: () => serve.mockRestore() };
  const ip = "0.0.0.0" as IpAddress;
  using server = startHealthServer({ ip, port: 0, problems: () => [] });
  expect(hostnames).toEqual(["::", ip]);
  expect(await get(`http://127.0.0.1:${server.port}/healthz`)).toStartWith("200 ");
});

test("an address of another host is refused", () => {
  expect(() => startHealthServer({ ip: "fd00::1" as IpAddress, port: 8000, problems: () => [] }))
    .toThrow("cannot serve /healthz on [fd00::1]:8000: ");
});

test("a disposed server gives its port back", () => {
  const options = { ip: "127.0.0.1" as IpAddress, problems: () => [] };
  const first = startHealthServer({ ...options, port: 0 });
  first[Symbol.dispose]();
  startHealthServer({ ...options, port: first.port })[Symbol.dispose]();
});

describe("a request gets the response of its path, or an error, whatever else is in it", () => {
  const plain = (host: string, path = "/healthz") =>
    `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  const withHeader = (header: string, method = "GET") =>
    `${method} /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${header}\r\n\r\n`;
  const CASES: readonly (readonly [string, string, RegExp])[] = [
    ["a host with a space", plain("a b"), /^HTTP\/1.1 200/],
    ["a host that is not an address", plain("[::"), /^HTTP\/1.1 200/],
    ["a port that is too high", plain("a:99999999"), /^HTTP\/1.1 200/],
    ["an empty host", plain(""), /^HTTP\/1.1 200/],
    ["a host that is not ASCII", plain("\xff\xfe%zz"), /^HTTP\/1.1 200/],
    ["a host with a path", plain("a/healthz?", "/other"), /^HTTP\/1.1 404/],
    ["no host, in HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n", /^HTTP\/1.1 200/],
    ["no host, in HTTP/1.1", "GET /healthz HTTP/1.1\r\n\r\n", /^HTTP\/1.1 400/],
    ["a path that cannot be decoded", plain("a", "/%zz"), /^HTTP\/1.1 404/],
    ["a path of two slashes", plain("a", "//[/healthz"), /^HTTP\/1.1 404/],
    ["a path without a slash", plain("a", "healthz"), /^HTTP\/1.1 4/],
    ["a very long path", plain("a", `/${"a".repeat(100_000)}`), /^HTTP\/1.1 4/],
    ["a very long header", withHeader(`X: ${"a".repeat(100_000)}`), /^HTTP\/1.1 431/],
    ["a header without a colon", withHeader("abc"), /^HTTP\/1.1 400/],
    ["a body of 93 GiB", withHeader("Content-Length: 99999999999", "POST"), /^HTTP\/1.1 4/],
    [
      "a body that is not chunked as its header says",
      withHeader("Transfer-Encoding: chunked", "PUT"),
      /^HTTP\/1.1/,
    ],
    ["an unknown method", "FOO /healthz HTTP/1.1\r\nHost: a\r\n\r\n", /^$|^HTTP\/1.1 4/],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", /^HTTP\/1.1 400/],
    ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", /^HTTP\/1.1 400/],
    ["half a request", "GET /heal", /^$/],
  ];

  test.concurrent.each(CASES)("%s", async (_what, request, expected) => {
    using server = startHealthServer({
      ip: "127.0.0.1" as IpAddress,
      port: 0,
      problems: () => [],
    });
    const response = await exchange(server.port, request);
    expect(response).toMatch(expected);
    expect(response).not.toContain("HTTP/1.1 500");
  });
});

/** The response until the server closes the connection; each character of `request` is a byte. */
async function exchange(port: number, request: string): Promise<string> {
  const closed = Promise.withResolvers<void>();
  let response = "";
  await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      open: (socket) => void socket.write(Buffer.from(request, "latin1")),
      data: (_socket, bytes) => void (response += bytes.toString("latin1")),
      close: () => closed.resolve(),
      error: () => closed.resolve(),
    },
  });
  await closed.promise;
  return response;
}
