// SPDX-License-Identifier: Apache-2.0
#include "mem/flat.h"

/* Both are distances from themselves: the table needs no relocation. */
struct landing {
	int32_t access, landing;
};
extern const struct landing __start_strata_landings[] __attribute__((visibility("hidden")));
extern const struct landing __stop_strata_landings[] __attribute__((visibility("hidden")));

uintptr_t flat_landing(uintptr_t pc)
{
	for (const struct landing *l = __start_strata_landings; l < __stop_strata_landings; l++)
		if ((uintptr_t)&l->access + (uintptr_t)(intptr_t)l->access == pc)
			return (uintptr_t)&l->landing + (uintptr_t)(intptr_t)l->landing;
	return 0;
}

bool flat_copy(void *to, const void *from, size_t bytes)
{
	__asm__ volatile goto("1: rep movsb\n" FLAT_ENTRY(refused)
			      : "+D"(to), "+S"(from), "+c"(bytes)
			      :
			      : "memory"
			      : refused);
	return true;
refused:
	return false;
}

size_t flat_copy_string(char *to, uint64_t from, size_t cap)
{
	for (size_t n = 0; n < cap; n++) {
		uint8_t c;
		FLAT_LOAD(8, c, from + n, refused);
		to[n] = (char)c;
		if (!c)
			return n + 1;
	}
	return cap + 1;
refused:
	return 0;
}
