/** Input from a user that cannot be used: what, where, the value, what to do, in one line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}
