/** docs/kubernetes.md: what it quotes is in the manifest and in the source. */

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { runProgram } from "../../../src/process/run_program.ts";
import { configFile, manifestObjects, parseObjects, podSpec } from "../../support/kube_manifest.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
const page = read("docs/kubernetes.md");
/** The text of all messages: literals that are continued on the next line are joined. */
const source = (readdirSync(`${ROOT}src`, { recursive: true }) as string[])
  .filter((name) => name.endsWith(".ts")).map((name) => read(`src/${name}`)).join("\n")
  .replace(/["`] \+\n\s*["`]/g, "").replaceAll('\\"', '"');
const FOREIGN = ["violates PodSecurity", "InvalidImageName", "ErrImagePull", "CIDR allocation"];

describe("the messages in the troubleshooting table", () => {
  const rows = page.slice(page.indexOf("## Troubleshooting")).split("\n")
    .filter((line) => line.startsWith("| ")).slice(1);
  const messages = rows.flatMap((row) => {
    const [, cell = ""] = row.split(" | ")[0]?.split("| ") ?? [];
    return [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text as string)
      .filter((text) => text.includes(" "));
  });

  test("are many", () => expect(messages.length).toBeGreaterThan(20));

  test.each(messages)("%s", (message) => {
    if (FOREIGN.some((text) => message.startsWith(text))) return;
    const words = fixedParts(message);
    expect(words.length).toBeGreaterThan(0);
    expect(words.filter((part) => !source.includes(part))).toEqual([]);
  });
});

describe("the commands", () => {
  test("sed sets the image and the network of the manifest", async () => {
    const [, command = ""] = /^(sed -e [^]*?) \| kubectl apply -f -$/m.exec(page) ?? [];
    const script = `cd ${ROOT} && ${command}`;
    const { stdout } = await runProgram("sh", ["-c", script]);
    const objects = parseObjects(stdout);
    expect(objects).toHaveLength(manifestObjects().length);
    const { initContainers, containers } = podSpec(objects);
    expect(new Set([...initContainers, ...containers].map(({ image }) => image)))
      .toEqual(new Set(["registry.example.com/team/flanneld:v0.1.0"]));
    expect(JSON.parse(configFile(objects, "net-conf.json")).Network).toBe("10.42.0.0/16");
  });

  test("name files that exist", () => {
    const paths = [...page.matchAll(/\bdeploy\/[\w./-]+\w/g)].map(([path]) => path);
    expect(paths.length).toBeGreaterThan(5);
    expect(paths.filter((path) => !existsSync(`${ROOT}${path}`))).toEqual([]);
  });
});

/** The parts of a message that do not depend on values. */
function fixedParts(message: string): string[] {
  return message.split(/"[^"]*"|…| '[^']*'|\S*\/\S+|0\.0\.0\.0:\d+|\b\d{3}\b|IPv\d|PodCIDR|: /)
    .map((part) => part.replace(/^[\s:);,]+|[\s:(;,]+$/g, ""))
    .filter((part) => part.length > 6);
}

function read(path: string): string {
  return readFileSync(`${ROOT}${path}`, "utf8");
}
