import { expect, test } from "bun:test";
import extension from "../../../../src/backend/extension/extension.ts";
import { hookEnvironment } from "../../../../src/backend/extension/hook_environment.ts";
import { ConfigError } from "../../../../src/config/config_error.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import { backendHost, config } from "../../../support/sample_network.ts";
import { Sandbox } from "./support.ts";

const ENVIRONMENT = {
  PATH: process.env["PATH"],
  NODE_NAME: "a",
  FLANNELD_ETCD_PASSWORD: "of etcd",
  FLANNELD_TO_PASSWORD: "of the new etcd",
  FLANNELD_ETCD_ENDPOINTS: "http://192.0.2.1:2379",
  ACCESS_KEY_ID: "id",
  ACCESS_KEY_SECRET: "of the cloud",
  MINISIGN_SECRET_KEY: "of releases",
  AWS_SESSION_TOKEN: "of another cloud",
  PROXY: "http://user:of-the-proxy@192.0.2.1",
  NOTIFY_SOCKET: "/run/systemd/notify",
  WATCHDOG_USEC: "1",
  WATCHDOG_PID: "1",
};

test("commands inherit all but secrets, and what the configuration names", () => {
  const { env, withheld } = hookEnvironment(ENVIRONMENT, ["AWS_SESSION_TOKEN", "ABSENT"]);
  expect(Object.keys(env).sort()).toEqual([
    ...["AWS_SESSION_TOKEN", "FLANNELD_ETCD_ENDPOINTS", "NODE_NAME", "PATH"],
  ]);
  expect(withheld).toEqual(["ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "MINISIGN_SECRET_KEY", "PROXY"]);
});

/** What a command finds in its environment, and the log of the start. */
async function start(options: Record<string, unknown>) {
  using sandbox = new Sandbox();
  const command = `env | cut -d= -f1 | sort | tr '\\n' ' ' >'${sandbox.path("out")}'`;
  const on = backendHost(
    new FakeKernel(),
    config("extension", [4], { ...options, PreStartupCommand: command, SubnetAddCommand: "true" }),
    { runDirectory: sandbox.directory, env: ENVIRONMENT },
  );
  await extension.prepare(on);
  const [names = ""] = sandbox.out();
  return { names: names.split(" "), logged: on.logged };
}

test("a command gets no secrets of the daemon, and the log names the withheld ones", async () => {
  const { names, logged } = await start({});
  expect(names).toContain("NODE_NAME");
  expect(names).toContain("SUBNET");
  expect(names.filter((name) => /PASSWORD|KEY|TOKEN|PROXY|NOTIFY|WATCHDOG/.test(name))).toEqual([]);
  expect(logged).toContain(
    "commands do not get the variables ACCESS_KEY_ID, ACCESS_KEY_SECRET, AWS_SESSION_TOKEN, " +
      "MINISIGN_SECRET_KEY, PROXY, which look like secrets; list those that a command needs in " +
      "CommandEnvironment",
  );
  const named = await start({ CommandEnvironment: "  AWS_SESSION_TOKEN PROXY" });
  expect(named.names).toContain("AWS_SESSION_TOKEN");
  expect(named.names).toContain("PROXY");
});

test.each([
  ["with commas", "A,B"],
  ["that begins with a digit", "1A"],
  ["with values", "A=b"],
  ["with a dollar sign", "$A"],
  ["as a list", ["A"]],
])("CommandEnvironment does not accept %s", (_which, value) => {
  const { log } = backendHost(new FakeKernel(), config("extension", [4], {}));
  const asked = config("extension", [4], { CommandEnvironment: value });
  const read = () => extension.checkConfig(asked, log);
  expect(read).toThrow(ConfigError);
  expect(read).toThrow("it must be names of variables separated by spaces");
});
