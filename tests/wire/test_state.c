// SPDX-License-Identifier: Apache-2.0
#include "tap.h"

#include "wire/state.h"

struct thing {
	uint8_t a;
	uint64_t b;
	bool on;
	uint8_t raw[5];
	uint64_t regs[3];
	void *blob;
	size_t blob_len;
	uint16_t inner;
};

static void thing_state(struct thing *t, struct state *s)
{
	if (state_begin(s, "thing", 2)) {
		state_u8(s, "a", &t->a);
		state_u64(s, "b", &t->b);
		state_bool(s, "on", &t->on);
		state_bytes(s, "raw", t->raw, sizeof(t->raw));
		state_u64s(s, "regs", t->regs, 3);
		state_blob(s, "blob", &t->blob, &t->blob_len, 100);
		if (state_begin(s, "inner", 1))
			state_u16(s, "x", &t->inner);
		state_end(s);
	}
	state_end(s);
}

static const struct thing sample = {
	7, UINT64_C(1) << 63, true, "abcd", {1, 2, 3}, (void *)"blob", 4, 999};

static void save(struct strbuf *out)
{
	struct state *s = state_new_save(out);
	struct thing t = sample;
	thing_state(&t, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
}

static int restore(struct thing *t, const void *p, size_t n, struct error *err)
{
	struct state *s = state_new_restore(p, n);
	thing_state(t, s);
	int r = state_finish(s, err);
	state_free(s);
	return r;
}

static void round_trip(void)
{
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	save(&sb);
	struct thing t = {0};
	CHECK_EQ(restore(&t, sb.data, sb.len, NULL), 0);
	CHECK_EQ(t.a, 7);
	CHECK_EQ(t.b, sample.b);
	CHECK(t.on);
	CHECK_EQ(memcmp(t.raw, sample.raw, 5), 0);
	CHECK_EQ(t.regs[2], 3u);
	CHECK(t.blob_len == 4 && !memcmp(t.blob, "blob", 4));
	CHECK_EQ(t.inner, 999);
	free(t.blob);
}

static void every_truncation_and_flip_is_refused_or_harmless(void)
{
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	save(&sb);
	for (size_t n = 0; n < sb.len; n++) {
		struct thing t = {0};
		char *exact _free_ = memcpy(xmalloc(n), sb.data, n);
		CHECK(restore(&t, exact, n, NULL) < 0);
		free(t.blob);
	}
	for (size_t i = 0; i < sb.len * 8; i++) {
		struct thing t = {0};
		sb.data[i / 8] ^= (char)(1 << (i % 8));
		restore(&t, sb.data, sb.len, NULL);
		free(t.blob);
		sb.data[i / 8] ^= (char)(1 << (i % 8));
	}
}

static void newer_versions_are_named(void)
{
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	state_begin(s, "thing", 3);
	state_end(s);
	state_free(s);
	struct thing t = {0};
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(restore(&t, sb.data, sb.len, &err), -EBADMSG);
	CHECK_CONTAINS(err.message, "record 'thing' has version 3, this program reads up to 2");
}

int main(void)
{
	RUN(round_trip);
	RUN(every_truncation_and_flip_is_refused_or_harmless);
	RUN(newer_versions_are_named);
	return tap_done();
}
