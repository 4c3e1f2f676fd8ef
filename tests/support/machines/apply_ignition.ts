/** Does with a configuration what Ignition does before the first boot of a machine. */

import type { Machine } from "./machine.ts";

/** As much of Ignition's specification 3.4 as the files of deploy/ignition use. */
interface IgnitionConfig {
  readonly storage: {
    readonly files: readonly {
      readonly path: string;
      readonly mode: number;
      readonly contents: {
        readonly source: string;
        readonly verification?: { readonly hash: string };
      };
    }[];
  };
  readonly systemd: {
    readonly units: readonly {
      readonly name: string;
      readonly enabled: boolean;
      readonly contents: string;
      readonly dropins: readonly { readonly name: string; readonly contents: string }[];
    }[];
  };
}

/**
 * Writes the files and units to a machine that runs, and enables the units; they start at its next
 * boot. Throws for a checksum that does not match.
 */
export async function applyIgnition(machine: Machine, text: string): Promise<void> {
  const { storage, systemd } = JSON.parse(text) as IgnitionConfig;
  for (const { path, mode, contents: { source, verification } } of storage.files) {
    if (source.startsWith("data:,")) {
      await machine.write(path, decodeURIComponent(source.slice("data:,".length)), mode);
      continue;
    }
    const digest = verification?.hash.replace("sha256-", "") ?? "";
    await machine.run(
      `mkdir -p $(dirname ${path}); curl -fsS -o ${path} ${source}; chmod ${
        mode.toString(8)
      } ${path}
      echo '${digest}  ${path}' | sha256sum --quiet --strict --check`,
    );
  }
  const units = "/etc/systemd/system";
  for (const { name, contents, dropins } of systemd.units) {
    await machine.write(`${units}/${name}`, contents);
    for (const one of dropins) await machine.write(`${units}/${name}.d/${one.name}`, one.contents);
  }
  const enabled = systemd.units.filter((unit) => unit.enabled).map(({ name }) => name);
  const presets = enabled.map((name) => `enable ${name}\n`).join("");
  await machine.write(`${units}-preset/20-ignition.preset`, presets);
  await machine.run(`systemctl preset --quiet ${enabled.join(" ")}`);
}
