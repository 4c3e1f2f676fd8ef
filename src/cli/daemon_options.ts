/** The command line after parsing: one value for each flag. */

import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { type Flag, FLAGS } from "./flag_table.ts";

export type DaemonOptions = {
  readonly [Key in keyof typeof FLAGS]: (typeof FLAGS)[Key]["initial"];
};

/** The addresses of `--public-ip` and `--public-ipv6`. */
export function givenAddresses({ publicIp, publicIpv6 }: DaemonOptions): PerFamily<IpAddress> {
  return { ...(publicIp && { 4: publicIp }), ...(publicIpv6 && { 6: publicIpv6 }) };
}

/** What differs from the defaults, for the log: `--flag=value`, a password as `[redacted]`. */
export function describeOptions(options: DaemonOptions): string {
  const given: string[] = [];
  for (const [key, flag] of Object.entries(FLAGS) as [keyof DaemonOptions, Flag<unknown>][]) {
    const value = options[key];
    if (JSON.stringify(value) === JSON.stringify(flag.initial)) continue;
    given.push(`--${flag.name}=${flag.secret ? "[redacted]" : String(value)}`);
  }
  return given.length === 0 ? "all flags have their defaults" : given.join(" ");
}
