/** The network configuration on standard input. */

import { errorMessage } from "../base/operator_error.ts";
import { CNI_CODES, CniError } from "./cni_error.ts";
import { MAX_CONFIG_BYTES } from "./plugin_config.ts";

/** All of the stream as UTF-8. Throws `CniError` if it is too long or cannot be read. */
export async function readBounded(stream: ReadableStream<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_CONFIG_BYTES) break;
    }
  } catch (cause) {
    const reason = errorMessage(cause);
    throw new CniError(CNI_CODES.ioFailure, `cannot read standard input: ${reason}`, { cause });
  }
  if (bytes <= MAX_CONFIG_BYTES) return Buffer.concat(chunks).toString("utf8");
  throw new CniError(
    CNI_CODES.decodingFailure,
    `the network configuration has more than ${MAX_CONFIG_BYTES} bytes`,
  );
}
