/** From entries to rtnetlink messages, gathered in one buffer for one send(2). */

import { type Libnl, libnl } from "../../../ffi/libnl.ts";
import type { EntryOperation } from "../table/entry_operation.ts";
import { LibnlBatch } from "../wire/libnl_batch.ts";
import type { EntryEncoder, RtnetlinkEntry, RtnetlinkKind } from "./entry_codec.ts";
import { ENTRY_CODECS } from "./entry_codecs.ts";

export class RtnetlinkEncoder extends LibnlBatch<Libnl> implements Disposable {
  readonly #encoders: Record<RtnetlinkKind, EntryEncoder>;

  /** Throws `LibraryError` if there is no libnl. */
  constructor() {
    super(libnl());
    this.#encoders = Object.fromEntries(ENTRY_CODECS.flatMap((codec) => {
      const encoder = codec.encoder(this);
      return codec.kinds.map((kind) => [kind, encoder]);
    })) as Record<RtnetlinkKind, EntryEncoder>;
  }

  /** Appends the message for one entry on the device `ifindex` (0 for a blackhole). */
  entry(operation: EntryOperation, entry: RtnetlinkEntry, ifindex: number): void {
    this.#encoders[entry.kind].append(operation, entry, ifindex);
  }

  [Symbol.dispose](): void {
    for (const encoder of Object.values(this.#encoders)) encoder[Symbol.dispose]();
  }
}
