// SPDX-License-Identifier: Apache-2.0
#include "net/frame.h"

enum {
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	TCP_BYTES = 20,
	UDP_BYTES = 8,
	IPV4_BYTES = 20,
	IPV6_BYTES = 40
};

static bool parse_ipv4(const uint8_t *bytes, size_t len, struct frame *f)
{
	const uint8_t *ip = bytes + FRAME_ETH_BYTES;
	size_t left = len - FRAME_ETH_BYTES;
	if (left < IPV4_BYTES || ip[0] >> 4 != 4)
		return false;
	unsigned header = (ip[0] & 15u) * 4, total = load_be16(ip + 2);
	if (header < IPV4_BYTES || total < header || total > left)
		return false;
	f->protocol = ip[9];
	f->addr_bytes = 4;
	f->src = FRAME_ETH_BYTES + 12;
	f->dst = FRAME_ETH_BYTES + 16;
	f->fragment = load_be16(ip + 6) & 0x3fff; /* MF and the offset */
	f->transport = FRAME_ETH_BYTES + header;
	f->transport_bytes = total - header;
	return true;
}

static bool parse_ipv6(const uint8_t *bytes, size_t len, struct frame *f)
{
	const uint8_t *ip = bytes + FRAME_ETH_BYTES;
	size_t left = len - FRAME_ETH_BYTES;
	if (left < IPV6_BYTES || ip[0] >> 4 != 6 || load_be16(ip + 4) > left - IPV6_BYTES)
		return false;
	f->protocol = ip[6];
	f->addr_bytes = 16;
	f->src = FRAME_ETH_BYTES + 8;
	f->dst = FRAME_ETH_BYTES + 24;
	f->transport = FRAME_ETH_BYTES + IPV6_BYTES;
	f->transport_bytes = load_be16(ip + 4);
	return true;
}

bool frame_parse(const uint8_t *bytes, size_t len, struct frame *out)
{
	struct frame f = {0};
	if (len < FRAME_ETH_BYTES)
		return false;
	f.ethertype = load_be16(bytes + 12);
	if (f.ethertype == FRAME_TYPE_IPV4)
		f.ip = parse_ipv4(bytes, len, &f);
	else if (f.ethertype == FRAME_TYPE_IPV6)
		f.ip = parse_ipv6(bytes, len, &f);
	unsigned need = f.protocol == PROTO_TCP	  ? TCP_BYTES
			: f.protocol == PROTO_UDP ? UDP_BYTES
						  : UINT16_MAX + 1;
	if (!f.ip || f.fragment || f.transport_bytes < need)
		f.transport = 0;
	*out = f;
	return true;
}

uint64_t checksum_add(uint64_t sum, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t wide = 0; /* 32-bit words: cannot overflow for the lengths there are */
	for (; len >= 4; p += 4, len -= 4) {
		uint32_t v;
		memcpy(&v, p, sizeof(v));
		wide += v;
	}
	sum += (wide & UINT32_MAX) + (wide >> 32);
	if (len) {
		uint8_t tail[4] = {0};
		uint32_t v;
		memcpy(tail, p, len);
		memcpy(&v, tail, sizeof(v));
		sum += v;
	}
	return sum;
}

uint16_t checksum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

bool frame_checksum_valid(const uint8_t *bytes, const struct frame *f)
{
	if (!f->transport)
		return false;
	const uint8_t *t = bytes + f->transport;
	if (f->protocol == PROTO_UDP && !load_be16(t + 6))
		return false;
	uint8_t pseudo[4] = {
		0, f->protocol, (uint8_t)(f->transport_bytes >> 8), (uint8_t)f->transport_bytes};
	uint64_t sum = checksum_add(0, pseudo, sizeof(pseudo));
	sum = checksum_add(sum, bytes + f->src, 2 * f->addr_bytes);
	return checksum_fold(checksum_add(sum, t, f->transport_bytes)) == 0xffff;
}

bool frame_checksum_complete(uint8_t *bytes, size_t len, unsigned start, unsigned offset)
{
	uint64_t field = (uint64_t)start + offset;
	if (start > len || !range_fits(field, 2, len))
		return false;
	uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, bytes + start, len - start));
	if (!sum)
		sum = 0xffff; /* the same number; in UDP a plain 0 would mean "none" */
	memcpy(bytes + field, &sum, sizeof(sum));
	return true;
}
