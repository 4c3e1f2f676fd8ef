/** libnftables: the compiler and the transactions behind `nft`, as a library. See libnftables(3). */

import { CString, dlopen, FFIType, type Library, type Pointer } from "bun:ffi";

/** Opens libnftables; throws an Error with the linker's message where there is none. */
export function openLibnftables(): Library<typeof SYMBOLS> {
  return dlopen(LIBNFTABLES_SONAME, SYMBOLS);
}

export type Libnftables = ReturnType<typeof openLibnftables>;

export const LIBNFTABLES_SONAME = "libnftables.so.1";

// nftables/libnftables.h
export const NFT_CTX_DEFAULT = 0;
export const NFT_CTX_OUTPUT_HANDLE = 1 << 3;
export const NFT_CTX_OUTPUT_JSON = 1 << 4;
export const NFT_CTX_OUTPUT_NUMERIC_PRIO = 1 << 8;

/** Copies a string that the context owns; valid until its next command. */
export function copyString(pointer: Pointer | null): string {
  return pointer === null ? "" : new CString(pointer).toString();
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
