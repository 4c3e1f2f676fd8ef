/** The completion of bash 4 and later, from the declarations of commands. */

import { shellQuoted } from "../../base/quoting.ts";
import type { Command } from "../command.ts";
import type { Completion } from "../completion_kind.ts";
import {
  type CompletedCommand,
  completedCommands,
  dashed,
  valueCases,
} from "./completed_command.ts";

export function bashCompletion(program: Command): string {
  const commands = completedCommands(program);
  return `# bash completion; written by "npm run docs" from the declarations of commands in src/cli.

# Sets what the command $1 has: subcommands, flags, and those of the flags that take a value.
_flanneld_command() {
  commands= flags= valued=
  case $1 in
${commands.map(commandCase).join("\n")}
  esac
}

# Sets what completes the flag $2, or the arguments, of the command $1.
_flanneld_values() {
  kind=none words=
  case "$1 $2" in
${valueCases(commands, assignment).join("\n")}
  esac
}

_flanneld() {
  local commands flags valued kind words
  local command=flanneld flag= last= prefix= current=\${COMP_WORDS[COMP_CWORD]} word index
  _flanneld_command "$command"
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ $word = = ]]; then
      flag=$last # readline splits words at the equals sign
    elif [[ -n $flag ]]; then
      flag=
    elif [[ $word = -* ]]; then
      last=\${word#-} last=\${last#-}
      if [[ " $valued " = *" $last "* ]]; then flag=$last; fi
    elif [[ " $commands " = *" $word "* ]]; then
      command+=" $word"
      _flanneld_command "$command"
    fi
  done
  if [[ $current = = ]]; then
    flag=$last current=
  elif [[ -z $flag && $current = -*=* ]]; then
    prefix=\${current%%=*}= flag=\${prefix%=} current=\${current#*=}
    flag=\${flag#-} flag=\${flag#-}
  fi

  if [[ -n $flag ]]; then
    _flanneld_values "$command" "$flag"
  elif [[ $current = -* ]]; then
    kind=words words=$flags
    if [[ $current = -[!-]* ]]; then words=\${words//--/-}; fi # one dash is as good as two
  elif [[ -n $commands ]]; then
    kind=words words=$commands
  else
    _flanneld_values "$command" ""
  fi

  case $kind in
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -P "$prefix" -- "$current") ;;
    file) mapfile -t COMPREPLY < <(compgen -f -P "$prefix" -- "$current") ;;
    directory) mapfile -t COMPREPLY < <(compgen -d -P "$prefix" -- "$current") ;;
    interface)
      mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net)" -P "$prefix" -- "$current")
      ;;
    *) COMPREPLY=() ;;
  esac
  if [[ $kind = file || $kind = directory ]]; then compopt -o filenames 2>/dev/null; fi
}

complete -F _flanneld flanneld
`;
}

function commandCase({ name, commands, flags }: CompletedCommand): string {
  const lines = [
    `    ${shellQuoted(name)})`,
    ...words("commands", commands.map((one) => one.name)),
    ...words("flags", flags.map((flag) => dashed(flag.name))),
    ...words("valued", flags.filter(({ takesValue }) => takesValue).map((flag) => flag.name)),
    "      ;;",
  ];
  return lines.join("\n");
}

function words(variable: string, list: readonly string[]): string[] {
  return list.length === 0 ? [] : [`      ${variable}=${shellQuoted(list.join(" "))}`];
}

function assignment(completion: Completion): string {
  return typeof completion === "string"
    ? `kind=${completion}`
    : `kind=words words=${shellQuoted(completion.join(" "))}`;
}
