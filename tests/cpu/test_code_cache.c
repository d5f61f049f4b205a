// SPDX-License-Identifier: Apache-2.0
// What a guest can make the cache of code take of the host's memory.
#include <malloc.h>

#include "cpu/code_cache.h"
#include "interp/code.h"
#include "tap.h"

enum { PAGES = 64, LIMIT = 1 << 20, ADDRESSES = 100000, WORDS = 8, LAST = 50 };

static uint8_t ram[(PAGES + 2) * GUEST_PAGE_BYTES] __attribute__((aligned(GUEST_PAGE_BYTES)));

static bool is_code(void *opaque, const uint8_t *page)
{
	return true;
}
static uint64_t oldest_epoch(void *opaque)
{
	return UINT64_MAX;
}
static void dropped(void *opaque)
{
}

static struct code_key key_of(uint64_t n, bool straddling)
{
	uint64_t at = straddling ? GUEST_PAGE_BYTES - 2 : 16;
	return (struct code_key){.host = ram + n % PAGES * GUEST_PAGE_BYTES + at,
		.pc = 2 * n * GUEST_PAGE_BYTES + at,
		.next_page = straddling ? ram + PAGES * GUEST_PAGE_BYTES : NULL};
}

/* Blocks at ever new addresses, of which every hundredth is written to: at the page where it
 * begins, or where it ends. Memory is bounded, and what has been added last is mostly there. */
static void add_many(bool straddling, bool second)
{
	struct code_cache_users users = {NULL, is_code, oldest_epoch, dropped};
	size_t before = mallinfo2().uordblks;
	struct code_cache *c = code_cache_new(NULL, NULL, LIMIT, &users);
	for (uint64_t n = 0; n < ADDRESSES; n++) {
		struct code_key key = key_of(n, straddling);
		key.writes = code_cache_writes(c, &key);
		struct interp_code *code = xcalloc(1, sizeof(*code) + WORDS * sizeof(uint64_t));
		code->words = WORDS;
		code_cache_add(c, &key, code);
		if (n % 100 == 49)
			code_cache_drop_page(c, second ? key.next_page : key.host);
	}
	size_t bytes = mallinfo2().uordblks - before;
	unsigned found = 0;
	for (uint64_t n = ADDRESSES - LAST; n < ADDRESSES; n++) {
		struct code_key key = key_of(n, straddling);
		found += code_cache_find(c, &key).code != NULL;
	}
	code_cache_free(c);
	CHECK(bytes < 3 * LIMIT / 2);
	CHECK(found > LAST / 2);
}

static void blocks_at_many_addresses(void)
{
	add_many(false, false);
}
static void straddling_written_where_they_begin(void)
{
	add_many(true, false);
}
static void straddling_written_where_they_end(void)
{
	add_many(true, true);
}

int main(void)
{
	RUN(blocks_at_many_addresses);
	RUN(straddling_written_where_they_begin);
	RUN(straddling_written_where_they_end);
	return tap_done();
}
