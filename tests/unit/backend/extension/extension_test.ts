import { describe, expect, test } from "bun:test";
import extension from "../../../../src/backend/extension/extension.ts";
import type { Backend } from "../../../../src/overlay/backend.ts";
import { ConfigError } from "../../../../src/config/config_error.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import { backendHost, config, external, lease } from "../../../support/sample_network.ts";
import { Sandbox } from "./support.ts";

type Host = ReturnType<typeof backendHost>;

function host(sandbox: Sandbox, options: Record<string, unknown>, families = [4] as (4 | 6)[]) {
  return backendHost(new FakeKernel(), config("extension", families, options), {
    runDirectory: sandbox.directory,
    env: { PATH: process.env["PATH"], OUT: sandbox.path("out") },
  });
}

async function prepare(on: Host): Promise<Backend> {
  return await extension.prepare(on);
}

describe("extension", () => {
  test("advertises the output of PreStartupCommand, but not its standard error", async () => {
    using sandbox = new Sandbox();
    const backend = await prepare(host(sandbox, {
      PreStartupCommand: "echo loud >&2; echo; echo '  02:00:00:00:00:01  '",
    }, [4, 6]));
    expect(backend.attributes as unknown).toEqual({
      publicAddresses: { 4: "192.168.0.1", 6: "fd00::1" },
      backendType: "extension",
      backendData: { 4: "02:00:00:00:00:01" },
    });
  });

  test("without PreStartupCommand advertises no data; warns without SubnetAddCommand", async () => {
    using sandbox = new Sandbox();
    const on = host(sandbox, {});
    const backend = await prepare(on);
    expect(backend.attributes.backendData).toEqual({});
    expect(on.logged).toEqual([
      "warning: no SubnetAddCommand is configured: nothing is done for the subnets of other nodes",
    ]);
  });

  test("uses the configured MTU", async () => {
    using sandbox = new Sandbox();
    const backend = await prepare(host(sandbox, { SubnetAddCommand: "true", MTU: 1450 }));
    expect(backend.mtuBytes(external([4]))).toBe(1450);
  });

  test("creates no kernel entries itself, and uses the MTU of the interface", async () => {
    using sandbox = new Sandbox();
    const backend = await prepare(host(sandbox, { SubnetAddCommand: "true" }));
    const input = { own: lease(1, "extension", [4]), external: external([4]) };
    expect(backend.node(input)).toEqual([]);
    expect(backend.peer(lease(2, "extension", [4]), input, { direct: {}, path: {} })).toEqual([]);
    expect(backend.mtuBytes(external([4]))).toBe(1500);
    expect(() => backend.peer(lease(2, "vxlan", [4]), input, { direct: {}, path: {} })).toThrow(
      "its backend is vxlan",
    );
  });

  test("PreStartupCommand gets the addresses, but no subnet and no secrets", async () => {
    using sandbox = new Sandbox();
    const on = host(sandbox, {
      PreStartupCommand: 'echo "$NETWORK|$SUBNET|$IPV6SUBNET|$PUBLIC_IP|$OUT"; ' +
        'echo "$NOTIFY_SOCKET$FLANNELD_ETCD_PASSWORD"',
    });
    const env = {
      ...on.env,
      SUBNET: "from outside",
      IPV6SUBNET: "too",
      NOTIFY_SOCKET: "/x",
      FLANNELD_ETCD_PASSWORD: "secret",
    };
    const { attributes } = await prepare({ ...on, env });
    expect(attributes.backendData[4]).toBe(`10.5.0.0/16|||192.168.0.1|${sandbox.path("out")}`);
  });

  test.each([
    [{ PreStartupCommand: "exit 4" }, "PreStartupCommand ended with status 4; correct it in"],
    [
      { PreStartupCommand: "head -c 70000 /dev/zero | tr '\\0' x" },
      "PreStartupCommand printed 70000 bytes, more than the 65536 that fit into BackendData",
    ],
    [
      { PreStartupCommand: "sleep 9", CommandTimeoutSeconds: 1 },
      "PreStartupCommand failed: it did not exit within 1 s and was killed; correct it in",
    ],
  ])("refuses to start with %j", async (options, message) => {
    using sandbox = new Sandbox();
    const error = await prepare(host(sandbox, options)).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(BackendError);
    expect((error as Error).message).toStartWith(message);
  });

  test.each([
    "PreStartupCommand",
    "PostStartupCommand",
    "SubnetAddCommand",
    "SubnetRemoveCommand",
    "ShutdownCommand",
  ])("refuses a %s that the shell cannot read, before any command has run", async (name) => {
    using sandbox = new Sandbox();
    const good = { PreStartupCommand: 'echo run >> "$OUT"', SubnetAddCommand: "true" };
    const on = host(sandbox, { ...good, [name]: `echo ran >> "$OUT"; if true; then` });
    const error = await prepare(on).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    const { message } = error as Error;
    expect(message).toStartWith(
      `${name} in the network configuration's Backend object is not a valid shell command: sh: `,
    );
    expect(message).toMatch(/syntax error/i);
    expect(message).not.toContain("\n");
    expect(sandbox.out()).toEqual([]);
  });

  test.each([
    [{ SubnetAddCommand: ["ip"] }, 'is ["ip"]; it must be a string'],
    [{ SubnetAddCommand: "a\0b" }, "SubnetAddCommand in the network configuration's Backend"],
    [{ CommandTimeoutSeconds: 0 }, "is 0; it must be an integer from 1 to 3600"],
  ])("refuses the option %j", async (options, message) => {
    using sandbox = new Sandbox();
    await expect(prepare(host(sandbox, options))).rejects.toThrow(message);
  });
});
