// SPDX-License-Identifier: Apache-2.0
#include "device/irq/plic.h"

#include <pthread.h>
#include <stdio.h>

/* Memory map, PLIC specification chapter 3. */
enum {
	PRIORITY = 0x000000,
	PENDING = 0x001000,
	ENABLE = 0x002000,
	ENABLE_STRIDE = 0x80,
	CONTEXT = 0x200000,
	CONTEXT_STRIDE = 0x1000,
	WORDS = (PLIC_SOURCES + 1) / 32,
};

struct context {
	uint32_t enable[WORDS];
	uint32_t threshold;
	bool raised; /* as output was last set */
	struct irq_line output;
};

struct plic {
	struct bus *bus;
	gpa_t base;
	pthread_mutex_t lock; /* guards all below */
	uint32_t priority[PLIC_SOURCES + 1];
	uint32_t level[WORDS]; /* of the wires */
	uint32_t pending[WORDS];
	uint32_t claimed[WORDS]; /* the gateway waits for completion */
	unsigned contexts;
	struct context context[];
};

static bool bit(const uint32_t *words, unsigned n)
{
	return words[n / 32] >> (n % 32) & 1;
}
static void set_bit(uint32_t *words, unsigned n, bool on)
{
	uint32_t mask = UINT32_C(1) << (n % 32);
	words[n / 32] = on ? words[n / 32] | mask : words[n / 32] & ~mask;
}

/* The pending and enabled source of highest priority above the threshold; of equal ones the lowest
 * number. 0: none. */
static unsigned best(const struct plic *p, const struct context *c, uint32_t threshold)
{
	unsigned found = 0;
	uint32_t priority = threshold;
	for (unsigned w = 0; w < WORDS; w++) {
		for (uint32_t rest = p->pending[w] & c->enable[w]; rest; rest &= rest - 1) {
			unsigned n = w * 32 + (unsigned)__builtin_ctz(rest);
			if (p->priority[n] > priority) {
				priority = p->priority[n];
				found = n;
			}
		}
	}
	return found;
}

static void update(struct plic *p)
{
	for (unsigned i = 0; i < p->contexts; i++) {
		struct context *c = &p->context[i];
		bool raised = best(p, c, c->threshold) != 0;
		if (raised != c->raised) {
			c->raised = raised;
			irq_line_set(&c->output, raised);
		}
	}
}

/* The gateway: a raised wire becomes one request, which stays until it is claimed; the next one is
 * made after completion. */
static void gateway(struct plic *p, unsigned n)
{
	if (bit(p->level, n) && !bit(p->claimed, n))
		set_bit(p->pending, n, true);
}

static void line_set(void *opaque, unsigned n, bool level)
{
	struct plic *p = opaque;
	pthread_mutex_lock(&p->lock);
	if (bit(p->level, n) != level) {
		set_bit(p->level, n, level);
		if (level) {
			gateway(p, n);
			update(p);
		}
	}
	pthread_mutex_unlock(&p->lock);
}

struct irq_line plic_line(struct plic *p, unsigned source)
{
	if (source < 1 || source > PLIC_SOURCES)
		return (struct irq_line){0};
	return (struct irq_line){line_set, p, source};
}

static uint32_t claim(struct plic *p, struct context *c)
{
	/* The threshold masks the notification, not the claim (specification, chapter 9). */
	unsigned n = best(p, c, 0);
	if (n) {
		set_bit(p->pending, n, false);
		set_bit(p->claimed, n, true);
		update(p);
	}
	return n;
}

static void complete(struct plic *p, struct context *c, uint32_t n)
{
	if (n < 1 || n > PLIC_SOURCES || !bit(c->enable, n))
		return; /* silently ignored, as the specification says */
	set_bit(p->claimed, n, false);
	gateway(p, n);
	update(p);
}

/* Where an offset leads, for reads and writes alike. */
enum kind { NOWHERE, IS_PRIORITY, IS_PENDING, IS_ENABLE, IS_THRESHOLD, IS_CLAIM };
struct target {
	enum kind kind;
	unsigned index; /* source or word */
	struct context *context;
};

static struct target decode(struct plic *p, uint64_t offset)
{
	if (offset < PENDING) {
		unsigned n = (unsigned)offset / 4;
		return (struct target){n <= PLIC_SOURCES ? IS_PRIORITY : NOWHERE, n, NULL};
	}
	if (offset < ENABLE) {
		unsigned w = (unsigned)(offset - PENDING) / 4;
		return (struct target){w < WORDS ? IS_PENDING : NOWHERE, w, NULL};
	}
	if (offset < CONTEXT) {
		unsigned i = (unsigned)(offset - ENABLE) / ENABLE_STRIDE;
		unsigned w = (unsigned)(offset - ENABLE) % ENABLE_STRIDE / 4;
		if (i >= p->contexts || w >= WORDS)
			return (struct target){0};
		return (struct target){IS_ENABLE, w, &p->context[i]};
	}
	uint64_t i = (offset - CONTEXT) / CONTEXT_STRIDE, reg = (offset - CONTEXT) % CONTEXT_STRIDE;
	if (i >= p->contexts || reg > 4)
		return (struct target){0};
	return (struct target){reg ? IS_CLAIM : IS_THRESHOLD, 0, &p->context[i]};
}

static uint64_t plic_read(void *opaque, uint64_t offset, unsigned bytes)
{
	struct plic *p = opaque;
	uint32_t v = 0;
	if (offset % 4)
		return 0;
	pthread_mutex_lock(&p->lock);
	struct target t = decode(p, offset);
	switch (t.kind) {
	case IS_PRIORITY:
		v = p->priority[t.index];
		break;
	case IS_PENDING:
		v = p->pending[t.index];
		break;
	case IS_ENABLE:
		v = t.context->enable[t.index];
		break;
	case IS_THRESHOLD:
		v = t.context->threshold;
		break;
	case IS_CLAIM:
		v = claim(p, t.context);
		break;
	case NOWHERE:
		break;
	}
	pthread_mutex_unlock(&p->lock);
	return v;
}

static void plic_write(void *opaque, uint64_t offset, unsigned bytes, uint64_t value)
{
	struct plic *p = opaque;
	uint32_t v = (uint32_t)value;
	if (offset % 4)
		return;
	pthread_mutex_lock(&p->lock);
	struct target t = decode(p, offset);
	switch (t.kind) {
	case IS_PRIORITY:
		if (t.index)
			p->priority[t.index] = v & PLIC_PRIORITY_MAX;
		update(p);
		break;
	case IS_ENABLE:
		t.context->enable[t.index] = t.index ? v : v & ~UINT32_C(1);
		update(p);
		break;
	case IS_THRESHOLD:
		t.context->threshold = v & PLIC_PRIORITY_MAX;
		update(p);
		break;
	case IS_CLAIM:
		complete(p, t.context, v);
		break;
	case IS_PENDING:
	case NOWHERE:
		break;
	}
	pthread_mutex_unlock(&p->lock);
}

static const struct bus_ops plic_ops = {plic_read, plic_write, 4, 4};

int plic_new(struct plic **out, struct bus *bus, gpa_t base, const struct irq_line *outputs,
	unsigned contexts, struct error *err)
{
	if (!contexts || contexts > PLIC_CONTEXTS_MAX)
		return error_set(err, EINVAL, "interrupt controller: 1 to %u contexts, not %u",
			PLIC_CONTEXTS_MAX, contexts);
	struct plic *p = xcalloc(1, sizeof(*p) + contexts * sizeof(p->context[0]));
	pthread_mutex_init(&p->lock, NULL);
	p->base = base;
	p->contexts = contexts;
	for (unsigned i = 0; i < contexts; i++)
		p->context[i].output = outputs[i];
	int r = bus_add(bus, base, PLIC_BYTES, &plic_ops, p, "plic", err);
	if (r < 0) {
		plic_free(p);
		return r;
	}
	p->bus = bus;
	*out = p;
	return 0;
}

void plic_free(struct plic *p)
{
	if (!p)
		return;
	if (p->bus)
		bus_remove(p->bus, p->base);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void plic_reset(struct plic *p)
{
	pthread_mutex_lock(&p->lock);
	memset(p->priority, 0, sizeof(p->priority));
	memset(p->pending, 0, sizeof(p->pending));
	memset(p->claimed, 0, sizeof(p->claimed));
	for (unsigned i = 0; i < p->contexts; i++) {
		memset(p->context[i].enable, 0, sizeof(p->context[i].enable));
		p->context[i].threshold = 0;
	}
	for (unsigned n = 1; n <= PLIC_SOURCES; n++)
		gateway(p, n);
	update(p);
	pthread_mutex_unlock(&p->lock);
}

static void words_state(struct state *s, const char *tag, uint32_t *v, unsigned n)
{
	char name[32];
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s.%u", tag, i);
		state_u32(s, name, &v[i]);
	}
}

void plic_state(struct plic *p, struct state *s)
{
	pthread_mutex_lock(&p->lock);
	if (state_begin(s, "plic", 1)) {
		uint32_t contexts = p->contexts;
		state_u32(s, "contexts", &contexts);
		if (contexts != p->contexts)
			state_fail(s, "interrupt controller for %u contexts, this machine has %u",
				contexts, p->contexts);
		words_state(s, "priority", p->priority, PLIC_SOURCES + 1);
		words_state(s, "level", p->level, WORDS);
		words_state(s, "pending", p->pending, WORDS);
		words_state(s, "claimed", p->claimed, WORDS);
		for (unsigned i = 0; i < p->contexts; i++) {
			words_state(s, "enable", p->context[i].enable, WORDS);
			state_u32(s, "threshold", &p->context[i].threshold);
			state_bool(s, "raised", &p->context[i].raised);
		}
	}
	state_end(s);
	if (!state_saving(s)) {
		/* Whatever the stream held, the registers keep their fields' limits. */
		for (unsigned n = 0; n <= PLIC_SOURCES; n++)
			p->priority[n] &= n ? PLIC_PRIORITY_MAX : 0;
		p->level[0] &= ~UINT32_C(1);
		p->pending[0] &= ~UINT32_C(1);
		for (unsigned i = 0; i < p->contexts; i++) {
			p->context[i].enable[0] &= ~UINT32_C(1);
			p->context[i].threshold &= PLIC_PRIORITY_MAX;
		}
		update(p);
	}
	pthread_mutex_unlock(&p->lock);
}
