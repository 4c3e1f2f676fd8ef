/** Access as a kubeconfig describes it; the file, and the files that it names, may change. */

import { assertNever } from "../base/assert_never.ts";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { readRegularText } from "../base/regular_file.ts";
import { RereadFiles } from "../base/reread_files.ts";
import { TlsFiles } from "../base/tls_files.ts";
import { bearer, tokenFile } from "./bearer_token.ts";
import { ExecPlugin } from "./exec_plugin.ts";
import type { KubeAccess, KubeCredentials, KubeTls, RereadOutcomes } from "./kube_access.ts";
import { KubeError } from "./kube_error.ts";
import {
  type Kubeconfig,
  type KubeconfigSource,
  type KubeconfigUser,
  parseKubeconfig,
} from "./kubeconfig.ts";

export interface KubeconfigCredentialsOptions extends KubeconfigSource {
  readonly parseYaml: (text: string) => unknown;
  readonly clock: Pick<Clock, "wallMs">;
  readonly outcomes?: RereadOutcomes | undefined;
}

export class KubeconfigCredentials implements KubeCredentials {
  readonly #files: RereadFiles<OpenKubeconfig>;

  /** Throws `KubeError` if the kubeconfig cannot be used. */
  constructor({ parseYaml, clock, outcomes, ...source }: KubeconfigCredentialsOptions) {
    this.#files = new RereadFiles({
      paths: [source.path],
      read: () => {
        const text = readRegularText(source.path, MAX_BYTES);
        return openKubeconfig(parseKubeconfig(text, source, parseYaml), { clock, outcomes });
      },
      outcome: outcomes?.(`the kubeconfig ${source.path}`),
    });
    try {
      this.#files.current();
    } catch (cause) {
      if (cause instanceof KubeError) throw cause;
      throw new KubeError(`cannot read the kubeconfig: ${errorMessage(cause)}`, {
        kind: "credentials",
        cause,
      });
    }
  }

  get server(): string {
    return this.#files.current().config.server;
  }

  async current(signal: AbortSignal): Promise<KubeAccess> {
    const { config, tls, user } = this.#files.current();
    const { server, proxyUrl } = config;
    try {
      const basis = kubeTls(config, tls);
      return { server, proxyUrl, ...await authenticated(user, { config, tls: basis, signal }) };
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof KubeError) throw cause;
      throw new KubeError(errorMessage(cause), { kind: "credentials", cause });
    }
  }

  renewed(refused: KubeAccess, signal: AbortSignal): Promise<KubeAccess> {
    const { user } = this.#files.current();
    if (user.kind === "exec") {
      // Another call may have run the plugin in the meantime.
      user.plugin.discard(({ token, cert }) =>
        refused.authorization === (token && bearer(token)) &&
        (cert === undefined || refused.tls.cert === cert)
      );
    }
    return this.current(signal);
  }
}

/** A kubeconfig has one entry for each cluster of its owner. */
const MAX_BYTES = 4 * 1024 * 1024;

/** A kubeconfig with the files and the plugin that it names. */
interface OpenKubeconfig {
  readonly config: Kubeconfig;
  readonly tls: TlsFiles;
  readonly user: OpenUser;
}

type OpenUser =
  /** The value of the header Authorization. */
  | { readonly kind: "fixed"; readonly authorization: string | undefined }
  | { readonly kind: "token-file"; readonly path: string; readonly token: RereadFiles<string> }
  | { readonly kind: "exec"; readonly plugin: ExecPlugin };

type OpenOptions = Pick<KubeconfigCredentialsOptions, "clock" | "outcomes">;

function openKubeconfig(config: Kubeconfig, options: OpenOptions): OpenKubeconfig {
  const tls = new TlsFiles(config.tls, {
    purpose: "the Kubernetes API",
    outcome: options.outcomes?.("the certificates of the kubeconfig"),
  });
  return { config, tls, user: openUser(config.user, options) };
}

function openUser(user: KubeconfigUser, { clock, outcomes }: OpenOptions): OpenUser {
  switch (user.kind) {
    case "none":
      return { kind: "fixed", authorization: undefined };
    case "token":
      return { kind: "fixed", authorization: bearer(user.token) };
    case "basic": {
      const pair = Buffer.from(`${user.username}:${user.password}`).toString("base64");
      return { kind: "fixed", authorization: `Basic ${pair}` };
    }
    case "token-file": {
      const { kind, path } = user;
      return { kind, path, token: tokenFile(path, { outcome: outcomes?.(path) }) };
    }
    case "exec":
      return { kind: "exec", plugin: new ExecPlugin(user.plugin, clock) };
    default:
      return assertNever(user);
  }
}

function kubeTls({ isInsecure, serverName }: Kubeconfig, files: TlsFiles): KubeTls {
  return {
    ...files.current(),
    ...(serverName === undefined ? {} : { serverName }),
    rejectUnauthorized: !isInsecure,
  };
}

async function authenticated(
  user: OpenUser,
  { config, tls, signal }: {
    readonly config: Kubeconfig;
    readonly tls: KubeTls;
    readonly signal: AbortSignal;
  },
): Promise<Pick<KubeAccess, "tls" | "authorization">> {
  switch (user.kind) {
    case "fixed":
      return { tls, authorization: user.authorization };
    case "token-file":
      return { tls, authorization: bearer(readToken(user)) };
    case "exec": {
      const { token, cert, key } = await user.plugin.credential({ ...config, ca: tls.ca }, signal);
      return {
        tls: cert === undefined || key === undefined ? tls : { ...tls, cert, key },
        authorization: token && bearer(token),
      };
    }
    default:
      return assertNever(user);
  }
}

function readToken({ path, token }: OpenUser & { readonly kind: "token-file" }): string {
  try {
    return token.current();
  } catch (cause) {
    const reason = `cannot read the kubeconfig's tokenFile ${path}: ${errorMessage(cause)}`;
    throw new KubeError(reason, { kind: "credentials", cause });
  }
}
