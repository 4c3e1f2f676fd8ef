import { describe, expect, test } from "bun:test";
import { isSecretVariable } from "../../../src/process/secret_variables.ts";

describe("isSecretVariable()", () => {
  test.each([
    ...["FLANNELD_ETCD_PASSWORD", "FLANNELD_TO_PASSWORD", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET"],
    ...["MINISIGN_SECRET_KEY", "MINISIGN_KEY", "MINISIGN_PASSWORD", "GITHUB_TOKEN", "NPM_TOKEN"],
    ...["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET"],
    ...[
      "GOOGLE_APPLICATION_CREDENTIALS",
      "HCLOUD_TOKEN",
      "TENCENTCLOUD_SECRETKEY",
      "API_KEY",
      "APIKEY",
    ],
    ...["HTTP_AUTHORIZATION", "BEARER", "CI_JOB_JWT", "MYSQL_PWD"],
    ...["PGPASSWORD", "MYSQL_PWD_PASSWD", "SSHPASS", "DB_PASS", "RESTIC_PASSPHRASE", "IPSEC_PSK"],
    ...[
      "SSH_AUTH_SOCK",
      "WG_PRIVATE",
      "sessiontoken",
      "CREDENTIALS_DIRECTORY",
      "SSH_KEYS",
      "GH_PAT",
    ],
  ])("keeps %s back by its name", (name) => {
    expect(isSecretVariable(name, "")).toBe(true);
  });

  test.each([
    ...["PATH", "HOME", "LANG", "PWD", "OLDPWD", "TERM", "HOSTNAME", "KUBERNETES_SERVICE_HOST"],
    ...["FLANNELD_ETCD_ENDPOINTS", "FLANNELD_ETCD_KEYFILE", "FLANNELD_IFACE", "KEYBOARD", "KEYMAP"],
    ...["COMPASS", "BYPASS", "PATTERN", "AUTHOR", "XTABLES_LOCKFILE", "HTTP_PROXY", "NODE_NAME"],
    ...["INVOCATION_ID", "JOURNAL_STREAM", "PATH_INFO", "AWS_REGION", "CLOUDSDK_CONFIG"],
  ])("lets %s pass", (name) => {
    expect(isSecretVariable(name, "http://192.0.2.1:3128/a@b:c,/usr/bin:/bin")).toBe(false);
  });

  test.each([
    "http://user:secret@192.0.2.1:3128",
    "https://192.0.2.1:2379,https://root:secret@192.0.2.2:2379",
    "postgres://:secret@db/flannel",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAw",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ",
    "Server=db;User Id=root;Password=secret;",
  ])("keeps a variable back by its value %j", (value) => {
    expect(isSecretVariable("ADDRESS", value)).toBe(true);
  });
});
