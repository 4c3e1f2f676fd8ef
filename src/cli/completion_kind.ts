/** What a shell offers where a value is expected: words, or names of this kind. */
export type Completion = readonly string[] | "file" | "directory" | "interface" | "none";
