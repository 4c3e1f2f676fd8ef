/** Programs that print credentials. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { KubeError } from "../../../src/kube/kube_error.ts";
import { KubeconfigCredentials } from "../../../src/kube/kubeconfig_credentials.ts";
import { type CertificateFiles, TestCa } from "../../support/certificates.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const NEVER = new AbortController().signal;
const V1 = "client.authentication.k8s.io/v1";

let ca: TestCa;
let admin: CertificateFiles;
let directory: string;
let clock: FakeClock;

beforeAll(() => {
  ca = new TestCa();
  admin = ca.sign("admin");
});
afterAll(() => ca[Symbol.dispose]());
beforeEach(() => {
  // Short: messages shorten a long path.
  directory = mkdtempSync(join(tmpdir(), "p-"));
  clock = new FakeClock();
});
afterEach(() => rmSync(directory, { recursive: true }));

/** A kubeconfig in the directory with a plugin that is this shell script. */
function open(script: string, exec: object = {}, cluster: object = {}): KubeconfigCredentials {
  writeFileSync(join(directory, "plugin"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const path = join(directory, "config");
  writeFileSync(
    path,
    JSON.stringify({
      "current-context": "c",
      contexts: [{ name: "c", context: { cluster: "k", user: "u" } }],
      clusters: [{ name: "k", cluster: { server: "https://10.0.0.1:6443", ...cluster } }],
      users: [
        {
          name: "u",
          user: {
            exec: { apiVersion: V1, command: "./plugin", interactiveMode: "Never", ...exec },
          },
        },
      ],
    }),
  );
  return new KubeconfigCredentials({ path, apiUrl: "", parseYaml: parse, clock });
}

/** Prints a credential with this status, and counts the runs. */
function printing(status: object, fields: object = {}): string {
  const credential = { apiVersion: V1, kind: "ExecCredential", status, ...fields };
  writeFileSync(join(directory, "credential"), JSON.stringify(credential));
  return `echo run >>${directory}/runs; cat ${directory}/credential`;
}

function runs(): number {
  return readFileSync(join(directory, "runs"), "utf8").trim().split("\n").length;
}

async function refusal(credentials: () => KubeconfigCredentials): Promise<string> {
  try {
    await credentials().current(NEVER);
  } catch (error) {
    expect(error).toBeInstanceOf(KubeError);
    expect((error as KubeError).kind).toBe("credentials");
    expect((error as KubeError).message).not.toContain("secret");
    return (error as KubeError).message.replaceAll(directory, "DIR");
  }
  throw new Error("nothing was refused");
}

describe("a credential", () => {
  test("is a token, used until it expires", async () => {
    const expirationTimestamp = new Date(clock.wallMs() + 60_000).toISOString();
    const credentials = open(printing({ token: "abc", expirationTimestamp }));
    const [first, second] = await Promise.all([
      credentials.current(NEVER),
      credentials.current(NEVER),
    ]);
    expect(first).toEqual({
      server: "https://10.0.0.1:6443",
      tls: { rejectUnauthorized: true },
      authorization: "Bearer abc",
      proxyUrl: undefined,
    });
    expect(second).toEqual(first);
    await clock.advance(59_000);
    await credentials.current(NEVER);
    expect(runs()).toBe(1);
    await clock.advance(1000);
    await credentials.current(NEVER);
    expect(runs()).toBe(2);
  });

  test("is a client certificate with its key", async () => {
    const cluster = { "certificate-authority": ca.caFile };
    const [cert, key] = [admin.certFile, admin.keyFile].map((file) => readFileSync(file, "utf8"));
    const status = { clientCertificateData: cert, clientKeyData: key };
    const { tls, authorization } = await open(printing(status), {}, cluster).current(NEVER);
    expect(authorization).toBeUndefined();
    expect(tls).toEqual(
      {
        ca: readFileSync(ca.caFile, "utf8").trim(),
        cert,
        key,
        rejectUnauthorized: true,
      } as typeof tls,
    );
  });

  test("that the server refuses is renewed once for all calls that were refused", async () => {
    const credentials = open(printing({ token: "old" }));
    const access = await credentials.current(NEVER);
    printing({ token: "new" });
    const renewed = await Promise.all([
      credentials.renewed(access, NEVER),
      credentials.renewed(access, NEVER),
    ]);
    expect(renewed.map(({ authorization }) => authorization)).toEqual(["Bearer new", "Bearer new"]);
    expect(runs()).toBe(2);
    expect((await credentials.renewed(access, NEVER)).authorization).toBe("Bearer new");
    expect(runs()).toBe(2);
  });

  test("may be of the version v1beta1", async () => {
    const apiVersion = "client.authentication.k8s.io/v1beta1";
    const credentials = open(printing({ token: "abc" }, { apiVersion }), { apiVersion });
    expect((await credentials.current(NEVER)).authorization).toBe("Bearer abc");
  });
});

describe("a plugin", () => {
  test("is given its arguments, its variables and the whole environment", async () => {
    const script = 'printf "%s|" "$@" "$ONE" "$HOME" "$KUBERNETES_EXEC_INFO" >seen\n' +
      printing({ token: "abc" });
    const credentials = open(`cd ${directory}; ${script}`, {
      args: ["get token", "--x"],
      env: [{ name: "ONE", value: "1 2" }],
    });
    await credentials.current(NEVER);
    const info = { apiVersion: V1, kind: "ExecCredential", spec: { interactive: false } };
    expect(readFileSync(join(directory, "seen"), "utf8").split("|")).toEqual([
      ...["get token", "--x", "1 2", process.env["HOME"] ?? "", JSON.stringify(info), ""],
    ]);
  });

  test("is given the cluster if the kubeconfig says so", async () => {
    const script = `printf %s "$KUBERNETES_EXEC_INFO" >${directory}/seen\n`;
    const extension = { audience: "x" };
    const credentials = open(script + printing({ token: "abc" }), { provideClusterInfo: true }, {
      "certificate-authority": ca.caFile,
      "tls-server-name": "kubernetes",
      extensions: [{ name: "client.authentication.k8s.io/exec", extension }],
    });
    await credentials.current(NEVER);
    const { spec } = JSON.parse(readFileSync(join(directory, "seen"), "utf8"));
    const pem = readFileSync(ca.caFile, "utf8").trim();
    expect(spec.cluster).toEqual({
      server: "https://10.0.0.1:6443",
      "tls-server-name": "kubernetes",
      "certificate-authority-data": Buffer.from(pem).toString("base64"),
      config: extension,
    });
  });

  test("is given the cluster without a configuration if that is not for plugins", async () => {
    const script = `printf %s "$KUBERNETES_EXEC_INFO" >${directory}/seen\n`;
    for (const extensions of [[], [{ name: "another", extension: { audience: "x" } }]]) {
      const exec = { provideClusterInfo: true };
      const credentials = open(script + printing({ token: "abc" }), exec, { extensions });
      await credentials.current(NEVER);
      const { spec } = JSON.parse(readFileSync(join(directory, "seen"), "utf8"));
      expect(spec.cluster).toEqual({ server: "https://10.0.0.1:6443" });
    }
  });

  test("that fails is reported with the end of its standard error, and tried again", async () => {
    const credentials = open("echo secret; echo first >&2; echo 'log in first' >&2; exit 3");
    const message = await refusal(() => credentials);
    expect(message).toBe(
      'no credentials from the kubeconfig\'s exec plugin "DIR/plugin": it exited with status 3: ' +
        "log in first",
    );
    writeFileSync(
      join(directory, "plugin"),
      `#!/bin/sh\n${printing({ token: "abc" })}`,
      { mode: 0o755 },
    );
    expect((await credentials.current(NEVER)).authorization).toBe("Bearer abc");
  });

  test("that fails without output is reported by its status alone", async () => {
    const installHint = "see https://example.com";
    expect(await refusal(() => open("exit 4", { installHint }))).toEndWith("exited with status 4");
    const words = "echo one >&2; echo two >&2; echo three >&2; exit 5";
    expect(await refusal(() => open(words, { installHint }))).toEndWith("with status 5: three");
    const script = "exec yes secret";
    expect(await refusal(() => open(script, { installHint }))).toEndWith("than 1048576 bytes");
  });

  test("that is missing is reported with how to install it", async () => {
    const message = await refusal(() =>
      open("", { command: "no-such-plugin", installHint: "see https://example.com" })
    );
    expect(message).toBe(
      'no credentials from the kubeconfig\'s exec plugin "no-such-plugin": cannot run ' +
        "no-such-plugin: there is no such program; see https://example.com",
    );
    expect(await refusal(() => open("", { command: "no-such-plugin" })))
      .toEndWith("there is no such program");
  });

  test("that does not end is killed when its caller stops", async () => {
    const stop = new AbortController();
    const credentials = open("sleep 100");
    const call = credentials.current(stop.signal);
    const reason = new Error("the daemon ends");
    setTimeout(() => stop.abort(reason), 100);
    expect(await call.catch((error) => error)).toBe(reason);
  });

  test("that prints without end is killed", async () => {
    expect(await refusal(() => open("exec yes secret")))
      .toEndWith("it wrote more than 1048576 bytes");
  });

  const outputs: [name: string, script: () => string, reason: string][] = [
    ["text", () => "echo secret", "its output is not a JSON object"],
    ["nothing", () => "true", "its output is not a JSON object"],
    ["null", () => "echo null", "its output is not a JSON object"],
    [
      "another kind",
      () => printing({ token: "secret" }, { kind: "Secret" }),
      "its output has no kind ExecCredential",
    ],
    [
      "another version",
      () => printing({ token: "secret" }, { apiVersion: "v9" }),
      `its output has the apiVersion "v9", the kubeconfig asks for ${V1}`,
    ],
    [
      "an empty status",
      () => printing({}),
      "its status has neither a token nor a clientCertificateData",
    ],
    ["a number", () => printing({ token: 1 }), "its status.token is not a string"],
    [
      "half of a pair",
      () => printing({ clientCertificateData: "secret" }),
      "its status has only one of clientCertificateData, clientKeyData",
    ],
    [
      "the other half of a pair",
      () => printing({ token: "x", clientKeyData: "secret" }),
      "its status has only one of clientCertificateData, clientKeyData",
    ],
    [
      "a damaged key",
      () =>
        printing({
          clientCertificateData: readFileSync(admin.certFile, "utf8"),
          clientKeyData: "secret",
        }),
      "cannot read the TLS files for the Kubernetes API: its clientKeyData has no unencrypted " +
      "private key in PEM form",
    ],
    [
      "a damaged pair",
      () => printing({ clientCertificateData: "secret", clientKeyData: "secret" }),
      "its clientCertificateData has no certificate in PEM form",
    ],
    [
      "two tokens",
      () => printing({ token: "secret secret" }),
      "its token contains spaces, line ends or other characters that no token has",
    ],
    [
      "another time",
      () => printing({ token: "secret", expirationTimestamp: "soon" }),
      'its expirationTimestamp is "soon", not a time',
    ],
  ];
  test.each(outputs)("that prints %s is refused", async (_name, script, reason) => {
    const message = await refusal(() => open(script()));
    expect(message).toStartWith("no credentials from the kubeconfig's exec plugin");
    expect(message).toEndWith(reason);
  });

  test("that is described wrongly is refused at once", async () => {
    const problem = (exec: object) => refusal(() => open("true", exec));
    expect(await problem({ apiVersion: "client.authentication.k8s.io/v1alpha1" })).toEndWith(
      ': apiVersion of exec of user "u" is "client.authentication.k8s.io/v1alpha1"; use ' + V1,
    );
    expect(await problem({ command: null })).toEndWith(
      ': command of exec of user "u" is missing',
    );
    expect(await problem({ interactiveMode: "Always" })).toEndWith(
      ': interactiveMode of exec of user "u" is Always, but flanneld has no terminal; use Never',
    );
    expect(await problem({ args: [1] })).toEndWith(
      ': args of exec of user "u" contains 1, not a string; write it in quotes',
    );
    expect(await problem({ env: [{ value: "secret" }] })).toEndWith(
      ': name of env of exec of user "u" is missing',
    );
  });
});
