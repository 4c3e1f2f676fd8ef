/** The completion of zsh, from the declarations of commands. */

import { shellQuoted } from "../../base/quoting.ts";
import type { Command } from "../command.ts";
import type { Completion } from "../completion_kind.ts";
import {
  type CompletedCommand,
  completedCommands,
  dashed,
  type Described,
  valueCases,
} from "./completed_command.ts";

export function zshCompletion(program: Command): string {
  const commands = completedCommands(program);
  return `#compdef flanneld
# Written by "npm run docs" from the declarations of commands in src/cli.

# Sets what the command $1 has, with descriptions, and the names of flags that take a value.
_flanneld_command() {
  commands=() flags=() valued=()
  case $1 in
${commands.map(commandCase).join("\n")}
  esac
}

# Completes the flag $2, or the arguments, of the command $1.
_flanneld_values() {
  case "$1 $2" in
${valueCases(commands, action).join("\n")}
  esac
}

_flanneld() {
  local command=flanneld flag word
  local -a commands flags valued
  _flanneld_command $command
  for word in "\${(@)words[2,CURRENT-1]}"; do
    if [[ -n $flag ]]; then
      flag=
    elif [[ $word = -* ]]; then
      word=\${\${word#-}#-}
      if (( \${valued[(Ie)$word]} )); then flag=$word; fi
    elif (( \${commands[(I)$word:*]} )); then
      command+=" $word"
      _flanneld_command $command
    fi
  done

  if [[ -n $flag ]]; then
    _flanneld_values $command $flag
  elif [[ $PREFIX = -*=* ]]; then
    flag=\${\${\${PREFIX%%=*}#-}#-}
    compset -P 1 '*='
    _flanneld_values $command $flag
  elif [[ $PREFIX = -* ]]; then
    _describe -o flag flags
  elif (( $#commands )); then
    _describe subcommand commands
  else
    _flanneld_values $command ''
  fi
}

_flanneld "$@"
`;
}

function commandCase({ name, commands, flags }: CompletedCommand): string {
  const valued = flags.filter(({ takesValue }) => takesValue).map((flag) => flag.name);
  const lines = [
    `    ${shellQuoted(name)})`,
    ...described("commands", commands),
    ...described("flags", flags.map((flag) => ({ ...flag, name: dashed(flag.name) }))),
    `      valued=(${valued.join(" ")})`,
    "      ;;",
  ];
  return lines.join("\n");
}

function described(variable: string, list: readonly Described[]): string[] {
  if (list.length === 0) return [];
  return [
    `      ${variable}=(`,
    ...list.map(({ name, description }) =>
      `        ${shellQuoted(`${name}:${description.replaceAll(":", "\\:")}`)}`
    ),
    "      )",
  ];
}

function action(completion: Completion): string {
  switch (completion) {
    case "file":
      return "_files";
    case "directory":
      return "_files -/";
    case "interface":
      return "compadd -- /sys/class/net/*(N:t)";
    case "none":
      return "";
    default:
      return `compadd -- ${completion.map(shellQuoted).join(" ")}`;
  }
}
