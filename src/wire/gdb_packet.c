// SPDX-License-Identifier: Apache-2.0
#include "wire/gdb_packet.h"

#include <limits.h>

enum { ESCAPE = 0x7d, ESCAPE_XOR = 0x20, INTERRUPT = 3 };

/* -1: no hexadecimal digit. */
static int digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* --- frames --- */

static void begin(struct gdb_reader *r)
{
	r->state = GDB_INSIDE;
	r->sum = 0;
	r->len = 0;
	r->too_long = r->bad_digit = false;
}

static enum gdb_input outside(struct gdb_reader *r, uint8_t byte)
{
	switch (byte) {
	case '$':
		begin(r);
		return GDB_MORE;
	case '+':
		return GDB_ACK;
	case '-':
		return GDB_NACK;
	case INTERRUPT:
		return GDB_INTERRUPT;
	default:
		return GDB_MORE;
	}
}

static void store(struct gdb_reader *r, uint8_t byte)
{
	if (r->len < GDB_PACKET_MAX)
		r->data[r->len++] = byte;
	else
		r->too_long = true;
}

static void inside(struct gdb_reader *r, uint8_t byte)
{
	if (byte == '#') {
		r->state = GDB_SUM_HIGH;
		return;
	}
	if (byte == '$') { /* the one before was cut short */
		begin(r);
		return;
	}
	r->sum = (uint8_t)(r->sum + byte);
	if (r->state == GDB_INSIDE && byte == ESCAPE) {
		r->state = GDB_ESCAPED;
		return;
	}
	store(r, r->state == GDB_ESCAPED ? byte ^ ESCAPE_XOR : byte);
	r->state = GDB_INSIDE;
}

enum gdb_input gdb_reader_take(struct gdb_reader *r, uint8_t byte)
{
	int value = digit(byte);
	switch (r->state) {
	case GDB_OUTSIDE:
		return outside(r, byte);
	case GDB_INSIDE:
	case GDB_ESCAPED:
		inside(r, byte);
		return GDB_MORE;
	case GDB_SUM_HIGH:
		r->bad_digit = value < 0;
		r->sum_high = (uint8_t)value;
		r->state = GDB_SUM_LOW;
		return GDB_MORE;
	case GDB_SUM_LOW:
		break;
	}
	r->state = GDB_OUTSIDE;
	if (value < 0 || r->bad_digit || (r->sum_high << 4 | value) != r->sum)
		return GDB_BAD;
	if (r->too_long)
		r->len = 0;
	r->data[r->len] = 0;
	return GDB_PACKET;
}

void gdb_frame(struct strbuf *out, const void *payload, size_t len)
{
	const uint8_t *bytes = payload;
	uint8_t sum = 0;
	strbuf_addc(out, '$');
	for (size_t i = 0; i < len; i++) {
		uint8_t b = bytes[i];
		/* * begins a run length, in answers alone. */
		if (b == '$' || b == '#' || b == ESCAPE || b == '*') {
			strbuf_addc(out, (char)ESCAPE);
			sum = (uint8_t)(sum + ESCAPE);
			b ^= ESCAPE_XOR;
		}
		strbuf_addc(out, (char)b);
		sum = (uint8_t)(sum + b);
	}
	strbuf_addf(out, "#%02x", sum);
}

void gdb_add_hex(struct strbuf *out, const void *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = bytes;
	strbuf_reserve(out, 2 * len);
	for (size_t i = 0; i < len; i++) {
		strbuf_addc(out, digits[p[i] >> 4]);
		strbuf_addc(out, digits[p[i] & 15]);
	}
}

/* --- reading a packet from its beginning; `at` never passes the NUL at its end --- */

struct text {
	uint8_t *at, *end;
};

static bool take(struct text *t, char c)
{
	if (t->at == t->end || *t->at != (uint8_t)c)
		return false;
	t->at++;
	return true;
}

static bool take_word(struct text *t, const char *word)
{
	size_t n = strlen(word);
	if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n))
		return false;
	t->at += n;
	return true;
}

static bool at_end(const struct text *t)
{
	return t->at == t->end;
}

static bool take_number(struct text *t, uint64_t *out)
{
	uint64_t v = 0;
	unsigned digits = 0;
	for (int d; t->at < t->end && (d = digit(*t->at)) >= 0; t->at++) {
		if (v >> 60)
			return false;
		v = v << 4 | (unsigned)d;
		digits++;
	}
	*out = v;
	return digits;
}

/* A thread: -1, 0 or an id. Other processes than the one there is have no names here. */
static bool take_thread(struct text *t, int *out)
{
	uint64_t id;
	bool all = take(t, '-');
	if (!take_number(t, &id) || id > INT_MAX || (all && id != 1))
		return false;
	*out = all ? GDB_THREAD_ALL : (int)id;
	return true;
}

static bool take_range(struct text *t, struct gdb_command *c)
{
	return take_number(t, &c->addr) && take(t, ',') && take_number(t, &c->length);
}

/* The rest is hexadecimal: bytes. */
static bool take_hex(struct text *t, struct gdb_command *c)
{
	size_t digits = (size_t)(t->end - t->at);
	uint8_t *to = t->at;
	c->data = t->at;
	for (; t->end - t->at >= 2; t->at += 2) {
		int high = digit(t->at[0]), low = digit(t->at[1]);
		if (high < 0 || low < 0)
			return false;
		*to++ = (uint8_t)(high << 4 | low);
	}
	c->data_len = (size_t)(to - c->data);
	if (digits)
		*to = 0;
	return !(digits % 2);
}

/* --- the packets; each returns false when it is malformed --- */

static bool read_register(struct text *t, struct gdb_command *c)
{
	uint64_t n;
	if (!take_number(t, &n) || n > UINT_MAX)
		return false;
	c->number = (unsigned)n;
	return c->kind == GDB_WRITE_REGISTER ? take(t, '=') && take_hex(t, c) : at_end(t);
}

static bool read_memory(struct text *t, struct gdb_command *c)
{
	return take_range(t, c) && at_end(t);
}

static bool write_memory(struct text *t, struct gdb_command *c)
{
	if (!take_range(t, c) || !take(t, ':'))
		return false;
	if (c->binary) {
		c->data = t->at;
		c->data_len = (size_t)(t->end - t->at);
	} else if (!take_hex(t, c)) {
		return false;
	}
	return c->data_len == c->length;
}

static bool set_thread(struct text *t, struct gdb_command *c)
{
	c->resuming = take(t, 'c');
	return (c->resuming || take(t, 'g')) && take_thread(t, &c->thread) && at_end(t);
}

/* Conditions and commands, which may follow, are not offered. */
static bool breakpoint(struct text *t, struct gdb_command *c)
{
	uint64_t type;
	if (!take_number(t, &type) || !take(t, ',') || !take_range(t, c))
		return false;
	if (type >= GDB_TYPES)
		c->kind = GDB_UNKNOWN;
	c->number = (unsigned)type;
	return at_end(t) || *t->at == ';';
}

/* c, s: all threads go on, the selected one as told. C and S name a signal, which means nothing to
 * a machine. */
static bool resume(struct text *t, struct gdb_command *c, bool step, bool with_signal)
{
	uint64_t signal;
	if (with_signal && !take_number(t, &signal))
		return false;
	if (with_signal && !at_end(t) && !take(t, ';'))
		return false;
	c->actions[0] = (struct gdb_action){step, GDB_THREAD_ANY};
	c->actions[1] = (struct gdb_action){false, GDB_THREAD_ALL};
	c->action_count = 2;
	c->has_addr = !at_end(t);
	return !c->has_addr || (take_number(t, &c->addr) && at_end(t));
}

static bool vcont(struct text *t, struct gdb_command *c)
{
	while (take(t, ';')) {
		struct gdb_action a = {.thread = GDB_THREAD_ALL};
		uint64_t signal;
		bool with_signal = false;
		if (take(t, 's'))
			a.step = true;
		else if (take(t, 'S'))
			a.step = with_signal = true;
		else if (take(t, 'C'))
			with_signal = true;
		else if (!take(t, 'c'))
			return false;
		if (with_signal && !take_number(t, &signal))
			return false;
		if (take(t, ':') && !take_thread(t, &a.thread))
			return false;
		if (c->action_count == GDB_ACTIONS_MAX)
			return false;
		c->actions[c->action_count++] = a;
	}
	return at_end(t) && c->action_count;
}

static bool is_word(const uint8_t *at, const uint8_t *end, const char *word)
{
	return (size_t)(end - at) == strlen(word) && !memcmp(at, word, strlen(word));
}

static bool supported(struct text *t, struct gdb_command *c)
{
	while (t->at < t->end) {
		uint8_t *semicolon = memchr(t->at, ';', (size_t)(t->end - t->at));
		uint8_t *end = semicolon ? semicolon : t->end;
		c->swbreak |= is_word(t->at, end, "swbreak+");
		c->hwbreak |= is_word(t->at, end, "hwbreak+");
		t->at = semicolon ? semicolon + 1 : t->end;
	}
	return true;
}

static bool features(struct text *t, struct gdb_command *c)
{
	uint8_t *colon = memchr(t->at, ':', (size_t)(t->end - t->at));
	if (!colon)
		return false;
	c->text = (const char *)t->at;
	*colon = 0;
	t->at = colon + 1;
	return take_range(t, c) && at_end(t);
}

static bool monitor(struct text *t, struct gdb_command *c)
{
	if (!take_hex(t, c))
		return false;
	c->text = c->data_len ? (const char *)c->data : "";
	return true;
}

/* Packets that are a word, perhaps with something behind it. */
static bool query(struct text *t, struct gdb_command *c)
{
	static const struct {
		const char *word;
		enum gdb_kind kind;
		bool prefix;
		bool (*rest)(struct text *t, struct gdb_command *c);
	} words[] = {
		{"vCont?", GDB_RESUME_QUERY, false, NULL},
		{"vCont", GDB_RESUME, true, vcont},
		{"qSupported:", GDB_SUPPORTED, true, supported},
		{"qSupported", GDB_SUPPORTED, false, NULL},
		{"QStartNoAckMode", GDB_NO_ACK, false, NULL},
		{"qXfer:features:read:", GDB_FEATURES, true, features},
		{"qfThreadInfo", GDB_FIRST_THREADS, false, NULL},
		{"qsThreadInfo", GDB_NEXT_THREADS, false, NULL},
		{"qThreadExtraInfo,", GDB_THREAD_INFO, true, NULL},
		{"qC", GDB_CURRENT_THREAD, false, NULL},
		{"qAttached", GDB_ATTACHED, false, NULL},
		{"qSymbol::", GDB_SYMBOLS, false, NULL},
		{"qRcmd,", GDB_MONITOR, true, monitor},
	};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		struct text rest = *t;
		if (!take_word(&rest, words[i].word) || (!words[i].prefix && !at_end(&rest)))
			continue;
		c->kind = words[i].kind;
		if (c->kind == GDB_THREAD_INFO)
			return take_thread(&rest, &c->thread) && at_end(&rest);
		return !words[i].rest || words[i].rest(&rest, c);
	}
	return true;
}

static bool alone(struct text *t, struct gdb_command *c)
{
	return at_end(t);
}

static bool parse(struct text *t, struct gdb_command *c)
{
	static const struct {
		char letter;
		enum gdb_kind kind;
		bool binary;
		bool (*rest)(struct text *t, struct gdb_command *c);
	} letters[] = {
		{'?', GDB_STATUS, false, alone},
		{'g', GDB_READ_REGISTERS, false, alone},
		{'G', GDB_WRITE_REGISTERS, false, take_hex},
		{'p', GDB_READ_REGISTER, false, read_register},
		{'P', GDB_WRITE_REGISTER, false, read_register},
		{'m', GDB_READ_MEMORY, false, read_memory},
		{'x', GDB_READ_MEMORY, true, read_memory},
		{'M', GDB_WRITE_MEMORY, false, write_memory},
		{'X', GDB_WRITE_MEMORY, true, write_memory},
		{'H', GDB_SET_THREAD, false, set_thread},
		{'Z', GDB_INSERT, false, breakpoint},
		{'z', GDB_REMOVE, false, breakpoint},
		{'k', GDB_KILL, false, NULL},
		{'D', GDB_DETACH, false, alone},
	};
	for (size_t i = 0; i < ARRAY_SIZE(letters); i++) {
		if (!take(t, letters[i].letter))
			continue;
		c->kind = letters[i].kind;
		c->binary = letters[i].binary;
		return !letters[i].rest || letters[i].rest(t, c);
	}
	if (take(t, 'T')) {
		c->kind = GDB_THREAD_ALIVE;
		return take_thread(t, &c->thread) && at_end(t);
	}
	static const char resuming[] = "csCS";
	for (unsigned i = 0; i < 4; i++) {
		if (!take(t, resuming[i]))
			continue;
		c->kind = GDB_RESUME;
		return resume(t, c, i & 1, i >= 2);
	}
	return query(t, c);
}

void gdb_command_parse(uint8_t *packet, size_t len, struct gdb_command *out)
{
	struct text t = {packet, packet + len};
	memset(out, 0, sizeof(*out));
	if (!parse(&t, out))
		out->kind = GDB_MALFORMED;
}

const struct gdb_action *gdb_command_action(const struct gdb_command *c, int thread, int selected)
{
	for (unsigned i = 0; i < c->action_count; i++) {
		int of = c->actions[i].thread == GDB_THREAD_ANY ? selected : c->actions[i].thread;
		if (of == GDB_THREAD_ALL || of == thread)
			return &c->actions[i];
	}
	return NULL;
}
