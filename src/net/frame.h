// SPDX-License-Identifier: Apache-2.0
// Ethernet frames from hostile hands: where their parts are, and Internet checksums (RFC 1071).
// Pure functions, any thread. Offsets are bytes from the start of the frame.
#ifndef STRATA_NET_FRAME_H
#define STRATA_NET_FRAME_H

#include "base/base.h"

enum {
	FRAME_ETH_BYTES = 14,
	/* The largest frame that any part carries: a 64 KiB IP packet. */
	FRAME_MAX = 65535 + FRAME_ETH_BYTES,
	FRAME_TYPE_IPV4 = 0x0800,
	FRAME_TYPE_ARP = 0x0806,
	FRAME_TYPE_IPV6 = 0x86dd,
};

struct frame {
	uint16_t ethertype;
	bool ip;	  /* a well-formed IPv4 or IPv6 header; what follows is valid only then */
	bool fragment;	  /* transport is then 0 */
	uint8_t protocol; /* IPv6: of the header right after the fixed one */
	unsigned addr_bytes; /* 4 or 16 */
	unsigned src, dst;   /* offsets of the addresses */
	unsigned transport; /* offset of the TCP or UDP header, all of whose fixed part is there; or
			       0 */
	unsigned transport_bytes; /* header and payload, as the IP header says */
};

/* False when it is shorter than an Ethernet header. VLAN tags are not looked through. */
bool frame_parse(const uint8_t *bytes, size_t len, struct frame *out);

/* One's-complement sum of bytes, added to `sum`; fold it with checksum_fold(). Parts of odd length
 * may only come last. The sum is in the byte order of memory: store it as it is. */
uint64_t checksum_add(uint64_t sum, const void *bytes, size_t len);
uint16_t checksum_fold(uint64_t sum); /* not complemented */

/* True when the TCP or UDP checksum is there and right (a UDP checksum of 0 is not there). */
bool frame_checksum_valid(const uint8_t *bytes, const struct frame *f);

/* Completes a checksum that was left to the device: the sum of [start, len), in which the field at
 * start + offset holds the pseudo header's, goes into that field. False when it lies outside. */
bool frame_checksum_complete(uint8_t *bytes, size_t len, unsigned start, unsigned offset);

#endif
