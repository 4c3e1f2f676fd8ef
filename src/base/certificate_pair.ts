/** A TLS certificate and its private key, which are given together or not at all. */

/** What is missing, as a sentence that names the options; `undefined` for both or neither. */
export function certificatePairProblem(
  { certFile, keyFile }: { readonly certFile: string; readonly keyFile: string },
  options: { readonly cert: string; readonly key: string },
): string | undefined {
  if ((certFile === "") === (keyFile === "")) return undefined;
  const [given, missing] = certFile === ""
    ? [options.key, options.cert]
    : [options.cert, options.key];
  return `${given} is given without ${missing}; a certificate needs its key`;
}
