import { expect, test } from "bun:test";
import fc from "fast-check";
import { ConfigError } from "../../../src/config/config_error.ts";
import { EtcdClient, type EtcdClientOptions } from "../../../src/subnet/etcd/client.ts";
import { parseEndpoints } from "../../../src/subnet/etcd/endpoint.ts";
import { keyRange } from "../../../src/subnet/etcd/messages.ts";
import { collectingLog } from "../../support/collecting_log.ts";

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

function urls(texts: readonly string[], hasTlsFiles = false): string[] {
  return parseEndpoints(texts, hasTlsFiles).map(({ url }) => url);
}

test("endpoints are taken as origins, each once, in the given order", () => {
  expect(urls(["http://b:2379", " http://a:4001/ ", "http://b:2379/", "https://[fd00::1]:2379/x"]))
    .toEqual(["http://b:2379", "http://a:4001", "https://[fd00::1]:2379"]);
});

test("an endpoint without a scheme is https when there are TLS files, else http", () => {
  expect(urls(["10.0.0.5:2379", "localhost:2379"])).toEqual([
    "http://10.0.0.5:2379",
    "http://localhost:2379",
  ]);
  expect(urls(["10.0.0.5:2379"], true)).toEqual(["https://10.0.0.5:2379"]);
});

test("an endpoint that cannot be used is refused in one line that shows it", () => {
  const cases: [string, string][] = [
    ["http://10.0.0.5:99999", "is not a URL"],
    ["http://", "is not a URL"],
    ["", "is not a URL"],
    ["unix:///run/etcd.sock", "use http or https"],
    ["ftp://10.0.0.5:2379", "use http or https"],
  ];
  for (const [text, reason] of cases) {
    const error = thrownBy(() => urls([text]));
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toContain(`etcd endpoint "${text}"`);
    expect(String(error)).toContain(reason);
    expect(String(error)).not.toContain("\n");
  }
  expect(String(thrownBy(() => urls([])))).toContain("set --etcd-endpoints");
});

test("a password in an endpoint is refused and not shown", () => {
  for (
    const text of [
      "http://user:geheim@10.0.0.5:2379",
      "user:geheim@10.0.0.5:2379",
      "http://user:geheim@10.0.0.5:99999",
      "ftp://user:geheim@10.0.0.5:2379",
      "http://user:ge@heim@10.0.0.5:2379",
    ]
  ) {
    const error = thrownBy(() => urls([text]));
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).not.toContain("heim");
  }
});

test("a client certificate without its key, and a key without its certificate, are refused", () => {
  const { log } = collectingLog();
  const create = (tls: NonNullable<EtcdClientOptions["tls"]>) => () =>
    new EtcdClient({ endpoints: ["https://10.0.0.5:2379"], tls, log });
  const certOnly = thrownBy(create({ certFile: "/a.crt", keyFile: "" }));
  expect(certOnly).toBeInstanceOf(ConfigError);
  expect(String(certOnly)).toContain("--etcd-certfile is given without --etcd-keyfile");
  const keyOnly = thrownBy(create({ keyFile: "/a.key" }));
  expect(String(keyOnly)).toContain("--etcd-keyfile is given without --etcd-certfile");
});

test("the description lists the endpoints and nothing else", () => {
  const { log } = collectingLog();
  const client = new EtcdClient({
    endpoints: ["http://10.0.0.5:2379", "http://10.0.0.6:2379"],
    username: "root",
    password: "geheim",
    log,
  });
  expect(client.description).toBe("http://10.0.0.5:2379, http://10.0.0.6:2379");
});

test("the range of a prefix holds exactly the keys that begin with it", () => {
  const utf8 = (text: string) => new TextEncoder().encode(text);
  const isInRange = (key: Uint8Array, range: ReturnType<typeof keyRange>) =>
    Buffer.compare(key, range.key) >= 0 &&
    (Buffer.compare(range.rangeEnd, Buffer.from([0])) === 0 ||
      Buffer.compare(key, range.rangeEnd) < 0);
  const text = fc.string({ unit: "grapheme", maxLength: 6 });
  fc.assert(fc.property(text, text, (prefix, other) => {
    const range = keyRange({ key: prefix, prefix: true });
    for (const key of [prefix + other, other, other + prefix]) {
      if (key === "") continue; // etcd has no empty key
      expect(isInRange(utf8(key), range)).toBe(Buffer.from(key).indexOf(prefix) === 0);
    }
  }));
});
