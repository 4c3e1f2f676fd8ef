/** docs/flags.md, from the tables of flags. */

import { DAEMON_FLAGS } from "./daemon_flags.ts";
import { DATASTORE_FLAGS } from "./datastore_flags.ts";
import { flagPageLines } from "./flag_help.ts";
import { LAB_FLAGS } from "./lab_flags.ts";
import { SUBCOMMANDS } from "./subcommands.ts";

export function flagsPage(): string {
  const lines = [
    INTRODUCTION,
    ...flagPageLines(Object.values(DAEMON_FLAGS)),
    "",
    "## Other",
    "",
    "- `--version` prints the version, `--help` or `-h` the flags.",
    ...Object.entries(SUBCOMMANDS).map(([name, help]) =>
      `- \`flanneld ${name}\`: ${help.charAt(0).toLowerCase()}${help.slice(1)}`
    ),
    ...flagPageLines(DATASTORE_FLAGS),
    ...flagPageLines(Object.values(LAB_FLAGS)),
    "",
    OTHER_VARIABLES,
  ];
  return lines.join("\n") + "\n";
}

const INTRODUCTION = `# Flags and environment

<!-- Written by \`npm run docs:flags\` from the tables of flags in src/cli. -->

A flag is \`-name\`, \`--name\`, \`--name=value\` or \`--name value\`. A boolean is \`--ip-masq\`
or \`--ip-masq=false\`, never \`--ip-masq false\`. \`--\` ends the flags. Numbers may be written
as in Go (\`0x10\`, \`0o17\`, \`1_000\`). A blank argument that is not the value of a flag is
skipped: an empty variable in a systemd unit becomes one.

A flag takes precedence over its environment variable, and the variable over the default. An empty
variable counts as unset. The variable of a flag that may be repeated is a comma-separated list (in
\`--iface-regex\`, commas inside brackets or braces belong to the expression).

An invalid command line ends the program with status 2; a number out of range ends the daemon with
status 1. Either way, one line says what is allowed.`;

const OTHER_VARIABLES = `## Other environment variables

- \`NOTIFY_SOCKET\`: where systemd receives \`READY=1\`, \`STOPPING=1\` and the status line.
- \`WATCHDOG_USEC\`, \`WATCHDOG_PID\`: systemd's watchdog; notified at half that interval.
- \`FLANNELD_UDP_DATA_PATH\`: \`fou\` or \`tun\`, how the udp backend moves packets.
- \`WIREGUARD_KEY_FILE\`: file of the wireguard backend's private key (default /run/flannel/wgkey).
- \`CHARON_VICI_SOCKET\`: control socket of a running charon for the ipsec backend.
- \`ACCESS_KEY_ID\`, \`ACCESS_KEY_SECRET\`: access key of the tencent-vpc backend.
- \`TENCENT_VPC_ENDPOINT\`, \`TENCENT_METADATA_ENDPOINT\`: other addresses of the Tencent Cloud
  API and metadata service.
- \`PATH\`: searched first for \`iptables-restore\` and other programs.`;
