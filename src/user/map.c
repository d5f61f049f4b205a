// SPDX-License-Identifier: Apache-2.0
#include "user/map.h"

#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif

enum {
	RIGHTS = USER_PAGE_R | USER_PAGE_W | USER_PAGE_X,
	LOWEST = 0x10000, /* vm.mmap_min_addr, as programs know it */
};

/* What a CPU with Sv39 gives a process. The address sanitizer has its shadow from 2 GiB up. */
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define TOP UINT64_C(0x7fff0000)
#else
#define TOP (UINT64_C(1) << 38)
#endif

int user_map_init(struct user_map *m, struct error *err)
{
	size_t bytes = TOP >> GUEST_PAGE_SHIFT;
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pages == MAP_FAILED)
		return error_errno(err, errno, "page table");
	*m = (struct user_map){.pages = pages, .top = TOP, .search = TOP};
	pthread_mutex_init(&m->lock, NULL);
	return 0;
}

void user_map_set_brk(struct user_map *m, uint64_t start)
{
	m->brk_start = m->brk = start;
}

/* --- pages --- */
static uint8_t page_byte(unsigned prot)
{
	uint8_t rights = USER_PAGE_MAPPED;
	if (prot & PROT_READ)
		rights |= USER_PAGE_R;
	if (prot & PROT_WRITE) /* there is no page that can only be written to */
		rights |= USER_PAGE_W | USER_PAGE_R;
	if (prot & PROT_EXEC)
		rights |= USER_PAGE_X;
	return rights;
}

/* The host executes nothing of the guest's, but must read what the guest executes. */
static int host_prot(uint8_t page)
{
	if (page & USER_PAGE_W)
		return PROT_READ | PROT_WRITE;
	return page & (USER_PAGE_R | USER_PAGE_X) ? PROT_READ : PROT_NONE;
}

static bool in_range(const struct user_map *m, uint64_t addr, uint64_t bytes)
{
	return !(addr & (GUEST_PAGE_BYTES - 1)) && range_fits(addr, bytes, m->top);
}

static void set_pages(struct user_map *m, uint64_t addr, uint64_t bytes, uint8_t page)
{
	memset((uint8_t *)m->pages + (addr >> GUEST_PAGE_SHIFT), page, bytes >> GUEST_PAGE_SHIFT);
}

static void forget(struct user_map *m, uint64_t page)
{
	for (size_t n = 0; n < m->guarded.len; n++)
		if (m->guarded.items[n] == page)
			m->guarded.items[n--] = vec_pop(&m->guarded);
	for (size_t n = 0; n < m->shared.len; n++)
		if (m->shared.items[n] == page)
			m->shared.items[n--] = vec_pop(&m->shared);
}

/* The page is not code any more. The lock is held. */
static void drop_page(struct user_map *m, uint64_t addr)
{
	uint8_t old =
		atomic_fetch_and(&m->pages[addr >> GUEST_PAGE_SHIFT], (uint8_t)~USER_PAGE_CODE);
	if (!(old & USER_PAGE_CODE))
		return;
	vcpu_group_drop_code(m->group, (const uint8_t *)(uintptr_t)addr);
	if (old & (USER_PAGE_W | USER_PAGE_SHARED))
		forget(m, addr);
	if (old & USER_PAGE_W)
		mprotect((void *)(uintptr_t)addr, GUEST_PAGE_BYTES, host_prot(old));
}

/* No page of the range is code any more. The lock is held. */
static void drop_range(struct user_map *m, uint64_t addr, uint64_t bytes)
{
	uint64_t code8 = USER_PAGE_CODE * UINT64_C(0x0101010101010101), w;
	size_t n = addr >> GUEST_PAGE_SHIFT, end = (addr + bytes) >> GUEST_PAGE_SHIFT;
	while (n < end) {
		if (!(n & 7) && n + 8 <= end) {
			memcpy(&w, (uint8_t *)m->pages + n, 8);
			if (!(w & code8)) {
				n += 8;
				continue;
			}
		}
		if (atomic_load(&m->pages[n]) & USER_PAGE_CODE)
			drop_page(m, (uint64_t)n << GUEST_PAGE_SHIFT);
		n++;
	}
}

/* The start of a hole of that size, the highest one below `below`, or 0. */
static uint64_t hole_below(const struct user_map *m, uint64_t bytes, uint64_t below)
{
	size_t want = bytes >> GUEST_PAGE_SHIFT, run = 0, low = LOWEST >> GUEST_PAGE_SHIFT;
	for (size_t n = below >> GUEST_PAGE_SHIFT; n > low;) {
		uint64_t w;
		if (!(n & 7) && n >= low + 8) {
			memcpy(&w, (uint8_t *)m->pages + n - 8, 8);
			if (!w && run + 8 < want) {
				run += 8;
				n -= 8;
				continue;
			}
		}
		n--;
		run = atomic_load_explicit(&m->pages[n], memory_order_relaxed) ? 0 : run + 1;
		if (run == want)
			return (uint64_t)n << GUEST_PAGE_SHIFT;
	}
	return 0;
}

static bool is_free(const struct user_map *m, uint64_t addr, uint64_t bytes)
{
	for (uint64_t at = addr; at < addr + bytes; at += GUEST_PAGE_BYTES)
		if (user_map_page(m, at))
			return false;
	return addr >= LOWEST;
}

static uint64_t find_hole(struct user_map *m, uint64_t hint, uint64_t bytes)
{
	if (hint && in_range(m, hint, bytes) && is_free(m, hint, bytes))
		return hint;
	uint64_t at = hole_below(m, bytes, m->search);
	if (!at)
		at = hole_below(m, bytes, m->top);
	if (at)
		m->search = at;
	return at;
}

static void freed(struct user_map *m, uint64_t end)
{
	m->search = MAX(m->search, end);
}

/* --- system calls --- */
static int64_t map_locked(struct user_map *m, uint64_t addr, uint64_t bytes, unsigned prot,
	unsigned flags, int fd, uint64_t offset)
{
	bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	unsigned host_flags = flags & ~(unsigned)(MAP_GROWSDOWN | MAP_32BIT | MAP_FIXED_NOREPLACE);
	uint8_t page = page_byte(prot);
	if ((flags & MAP_TYPE) != MAP_PRIVATE)
		page |= USER_PAGE_SHARED;
	if (fixed && (!in_range(m, addr, bytes) || addr < LOWEST))
		return addr & (GUEST_PAGE_BYTES - 1) ? -EINVAL : addr < LOWEST ? -EPERM : -ENOMEM;
	if (flags & MAP_FIXED_NOREPLACE) {
		if (!is_free(m, addr, bytes))
			return -EEXIST;
	} else if (!fixed) {
		addr = find_hole(m, align_down(addr, GUEST_PAGE_BYTES), bytes);
		if (!addr)
			return -ENOMEM;
	}
	if (flags & MAP_FIXED)
		drop_range(m, addr, bytes);
	else
		host_flags |= MAP_FIXED_NOREPLACE;
	void *p = mmap((void *)(uintptr_t)addr, bytes, host_prot(page), (int)host_flags, fd,
		(off_t)offset);
	if (p == MAP_FAILED)
		return -errno;
	set_pages(m, addr, bytes, page);
	return (int64_t)addr;
}

int64_t user_mmap(struct user_map *m, uint64_t addr, uint64_t bytes, unsigned prot, unsigned flags,
	int fd, uint64_t offset)
{
	if (!bytes || (offset & (GUEST_PAGE_BYTES - 1)))
		return -EINVAL;
	if (bytes > m->top)
		return -ENOMEM;
	bytes = align_up(bytes, GUEST_PAGE_BYTES);
	pthread_mutex_lock(&m->lock);
	int64_t r = map_locked(m, addr, bytes, prot, flags, fd, offset);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int64_t user_munmap(struct user_map *m, uint64_t addr, uint64_t bytes)
{
	if (!bytes || bytes > m->top)
		return -EINVAL;
	bytes = align_up(bytes, GUEST_PAGE_BYTES);
	if (!in_range(m, addr, bytes))
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	drop_range(m, addr, bytes);
	int64_t r = munmap((void *)(uintptr_t)addr, bytes) ? -errno : 0;
	if (!r) {
		set_pages(m, addr, bytes, 0);
		freed(m, addr + bytes);
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

int64_t user_mprotect(struct user_map *m, uint64_t addr, uint64_t bytes, unsigned prot)
{
	prot &= ~(unsigned)(PROT_GROWSDOWN | PROT_GROWSUP);
	if ((addr & (GUEST_PAGE_BYTES - 1)) ||
		(prot & ~(unsigned)(PROT_READ | PROT_WRITE | PROT_EXEC)))
		return -EINVAL;
	bytes = align_up(bytes, GUEST_PAGE_BYTES);
	if (!bytes)
		return 0;
	if (!in_range(m, addr, bytes))
		return -ENOMEM;
	uint8_t page = page_byte(prot);
	pthread_mutex_lock(&m->lock);
	drop_range(m, addr, bytes);
	int64_t r = mprotect((void *)(uintptr_t)addr, bytes, host_prot(page)) ? -errno : 0;
	/* It may have done a part. What it has not is mapped, or not, as before. */
	for (uint64_t at = addr; at < addr + bytes; at += GUEST_PAGE_BYTES) {
		_Atomic uint8_t *p = &m->pages[at >> GUEST_PAGE_SHIFT];
		if (!*p)
			break;
		if (r == 0 || r == -ENOMEM)
			*p = page | (*p & USER_PAGE_SHARED);
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

static int64_t remap_locked(struct user_map *m, uint64_t addr, uint64_t old_bytes, uint64_t bytes,
	unsigned flags, uint64_t to)
{
	uint8_t first = user_map_page(m, addr);
	if (!first)
		return -EFAULT;
	if (flags & MREMAP_FIXED) {
		if (!in_range(m, to, bytes) || to < LOWEST)
			return -EINVAL;
		drop_range(m, to, bytes);
	} else if (bytes > old_bytes && (!in_range(m, addr, bytes) ||
						!is_free(m, addr + old_bytes, bytes - old_bytes))) {
		if (!(flags & MREMAP_MAYMOVE))
			return -ENOMEM;
		to = find_hole(m, 0, bytes);
		if (!to)
			return -ENOMEM;
		flags |= MREMAP_FIXED;
	} else if (!(flags & MREMAP_DONTUNMAP)) {
		to = addr;
		flags = 0;
	} else {
		to = find_hole(m, 0, bytes);
		if (!to)
			return -ENOMEM;
		flags |= MREMAP_FIXED;
	}
	drop_range(m, addr, old_bytes);
	void *p = mremap(
		(void *)(uintptr_t)addr, old_bytes, bytes, (int)flags, (void *)(uintptr_t)to);
	if (p == MAP_FAILED)
		return -errno;
	/* The kernel moves one mapping at a time: all its pages are alike, or were split by us. */
	uint8_t kept = first & (uint8_t)~USER_PAGE_CODE;
	if (to != addr && old_bytes && !(flags & MREMAP_DONTUNMAP))
		set_pages(m, addr, old_bytes, 0);
	else if (bytes < old_bytes)
		set_pages(m, addr + bytes, old_bytes - bytes, 0);
	set_pages(m, to, bytes, kept);
	freed(m, addr + old_bytes);
	return (int64_t)to;
}

int64_t user_mremap(struct user_map *m, uint64_t addr, uint64_t old_bytes, uint64_t bytes,
	unsigned flags, uint64_t to)
{
	if (!bytes || bytes > m->top || old_bytes > m->top ||
		(flags & ~(unsigned)(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) ||
		((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE)))
		return -EINVAL;
	old_bytes = align_up(old_bytes, GUEST_PAGE_BYTES);
	bytes = align_up(bytes, GUEST_PAGE_BYTES);
	if (!in_range(m, addr, old_bytes))
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	int64_t r = remap_locked(m, addr, old_bytes, bytes, flags, to);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int64_t user_brk(struct user_map *m, uint64_t brk)
{
	uint64_t end = align_up(m->brk, GUEST_PAGE_BYTES);
	if (brk < m->brk_start || brk > m->top)
		return (int64_t)m->brk;
	uint64_t new_end = align_up(brk, GUEST_PAGE_BYTES);
	if (new_end > end) {
		pthread_mutex_lock(&m->lock);
		int64_t r = map_locked(m, end, new_end - end, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		pthread_mutex_unlock(&m->lock);
		if (r < 0)
			return (int64_t)m->brk;
	} else if (new_end < end) {
		user_munmap(m, new_end, end - new_end);
	}
	m->brk = brk;
	return (int64_t)brk;
}

int64_t user_madvise(struct user_map *m, uint64_t addr, uint64_t bytes, int advice)
{
	if (bytes > m->top)
		return -EINVAL;
	bytes = align_up(bytes, GUEST_PAGE_BYTES);
	if (!in_range(m, addr, bytes))
		return addr & (GUEST_PAGE_BYTES - 1) ? -EINVAL : -ENOMEM;
	pthread_mutex_lock(&m->lock);
	switch (advice) { /* these change what is there */
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_DONTNEED_LOCKED:
		drop_range(m, addr, bytes);
		break;
	default:
		break;
	}
	int64_t r = madvise((void *)(uintptr_t)addr, bytes, advice) ? -errno : 0;
	pthread_mutex_unlock(&m->lock);
	return r;
}

int64_t user_shmat(struct user_map *m, int id, uint64_t addr, int flags)
{
	struct shmid_ds ds;
	if (shmctl(id, IPC_STAT, &ds) < 0)
		return errno == EACCES ? -EACCES : -EINVAL;
	if (addr & (GUEST_PAGE_BYTES - 1)) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		addr = align_down(addr, GUEST_PAGE_BYTES);
	}
	uint64_t bytes = align_up(ds.shm_segsz, GUEST_PAGE_BYTES);
	if (bytes > m->top || (addr && (!in_range(m, addr, bytes) || addr < LOWEST)))
		return -EINVAL;
	uint8_t page = page_byte(PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) |
				 (flags & SHM_EXEC ? PROT_EXEC : 0)) |
		       USER_PAGE_SHARED;
	pthread_mutex_lock(&m->lock);
	int64_t r = -EINVAL;
	if (!addr) {
		addr = find_hole(m, 0, bytes);
		r = -ENOMEM;
	} else if ((flags & SHM_REMAP) || is_free(m, addr, bytes)) {
		drop_range(m, addr, bytes);
	} else {
		addr = 0;
	}
	if (addr) {
		void *p = shmat(id, (void *)(uintptr_t)addr, flags & ~SHM_EXEC);
		r = p == (void *)-1 ? -errno : (int64_t)addr;
		if (r > 0)
			set_pages(m, addr, bytes, page);
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

int64_t user_shmdt(struct user_map *m, uint64_t addr)
{
	if (!in_range(m, addr, GUEST_PAGE_BYTES))
		return -EINVAL;
	/* How long it is only the kernel knows: ask it of each page behind. */
	uint64_t end = addr;
	pthread_mutex_lock(&m->lock);
	while (user_map_page(m, end) & USER_PAGE_SHARED)
		end += GUEST_PAGE_BYTES;
	drop_range(m, addr, end - addr);
	int64_t r = shmdt((void *)(uintptr_t)addr) ? -errno : 0;
	for (uint64_t at = addr; !r && at < end; at += GUEST_PAGE_BYTES) {
		uint8_t resident;
		if (mincore((void *)(uintptr_t)at, GUEST_PAGE_BYTES, &resident) == 0)
			break; /* another mapping */
		set_pages(m, at, GUEST_PAGE_BYTES, 0);
		freed(m, at + GUEST_PAGE_BYTES);
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

/* --- code --- */
static bool executable(void *opaque, uint64_t addr)
{
	return user_map_page(opaque, addr) & USER_PAGE_X;
}

static bool is_code(void *opaque, const uint8_t *page)
{
	const struct user_map *m = opaque;
	return atomic_load(&m->pages[(uintptr_t)page >> GUEST_PAGE_SHIFT]) & USER_PAGE_CODE;
}

static void make_code(void *opaque, const uint8_t *host)
{
	struct user_map *m = opaque;
	uint64_t addr = (uintptr_t)host;
	if (is_code(m, host))
		return;
	pthread_mutex_lock(&m->lock);
	_Atomic uint8_t *page = &m->pages[addr >> GUEST_PAGE_SHIFT];
	uint8_t old = *page;
	if ((old & USER_PAGE_X) && !(old & USER_PAGE_CODE)) {
		if (old & USER_PAGE_W) {
			mprotect((void *)(uintptr_t)addr, GUEST_PAGE_BYTES, PROT_READ);
			vec_push(&m->guarded, addr);
		}
		if (old & USER_PAGE_SHARED)
			vec_push(&m->shared, addr);
		atomic_fetch_or(page, USER_PAGE_CODE);
	}
	pthread_mutex_unlock(&m->lock);
}

bool user_map_written(struct user_map *m, uint64_t addr, bool *changed)
{
	*changed = false;
	if (!(user_map_page(m, addr) & USER_PAGE_W))
		return false;
	pthread_mutex_lock(&m->lock);
	uint8_t page = user_map_page(m, addr);
	*changed = page & USER_PAGE_CODE;
	drop_page(m, align_down(addr, GUEST_PAGE_BYTES));
	pthread_mutex_unlock(&m->lock);
	return page & USER_PAGE_W;
}

bool user_map_unguard(struct user_map *m)
{
	pthread_mutex_lock(&m->lock);
	bool any = m->guarded.len;
	while (m->guarded.len)
		drop_page(m, m->guarded.items[m->guarded.len - 1]);
	pthread_mutex_unlock(&m->lock);
	return any;
}

void user_map_code_fence(struct user_map *m)
{
	pthread_mutex_lock(&m->lock);
	while (m->shared.len)
		drop_page(m, m->shared.items[m->shared.len - 1]);
	pthread_mutex_unlock(&m->lock);
}

static void code_fence(void *opaque)
{
	user_map_code_fence(opaque);
}

void user_map_space(struct user_map *m, struct vcpu_space *out)
{
	*out = (struct vcpu_space){m, executable, make_code, is_code, code_fence};
}
