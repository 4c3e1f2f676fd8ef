/** libnftables(3): `nft` as a library. */

import { CString, FFIType, type Library, type Pointer } from "bun:ffi";
import { libc } from "./libc.ts";
import { once, openLibrary } from "./library.ts";
import { AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW } from "./linux.ts";

export type Libnftables = Library<typeof SYMBOLS>;

// nftables/libnftables.h
export const NFT_CTX_DEFAULT = 0;
export const NFT_CTX_OUTPUT_JSON = 1 << 4;

const NETLINK_NETFILTER = 12; // linux/netlink.h

/** Opened once. Throws an `Error` if the library is missing, or nftables in the kernel. */
export const openLibnftables: () => Libnftables = once(() => {
  // nft_ctx_new ends the process if the kernel has no nfnetlink, so that is checked first.
  const socket = libc().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (socket < 0) throw new Error("the kernel has no nfnetlink (CONFIG_NETFILTER_NETLINK)");
  libc().close(socket);
  return openLibrary({ sonames: ["libnftables.so.1"], debianPackage: "libnftables1" }, SYMBOLS);
});

/** Copies a string of the context, which is valid only until its next command. */
export function readString(pointer: bigint | Pointer | null): string {
  return pointer === null ? "" : new CString(Number(pointer) as Pointer).toString();
}

const SYMBOLS = {
  // struct nft_ctx *nft_ctx_new(uint32_t flags);
  nft_ctx_new: { args: [FFIType.u32], returns: FFIType.ptr },
  // void nft_ctx_free(struct nft_ctx *ctx);
  nft_ctx_free: { args: [FFIType.ptr], returns: FFIType.void },
  // void nft_ctx_output_set_flags(struct nft_ctx *ctx, unsigned int flags);
  nft_ctx_output_set_flags: { args: [FFIType.ptr, FFIType.u32], returns: FFIType.void },
  // int nft_ctx_buffer_output(struct nft_ctx *ctx);
  nft_ctx_buffer_output: { args: [FFIType.ptr], returns: FFIType.i32 },
  // const char *nft_ctx_get_output_buffer(struct nft_ctx *ctx);
  nft_ctx_get_output_buffer: { args: [FFIType.ptr], returns: FFIType.ptr },
  // int nft_ctx_buffer_error(struct nft_ctx *ctx);
  nft_ctx_buffer_error: { args: [FFIType.ptr], returns: FFIType.i32 },
  // const char *nft_ctx_get_error_buffer(struct nft_ctx *ctx);
  nft_ctx_get_error_buffer: { args: [FFIType.ptr], returns: FFIType.ptr },
  // int nft_run_cmd_from_buffer(struct nft_ctx *nft, const char *buf);
  nft_run_cmd_from_buffer: { args: [FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
} as const;
