import { describe, expect, test } from "bun:test";
import { argument, optionalArgument, repeatedArgument } from "../../../src/cli/argument.ts";
import { command } from "../../../src/cli/command.ts";
import { type CommandReading, readCommand } from "../../../src/cli/command_reader.ts";
import { boolean, integer } from "../../../src/cli/flag.ts";

/** A command below a command that does nothing by itself. */
const CREATE = command({
  name: "create",
  summary: "Create a token.",
  flags: {
    days: integer({
      name: "days",
      section: "Token",
      metavar: "N",
      help: "How long it is valid.",
      default: 30,
      min: 1,
      max: 365,
    }),
    write: boolean({ name: "write", section: "Token", help: "Allow changes." }),
  },
  arguments: {
    user: argument({ metavar: "USER", help: "Who gets it." }),
    key: optionalArgument({ metavar: "KEY", help: "The first key." }),
    others: repeatedArgument({ metavar: "OTHER", help: "Further keys." }),
  },
  read: (options, values) => ({ ...options, ...values }),
});
const TOKEN = command({ name: "token", summary: "Tokens.", commands: [CREATE] });
const STORE = command({ name: "store", summary: "A store.", commands: [TOKEN] });

function read(...args: string[]): CommandReading<unknown> {
  return readCommand(STORE, ["token", "create", ...args], {});
}

function fault(reading: CommandReading<unknown>): string {
  return reading.kind === "error" ? `${reading.exitCode} ${reading.message}` : reading.kind;
}

describe("readCommand()", () => {
  test("reads a command below another one, its flags and its arguments by name", () => {
    expect(read("anna")).toEqual({
      kind: "action",
      action: { days: 30, write: false, user: "anna", key: undefined, others: [] },
    });
    expect(read("anna", "/a", "/b", "/c")).toMatchObject({
      action: { user: "anna", key: "/a", others: ["/b", "/c"] },
    });
  });

  test("allows flags before, between and after arguments, until --", () => {
    expect(read("--days=3", "anna", "--write", "/a")).toMatchObject({
      action: { days: 3, write: true, user: "anna", key: "/a" },
    });
    expect(read("--", "--days", "-")).toMatchObject({ action: { user: "--days", key: "-" } });
    // A flag that is a boolean takes no value: the word is an argument.
    expect(read("--write", "true")).toMatchObject({ action: { write: true, user: "true" } });
  });

  test("skips blank arguments, but not those that are values", () => {
    expect(read("", "anna", " ")).toMatchObject({ action: { user: "anna", key: undefined } });
    expect(fault(read("anna", "--days", ""))).toContain('--days is ""');
  });

  test("ends with status 2, the command, and where to look", () => {
    expect(fault(read())).toBe(
      "2 store token create: USER is missing; see store token create --help",
    );
    expect(fault(read("anna", "--days=0"))).toBe(
      '2 store token create: --days is "0"; it must be a whole number from 1 to 365; ' +
        "see store token create --help",
    );
  });

  test("names the subcommands of a command that only has those", () => {
    expect(fault(readCommand(STORE, ["token"], {}))).toBe(
      "2 store token: the subcommand is missing; the subcommands are create; " +
        "see store token --help",
    );
    expect(fault(readCommand(STORE, ["tokn", "create"], {}))).toBe(
      '2 store: unknown subcommand "tokn"; did you mean token? see store --help',
    );
  });
});
