// SPDX-License-Identifier: Apache-2.0
// Saving and restoring a hart; streams that no hart could have written.
#include "cpu.h"

#include "tap.h"

static void save(struct rv64_cpu *c, struct strbuf *out)
{
	struct state *s = state_new_save(out);
	rv64_isa.state(c, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
}

static int restore(struct rv64_cpu *c, const struct strbuf *in, size_t len)
{
	struct state *s = state_new_restore(in->data, len);
	rv64_isa.state(c, s);
	int r = state_finish(s, NULL);
	state_free(s);
	return r;
}

static void everything_comes_back(void)
{
	struct rv64_cpu *a = new_cpu(3), *b = new_cpu(3);
	struct strbuf first _strbuf_ = STRBUF_INIT, second _strbuf_ = STRBUF_INIT;
	a->head.counts_insns = b->head.counts_insns = true; /* else instret is the time */
	a->head.insns_retired = 77;
	for (unsigned n = 1; n < 32; n++)
		a->x[n] = n * UINT64_C(0x0101010101010101);
	for (unsigned n = 0; n < 32; n++)
		a->f[n] = ~(uint64_t)n;
	a->priv = RV64_USER;
	a->fs = 2;
	a->head.pc = 0x123456;
	a->satp = UINT64_C(8) << SATP_MODE_SHIFT | 42;
	a->sepc = 0x1002;
	a->stimecmp = 99;
	a->head.fp_flags = rv64_fflags_to_host(21);
	rv64_set_frm(a, 3);
	rv64_isa.set_irq(a, RV64_IRQ_EXTERNAL, true);
	save(a, &first);
	CHECK_EQ(restore(b, &first, first.len), 0);
	save(b, &second);
	CHECK(first.len == second.len && !memcmp(first.data, second.data, first.len));
	CHECK_EQ(b->head.fp_rounding, 3u);
	CHECK_EQ(rv64_fflags_from_host(b->head.fp_flags), 21u);
	CHECK(b->head.tlb == &b->tlbs[RV64_TLB_USER]);
	CHECK(b->head.attention);
	free_cpu(a);
	free_cpu(b);
}

static uint64_t armed_for;
static void note_timer(void *opaque, uint64_t deadline_ns)
{
	(void)opaque;
	armed_for = deadline_ns;
}

/* Nobody but the restored hart knows that a timer was running. */
static void the_timer_runs_on(void)
{
	static const struct cpu_env env = {.set_timer = note_timer};
	struct rv64_cpu *a = new_cpu(3), *b = new_cpu(3);
	struct strbuf bytes _strbuf_ = STRBUF_INIT;
	b->head.env = &env;
	uint64_t now = clock_monotonic_ns();
	a->stimecmp = rv64_time(a) + RV64_TIMEBASE_HZ;
	save(a, &bytes);
	armed_for = 0;
	CHECK_EQ(restore(b, &bytes, bytes.len), 0);
	CHECK(armed_for > now && armed_for <= now + 2 * NS_PER_SEC);
	CHECK(!(rv64_sip(b) & IRQ_BIT(RV64_IRQ_TIMER)));
	/* one that is due: pending at once, also for who looks at the line alone */
	strbuf_clear(&bytes);
	a->stimecmp = 1;
	a->sie = IRQ_BIT(RV64_IRQ_TIMER);
	save(a, &bytes);
	CHECK_EQ(restore(b, &bytes, bytes.len), 0);
	CHECK(rv64_wakes(b));
	free_cpu(a);
	free_cpu(b);
}

/* Without counting they are nanoseconds of the guest's time. */
static void counters_are_time(void)
{
	const struct rv64_csr *cycle = rv64_csr_find(0xc00), *instret = rv64_csr_find(0xc02);
	struct rv64_cpu *c = new_cpu(3);
	c->head.insns_retired = 5;
	c->time_offset = 3 * RV64_TIMEBASE_HZ;
	uint64_t before = clock_monotonic_ns();
	uint64_t first = cycle->read(c), second = instret->read(c);
	uint64_t after = clock_monotonic_ns();
	CHECK(first >= before + 3 * NS_PER_SEC && second >= first);
	CHECK(second <= after + 3 * NS_PER_SEC);
	c->head.counts_insns = true;
	CHECK_EQ(cycle->read(c), 5u);
	CHECK_EQ(instret->read(c), 5u);
	free_cpu(c);
}

/* The value that a hart goes on with, and what it counts from there. */
static void counters_do_not_go_back(void)
{
	enum { NOT_COUNTED, COUNTED, KINDS };
	for (unsigned from = 0; from < KINDS; from++)
		for (unsigned to = 0; to < KINDS; to++) {
			struct rv64_cpu *a = new_cpu(3), *b = new_cpu(3);
			struct strbuf bytes _strbuf_ = STRBUF_INIT;
			a->head.counts_insns = from == COUNTED;
			b->head.counts_insns = to == COUNTED;
			/* Time may be behind what was counted. */
			a->head.insns_retired = UINT64_C(1) << 62;
			b->head.insns_retired = 1000;
			uint64_t saved = rv64_counter(a);
			save(a, &bytes);
			CHECK_EQ(restore(b, &bytes, bytes.len), 0);
			uint64_t first = rv64_counter(b);
			CHECK(first >= saved);
			CHECK(to != COUNTED || first - saved < NS_PER_SEC);
			b->head.insns_retired += 7;
			CHECK(rv64_counter(b) >= first + (to == COUNTED ? 7 : 0));
			free_cpu(a);
			free_cpu(b);
		}
}

static void nonsense_is_refused(void)
{
	struct rv64_cpu *a = new_cpu(3), *b = new_cpu(3);
	struct strbuf bytes _strbuf_ = STRBUF_INIT;
	a->priv = 2;
	save(a, &bytes);
	CHECK(restore(b, &bytes, bytes.len) < 0);
	CHECK(b->priv <= RV64_SUPERVISOR);
	strbuf_clear(&bytes);
	a->priv = 1;
	a->satp = UINT64_C(5) << SATP_MODE_SHIFT;
	save(a, &bytes);
	CHECK(restore(b, &bytes, bytes.len) < 0);
	CHECK_EQ(b->satp, UINT64_C(0));
	strbuf_clear(&bytes);
	a->satp = 0;
	save(a, &bytes);
	for (size_t len = 0; len < bytes.len; len++)
		CHECK(restore(b, &bytes, len) < 0);
	free_cpu(a);
	free_cpu(b);
}

/* Code that a vCPU knows by its address is found again as long as mapping_epoch is the same. */
static void fences_of_data_keep_code(void)
{
	const uint64_t code = 0x80001000, page = GUEST_PAGE_BYTES;
	struct rv64_cpu *c = new_cpu(3);
	struct isa_mapping m;
	CHECK_EQ(rv64_translate(c, GVA(code + 6), ISA_EXEC, &m), 0);
	uint32_t known = c->head.mapping_epoch;
	rv64_fence_vma(c, code - page, page, RV64_ALL_ASIDS);
	rv64_fence_vma(c, code + page, 20 * page, 0);
	CHECK_EQ(c->head.mapping_epoch, known);
	rv64_fence_vma(c, code, page, RV64_ALL_ASIDS);
	CHECK(c->head.mapping_epoch != known);
	known = c->head.mapping_epoch;
	rv64_fence_vma(c, code - 20 * page, 40 * page, 0);
	CHECK(c->head.mapping_epoch != known);
	known = c->head.mapping_epoch;
	rv64_fence_vma(c, 0, UINT64_MAX, RV64_ALL_ASIDS);
	CHECK(c->head.mapping_epoch != known);
	/* Nothing is left to be forgotten. */
	known = c->head.mapping_epoch;
	rv64_fence_vma(c, code, page, RV64_ALL_ASIDS);
	CHECK_EQ(c->head.mapping_epoch, known);
	free_cpu(c);
}

int main(void)
{
	RUN(everything_comes_back);
	RUN(the_timer_runs_on);
	RUN(counters_are_time);
	RUN(counters_do_not_go_back);
	RUN(nonsense_is_refused);
	RUN(fences_of_data_keep_code);
	return tap_done();
}
