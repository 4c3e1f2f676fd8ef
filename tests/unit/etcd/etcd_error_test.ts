/** What each failure of etcd means for a retry, and its message for the operator. */

import { describe, expect, test } from "bun:test";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import {
  EtcdError,
  isLeaseNotFound,
  isNotEtcd,
  isOutOfHistory,
  isPermissionDenied,
  isUnreachable,
  needsOperator,
} from "../../../src/etcd/client/etcd_error.ts";
import { type FailureKind, NO_CONNECTION } from "../../../src/etcd/client/call_failure.ts";
import { Code, GrpcError } from "../../../src/etcd/client/grpc_error.ts";

function endpoint(url: string): { readonly endpoint: EtcdEndpoint } {
  return { endpoint: parseEndpoints([url], { defaultScheme: "http" })[0] as EtcdEndpoint };
}

const CLEAR = endpoint("http://192.0.2.1:2379");
const TLS = endpoint("https://192.0.2.1:2379");

/** An error of the system or of TLS. */
function caused(code: string, message = "it failed"): Error {
  return Object.assign(new Error(message), { code });
}

function of(thrown: unknown, known: typeof CLEAR & { kind?: FailureKind } = CLEAR): string[] {
  const { kind, reason } = EtcdError.from(thrown, known);
  return [kind, reason];
}

const CHECK_CLOCK = "; check the clocks of this host and of the server (timedatectl)";

describe("EtcdError.from()", () => {
  test.each<[Code, string, FailureKind]>([
    [Code.Unavailable, "etcdserver: no leader", "busy"],
    [Code.ResourceExhausted, "etcdserver: too many requests", "busy"],
    [Code.Unavailable, "etcdserver: not capable", "busy"],
    [Code.Unauthenticated, "etcdserver: invalid auth token", "token"],
    [Code.InvalidArgument, "etcdserver: revision of auth store is old", "token"],
    [Code.InvalidArgument, "etcdserver: key is not provided", "refused"],
    [Code.NotFound, "etcdserver: requested lease not found", "refused"],
    [Code.AlreadyExists, "etcdserver: lease already exists", "refused"],
    [Code.FailedPrecondition, "etcdserver: lease already exists", "refused"],
    [Code.OutOfRange, "etcdserver: mvcc: required revision is a future revision", "refused"],
    [Code.Unimplemented, "unknown service etcdserverpb.KV", "refused"],
    [Code.ResourceExhausted, "etcdserver: request is too large", "refused"],
    [Code.Unauthenticated, "unauthenticated", "refused"],
    [Code.Unavailable, "etcdserver: request timed out", "interrupted"],
    [Code.Unknown, "etcdserver: leader changed", "interrupted"],
    [Code.InvalidArgument, "protocol error: missing EndStreamResponse", "interrupted"],
    [Code.FailedPrecondition, "http/2 stream closed with error", "interrupted"],
  ])("with code %d and %j is %s", (code, text, kind) => {
    const error = EtcdError.from(new GrpcError(text, code), CLEAR);
    expect(error.kind).toBe(kind);
    expect(error.mayHaveBeenApplied).toBe(kind === "interrupted");
    expect(needsOperator(error)).toBe(kind === "refused" || kind === "token");
  });

  test.each<[Code, string, string]>([
    [Code.Unavailable, "etcdserver: no leader", "no leader"],
    [
      Code.InvalidArgument,
      "etcdserver: user name is empty",
      "user name is empty: this etcd requires a user, set --etcd-username and --etcd-password",
    ],
    [
      Code.InvalidArgument,
      "etcdserver: authentication failed, invalid user ID or password",
      "authentication failed, invalid user ID or password: " +
      "check --etcd-username and --etcd-password; a node that has joined by --join was removed, " +
      "and has to join again with a valid token",
    ],
    [
      Code.PermissionDenied,
      "etcdserver: permission denied",
      "permission denied: grant the user a role with readwrite on the keys under --etcd-prefix " +
      "(etcdctl role grant-permission)",
    ],
    [
      Code.ResourceExhausted,
      "etcdserver: mvcc: database space exceeded",
      "mvcc: database space exceeded: compact and defragment etcd, then disarm its NOSPACE alarm",
    ],
    [Code.DeadlineExceeded, "the operation timed out", "no response in time"],
    [Code.Unavailable, "http/2 stream closed with error code INTERNAL", "connection closed"],
    [Code.Unknown, "seen: etcdserver: no", "seen: etcdserver: no"],
  ])("with code %d says of %j: %s", (code, text, reason) => {
    const error = EtcdError.from(new GrpcError(text, code), CLEAR);
    expect(error.reason).toBe(reason);
    expect(error.message).toBe(`${reason} (http://192.0.2.1:2379)`);
  });

  test.each([
    ["ECONNREFUSED", "connection refused"],
    ["ECONNRESET", "connection reset"],
    ["ETIMEDOUT", "connection timed out"],
    ["EHOSTUNREACH", "no route to host"],
    ["ENETUNREACH", "network unreachable"],
    ["ENOTFOUND", "unknown host name"],
    ["EAI_AGAIN", "the host name cannot be resolved at the moment"],
    ["CERT_HAS_EXPIRED", `the server's certificate has expired${CHECK_CLOCK}`],
    ["CERT_NOT_YET_VALID", `the server's certificate is not valid yet${CHECK_CLOCK}`],
    [
      "ERR_TLS_CERT_ALTNAME_INVALID",
      "the server's certificate is for another name: it failed; for flanneld datastore, add this " +
      "one to its --advertise",
    ],
    ...[
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      "UNABLE_TO_GET_ISSUER_CERT",
      "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
      "SELF_SIGNED_CERT_IN_CHAIN",
      "DEPTH_ZERO_SELF_SIGNED_CERT",
      "CERT_SIGNATURE_FAILURE",
    ].map((code) => [
      code,
      `the server's certificate is not trusted, check --etcd-cafile (${code}); if this node has ` +
      "joined by --join, its datastore was set up again: join it again",
    ]),
  ])("names %s in words", (code, reason) => {
    expect(of(caused(code), TLS)).toEqual(["interrupted", reason]);
  });

  test.each(["ERR_HTTP2_GOAWAY_SESSION", "ERR_HTTP2_INVALID_SESSION"])(
    "with %s, the server closed the connection before the call was sent",
    (code) => {
      const bare = Object.assign(new Error("it failed"), { code });
      for (const thrown of [caused(code), bare]) {
        expect(of(thrown)).toEqual(["unsent", "connection closed"]);
      }
    },
  );

  test.each([
    "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
    "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE",
    "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE",
    "ERR_SSL_TLSV1_ALERT_ACCESS_DENIED",
  ])("takes %s for a refusal of our certificate, before anything was done", (code) => {
    expect(of(caused(code), TLS)).toEqual([
      "unsent",
      `the server refused our TLS certificate, check --etcd-certfile and --etcd-keyfile (${code})`,
    ]);
  });

  test("takes another alert of TLS for no refusal of our certificate", () => {
    expect(of(caused("ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR"), TLS)[0]).toBe("interrupted");
    expect(of(caused("X_ERR_SSL_ALERT_CERT"), TLS)[0]).toBe("interrupted");
    expect(of(caused("ERR_SSL_TLSV1_ALERT_UNKNOWN_CA_X"), TLS)[0]).toBe("interrupted");
  });

  test("says that a server may serve plain http", () => {
    const closed =
      "the connection was closed during the TLS handshake: does etcd serve plain http there?";
    const early = "Client network socket disconnected before secure TLS connection was established";
    expect(of(caused("ECONNRESET", early), TLS)[1]).toBe(closed);
    expect(of(caused("ECONNRESET"), { ...TLS, kind: "unsent" })).toEqual(["unsent", closed]);
    // Once the call was sent, or without TLS, it is just a reset.
    expect(of(caused("ECONNRESET"), TLS)[1]).toBe("connection reset");
    expect(of(caused("ECONNRESET"), { ...CLEAR, kind: "unsent" })[1]).toBe("connection reset");
    expect(of(caused("ECONNREFUSED"), { ...TLS, kind: "unsent" })[1]).toBe("connection refused");
    const inClear = "the server responds, but not in TLS: does etcd serve plain http there?";
    expect(of(caused("ERR_SSL_WRONG_VERSION_NUMBER"), TLS)[1]).toBe(inClear);
    expect(of(caused("EPROTO", "error: SSL: WRONG_VERSION_NUMBER"), TLS)[1]).toBe(inClear);
  });

  test("looks for the reason from the outermost error to its root, also in a circle", () => {
    const root = Object.assign(new Error("root"), { code: "ENOTFOUND" });
    const middle = Object.assign(new Error("middle", { cause: root }), { code: "E_OWN" });
    const outer = new Error("outer", { cause: middle });
    expect(of(outer)).toEqual(["interrupted", "unknown host name"]);
    const circle = new Error("circle");
    circle.cause = new Error("inner", { cause: circle });
    expect(of(circle)).toEqual(["interrupted", "circle"]);
    expect(of(Object.assign(new Error("numbered"), { code: 7 }))[1]).toBe("numbered");
  });

  test("shows values that are not errors", () => {
    expect(of("a text")).toEqual(["interrupted", "a text"]);
  });

  test("keeps an EtcdError, and believes the caller about the kind", () => {
    const error = EtcdError.from(new Error("x"), { ...CLEAR, kind: "unsent" });
    expect(error.kind).toBe("unsent");
    expect(error.mayHaveBeenApplied).toBe(false);
    expect(EtcdError.from(error, TLS)).toBe(error);
    expect(error.name).toBe("EtcdError");
    expect(needsOperator(new Error("x"))).toBe(false);
  });
});

describe("EtcdError", () => {
  test("from a text alone is a refusal only for a missing permission", () => {
    expect(EtcdError.fromText("permission denied", CLEAR).kind).toBe("refused");
    expect(EtcdError.fromText("the stream ended", CLEAR)).toMatchObject({
      kind: "interrupted",
      message: "the stream ended (http://192.0.2.1:2379)",
    });
  });

  test("takes another reason in place of its own, and keeps the rest", () => {
    const cause = new GrpcError("reset, $& or not", Code.Unavailable);
    const error = EtcdError.from(cause, CLEAR).because("it is a $& matter");
    expect(error).toMatchObject({
      kind: "interrupted",
      reason: "it is a $& matter",
      message: "it is a $& matter (http://192.0.2.1:2379)",
      cause,
    });
  });

  test("takes another kind, and keeps the rest", () => {
    const cause = new GrpcError("gone", Code.Unavailable);
    const error = EtcdError.from(cause, CLEAR);
    const { message, reason } = error;
    expect(error.as("unsent")).toMatchObject({ kind: "unsent", message, reason, cause });
  });

  test("names the operation, and the doubt where there is one", () => {
    const operation = "change /net/a";
    const interrupted = EtcdError.from(new GrpcError("gone", Code.Unavailable), CLEAR);
    expect(interrupted.during({ operation, repeatable: false })).toMatchObject({
      message: "cannot change /net/a in etcd: gone (http://192.0.2.1:2379); " +
        "it may have been carried out",
      kind: "interrupted",
      reason: "gone",
    });
    expect(interrupted.during({ operation, repeatable: true }).message).toBe(
      "cannot change /net/a in etcd: gone (http://192.0.2.1:2379)",
    );
    expect(interrupted.as("busy").during({ operation, repeatable: false }).message).toBe(
      "cannot change /net/a in etcd: gone (http://192.0.2.1:2379)",
    );
  });
});

describe("the fields of an EtcdError", () => {
  test("are the status, the member, and after during() what was called", () => {
    const error = EtcdError.from(new GrpcError("no", Code.PermissionDenied), CLEAR).during({
      operation: "read /net/a",
      method: "etcdserverpb.KV/Range",
      key: "/net/a",
      repeatable: true,
    });
    expect(error).toMatchObject({
      code: Code.PermissionDenied,
      symptom: undefined,
      endpoint: "http://192.0.2.1:2379",
      method: "etcdserverpb.KV/Range",
      key: "/net/a",
    });
    expect(error.as("busy").because("x")).toMatchObject({ code: error.code, key: "/net/a" });
  });

  test.each([
    ["a web server", new GrpcError("HTTP 403", Code.PermissionDenied), "no gRPC"],
    ["a proxy", new GrpcError("HTTP 404 x", Code.NotFound), "no HTTP/2"],
    ["a cut", new GrpcError("http/2 stream closed", Code.NotFound), "closed"],
    ["a cut within a message", new GrpcError("http/2 x", Code.NotFound), undefined],
    ["a lost connection", caused("ECONNRESET", "reset"), "reset"],
  ])("hold no status where the failure is that of %s", (_what, thrown, symptom) => {
    const error = EtcdError.from(thrown, CLEAR);
    expect(error).toMatchObject({ code: undefined, symptom });
    expect(isPermissionDenied(error) || isLeaseNotFound(error)).toBe(false);
  });

  test("distinguish refusals that need different actions", () => {
    const kinds = [Code.PermissionDenied, Code.NotFound, Code.OutOfRange].map((code) => {
      const error = EtcdError.from(new GrpcError("etcdserver: x", code), CLEAR);
      return [isPermissionDenied, isLeaseNotFound, isOutOfHistory].map((is) => is(error));
    });
    expect(kinds).toEqual([[true, false, false], [false, true, false], [false, false, true]]);
    const bug = Object.assign(new Error("permission denied"), { code: Code.PermissionDenied });
    expect([isPermissionDenied, isLeaseNotFound, isOutOfHistory].some((is) => is(bug))).toBe(false);
  });
});

describe("isUnreachable()", () => {
  const of = (code: string) => isUnreachable(EtcdError.from(caused(code), CLEAR));

  test("is what no server had any work with, also with a hint after it", () => {
    expect(["ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"].map(of))
      .toEqual(Array(4).fill(true));
    const refused = EtcdError.from(caused("ECONNREFUSED"), CLEAR);
    expect(isUnreachable(refused.because("connection refused; write a port"))).toBe(true);
    expect(isUnreachable(refused.because("no route to host 192.0.2.1", "no route"))).toBe(true);
    const ours = { kind: "unsent", reason: NO_CONNECTION, symptom: "no connection" } as const;
    expect(isUnreachable(new EtcdError(NO_CONNECTION, ours))).toBe(true);
  });

  test("is nothing that a server may have had work with", () => {
    expect(["ECONNRESET", "ENOTFOUND", "CERT_HAS_EXPIRED"].map(of)).toEqual(Array(3).fill(false));
    expect(isUnreachable(new Error("connection refused"))).toBe(false);
  });
});

describe("isNotEtcd()", () => {
  const said = (text: string) =>
    isNotEtcd(EtcdError.from(new GrpcError(text, Code.Unavailable), CLEAR));

  test.each([
    "Protocol error",
    "h2 is not supported",
    "HTTP 404",
    "unsupported content type text/html",
    "unexpected content-type text/html",
    "http/2 stream closed with error code INTERNAL",
  ])("is what a web server causes: %s", (text) => {
    expect(said(text)).toBe(true);
  });

  test.each([
    "etcdserver: no leader",
    "a protocol error",
    "no h2 is not supported",
    "an HTTP 404",
    "HTTP/2",
    "an unsupported content type",
  ])("is not what an etcd says: %s", (text) => {
    expect(said(text)).toBe(false);
  });

  test("is a connection that is closed, in a handshake or not, or that speaks no TLS", () => {
    const early = "Client network socket disconnected before secure TLS connection was established";
    expect(isNotEtcd(EtcdError.from(caused("ECONNRESET", early), TLS))).toBe(true);
    expect(isNotEtcd(EtcdError.from(caused("ERR_SSL_WRONG_VERSION_NUMBER"), TLS))).toBe(true);
    expect(isNotEtcd(EtcdError.from(caused("ECONNRESET"), CLEAR))).toBe(true);
    expect(isNotEtcd(EtcdError.from(caused("ECONNREFUSED"), CLEAR))).toBe(false);
    expect(isNotEtcd(EtcdError.from(new Error("HTTP 502"), CLEAR))).toBe(true);
  });
});
