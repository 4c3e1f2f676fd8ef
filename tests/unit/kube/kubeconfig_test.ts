/** What is read from a kubeconfig, and what is said of one that cannot be used. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import type { KubeAccess } from "../../../src/kube/kube_access.ts";
import { KubeError } from "../../../src/kube/kube_error.ts";
import { KubeconfigCredentials } from "../../../src/kube/kubeconfig_credentials.ts";
import { parse } from "yaml";
import { type CertificateFiles, TestCa } from "../../support/certificates.ts";

const NEVER = new AbortController().signal;

let ca: TestCa;
let admin: CertificateFiles;
let directory: string;
let path: string;

beforeAll(() => {
  ca = new TestCa();
  admin = ca.sign("admin");
});
afterAll(() => ca[Symbol.dispose]());
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "kubeconfig-test-"));
  path = join(directory, "config");
});
afterEach(() => rmSync(directory, { recursive: true }));

interface Parts {
  readonly cluster?: object;
  readonly user?: object;
  readonly file?: object;
}

const SERVER = "https://10.0.0.1:6443";

function configText({ cluster = {}, user = {}, file = {} }: Parts = {}): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "here",
    clusters: [
      { name: "other", cluster: { server: "https://other" } },
      { name: "k", cluster: { server: SERVER, ...cluster } },
    ],
    contexts: [
      { name: "there", context: { cluster: "other", user: "u" } },
      { name: "here", context: { cluster: "k", user: "u" } },
    ],
    users: [{ name: "u", user }],
    ...file,
  });
}

function open(text: string, apiUrl = ""): KubeconfigCredentials {
  writeFileSync(path, text);
  return new KubeconfigCredentials({ path, apiUrl, parseYaml: parse, clock: systemClock });
}

function access(parts: Parts, apiUrl = ""): Promise<KubeAccess> {
  return open(configText(parts), apiUrl).current(NEVER);
}

/** Why it cannot be used. */
async function refusal(parts: Parts | string): Promise<string> {
  try {
    await open(typeof parts === "string" ? parts : configText(parts)).current(NEVER);
  } catch (error) {
    expect(error).toBeInstanceOf(KubeError);
    expect((error as KubeError).kind).toBe("credentials");
    expect((error as KubeError).message).not.toContain("\n");
    return (error as KubeError).message.replaceAll(directory, "DIR");
  }
  throw new Error("nothing was refused");
}

const text = (file: string) => readFileSync(file, "utf8");
const base64 = (file: string) => Buffer.from(text(file)).toString("base64");

describe("the current context", () => {
  test("selects the server; a file in YAML is read as kubectl writes it", async () => {
    const yaml = [
      "apiVersion: v1",
      "clusters:",
      "- cluster:",
      `    certificate-authority-data: ${base64(ca.caFile)}`,
      "    server: https://10.0.0.1:6443/",
      "  name: kubernetes",
      "contexts:",
      "- context: {cluster: kubernetes, user: flannel}",
      "  name: flannel@kubernetes",
      "current-context: flannel@kubernetes",
      "kind: Config",
      "preferences: {}",
      "users:",
      "- name: flannel",
      "  user:",
      "    token: abc.def",
    ].join("\n");
    const credentials = open(yaml);
    expect(credentials.server).toBe(SERVER);
    expect(await credentials.current(NEVER)).toEqual({
      server: SERVER,
      tls: { ca: text(ca.caFile).trim(), rejectUnauthorized: true },
      authorization: "Bearer abc.def",
      proxyUrl: undefined,
    });
  });

  test("may have no user: calls are anonymous", async () => {
    const contexts = [{ name: "here", context: { cluster: "k" } }];
    expect((await access({ file: { contexts } })).authorization).toBeUndefined();
  });

  test("has to exist, and so has what it names", async () => {
    expect(await refusal({ file: { "current-context": "" } })).toBe(
      "cannot use the kubeconfig DIR/config: current-context is not set; choose one with " +
        "`kubectl config use-context NAME`",
    );
    expect(await refusal({ file: { "current-context": "x" } }))
      .toEndWith(': contexts has no entry with the name "x"');
    expect(await refusal({ file: { clusters: null } }))
      .toEndWith(': clusters has no entry with the name "k"');
    expect(await refusal({ file: { users: [null] } }))
      .toEndWith(': users has no entry with the name "u"');
  });
});

describe("the server", () => {
  test.each([
    ["10.0.0.1:6443", "https://10.0.0.1:6443"],
    ["https://[fd00::1]:6443", "https://[fd00::1]:6443"],
    ["https://rancher/k8s/clusters/c-1/", "https://rancher/k8s/clusters/c-1"],
    ["http://127.0.0.1:8080", "http://127.0.0.1:8080"],
  ])("%s is %s", async (server, expected) => {
    expect((await access({ cluster: { server } })).server).toBe(expected);
  });

  test("of --kube-api-url takes the place of the file's, with its name", async () => {
    const cluster = { "tls-server-name": "kubernetes" };
    expect((await access({ cluster })).tls.serverName).toBe("kubernetes");
    const { server, tls } = await access({ cluster }, "https://10.0.0.9:443");
    expect(server).toBe("https://10.0.0.9");
    expect(tls.serverName).toBeUndefined();
    // As in client-go, which has no other default.
    expect((await access({ cluster: { server: "" } }, "10.0.0.9:8080")).server)
      .toBe("http://10.0.0.9:8080");
  });

  test("that is not a URL is refused", async () => {
    expect(await refusal({ cluster: { server: "ftp://x" } })).toEndWith(
      ': server of cluster "k" is "ftp://x"; write it like https://10.0.0.1:6443',
    );
    expect(await refusal({ cluster: { server: 6443 } })).toEndWith(
      ': server of cluster "k" is 6443, not a string; write it in quotes',
    );
    expect(await refusal({ cluster: { server: null } }))
      .toEndWith(': server of cluster "k" is missing');
    expect(() => open(configText(), "https://")).toThrow(
      "--kube-api-url=https:// is not a URL; write it like https://10.0.0.1:6443",
    );
  });
});

describe("certificates", () => {
  test("are files, relative to the kubeconfig's directory, or data", async () => {
    writeFileSync(join(directory, "ca.crt"), text(ca.caFile));
    const asFiles = await access({
      cluster: { "certificate-authority": "ca.crt" },
      user: { "client-certificate": admin.certFile, "client-key": admin.keyFile },
    });
    const asData = await access({
      cluster: { "certificate-authority-data": base64(ca.caFile) },
      user: {
        "client-certificate-data": base64(admin.certFile),
        "client-key-data": base64(admin.keyFile),
      },
    });
    expect(asData.tls).toEqual(asFiles.tls);
    expect(asFiles.tls).toEqual({
      ca: text(ca.caFile).trim(),
      cert: text(admin.certFile).trim(),
      key: text(admin.keyFile),
      rejectUnauthorized: true,
    });
  });

  test("are not checked if the file says so", async () => {
    const cluster = { "insecure-skip-tls-verify": true };
    expect((await access({ cluster })).tls).toEqual({ rejectUnauthorized: false });
  });

  const refused: [name: string, parts: () => Parts, reason: string][] = [
    [
      "a CA that is not checked",
      () => ({ cluster: { "insecure-skip-tls-verify": true, "certificate-authority": "x" } }),
      'insecure-skip-tls-verify of cluster "k" is true, but a certificate-authority is given; ' +
      "leave one of them out",
    ],
    [
      "a flag that is text",
      () => ({ cluster: { "insecure-skip-tls-verify": "yes" } }),
      'insecure-skip-tls-verify of cluster "k" is "yes"; write true or false',
    ],
    [
      "a path in the place of data",
      () => ({ cluster: { "certificate-authority-data": "/etc/ca.crt" } }),
      'certificate-authority-data of cluster "k" is not base64; the path of a file belongs in ' +
      "certificate-authority",
    ],
    [
      "both",
      () => ({
        cluster: {
          "certificate-authority-data": base64(ca.caFile),
          "certificate-authority": "x",
        },
      }),
      'certificate-authority-data of cluster "k" is given as well as certificate-authority; ' +
      "leave one of them out",
    ],
    [
      "a certificate without its key",
      () => ({ user: { "client-certificate": "x" } }),
      'client-key of user "u" is missing, but client-certificate is given; a certificate needs ' +
      "its key",
    ],
    [
      "data that is not a certificate",
      () => ({ cluster: { "certificate-authority-data": base64(admin.keyFile) } }),
      "cannot read the TLS files for the Kubernetes API: certificate-authority-data of cluster " +
      '"k" has no certificate in PEM form',
    ],
    [
      "a file that is missing",
      () => ({ cluster: { "certificate-authority": "none.crt" } }),
      "cannot read the TLS files for the Kubernetes API: ENOENT: no such file or directory, stat " +
      "'DIR/none.crt'",
    ],
  ];
  test.each(refused)("are refused: %s", async (_name, parts, reason) => {
    expect(await refusal(parts())).toEndWith(reason);
  });
});

describe("a user", () => {
  test("has a token, a file with a token, or a password", async () => {
    writeFileSync(join(directory, "token"), "from-file\n");
    const header = async (user: object) => (await access({ user })).authorization;
    expect(await header({ token: " abc\n" })).toBe("Bearer abc");
    expect(await header({ tokenFile: "token" })).toBe("Bearer from-file");
    expect(await header({ token: "abc", tokenFile: "token" })).toBe("Bearer from-file");
    expect(await header({ username: "u", password: "p:w" }))
      .toBe(`Basic ${Buffer.from("u:p:w").toString("base64")}`);
  });

  test("is refused without showing what is secret", async () => {
    expect(await refusal({ user: { token: 12345 } }))
      .toEndWith(': token of user "u" is a number, not a string; write it in quotes');
    expect(await refusal({ user: { token: "se cret" } })).toEndWith(
      ': token of user "u" contains spaces, line ends or other characters that no token has',
    );
    writeFileSync(join(directory, "token"), "se\ncret");
    expect(await refusal({ user: { tokenFile: "token" } })).toBe(
      "cannot read the kubeconfig's tokenFile DIR/token: DIR/token contains spaces, line ends " +
        "or other characters that no token has",
    );
    writeFileSync(join(directory, "token"), "");
    expect(await refusal({ user: { tokenFile: "token" } }))
      .toEndWith("DIR/token is empty, and should contain a token");
    expect(await refusal({ user: { tokenFile: "none" } })).toContain("ENOENT");
    expect(await refusal({ user: { token: "abc", username: "u" } })).toEndWith(
      ': username of user "u" is given as well as a token; leave one of them out',
    );
  });

  test("of a kind that would be ignored is refused", async () => {
    expect(await refusal({ user: { "auth-provider": { name: "gcp" } } }))
      .toEndWith(': auth-provider of user "u" is not supported; use an exec plugin');
    expect(await refusal({ user: { token: "abc", as: "admin" } }))
      .toEndWith(': as of user "u" is not supported; use an account of its own');
  });
});

test("a proxy that is not an HTTP proxy is refused without showing its password", async () => {
  const proxied = (url: string) => ({ cluster: { "proxy-url": url } });
  expect((await access(proxied("http://10.0.0.1:3128"))).proxyUrl).toBe("http://10.0.0.1:3128");
  expect(await refusal(proxied("socks5://u:secret@10.0.0.1:1080"))).toEndWith(
    ': proxy-url of cluster "k" is "socks5://…@10.0.0.1:1080"; write it like ' +
      "http://10.0.0.1:3128",
  );
});

test("a file that is not a kubeconfig is refused in one line", async () => {
  expect(await refusal("a: b: c")).toBe(
    "cannot use the kubeconfig DIR/config: Nested mappings are not allowed in compact mappings " +
      "at line 1, column 4:",
  );
  expect(await refusal("")).toEndWith(": the file is empty, not an object");
  expect(await refusal("- 1")).toEndWith(": the file is a list, not an object");
  expect(await refusal({ file: { users: {} } })).toEndWith(
    ": users of the file is an object, not a list",
  );
  const bomb = ["a: &a [1,1,1,1,1,1,1,1,1]"];
  for (const [one, next] of ["ab", "bc", "cd", "de", "ef", "fg"].map((pair) => pair.split(""))) {
    bomb.push(`${next}: &${next} [${Array.from({ length: 9 }, () => `*${one}`).join(",")}]`);
  }
  expect(await refusal(bomb.join("\n"))).toContain("Excessive alias count");
  rmSync(path);
  expect(() =>
    new KubeconfigCredentials({ path, apiUrl: "", parseYaml: parse, clock: systemClock })
  ).toThrow(/^cannot read the kubeconfig: ENOENT/);
});

test("the kubeconfig and its files are read again when they change", async () => {
  const outcomes: string[] = [];
  writeFileSync(join(directory, "token"), "one");
  writeFileSync(path, configText({ user: { tokenFile: "token" } }));
  const credentials = new KubeconfigCredentials({
    path,
    apiUrl: "",
    parseYaml: parse,
    clock: systemClock,
    outcomes: (what) => ({
      failed: (error) => void outcomes.push(`${what}: ${(error as Error).message}`),
      succeeded: () => {},
    }),
  });
  const token = async () => (await credentials.current(NEVER)).authorization;
  expect(await token()).toBe("Bearer one");
  writeFileSync(join(directory, "token"), "second");
  expect(await token()).toBe("Bearer second");
  writeFileSync(join(directory, "token"), "");
  expect(await token()).toBe("Bearer second");
  writeFileSync(path, configText({ user: { token: "third" }, cluster: { server: "https://b" } }));
  expect(await token()).toBe("Bearer third");
  expect(credentials.server).toBe("https://b");
  writeFileSync(path, "{");
  expect(await token()).toBe("Bearer third");
  expect(new Set(outcomes.map((one) => one.replaceAll(directory, "DIR").slice(0, 60)))).toEqual(
    new Set([
      "DIR/token: DIR/token is empty, and should contain a token",
      "the kubeconfig DIR/config: cannot use the kubeconfig DIR/con",
    ]),
  );
});
