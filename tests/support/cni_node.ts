/** A host on which a container runtime starts pods: the plugins, the list of plugins, cnitool. */

import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Family, familyOf, type IpAddress } from "../../src/addr/ip.ts";
import { ipBatch, namespaceScript } from "../../src/lab/namespace.ts";
import { FLANNELD, type Host } from "./host.ts";
import { provided } from "./provided.ts";

export interface CniNodeOptions {
  readonly cniVersion?: string;
  /** More keys of the plugin flannel. */
  readonly flannel?: object;
}

/** What cnitool prints, as far as the tests read it. */
export interface AddResult {
  readonly cniVersion?: string;
  readonly ips?: readonly { readonly address: string; readonly gateway?: string }[];
}

/** The directory of cnitool and the delegates; throws if they are not there. */
export async function cniPrograms(): Promise<string> {
  return await provided("kube/cni_plugins.sh", { timeoutMs: 300_000 });
}

export class CniNode {
  readonly host: Host;
  /** The delegate's configuration of each pod. */
  readonly dataDir: string;
  readonly #programs: string;

  private constructor(host: Host, programs: string) {
    this.host = host;
    this.#programs = programs;
    this.dataDir = join(host.directory, "lib/cni/flannel");
  }

  /** Installs the plugins and a list of plugins like that of flannel's manifest. */
  static async create(host: Host, options: CniNodeOptions = {}): Promise<CniNode> {
    const programs = await cniPrograms();
    for (const name of ["bin", "net.d", "lib"]) {
      mkdirSync(join(host.directory, name), { recursive: true });
    }
    for (const name of ["bridge", "host-local", "loopback", "portmap"]) {
      symlinkSync(join(programs, name), join(host.directory, "bin", name));
    }
    symlinkSync(FLANNELD, join(host.directory, "bin/flannel"));
    // `ip netns exec` gives each command its own mounts, for which the directory has to exist.
    mkdirSync("/run/flannel", { recursive: true });
    const node = new CniNode(host, programs);
    node.configure(options);
    return node;
  }

  configure({ cniVersion = "1.0.0", flannel = {} }: CniNodeOptions): void {
    const list = {
      name: "cbr0",
      cniVersion,
      plugins: [
        { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true }, ...flannel },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    };
    writeFileSync(join(this.host.directory, "net.d/10-flannel.conflist"), JSON.stringify(list));
  }

  /** A network namespace for a pod of this host; removed with the topology. */
  async pod(name: string): Promise<Pod> {
    const namespace = `${this.host.station.namespace}-${name}`;
    await ipBatch([`netns add ${namespace}`], { markedAs: namespace });
    await namespaceScript(namespace, ONE_PING_IS_ENOUGH);
    return new Pod(this, namespace);
  }

  /** Runs cnitool, with the capabilities' arguments of a runtime. Throws with what it prints. */
  async cnitool(verb: string, namespace: string, args: object = {}): Promise<string> {
    return await this.run(
      `CAP_ARGS='${JSON.stringify(args)}' NETCONFPATH=${this.host.directory}/net.d ` +
        `CNI_IFNAME=eth0 CNI_PATH=${this.host.directory}/bin ` +
        `${this.#programs}/cnitool ${verb} cbr0 /run/netns/${namespace}`,
    );
  }

  /** Calls the plugin itself. Throws with what it prints. */
  async plugin(environment: Readonly<Record<string, string>>, config: object): Promise<string> {
    const variables = { CNI_PATH: `${this.host.directory}/bin`, ...environment };
    const words = Object.entries(variables).map(([name, value]) => `${name}=${value}`).join(" ");
    const input = JSON.stringify({ name: "cbr0", type: "flannel", ...config });
    return await this.run(
      `output=$(${words} ${this.host.directory}/bin/flannel <<'END'\n${input}\nEND\n) || ` +
        `{ echo "$output" >&2; exit 1; }\nprintf %s "$output"`,
    );
  }

  /** Runs a script as on the node: with its own /var/lib/cni and /run/flannel. */
  async run(script: string): Promise<string> {
    const { directory } = this.host;
    return await this.host.sh(
      `mount --bind ${directory}/lib /var/lib\nmount --bind ${directory} /run/flannel\n${script}`,
    );
  }

  /** Forgets all pods: what a failed test has left does not let others fail. */
  clear(): void {
    rmSync(join(this.host.directory, "lib/cni"), { recursive: true, force: true });
  }

  /** The pods whose delegate's configuration is saved, and the addresses that are reserved. */
  state(): { readonly pods: number; readonly addresses: readonly string[] } {
    return {
      pods: entries(this.dataDir).length,
      addresses: entries(join(this.host.directory, "lib/cni/networks/cbr0"))
        .filter((name) => /^[0-9a-f]+[.:]/.test(name)).sort(),
    };
  }
}

export class Pod {
  readonly namespace: string;
  readonly #node: CniNode;

  constructor(node: CniNode, namespace: string) {
    this.#node = node;
    this.namespace = namespace;
  }

  async add(args?: object): Promise<AddResult> {
    return JSON.parse(await this.#node.cnitool("add", this.namespace, args)) as AddResult;
  }

  async check(args?: object): Promise<void> {
    await this.#node.cnitool("check", this.namespace, args);
  }

  async delete(args?: object): Promise<void> {
    await this.#node.cnitool("del", this.namespace, args);
  }

  async sh(script: string): Promise<string> {
    return await namespaceScript(this.namespace, `${script}\n`);
  }

  /** Whether `address` answers within ten seconds. */
  async ping(address: string): Promise<void> {
    await this.sh(`ping -n -c 1 -w 10 -W 1 ${address}`);
  }
}

/** The address of a family in a result. */
export function addressOf({ ips = [] }: AddResult, family: Family): string {
  const addresses = ips.map(({ address }) => address.split("/")[0] as IpAddress);
  const address = addresses.find((one) => familyOf(one) === family);
  if (address === undefined) throw new Error(`no IPv${family} address in ${JSON.stringify(ips)}`);
  return address;
}

/** No duplicate address detection, which takes two seconds. */
const ONE_PING_IS_ENOUGH = `ip link set lo up
if [ -d /proc/sys/net/ipv6 ]; then echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; fi
`;

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
