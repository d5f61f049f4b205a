// SPDX-License-Identifier: Apache-2.0
#include "tap.h"
#include "wire/agent_proto.h"

static uint8_t buf[AGENT_FRAME_MAX];

static void setup_survives_the_wire(void)
{
	const char *lower[] = {"virtiofs:root1", "virtiofs:root0"}, *dns[] = {"10.0.2.3"};
	const char *env[] = {"A=1", "B=", "C=x y"};
	struct agent_mount mounts[] = {
		{"virtiofs:share0", "/src", true}, {"block:upper", "/var/lib/x", false}};
	struct agent_network net = {"10.0.2.15", 24, "10.0.2.2", {dns, 1}};
	struct agent_message m = {AGENT_SETUP, .setup = {.hostname = "brave-heron",
						       .lower = {lower, 2},
						       .upper = "tmpfs:",
						       .mounts = {mounts, 2},
						       .networks = {&net, 1},
						       .env = {env, 3},
						       .clock_ns = 1234567890123456789}};
	struct error err _error_ = ERROR_INIT;
	ssize_t n = agent_encode(&m, buf, sizeof(buf), &err);
	REQUIRE(n > 0);
	CHECK_EQ(agent_frame_length(buf, (size_t)n, &err), n);

	struct arena arena = ARENA_INIT;
	struct agent_message d;
	CHECK_EQ(agent_decode(buf, (size_t)n, &arena, &d, &err), 0);
	CHECK_EQ(d.type, AGENT_SETUP);
	CHECK_STR(d.setup.hostname, "brave-heron");
	REQUIRE(d.setup.lower.len == 2 && d.setup.mounts.len == 2 && d.setup.networks.len == 1);
	CHECK_STR(d.setup.lower.items[1], "virtiofs:root0");
	CHECK_STR(d.setup.mounts.items[0].path, "/src");
	CHECK(d.setup.mounts.items[0].read_only);
	CHECK(!d.setup.mounts.items[1].read_only);
	CHECK_STR(d.setup.networks.items[0].dns.items[0], "10.0.2.3");
	CHECK_EQ(d.setup.networks.items[0].prefix, 24u);
	CHECK_EQ(d.setup.env.len, (size_t)3);
	CHECK_EQ(d.setup.clock_ns, (uint64_t)1234567890123456789);
	arena_done(&arena);
}

/* Cut anywhere, a frame is refused or its length is short of what was said; never read past. */
static void truncation_is_refused(void)
{
	const char *argv[] = {"sh", "-c", "true"};
	struct agent_message m = {AGENT_EXEC, .exec = {.argv = {argv, 3}, .cwd = "/"}};
	ssize_t n = agent_encode(&m, buf, sizeof(buf), NULL);
	REQUIRE(n > 0);
	for (size_t cut = 0; cut < (size_t)n; cut++) {
		uint8_t *copy = xmalloc(cut); /* so that the address sanitizer sees its end */
		memcpy(copy, buf, cut);
		struct arena arena = ARENA_INIT;
		struct agent_message d;
		CHECK_EQ(agent_decode(copy, cut, &arena, &d, NULL), -EPROTO);
		if (cut >= AGENT_FRAME_HEAD) {
			store_le32(copy, (uint32_t)cut - 4);
			agent_decode(copy, cut, &arena, &d, NULL); /* whatever: no overrun */
		}
		arena_done(&arena);
		free(copy);
	}
}

static void expect_refusal(const uint8_t *fields, size_t n, unsigned type, const char *words)
{
	uint8_t frame[64] = {0};
	store_le32(frame, (uint32_t)(n + 2));
	store_le16(frame + 4, (uint16_t)type);
	if (n)
		memcpy(frame + 6, fields, n);
	struct arena arena = ARENA_INIT;
	struct agent_message d;
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(agent_decode(frame, n + 6, &arena, &d, &err), -EPROTO);
	CHECK_CONTAINS(err.message, words);
	arena_done(&arena);
}

static void bad_fields_are_refused(void)
{
	static const uint8_t no_nul[] = {3, 0, 2, 0, 0, 0, 'a', 'b', 1, 0, 1, 0, 0, 0, 0};
	static const uint8_t inner_nul[] = {1, 0, 3, 0, 0, 0, 'a', 0, 0};
	static const uint8_t long_field[] = {1, 0, 255, 255, 255, 255, 0};
	static const uint8_t twice[] = {1, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 4, 0, 0, 0, 1, 0, 0, 0};
	static const uint8_t short_int[] = {1, 0, 2, 0, 0, 0, 1, 0};
	expect_refusal(no_nul, sizeof(no_nul), AGENT_EXEC, "field 3");
	expect_refusal(inner_nul, sizeof(inner_nul), AGENT_EXEC, "field 1");
	expect_refusal(long_field, sizeof(long_field), AGENT_HELLO, "past the end");
	expect_refusal(twice, sizeof(twice), AGENT_HELLO, "twice");
	expect_refusal(short_int, sizeof(short_int), AGENT_HELLO, "bad value");
	expect_refusal(NULL, 0, AGENT_EXEC, "missing");
	expect_refusal(NULL, 0, 999, "unknown message type 999");
}

static void unknown_fields_are_skipped(void)
{
	static const uint8_t frame[] = {24, 0, 0, 0, AGENT_HELLO, 0, 99, 0, 6, 0, 0, 0, 1, 2, 3, 4,
		5, 6, 1, 0, 4, 0, 0, 0, 7, 0, 0, 0};
	struct arena arena = ARENA_INIT;
	struct agent_message d;
	CHECK_EQ(agent_decode(frame, sizeof(frame), &arena, &d, NULL), 0);
	CHECK_EQ(d.hello.version, 7u);
	arena_done(&arena);
}

static void sizes_are_limited(void)
{
	static const uint8_t huge[4] = {0, 0, 4, 0}, tiny[4] = {1, 0, 0, 0};
	CHECK_EQ(agent_frame_length(huge, 4, NULL), -EPROTO);
	CHECK_EQ(agent_frame_length(tiny, 4, NULL), -EPROTO);
	CHECK_EQ(agent_frame_length(huge, 3, NULL), 0);

	char *big _free_ = xmalloc(AGENT_FRAME_MAX);
	memset(big, 'x', AGENT_FRAME_MAX - 1);
	big[AGENT_FRAME_MAX - 1] = 0;
	const char *argv[] = {big};
	struct agent_message m = {AGENT_EXEC, .exec = {.argv = {argv, 1}}};
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(agent_encode(&m, buf, sizeof(buf), &err), -EMSGSIZE);
	m = (struct agent_message){AGENT_PING, .ping = {1}};
	CHECK_EQ(agent_encode(&m, buf, 8, &err), -EMSGSIZE);
}

int main(void)
{
	RUN(setup_survives_the_wire);
	RUN(truncation_is_refused);
	RUN(bad_fields_are_refused);
	RUN(unknown_fields_are_skipped);
	RUN(sizes_are_limited);
	return tap_done();
}
