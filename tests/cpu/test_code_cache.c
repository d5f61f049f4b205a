// SPDX-License-Identifier: Apache-2.0
// What a guest can make the cache of code take of the host's memory.
#include <malloc.h>

#include "cpu/code_cache.h"
#include "interp/code.h"
#include "tap.h"

enum { PAGES = 64, LIMIT = 1 << 20, ADDRESSES = 100000, WORDS = 8 };

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

/* Blocks at ever new addresses, of which every hundredth is written to: at the page where it
 * begins, or where it ends. In bytes that are in use afterwards. */
static size_t bytes_after(bool straddling, bool second)
{
	struct code_cache_users users = {NULL, is_code, oldest_epoch, dropped};
	size_t before = mallinfo2().uordblks;
	struct code_cache *c = code_cache_new(NULL, NULL, LIMIT, &users);
	for (uint64_t n = 0; n < ADDRESSES; n++) {
		uint8_t *page = ram + n % PAGES * GUEST_PAGE_BYTES,
			*end = ram + PAGES * GUEST_PAGE_BYTES;
		uint64_t at = straddling ? GUEST_PAGE_BYTES - 2 : 16;
		struct code_key key = {.host = page + at, .pc = 2 * n * GUEST_PAGE_BYTES + at};
		if (straddling)
			key.next_page = end;
		key.writes = code_cache_writes(c, &key);
		struct interp_code *code = xcalloc(1, sizeof(*code) + WORDS * sizeof(uint64_t));
		code->words = WORDS;
		code_cache_add(c, &key, code);
		if (n % 100 == 99)
			code_cache_drop_page(c, second ? end : page);
	}
	size_t bytes = mallinfo2().uordblks - before;
	code_cache_free(c);
	return bytes;
}

static void memory_is_bounded(void)
{
	CHECK(bytes_after(false, false) < 3 * LIMIT);
	CHECK(bytes_after(true, false) < 3 * LIMIT);
	CHECK(bytes_after(true, true) < 3 * LIMIT);
}

int main(void)
{
	RUN(memory_is_bounded);
	return tap_done();
}
