/** The environments with which the daemon executes itself again, and of what it starts. */

import { describe, expect, test } from "bun:test";
import { variablesWithSettings } from "../../../src/process/runtime_settings.ts";
import { removeRuntimeSettings } from "../../../src/process/runtime_settings_mark.ts";

const PROCESS = { pid: 2 ** 22, name: "flan/neld" };
const ADDED = [
  "BUN_JSC_useDFGJIT=0",
  "BUN_JSC_useConcurrentGC=0",
  "BUN_JSC_useConcurrentJIT=0",
  "BUN_GC_TIMER_DISABLE=1",
  "MIMALLOC_PURGE_DELAY=0",
  "MALLOC_TRIM_THRESHOLD_=131072",
];

describe("variablesWithSettings", () => {
  test("adds the settings once", () => {
    const variables = variablesWithSettings(["A=1", "B=x=y", "C="], PROCESS) ?? [];
    expect(variables.slice(0, -1)).toEqual(["A=1", "B=x=y", "C=", ...ADDED]);
    expect(variablesWithSettings(variables, PROCESS)).toBeUndefined();
  });

  test("adds them in a child of such a process, which has other settings or none", () => {
    const variables = variablesWithSettings([], PROCESS) ?? [];
    const mark = variables.at(-1) as string;
    expect(variablesWithSettings([mark], { pid: 7, name: "x" })).toEqual([
      ...ADDED,
      mark.replace(String(PROCESS.pid), "7").replace(PROCESS.name, "x"),
    ]);
  });

  test("leaves alone what is set, even to nothing", () => {
    const variables = variablesWithSettings(
      ["BUN_JSC_useDFGJIT=1", "MIMALLOC_PURGE_DELAY="],
      PROCESS,
    );
    expect(variables?.slice(0, -1)).toEqual([
      "BUN_JSC_useDFGJIT=1",
      "MIMALLOC_PURGE_DELAY=",
      ...ADDED.slice(1, -2),
      "MALLOC_TRIM_THRESHOLD_=131072",
    ]);
  });

  test("adds nothing if all are set", () => {
    expect(variablesWithSettings(ADDED, PROCESS)).toBeUndefined();
  });
});

describe("removeRuntimeSettings", () => {
  test("restores the environment", () => {
    const before = ["A=1", "BUN_JSC_useConcurrentGC=0", "BUN_JSC_other=1"];
    const env = environment(variablesWithSettings(before, PROCESS) ?? []);
    removeRuntimeSettings(env, PROCESS.pid);
    expect(env).toEqual(environment(before));
  });

  test.each(["1/A/x", "", "/A/x", `${PROCESS.pid}`, `${PROCESS.pid} /A/x`])(
    "removes only a mark that is not its own, such as %p",
    (mark) => {
      const env = environment(["A=1", `FLANNELD_RUNTIME_SETTINGS=${mark}`]);
      removeRuntimeSettings(env, PROCESS.pid);
      expect(env).toEqual({ A: "1" });
    },
  );
});

function environment(variables: readonly string[]): Record<string, string> {
  const parts = variables.map((variable) => variable.split("=", 2) as [string, string]);
  return Object.fromEntries(parts);
}
