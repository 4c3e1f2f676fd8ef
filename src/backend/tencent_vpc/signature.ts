/**
 * Signatures of requests to Tencent Cloud's API 3.0, method TC3-HMAC-SHA256:
 * https://www.tencentcloud.com/document/api/215/42761.
 */

import { createHash, createHmac } from "node:crypto";

export interface AccessKey {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
}

export interface SignedRequest {
  /** The first label of the API's host name, such as `vpc`. */
  readonly service: string;
  /** As in the header `Host`: with the port, unless it is the default one. */
  readonly host: string;
  readonly action: string;
  /** The body, byte for byte. */
  readonly payload: string;
  /** Seconds since 1970, as in the header `X-TC-Timestamp`. */
  readonly timestampSeconds: number;
}

/** The type of the body, which is part of the signed text. */
export const CONTENT_TYPE = "application/json; charset=utf-8";

const ALGORITHM = "TC3-HMAC-SHA256";
const SIGNED_HEADERS = "content-type;host;x-tc-action";

/** The value of the header `Authorization` of a POST request to `/`. */
export function authorization(request: SignedRequest, credentials: AccessKey): string {
  const { service, timestampSeconds } = request;
  const date = new Date(timestampSeconds * 1000).toISOString().slice(0, "2019-02-25".length);
  const scope = `${date}/${service}/tc3_request`;
  const toSign = [ALGORITHM, timestampSeconds, scope, sha256(canonicalRequest(request))].join("\n");
  const keys = [date, service, "tc3_request"];
  const signingKey = keys.reduce<string | Buffer>(
    (key, text) => hmac(key, text),
    `TC3${credentials.accessKeySecret}`,
  );
  const signature = hmac(signingKey, toSign).toString("hex");
  return `${ALGORITHM} Credential=${credentials.accessKeyId}/${scope}, ` +
    `SignedHeaders=${SIGNED_HEADERS}, Signature=${signature}`;
}

function canonicalRequest({ host, action, payload }: SignedRequest): string {
  return [
    "POST",
    "/",
    "", // No query.
    `content-type:${CONTENT_TYPE}`,
    `host:${host.toLowerCase()}`,
    `x-tc-action:${action.toLowerCase()}`,
    "",
    SIGNED_HEADERS,
    sha256(payload),
  ].join("\n");
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
