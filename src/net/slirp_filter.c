// SPDX-License-Identifier: Apache-2.0
#include "net/slirp_filter.h"

#include "net/frame.h"

enum { DNS_PORT = 53, IPV4_CHECKSUM = FRAME_ETH_BYTES + 10 };

/* Addresses that mean "this host" to connect() and sendto(): 0/8 and 127/8, ::, ::1 and the
 * IPv4-mapped ones. No such packet may be on a wire (RFC 1122 3.2.1.3, RFC 4291 2.5). */
static bool is_host_itself(const uint8_t *addr, unsigned bytes)
{
	static const uint8_t zero[15], mapped[12] = {[10] = 0xff, [11] = 0xff};
	if (bytes == 4)
		return addr[0] == 0 || addr[0] == 127;
	return (!memcmp(addr, zero, 15) && addr[15] <= 1) || !memcmp(addr, mapped, sizeof(mapped));
}

/* RFC 1624, equation 3: a field that sums to `old` now sums to `new`. */
static void mend_checksum(uint8_t *field, uint64_t old, uint64_t new)
{
	uint16_t sum;
	memcpy(&sum, field, sizeof(sum));
	uint64_t s = (uint16_t)~sum;
	s += (uint16_t)~checksum_fold(old);
	s += new;
	sum = (uint16_t)~checksum_fold(s);
	memcpy(field, &sum, sizeof(sum));
}

static void replace_address(uint8_t *bytes, const struct frame *f, unsigned at, struct in_addr addr)
{
	uint64_t old = checksum_add(0, bytes + at, 4), new = checksum_add(0, &addr, 4);
	uint8_t *transport_sum = bytes + f->transport + (f->protocol == IPPROTO_TCP ? 16 : 6);
	mend_checksum(bytes + IPV4_CHECKSUM, old, new);
	if (f->protocol == IPPROTO_TCP || load_be16(transport_sum)) {
		mend_checksum(transport_sum, old, new);
		if (f->protocol == IPPROTO_UDP && !load_be16(transport_sum))
			store_be16(transport_sum, 0xffff);
	}
	memcpy(bytes + at, &addr, 4);
}

static uint8_t *port_byte(struct slirp_filter *f, const struct frame *frame, uint16_t port)
{
	return (frame->protocol == IPPROTO_TCP ? f->tcp_ports : f->udp_ports) + port / 8;
}

bool slirp_filter_from_guest(struct slirp_filter *f, uint8_t *bytes, size_t len)
{
	struct frame frame;
	if (!frame_parse(bytes, len, &frame))
		return false;
	if (frame.ethertype == FRAME_TYPE_ARP)
		return true;
	if (!frame.ip || is_host_itself(bytes + frame.dst, frame.addr_bytes))
		return false;
	if (!f->dns_server.s_addr || frame.addr_bytes != 4 || !frame.transport ||
		load_be16(bytes + frame.transport + 2) != DNS_PORT)
		return true;
	uint16_t port = load_be16(bytes + frame.transport);
	uint8_t *known = port_byte(f, &frame, port), bit = (uint8_t)(1u << (port % 8));
	if (!memcmp(bytes + frame.dst, &f->dns_alias, 4)) {
		*known |= bit;
		replace_address(bytes, &frame, frame.dst, f->dns_server);
	} else if (!memcmp(bytes + frame.dst, &f->dns_server, 4)) {
		*known &= (uint8_t)~bit;
	}
	return true;
}

bool slirp_filter_opens(const uint8_t *bytes, size_t len)
{
	enum { TCP_FLAGS = 13, TCP_SYN = 2, TCP_ACK = 16 };
	struct frame f;
	return frame_parse(bytes, len, &f) && f.transport && f.protocol == IPPROTO_TCP &&
	       (bytes[f.transport + TCP_FLAGS] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

void slirp_filter_to_guest(struct slirp_filter *f, uint8_t *bytes, size_t len)
{
	struct frame frame;
	if (!f->dns_server.s_addr || !frame_parse(bytes, len, &frame) || frame.addr_bytes != 4 ||
		!frame.transport || load_be16(bytes + frame.transport) != DNS_PORT ||
		memcmp(bytes + frame.src, &f->dns_server, 4) != 0)
		return;
	uint16_t port = load_be16(bytes + frame.transport + 2);
	if (*port_byte(f, &frame, port) & (1u << (port % 8)))
		replace_address(bytes, &frame, frame.src, f->dns_alias);
}
