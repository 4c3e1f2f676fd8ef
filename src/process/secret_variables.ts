/**
 * Which variables of an environment hold secrets, so that a program that we start for others does not
 * print them or keep them. It goes by what a name or a value looks like: a list would lack the next one.
 */

/** Whether the name says that it is a secret, or the value has one in it. Case does not matter. */
export function isSecretVariable(name: string, value: string): boolean {
  return SECRET_NAME.test(name) || SECRET_VALUE.test(value);
}

/**
 * Words of names, as in ACCESS_KEY_SECRET, PGPASSWORD, GITHUB_TOKEN, MINISIGN_KEY, RESTIC_PASSPHRASE. PASS
 * and KEY are parts of other words, too: they count alone, or where they end a name.
 */
const SECRET_NAME = new RegExp(
  [
    "PASSWO?R?D|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(?<![A-Z])PSK(?![A-Z])",
    "(?<![A-Z])(AUTH|PRIVATE|COOKIE|PAT|CREDS)(?![A-Z])",
    "PASS(?![A-Z])(?<!(BY|COM)PASS)|KEYS?(?![A-Z])",
  ].join("|"),
  "i",
);

/** A URL with a password (RFC 3986, section 3.2.1), or a private key in PEM (RFC 7468). */
const SECRET_VALUE = /\w:\/\/[^\s/@:]*:[^\s/@]+@|-----BEGIN [A-Z ]*PRIVATE KEY-----/;
