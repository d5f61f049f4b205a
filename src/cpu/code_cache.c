// SPDX-License-Identifier: Apache-2.0
// Blocks are found by their page, then by their place in it. What is dropped goes to the limbo
// until no vCPU can be running it.
#include "cpu/code_cache.h"

#include <pthread.h>

enum {
	PAGE_BUCKETS = 1 << 13,
	PAGE_MIN_BLOCKS = 8,
	WRITE_COUNTERS = 1 << 10,
};

/* A region lives as long as one of its entries. */
struct region {
	struct jit_region *jit; /* owned */
	unsigned users;
};

struct block {
	struct interp_code *code; /* owned; NULL: never interpreted */
	const void *native;	  /* an entry of region, or NULL */
	struct region *region;
	const uint8_t *next_page; /* host page that a straddling block ends in, or NULL */
	uint16_t offset;	  /* in its page */
	bool used;
};

/* The blocks that begin in a host page, as far as it is known by one virtual address and by one set
 * of flags. */
struct page {
	const uint8_t *host;
	uint64_t pc;
	uint32_t flags;
	uint16_t count, capacity; /* of blocks, a hash table by offset; a power of two */
	struct block *blocks;
	struct page *next; /* in the bucket */
};

/* Of a page with few blocks; others are counted with their code. */
enum { PAGE_BYTES = sizeof(struct page) + PAGE_MIN_BLOCKS * sizeof(struct block) };

/* A block that ends in another page than it begins in: that page's writers must find it. */
struct straddler {
	const uint8_t *second;
	struct page *page;
	uint16_t offset;
	struct straddler *next;
};

struct dropped {
	struct interp_code *code;
	struct region *region;
	uint64_t at; /* epoch */
	struct dropped *next;
};

struct code_cache {
	struct memory *memory;
	struct jit *jit;
	struct code_cache_users users;
	_Atomic uint64_t epoch;
	_Atomic uint32_t writes[WRITE_COUNTERS]; /* by page */
	pthread_mutex_t lock;			 /* what follows */
	struct page *pages[PAGE_BUCKETS];
	struct straddler *straddlers[PAGE_BUCKETS];
	struct dropped *limbo_first, **limbo_last; /* in order of dropped_at */
	/* Of pages and interpreted code, without limbo. Beyond the limit, pages lose what is
	 * interpreted of them: a guest cannot make the host run out of memory. Compiled code has a
	 * bound of its own (jit/), and stays: it is what is hot. */
	uint64_t bytes, limit;
	unsigned hand; /* the bucket to lose its interpreted code next */
};

static uint64_t mix(uint64_t v)
{
	v *= UINT64_C(0x9e3779b97f4a7c15);
	return v ^ v >> 32;
}

static const uint8_t *page_of(const uint8_t *host)
{
	return align_down_ptr(host, GUEST_PAGE_BYTES);
}

static unsigned bucket_of(const uint8_t *page)
{
	return mix((uintptr_t)page >> GUEST_PAGE_SHIFT) % PAGE_BUCKETS;
}

/* --- pages and their blocks --- */
static struct page **find_page(struct code_cache *c, const struct code_key *k)
{
	const uint8_t *host = page_of(k->host);
	uint64_t pc = align_down(k->pc, GUEST_PAGE_BYTES);
	struct page **p = &c->pages[bucket_of(host)];
	while (*p && ((*p)->host != host || (*p)->pc != pc || (*p)->flags != k->flags))
		p = &(*p)->next;
	return p;
}

static uint16_t offset_of(const struct code_key *k)
{
	return k->pc & (GUEST_PAGE_BYTES - 1);
}

/* The block, or the empty place that it would have. */
static struct block *place(const struct page *p, uint16_t offset)
{
	unsigned n = (offset >> 1) * 0x9e37u >> 3 & (p->capacity - 1u);
	while (p->blocks[n].used && p->blocks[n].offset != offset)
		n = (n + 1) & (p->capacity - 1u);
	return &p->blocks[n];
}

static struct block *find_block(struct code_cache *c, const struct code_key *k)
{
	const struct page *p = *find_page(c, k);
	struct block *b = p ? place(p, offset_of(k)) : NULL;
	return b && b->used ? b : NULL;
}

static void set_capacity(struct page *p, unsigned capacity)
{
	struct block *old = p->blocks;
	unsigned count = p->capacity;
	p->blocks = xcalloc(capacity, sizeof(*old));
	p->capacity = (uint16_t)capacity;
	for (unsigned n = 0; n < count; n++)
		if (old[n].used)
			*place(p, old[n].offset) = old[n];
	free(old);
}

static struct block *add_block(struct code_cache *c, const struct code_key *k)
{
	struct page **pp = find_page(c, k), *p = *pp;
	if (!p) {
		*pp = p = xcalloc(1, sizeof(*p));
		*p = (struct page){.host = page_of(k->host),
			.pc = align_down(k->pc, GUEST_PAGE_BYTES),
			.flags = k->flags};
		c->bytes += PAGE_BYTES;
	}
	if (4u * (p->count + 1u) > 3u * p->capacity)
		set_capacity(p, p->capacity ? 2u * p->capacity : PAGE_MIN_BLOCKS);
	struct block *b = place(p, offset_of(k));
	*b = (struct block){.offset = offset_of(k), .used = true};
	p->count++;
	return b;
}

/* --- straddlers --- */
/* The page that the block ends in, unless that is the page where it begins, mapped twice. */
static const uint8_t *second_page(const struct page *p, const struct block *b)
{
	return b->next_page == p->host ? NULL : b->next_page;
}

static void add_straddler(struct code_cache *c, struct page *p, const struct block *b)
{
	if (!second_page(p, b))
		return;
	struct straddler *s = xmalloc(sizeof(*s)), **bucket;
	bucket = &c->straddlers[bucket_of(b->next_page)];
	*s = (struct straddler){b->next_page, p, b->offset, *bucket};
	*bucket = s;
}

static void remove_straddler(struct code_cache *c, const struct page *p, const struct block *b)
{
	if (!second_page(p, b))
		return;
	struct straddler **at = &c->straddlers[bucket_of(b->next_page)], *s;
	while ((*at)->page != p || (*at)->offset != b->offset)
		at = &(*at)->next;
	s = *at;
	*at = s->next;
	free(s);
}

/* --- dropping --- */
/* With the room that it has in its page's table, half empty. */
static uint64_t code_bytes(const struct block *b)
{
	return b->code->words * sizeof(uint64_t) + 2 * sizeof(*b);
}

static void to_limbo(
	struct code_cache *c, struct interp_code *code, struct region *region, uint64_t epoch)
{
	struct dropped *d = xmalloc(sizeof(*d));
	*d = (struct dropped){code, region, epoch, NULL};
	*c->limbo_last = d;
	c->limbo_last = &d->next;
}

static void free_limbo(struct code_cache *c, uint64_t up_to)
{
	while (c->limbo_first && c->limbo_first->at <= up_to) {
		struct dropped *d = c->limbo_first;
		c->limbo_first = d->next;
		if (d->region && !--d->region->users) {
			jit_region_free(c->jit, d->region->jit);
			free(d->region);
		}
		free(d->code);
		free(d);
	}
	if (!c->limbo_first)
		c->limbo_last = &c->limbo_first;
}

static void drop_compiled(struct code_cache *c, struct block *b, uint64_t epoch)
{
	if (!b->native)
		return;
	to_limbo(c, NULL, b->region, epoch);
	b->native = NULL;
	b->region = NULL;
	if (b->code)
		interp_hot_after(b->code->code, CODE_HOT_AGAIN);
}

static void drop_interpreted(struct code_cache *c, struct page *p, struct block *b, uint64_t epoch)
{
	if (!b->code)
		return;
	remove_straddler(c, p, b);
	b->next_page = NULL;
	c->bytes -= code_bytes(b);
	to_limbo(c, b->code, NULL, epoch);
	b->code = NULL;
}

/* What the block has goes; its place stays, for the caller. */
static void empty_block(struct code_cache *c, struct page *p, struct block *b, uint64_t epoch)
{
	drop_interpreted(c, p, b, epoch);
	drop_compiled(c, b, epoch);
}

static void drop_page(struct code_cache *c, struct page **pp, uint64_t epoch)
{
	struct page *p = *pp;
	for (unsigned n = 0; n < p->capacity; n++)
		if (p->blocks[n].used)
			empty_block(c, p, &p->blocks[n], epoch);
	c->bytes -= PAGE_BYTES;
	*pp = p->next;
	free(p->blocks);
	free(p);
}

/* Interpreted code is linked to interpreted code of its page, compiled code to compiled code:
 * either may go without the other. Returns where the next page hangs. */
static struct page **drop_part(
	struct code_cache *c, struct page **pp, bool compiled, uint64_t epoch)
{
	struct page *p = *pp;
	unsigned left = 0, capacity = PAGE_MIN_BLOCKS;
	for (unsigned n = 0; n < p->capacity; n++) {
		struct block *b = &p->blocks[n];
		if (!b->used)
			continue;
		if (compiled)
			drop_compiled(c, b, epoch);
		else if (!b->native || !b->next_page) /* writers find both by one straddler */
			drop_interpreted(c, p, b, epoch);
		b->used = b->code || b->native;
		left += b->used;
	}
	if (!left) {
		drop_page(c, pp, epoch);
		return pp;
	}
	p->count = (uint16_t)left;
	while (4 * left > 3 * capacity)
		capacity *= 2;
	set_capacity(p, capacity); /* and what was moved is found again */
	return &p->next;
}

static uint64_t new_epoch(struct code_cache *c)
{
	return atomic_fetch_add(&c->epoch, 1) + 1;
}

/* Pages in turn, which their hash has put in no order, lose what is interpreted of them. */
static void drop_some_interpreted(struct code_cache *c)
{
	/* A quarter at once, so that it is rarely done. */
	uint64_t epoch = new_epoch(c), before = c->bytes;
	for (unsigned n = 0; n < PAGE_BUCKETS && before - c->bytes < c->limit / 4; n++) {
		c->hand = (c->hand + 1) % PAGE_BUCKETS;
		for (struct page **p = &c->pages[c->hand]; *p;)
			p = drop_part(c, p, false, epoch);
	}
}

static bool has_code_in(const struct page *p, const uint8_t *low, const uint8_t *high)
{
	for (unsigned n = 0; n < p->capacity; n++) {
		const struct block *b = &p->blocks[n];
		if (b->used && b->native && b->region->jit->code >= low &&
			b->region->jit->code < high)
			return true;
	}
	return false;
}

/* Pages with compiled code between the two lose all of it. */
static void drop_compiled_in(struct code_cache *c, const uint8_t *low, const uint8_t *high)
{
	uint64_t epoch = new_epoch(c);
	for (unsigned n = 0; n < PAGE_BUCKETS; n++)
		for (struct page **p = &c->pages[n]; *p;)
			p = has_code_in(*p, low, high) ? drop_part(c, p, true, epoch) : &(*p)->next;
}

static void drop_everything(struct code_cache *c)
{
	uint64_t epoch = new_epoch(c);
	for (unsigned n = 0; n < PAGE_BUCKETS; n++)
		while (c->pages[n])
			drop_page(c, &c->pages[n], epoch);
}

static void drop_if_empty(struct code_cache *c, struct page *page, uint64_t epoch)
{
	for (unsigned n = 0; n < page->capacity; n++)
		if (page->blocks[n].used && (page->blocks[n].code || page->blocks[n].native))
			return;
	struct page **p = &c->pages[bucket_of(page->host)];
	while (*p != page)
		p = &(*p)->next;
	drop_page(c, p, epoch);
}

/* All that begins or ends in the host page. Whether there was any. */
static bool drop_host_page(struct code_cache *c, const uint8_t *host)
{
	unsigned bucket = bucket_of(host);
	uint64_t epoch = atomic_load(&c->epoch) + 1;
	bool any = false;
	for (struct page **p = &c->pages[bucket]; *p;)
		if ((*p)->host == host) {
			drop_page(c, p, epoch);
			any = true;
		} else {
			p = &(*p)->next;
		}
	for (struct straddler **s = &c->straddlers[bucket]; *s;)
		if ((*s)->second == host) {
			struct page *page = (*s)->page;
			empty_block(c, page, place(page, (*s)->offset), epoch); /* and *s */
			drop_if_empty(c, page, epoch);
			any = true;
		} else {
			s = &(*s)->next;
		}
	if (any)
		new_epoch(c);
	return any;
}

static bool has_host_page(const struct code_cache *c, const uint8_t *host)
{
	unsigned bucket = bucket_of(host);
	for (const struct page *p = c->pages[bucket]; p; p = p->next)
		if (p->host == host)
			return true;
	for (const struct straddler *s = c->straddlers[bucket]; s; s = s->next)
		if (s->second == host)
			return true;
	return false;
}

void code_cache_drop_page(struct code_cache *c, const uint8_t *host)
{
	host = page_of(host);
	pthread_mutex_lock(&c->lock);
	atomic_fetch_add(&c->writes[bucket_of(host) % WRITE_COUNTERS], 1);
	bool any;
	if (c->jit && jit_is_flat(c->jit)) {
		any = has_host_page(c, host);
		if (any)
			drop_everything(c); /* compiled code is linked to code of any page */
	} else {
		any = drop_host_page(c, host);
	}
	free_limbo(c, c->users.oldest_epoch(c->users.opaque));
	pthread_mutex_unlock(&c->lock);
	if (any)
		c->users.dropped(c->users.opaque);
}

void code_cache_drop_all(struct code_cache *c)
{
	pthread_mutex_lock(&c->lock);
	drop_everything(c);
	free_limbo(c, c->users.oldest_epoch(c->users.opaque));
	pthread_mutex_unlock(&c->lock);
	c->users.dropped(c->users.opaque);
}

void code_cache_make_room(struct code_cache *c)
{
	const uint8_t *low = NULL, *high = (const uint8_t *)UINTPTR_MAX;
	pthread_mutex_lock(&c->lock);
	size_t before = jit_bytes(c->jit);
	free_limbo(c, c->users.oldest_epoch(c->users.opaque));
	bool dropped = jit_bytes(c->jit) > before - before / 8;
	if (dropped) {
		/* When flat, compiled code is linked to code of any page: all goes. */
		if (!jit_is_flat(c->jit))
			jit_next_victim(c->jit, &low, &high);
		drop_compiled_in(c, low, high);
	}
	pthread_mutex_unlock(&c->lock);
	if (dropped)
		c->users.dropped(c->users.opaque);
}

/* --- the cache --- */
static void code_written(void *opaque, gpa_t page)
{
	struct code_cache *c = opaque;
	const uint8_t *host = memory_read_ptr(c->memory, page, 1);
	if (host)
		code_cache_drop_page(c, host);
}

struct code_cache *code_cache_new(struct memory *memory, struct jit *jit, size_t limit_bytes,
	const struct code_cache_users *users)
{
	struct code_cache *c = xcalloc(1, sizeof(*c));
	c->memory = memory;
	c->jit = jit;
	c->users = *users;
	c->epoch = 1;
	c->limit = limit_bytes;
	c->limbo_last = &c->limbo_first;
	/* Mostly held for less time than it takes to sleep. */
	pthread_mutexattr_t adaptive;
	pthread_mutexattr_init(&adaptive);
	pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&c->lock, &adaptive);
	pthread_mutexattr_destroy(&adaptive);
	if (memory)
		memory_on_code_written(memory, code_written, c);
	return c;
}

void code_cache_free(struct code_cache *c)
{
	if (!c)
		return;
	if (c->memory)
		memory_on_code_written(c->memory, NULL, NULL);
	drop_everything(c);
	free_limbo(c, UINT64_MAX);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void code_cache_lock(struct code_cache *c)
{
	pthread_mutex_lock(&c->lock);
}

void code_cache_unlock(struct code_cache *c)
{
	pthread_mutex_unlock(&c->lock);
}

uint64_t code_cache_epoch(const struct code_cache *c)
{
	return atomic_load(&c->epoch);
}

uint64_t code_cache_writes(const struct code_cache *c, const struct code_key *k)
{
	uint64_t n = atomic_load(&c->writes[bucket_of(page_of(k->host)) % WRITE_COUNTERS]);
	if (k->next_page)
		n += atomic_load(&c->writes[bucket_of(k->next_page) % WRITE_COUNTERS]);
	return n;
}

_Atomic uint8_t *code_cache_page_flags(struct code_cache *c, const uint8_t *host)
{
	unsigned n;
	const struct memory_region *r = memory_regions(c->memory, &n);
	for (; n; n--, r++)
		if ((uintptr_t)host - (uintptr_t)r->host < r->bytes)
			return &r->page_flags[(size_t)(host - r->host) >> GUEST_PAGE_SHIFT];
	return NULL;
}

struct code_found code_cache_find(struct code_cache *c, const struct code_key *key)
{
	struct code_found found = {0};
	pthread_mutex_lock(&c->lock);
	const struct block *b = find_block(c, key);
	if (b)
		found = (struct code_found){b->code, b->native, b->next_page};
	pthread_mutex_unlock(&c->lock);
	return found;
}

static bool is_code(struct code_cache *c, const uint8_t *host)
{
	return !host || c->users.is_code(c->users.opaque, page_of(host));
}

/* What was read for the key is still there. A page that is code may have been written to, and made
 * code again. */
static bool is_current(struct code_cache *c, const struct code_key *k)
{
	return k->writes == code_cache_writes(c, k) && is_code(c, k->host) &&
	       is_code(c, k->next_page);
}

/* With the lock held. The block's code; *dropped: others have gone. */
static const struct interp_code *add(
	struct code_cache *c, const struct code_key *key, struct interp_code *code, bool *dropped)
{
	if (!is_current(c, key)) {
		free(code);
		return NULL;
	}
	if (c->bytes > c->limit) {
		drop_some_interpreted(c);
		*dropped = true;
	}
	struct block *b = find_block(c, key);
	if (b && b->code && b->next_page == key->next_page) {
		free(code);
		return b->code;
	}
	if (b && b->next_page != key->next_page) {
		/* The page after it is another one now. */
		empty_block(c, *find_page(c, key), b, new_epoch(c));
		*dropped = true;
	}
	if (!b)
		b = add_block(c, key);
	b->code = code;
	c->bytes += code_bytes(b);
	if (!b->next_page && key->next_page) {
		b->next_page = key->next_page;
		add_straddler(c, *find_page(c, key), b);
	}
	return code;
}

const struct interp_code *code_cache_add(
	struct code_cache *c, const struct code_key *key, struct interp_code *code)
{
	bool dropped = false;
	pthread_mutex_lock(&c->lock);
	const struct interp_code *added = add(c, key, code, &dropped);
	if (dropped)
		free_limbo(c, c->users.oldest_epoch(c->users.opaque));
	pthread_mutex_unlock(&c->lock);
	if (dropped)
		c->users.dropped(c->users.opaque);
	return added;
}

static void link_edge(struct code_cache *c, struct jit_link *link, uint32_t flags)
{
	struct code_key to = {.host = link->host, .pc = link->pc, .flags = flags};
	const struct block *b = find_block(c, &to);
	/* What needs the next page too is looked up: that page may be another one by now. */
	if (b && b->native && (!b->next_page || jit_is_flat(c->jit)))
		jit_link_to(c->jit, link, b->native);
}

/* An edge whose target is compiled already needs no first time. */
static void link_region(struct code_cache *c, const struct code_key *key, struct jit_region *region)
{
	for (unsigned n = 0; n < region->link_count; n++) {
		struct jit_link *link = &region->links[n];
		if (link->cell)
			continue;
		link->host = code_key_at(key, link->pc).host;
		link_edge(c, link, key->flags);
	}
}

void code_cache_link(struct code_cache *c, struct jit_link *link, uint64_t pc, uint32_t flags)
{
	pthread_mutex_lock(&c->lock);
	if (link->cell && link->cell[0] == JIT_CELL_EMPTY) {
		link->pc = pc;
		link->host = (const uint8_t *)(uintptr_t)pc;
	}
	if (link->pc == pc)
		link_edge(c, link, flags);
	pthread_mutex_unlock(&c->lock);
}

bool code_cache_add_region(
	struct code_cache *c, const struct code_key *key, struct jit_region *region)
{
	struct region *r = xcalloc(1, sizeof(*r));
	r->jit = region;
	pthread_mutex_lock(&c->lock);
	bool current = is_current(c, key);
	for (unsigned n = 0; n < region->entry_count && current; n++) {
		const struct jit_entry *e = &region->entries[n];
		struct code_key at = code_key_at(key, e->pc);
		struct block *b = find_block(c, &at);
		if (b && (b->native || b->next_page != key->next_page))
			continue;
		if (key->next_page && (!b || !b->code))
			continue;
		if (!b)
			b = add_block(c, &at);
		b->native = e->code;
		b->region = r;
		r->users++;
		if (b->code)
			interp_hot_after(b->code->code, 0);
	}
	bool used = r->users;
	if (used)
		link_region(c, key, region);
	pthread_mutex_unlock(&c->lock);
	if (!used) {
		jit_region_free(c->jit, region);
		free(r);
	}
	return used;
}
