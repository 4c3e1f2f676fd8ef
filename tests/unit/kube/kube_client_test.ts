/** The client against a server that misbehaves, over real connections. */

import { afterEach, describe, expect, test } from "bun:test";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import type { KubeAccess, KubeCredentials } from "../../../src/kube/kube_access.ts";
import type { KubeNodeEvent } from "../../../src/kube/kube_api.ts";
import { KubeClient } from "../../../src/kube/kube_client.ts";
import { KubeError } from "../../../src/kube/kube_error.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  chunk,
  endChunks,
  failure,
  FakeKubeApi,
  type FakeResponse,
  inTurn,
  json,
  startChunks,
  whole,
} from "../../support/fake_kube_api.ts";
import { decodedNode, nodeJson, nodeMetadataJson } from "../../support/kube_objects.ts";
import { nodeListProtobuf } from "../../support/kube_protobuf.ts";
import { eventually } from "../../support/wait.ts";

const NEVER = new AbortController().signal;
const TOKEN = "eyJhbGciOi.secret";

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** Tokens in turn, the last one again and again. */
class TokenList implements KubeCredentials {
  readonly server: string;
  #tokens: readonly string[];

  constructor(server: string, tokens: readonly string[]) {
    this.server = server;
    this.#tokens = tokens;
  }

  current(): Promise<KubeAccess> {
    const authorization = `Bearer ${this.#tokens[0]}`;
    const tls = { rejectUnauthorized: true };
    return Promise.resolve({ server: this.server, tls, authorization, proxyUrl: undefined });
  }

  renewed(): Promise<KubeAccess> {
    if (this.#tokens.length > 1) this.#tokens = this.#tokens.slice(1);
    return this.current();
  }
}

async function scene(
  respond: FakeResponse,
  { clock = systemClock, tokens = [TOKEN] }: { clock?: Clock; tokens?: readonly string[] } = {},
) {
  const server = stack.use(await FakeKubeApi.start(respond));
  const { log, records } = collectingLog();
  const client = stack.use(
    new KubeClient({
      credentials: new TokenList(server.url, tokens),
      clock,
      log,
      userAgent: "flanneld/v1",
    }),
  );
  return { server, client, records };
}

/** The error that a call ends with. */
async function failureOf(call: Promise<unknown>): Promise<KubeError> {
  try {
    await call;
  } catch (error) {
    expect(error).toBeInstanceOf(KubeError);
    expect((error as Error).message).not.toContain(TOKEN);
    expect((error as Error).message).not.toContain("\n");
    return error as KubeError;
  }
  throw new Error("the call succeeded");
}

async function allOf<T>(values: AsyncIterable<T>): Promise<T[]> {
  return await Array.fromAsync(values);
}

const event = (type: string, object: unknown) => `${JSON.stringify({ type, object })}\n`;

describe("a call", () => {
  test("has the headers User-Agent, Accept and Authorization", async () => {
    const { server, client } = await scene(json(nodeJson("n1")));
    expect(await client.node("n1", NEVER)).toEqual(decodedNode("n1"));
    expect(server.requests).toHaveLength(1);
    const { method, path, headers } = server.requests[0] ?? expect.unreachable();
    expect({ method, path }).toEqual({ method: "GET", path: "/api/v1/nodes/n1" });
    expect(headers).toMatchObject({
      accept: "application/json",
      authorization: `Bearer ${TOKEN}`,
      "user-agent": "flanneld/v1",
      "accept-encoding": "identity",
    });
    expect(client.description).toBe(`the Kubernetes API at ${server.url}`);
  });

  test("uses one connection for one call after the other", async () => {
    const { server, client } = await scene(json(nodeJson("n1")));
    for (let i = 0; i < 5; i++) await client.node("n1", NEVER);
    expect(server.connections).toBe(1);
  });

  test("keeps a name from becoming another path", async () => {
    const { server, client } = await scene(json(nodeJson("n1")));
    await client.node("../secrets?x=", NEVER);
    await client.patchNodeStatus("a/b", {}, NEVER);
    expect(server.requests.map(({ path }) => path)).toEqual([
      "/api/v1/nodes/..%2Fsecrets%3Fx%3D",
      "/api/v1/nodes/a%2Fb/status?fieldManager=flanneld",
    ]);
  });

  test("reads the node of a pod, which is empty until the pod is scheduled", async () => {
    const { server, client } = await scene(inTurn(json({ spec: { nodeName: "n1" } }), json({})));
    const name = { namespace: "kube-flannel", pod: "kube-flannel-ds-x" };
    expect(await client.pod(name, NEVER)).toEqual({ nodeName: "n1" });
    expect(await client.pod(name, NEVER)).toEqual({ nodeName: "" });
    expect(server.requests[0]?.path)
      .toBe("/api/v1/namespaces/kube-flannel/pods/kube-flannel-ds-x");
  });

  test("patches by strategic merge", async () => {
    const { server, client } = await scene(json(nodeJson("n1")));
    const patch = {
      metadata: { uid: "u", annotations: { a: "1", b: null } },
      status: { conditions: [{ type: "NetworkUnavailable", status: "False" }] },
    };
    expect(await client.patchNodeStatus("n1", patch, NEVER)).toEqual(decodedNode("n1"));
    const { method, path, headers, body } = server.requests[0] ?? expect.unreachable();
    expect({ method, path, type: headers["content-type"], body: JSON.parse(body) }).toEqual({
      method: "PATCH",
      path: "/api/v1/nodes/n1/status?fieldManager=flanneld",
      type: "application/strategic-merge-patch+json",
      body: patch,
    });
  });
});

describe("a failure", () => {
  const cases = [
    [400, "BadRequest", "server"],
    [401, "Unauthorized", "unauthorized"],
    [403, "Forbidden", "forbidden"],
    [404, "NotFound", "not-found"],
    [409, "Conflict", "conflict"],
    [410, "Expired", "expired"],
    [422, "Invalid", "invalid"],
    [429, "TooManyRequests", "throttled"],
    [500, "InternalError", "server"],
    [503, "ServiceUnavailable", "server"],
  ] as const;

  test.each(cases)("%d %s is of kind %s", async (status, reason, kind) => {
    const { server, client } = await scene(failure(status, reason, "the server's reason"));
    const error = await failureOf(client.node("n1", NEVER));
    expect({ ...error }).toMatchObject({ kind, status, reason, call: "GET /api/v1/nodes/n1" });
    expect(error.message).toStartWith(
      `cannot get node n1 (GET /api/v1/nodes/n1 at ${server.url}): ${status} ${reason}: ` +
        "the server's reason",
    );
  });

  test("with status 403 ends with the missing rule, as YAML", async () => {
    const { client } = await scene(failure(403, "Forbidden", 'User "x" cannot …'));
    const signal = NEVER;
    const rules = [
      [client.node("n1", signal), "nodes", "get"],
      [client.pod({ namespace: "a", pod: "b" }, signal), "pods", "get"],
      [client.patchNodeStatus("n1", {}, signal), "nodes/status", "patch"],
      [allOf(client.listNodes(signal)), "nodes", "list"],
      [allOf(client.watchNodes("1", signal)), "nodes", "watch"],
    ] as const;
    for (const [call, resource, verb] of rules) {
      const { message } = await failureOf(call);
      const [, yaml = ""] = /; add to the ClusterRole: (- .*)$/.exec(message) ?? [];
      expect(Bun.YAML.parse(yaml)).toEqual([
        { apiGroups: [""], resources: [resource], verbs: [verb] },
      ]);
    }
  });

  test("with Retry-After says how long to wait", async () => {
    const seconds = { "Retry-After": "7" };
    const { client } = await scene(inTurn(
      failure(429, "TooManyRequests", "slow down", seconds),
      failure(503, "ServiceUnavailable", "starting", seconds),
      failure(500, "InternalError", "again", seconds),
      failure(429, "TooManyRequests", "much", { "Retry-After": "99999999" }),
      json({ kind: "Status", details: { retryAfterSeconds: 3 } }, { status: 429 }),
      failure(429, "TooManyRequests", "odd", { "Retry-After": "soon" }),
    ));
    const results = [];
    for (let i = 0; i < 6; i++) {
      const { kind, retryAfterMs } = await failureOf(client.node("n1", NEVER));
      results.push(`${kind} ${retryAfterMs}`);
    }
    expect(results).toEqual([
      "throttled 7000",
      "throttled 7000",
      "server 7000",
      "throttled 600000",
      "throttled 3000",
      "throttled undefined",
    ]);
  });

  test("with a date in Retry-After is waited for until then, by the host's clock", async () => {
    const clock = new FakeClock();
    const at = new Date(clock.wallMs() + 5000).toUTCString();
    const { client } = await scene(failure(429, "x", "y", { "Retry-After": at }), { clock });
    expect((await failureOf(client.node("n1", NEVER))).retryAfterMs).toBe(5000);
  });

  test("with status 404 from another server does not mean that the node is missing", async () => {
    const { client } = await scene(whole("<html>not here\n</html>", { status: 404 }));
    const error = await failureOf(client.node("n1", NEVER));
    expect(error.kind).toBe("server");
    expect(error.message).toEndWith("404 Not Found: <html>not here\\n</html>");
  });

  test("that repeats the token does not show it", async () => {
    const { client } = await scene((request, socket) => {
      whole(`you sent ${request.headers["authorization"]}`, { status: 502 })(request, socket);
    });
    const error = await failureOf(client.node("n1", NEVER));
    expect(error.message).toEndWith("502 Bad Gateway: you sent Bearer …");
  });

  test("with an endless body is read no further than needed", async () => {
    const { client } = await scene((_request, socket) => {
      socket.write("HTTP/1.1 500 Text\r\nTransfer-Encoding: chunked\r\n\r\n");
      const more = () => {
        while (!socket.destroyed) {
          if (!socket.write(`10000\r\n${"x".repeat(0x10000)}\r\n`)) break;
        }
      };
      socket.on("drain", more);
      more();
    });
    const error = await failureOf(client.node("n1", NEVER));
    expect(error.kind).toBe("server");
    expect(error.message.length).toBeLessThan(1000);
  });

  test("can be a redirection, which is not followed: the token is not passed on", async () => {
    const other = stack.use(await FakeKubeApi.start(json(nodeJson("n1"))));
    const { client } = await scene(whole("", { status: 307, headers: { Location: other.url } }));
    expect((await failureOf(client.node("n1", NEVER))).status).toBe(307);
    expect(other.requests).toEqual([]);
  });
});

describe("an expired token", () => {
  test("is read again, and the call repeated once", async () => {
    const unauthorized = failure(401, "Unauthorized", "Unauthorized");
    const respond: FakeResponse = (request, socket) => {
      const isNew = request.headers["authorization"] === "Bearer new";
      (isNew ? json(nodeJson("n1")) : unauthorized)(request, socket);
    };
    const { server, client } = await scene(respond, { tokens: ["old", "new"] });
    expect((await client.node("n1", NEVER)).name).toBe("n1");
    expect(server.requests.map(({ headers }) => headers["authorization"]))
      .toEqual(["Bearer old", "Bearer new"]);
  });

  test.each([
    ["the same after", [TOKEN], 1],
    ["another one after", ["old", "new", "newest"], 2],
  ])("is %s a refusal: an error after this many attempts", async (_what, tokens, attempts) => {
    const unauthorized = failure(401, "Unauthorized", "Unauthorized");
    const { server, client } = await scene(unauthorized, { tokens });
    const error = await failureOf(client.node("n1", NEVER));
    expect(error.kind).toBe("unauthorized");
    expect(error.message).toEndWith(
      "check the token or client certificate, and that they belong to this cluster",
    );
    expect(server.requests).toHaveLength(attempts);
  });
});

describe("no complete response", () => {
  const unreachable = async (respond: FakeResponse) => {
    const { client } = await scene(respond);
    const error = await failureOf(client.node("n1", NEVER));
    expect(error.kind).toBe("unreachable");
    return error.message.replace(/^.*\): /, "");
  };

  test("because the connection ends before, or in the middle", async () => {
    const reset = "the server closed the connection (ECONNRESET)";
    expect(await unreachable((_request, socket) => socket.destroy())).toBe(reset);
    const cut: FakeResponse = (_request, socket) => {
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"metadata":');
    };
    expect(await unreachable(cut)).toBe(reset);
  });

  test("because nothing listens", async () => {
    const { server, client } = await scene(json({}));
    await server[Symbol.asyncDispose]();
    const error = await failureOf(client.node("n1", NEVER));
    expect(error.kind).toBe("unreachable");
    expect(error.message).toEndWith("connection refused (ECONNREFUSED)");
  });

  test("because no header arrives for 30 s", async () => {
    const clock = new FakeClock();
    const { server, client } = await scene(
      (_request, socket) => socket.write("HTTP/1.1 200 OK\r\n"),
      { clock },
    );
    const error = failureOf(client.node("n1", NEVER));
    await requested(server);
    await clock.advance(30_000);
    expect((await error).message).toEndWith("no response within 30 s");
    await closed(server);
  });

  test("because the body stops for 30 s", async () => {
    const clock = new ReadCounter();
    const { server, client } = await scene((_request, socket) => {
      startChunks(socket);
      chunk(socket, '{"metadata":');
    }, { clock });
    const error = failureOf(client.node("n1", NEVER));
    await clock.hasReads(3); // at the call, after the headers, and after the first piece
    await clock.advance(30_000);
    const { kind, message } = await error;
    expect(kind).toBe("unreachable");
    expect(message).toEndWith("no data for 30 s");
    await closed(server);
  });

  test("because the body drips for more than two minutes", async () => {
    const clock = new ReadCounter();
    let drip = () => {};
    const { client } = await scene((_request, socket) => {
      startChunks(socket);
      drip = () => chunk(socket, " ");
    }, { clock });
    const error = failureOf(client.node("n1", NEVER));
    await clock.hasReads(2);
    for (let i = 1; i <= 6; i++) {
      const { reads } = clock;
      drip();
      await clock.hasReads(reads + 1);
      await clock.advance(20_000);
    }
    expect((await error).message).toEndWith("no complete response within 120 s");
  });

  test("because the caller stops: its own reason is thrown", async () => {
    const { server, client } = await scene(() => {});
    const stop = new AbortController();
    const call = client.node("n1", stop.signal);
    await requested(server);
    const reason = new Error("the daemon ends");
    stop.abort(reason);
    expect(await call.catch((error) => error)).toBe(reason);
    await closed(server);
    expect(await client.node("n1", stop.signal).catch((error) => error)).toBe(reason);
    expect(server.requests).toHaveLength(1);
  });

  test("because the client is closed", async () => {
    const { server, client } = await scene(() => {});
    const error = failureOf(client.node("n1", NEVER));
    await requested(server);
    await client[Symbol.asyncDispose]();
    expect((await error).message).toEndWith("the client was closed");
  });
});

describe("a response that is not what the API promises", () => {
  const protocolError = async (respond: FakeResponse) => {
    const { client } = await scene(respond);
    const error = await failureOf(client.node("n1", NEVER));
    expect(error.kind).toBe("protocol");
    return error.message.replace(/^.*\): /, "");
  };

  test("is an error that says what is wrong", async () => {
    expect(await protocolError(whole("<html>"))).toBe("the response is not JSON");
    expect(await protocolError(whole("null")))
      .toBe("unexpected response: the object is null, not an object");
    expect(await protocolError(json({ metadata: { name: "n1" } })))
      .toBe("unexpected response: metadata.uid is missing");
    const odd = nodeJson("n1");
    expect(await protocolError(json({ ...odd, spec: { podCIDRs: "10.0.0.0/8" } })))
      .toBe('unexpected response: spec.podCIDRs is "10.0.0.0/8", not an array');
  });

  test("is one that never ends", async () => {
    const megabyte = `"${"x".repeat(1024 * 1024 - 3)}",`;
    expect(
      await protocolError((_request, socket) => {
        startChunks(socket);
        const more = () => {
          while (!socket.destroyed) {
            if (!socket.write(`100000\r\n${megabyte}\r\n`)) break;
          }
        };
        socket.on("drain", more);
        more();
      }),
    ).toBe("the response has more than 67108864 bytes");
  }, 20_000);
});

describe("a list", () => {
  const page = (names: readonly string[], token: string, resourceVersion = "100") =>
    json({
      metadata: { resourceVersion, ...(token && { continue: token }) },
      items: names.map((name) => nodeJson(name)),
    });

  const protobufPage = (names: readonly string[], continueToken: string) =>
    protobuf(nodeListProtobuf({
      resourceVersion: "100",
      continueToken,
      nodes: names.map((name) => nodeJson(name)),
    }));
  const listed = (name: string) => {
    const { conditions: _, ...node } = decodedNode(name);
    return node;
  };

  test.each([["protobuf", protobufPage], ["JSON", page]])(
    "is read from the server's cache, or in pages of 500, in %s",
    async (_encoding, page) => {
      const { server, client } = await scene(inTurn(page(["a", "b"], "t&1"), page(["c"], "")));
      expect(await allOf(client.listNodes(NEVER))).toEqual([
        { nodes: [listed("a"), listed("b")], resourceVersion: "100" },
        { nodes: [listed("c")], resourceVersion: "100" },
      ]);
      expect(server.requests.map(({ url }) => Object.fromEntries(url.searchParams))).toEqual([
        { limit: "500", resourceVersion: "0" },
        { limit: "500", continue: "t&1" },
      ]);
      expect(server.requests[0]?.headers["accept"])
        .toBe("application/vnd.kubernetes.protobuf,application/json");
    },
  );

  test("is not older than another one, if that is asked for", async () => {
    const { server, client } = await scene(page(["a"], ""));
    await allOf(client.listNodes(NEVER, { notOlderThan: "90" }));
    expect(Object.fromEntries(server.requests[0]?.url.searchParams ?? [])).toEqual({
      limit: "500",
      resourceVersion: "90",
      resourceVersionMatch: "NotOlderThan",
    });
  });

  test("in protobuf is there node by node", async () => {
    const bytes = nodeListProtobuf({
      resourceVersion: "100",
      nodes: [nodeJson("a"), nodeJson("b")],
    });
    const half = bytes.length - 200;
    let sendRest = () => {};
    const { client } = await scene((_request, socket) => {
      protobuf(bytes.subarray(0, half), bytes.length)(_request, socket);
      sendRest = () => socket.write(bytes.subarray(half));
    });
    const names: string[] = [];
    for await (const { nodes } of client.listNodes(NEVER)) {
      names.push(...nodes.map(({ name }) => name));
      if (names.length === 1) sendRest();
    }
    expect(names).toEqual(["a", "b"]);
  });

  test("in protobuf that is cut or garbage is an error", async () => {
    const bytes = nodeListProtobuf({ resourceVersion: "100", nodes: [nodeJson("a")] });
    const cut = await scene(protobuf(bytes.subarray(0, -20)));
    const error = await failureOf(allOf(cut.client.listNodes(NEVER)));
    expect(error.kind).toBe("unreachable");
    expect(error.message).toEndWith("the server ended the response in the middle of the list");
    const garbage = await scene(protobuf(Buffer.from("garbage")));
    expect((await failureOf(allOf(garbage.client.listNodes(NEVER)))).kind).toBe("protocol");
  });

  test("without nodes in protobuf is empty", async () => {
    const { client } = await scene(protobufPage([], ""));
    expect(await allOf(client.listNodes(NEVER))).toEqual([{ nodes: [], resourceVersion: "100" }]);
  });

  test("of metadata asks for no more", async () => {
    const { server, client } = await scene(json({
      metadata: { resourceVersion: "5" },
      items: [nodeMetadataJson("a")],
    }));
    const { podCidrs: _, conditions: __, ...metadata } = decodedNode("a");
    expect(await allOf(client.listNodeMetadata(NEVER)))
      .toEqual([{ nodes: [metadata], resourceVersion: "5" }]);
    expect(server.requests[0]?.headers["accept"]).toBe(
      "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
    );
  });

  test("without nodes is empty", async () => {
    const { client } = await scene(json({ metadata: { resourceVersion: "5" }, items: null }));
    expect(await allOf(client.listNodes(NEVER))).toEqual([{ nodes: [], resourceVersion: "5" }]);
  });

  test("whose continue token has expired fails with the kind expired", async () => {
    const { client } = await scene(inTurn(
      page(["a"], "t"),
      failure(410, "Expired", "The provided continue parameter is too old"),
    ));
    expect((await failureOf(allOf(client.listNodes(NEVER)))).kind).toBe("expired");
  });

  test("whose pages have different resource versions is refused", async () => {
    const { client } = await scene(inTurn(page(["a"], "t"), page(["b"], "", "101")));
    const error = await failureOf(allOf(client.listNodes(NEVER)));
    expect(error.kind).toBe("protocol");
    expect(error.message).toEndWith(
      'a page of the list has the resource version "101", the first one "100"',
    );
  });

  test("leaves out nodes that cannot be read, with a warning", async () => {
    const bad = nodeJson("bad");
    const { client, records } = await scene(json({
      metadata: { resourceVersion: "5" },
      items: [
        nodeJson("a"),
        { ...bad, metadata: { ...bad.metadata, uid: 7 } },
        { ...bad, metadata: { ...bad.metadata, annotations: { x: {} } } },
        { ...bad, metadata: { ...bad.metadata, creationTimestamp: "yesterday" } },
        null,
        "node",
      ],
    }));
    const [only] = await allOf(client.listNodes(NEVER));
    expect(only?.nodes.map(({ name }) => name)).toEqual(["a"]);
    expect(records.map(({ level, msg }) => `${level} ${msg}`)).toEqual([
      "warn ignoring node bad: metadata.uid is 7, not a string",
      'warn ignoring node bad: metadata.annotations["x"] is {}, not a string',
      'warn ignoring node bad: metadata.creationTimestamp is "yesterday", not a time',
      "warn ignoring node without a name: the object is null, not an object",
      'warn ignoring node without a name: the object is "node", not an object',
    ]);
  });

  test("stops when its reader does", async () => {
    const { server, client } = await scene(page(["a"], "again"));
    for await (const _ of client.listNodes(NEVER)) break;
    expect(server.requests).toHaveLength(1);
  });
});

describe("a watch", () => {
  const bookmark = event("BOOKMARK", {
    metadata: { resourceVersion: "200", creationTimestamp: null },
  });

  test("gives changes and bookmarks until the server closes it", async () => {
    const { server, client } = await scene((_request, socket) => {
      startChunks(socket);
      const text = event("ADDED", nodeMetadataJson("a")) +
        event("MODIFIED", nodeMetadataJson("a", { resourceVersion: "18" })) + bookmark +
        event("DELETED", nodeMetadataJson("a"));
      // Pieces that respect neither lines nor characters.
      for (let i = 0; i < text.length; i += 100) chunk(socket, text.slice(i, i + 100));
      endChunks(socket);
    });
    const events = await allOf(client.watchNodes("17", NEVER));
    const shown = events.map((one) =>
      one.kind === "bookmark"
        ? `bookmark ${one.resourceVersion}`
        : `${one.kind} ${one.node.name} ${one.node.resourceVersion}`
    );
    expect(shown).toEqual(["put a 17", "put a 18", "bookmark 200", "delete a 17"]);
    const { url, headers } = server.requests[0] ?? expect.unreachable();
    const { timeoutSeconds, ...query } = Object.fromEntries(url.searchParams);
    expect(query).toEqual({ allowWatchBookmarks: "true", resourceVersion: "17", watch: "true" });
    expect(Number(timeoutSeconds)).toBeWithin(300, 601);
    expect(headers["accept"]).toBe(
      "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
    );
  });

  test("gives an event as soon as its line is complete", async () => {
    const { client } = await scene((_request, socket) => {
      startChunks(socket);
      chunk(socket, bookmark + bookmark.slice(0, 20));
    });
    const events = client.watchNodes("17", NEVER)[Symbol.asyncIterator]();
    expect((await events.next()).value).toEqual({ kind: "bookmark", resourceVersion: "200" });
    await events.return?.();
  });

  test("that a proxy keeps back fails with a hint at it", async () => {
    const clock = new FakeClock();
    const { server, client } = await scene(() => {}, { clock });
    const error = failureOf(allOf(client.watchNodes("17", NEVER)));
    await requested(server);
    await clock.advance(30_000);
    const { kind, message } = await error;
    expect(kind).toBe("unreachable");
    expect(message).toEndWith(
      "no response within 30 s; if lists of nodes work, check whether a proxy in front of the " +
        "API server passes on responses that do not end",
    );
  });

  test("says when the server has begun to answer, also without an event", async () => {
    const { client } = await scene((_request, socket) => startChunks(socket));
    const opened = Promise.withResolvers<void>();
    const stop = new AbortController();
    const watch = client.watchNodes("17", stop.signal, { onOpened: opened.resolve });
    const next = watch.next().catch((reason) => reason);
    await opened.promise;
    stop.abort("enough");
    expect(await next).toBe("enough");
  });

  test("can be of one node", async () => {
    const { server, client } = await scene((_request, socket) => {
      startChunks(socket);
      endChunks(socket);
    });
    await allOf(client.watchNodes("17", NEVER, { name: "n1" }));
    const { url } = server.requests[0] ?? expect.unreachable();
    expect(url.searchParams.get("fieldSelector")).toBe("metadata.name=n1");
  });

  test("closes its connection when its reader stops", async () => {
    const { server, client } = await scene((_request, socket) => {
      startChunks(socket);
      chunk(socket, bookmark);
    });
    for await (const _ of client.watchNodes("17", NEVER)) break;
    await closed(server);
  });

  test.each([
    ["as an event", 200],
    ["as a status", 410],
  ])("whose resource version is too old ends as expired (410 %s)", async (_name, status) => {
    const object = { kind: "Status", code: 410, reason: "Expired", message: "too old" };
    const { server, client } = await scene(
      status === 200
        ? whole(event("ERROR", object))
        : failure(410, "Expired", "too old resource version"),
    );
    const error = await failureOf(allOf(client.watchNodes("1", NEVER)));
    expect({ ...error }).toMatchObject({ kind: "expired", status: 410, reason: "Expired" });
    expect(error.message).toStartWith(
      `cannot watch nodes (GET /api/v1/nodes?watch=true at ${server.url}): 410 Expired: too old`,
    );
  });

  test("ends with the kind of another error event", async () => {
    const kinds = [];
    for (const code of [403, 429, 500, "x"]) {
      const { client } = await scene(whole(event("ERROR", { kind: "Status", code })));
      kinds.push((await failureOf(allOf(client.watchNodes("1", NEVER)))).kind);
    }
    expect(kinds).toEqual(["forbidden", "throttled", "server", "server"]);
  });

  test("without a byte for 150 s is dead; each byte gives it another 150 s", async () => {
    const clock = new ReadCounter();
    let send = (_text: string) => {};
    const { server, client } = await scene((_request, socket) => {
      startChunks(socket);
      send = (text) => chunk(socket, text);
    }, { clock });
    const events: KubeNodeEvent[] = [];
    const error = failureOf((async () => {
      for await (const one of client.watchNodes("17", NEVER)) events.push(one);
    })());
    await clock.hasReads(2);
    for (let i = 1; i <= 3; i++) {
      await clock.advance(149_000);
      const { reads } = clock;
      send(bookmark);
      await clock.hasReads(reads + 1);
      expect(events).toHaveLength(i);
    }
    await clock.advance(150_000);
    const { kind, message } = await error;
    expect(kind).toBe("unreachable");
    expect(message).toEndWith("no data for 150 s");
    await closed(server);
  });

  test("does not count the time that its reader takes", async () => {
    const clock = new FakeClock();
    const { client } = await scene((_request, socket) => {
      startChunks(socket);
      chunk(socket, bookmark);
      setImmediate(() => {
        chunk(socket, bookmark);
        endChunks(socket);
      });
    }, { clock });
    let events = 0;
    for await (const _ of client.watchNodes("17", NEVER)) {
      events++;
      await clock.advance(600_000);
    }
    expect(events).toBe(2);
  });

  test("that is cut, between lines or in one, fails as unreachable", async () => {
    const cuts: ((text: string) => FakeResponse)[] = [
      (text) => (_request, socket) => {
        startChunks(socket);
        chunk(socket, text);
        setTimeout(() => socket.destroy(), 20);
      },
      (text) => (_request, socket) => {
        startChunks(socket);
        chunk(socket, text);
        setTimeout(() => socket.resetAndDestroy(), 20);
      },
    ];
    for (const cut of cuts) {
      for (const text of [bookmark, bookmark + bookmark.slice(0, 10)]) {
        const { client } = await scene(cut(text));
        const error = await failureOf(allOf(client.watchNodes("17", NEVER)));
        expect(error.kind).toBe("unreachable");
      }
    }
    const { client } = await scene(whole(bookmark + bookmark.slice(0, 10)));
    const error = await failureOf(allOf(client.watchNodes("17", NEVER)));
    expect(error.kind).toBe("unreachable");
    expect(error.message).toEndWith("the server ended the response in the middle of an event");
  });

  test("ignores nodes that cannot be read, with a warning", async () => {
    const { client, records } = await scene(
      whole(event("ADDED", { metadata: { name: "x" } }) + event("ADDED", nodeMetadataJson("a"))),
    );
    const events = await allOf(client.watchNodes("17", NEVER));
    expect(events.map((one) => one.kind === "put" && one.node.name)).toEqual(["a"]);
    expect(records.map(({ msg }) => msg)).toEqual(["ignoring node x: metadata.uid is missing"]);
  });

  test.each([
    ["garbage\n", "the response is not JSON"],
    [event("NEWS", {}), 'unexpected response: the event has the unknown type "NEWS"'],
    [event("BOOKMARK", {}), "unexpected response: metadata is undefined, not an object"],
    ["[]\n", "unexpected response: the event is [], not an object"],
  ])("with the line %j ends with a protocol error", async (line, reason) => {
    const { client } = await scene(whole(bookmark + line));
    const error = await failureOf(allOf(client.watchNodes("17", NEVER)));
    expect(error.kind).toBe("protocol");
    expect(error.message).toEndWith(`): ${reason}`);
  });

  test("with an endless line ends with a protocol error", async () => {
    const { server, client } = await scene((_request, socket) => {
      startChunks(socket);
      const more = () => {
        while (!socket.destroyed) {
          if (!socket.write(`10000\r\n${"x".repeat(0x10000)}\r\n`)) break;
        }
      };
      socket.on("drain", more);
      more();
    });
    const error = await failureOf(allOf(client.watchNodes("17", NEVER)));
    expect(error.kind).toBe("protocol");
    expect(error.message).toEndWith("a line has more than 8388608 bytes");
    await closed(server);
  });

  test("that is refused is repeated with a new token", async () => {
    const respond = inTurn(failure(401, "Unauthorized", "Unauthorized"), whole(bookmark));
    const { server, client } = await scene(respond, { tokens: ["old", "new"] });
    expect(await allOf(client.watchNodes("17", NEVER))).toHaveLength(1);
    expect(server.requests).toHaveLength(2);
  });
});

function requested(server: FakeKubeApi): Promise<true> {
  return eventually("a request", 2000, () => server.requests.length === 1 || undefined);
}

function closed(server: FakeKubeApi): Promise<true> {
  return eventually("a closed connection", 2000, () => server.open === 0 || undefined);
}

/** A response in protobuf, of which only these bytes are sent. */
function protobuf(bytes: Uint8Array, length = bytes.length): FakeResponse {
  const type = "application/vnd.kubernetes.protobuf";
  return (_request, socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n`);
    socket.write(bytes);
  };
}

/** Counts how often it is read: once for a call, and once for what arrives. */
class ReadCounter extends FakeClock {
  reads = 0;

  override nowMs(): number {
    this.reads++;
    return super.nowMs();
  }

  hasReads(count: number): Promise<true> {
    return eventually(`read ${count} of the clock`, 5000, () => this.reads >= count || undefined);
  }
}
