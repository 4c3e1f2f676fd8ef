import { describe, expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { HealthServerError, startHealthServer } from "../../../src/health/server.ts";

async function get(url: string): Promise<string> {
  const response = await fetch(url);
  return `${response.status} ${await response.text()}`;
}

for (const [ip, host] of [["127.0.0.1", "127.0.0.1"], ["::1", "[::1]"], ["::", "127.0.0.1"]]) {
  describe(`on ${ip}`, () => {
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
      "choose another --healthz-port",
  );
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
