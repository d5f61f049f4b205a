// SPDX-License-Identifier: Apache-2.0
// Translated blocks, shared by a machine's vCPUs. A block's key is the host address of its first
// byte (that is its guest-physical address), its virtual address, and isa->translation_flags. A
// block that straddles a page boundary depends on both pages.
//
// Life of a page: a page becomes code (translate.c) before anything is lifted from it:
// from then on no CPU stores to it directly. The first store drops all blocks of the page. Dropped
// blocks are freed when every vCPU has passed a block boundary since (epochs).
//
// All functions are for any thread unless said otherwise.
#ifndef STRATA_CPU_CODE_CACHE_H
#define STRATA_CPU_CODE_CACHE_H

#include "jit/jit.h"

#define CODE_EPOCH_IDLE UINT64_MAX

struct code_key {
	const uint8_t *host;	  /* first byte */
	const uint8_t *next_page; /* host page that a straddling block ends in, or NULL */
	uint64_t pc;
	uint32_t flags;
	uint64_t writes; /* code_cache_writes() before the code was read, when some is added */
};

/* The same code from another address in its page on. */
static inline struct code_key code_key_at(const struct code_key *k, uint64_t pc)
{
	return (struct code_key){.host = k->host + (pc - k->pc), .pc = pc, .flags = k->flags};
}

/* Entries after which interpreted code is hot again that could not be compiled, or whose compiled
 * code went. */
enum { CODE_HOT_AGAIN = 32 };

/* The cache's way to its vCPUs. */
struct code_cache_users {
	void *opaque;
	/* The page has been code without a break since it was made code (with the lock held). */
	bool (*is_code)(void *opaque, const uint8_t *page);
	/* The smallest epoch that a vCPU has seen. */
	uint64_t (*oldest_epoch)(void *opaque);
	/* Blocks were dropped: makes all vCPUs pass a block boundary soon. */
	void (*dropped)(void *opaque);
};

struct code_cache;
/* memory: NULL when the vCPUs' memory is flat. jit: NULL, or outlives the cache. limit_bytes: of
 * interpreted code. */
struct code_cache *code_cache_new(struct memory *memory, struct jit *jit, size_t limit_bytes,
	const struct code_cache_users *users);
void code_cache_free(struct code_cache *c); /* no vCPU runs any more */

/* Grows when a page of the key is written to. */
uint64_t code_cache_writes(const struct code_cache *c, const struct code_key *key);
uint64_t code_cache_epoch(const struct code_cache *c); /* grows when blocks are dropped */

/* What is known of a key. */
struct code_found {
	const struct interp_code *code; /* NULL: none */
	const void *native;		/* the compiled entry; NULL: none */
	const uint8_t *next_page;
};

/* Code for the key. key->next_page is not compared: when the block found straddles, *next_page is
 * the page that it needs, which the caller must compare with where the next page is mapped. */
struct code_found code_cache_find(struct code_cache *c, const struct code_key *key);

/* Adds a block, and takes the code. Returns the block's code: another vCPU's when it was faster
 * (then *code is freed). NULL: a page was written to since key->writes; *code is freed, lift
 * again. */
const struct interp_code *code_cache_add(
	struct code_cache *c, const struct code_key *key, struct interp_code *code);

/* Adds the entries of a region, whose code is all in the page of key->host or, with key->next_page,
 * is one instruction that ends in that page and is interpreted until now; takes the region. false:
 * another vCPU was faster, or a page was written to since key->writes: it is freed. */
bool code_cache_add_region(
	struct code_cache *c, const struct code_key *key, struct jit_region *region);

/* Links an edge of compiled code to its target, if that is compiled and in the host page where the
 * edge is: by address alone it could be another page, mapped there before or since. pc: where the
 * edge has led; a cell takes what it is given first. */
void code_cache_link(struct code_cache *c, struct jit_link *link, uint64_t pc, uint32_t flags);

/* Drops the blocks of a host page; all blocks. */
void code_cache_drop_page(struct code_cache *c, const uint8_t *page);
void code_cache_drop_all(struct code_cache *c);
/* The memory of compiled code is full: drops a part of it, or all when flat. */
void code_cache_make_room(struct code_cache *c);

/* Held across fork(), so that the child finds the cache whole. */
void code_cache_lock(struct code_cache *c);
void code_cache_unlock(struct code_cache *c);

/* The flag byte of the RAM page that holds host. */
_Atomic uint8_t *code_cache_page_flags(struct code_cache *c, const uint8_t *host);

#endif
