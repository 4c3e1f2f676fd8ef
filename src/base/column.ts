/** An array of numbers that grows with the rows of a table. */
type Column = Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** The column itself if it has this row, otherwise a longer copy. New rows contain 0. */
export function columnFor<T extends Column>(column: T, row: number): T {
  if (row < column.length) return column;
  const longer = new (column.constructor as new (length: number) => T)(
    Math.max(16, row + 1, Math.ceil(1.25 * column.length)),
  );
  longer.set(column);
  return longer;
}
