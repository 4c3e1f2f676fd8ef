/** Runs nft(8) commands with libnftables or with the program `nft`. */

import {
  type Libnftables,
  NFT_CTX_DEFAULT,
  NFT_CTX_OUTPUT_JSON,
  openLibnftables,
  readString,
} from "../../../ffi/libnftables.ts";
import { cString } from "../../../ffi/memory.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { ProcessError } from "../../process/process_error.ts";
import { findProgram } from "../../process/program_lookup.ts";
import { runProgram } from "../../process/run_program.ts";
import { FirewallError, firewallErrorKind } from "../rules/rule_target.ts";

/** Runs nft(8) commands. Both methods throw `FirewallError`. */
export interface NftRunner {
  readonly name: string;
  /** The JSON output of one command, such as `list tables`. */
  list(command: string): Promise<string>;
  /** Runs the commands, one on each line, as one transaction. */
  apply(commands: string): Promise<void>;
}

/**
 * libnftables or, without it, `nft`. Throws `FirewallError` that names their packages without both.
 */
export function findNftRunner(
  { library = libnftablesRunner, program = "nft" }: {
    readonly library?: () => NftRunner;
    readonly program?: string;
  } = {},
): NftRunner {
  try {
    return library();
  } catch (cause) {
    if (findProgram(program) !== undefined) return nftProgramRunner(program);
    throw new FirewallError(
      `cannot use nftables: neither libnftables (Debian package libnftables1) nor nft (package ` +
        `nftables) is installed: ${errorMessage(cause)}`,
      { cause },
    );
  }
}

/** Starts `nft` for each call. */
export function nftProgramRunner(program: string): NftRunner {
  const start = async (args: readonly string[], commands: string, stdin?: string) => {
    try {
      const { exitCode, stdout, stderr } = await runProgram(program, args, {
        timeoutMs: NFT_TIMEOUT_MS,
        ...(stdin === undefined ? {} : { stdin }),
      });
      if (exitCode === 0) return stdout;
      throw nftFailure(commands, stderr);
    } catch (cause) {
      if (!(cause instanceof ProcessError)) throw cause;
      throw new FirewallError(`cannot use nftables: ${cause.message}`, { cause });
    }
  };
  return {
    name: program,
    list: (command) => start(["-j", ...command.split(" ")], command),
    apply: async (commands) => void await start(["-f", "-"], commands, commands),
  };
}

/** The error for commands that nftables rejected. */
function nftFailure(commands: string, stderr: string): FirewallError {
  const reason = stderr.split("\n", 1)[0]?.replace(/^(\S+: )?Error: /, "") || "unknown error";
  const command = commands.split("\n", 1)[0];
  return new FirewallError(`cannot use nftables: ${reason} (in the transaction "${command} …")`, {
    kind: firewallErrorKind(reason),
  });
}

/** Throws an `Error` with the reason if the library cannot be used. */
export function libnftablesRunner(): NftRunner {
  const library = openLibnftables();
  return {
    name: "libnftables",
    list: (command) => Promise.try(runCommands, library, command),
    apply: async (commands) => void await Promise.try(runCommands, library, commands),
  };
}

/**
 * Creates a context for each call, which takes 0.07 ms, so no socket and no memory is held in
 * between. The call blocks for one netlink transaction with the kernel, as each libnl call does.
 */
function runCommands(library: Libnftables, commands: string): string {
  const { symbols: nft } = library;
  const context = nft.nft_ctx_new(NFT_CTX_DEFAULT);
  if (context === null) {
    throw new FirewallError("cannot use nftables: libnftables is out of memory");
  }
  try {
    nft.nft_ctx_buffer_output(context);
    nft.nft_ctx_buffer_error(context);
    nft.nft_ctx_output_set_flags(context, NFT_CTX_OUTPUT_JSON);
    const text = cString(commands);
    const status = nft.nft_run_cmd_from_buffer(context, text);
    if (status === 0) return readString(nft.nft_ctx_get_output_buffer(context));
    throw nftFailure(commands, readString(nft.nft_ctx_get_error_buffer(context)));
  } finally {
    nft.nft_ctx_free(context);
  }
}

const NFT_TIMEOUT_MS = 20_000;
