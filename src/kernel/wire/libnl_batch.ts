/** A batch of messages that libnl builds from its objects, and the addresses in those objects. */

import type { LibnlCore } from "../../../ffi/libnl.ts";
import { AF_UNSPEC } from "../../../ffi/linux.ts";
import { addressOf, fixedBuffer, type Pointer, readPointer } from "../../../ffi/memory.ts";
import { type Family, familyOf, type IpAddress } from "../../addr/ip.ts";
import type { MacAddress } from "../../addr/mac.ts";
import { writeAddress, writeMac } from "./address_bytes.ts";
import { addressFamily, addressLength } from "./address_family.ts";
import { allocated, MessageBatch } from "./message_batch.ts";

/** Writes more attributes into a message that libnl holds (struct nl_msg). */
export type AddAttributes = (message: Pointer) => void;

export class LibnlBatch<Nl extends LibnlCore> extends MessageBatch {
  readonly nl: Nl;
  readonly #out = fixedBuffer(8);
  /** Where libnl's build functions put the address of a message: their last argument. */
  readonly out: Pointer = addressOf(this.#out);
  readonly #scratch = fixedBuffer(16);
  readonly #scratchAddress: Pointer = addressOf(this.#scratch);

  constructor(nl: Nl) {
    super();
    this.nl = nl;
  }

  /** Appends the message at `out`, given the result of the libnl function that built it. */
  append(result: number, addAttributes?: AddAttributes): void {
    if (result < 0) throw new Error(`libnl cannot build a message: ${this.nl.nl_geterror(result)}`);
    const message = readPointer(this.out);
    addAttributes?.(message);
    this.take(message);
  }

  /** A libnl address (struct nl_addr) of this family; free it with `nl_addr_put`. */
  newAddress(family: Family): Pointer {
    this.#scratch.fill(0);
    return allocated(
      this.nl.nl_addr_build(addressFamily(family), this.#scratchAddress, addressLength(family)),
    );
  }

  /** Throws `RangeError` if `target` has another family. */
  assignAddress(target: Pointer, address: IpAddress): void {
    const length = writeAddress(address, this.#scratch);
    if (this.nl.nl_addr_set_binary_addr(target, this.#scratchAddress, length) < 0) {
      throw new RangeError(`${address} has another address family than its entry`);
    }
  }

  newMac(): Pointer {
    return allocated(this.nl.nl_addr_build(AF_UNSPEC, this.#scratchAddress, MAC_BYTES));
  }

  assignMac(target: Pointer, mac: MacAddress): void {
    writeMac(mac, this.#scratch);
    this.nl.nl_addr_set_binary_addr(target, this.#scratchAddress, MAC_BYTES);
  }

  /** Lends `use` a libnl address; the object that it is put into takes a reference of its own. */
  withAddress(address: IpAddress, use: (address: Pointer) => number): void {
    const pointer = this.newAddress(familyOf(address));
    this.assignAddress(pointer, address);
    const result = use(pointer);
    this.nl.nl_addr_put(pointer);
    if (result < 0) throw new Error(`libnl refuses ${address}: ${this.nl.nl_geterror(result)}`);
  }
}

const MAC_BYTES = 6;
