import { describe, expect, test } from "bun:test";
import { ConfigError } from "../../../src/config/config_error.ts";
import {
  booleanOption,
  integerOption,
  readOptions,
  stringOption,
} from "../../../src/config/option_schema.ts";

const SCHEMA = {
  VNI: integerOption({ default: 1, min: 0, max: 0xffffff }),
  MTU: integerOption({ default: undefined, min: 68, max: 65535 }),
  DirectRouting: booleanOption({ default: false }),
  Mode: stringOption({ default: "separate", choices: ["separate", "auto"] }),
  PSK: stringOption({ default: "", secret: true }),
  File: stringOption({ default: "/etc/file" }),
};

function read(options: Record<string, unknown>, otherKeys: string[] = []) {
  const warnings: string[] = [];
  const values = readOptions(options, SCHEMA, { warn: (line) => warnings.push(line), otherKeys });
  return { values, warnings };
}

describe("readOptions", () => {
  test("gives the defaults of an empty object", () => {
    expect(read({}).values).toEqual({
      VNI: 1,
      MTU: undefined,
      DirectRouting: false,
      Mode: "separate",
      PSK: "",
      File: "/etc/file",
    });
  });

  test("matches keys in any case; the last spelling wins", () => {
    const { values, warnings } = read({ vni: 7, directROUTING: true, Vni: 9, mode: "AUTO" });
    expect(values).toMatchObject({ VNI: 9, DirectRouting: true, Mode: "auto" });
    expect(warnings).toEqual([]);
  });

  test("null leaves the default, as Go's decoder does", () => {
    expect(read({ VNI: null, Mode: null }).values).toMatchObject({ VNI: 1, Mode: "separate" });
  });

  test("accepts an integer at its limits", () => {
    expect(read({ VNI: 0, MTU: 68 }).values).toMatchObject({ VNI: 0, MTU: 68 });
    expect(read({ VNI: 0xffffff, MTU: 65535 }).values).toMatchObject({ VNI: 0xffffff, MTU: 65535 });
  });

  test("names ten unknown keys and counts further ones", () => {
    const unknown = (count: number) =>
      read(Object.fromEntries(Array.from({ length: count }, (_, n) => [`x${n}`, 1]))).warnings;
    expect(unknown(10)).toHaveLength(10);
    expect(unknown(11).slice(10)).toEqual([
      "1 more unknown keys in the network configuration's Backend object are ignored",
    ]);
  });

  test("names an unknown key and the nearest known one", () => {
    const { warnings } = read({ DirectRoute: true, Colour: "red", Type: "vxlan" }, ["Type"]);
    expect(warnings).toEqual([
      'unknown key "DirectRoute" in the network configuration\'s Backend object is ignored; ' +
      'did you mean "DirectRouting"?',
      'unknown key "Colour" in the network configuration\'s Backend object is ignored',
    ]);
  });

  test.each([
    [{ VNI: 16777216 }, "VNI in", "is 16777216; it must be an integer from 0 to 16777215"],
    [{ VNI: "1" }, "VNI in", 'is "1"; it must be an integer'],
    [{ VNI: 1.5 }, "VNI in", "is 1.5; it must be an integer"],
    [{ DirectRouting: "true" }, "DirectRouting in", "it must be true or false"],
    [{ Mode: "fast" }, "Mode in", 'is "fast"; it must be one of "separate", "auto"'],
    [{ VNI: -1 }, "VNI in", "is -1; it must be an integer from 0 to 16777215"],
    [{ MTU: 67 }, "MTU in", "is 67; it must be an integer from 68 to 65535"],
    [{ File: 5 }, "File in", "is 5; it must be a string"],
    [{ MTU: [1] }, "MTU in", "is [1]; it must be an integer from 68 to 65535"],
  ])("rejects %p and says what is accepted", (options, name, reason) => {
    const attempt = () => read(options);
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(expect.objectContaining({ name: "ConfigError" }));
    expect(attempt).toThrow(name);
    expect(attempt).toThrow(reason);
  });

  test("never quotes a secret", () => {
    expect(() => read({ PSK: 123456 })).toThrow(
      /PSK in .* an invalid value, which is secret and not shown/,
    );
  });
});
