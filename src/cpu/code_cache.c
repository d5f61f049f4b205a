// SPDX-License-Identifier: Apache-2.0
#include "cpu/code_cache.h"

#include <pthread.h>

enum {
	BLOCK_BUCKETS = 1 << 16,
	PAGE_BUCKETS = 1 << 12,
	/* Beyond this, everything is dropped: a guest cannot make the host run out of memory. */
	CACHE_LIMIT_BYTES = 40 << 20, /* with the allocator's share, under 64 MiB in all */
};

/* A region lives as long as one of its entries. */
struct region {
	struct jit_region *jit; /* owned */
	unsigned users;
};

struct block {
	struct code_key key;
	struct interp_code *code; /* owned; NULL: never interpreted */
	const void *native;	  /* an entry of region */
	struct region *region;
	struct block *hash_next;    /* bucket; then limbo */
	struct block *page_next[2]; /* blocks of the first page, of the second */
	uint64_t dropped_at;	    /* epoch */
};

struct page {
	const uint8_t *host;
	struct block *blocks;
	struct page *hash_next;
};

struct code_cache {
	struct memory *memory;
	struct jit *jit;
	struct code_cache_users users;
	_Atomic uint64_t epoch;
	pthread_mutex_t lock; /* what follows */
	struct block *blocks[BLOCK_BUCKETS];
	struct page *pages[PAGE_BUCKETS];
	struct block *limbo_first, **limbo_last; /* in order of dropped_at */
	uint64_t bytes;				 /* of all blocks not in limbo */
};

static uint64_t mix(uint64_t v)
{
	v *= UINT64_C(0x9e3779b97f4a7c15);
	return v ^ v >> 32;
}

static struct block **block_bucket(struct code_cache *c, const struct code_key *k)
{
	uint64_t h = mix((uintptr_t)k->host + mix(k->pc + k->flags));
	return &c->blocks[h % BLOCK_BUCKETS];
}

static const uint8_t *page_of(const uint8_t *host)
{
	return (const uint8_t *)((uintptr_t)host & ~(uintptr_t)(GUEST_PAGE_BYTES - 1));
}

static struct page **find_page(struct code_cache *c, const uint8_t *page)
{
	struct page **p = &c->pages[mix((uintptr_t)page >> GUEST_PAGE_SHIFT) % PAGE_BUCKETS];
	while (*p && (*p)->host != page)
		p = &(*p)->hash_next;
	return p;
}

static void code_written(void *opaque, gpa_t page)
{
	struct code_cache *c = opaque;
	const uint8_t *host = memory_read_ptr(c->memory, page, 1);
	if (host)
		code_cache_drop_page(c, host);
}

struct code_cache *code_cache_new(
	struct memory *memory, struct jit *jit, const struct code_cache_users *users)
{
	struct code_cache *c = xcalloc(1, sizeof(*c));
	c->memory = memory;
	c->jit = jit;
	c->users = *users;
	c->epoch = 1;
	c->limbo_last = &c->limbo_first;
	pthread_mutex_init(&c->lock, NULL);
	if (memory)
		memory_on_code_written(memory, code_written, c);
	return c;
}

static void block_free(struct code_cache *c, struct block *b)
{
	if (b->region && !--b->region->users) {
		jit_region_free(c->jit, b->region->jit);
		free(b->region);
	}
	free(b->code);
	free(b);
}

static void free_limbo(struct code_cache *c, uint64_t up_to)
{
	while (c->limbo_first && c->limbo_first->dropped_at <= up_to) {
		struct block *b = c->limbo_first;
		c->limbo_first = b->hash_next;
		block_free(c, b);
	}
	if (!c->limbo_first)
		c->limbo_last = &c->limbo_first;
}

static void drop_everything(struct code_cache *c);

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

_Atomic uint8_t *code_cache_page_flags(struct code_cache *c, const uint8_t *host)
{
	unsigned n;
	const struct memory_region *r = memory_regions(c->memory, &n);
	for (; n; n--, r++)
		if ((uintptr_t)host - (uintptr_t)r->host < r->bytes)
			return &r->page_flags[(size_t)(host - r->host) >> GUEST_PAGE_SHIFT];
	return NULL;
}

static bool same_start(const struct code_key *a, const struct code_key *b)
{
	return a->host == b->host && a->pc == b->pc && a->flags == b->flags;
}

static struct block *find_block(struct code_cache *c, const struct code_key *key)
{
	struct block *b = *block_bucket(c, key);
	while (b && !same_start(&b->key, key))
		b = b->hash_next;
	return b;
}

struct code_found code_cache_find(struct code_cache *c, const struct code_key *key)
{
	struct code_found found = {0};
	pthread_mutex_lock(&c->lock);
	struct block *b = find_block(c, key);
	if (b)
		found = (struct code_found){b->code, b->native, b->key.next_page};
	pthread_mutex_unlock(&c->lock);
	return found;
}

/* Which of a block's two page lists is that of `page`. */
static unsigned list_of(const struct block *b, const uint8_t *page)
{
	return page != page_of(b->key.host);
}

/* The page that a straddling block ends in, unless that is the page where it begins, mapped twice.
 */
static const uint8_t *second_page(const struct block *b)
{
	return b->key.next_page == page_of(b->key.host) ? NULL : b->key.next_page;
}

static void unlink_hash(struct code_cache *c, struct block *b)
{
	struct block **p = block_bucket(c, &b->key);
	while (*p != b)
		p = &(*p)->hash_next;
	*p = b->hash_next;
}

static void unlink_page(struct code_cache *c, const uint8_t *host, struct block *b)
{
	struct page **pp = find_page(c, host), *page = *pp;
	struct block **p = &page->blocks;
	while (*p != b)
		p = &(*p)->page_next[list_of(*p, host)];
	*p = b->page_next[list_of(b, host)];
	if (!page->blocks) {
		*pp = page->hash_next;
		free(page);
	}
}

static uint64_t block_bytes(const struct block *b)
{
	return sizeof(*b) + (b->code ? b->code->words * sizeof(uint64_t) : 0);
}

static void drop_block(struct code_cache *c, struct block *b, uint64_t epoch)
{
	unlink_hash(c, b);
	unlink_page(c, page_of(b->key.host), b);
	if (second_page(b))
		unlink_page(c, second_page(b), b);
	c->bytes -= block_bytes(b);
	b->dropped_at = epoch;
	b->hash_next = NULL;
	*c->limbo_last = b;
	c->limbo_last = &b->hash_next;
}

static void drop_everything(struct code_cache *c)
{
	uint64_t epoch = atomic_fetch_add(&c->epoch, 1) + 1;
	/* By page: the first of a page's list leaves it at once; the last takes the page with it.
	 */
	for (unsigned n = 0; n < PAGE_BUCKETS; n++)
		while (c->pages[n])
			drop_block(c, c->pages[n]->blocks, epoch);
}

void code_cache_drop_page(struct code_cache *c, const uint8_t *host)
{
	host = page_of(host);
	pthread_mutex_lock(&c->lock);
	struct page *page = *find_page(c, host);
	bool any = page;
	if (any && c->jit && jit_is_flat(c->jit)) {
		drop_everything(c); /* compiled code is linked to code of any page */
	} else if (any) {
		uint64_t epoch = atomic_fetch_add(&c->epoch, 1) + 1;
		/* The last block takes the page with it. */
		for (struct block *b = page->blocks, *next; b; b = next) {
			next = b->page_next[list_of(b, host)];
			drop_block(c, b, epoch);
		}
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

static void link_page(struct code_cache *c, const uint8_t *host, struct block *b)
{
	struct page **pp = find_page(c, host);
	if (!*pp) {
		*pp = xcalloc(1, sizeof(**pp));
		(*pp)->host = host;
	}
	b->page_next[list_of(b, host)] = (*pp)->blocks;
	(*pp)->blocks = b;
}

static bool is_code(struct code_cache *c, const uint8_t *host)
{
	return !host || c->users.is_code(c->users.opaque, page_of(host));
}

static struct block *add_block(struct code_cache *c, const struct code_key *key)
{
	struct block *b = xcalloc(1, sizeof(*b)), **bucket = block_bucket(c, key);
	b->key = *key;
	b->hash_next = *bucket;
	*bucket = b;
	link_page(c, page_of(key->host), b);
	if (second_page(b))
		link_page(c, second_page(b), b);
	c->bytes += sizeof(*b);
	return b;
}

const struct interp_code *code_cache_add(
	struct code_cache *c, const struct code_key *key, struct interp_code *code)
{
	bool dropped = false;
	pthread_mutex_lock(&c->lock);
	if (!is_code(c, key->host) || !is_code(c, key->next_page)) {
		pthread_mutex_unlock(&c->lock);
		free(code);
		return NULL;
	}
	struct block *old = find_block(c, key);
	if (old && !old->code && old->key.next_page == key->next_page) {
		old->code = code;
		c->bytes += code->words * sizeof(uint64_t);
		pthread_mutex_unlock(&c->lock);
		return code;
	}
	if (old && old->key.next_page == key->next_page) {
		free(code);
		code = old->code;
		pthread_mutex_unlock(&c->lock);
		return code;
	}
	if (old || c->bytes > CACHE_LIMIT_BYTES) {
		/* old: the page after it is another one now. */
		if (c->bytes > CACHE_LIMIT_BYTES)
			drop_everything(c);
		else
			drop_block(c, old, atomic_fetch_add(&c->epoch, 1) + 1);
		dropped = true;
	}
	add_block(c, key)->code = code;
	c->bytes += code->words * sizeof(uint64_t);
	free_limbo(c, c->users.oldest_epoch(c->users.opaque));
	pthread_mutex_unlock(&c->lock);
	if (dropped)
		c->users.dropped(c->users.opaque);
	return code;
}

bool code_cache_add_region(
	struct code_cache *c, const struct code_key *key, struct jit_region *region)
{
	struct region *r = xcalloc(1, sizeof(*r));
	r->jit = region;
	pthread_mutex_lock(&c->lock);
	bool current = is_code(c, key->host);
	for (unsigned n = 0; n < region->entry_count && current; n++) {
		const struct jit_entry *e = &region->entries[n];
		struct code_key at = {
			.host = key->host + (e->pc - key->pc), .pc = e->pc, .flags = key->flags};
		struct block *b = find_block(c, &at);
		if (b && (b->native || b->key.next_page))
			continue;
		if (!b)
			b = add_block(c, &at);
		b->native = e->code;
		b->region = r;
		r->users++;
	}
	bool used = r->users;
	pthread_mutex_unlock(&c->lock);
	if (!used) {
		jit_region_free(c->jit, region);
		free(r);
	}
	return used;
}
