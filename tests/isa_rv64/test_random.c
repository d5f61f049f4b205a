// SPDX-License-Identifier: Apache-2.0
// Random programs: the same ELF file runs in qemu-riscv64 and in our machine, or as a process of
// ours; what each block left must be equal. Usage: test_random BLOCKS [SEED [STRATA-PROCESS]] (SEED
// to repeat a failure). With STRATA_JIT=N blocks run often enough to be compiled, and regions of
// several blocks to be made, linked and entered again.
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"
#include "randprog.h"

enum { PASSES = 4 };
static uint64_t compiled, refused; /* regions */

static const char qemu[] = "qemu-riscv64";
static const char qemu_cpu[] = "rv64,zba=true,zbb=true,zbc=true,zbs=true";

/* Runs the ELF file in QEMU, or as a process of ours; its output, which must have `count` bytes,
 * goes to out. */
static bool run_process(const struct randprog *p, const char *process, void *out, size_t count)
{
	const char *dir = getenv("TMPDIR");
	char *path _free_ = xasprintf("%s/strata-random-XXXXXX", dir ? dir : "/tmp"), *at = out;
	int fds[2], status, fd = mkstemp(path);
	if (fd < 0 || fchmod(fd, 0700) < 0 ||
		write(fd, p->elf, p->elf_bytes) != (ssize_t)p->elf_bytes || pipe(fds) < 0)
		return false;
	close(fd);
	pid_t pid = fork();
	if (!pid) {
		dup2(fds[1], 1);
		/* A program that does not end is a fault of the generator: no reason to hang. */
		setrlimit(RLIMIT_CPU, &(struct rlimit){30, 30});
		if (process)
			execl(process, process, "--", path, path, (char *)NULL);
		else
			execlp(qemu, qemu, "-cpu", qemu_cpu, path, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	for (;;) {
		ssize_t n = read(fds[0], at, count - (size_t)(at - (char *)out));
		if (n <= 0)
			break;
		at += n;
	}
	close(fds[0]);
	unlink(path);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status) &&
	       at == (char *)out + count;
}

/* --- our machine --- */
struct run {
	const struct randprog *p;
	struct memory *memory;
	int status; /* of exit(); -1 while it runs */
};

/* What Linux would do with an exception of user mode: the signal, as the program's handler records
 * it. */
static void record_signal(struct run *r, struct rv64_cpu *c)
{
	struct rp_record *rec;
	uint64_t at;
	if (memory_read(r->memory, GPA(r->p->current), &at, sizeof(at)) ||
		!(rec = memory_write_ptr(r->memory, GPA(at), sizeof(*rec)))) {
		r->status = 255;
		return;
	}
	switch (c->scause) {
	case RV64_CAUSE_ILLEGAL:
		rec->signal = SIGILL;
		break;
	case RV64_CAUSE_BREAKPOINT:
		rec->signal = SIGTRAP;
		break;
	case RV64_CAUSE_LOAD_MISALIGNED:
	case RV64_CAUSE_STORE_MISALIGNED:
		rec->signal = SIGBUS;
		break;
	default:
		rec->signal = SIGSEGV;
		rec->addr = c->stval;
	}
	rec->pc = c->sepc;
	memcpy(&rec->x[1], &c->x[1], sizeof(rec->x) - 8);
	memcpy(rec->f, c->f, sizeof(rec->f));
	rec->fcsr = rv64_fflags_from_host(c->head.fp_flags) | c->frm << 5;
	c->sepc = r->p->next;
}

static bool serve(void *opaque, struct rv64_cpu *c)
{
	enum { WRITE = 64, EXIT = 93 };
	struct run *r = opaque;
	if (c->scause != RV64_CAUSE_ECALL_USER) {
		record_signal(r, c);
		return r->status < 0;
	}
	c->sepc += 4;
	if (c->x[17] == EXIT) {
		r->status = (int)c->x[10];
		return false;
	}
	c->x[10] = c->x[17] == WRITE ? c->x[12] : 0;
	return true;
}

static bool run_ours(const struct randprog *p, void *out, size_t count)
{
	static const uint32_t handler[] = {0x00000073 /* ecall */, 0x10200073 /* sret */};
	uint64_t handler_at = p->base + p->memory_bytes;
	struct run r = {.p = p, .status = -1};
	struct vcpu_stats stats;
	struct machine m;
	machine_init(&m, p->base, p->memory_bytes + GUEST_PAGE_BYTES, serve, &r);
	r.memory = m.memory;
	memory_write(m.memory, GPA(p->base), p->image, p->image_bytes);
	memory_write(m.memory, GPA(handler_at), handler, sizeof(handler));
	m.cpu->priv = RV64_USER;
	m.cpu->fs = 1;
	m.cpu->stvec = handler_at;
	m.cpu->head.pc = p->start;
	rv64_mmu_mode_changed(m.cpu);
	bool ended = machine_run(&m, 60);
	memory_read(m.memory, GPA(p->records), out, count);
	vcpu_stats(m.vcpu, &stats);
	compiled += stats.regions_compiled;
	refused += stats.regions_refused;
	machine_done(&m);
	return ended && r.status == 0;
}

/* --- comparison --- */
static void print_block(const struct randprog *p, const struct rp_record *r)
{
	struct strbuf line _strbuf_ = STRBUF_INIT;
	uint64_t at = r->entry;
	for (unsigned n = 0; n < 100; n++) {
		strbuf_clear(&line);
		unsigned bytes = rv64_isa.disassemble(p->image + (at - p->base), 4, at, &line);
		printf("#   %" PRIx64 "  %s\n", at, line.data);
		/* The end of a block: a jump to the code that saves it. */
		if (!strncmp(line.data, "jalr\tzero,", 10) || !bytes)
			break;
		at += bytes;
	}
}

static void print_word(const char *name, uint64_t before, uint64_t theirs, uint64_t ours)
{
	if (theirs != ours)
		printf("#   %s: was %016" PRIx64 ", qemu %016" PRIx64 ", ours %016" PRIx64 "\n",
			name, before, theirs, ours);
}

static void print_difference(const struct randprog *p, unsigned block,
	const struct rp_record *theirs, const struct rp_record *ours)
{
	const struct rp_input *in = randprog_input(p, block);
	const uint64_t *x = (const void *)(p->image + (in->x - p->base));
	const uint64_t *f = (const void *)(p->image + (in->f - p->base));
	printf("# block %u differs:\n", block);
	print_block(p, theirs);
	print_word("signal", 0, theirs->signal, ours->signal);
	print_word("pc", 0, theirs->pc, ours->pc);
	print_word("addr", 0, theirs->addr, ours->addr);
	print_word("fcsr", in->fcsr, theirs->fcsr, ours->fcsr);
	for (unsigned n = 1; n < 32; n++)
		print_word(rv64_x_names[n], x[n], theirs->x[n], ours->x[n]);
	for (unsigned n = 0; n < 32; n++)
		print_word(rv64_f_names[n], f[n], theirs->f[n], ours->f[n]);
	for (unsigned n = 0; n < RP_SCRATCH; n++)
		if (theirs->scratch[n] != ours->scratch[n])
			printf("#   scratch %+d: qemu %02x, ours %02x\n", (int)n - RP_SCRATCH_BASE,
				theirs->scratch[n], ours->scratch[n]);
	printf("#   started with fcsr %02" PRIx64 ":\n", in->fcsr);
	for (unsigned n = 1; n < 32; n++)
		printf("#   %s %016" PRIx64 "  %s %016" PRIx64 "\n", rv64_x_names[n], x[n],
			rv64_f_names[n], f[n]);
}

/* The number of blocks that differ, -1 when a program did not run. */
static int compare(uint64_t seed, unsigned blocks, const char *process, unsigned *signals)
{
	struct randprog p;
	size_t count = blocks * sizeof(struct rp_record);
	struct rp_record *theirs = xcalloc(1, count), *ours = xcalloc(1, count);
	int differences = -1;
	randprog_make(&p, seed, blocks, PASSES);
	if (!run_process(&p, NULL, theirs, count)) {
		printf("# %s did not run the program of seed %" PRIu64 "\n", qemu, seed);
	} else if (process ? !run_process(&p, process, ours, count) : !run_ours(&p, ours, count)) {
		printf("# we did not run the program of seed %" PRIu64 "\n", seed);
	} else {
		differences = 0;
		for (unsigned n = 0; n < blocks; n++) {
			*signals += theirs[n].signal != 0;
			if (!memcmp(&theirs[n], &ours[n], sizeof(*ours)))
				continue;
			if (differences++ < 2)
				print_difference(&p, n, &theirs[n], &ours[n]);
		}
	}
	randprog_done(&p);
	free(theirs);
	free(ours);
	return differences;
}

int main(int argc, char **argv)
{
	enum { BATCH = 5000 };
	unsigned blocks = argc > 1 ? (unsigned)atoi(argv[1]) : BATCH, done = 0, signals = 0,
		 batches = 0;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	const char *process = argc > 3 ? argv[3] : NULL, *jit = getenv("STRATA_JIT");
	int bad = 0;
	if (system("command -v qemu-riscv64 >/dev/null 2>&1")) {
		printf("ok 1 - random blocks # SKIP %s is not installed\n1..1\n", qemu);
		return 0;
	}
	for (; done < blocks && bad < 10; batches++) {
		unsigned n = MIN(blocks - done, (unsigned)BATCH);
		int differences = compare(seed + batches, n, process, &signals);
		if (differences)
			printf("# seed %" PRIu64
			       ", %u blocks: %d differ; repeat: rv64_random %u %" PRIu64 "\n",
				seed + batches, n, differences, n, seed + batches);
		bad += differences ? 1 : 0;
		done += n;
	}
	printf("# %u blocks, %u ended by a signal; %" PRIu64 " regions, %" PRIu64 " refused\n",
		done, signals, compiled, refused);
	if (!process && jit && atoi(jit) > 0 && (compiled < done || refused > compiled / 10)) {
		printf("# too few of them were compiled\n");
		bad++;
	}
	printf("%s 1 - random blocks leave what they leave in %s\n1..1\n", bad ? "not ok" : "ok",
		qemu);
	return bad ? 1 : 0;
}
