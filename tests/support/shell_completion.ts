/** What bash, zsh and fish offer for a command line, with the files of deploy/completion. */

const FILES = new URL("../../deploy/completion", import.meta.url).pathname;
const TIMEOUT_MS = 30_000;

export type Shell = keyof typeof SHELLS;

/** Completes the last word of `line` in `directory`; sorted. */
export async function completions(
  shell: Shell,
  line: string,
  directory: string,
): Promise<string[]> {
  const text = await SHELLS[shell](line, directory);
  return [...new Set(text.split("\n").filter((word) => word !== ""))].sort();
}

const SHELLS = { bash, zsh, fish };

/** Splits the line as readline does: an equals sign is a word. */
async function bash(line: string, directory: string): Promise<string> {
  const words = line.split(/( |=)/).filter((word) => word !== " " && word !== "");
  if (line.endsWith(" ")) words.push("");
  const script = `
    source ${FILES}/flanneld.bash
    [[ $(complete -p flanneld) = *"-F _flanneld flanneld" ]] || exit 1
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _flanneld
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  return await output(["bash", "--norc", "-c", script, "bash", ...words], directory);
}

async function fish(line: string, directory: string): Promise<string> {
  const script = `source ${FILES}/flanneld.fish; complete -C $argv[1]`;
  const text = await output(["fish", "--no-config", "-c", script, line], directory);
  return text.replace(/\t.*$/gm, ""); // the description
}

/**
 * Calls the function as the completion system does, with functions in place of the builtins that
 * only an interactive shell has.
 */
async function zsh(line: string, directory: string): Promise<string> {
  const words = line.split(" ");
  const script = `
    offer() {
      local word
      for word; do if [[ $word = "$PREFIX"* ]]; then print -r -- $word; fi; done
    }
    compadd() { offer "\${@:2}"; }
    compset() { PREFIX=\${PREFIX#*=}; }
    _describe() { local name=$argv[-1]; offer "\${(@)\${(@P)name}%%:*}"; }
    _files() { if [[ $1 = -/ ]]; then offer *(N/); else offer *(N); fi; }
    words=("$@") CURRENT=$# PREFIX=$argv[-1]
    set --
    source ${FILES}/_flanneld`;
  return await output(["zsh", "-f", "-c", script, "zsh", ...words], directory);
}

async function output(cmd: string[], cwd: string): Promise<string> {
  const child = Bun.spawn({
    cmd,
    cwd,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, TERM: "xterm", HOME: cwd },
    timeout: TIMEOUT_MS,
  });
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (status !== 0) {
    throw new Error(`${cmd[0]} ended with ${status} in ${TIMEOUT_MS} ms: ${stderr}`);
  }
  return stdout;
}
