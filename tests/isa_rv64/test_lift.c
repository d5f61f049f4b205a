// SPDX-License-Identifier: Apache-2.0
// The lifter's IR: every instruction's is valid in every mode, before and after the passes; blocks
// begin and end where they should.
#include "cpu.h"

#include "tap.h"

static uint64_t seed = 1;
static uint32_t random32(void)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 32);
}

/* Lifts `count` bytes at pc 0x1000; returns what lift() does. The text is appended to out. */
static int lift(struct rv64_cpu *c, const void *code, size_t count, const void *next,
	size_t next_count, unsigned max, struct ir_func *f, struct strbuf *out)
{
	struct arena arena = ARENA_INIT;
	struct error err = ERROR_INIT;
	ir_func_init(f, &rv64_isa.target, &arena, 0x1000);
	int r = rv64_isa.lift(f, rv64_isa.translation_flags(c), code, count, next, next_count, max);
	if (!r && ir_verify(f, &err))
		TAP_FAIL_("%08x: %s", count >= 4 ? load_le32(code) : load_le16(code), err.message);
	if (!r && out)
		ir_print(f, out);
	if (!r && ir_optimise(f, true, NULL, NULL, &err))
		TAP_FAIL_("%08x: optimised: %s", count >= 4 ? load_le32(code) : load_le16(code),
			err.message);
	error_done(&err);
	arena_done(&arena);
	return r;
}

static void set_mode(struct rv64_cpu *c, unsigned n)
{
	c->priv = n & 1;
	c->fs = n >> 1 & 3;
	c->frm = n >> 3 & 7;
	c->senvcfg = n >> 6 & 1 ? SENVCFG_CBCFE | SENVCFG_CBIE | SENVCFG_CBZE : 0;
}

static void all_compressed_verify(void)
{
	struct rv64_cpu *c = new_cpu(0);
	struct ir_func f;
	for (unsigned w = 0; w < 1 << 16; w++) {
		uint8_t code[2];
		if ((w & 3) == 3)
			continue;
		store_le16(code, (uint16_t)w);
		set_mode(c, random32());
		lift(c, code, 2, NULL, 0, 1, &f, NULL);
		if (tap_failed)
			break;
		CHECK_EQ(f.bytes, 2u);
		CHECK_EQ(f.insns, 1u);
	}
	free_cpu(c);
}

/* A word of the row: the table gives no masks, so words are drawn until one decodes to it. Bits
 * that rows fix are hit often enough when the word is made from another legal one. */
static void sampled_words_verify(void)
{
	struct rv64_cpu *c = new_cpu(0);
	struct ir_func f;
	uint8_t seen[RV64_ROW_COUNT] = {0};
	static const uint8_t opcodes[] = {0x03, 0x07, 0x0f, 0x13, 0x17, 0x1b, 0x23, 0x27, 0x2f,
		0x33, 0x37, 0x3b, 0x43, 0x47, 0x4b, 0x4f, 0x53, 0x63, 0x67, 0x6f, 0x73};
	for (unsigned n = 0; n < 400000 && !tap_failed; n++) {
		uint8_t code[4];
		uint32_t w = (random32() & ~0x7fu) | opcodes[random32() % sizeof(opcodes)];
		if (random32() & 1)
			w &= ~UINT32_C(0x3f00000) | (random32() & random32() & random32());
		if (random32() & 1)
			w &= ~UINT32_C(0xf8000) & ~UINT32_C(0xf80);
		struct rv64_insn i;
		if (rv64_decode(w, &i))
			seen[i.row] = 1;
		store_le32(code, w);
		set_mode(c, random32());
		lift(c, code, 4, NULL, 0, 1, &f, NULL);
	}
	/* Words with nearly all bits fixed, by hand. */
	static const uint32_t fixed[] = {0x00000073, 0x00100073, 0x10200073, 0x10500073, 0x0100000f,
		0x8330000f, 0x00d00073, 0x01d00073, 0x2875d513, 0x6b85d513, 0x60259513, 0x0025200f,
		0x0045200f};
	for (unsigned n = 0; n < ARRAY_SIZE(fixed); n++) {
		uint8_t code[4];
		struct rv64_insn i;
		if (rv64_decode(fixed[n], &i))
			seen[i.row] = 1;
		store_le32(code, fixed[n]);
		for (unsigned mode = 0; mode < 128; mode++) {
			set_mode(c, mode);
			lift(c, code, 4, NULL, 0, 1, &f, NULL);
		}
	}
	for (unsigned row = 0; row < RV64_ROW_COUNT; row++)
		if (!seen[row] && strcmp(rv64_rows[row].extension, "C"))
			TAP_FAIL_("no sample is %s", rv64_rows[row].name);
	free_cpu(c);
}

static void blocks_end_where_they_should(void)
{
	struct rv64_cpu *c = new_cpu(0);
	struct ir_func f;
	/* nop; c.nop; j . ; nop */
	static const uint8_t jump[] = {0x13, 0, 0, 0, 1, 0, 0x6f, 0, 0, 0, 0x13, 0, 0, 0};
	CHECK_EQ(lift(c, jump, sizeof(jump), NULL, 0, 64, &f, NULL), 0);
	CHECK_EQ(f.insns, 3u);
	CHECK_EQ(f.bytes, 10u);
	CHECK_EQ(lift(c, jump, sizeof(jump), NULL, 0, 2, &f, NULL), 0);
	CHECK_EQ(f.insns, 2u);
	CHECK_EQ(f.bytes, 6u);
	/* A block ends before an instruction that is cut short, unless the next page is there. */
	CHECK_EQ(lift(c, jump, 8, NULL, 0, 64, &f, NULL), 0);
	CHECK_EQ(f.insns, 2u);
	CHECK_EQ(lift(c, jump, 8, jump + 8, 2, 64, &f, NULL), 0);
	CHECK_EQ(f.insns, 3u);
	CHECK_EQ(f.bytes, 10u);
	CHECK_EQ(lift(c, jump, 2, NULL, 0, 64, &f, NULL), -EAGAIN);
	CHECK_EQ(lift(c, jump, 2, jump + 2, 2, 64, &f, NULL), 0);
	CHECK_EQ(f.bytes, 4u);
	/* c.nop; rdinstret a0; c.nop: the counter's reader is alone. */
	static const uint8_t count[] = {1, 0, 0x73, 0x25, 0x20, 0xc0, 1, 0};
	CHECK_EQ(lift(c, count, sizeof(count), NULL, 0, 64, &f, NULL), 0);
	CHECK_EQ(f.insns, 1u);
	CHECK_EQ(lift(c, count + 2, sizeof(count) - 2, NULL, 0, 64, &f, NULL), 0);
	CHECK_EQ(f.insns, 1u);
	free_cpu(c);
}

/* A load-reserved that watches its page may wait for others, who do a fence for this CPU meanwhile:
 * what follows is found anew. */
static void watched_reservations_end_their_block(void)
{
	struct rv64_cpu *c = new_cpu(0);
	struct ir_func f;
	struct strbuf text _strbuf_ = STRBUF_INIT;
	/* lr.d a0,(a1); ld a2,8(a1); sc.d a3,a4,(a1); j . */
	static const uint8_t watched[] = {
		0x2f, 0xb5, 0x05, 0x10, 0x03, 0xb6, 0x85, 0, 0xaf, 0xb6, 0xe5, 0x18, 0x6f, 0, 0, 0};
	CHECK_EQ(lift(c, watched, sizeof(watched), NULL, 0, 64, &f, &text), 0);
	CHECK_EQ(f.insns, 1u);
	CHECK_EQ(f.bytes, 4u);
	CHECK_CONTAINS(text.data, "exit");
	strbuf_clear(&text);
	/* the same with addi a2,a1,8 in place of the load */
	static const uint8_t plain[] = {
		0x2f, 0xb5, 0x05, 0x10, 0x13, 0x86, 0x85, 0, 0xaf, 0xb6, 0xe5, 0x18, 0x6f, 0, 0, 0};
	CHECK_EQ(lift(c, plain, sizeof(plain), NULL, 0, 64, &f, &text), 0);
	CHECK_EQ(f.insns, 4u);
	CHECK(!strstr(text.data, "exit"));
	free_cpu(c);
}

/* Results are set after everything that may fault, and FS becomes dirty once in a block, or is so
 * all the time: in a process. */
static void order_of_effects(void)
{
	struct rv64_cpu *c = new_cpu(0);
	struct ir_func f;
	struct strbuf text _strbuf_ = STRBUF_INIT;
	c->fs = 1;
	/* fld fa0,0(a0); fld fa1,8(a0) */
	static const uint8_t code[] = {0x07, 0x35, 0x05, 0, 0x87, 0x35, 0x85, 0};
	CHECK_EQ(lift(c, code, sizeof(code), NULL, 0, 64, &f, &text), 0);
	const char *fs = strstr(text.data, "put @fs"), *load = strstr(text.data, "load");
	CHECK(fs && load && load < fs);
	CHECK(fs && !strstr(fs + 1, "put @fs"));
	strbuf_clear(&text);
	c->fs = 3;
	c->head.flat = true;
	CHECK_EQ(lift(c, code, sizeof(code), NULL, 0, 64, &f, &text), 0);
	CHECK(!strstr(text.data, "put @fs"));
	c->head.flat = false;
	free_cpu(c);
}

static bool advertised(const char *name)
{
	for (const char *const *e = rv64_extensions; *e; e++)
		if (!strcasecmp(*e, name))
			return true;
	return false;
}

/* The device tree may name nothing that is not there, and the table nothing that is not named. */
static void extensions_are_advertised(void)
{
	for (unsigned row = 0; row < RV64_ROW_COUNT; row++)
		if (strcmp(rv64_rows[row].extension, "S") && !advertised(rv64_rows[row].extension))
			TAP_FAIL_("%s needs %s", rv64_rows[row].name, rv64_rows[row].extension);
	CHECK_CONTAINS(rv64_isa_string(), "rv64imafdc_zic");
	for (const char *const *e = rv64_extensions; *e; e++)
		CHECK(strstr(rv64_isa_string(), *e));
}

int main(void)
{
	RUN(all_compressed_verify);
	RUN(sampled_words_verify);
	RUN(blocks_end_where_they_should);
	RUN(watched_reservations_end_their_block);
	RUN(order_of_effects);
	RUN(extensions_are_advertised);
	return tap_done();
}
