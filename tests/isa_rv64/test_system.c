// SPDX-License-Identifier: Apache-2.0
// Runs system.S, bare supervisor-mode tests, and reports what it says. Usage: rv64_system IMAGE
#include <inttypes.h>
#include <stdio.h>

#include "machine.h"

enum { CALL_FAILED = 1, CALL_BEGIN, CALL_END, CALL_IRQ };
#define RAM UINT64_C(0x80000000)

struct run {
	struct machine m;
	char name[64];
	unsigned count, failed;
	bool bad, ended;
};

static void finish_test(struct run *r)
{
	if (!r->count)
		return;
	printf("%s %u - %s\n", r->bad ? "not ok" : "ok", r->count, r->name);
	r->failed += r->bad;
	r->bad = false;
}

static bool serve(void *opaque, struct rv64_cpu *c)
{
	struct run *r = opaque;
	switch (c->x[17]) {
	case CALL_FAILED:
		printf("# system.S:%" PRIu64 ": is 0x%" PRIx64 ", expected 0x%" PRIx64
		       " (scause %" PRIx64 ", sepc %" PRIx64 ", stval %" PRIx64 ")\n",
			c->x[10], c->x[11], c->x[12], c->x[18], c->x[19], c->x[20]);
		r->bad = true;
		return true;
	case CALL_BEGIN:
		finish_test(r);
		r->count++;
		memory_read(r->m.memory, GPA(c->x[10]), r->name, sizeof(r->name) - 1);
		return true;
	case CALL_IRQ:
		rv64_isa.set_irq(c, c->x[10] & 63, c->x[10] < 64);
		return true;
	case CALL_END:
		r->ended = true;
		return false;
	default:
		printf("# unknown call %" PRIu64 "\n", c->x[17]);
		return false;
	}
}

int main(int argc, char **argv)
{
	static uint8_t image[1 * MiB];
	struct run r = {0};
	FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
	if (!f) {
		printf("Bail out! usage: rv64_system IMAGE\n");
		return 1;
	}
	size_t bytes = fread(image, 1, sizeof(image), f);
	fclose(f);
	machine_init(&r.m, RAM, 4 * MiB, serve, &r);
	memory_write(r.m.memory, GPA(RAM), image, bytes);
	rv64_reset(r.m.cpu, RAM, 0, 0);
	machine_run(&r.m, 20);
	if (!r.ended) {
		struct strbuf text _strbuf_ = STRBUF_INIT;
		rv64_isa.print(r.m.cpu, &text);
		printf("# it did not come to its end\n# %s\n", text.data);
		r.bad = true;
	}
	finish_test(&r);
	printf("1..%u\n", r.count);
	machine_done(&r.m);
	return r.failed || !r.ended ? 1 : 0;
}
