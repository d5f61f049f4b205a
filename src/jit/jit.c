// SPDX-License-Identifier: Apache-2.0
// Code memory: the same pages mapped twice, so that no page is ever writable and executable at
// one address. Regions are cut from holes, first fit.
#include "jit/jit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "jit/internal.h"

/* A region is emitted into the largest room that there may be need for, then cut to size. */
enum { REGION_MAX_BYTES = 256 << 10, CODE_ALIGN = 32 };

/* Shared pages, and the same again: mremap() of length 0 maps them once more. */
static int map_code(struct jit *j, struct error *err)
{
	if (j->flat) {
		void *p = mmap(NULL, j->bytes, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return error_errno(err, errno, "jit: cannot map code memory");
		j->write = j->exec = p;
		return 0;
	}
	void *w = mmap(NULL, j->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w == MAP_FAILED)
		return error_errno(err, errno, "jit: cannot map code memory");
	j->write = w;
	void *x = mremap(w, 0, j->bytes, MREMAP_MAYMOVE);
	if (x == MAP_FAILED)
		return error_errno(err, errno, "jit: cannot map code memory twice");
	j->exec = x;
	if (mprotect(x, j->bytes, PROT_READ | PROT_EXEC) < 0)
		return error_errno(err, errno, "jit: this host allows no code to be made");
	return 0;
}

/* For `perf report`: one line per region, named after the guest's address
 * (tools/perf/Documentation/jit-interface.txt of Linux). STRATA_PERF_MAP asks for it. */
static void open_perf_map(struct jit *j)
{
	char path[64];
	if (!getenv("STRATA_PERF_MAP"))
		return;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	j->perf_map = fd < 0 ? NULL : fdopen(fd, "w");
	if (!j->perf_map)
		return;
	setvbuf(j->perf_map, NULL, _IOLBF, 0);
	fprintf(j->perf_map, "%" PRIxPTR " %zx strata: common code\n", (uintptr_t)j->exec,
		j->common_bytes);
}

int jit_new(struct jit **out, const struct isa *isa, bool flat, bool counted, size_t bytes,
	struct error *err)
{
	int r = jit_host_check(err);
	if (r < 0)
		return r;
	struct jit *j = xcalloc(1, sizeof(*j));
	j->isa = isa;
	j->flat = flat;
	j->counted = counted;
	j->bytes = bytes;
	pthread_mutex_init(&j->lock, NULL);
	r = map_code(j, err);
	if (r < 0) {
		jit_free(j);
		return r;
	}
	jit_emit_common(j);
	open_perf_map(j);
	j->hole_cap = 64;
	j->holes = xcalloc(j->hole_cap, sizeof(*j->holes));
	uint32_t first = (uint32_t)align_up(j->common_bytes, CODE_ALIGN);
	j->holes[j->hole_count++] = (struct jit_hole){first, (uint32_t)(j->bytes - first)};
	*out = j;
	return 0;
}

void jit_free(struct jit *j)
{
	if (!j)
		return;
	if (j->write)
		munmap(j->write, j->bytes);
	if (j->exec && !j->flat)
		munmap(j->exec, j->bytes);
	if (j->perf_map)
		fclose(j->perf_map);
	pthread_mutex_destroy(&j->lock);
	free(j->holes);
	free(j->regions);
	free(j);
}

void jit_lock(struct jit *j)
{
	pthread_mutex_lock(&j->lock);
}

void jit_unlock(struct jit *j)
{
	pthread_mutex_unlock(&j->lock);
}

bool jit_is_flat(const struct jit *j)
{
	return j->flat;
}

size_t jit_bytes(const struct jit *j)
{
	return __atomic_load_n(&j->used, __ATOMIC_RELAXED);
}

void jit_next_victim(struct jit *j, const uint8_t **low, const uint8_t **high)
{
	pthread_mutex_lock(&j->lock);
	*low = j->write + j->bytes / 4 * j->victim;
	*high = *low + j->bytes / 4;
	j->victim = (j->victim + 1) % 4;
	pthread_mutex_unlock(&j->lock);
}

/* --- holes; the lock is held --- */
static void insert_hole(struct jit *j, unsigned n, struct jit_hole hole)
{
	if (j->hole_count == j->hole_cap) {
		j->hole_cap *= 2;
		j->holes = xrealloc(j->holes, j->hole_cap * sizeof(*j->holes));
	}
	memmove(&j->holes[n + 1], &j->holes[n], (j->hole_count - n) * sizeof(*j->holes));
	j->holes[n] = hole;
	j->hole_count++;
}

static void give_back(struct jit *j, uint32_t at, uint32_t bytes)
{
	unsigned n = 0;
	while (n < j->hole_count && j->holes[n].at < at)
		n++;
	bool before = n && j->holes[n - 1].at + j->holes[n - 1].bytes == at;
	bool after = n < j->hole_count && at + bytes == j->holes[n].at;
	if (before && after) {
		j->holes[n - 1].bytes += bytes + j->holes[n].bytes;
		memmove(&j->holes[n], &j->holes[n + 1], (--j->hole_count - n) * sizeof(*j->holes));
	} else if (before) {
		j->holes[n - 1].bytes += bytes;
	} else if (after) {
		j->holes[n].at = at;
		j->holes[n].bytes += bytes;
	} else {
		insert_hole(j, n, (struct jit_hole){at, bytes});
	}
}

/* --- regions by address; the lock is held --- */
static unsigned find_region(const struct jit *j, const uint8_t *code)
{
	unsigned low = 0, high = j->region_count;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (j->regions[mid]->code + j->regions[mid]->bytes <= code)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void remember_region(struct jit *j, struct jit_region *r)
{
	unsigned n = find_region(j, r->code);
	if (j->region_count == j->region_cap) {
		j->region_cap = j->region_cap ? 2 * j->region_cap : 256;
		j->regions = xrealloc(j->regions, j->region_cap * sizeof(struct jit_region *));
	}
	memmove(&j->regions[n + 1], &j->regions[n],
		(j->region_count - n) * sizeof(struct jit_region *));
	j->regions[n] = r;
	j->region_count++;
}

static void forget_region(struct jit *j, const struct jit_region *r)
{
	unsigned n = find_region(j, r->code);
	memmove(&j->regions[n], &j->regions[n + 1],
		(--j->region_count - n) * sizeof(struct jit_region *));
}

/* The pc of the access at `code`. */
static bool find_access(const struct jit *j, const uint8_t *code, uint64_t *pc)
{
	unsigned n = find_region(j, code);
	if (n == j->region_count || code < j->regions[n]->code)
		return false;
	const struct jit_region *r = j->regions[n];
	uint32_t at = (uint32_t)(code - r->code);
	unsigned low = 0, high = r->access_count;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (r->accesses[mid].at < at)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == r->access_count || r->accesses[low].at != at)
		return false;
	*pc = r->accesses[low].pc;
	return true;
}

bool jit_recover(struct jit *j, void *cpu, void *ucontext)
{
	const uint8_t *code = jit_fault_address(ucontext);
	uint64_t pc;
	if (!j->flat || (size_t)(code - j->exec) >= j->bytes)
		return false;
	/* This thread runs guest code: it does not hold the lock. */
	pthread_mutex_lock(&j->lock);
	bool found = find_access(j, jit_writable(j, code), &pc);
	pthread_mutex_unlock(&j->lock);
	if (found)
		jit_leave_faulted(j, cpu, pc, ucontext);
	return found;
}

static struct jit_hole *largest_hole(struct jit *j)
{
	struct jit_hole *best = NULL;
	for (unsigned n = 0; n < j->hole_count; n++) {
		if (j->holes[n].bytes >= REGION_MAX_BYTES)
			return &j->holes[n];
		if (!best || j->holes[n].bytes > best->bytes)
			best = &j->holes[n];
	}
	return best;
}

int jit_compile(struct jit *j, const struct ir_func *f, unsigned entries, struct jit_region **out,
	struct error *err)
{
	struct jit_region *r = xcalloc(1, sizeof(*r));
	pthread_mutex_lock(&j->lock);
	struct jit_hole *hole = largest_hole(j);
	int ret = hole ? jit_emit(j, f, entries, j->write + hole->at,
				 MIN(hole->bytes, (uint32_t)REGION_MAX_BYTES), r, err)
		       : -ENOSPC;
	if (ret == 0) {
		uint32_t bytes = (uint32_t)align_up(r->bytes, CODE_ALIGN);
		r->code = j->write + hole->at;
		r->bytes = bytes = MIN(bytes, hole->bytes);
		hole->at += bytes;
		hole->bytes -= bytes;
		__atomic_store_n(&j->used, j->used + bytes, __ATOMIC_RELAXED);
		if (j->flat)
			remember_region(j, r);
		if (j->perf_map)
			fprintf(j->perf_map, "%" PRIxPTR " %x guest 0x%" PRIx64 "\n",
				(uintptr_t)jit_executable(j, r->code), bytes, f->pc);
	}
	pthread_mutex_unlock(&j->lock);
	if (ret < 0) {
		jit_region_free(j, r);
		return ret == -ENOSPC ? error_set(err, ENOSPC, "jit: the code memory is full")
				      : ret;
	}
	*out = r;
	return 0;
}

void jit_region_free(struct jit *j, struct jit_region *r)
{
	if (!r)
		return;
	if (r->code) {
		pthread_mutex_lock(&j->lock);
		if (j->flat)
			forget_region(j, r);
		give_back(j, (uint32_t)(r->code - j->write), r->bytes);
		__atomic_store_n(&j->used, j->used - r->bytes, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&j->lock);
	}
	free(r->entries);
	free(r->links);
	free(r->accesses);
	free(r);
}

void jit_link_to(struct jit *j, struct jit_link *link, const void *code)
{
	if (link->cell) {
		link->cell[1] = (uintptr_t)code;
		__atomic_store_n(&link->cell[0], link->pc, __ATOMIC_RELEASE);
		return;
	}
	jit_patch_jump(link->jump, jit_writable(j, code));
}

enum interp_exit jit_run(struct jit *j, void *cpu, const void *code)
{
	typedef unsigned enter_fn(void *cpu, const void *code);
	enter_fn *enter;
	const void *at = jit_executable(j, j->enter);
	memcpy(&enter, &at, sizeof(enter));
	return (enum interp_exit)enter(cpu, code);
}
