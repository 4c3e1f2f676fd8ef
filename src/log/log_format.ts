/** The two formats of log lines. */

export const LOG_FORMATS = ["text", "json"] as const;

/** `text`: klog's line. `json`: one object per line. */
export type LogFormat = (typeof LOG_FORMATS)[number];

export function isLogFormat(text: string): text is LogFormat {
  return (LOG_FORMATS as readonly string[]).includes(text);
}
