// SPDX-License-Identifier: Apache-2.0
// Address translation: Sv39 and Sv48 with Svadu, Svpbmt, Svnapot (privileged specification, 10.3 to
// 10.5, chapters 11 to 13), and the sets of TLBs.
#include "isa/rv64/internal.h"

#define PTE_V	      (UINT64_C(1) << 0)
#define PTE_R	      (UINT64_C(1) << 1)
#define PTE_W	      (UINT64_C(1) << 2)
#define PTE_X	      (UINT64_C(1) << 3)
#define PTE_U	      (UINT64_C(1) << 4)
#define PTE_G	      (UINT64_C(1) << 5)
#define PTE_A	      (UINT64_C(1) << 6)
#define PTE_D	      (UINT64_C(1) << 7)
#define PTE_PPN_SHIFT 10
#define PTE_PPN_MASK  ((UINT64_C(1) << 44) - 1)
#define PTE_RESERVED  (UINT64_C(0x7f) << 54)
#define PTE_PBMT      (UINT64_C(3) << 61)
#define PTE_N	      (UINT64_C(1) << 63)

enum { VPN_BITS = 9, NAPOT_BITS = 4, MAX_RETRIES = 1000 };

/* --- sets of TLBs --- */
static enum rv64_tlb_mode tlb_mode(const struct rv64_cpu *c)
{
	if (c->priv == RV64_USER)
		return RV64_TLB_USER;
	return c->sstatus & SSTATUS_SUM ? RV64_TLB_SUPERVISOR_SUM : RV64_TLB_SUPERVISOR;
}

static struct tlb *space_tlb(struct rv64_cpu *c, unsigned space, unsigned mode)
{
	return &c->tlbs[space * RV64_TLB_MODES + mode];
}

void rv64_mmu_mode_changed(struct rv64_cpu *c)
{
	cpu_use_tlb(&c->head, space_tlb(c, c->space, tlb_mode(c)));
}

/* What was known of the space's mappings is not true any more. */
static void mappings_changed(struct rv64_cpu *c, unsigned space)
{
	c->spaces[space].epoch = ++c->last_epoch;
	c->head.mapping_epoch = c->spaces[c->space].epoch;
}

static uint64_t *code_filter(struct rv64_cpu *c, unsigned space, uint64_t page, uint64_t *bit)
{
	uint64_t n = (page >> GUEST_PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15) >> 49;
	_Static_assert(RV64_CODE_FILTER_BITS == 1 << (64 - 49), "the shift makes a bit's number");
	*bit = UINT64_C(1) << (n % 64);
	return &c->spaces[space].code[n / 64];
}

/* What a leaf maps: *low to the byte *last. low_bits: of the page number, from the address. */
static void leaf_range(uint64_t addr, unsigned low_bits, uint64_t *low, uint64_t *last)
{
	uint64_t bytes = UINT64_C(1) << (low_bits + GUEST_PAGE_SHIFT);
	*low = align_down(addr, bytes);
	*last = *low + (bytes - 1);
}

/* --- superpages --- */
static struct rv64_superpage *superpage_slot(struct rv64_cpu *c, gva_t addr)
{
	return &c->superpages[(addr.v >> RV64_SUPERPAGE_SHIFT) % RV64_SUPERPAGES];
}

static void clear_superpages(struct rv64_cpu *c)
{
	memset(c->superpages, 0, sizeof(c->superpages));
	c->superpages_low = UINT64_MAX;
	c->superpages_high = 0;
}

static void add_superpage(struct rv64_cpu *c, gva_t addr, uint64_t pte, unsigned level, bool global)
{
	uint64_t low, last;
	leaf_range(addr.v, level * VPN_BITS, &low, &last);
	c->superpages_low = MIN(c->superpages_low, low);
	c->superpages_high = MAX(c->superpages_high, last);
	*superpage_slot(c, addr) = (struct rv64_superpage){.page = addr.v >> RV64_SUPERPAGE_SHIFT,
		.pte = pte,
		.level = (uint8_t)level,
		.space = (uint8_t)c->space,
		.global = global};
}

/* Those of one space; global ones stay. */
static void forget_superpages(struct rv64_cpu *c, unsigned space)
{
	for (unsigned n = 0; n < RV64_SUPERPAGES; n++)
		if (c->superpages[n].space == space && !c->superpages[n].global)
			c->superpages[n].pte = 0;
}

/* A fence for one address is for all of the superpage. */
static void fence_superpages(struct rv64_cpu *c, uint64_t start, uint64_t last)
{
	if (start > c->superpages_high || last < c->superpages_low)
		return;
	for (unsigned n = 0; n < RV64_SUPERPAGES; n++) {
		struct rv64_superpage *s = &c->superpages[n];
		uint64_t low, high;
		leaf_range(s->page << RV64_SUPERPAGE_SHIFT, s->level * VPN_BITS, &low, &high);
		if (s->pte && low <= last && high >= start)
			s->pte = 0;
	}
}

static void flush_space(struct rv64_cpu *c, unsigned space)
{
	forget_superpages(c, space);
	for (unsigned mode = 0; mode < RV64_TLB_MODES; mode++) {
		if (c->spaces[space].filled[mode])
			tlb_flush(space_tlb(c, space, mode));
		c->spaces[space].filled[mode] = false;
	}
	if (space == c->space && c->head.tlb) /* entries have moved */
		cpu_use_tlb(&c->head, c->head.tlb);
	c->spaces[space].large_low = UINT64_MAX;
	c->spaces[space].large_high = 0;
	memset(c->spaces[space].code, 0, sizeof(c->spaces[space].code));
	mappings_changed(c, space);
}

void rv64_mmu_mxr_changed(struct rv64_cpu *c)
{
	for (unsigned space = 0; space < RV64_SPACES; space++)
		flush_space(c, space);
}

void rv64_mmu_init(struct rv64_cpu *c)
{
	if (c->head.flat)
		return;
	clear_superpages(c);
	for (unsigned n = 0; n < ARRAY_SIZE(c->tlbs); n++)
		tlb_flush(&c->tlbs[n]);
	for (unsigned space = 0; space < RV64_SPACES; space++) {
		c->spaces[space].satp = 0;
		flush_space(c, space);
	}
	c->space = 0;
	c->next_space = 1;
	c->spaces[0].satp = c->satp;
	c->head.tlbs = c->tlbs;
	c->head.tlb_count = ARRAY_SIZE(c->tlbs);
	rv64_mmu_mode_changed(c);
}

void rv64_mmu_set_satp(struct rv64_cpu *c, uint64_t satp)
{
	if (satp == c->satp)
		return;
	if (satp >> SATP_MODE_SHIFT != c->satp >> SATP_MODE_SHIFT)
		clear_superpages(c);
	c->satp = satp;
	unsigned space = 0;
	while (space < RV64_SPACES && c->spaces[space].satp != satp)
		space++;
	if (space == RV64_SPACES) {
		space = c->next_space;
		c->next_space = (c->next_space + 1) % RV64_SPACES;
		flush_space(c, space);
		c->spaces[space].satp = satp;
	}
	c->space = space;
	c->head.mapping_epoch = c->spaces[space].epoch;
	rv64_mmu_mode_changed(c);
}

static void fence_space(struct rv64_cpu *c, unsigned space, uint64_t start, uint64_t last)
{
	bool large = start <= c->spaces[space].large_high && last >= c->spaces[space].large_low;
	if (large || (last - start) / GUEST_PAGE_BYTES >= TLB_MIN) {
		flush_space(c, space);
		return;
	}
	bool code = false;
	for (uint64_t page = start; page - start <= last - start; page += GUEST_PAGE_BYTES) {
		uint64_t bit;
		code |= *code_filter(c, space, page, &bit) & bit;
		for (unsigned mode = 0; mode < RV64_TLB_MODES; mode++)
			if (c->spaces[space].filled[mode])
				tlb_flush_page(space_tlb(c, space, mode), GVA(page));
	}
	/* Most fences are for data: code that is known by its address stays known. */
	if (code)
		mappings_changed(c, space);
}

void rv64_fence_vma(struct rv64_cpu *c, uint64_t start, uint64_t bytes, uint64_t asid)
{
	if (!bytes)
		return;
	uint64_t last;
	if (add_overflows(start, bytes - 1, &last))
		last = UINT64_MAX;
	start = align_down(start, GUEST_PAGE_BYTES);
	fence_superpages(c, start, last);
	for (unsigned space = 0; space < RV64_SPACES; space++) {
		uint64_t satp = c->spaces[space].satp;
		if (asid == RV64_ALL_ASIDS || (satp >> SATP_ASID_SHIFT & SATP_ASID_MASK) == asid)
			fence_space(c, space, start, last);
	}
}

/* --- the walk --- */
static int page_fault(struct rv64_cpu *c, gva_t addr, enum isa_access access)
{
	static const uint8_t causes[] = {
		[ISA_READ] = RV64_CAUSE_LOAD_PAGE,
		[ISA_WRITE] = RV64_CAUSE_STORE_PAGE,
		[ISA_EXEC] = RV64_CAUSE_FETCH_PAGE,
	};
	rv64_raise(c, causes[access], addr.v);
	return -EFAULT;
}

static int access_fault(struct rv64_cpu *c, gva_t addr, enum isa_access access)
{
	rv64_access_fault(c, addr, access);
	return -EFAULT;
}

/* What a leaf allows in the current mode. */
static void permissions(const struct rv64_cpu *c, uint64_t pte, struct isa_mapping *m)
{
	bool user_page = pte & PTE_U, user = c->priv == RV64_USER;
	bool data = user ? user_page : !user_page || (c->sstatus & SSTATUS_SUM);
	bool readable = (pte & PTE_R) || ((pte & PTE_X) && (c->sstatus & SSTATUS_MXR));
	m->readable = data && readable;
	m->writable = data && (pte & PTE_W);
	m->executable = (pte & PTE_X) && user_page == user;
}

static bool allows(const struct isa_mapping *m, enum isa_access access)
{
	return access == ISA_READ ? m->readable : access == ISA_WRITE ? m->writable : m->executable;
}

/* Reserved encodings (10.4.1, chapters 11 and 12). *low_bits: how many bits of the page number come
 * from the address. */
static bool leaf_is_valid(uint64_t pte, unsigned level, unsigned *low_bits)
{
	uint64_t ppn = pte >> PTE_PPN_SHIFT & PTE_PPN_MASK;
	*low_bits = level * VPN_BITS;
	if ((pte & PTE_RESERVED) || (pte & PTE_PBMT) == PTE_PBMT)
		return false;
	if (pte & PTE_N) {
		/* 64 KiB is the only size. */
		*low_bits = NAPOT_BITS;
		return level == 0 && (ppn & ((1u << NAPOT_BITS) - 1)) == 1u << (NAPOT_BITS - 1);
	}
	return !(ppn & ((UINT64_C(1) << *low_bits) - 1));
}

static bool table_is_valid(uint64_t pte)
{
	return !(pte & (PTE_RESERVED | PTE_PBMT | PTE_N | PTE_D | PTE_A | PTE_U));
}

static void note_mapping(struct rv64_cpu *c, gva_t addr, unsigned low_bits, bool executable)
{
	c->spaces[c->space].filled[tlb_mode(c)] = true;
	if (executable) {
		uint64_t bit, *word = code_filter(c, c->space, addr.v, &bit);
		*word |= bit;
	}
	if (!low_bits)
		return;
	uint64_t low, high;
	leaf_range(addr.v, low_bits, &low, &high);
	c->spaces[c->space].large_low = MIN(c->spaces[c->space].large_low, low);
	c->spaces[c->space].large_high = MAX(c->spaces[c->space].large_high, high);
}

/* Marks the page accessed, or dirty. 1: the entry changed meanwhile, walk again. */
static int update_pte(
	struct rv64_cpu *c, gpa_t at, uint64_t pte, enum isa_access access, uint64_t *updated)
{
	*updated = pte | PTE_A | (access == ISA_WRITE ? PTE_D : 0);
	if (*updated == pte)
		return 0;
	_Atomic uint64_t *p = memory_write_ptr(c->head.memory, at, sizeof(*p));
	if (!p)
		return -EFAULT;
	uint64_t expected = htole64(pte);
	return atomic_compare_exchange_strong(p, &expected, htole64(*updated)) ? 0 : 1;
}

/* What a leaf makes of the address. */
static bool map_by_leaf(const struct rv64_cpu *c, gva_t addr, enum isa_access access, uint64_t pte,
	unsigned low_bits, struct isa_mapping *m)
{
	uint64_t low_mask = (UINT64_C(1) << low_bits) - 1;
	uint64_t ppn = (pte >> PTE_PPN_SHIFT & PTE_PPN_MASK & ~low_mask) |
		       (addr.v >> GUEST_PAGE_SHIFT & low_mask);
	m->page = GPA(ppn << GUEST_PAGE_SHIFT);
	permissions(c, pte, m);
	return allows(m, access);
}

/* The superpage is known, and allows this without a change of its leaf. */
static bool find_superpage(
	struct rv64_cpu *c, gva_t addr, enum isa_access access, struct isa_mapping *out)
{
	const struct rv64_superpage *s = superpage_slot(c, addr);
	if (!s->pte || s->page != addr.v >> RV64_SUPERPAGE_SHIFT ||
		(s->space != c->space && !s->global) || (access == ISA_WRITE && !(s->pte & PTE_D)))
		return false;
	unsigned low_bits = s->level * VPN_BITS;
	*out = (struct isa_mapping){.global = s->global};
	if (!map_by_leaf(c, addr, access, s->pte, low_bits, out))
		return false;
	out->writable = out->writable && (s->pte & PTE_D);
	note_mapping(c, addr, low_bits, out->executable);
	return true;
}

/* One walk. 1: to be tried again. */
static int walk(struct rv64_cpu *c, gva_t addr, enum isa_access access, struct isa_mapping *out)
{
	unsigned levels = c->satp >> SATP_MODE_SHIFT == SATP_SV48 ? 4 : 3;
	uint64_t table = (c->satp & SATP_PPN_MASK) << GUEST_PAGE_SHIFT, pte, updated;
	bool global = false;
	for (unsigned level = levels; level-- > 0;) {
		unsigned shift = GUEST_PAGE_SHIFT + level * VPN_BITS, low_bits;
		gpa_t at = GPA(table + (addr.v >> shift & ((1u << VPN_BITS) - 1)) * sizeof(pte));
		const _Atomic uint64_t *p = memory_read_ptr(c->head.memory, at, sizeof(pte));
		if (!p)
			return access_fault(c, addr, access);
		pte = le64toh(atomic_load_explicit(p, memory_order_acquire));
		if (!(pte & PTE_V) || (pte & (PTE_R | PTE_W)) == PTE_W)
			return page_fault(c, addr, access);
		global |= pte & PTE_G;
		if (!(pte & (PTE_R | PTE_X))) {
			if (!table_is_valid(pte))
				return page_fault(c, addr, access);
			table = (pte >> PTE_PPN_SHIFT & PTE_PPN_MASK) << GUEST_PAGE_SHIFT;
			continue;
		}
		struct isa_mapping m = {.global = global};
		if (!leaf_is_valid(pte, level, &low_bits) ||
			!map_by_leaf(c, addr, access, pte, low_bits, &m))
			return page_fault(c, addr, access);
		int r = update_pte(c, at, pte, access, &updated);
		if (r)
			return r < 0 ? access_fault(c, addr, access) : r;
		m.writable = m.writable && (updated & PTE_D);
		*out = m;
		note_mapping(c, addr, low_bits, m.executable);
		if (level)
			add_superpage(c, addr, updated, level, global);
		return 0;
	}
	return page_fault(c, addr, access); /* a table where the last level must have a leaf */
}

static bool is_canonical(uint64_t satp_mode, gva_t addr)
{
	unsigned unused_bits = satp_mode == SATP_SV48 ? 16 : 25;
	return (int64_t)(addr.v << unused_bits) >> unused_bits == (int64_t)addr.v;
}

bool rv64_probe(const void *cpu, gva_t addr, gpa_t *out)
{
	const struct rv64_cpu *c = cpu;
	uint64_t mode = c->satp >> SATP_MODE_SHIFT;
	uint64_t table = (c->satp & SATP_PPN_MASK) << GUEST_PAGE_SHIFT, pte;
	if (mode == SATP_BARE) {
		*out = GPA(addr.v);
		return true;
	}
	if (!is_canonical(mode, addr))
		return false;
	for (unsigned level = mode == SATP_SV48 ? 4 : 3; level-- > 0;) {
		unsigned shift = GUEST_PAGE_SHIFT + level * VPN_BITS, low_bits;
		gpa_t at = GPA(table + (addr.v >> shift & ((1u << VPN_BITS) - 1)) * sizeof(pte));
		if (memory_read(c->head.memory, at, &pte, sizeof(pte)) < 0)
			return false;
		pte = le64toh(pte);
		if (!(pte & PTE_V) || (pte & (PTE_R | PTE_W)) == PTE_W)
			return false;
		table = (pte >> PTE_PPN_SHIFT & PTE_PPN_MASK) << GUEST_PAGE_SHIFT;
		if (!(pte & (PTE_R | PTE_X)))
			continue;
		if (!leaf_is_valid(pte, level, &low_bits))
			return false;
		uint64_t low_mask = (UINT64_C(1) << (low_bits + GUEST_PAGE_SHIFT)) - 1;
		*out = GPA((table & ~low_mask) | (addr.v & low_mask));
		return true;
	}
	return false;
}

int rv64_translate(void *cpu, gva_t addr, enum isa_access access, struct isa_mapping *out)
{
	struct rv64_cpu *c = cpu;
	uint64_t mode = c->satp >> SATP_MODE_SHIFT;
	if (mode == SATP_BARE) {
		*out = (struct isa_mapping){
			.page = GPA(align_down(addr.v, GUEST_PAGE_BYTES)),
			.readable = true,
			.writable = true,
			.executable = true,
			.global = true,
		};
		note_mapping(c, addr, 0, true);
		return 0;
	}
	if (!is_canonical(mode, addr))
		return page_fault(c, addr, access);
	if (find_superpage(c, addr, access, out))
		return 0;
	/* Each retry means that another hart or a device has just changed the entry. */
	for (unsigned n = 0; n < MAX_RETRIES; n++) {
		int r = walk(c, addr, access, out);
		if (r <= 0)
			return r;
	}
	return page_fault(c, addr, access);
}
