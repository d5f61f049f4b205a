// SPDX-License-Identifier: Apache-2.0
// What a debugger sees of a hart: registers by number, the description that names them, mappings.
#include "cpu.h"

#include "tap.h"

static const struct isa_debug *const debug = &rv64_debug;

/* The number that the description gives a register. */
static unsigned number_of(const struct strbuf *xml, const char *name)
{
	char *row _free_ = xasprintf("<reg name=\"%s\" ", name);
	const char *at = strstr(xml->data, row), *number = at ? strstr(at, "regnum=\"") : NULL;
	CHECK(number);
	return number ? (unsigned)strtoul(number + 8, NULL, 10) : 0;
}

static uint64_t get(struct rv64_cpu *c, unsigned number, unsigned bytes)
{
	uint8_t raw[ISA_REGISTER_BYTES] = {0};
	CHECK_EQ(debug->read(c, number, raw), bytes);
	return load_le64(raw);
}

static bool set(struct rv64_cpu *c, unsigned number, uint64_t v)
{
	uint8_t raw[ISA_REGISTER_BYTES] = {0};
	store_le64(raw, v);
	return debug->write(c, number, raw);
}

static void the_description_counts_them(void)
{
	struct rv64_cpu *c = new_cpu(3);
	struct strbuf xml _strbuf_ = STRBUF_INIT;
	debug->describe(&xml);
	uint8_t raw[ISA_REGISTER_BYTES];
	unsigned count = 0;
	const char *at = xml.data;
	while ((at = strstr(at, "<reg name=\""))) {
		const char *bits = strstr(at, "bitsize=\""), *number = strstr(at, "regnum=\"");
		REQUIRE(bits && number);
		unsigned n = (unsigned)strtoul(number + 8, NULL, 10);
		CHECK_EQ(debug->read(c, n, raw) * 8, (unsigned)strtoul(bits + 9, NULL, 10));
		count++;
		at++;
	}
	CHECK(count > 65);
	for (unsigned n = 0; n < count; n++)
		CHECK(debug->read(c, n, raw));
	CHECK_EQ(debug->read(c, count, raw), 0u);
	CHECK_EQ(debug->read(c, UINT32_MAX, raw), 0u);
	CHECK(!set(c, count, 1));
	free_cpu(c);
}

static void registers(void)
{
	struct rv64_cpu *c = new_cpu(3);
	struct strbuf xml _strbuf_ = STRBUF_INIT;
	debug->describe(&xml);
	CHECK_EQ(number_of(&xml, "zero"), 0u);
	CHECK_EQ(number_of(&xml, "pc"), 32u);
	CHECK(set(c, 0, 1) && set(c, number_of(&xml, "a0"), 5) && set(c, 32, 0x80000001));
	CHECK_EQ(c->x[0], UINT64_C(0));
	CHECK_EQ(c->x[10], UINT64_C(5));
	CHECK_EQ(get(c, 32, 8), UINT64_C(0x80000000));
	c->fs = 2;
	CHECK(set(c, number_of(&xml, "fa0"), 7));
	CHECK_EQ(c->f[10], UINT64_C(7));
	CHECK_EQ(c->fs, 3u);
	CHECK(set(c, number_of(&xml, "fcsr"), 3 << 5 | 17));
	CHECK_EQ(get(c, number_of(&xml, "fflags"), 4), UINT64_C(17));
	CHECK_EQ(get(c, number_of(&xml, "frm"), 4), UINT64_C(3));
	CHECK_EQ(get(c, number_of(&xml, "fcsr"), 4), UINT64_C(3 << 5 | 17));
	CHECK_EQ(c->head.fp_rounding, 3u);
	CHECK(set(c, number_of(&xml, "sepc"), 0x1003));
	CHECK_EQ(get(c, number_of(&xml, "sepc"), 8), UINT64_C(0x1002));
	CHECK_EQ(c->sepc, UINT64_C(0x1002));
	CHECK(set(c, number_of(&xml, "satp"), UINT64_C(8) << SATP_MODE_SHIFT | 42));
	CHECK_EQ(c->satp, UINT64_C(8) << SATP_MODE_SHIFT | 42);
	CHECK(!set(c, number_of(&xml, "instret"), 1));
	CHECK(set(c, number_of(&xml, "priv"), RV64_USER));
	CHECK(c->head.tlb == &c->tlbs[c->space * RV64_TLB_MODES + RV64_TLB_USER]);
	CHECK_EQ(get(c, number_of(&xml, "priv"), 8), UINT64_C(0));
	free_cpu(c);
}

/* Sv39: page 1 is a supervisor's, to be executed only; a large page; no page. */
static void mappings(void)
{
	struct rv64_cpu *c = new_cpu(3);
	memory_new(&c->head.memory, NULL);
	memory_add_ram(c->head.memory, GPA(0x80000000), 16 * GUEST_PAGE_BYTES, NULL);
	const uint64_t pte[][2] = {
		{0x80000000, 0x80001000 >> 2 | 1},		/* root: a table */
		{0x80001000, 0x80002000 >> 2 | 1},		/* its first: a table */
		{0x80001008, UINT64_C(0x80200000) >> 2 | 0x0b}, /* its second: 2 MiB, VRX */
		{0x80002008, 0x80005000 >> 2 | 9},		/* page 1: VX, never accessed */
		{0x80002010, 0x80005000 >> 2 | 5},		/* page 2: reserved */
	};
	for (unsigned n = 0; n < ARRAY_SIZE(pte); n++)
		memory_write(c->head.memory, GPA(pte[n][0]), &pte[n][1], 8);
	gpa_t at = GPA(0);
	CHECK(debug->probe(c, GVA(0x1234), &at) && at.v == 0x1234); /* no translation yet */
	rv64_mmu_set_satp(c, UINT64_C(8) << SATP_MODE_SHIFT | 0x80000);
	c->priv = RV64_USER;
	CHECK(debug->probe(c, GVA(0x1234), &at));
	CHECK_EQ(at.v, UINT64_C(0x80005234));
	CHECK(debug->probe(c, GVA(0x2abcde), &at));
	CHECK_EQ(at.v, UINT64_C(0x802abcde));
	CHECK(!debug->probe(c, GVA(0), &at));
	CHECK(!debug->probe(c, GVA(0x2000), &at));
	CHECK(!debug->probe(c, GVA(UINT64_C(1) << 40), &at));
	CHECK(!c->head.fault.pending);
	uint64_t now;
	memory_read(c->head.memory, GPA(pte[3][0]), &now, 8);
	CHECK_EQ(now, pte[3][1]); /* still not accessed */
	memory_free(c->head.memory);
	free_cpu(c);
}

int main(void)
{
	RUN(the_description_counts_them);
	RUN(registers);
	RUN(mappings);
	return tap_done();
}
