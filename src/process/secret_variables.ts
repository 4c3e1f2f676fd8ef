/**
 * Recognizes environment variables that contain secrets, so that commands of the operator do not
 * print or keep them. It matches patterns of names and values: a list of names is never complete.
 */

/** Whether the name suggests a secret, or the value contains one. Case does not matter. */
export function isSecretVariable(name: string, value: string): boolean {
  return SECRET_NAME.test(name) || SECRET_VALUE.test(value);
}

/**
 * Words of names, as in ACCESS_KEY_SECRET, PGPASSWORD, GITHUB_TOKEN, MINISIGN_KEY,
 * RESTIC_PASSPHRASE. PASS and KEY also occur inside other words: they count only as whole words or
 * at the end of a name.
 */
const SECRET_NAME = new RegExp(
  [
    "PASSWO?R?D|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(?<![A-Z])PSK(?![A-Z])",
    "(?<![A-Z])(AUTH|AUTHORIZATION|BEARER|JWT|PRIVATE|COOKIE|PAT|CREDS)(?![A-Z])|_PWD(?![A-Z])",
    "PASS(?![A-Z])(?<!(BY|COM)PASS)|KEYS?(?![A-Z])",
  ].join("|"),
  "i",
);

/**
 * A URL with a password (RFC 3986, section 3.2.1), a private key in PEM (RFC 7468) or of PGP, or
 * the password among the settings of a connection to a database.
 */
const SECRET_VALUE = new RegExp(
  [
    /\w:\/\/[^\s/@:]*:[^\s/@]+@/,
    /-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----/,
    /(^|[;\s])(password|pwd)\s*=/,
  ].map(({ source }) => source).join("|"),
  "i",
);
