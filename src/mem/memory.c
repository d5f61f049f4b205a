// SPDX-License-Identifier: Apache-2.0
#include "mem/memory.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/vec.h"

struct memory {
	VEC(struct memory_region) regions; /* fixed before vCPUs run */
	memory_code_written_fn *code_written;
	void *code_written_opaque;
};

int memory_new(struct memory **out, struct error *err)
{
	*out = xcalloc(1, sizeof(struct memory));
	return 0;
}

static void region_done(struct memory_region *r)
{
	if (r->host)
		munmap(r->host, r->bytes);
	if (r->page_flags)
		munmap((void *)r->page_flags, r->bytes >> GUEST_PAGE_SHIFT);
	if (r->fd >= 0)
		close(r->fd);
}

void memory_free(struct memory *m)
{
	if (!m)
		return;
	vec_for_each (r, &m->regions)
		region_done(r);
	vec_done(&m->regions);
	free(m);
}

int memory_add_ram(struct memory *m, gpa_t base, uint64_t bytes, struct error *err)
{
	uint64_t end;
	if (!bytes || bytes % GUEST_PAGE_BYTES || base.v % GUEST_PAGE_BYTES ||
		add_overflows(base.v, bytes, &end))
		return error_set(err, EINVAL,
			"memory: region 0x%" PRIx64 "+0x%" PRIx64 " is not whole pages", base.v,
			bytes);
	vec_for_each (o, &m->regions)
		if (base.v < o->base.v + o->bytes && o->base.v < end)
			return error_set(
				err, EEXIST, "memory: regions overlap at 0x%" PRIx64, base.v);

	struct memory_region r = {.base = base, .bytes = bytes, .fd = -1};
	r.fd = memfd_create("strata-ram", MFD_CLOEXEC);
	if (r.fd < 0 || ftruncate(r.fd, (off_t)bytes) < 0)
		goto fail;
	r.host = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, r.fd, 0);
	if (r.host == MAP_FAILED) {
		r.host = NULL;
		goto fail;
	}
	void *flags = mmap(NULL, bytes >> GUEST_PAGE_SHIFT, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (flags == MAP_FAILED)
		goto fail;
	r.page_flags = flags;
	vec_push(&m->regions, r);
	return 0;
fail:;
	int code = errno;
	region_done(&r);
	error_errno(err, code, "memory: cannot map %" PRIu64 " MiB for the guest", bytes / MiB);
	error_remedy(err, "give the machine less with --memory");
	return -code;
}

const struct memory_region *memory_regions(const struct memory *m, unsigned *count)
{
	*count = (unsigned)m->regions.len;
	return m->regions.items;
}

const struct memory_region *memory_find(const struct memory *m, gpa_t addr)
{
	vec_for_each (r, &m->regions)
		if (addr.v - r->base.v < r->bytes)
			return r;
	return NULL;
}

const void *memory_read_ptr(const struct memory *m, gpa_t addr, uint64_t len)
{
	const struct memory_region *r = memory_find(m, addr);
	if (!r || len > r->bytes - (addr.v - r->base.v))
		return NULL;
	return r->host + (addr.v - r->base.v);
}

/* One atomic operation per page, even when it changes nothing: writes before it and the look at
 * CODE keep their order. So of a device that marks after writing, and a CPU that sets CODE before
 * reading, one sees the other. */
static void mark_written(
	const struct memory *m, const struct memory_region *r, uint64_t off, uint64_t len)
{
	if (!len)
		return;
	uint64_t last = (off + len - 1) >> GUEST_PAGE_SHIFT;
	for (uint64_t page = off >> GUEST_PAGE_SHIFT; page <= last; page++) {
		_Atomic uint8_t *flags = &r->page_flags[page];
		if (!(atomic_fetch_or(flags, MEMORY_PAGE_DIRTY) & MEMORY_PAGE_CODE))
			continue;
		uint8_t old = atomic_fetch_and(flags, (uint8_t)~MEMORY_PAGE_CODE);
		if ((old & MEMORY_PAGE_CODE) && m->code_written)
			m->code_written(m->code_written_opaque,
				GPA(r->base.v + (page << GUEST_PAGE_SHIFT)));
	}
}

void *memory_write_ptr(struct memory *m, gpa_t addr, uint64_t len)
{
	const struct memory_region *r = memory_find(m, addr);
	if (!r || len > r->bytes - (addr.v - r->base.v))
		return NULL;
	mark_written(m, r, addr.v - r->base.v, len);
	return r->host + (addr.v - r->base.v);
}

int memory_read(const struct memory *m, gpa_t addr, void *out, uint64_t len)
{
	const void *p = memory_read_ptr(m, addr, len);
	if (!p)
		return -EFAULT;
	memcpy(out, p, len);
	return 0;
}

int memory_write(struct memory *m, gpa_t addr, const void *bytes, uint64_t len)
{
	const struct memory_region *r = memory_find(m, addr);
	if (!r || len > r->bytes - (addr.v - r->base.v))
		return -EFAULT;
	uint64_t off = addr.v - r->base.v;
	memcpy(r->host + off, bytes, len);
	mark_written(m, r, off, len);
	return 0;
}

void memory_on_code_written(struct memory *m, memory_code_written_fn *fn, void *opaque)
{
	m->code_written = fn;
	m->code_written_opaque = opaque;
}
