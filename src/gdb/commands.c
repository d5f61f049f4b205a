// SPDX-License-Identifier: Apache-2.0
// What a client may ask while the vCPUs stand. Registers and memory are those of the thread that it
// chose (Hg); memory is seen through that vCPU's current mappings.
#include <inttypes.h>
#include <stdio.h>

#include "gdb/internal.h"

/* Errors have numbers that no client interprets; these are errno's, as others use them. */
static bool refuse(struct gdb *g, unsigned code)
{
	strbuf_clear(&g->reply);
	strbuf_addf(&g->reply, "E%02x", code);
	return true;
}

static bool okay(struct gdb *g)
{
	strbuf_adds(&g->reply, "OK");
	return true;
}

/* --- registers --- */

static unsigned read_register(struct gdb *g, unsigned n, uint8_t *out)
{
	return g->debug->read(vcpu_state(g->current), n, out);
}

static bool read_registers(struct gdb *g)
{
	uint8_t bytes[ISA_REGISTER_BYTES];
	for (unsigned n = 0; n < g->registers; n++)
		gdb_add_hex(&g->reply, bytes, read_register(g, n, bytes));
	return true;
}

static bool read_one_register(struct gdb *g, unsigned n)
{
	uint8_t bytes[ISA_REGISTER_BYTES];
	unsigned len = read_register(g, n, bytes);
	if (!len)
		return refuse(g, EINVAL);
	gdb_add_hex(&g->reply, bytes, len);
	return true;
}

/* For vcpu_run_on(): whoever changes a CPU's state holds its lock. */
struct write_request {
	struct gdb *g;
	const struct gdb_command *c;
	bool done;
};

static void write_one_register(void *opaque, void *state)
{
	struct write_request *w = opaque;
	const struct isa_debug *d = w->g->debug;
	uint8_t old[ISA_REGISTER_BYTES];
	unsigned len = d->read(state, w->c->number, old);
	w->done = len && len == w->c->data_len && d->write(state, w->c->number, w->c->data);
}

/* Those that are as they were stay untouched: counters cannot be written, and a write of some
 * others means something. */
static void write_all_registers(void *opaque, void *state)
{
	struct write_request *w = opaque;
	const struct isa_debug *d = w->g->debug;
	uint8_t old[ISA_REGISTER_BYTES];
	size_t at = 0;
	for (unsigned n = 0; n < w->g->registers; n++) {
		unsigned len = d->read(state, n, old);
		if (at + len > w->c->data_len)
			break;
		if (memcmp(old, w->c->data + at, len) != 0)
			d->write(state, n, w->c->data + at);
		at += len;
	}
	w->done = true;
}

static bool write_registers(struct gdb *g, const struct gdb_command *c)
{
	struct write_request w = {g, c, false};
	vcpu_run_on(g->current,
		c->kind == GDB_WRITE_REGISTER ? write_one_register : write_all_registers, &w);
	return w.done ? okay(g) : refuse(g, EINVAL);
}

/* --- memory --- */

/* The RAM at a virtual address, up to the end of its page. false: there is none. */
static bool find_memory(struct gdb *g, uint64_t addr, uint64_t len, gpa_t *at, uint64_t *part)
{
	*part = MIN(len, GUEST_PAGE_BYTES - addr % GUEST_PAGE_BYTES);
	return g->debug->probe(vcpu_state(g->current), GVA(addr), at) &&
	       memory_read_ptr(g->config.memory, *at, *part);
}

/* The part that can be read: a client asks for more than there is when it guesses. */
static bool read_memory(struct gdb *g, const struct gdb_command *c)
{
	uint8_t bytes[GUEST_PAGE_BYTES];
	uint64_t left = MIN(c->length, (uint64_t)GDB_PACKET_MAX / 2 - 1), addr = c->addr, part;
	gpa_t at;
	if (c->binary)
		strbuf_addc(&g->reply, 'b');
	for (; left && find_memory(g, addr, left, &at, &part); addr += part, left -= part) {
		memory_read(g->config.memory, at, bytes, part);
		if (c->binary)
			strbuf_add(&g->reply, bytes, part);
		else
			gdb_add_hex(&g->reply, bytes, part);
	}
	return addr == c->addr && c->length ? refuse(g, EFAULT) : true;
}

/* All or nothing. */
static bool write_memory(struct gdb *g, const struct gdb_command *c)
{
	uint64_t addr, part, end = c->addr + c->data_len;
	gpa_t at;
	for (addr = c->addr; addr != end; addr += part)
		if (!find_memory(g, addr, end - addr, &at, &part))
			return refuse(g, EFAULT);
	for (addr = c->addr; addr != end; addr += part)
		if (find_memory(g, addr, end - addr, &at, &part))
			memory_write(g->config.memory, at, c->data + (addr - c->addr), part);
	return okay(g);
}

/* --- breakpoints and watchpoints; the type is the owner --- */

static bool set_breakpoint(struct gdb *g, const struct gdb_command *c)
{
	static const unsigned kinds[GDB_TYPES] = {
		[GDB_WATCH_WRITE] = VCPU_WATCH_WRITE,
		[GDB_WATCH_READ] = VCPU_WATCH_READ,
		[GDB_WATCH_ACCESS] = VCPU_WATCH_READ | VCPU_WATCH_WRITE,
	};
	bool on = c->kind == GDB_INSERT;
	unsigned owner = 1u << c->number;
	int r = kinds[c->number] ? vcpu_debug_set_watchpoint(g->config.cpus, c->addr, c->length,
					   kinds[c->number], owner, on)
				 : vcpu_debug_set_breakpoint(g->config.cpus, c->addr, owner, on);
	return r < 0 ? refuse(g, (unsigned)-r) : okay(g);
}

/* --- threads --- */

static bool set_thread(struct gdb *g, const struct gdb_command *c)
{
	/* "All" and "any" are for the one that it has. */
	struct vcpu *v = c->thread > 0 ? gdb_thread(g, c->thread) : g->current;
	if (!v)
		return refuse(g, ESRCH);
	*(c->resuming ? &g->selected : &g->current) = v;
	return okay(g);
}

static bool list_threads(struct gdb *g)
{
	for (unsigned n = 0; n < vcpu_count(g->config.cpus); n++)
		strbuf_addf(&g->reply, "%c%x", n ? ',' : 'm', n + 1);
	return true;
}

static bool thread_info(struct gdb *g, int id)
{
	char name[16];
	struct vcpu *v = gdb_thread(g, id);
	if (!v)
		return refuse(g, ESRCH);
	int n = snprintf(name, sizeof(name), "CPU %u", vcpu_id(v));
	gdb_add_hex(&g->reply, name, (size_t)n);
	return true;
}

/* --- queries --- */

static bool supported(struct gdb *g, const struct gdb_command *c)
{
	g->swbreak = c->swbreak;
	g->hwbreak = c->hwbreak;
	strbuf_addf(&g->reply,
		"PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;vContSupported+;swbreak+;"
		"hwbreak+;binary-upload+",
		GDB_PACKET_MAX);
	return true;
}

static bool features(struct gdb *g, const struct gdb_command *c)
{
	if (strcmp(c->text, "target.xml"))
		return refuse(g, 0);
	uint64_t from = MIN(c->addr, g->features.len), left = g->features.len - from;
	uint64_t len = MIN(MIN(c->length, (uint64_t)GDB_PACKET_MAX / 2), left);
	strbuf_addc(&g->reply, len < left ? 'm' : 'l');
	strbuf_add(&g->reply, g->features.data + from, len);
	return true;
}

/* --- monitor --- */

static void monitor_help(struct gdb *g, const char *argument, struct strbuf *out)
{
	strbuf_adds(out, "monitor help               this list\n"
			 "monitor info registers     this CPU's registers, in one screen\n"
			 "monitor info cpus          where each CPU stands\n"
			 "monitor translate ADDRESS  the guest-physical address of a virtual one\n"
			 "monitor poweroff           ends the machine at once\n");
}

static void monitor_registers(struct gdb *g, const char *argument, struct strbuf *out)
{
	const struct cpu_head *head = vcpu_state(g->current);
	if (head->isa->print)
		head->isa->print(head, out);
}

static void monitor_cpus(struct gdb *g, const char *argument, struct strbuf *out)
{
	for (unsigned n = 0; n < vcpu_count(g->config.cpus); n++) {
		struct vcpu *v = vcpu_get(g->config.cpus, n);
		struct vcpu_stats stats;
		vcpu_stats(v, &stats);
		const struct cpu_head *h = vcpu_state(v);
		strbuf_addf(out, "%cCPU %u  pc %016" PRIx64, v == g->current ? '*' : ' ', n, h->pc);
		if (h->counts_insns)
			strbuf_addf(out, "  %" PRIu64 " instructions", stats.insns);
		strbuf_addc(out, '\n');
	}
}

static void monitor_translate(struct gdb *g, const char *argument, struct strbuf *out)
{
	char *end;
	gpa_t at;
	uint64_t addr = strtoull(argument, &end, 0);
	if (end == argument || *end)
		strbuf_adds(out, "monitor translate: an address is needed\n");
	else if (!g->debug->probe(vcpu_state(g->current), GVA(addr), &at))
		strbuf_addf(out, "0x%" PRIx64 " is not mapped\n", addr);
	else
		strbuf_addf(out, "0x%" PRIx64 " is guest-physical 0x%" PRIx64 "%s\n", addr, at.v,
			memory_find(g->config.memory, at) ? "" : ", which is no memory");
}

static bool monitor(struct gdb *g, const char *line)
{
	static const struct {
		const char *name;
		void (*run)(struct gdb *g, const char *argument, struct strbuf *out);
	} commands[] = {
		{"help", monitor_help},
		{"info registers", monitor_registers},
		{"info cpus", monitor_cpus},
		{"translate", monitor_translate},
	};
	struct strbuf out _strbuf_ = STRBUF_INIT;
	if (!strcmp(line, "poweroff")) {
		g->end_why = "switched off by the debugger";
		return okay(g);
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands) && !out.len; i++) {
		size_t n = strlen(commands[i].name);
		if (!strncmp(line, commands[i].name, n) && (!line[n] || line[n] == ' '))
			commands[i].run(g, line[n] ? line + n + 1 : "", &out);
	}
	if (!out.len)
		strbuf_adds(&out, "There is no such command; \"monitor help\" lists them.\n");
	gdb_add_hex(&g->reply, out.data, MIN(out.len, (size_t)GDB_PACKET_MAX / 2));
	return true;
}

/* --- all --- */

bool gdb_command(struct gdb *g, uint8_t *packet, size_t len)
{
	struct gdb_command c;
	gdb_command_parse(packet, len, &c);
	switch (c.kind) {
	case GDB_UNKNOWN:
		return true;
	case GDB_MALFORMED:
		return refuse(g, EINVAL);
	case GDB_STATUS:
		strbuf_add(&g->reply, g->stop_reply.data, g->stop_reply.len);
		return true;
	case GDB_READ_REGISTERS:
		return read_registers(g);
	case GDB_READ_REGISTER:
		return read_one_register(g, c.number);
	case GDB_WRITE_REGISTER:
	case GDB_WRITE_REGISTERS:
		return write_registers(g, &c);
	case GDB_READ_MEMORY:
		return read_memory(g, &c);
	case GDB_WRITE_MEMORY:
		return write_memory(g, &c);
	case GDB_SET_THREAD:
		return set_thread(g, &c);
	case GDB_THREAD_ALIVE:
		return gdb_thread(g, c.thread) ? okay(g) : refuse(g, ESRCH);
	case GDB_RESUME:
		return gdb_resume(g, &c) ? false : refuse(g, ESRCH);
	case GDB_RESUME_QUERY:
		strbuf_adds(&g->reply, "vCont;c;C;s;S");
		return true;
	case GDB_INSERT:
	case GDB_REMOVE:
		return set_breakpoint(g, &c);
	case GDB_DETACH:
		g->closing = true;
		return okay(g);
	case GDB_KILL:
		g->end_why = "killed by the debugger";
		return false;
	case GDB_SUPPORTED:
		return supported(g, &c);
	case GDB_NO_ACK:
		g->no_ack = true;
		return okay(g);
	case GDB_FEATURES:
		return features(g, &c);
	case GDB_FIRST_THREADS:
		return list_threads(g);
	case GDB_NEXT_THREADS:
		strbuf_adds(&g->reply, "l");
		return true;
	case GDB_THREAD_INFO:
		return thread_info(g, c.thread);
	case GDB_CURRENT_THREAD:
		strbuf_addf(&g->reply, "QC%x", (unsigned)gdb_thread_id(g->current));
		return true;
	case GDB_ATTACHED: /* not started by it: it detaches rather than kills when it leaves */
		strbuf_adds(&g->reply, "1");
		return true;
	case GDB_SYMBOLS:
		return okay(g);
	case GDB_MONITOR:
		return monitor(g, c.text);
	}
	return true;
}
