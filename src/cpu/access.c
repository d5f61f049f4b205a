// SPDX-License-Identifier: Apache-2.0
// Guest memory accesses that the executors' inline path cannot do: translation, devices, pages
// with code, accesses across pages, faults. On the vCPU's thread.
#include "cpu/internal.h"
#include "isa/fpu.h"

/* What a virtual address is. */
struct target {
	uint8_t *host; /* NULL: not RAM */
	gpa_t gpa;     /* when it is not */
	bool reserved; /* a store is for reserve.c */
};

/* A store to the page is about to be allowed: code made from it goes, and reservations in it.
 * Setting WRITER comes before looking at CODE; vcpu_protect_page() does the opposite, in one atomic
 * operation each, so that one of the two notices the other. */
static void page_becomes_writable(struct vcpu *v, const uint8_t *host)
{
	struct code_cache *cache = v->group->cache;
	_Atomic uint8_t *flags = code_cache_page_flags(cache, host);
	uint8_t wanted = MEMORY_PAGE_WRITER | MEMORY_PAGE_DIRTY;
	uint8_t old = atomic_load_explicit(flags, memory_order_relaxed);
	if ((old & wanted) != wanted || (old & (MEMORY_PAGE_CODE | MEMORY_PAGE_RESERVED)))
		old = atomic_fetch_or(flags, wanted);
	if (old & MEMORY_PAGE_RESERVED)
		vcpu_break_reservations(v->group, host);
	if (old & MEMORY_PAGE_CODE) {
		atomic_fetch_and(flags, (uint8_t)~MEMORY_PAGE_CODE);
		code_cache_drop_page(cache, host);
	}
}

/* What a store to a page with reservations does to them. */
enum reservations { BREAK, KEEP };

static bool keeps_reservations(struct vcpu *v, const uint8_t *host_page)
{
	return atomic_load(code_cache_page_flags(v->group->cache, host_page)) &
	       MEMORY_PAGE_RESERVED;
}

/* Translates addr for an access and fills the TLB. false: cpu_head.fault is set. */
static bool translate(struct vcpu *v, uint64_t addr, enum isa_access access,
	enum reservations reservations, struct target *out)
{
	struct cpu_head *h = v->head;
	struct isa_mapping m;
	vcpu_count_event(&v->tlb_misses);
	if (h->isa->translate(h, GVA(addr), access, &m) < 0)
		return false;
	uint64_t in_page = addr & (GUEST_PAGE_BYTES - 1), page = addr - in_page;
	const struct memory_region *r = memory_find(h->memory, m.page);
	*out = (struct target){.gpa = GPA(m.page.v + in_page)};
	if (!r)
		return true;
	uint8_t *host_page = r->host + (m.page.v - r->base.v);
	out->host = host_page + in_page;
	tlb_miss(h->tlb);
	cpu_use_tlb(h, h->tlb);
	struct tlb_entry *e = tlb_slot(h->tlb, page), old = *e;
	const struct vcpu_debug *d = &v->group->debug;
	bool watched = UNLIKELY(d->watchpoint_count) && vcpu_debug_page_watched(d, page);
	*e = (struct tlb_entry){
		.read = m.readable && !watched ? page : TLB_NO_TAG,
		.write = TLB_NO_TAG,
		.exec = m.executable ? page : TLB_NO_TAG,
		.addend = (uintptr_t)host_page - page,
	};
	if (access == ISA_WRITE && reservations == KEEP && keeps_reservations(v, host_page)) {
		out->reserved = true;
	} else if (access == ISA_WRITE) {
		page_becomes_writable(v, host_page);
		if (!watched)
			tlb_allow_write(h->tlb, e, page);
	} else if (m.writable && old.write == page && old.addend == e->addend) {
		e->write = page; /* keeps what it had */
	}
	return true;
}

static bool find_for(struct vcpu *v, uint64_t addr, enum isa_access access,
	enum reservations reservations, struct target *out)
{
	struct tlb *t = v->head->tlb;
	out->reserved = false;
	out->host = access == ISA_READ	  ? tlb_read(t, addr, 1)
		    : access == ISA_WRITE ? tlb_write(t, addr, 1)
					  : tlb_exec(t, addr, 1);
	return out->host || translate(v, addr, access, reservations, out);
}

static bool find(struct vcpu *v, uint64_t addr, enum isa_access access, struct target *out)
{
	return find_for(v, addr, access, BREAK, out);
}

const uint8_t *vcpu_fetch_pointer(struct vcpu *v, uint64_t addr)
{
	struct target t;
	if (v->head->flat) {
		if (v->group->space.executable(v->group->space.opaque, addr))
			return (const uint8_t *)(uintptr_t)addr;
		v->head->isa->access_fault(v->head, GVA(addr), ISA_EXEC);
		return NULL;
	}
	if (!find(v, addr, ISA_EXEC, &t))
		return NULL;
	if (!t.host)
		v->head->isa->access_fault(v->head, GVA(addr), ISA_EXEC);
	return t.host;
}

/* --- copies --- */

/* A single host access when it is aligned, so that it is single-copy atomic. */
typedef uint16_t guest16 __attribute__((aligned(1)));
typedef uint32_t guest32 __attribute__((aligned(1)));
typedef uint64_t guest64 __attribute__((aligned(1)));

__attribute__((no_sanitize("thread", "alignment"))) static uint64_t read_host(
	const uint8_t *p, unsigned bytes)
{
	switch (bytes) {
	case 1:
		return *(const volatile uint8_t *)p;
	case 2:
		return *(const volatile guest16 *)p;
	case 4:
		return *(const volatile guest32 *)p;
	default:
		return *(const volatile guest64 *)p;
	}
}

__attribute__((no_sanitize("thread", "alignment"))) void vcpu_write_host(
	uint8_t *p, unsigned bytes, uint64_t v)
{
	switch (bytes) {
	case 1:
		*(volatile uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		*(volatile guest16 *)p = (uint16_t)v;
		break;
	case 4:
		*(volatile guest32 *)p = (uint32_t)v;
		break;
	default:
		*(volatile guest64 *)p = v;
		break;
	}
}

/* --- devices --- */
/* Devices are ordinary code: they run with the host's own FPU mode. */
static bool device_access(struct vcpu *v, uint64_t addr, gpa_t gpa, unsigned bytes,
	enum isa_access access, uint64_t *value)
{
	struct cpu_head *h = v->head;
	bool ok = false, entered = h->fpu_entered;
	if (!(gpa.v & (bytes - 1))) {
		if (entered)
			fpu_leave(h);
		ok = access == ISA_READ ? h->env->mmio_read(v, gpa, bytes, value)
					: h->env->mmio_write(v, gpa, bytes, *value);
		if (entered)
			fpu_enter(h);
	}
	if (!ok)
		h->isa->access_fault(h, GVA(addr), access);
	return ok;
}

/* --- struct cpu_env --- */
static bool crosses_page(uint64_t addr, unsigned bytes)
{
	return (addr & (GUEST_PAGE_BYTES - 1)) + bytes > GUEST_PAGE_BYTES;
}

/* Both parts of an access across pages; both must be RAM. Nothing is accessed yet. */
static bool find_both(struct vcpu *v, uint64_t addr, unsigned bytes, enum isa_access access,
	struct target part[2])
{
	uint64_t second = align_down(addr + bytes - 1, GUEST_PAGE_BYTES);
	const uint64_t at[2] = {addr, second};
	for (unsigned n = 0; n < 2; n++) {
		if (!find(v, at[n], access, &part[n]))
			return false;
		if (!part[n].host) {
			v->head->isa->access_fault(v->head, GVA(at[n]), access);
			return false;
		}
	}
	return true;
}

static bool misaligned(struct cpu_head *h, uint64_t addr, unsigned bytes, unsigned mem_flags,
	enum isa_access access)
{
	if (!(mem_flags & IR_MEM_ALIGNED) || !(addr & (bytes - 1)))
		return false;
	h->isa->misaligned_fault(h, GVA(addr), access);
	return true;
}

bool vcpu_load(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t *value)
{
	struct vcpu *v = vcpu_of(cpu);
	struct target part[2];
	if (misaligned(cpu, addr, bytes, mem_flags, ISA_READ))
		return false;
	if (crosses_page(addr, bytes)) {
		if (!find_both(v, addr, bytes, ISA_READ, part) ||
			vcpu_debug_watched(v, addr, bytes, VCPU_WATCH_READ))
			return false;
		unsigned first = GUEST_PAGE_BYTES - (addr & (GUEST_PAGE_BYTES - 1));
		uint64_t r = 0;
		for (unsigned n = 0; n < bytes; n++) {
			const uint8_t *p =
				n < first ? part[0].host + n : part[1].host + (n - first);
			r |= read_host(p, 1) << (8 * n);
		}
		*value = r;
		return true;
	}
	if (!find(v, addr, ISA_READ, &part[0]) ||
		vcpu_debug_watched(v, addr, bytes, VCPU_WATCH_READ))
		return false;
	if (!part[0].host)
		return device_access(v, addr, part[0].gpa, bytes, ISA_READ, value);
	*value = read_host(part[0].host, bytes);
	return true;
}

bool vcpu_store(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t value)
{
	struct vcpu *v = vcpu_of(cpu);
	struct target part[2];
	if (misaligned(cpu, addr, bytes, mem_flags, ISA_WRITE))
		return false;
	if (crosses_page(addr, bytes)) {
		if (!find_both(v, addr, bytes, ISA_WRITE, part) ||
			vcpu_debug_watched(v, addr, bytes, VCPU_WATCH_WRITE))
			return false;
		unsigned first = GUEST_PAGE_BYTES - (addr & (GUEST_PAGE_BYTES - 1));
		for (unsigned n = 0; n < bytes; n++) {
			uint8_t *p = n < first ? part[0].host + n : part[1].host + (n - first);
			vcpu_write_host(p, 1, value >> (8 * n));
		}
		return true;
	}
	if (!find_for(v, addr, ISA_WRITE, KEEP, &part[0]) ||
		vcpu_debug_watched(v, addr, bytes, VCPU_WATCH_WRITE))
		return false;
	if (!part[0].host)
		return device_access(v, addr, part[0].gpa, bytes, ISA_WRITE, &value);
	if (UNLIKELY(part[0].reserved) && vcpu_store_reserved(v, part[0].host, bytes, value))
		return true;
	if (part[0].reserved && !find(v, addr, ISA_WRITE, &part[0]))
		return false;
	vcpu_write_host(part[0].host, bytes, value);
	return true;
}

uint8_t *vcpu_find_store(struct vcpu *v, uint64_t addr, unsigned bytes, bool *reserved)
{
	struct target t;
	if (misaligned(v->head, addr, bytes, IR_MEM_ALIGNED, ISA_WRITE) ||
		!find_for(v, addr, ISA_WRITE, KEEP, &t))
		return NULL;
	*reserved = t.reserved;
	if (!t.host)
		v->head->isa->access_fault(v->head, GVA(addr), ISA_WRITE);
	else if (vcpu_debug_watched(v, addr, bytes, VCPU_WATCH_WRITE))
		return NULL;
	return t.host;
}

void *vcpu_atomic(void *cpu, uint64_t addr, unsigned bytes, bool write)
{
	struct cpu_head *h = cpu;
	enum isa_access access = write ? ISA_WRITE : ISA_READ;
	struct target t;
	if (misaligned(h, addr, bytes, IR_MEM_ALIGNED, access) ||
		!find(vcpu_of(cpu), addr, access, &t))
		return NULL;
	if (!t.host)
		h->isa->access_fault(h, GVA(addr), access);
	else if (vcpu_debug_watched(vcpu_of(cpu), addr, bytes,
			 VCPU_WATCH_READ | (write ? VCPU_WATCH_WRITE : 0u)))
		return NULL;
	return t.host;
}
