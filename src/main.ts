/** The entry point: reads the command line, does what it says, ends with a status. */

import { parseCommandLine } from "./cli/command_line.ts";
import { helpText } from "./cli/help.ts";
import { versionText } from "./cli/version.ts";

main().then((status) => process.exit(status));

/** Returns the exit status. What is not needed for `--help` is loaded only when it is. */
async function main(): Promise<number> {
  const command = parseCommandLine(process.argv.slice(2), process.env);
  switch (command.kind) {
    case "help":
      process.stdout.write(helpText());
      return 0;
    case "version":
      process.stdout.write(`${versionText()}\n`);
      return 0;
    case "error":
      process.stderr.write(`flanneld: ${command.message}\n`);
      return command.exitCode;
    case "subcommand": {
      const { licensesText } = await import("./cli/licenses.ts");
      process.stdout.write(licensesText());
      return 0;
    }
    case "run":
      process.stderr.write("flanneld: there is no daemon in this build\n");
      return 1;
  }
}
