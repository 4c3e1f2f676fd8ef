/** `--help` and the manual's page of flags, both from the table. */

import { environmentName, type Flag, FLAGS, type Section, SECTIONS } from "./flag_table.ts";
import { SUBCOMMANDS } from "./command_line.ts";

const WIDTH = 100;

/** The text of `flanneld --help`, with a final newline. */
export function helpText(): string {
  const lines = [
    "Usage: flanneld [FLAG]...",
    "       flanneld SUBCOMMAND [--help]",
    "",
    "Gives this host a subnet of an overlay network and keeps the kernel able to reach the subnets",
    "of the other hosts.",
    "",
    "A flag is -name, --name, --name=value or --name value; a boolean is --name or --name=false.",
    "Each has an environment form: --etcd-prefix is FLANNELD_ETCD_PREFIX. A flag wins over it.",
    "",
    "Subcommands:",
    ...Object.entries(SUBCOMMANDS).flatMap(([name, help]) => entry(name, help, "")),
  ];
  for (const section of Object.keys(SECTIONS) as Section[]) {
    lines.push("", `${SECTIONS[section]}:`);
    for (const flag of flagsOf(section)) {
      const dashes = flag.name.length === 1 ? "-" : "--";
      const usage = `${dashes}${flag.name}${flag.placeholder ? ` ${flag.placeholder}` : ""}`;
      lines.push(...entry(usage, flag.help, flag.initialText));
    }
  }
  lines.push("", "Other:");
  lines.push(...entry("--version", "Print the version and exit.", ""));
  lines.push(...entry("--help, -h", "Print this text and exit.", ""));
  return lines.join("\n") + "\n";
}

/** docs/flags.md. */
export function flagsPage(): string {
  const lines = [
    "# Flags and environment",
    "",
    "<!-- Written by `npm run docs:flags` from src/cli/flag_table.ts. -->",
    "",
    "`flanneld` takes flags in the form `-name`, `--name`, `--name=value` or `--name value`. A boolean",
    "is `--ip-masq` or `--ip-masq=false`, never `--ip-masq false`. `--` ends the flags. Numbers may be",
    "written as in Go (`0x10`, `0o17`, `1_000`). A blank argument that is not the value of a flag is",
    "skipped: an empty variable in a systemd unit becomes one.",
    "",
    "A flag wins over its environment variable, which wins over the default. An empty variable counts",
    "as unset. A flag that may be repeated is comma-separated in its variable (in `--iface-regex`,",
    "commas inside brackets or braces belong to the expression).",
    "",
    "A command line that cannot be read ends the program with status 2, a number outside its range",
    "with status 1, both with one line that says what is allowed.",
  ];
  for (const section of Object.keys(SECTIONS) as Section[]) {
    lines.push("", `## ${SECTIONS[section]}`, "");
    for (const flag of flagsOf(section)) lines.push(...pageEntry(flag));
    lines.pop();
  }
  lines.push("", "## Other", "");
  lines.push("- `--version` prints the version, `--help` or `-h` the flags.");
  for (const [name, help] of Object.entries(SUBCOMMANDS)) {
    lines.push(`- \`flanneld ${name}\`: ${lowerFirst(help)}`);
  }
  lines.push("", "## Other environment variables", "");
  lines.push("- `NOTIFY_SOCKET`: where systemd hears `READY=1`, `STOPPING=1` and the status line.");
  lines.push("- `WATCHDOG_USEC`, `WATCHDOG_PID`: systemd's watchdog; answered at half that time.");
  lines.push("- `FLANNELD_UDP_DATA_PATH`: `fou` or `tun`, how the udp backend moves packets.");
  lines.push(
    "- `WIREGUARD_KEY_FILE`: the wireguard backend's private key, else /run/flannel/wgkey.",
  );
  lines.push(
    "- `CHARON_VICI_SOCKET`: the control socket of a charon that the ipsec backend is to use.",
  );
  lines.push(
    "- `ACCESS_KEY_ID`, `ACCESS_KEY_SECRET`: the tencent-vpc backend's key of the cloud's API.",
    "- `TENCENT_VPC_ENDPOINT`, `TENCENT_METADATA_ENDPOINT`: other addresses of that cloud.",
  );
  lines.push("- `PATH`: where `iptables-restore` and the like are looked for first.");
  return lines.join("\n") + "\n";
}

function flagsOf(section: Section): Flag<unknown>[] {
  return Object.values<Flag<unknown>>(FLAGS).filter((flag) => flag.section === section);
}

function entry(usage: string, help: string, initial: string): string[] {
  const text = initial === "" || initial === "false" ? help : `${help} (default ${initial})`;
  const column = 34;
  const wrapped = wrap(text, WIDTH - column);
  const head = `  ${usage}`;
  const lines = head.length < column - 1 ? [] : [head];
  const first = lines.length === 0 ? head.padEnd(column) : " ".repeat(column);
  lines.push(`${first}${wrapped[0]}`);
  return [...lines, ...wrapped.slice(1).map((line) => " ".repeat(column) + line)];
}

function pageEntry(flag: Flag<unknown>): string[] {
  const value = flag.placeholder === "" ? "" : ` ${flag.placeholder}`;
  const initial = flag.initialText === "" ? "none" : `\`${flag.initialText}\``;
  return [
    `### \`${flag.name.length === 1 ? "-" : "--"}${flag.name}${value}\``,
    "",
    ...wrap(flag.help, WIDTH),
    "",
    `Default: ${initial}. Environment: \`${environmentName(flag.name)}\`.`,
    "",
  ];
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) as string;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
