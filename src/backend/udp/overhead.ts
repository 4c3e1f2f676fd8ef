/** What the udp backend wraps around an IPv4 packet, by either data path. */

/** An IPv4 header without options (RFC 791) and a UDP header (RFC 768). */
export const UDP_OVERHEAD_BYTES = 20 + 8;
