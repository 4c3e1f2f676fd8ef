/** The parts of the extension backend on real files and with a real shell; time stands still. */

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HookRecords } from "../../../../src/backend/extension/hook_records.ts";
import { HookRunner } from "../../../../src/backend/extension/hook_runner.ts";
import { HookSetup } from "../../../../src/backend/extension/hook_setup.ts";
import { HookTarget } from "../../../../src/backend/extension/hook_target.ts";
import {
  type ExtensionOptions,
  OPTIONS,
} from "../../../../src/backend/extension/extension_options.ts";
import { readOptions } from "../../../../src/config/option_schema.ts";
import type { Lease, LeaseKey } from "../../../../src/subnet/lease.ts";
import { collectingLog, type LogRecord } from "../../../support/collecting_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { each, external, lease, NETWORKS, prefix } from "../../../support/sample_network.ts";

const FAMILIES = [4] as const;
export const networks = each(FAMILIES, (family) => NETWORKS[family]);

/** Node n as a peer, with data. */
export function peer(n: number, data?: unknown): Lease {
  const node = lease(n, "extension", FAMILIES);
  const backendData = data === undefined ? {} : { 4: data };
  return { ...node, attributes: { ...node.attributes, backendData } };
}

/** Node n with the key and subnet of another. */
export function withSubnet(n: number, subnet: string, key: string): Lease {
  return { ...peer(n), key: key as LeaseKey, subnets: { 4: prefix(subnet) } };
}

/** A directory for one test: the daemon's records, and what the commands write. */
export class Sandbox implements Disposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), "extension-"));
  /** Where each run keeps its records. */
  state: string = join(this.directory, "state");
  boot = "this boot";
  readonly logged: LogRecord[] = [];
  readonly clock: FakeClock = new FakeClock(() => 0);

  /** Starts as the daemon does, with the given commands. */
  async run(commands: Partial<ExtensionOptions>): Promise<HookTarget> {
    const { log, records: logged } = collectingLog();
    const keep = logged.push.bind(logged);
    logged.push = (...items) => (this.logged.push(...items), keep(...items));
    const options = readOptions(commands, OPTIONS, { warn: () => {} });
    const records = await HookRecords.open({
      directory: this.state,
      boot: this.boot,
      warn: (message) => log.warn(message),
    });
    const runner = new HookRunner({
      log,
      env: { PATH: process.env["PATH"] ?? "", OUT: this.path("out") },
      clock: this.clock,
    });
    const { publicAddresses } = external(FAMILIES);
    const stop = new AbortController().signal;
    const own = lease(1, "extension", FAMILIES);
    const setup = await HookSetup.prepare(
      { options, records, runner, networks, log },
      { subnets: own.subnets, publicAddresses },
      stop,
    );
    const { clock } = this;
    const target = new HookTarget({ options, setup, records, runner, networks, clock, log });
    await target.start({ own, external: external(FAMILIES) }, stop);
    return target;
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Lines that the commands wrote since the last call. */
  out(): string[] {
    const path = this.path("out");
    if (!existsSync(path)) return [];
    const lines = readFileSync(path, "utf8").trimEnd().split("\n").map((line) => line.trimEnd());
    rmSync(path);
    return lines;
  }

  messages(level: LogRecord["level"]): string[] {
    return this.logged.filter((record) => record.level === level).map(({ msg }) => msg);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true });
  }
}
