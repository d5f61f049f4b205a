// SPDX-License-Identifier: Apache-2.0
// The guest's mappings: which page of the process is the guest's, with which rights, and which hold
// translated code. All addresses are below user_map.top, as on a CPU with Sv39.
//
// Functions that the guest calls return a result or -errno as the system call does. [any thread]
#ifndef STRATA_USER_MAP_H
#define STRATA_USER_MAP_H

#include <pthread.h>

#include "base/vec.h"
#include "cpu/vcpu.h"

/* A page's byte; 0: not mapped. The first three are the guest's rights. */
enum user_page {
	USER_PAGE_R = 1,
	USER_PAGE_W = 2,
	USER_PAGE_X = 4,
	USER_PAGE_MAPPED = 8,
	USER_PAGE_SHARED = 16,
	/* Blocks were made from it. The host lets nobody write to it until they are dropped. */
	USER_PAGE_CODE = 32,
};

struct user_map {
	_Atomic uint8_t *pages; /* one byte per page below top */
	uint64_t top;
	struct vcpu_group *group;
	pthread_mutex_t lock; /* what follows; changes of pages[] */
	uint64_t search;      /* holes are looked for below this first */
	uint64_t brk_start, brk;
	VEC(uint64_t) guarded; /* writable pages with USER_PAGE_CODE */
	VEC(uint64_t) shared;  /* shared pages with USER_PAGE_CODE */
};

int user_map_init(struct user_map *m, struct error *err);
void user_map_space(struct user_map *m, struct vcpu_space *out);
void user_map_set_brk(struct user_map *m, uint64_t start);

static inline uint8_t user_map_page(const struct user_map *m, uint64_t addr)
{
	return addr < m->top ? atomic_load_explicit(
				       &m->pages[addr >> GUEST_PAGE_SHIFT], memory_order_relaxed)
			     : 0;
}

int64_t user_mmap(struct user_map *m, uint64_t addr, uint64_t bytes, unsigned prot, unsigned flags,
	int fd, uint64_t offset);
int64_t user_munmap(struct user_map *m, uint64_t addr, uint64_t bytes);
int64_t user_mprotect(struct user_map *m, uint64_t addr, uint64_t bytes, unsigned prot);
int64_t user_mremap(struct user_map *m, uint64_t addr, uint64_t old_bytes, uint64_t bytes,
	unsigned flags, uint64_t to);
int64_t user_brk(struct user_map *m, uint64_t brk);
int64_t user_madvise(struct user_map *m, uint64_t addr, uint64_t bytes, int advice);
int64_t user_shmat(struct user_map *m, int id, uint64_t addr, int flags);
int64_t user_shmdt(struct user_map *m, uint64_t addr);

/* The guest wrote to a page with code: true when the write may be tried again; *changed: it was
 * the code that was in the way. [in a signal handler; the thread does not hold the lock] */
bool user_map_written(struct user_map *m, uint64_t addr, bool *changed);
/* All writable pages become writable for the host's kernel; false: they were. */
bool user_map_unguard(struct user_map *m);
/* Code may have changed through another mapping of the same memory. */
void user_map_code_fence(struct user_map *m);

#endif
