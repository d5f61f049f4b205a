// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>

#include "net/publish.h"
#include "tap.h"

static void full_form_round_trips(void)
{
	static const char *const texts[] = {
		"0.0.0.0:8080:80/tcp", "127.0.0.1:1:65535/udp", "255.255.255.255:65535:65535/tcp"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct slirp_publish p;
		char text[SLIRP_PUBLISH_TEXT_MAX];
		CHECK_EQ(slirp_publish_parse(texts[i], &p, NULL), 0);
		slirp_publish_format(&p, text);
		CHECK_STR(text, texts[i]);
	}
}

static void short_forms(void)
{
	struct slirp_publish p;
	REQUIRE(slirp_publish_parse("8080:80", &p, NULL) == 0);
	CHECK_EQ(p.udp, false);
	CHECK_EQ(p.host_addr.s_addr, INADDR_ANY);
	CHECK_EQ(p.host_port, 8080);
	CHECK_EQ(p.guest_port, 80);
	REQUIRE(slirp_publish_parse("127.0.0.1:53:5353/udp", &p, NULL) == 0);
	CHECK_EQ(p.udp, true);
	CHECK_EQ(ntohl(p.host_addr.s_addr), INADDR_LOOPBACK);
	CHECK_EQ(p.host_port, 53);
	CHECK_EQ(p.guest_port, 5353);
}

static void all_else_is_refused(void)
{
	static const char *const texts[] = {"", ":", "::", "80", "80:", ":80", "0:80", "80:0",
		"65536:80", "80:65536", "080:80", "+80:80", "-1:80", " 80:80", "80:80 ", "80:80/",
		"80:80/sctp", "80:80/TCP", "80:80/tcp/udp", "a:80", "80:80:80", "1.2.3:80:80",
		"1.2.3.4.5:80:80", ":80:80", "localhost:80:80", "[::1]:80:80", "1.2.3.4:80",
		"0x50:80", "80:80\n", "99999999999999999999:80", "1.2.3.4:1:2:3"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct error err _error_ = ERROR_INIT;
		struct slirp_publish p = {.host_port = 7};
		CHECK_EQ(slirp_publish_parse(texts[i], &p, &err), -EINVAL);
		CHECK_CONTAINS(err.message, texts[i]);
		CHECK_CONTAINS(err.remedy, "[ADDR:]HOST:GUEST");
		CHECK_EQ(p.host_port, 7);
	}
}

int main(void)
{
	RUN(full_form_round_trips);
	RUN(short_forms);
	RUN(all_else_is_refused);
	return tap_done();
}
