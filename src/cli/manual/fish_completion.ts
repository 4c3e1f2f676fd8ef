/** The completion of fish, from the declarations of commands. */

import type { Command } from "../command.ts";
import type { Completion } from "../completion_kind.ts";
import {
  type CompletedCommand,
  completedCommands,
  type CompletedFlag,
} from "./completed_command.ts";

export function fishCompletion(program: Command): string {
  const commands = completedCommands(program);
  return `# fish completion; written by "npm run docs" from the declarations of commands in src/cli.

# Subcommands, and flags that take a value, each after the name of its command.
set -g __flanneld_commands \\
    ${commands.slice(1).map(({ name }) => quotedWord(name)).join(" \\\n    ")}
set -g __flanneld_valued \\
    ${commands.flatMap(valuedFlags).map(quotedWord).join(" \\\n    ")}

# Whether the command line so far is one of the command $argv.
function __flanneld_at
    set -l command flanneld
    set -l is_value no
    for word in (commandline -opc)[2..-1]
        if test $is_value = yes
            set is_value no
        else if string match -qr -- '^-' $word
            set -l name (string replace -r -- '^--?' '' $word)
            if contains -- "$command $name" $__flanneld_valued
                set is_value yes
            end
        else if contains -- "$command $word" $__flanneld_commands
            set command "$command $word"
        end
    end
    test "$command" = "$argv"
end

complete -c flanneld -f
${commands.flatMap(commandLines).join("\n")}
`;
}

function valuedFlags({ name, flags }: CompletedCommand): string[] {
  return flags.filter(({ takesValue }) => takesValue).map((flag) => `${name} ${flag.name}`);
}

function commandLines({ name, commands, flags, words }: CompletedCommand): string[] {
  const start = `complete -c flanneld -n ${quotedWord(`__flanneld_at ${name}`)}`;
  return [
    "",
    ...commands.map((one) => `${start} -a ${one.name} -d ${quotedWord(one.description)}`),
    ...flags.map((flag) => `${start} ${flagOptions(flag)} -d ${quotedWord(flag.description)}`),
    ...(words === "none" ? [] : [`${start} ${valueOptions(words)}`]),
  ];
}

/** A name of one letter is an "old-style" option: -v4 would be a flag of its own. */
function flagOptions({ name, takesValue, values }: CompletedFlag): string {
  const option = name.length === 1 ? `-o ${name}` : `-l ${name}`;
  return takesValue ? `${option} -r ${valueOptions(values)}` : option;
}

function valueOptions(completion: Completion): string {
  switch (completion) {
    case "file":
      return "-F";
    case "directory":
      return "-f -a '(__fish_complete_directories)'";
    case "interface":
      return "-f -a '(__fish_print_interfaces)'";
    case "none":
      return "-f";
    default:
      return `-f -a ${quotedWord(completion.join(" "))}`;
  }
}

/** In single quotes, where fish has two escapes. */
function quotedWord(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
