/**
 * Another program modifies the rules: they are repaired when that is announced, at a bounded cost.
 */

import { describe, expect, test } from "bun:test";
import { eventually, throughout } from "../support/wait.ts";
import { rulesFor } from "../unit/firewall/fixtures.ts";
import { Namespace } from "../support/network_namespace.ts";
import { Driver } from "./firewall_support.ts";

/** Rules are checked only when a change is announced. */
const HEAL_MS = 30_000;
const LEGACY = {
  4: { save: "iptables-legacy-save", restore: "iptables-legacy-restore" },
  6: { save: "ip6tables-legacy-save", restore: "ip6tables-legacy-restore" },
};

function savedRules(namespace: Namespace): Promise<string> {
  return namespace.sh("iptables-nft-save; ip6tables-nft-save").then((text) =>
    text.replaceAll(/^#.*$/gm, "")
  );
}

describe("in iptables on nftables", () => {
  test.each([
    ["a flushed chain", "iptables -F FLANNEL-FWD"],
    ["a flushed IPv6 chain", "ip6tables -t nat -F FLANNEL-POSTRTG"],
    ["a deleted rule", "iptables -t nat -D FLANNEL-POSTRTG 3"],
    ["a rule put into our chain", "iptables -I FLANNEL-FWD -j DROP"],
    [
      "a deleted jump",
      `iptables -D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD`,
    ],
    ["a second jump", `iptables -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD`],
    ["deleted chains", "iptables -t nat -F; iptables -t nat -X"],
    ["a flushed FORWARD", "iptables -F FORWARD"],
    ["a deleted table", "nft delete table ip nat"],
    ["a flushed ruleset", "nft flush ruleset"],
  ])("%s is repaired", async (_name, damage) => {
    await using namespace = await Namespace.create();
    // Both tables of both families exist with all their chains before and after.
    await namespace.sh(
      "for f in ip ip6; do for t in nat filter; do ${f}tables -t $t -L -n; done; done",
    );
    await using _driver = await Driver.start(namespace, {}, rulesFor());
    const ours = async () =>
      (await savedRules(namespace)).split("\n").filter((line) => /FLANNEL|^\*/.test(line))
        .join("\n");
    const before = await ours();
    await namespace.sh(damage);
    await eventually("our rules are restored", HEAL_MS, async () => await ours() === before);
  });

  test("our jump moves ahead of a REJECT, which stays otherwise", async () => {
    await using namespace = await Namespace.create();
    await using _driver = await Driver.start(namespace, {}, rulesFor());
    await namespace.sh("iptables -I FORWARD -j REJECT");
    await eventually("our jump is first again", HEAL_MS, async () => {
      const [first] = (await namespace.sh("iptables -S FORWARD | grep ^-A")).split("\n");
      return first?.endsWith("-j FLANNEL-FWD");
    });
    expect(await namespace.sh("iptables -S FORWARD | tail -n1")).toContain("-j REJECT");
  });

  test("a chain that another program keeps at the top stays there", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, {}, rulesFor());
    await namespace.sh("iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER");
    const before = await savedRules(namespace);
    await throughout("nothing moves", 1_500, async () => await savedRules(namespace) === before);
    expect(await driver.stop()).not.toContain("modified by another program");
  });

  test("repairs are damped while a program keeps modifying our rules", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, {}, rulesFor());
    await eventually("repairs are damped", 100_000, async () => {
      await namespace.sh("iptables -F FLANNEL-FWD");
      return driver.log().includes("another program keeps modifying the IPv4 firewall rules");
    });
    // Delays begin with half a second at least, and double; a check starts up to three programs.
    const begun = performance.now();
    const { processStarts } = await driver.stats();
    await namespace.sh("for i in 1 2 3 4 5 6 7 8; do iptables -F FLANNEL-FWD; sleep 0.25; done");
    const started = (await driver.stats()).processStarts - processStarts;
    const seconds = (performance.now() - begun) / 1000;
    const checks = 1 + Math.ceil(Math.log2(2 * seconds + 1));
    expect(started).toBeLessThanOrEqual(3 * checks);
  }, 120_000);

  test("rules of other programs that change all the time start no program", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, { resyncMs: 1000 }, rulesFor());
    await driver.quiet();
    const before = await driver.stats();
    const services = Array.from(
      { length: 2000 },
      (_, i) =>
        `-A KUBE-SERVICES -d 10.96.${i >> 8}.${
          i & 255
        }/32 -m comment --comment "svc ${i}" -j RETURN`,
    );
    const payload = ["*nat", ":KUBE-SERVICES - [0:0]", ...services, "COMMIT", ""].join("\n");
    await Bun.write(`/run/${namespace.name}.rules`, payload);
    await namespace.sh(
      `for i in 1 2 3 4 5; do
         iptables-restore --noflush </run/${namespace.name}.rules; sleep 0.3
       done
       rm /run/${namespace.name}.rules`,
    );
    const after = await driver.stats();
    expect(after.processStarts).toBe(before.processStarts);
    expect(after.cpuMs - before.cpuMs).toBeLessThan(1_000);
    // It still notices changes of its own rules.
    await namespace.sh("iptables -F FLANNEL-FWD");
    await eventually(
      "it is repaired",
      HEAL_MS,
      async () => (await namespace.sh("iptables -S FLANNEL-FWD")).includes("-d 10.5.0.0/16"),
    );
  }, 120_000);

  test("after lost notifications, the rules are checked", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, { receiveBufferBytes: 65_536 }, rulesFor());
    const rules = Array.from(
      { length: 5_000 },
      (_, i) => `add rule ip big c ip saddr 10.0.${i >> 8}.${i & 255} counter accept`,
    );
    const script = ["add table ip big", "add chain ip big c", ...rules, ""].join("\n");
    await driver.quiet(); // the notifications of its own changes have been read
    await Bun.write(`/run/${namespace.name}.nft`, script);
    driver.signal("SIGSTOP");
    await namespace.sh(`nft -f /run/${namespace.name}.nft; rm /run/${namespace.name}.nft
nft flush ruleset`);
    driver.signal("SIGCONT");
    await eventually(
      "the rules are restored",
      HEAL_MS,
      async () => {
        const text = await namespace.sh("iptables -S; ip6tables -S");
        return text.includes("-d 10.5.0.0/16") && text.includes("-d 2001:cafe:42::/56");
      },
    );
    expect(await driver.stop()).toContain("nftables notifications were lost");
  });
});

describe("in legacy iptables", () => {
  test("drift is noticed by periodic checks, with one program each", async () => {
    await using namespace = await Namespace.create();
    const options = { programs: LEGACY, resyncMs: 1000 };
    await using driver = await Driver.start(namespace, options, rulesFor());
    const begun = performance.now();
    const before = (await driver.stats()).processStarts;
    const checks = async () => (await driver.stats()).processStarts - before;
    await eventually("it checks", 30_000, async () => await checks() >= 3);
    expect(await checks()).toBeLessThanOrEqual(1 + (performance.now() - begun) / 1000);
    await namespace.sh("iptables-legacy -F FLANNEL-FWD; ip6tables-legacy -F FLANNEL-FWD");
    // Each family is checked every other period.
    await eventually("both are repaired", 30_000, async () => {
      const text = await namespace.sh("iptables-legacy -S FLANNEL-FWD; ip6tables-legacy -S");
      return text.includes("-d 10.5.0.0/16") && text.includes("-d 2001:cafe:42::/56");
    });
  }, 120_000);
});

describe("in nftables", () => {
  test.each([
    ["a flushed chain", "nft flush chain ip flannel-ipv4 forward"],
    [
      "a deleted chain",
      "nft flush chain ip flannel-ipv4 postrtg; nft delete chain ip flannel-ipv4 postrtg",
    ],
    ["a rule put before ours", "nft insert rule ip flannel-ipv4 forward drop"],
    ["a rule put after ours", "nft add rule ip6 flannel-ipv6 forward drop"],
    ["a policy of drop", "nft add chain ip flannel-ipv4 forward '{ policy drop; }'"],
    ["a dormant table", "nft add table ip flannel-ipv4 '{ flags dormant; }'"],
    ["a deleted table", "nft delete table ip6 flannel-ipv6"],
    ["a flushed ruleset", "nft flush ruleset"],
  ])("%s is repaired", async (_name, damage) => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, { mode: "nftables" }, rulesFor());
    // Chains and tables are listed in the order of their creation, which does not matter.
    const read = async () => {
      const chains = (await namespace.sh("nft list ruleset")).split(/\n(?=table|\tchain)/);
      return chains.map((text) => text.replaceAll(/^\}?\n+|[\n}]+$/g, "")).sort().join("\n");
    };
    const before = await read();
    const { processStarts } = await driver.stats();
    await namespace.sh(damage);
    await eventually("the rules are restored", HEAL_MS, async () => await read() === before);
    expect((await driver.stats()).processStarts).toBe(processStarts);
  });

  test("sets that other programs change all the time cost almost nothing", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, { mode: "nftables" }, rulesFor());
    await namespace.sh(
      "nft add table ip kube-proxy; nft add set ip kube-proxy s '{ type ipv4_addr; }'",
    );
    const before = await driver.stats();
    const elements = Array.from({ length: 5000 }, (_, i) => `10.96.${i >> 8}.${i & 255}`).join(
      ", ",
    );
    await Bun.write(`/run/${namespace.name}.nft`, `add element ip kube-proxy s { ${elements} }\n`);
    await namespace.sh(`for i in 1 2 3 4 5; do nft -f /run/${namespace.name}.nft
nft flush set ip kube-proxy s; done; rm /run/${namespace.name}.nft`);
    const after = await driver.stats();
    expect(after.processStarts).toBe(before.processStarts);
    expect(after.cpuMs - before.cpuMs).toBeLessThan(500);
  });
});
