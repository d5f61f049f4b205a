// SPDX-License-Identifier: Apache-2.0
// Frames, checksums, and what the filter before libslirp does with them.
#include <arpa/inet.h>

#include "net/frame.h"
#include "net/resolv.h"
#include "net/slirp_filter.h"
#include "tap.h"

enum { TCP = 6, UDP = 17 };

/* The definition of RFC 1071, byte by byte. */
static uint16_t reference_sum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint16_t reference_transport_sum(const uint8_t *frame, unsigned addr, unsigned addr_bytes,
	unsigned at, unsigned len, uint8_t protocol)
{
	uint32_t sum = reference_sum(frame + addr, 2 * addr_bytes, protocol + len);
	return reference_sum(frame + at, len, sum);
}

struct packet {
	uint8_t bytes[2048];
	size_t len;
	unsigned transport;
};

static void make_ipv4(struct packet *p, uint8_t protocol, const char *src, uint16_t sport,
	const char *dst, uint16_t dport, unsigned payload)
{
	unsigned header = protocol == TCP ? 20 : 8, total = 20 + header + payload;
	memset(p, 0, sizeof(*p));
	uint8_t *ip = p->bytes + 14, *t = ip + 20;
	store_be16(p->bytes + 12, FRAME_TYPE_IPV4);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)total);
	ip[8] = 64;
	ip[9] = protocol;
	inet_pton(AF_INET, src, ip + 12);
	inet_pton(AF_INET, dst, ip + 16);
	store_be16(ip + 10, (uint16_t)~reference_sum(ip, 20, 0));
	store_be16(t, sport);
	store_be16(t + 2, dport);
	if (protocol == TCP)
		t[12] = 0x50;
	else
		store_be16(t + 4, (uint16_t)(8 + payload));
	for (unsigned i = 0; i < payload; i++)
		t[header + i] = (uint8_t)(i * 7 + 1);
	unsigned field = protocol == TCP ? 16 : 6;
	store_be16(t + field, (uint16_t)~reference_transport_sum(
				      p->bytes, 26, 4, 34, header + payload, protocol));
	p->len = 14 + total;
	p->transport = 34;
}

static bool sums_right(const struct packet *p, uint8_t protocol)
{
	return reference_sum(p->bytes + 14, 20, 0) == 0xffff &&
	       reference_transport_sum(p->bytes, 26, 4, 34, (unsigned)p->len - 34, protocol) ==
		       0xffff;
}

static void checksum_is_rfc1071(void)
{
	uint8_t bytes[300];
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 + 200);
	for (unsigned len = 0; len < sizeof(bytes); len++) {
		uint16_t got = checksum_fold(checksum_add(0, bytes, len)), want;
		store_be16(&want, reference_sum(bytes, len, 0));
		if (got != want) {
			CHECK_EQ(len, ~0U);
			break;
		}
	}
}

static void validity_of_checksums(void)
{
	struct packet p;
	struct frame f;
	for (unsigned payload = 0; payload < 9; payload++) {
		make_ipv4(&p, payload % 2 ? TCP : UDP, "10.0.2.15", 1000, "10.0.2.2", 80, payload);
		REQUIRE(frame_parse(p.bytes, p.len, &f));
		CHECK_EQ(f.transport, 34);
		CHECK(frame_checksum_valid(p.bytes, &f));
		p.bytes[p.len - 1] ^= 1;
		CHECK(!frame_checksum_valid(p.bytes, &f));
	}
	/* UDP without a checksum is not "valid": nothing was checked. */
	make_ipv4(&p, UDP, "10.0.2.15", 1000, "10.0.2.2", 80, 4);
	store_be16(p.bytes + 40, 0);
	REQUIRE(frame_parse(p.bytes, p.len, &f));
	CHECK(!frame_checksum_valid(p.bytes, &f));
}

static void completes_a_partial_checksum(void)
{
	struct packet p;
	for (unsigned payload = 0; payload < 5; payload++) {
		make_ipv4(&p, UDP, "10.0.2.15", 1000, "10.0.2.2", 80, payload);
		uint8_t want[2];
		memcpy(want, p.bytes + 40, 2);
		/* What a driver leaves: the sum of the pseudo header, not complemented. */
		store_be16(p.bytes + 40, reference_sum(p.bytes + 26, 8, UDP + 8 + payload));
		CHECK(frame_checksum_complete(p.bytes, p.len, 34, 6));
		CHECK(!memcmp(want, p.bytes + 40, 2));
	}
	uint8_t before[sizeof(p.bytes)];
	memcpy(before, p.bytes, sizeof(before));
	CHECK(!frame_checksum_complete(p.bytes, p.len, (unsigned)p.len - 1, 0));
	CHECK(!frame_checksum_complete(p.bytes, p.len, (unsigned)p.len + 1, 0));
	CHECK(!frame_checksum_complete(p.bytes, p.len, 65535, 65535));
	CHECK(!frame_checksum_complete(p.bytes, p.len, 34, (unsigned)p.len));
	CHECK(!frame_checksum_complete(p.bytes, 0, 0, 0));
	CHECK(!memcmp(before, p.bytes, sizeof(before)));
}

static void parser_stays_inside(void)
{
	struct packet p;
	struct frame f;
	make_ipv4(&p, TCP, "10.0.2.15", 1000, "10.0.2.2", 80, 10);
	for (size_t len = 0; len < p.len; len++) {
		bool ok = frame_parse(p.bytes, len, &f);
		CHECK_EQ(ok, len >= 14);
		CHECK(!ok || !f.ip);
	}
	for (unsigned i = 0; i < 16; i++) { /* each header length against the packet's */
		p.bytes[14] = (uint8_t)(0x40 | i);
		REQUIRE(frame_parse(p.bytes, p.len, &f));
		CHECK(!f.transport || f.transport + 20 <= p.len);
	}
	make_ipv4(&p, TCP, "10.0.2.15", 1000, "10.0.2.2", 80, 10);
	store_be16(p.bytes + 20, 0x2000); /* more fragments */
	REQUIRE(frame_parse(p.bytes, p.len, &f));
	CHECK(f.ip && f.fragment && !f.transport);
}

static void filter_drops_the_hosts_loopback(void)
{
	static const struct {
		const char *dst;
		bool pass;
	} v4[] = {{"127.0.0.1", false}, {"127.255.0.9", false}, {"0.0.0.0", false},
		{"0.1.2.3", false}, {"10.0.2.2", true}, {"128.0.0.1", true}, {"1.0.0.127", true},
		{"255.255.255.255", true}};
	static const struct {
		const char *dst;
		bool pass;
	} v6[] = {{"::1", false}, {"::", false}, {"::ffff:127.0.0.1", false},
		{"::ffff:8.8.8.8", false}, {"fd00::2", true}, {"::2", true}, {"ff02::1", true}};
	static struct slirp_filter filter;
	struct packet p;
	for (size_t i = 0; i < ARRAY_SIZE(v4); i++) {
		make_ipv4(&p, TCP, "10.0.2.15", 1000, v4[i].dst, 80, 10);
		if (slirp_filter_from_guest(&filter, p.bytes, p.len) != v4[i].pass)
			CHECK_STR(v4[i].dst, v4[i].pass ? "passes" : "is dropped");
	}
	for (size_t i = 0; i < ARRAY_SIZE(v6); i++) {
		memset(&p, 0, sizeof(p));
		store_be16(p.bytes + 12, FRAME_TYPE_IPV6);
		p.bytes[14] = 0x60;
		inet_pton(AF_INET6, v6[i].dst, p.bytes + 14 + 24);
		if (slirp_filter_from_guest(&filter, p.bytes, 54) != v6[i].pass)
			CHECK_STR(v6[i].dst, v6[i].pass ? "passes" : "is dropped");
	}
	memset(&p, 0, sizeof(p));
	store_be16(p.bytes + 12, FRAME_TYPE_ARP);
	CHECK(slirp_filter_from_guest(&filter, p.bytes, 42));
	store_be16(p.bytes + 12, 0x88f8); /* NC-SI, which libslirp would answer */
	CHECK(!slirp_filter_from_guest(&filter, p.bytes, 60));
}

static void name_server_hides_behind_its_alias(void)
{
	static struct slirp_filter filter;
	inet_pton(AF_INET, "10.0.2.3", &filter.dns_alias);
	inet_pton(AF_INET, "192.0.2.200", &filter.dns_server);
	for (unsigned i = 0; i < 40; i++) {
		struct packet p, want;
		uint8_t protocol = i % 2 ? TCP : UDP;
		uint16_t port = (uint16_t)(40000 + i);
		make_ipv4(&p, protocol, "10.0.2.15", port, "10.0.2.3", 53, i);
		make_ipv4(&want, protocol, "10.0.2.15", port, "192.0.2.200", 53, i);
		CHECK(slirp_filter_from_guest(&filter, p.bytes, p.len));
		CHECK(sums_right(&p, protocol));
		CHECK(!memcmp(p.bytes, want.bytes, 34));
		make_ipv4(&p, protocol, "192.0.2.200", 53, "10.0.2.15", port, i);
		make_ipv4(&want, protocol, "10.0.2.3", 53, "10.0.2.15", port, i);
		slirp_filter_to_guest(&filter, p.bytes, p.len);
		CHECK(sums_right(&p, protocol));
		CHECK(!memcmp(p.bytes, want.bytes, 34));
		/* One that asks the server by its own address gets the answer from there. */
		make_ipv4(&p, protocol, "10.0.2.15", port, "192.0.2.200", 53, i);
		CHECK(slirp_filter_from_guest(&filter, p.bytes, p.len));
		make_ipv4(&p, protocol, "192.0.2.200", 53, "10.0.2.15", port, i);
		want = p;
		slirp_filter_to_guest(&filter, p.bytes, p.len);
		CHECK(!memcmp(&p, &want, sizeof(p)));
	}
	/* Other ports of the alias are not the server's. */
	struct packet p, want;
	make_ipv4(&p, TCP, "10.0.2.15", 999, "10.0.2.3", 80, 5);
	want = p;
	CHECK(slirp_filter_from_guest(&filter, p.bytes, p.len));
	CHECK(!memcmp(&p, &want, sizeof(p)));
}

static void check_resolv(const char *text, const char *want)
{
	struct in_addr a = {0};
	char got[INET_ADDRSTRLEN] = "none";
	if (resolv_conf_server(text, strlen(text), &a))
		inet_ntop(AF_INET, &a, got, sizeof(got));
	CHECK_STR(got, want);
}

static void resolv_conf(void)
{
	check_resolv("", "none");
	check_resolv("nameserver", "none");
	check_resolv("nameserver ", "none");
	check_resolv("nameserver 192.0.2.1", "192.0.2.1");
	check_resolv("# nameserver 192.0.2.9\nsearch x\nnameserver\t 192.0.2.1 # b\n", "192.0.2.1");
	check_resolv("nameserver fe80::1%eth0\r\nnameserver 192.0.2.1\r\n", "192.0.2.1");
	check_resolv("nameserver 127.0.0.53\nnameserver 192.0.2.1\n", "127.0.0.53");
	check_resolv("nameserver 0.0.0.0\n", "127.0.0.1");
	check_resolv("nameservers 192.0.2.1\n nameserver 192.0.2.2\n", "none");
	check_resolv("nameserver 192.0.2.1111111111111111111111\n", "none");
}

int main(void)
{
	RUN(checksum_is_rfc1071);
	RUN(validity_of_checksums);
	RUN(completes_a_partial_checksum);
	RUN(parser_stays_inside);
	RUN(filter_drops_the_hosts_loopback);
	RUN(name_server_hides_behind_its_alias);
	RUN(resolv_conf);
	return tap_done();
}
