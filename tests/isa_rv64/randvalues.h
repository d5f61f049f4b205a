// SPDX-License-Identifier: Apache-2.0
// Random numbers, those that matter more often than chance has them. The same seed gives the same.
#ifndef STRATA_TESTS_RANDVALUES_H
#define STRATA_TESTS_RANDVALUES_H

#include "base/base.h"

static inline uint64_t random_word(uint64_t *seed)
{
	/* splitmix64 */
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}
static inline unsigned random_below(uint64_t *seed, unsigned n)
{
	return (unsigned)(random_word(seed) >> 33) % n;
}
static inline bool random_chance(uint64_t *seed, unsigned percent)
{
	return random_below(seed, 100) < percent;
}

static inline uint64_t random_int(uint64_t *seed)
{
	static const uint64_t special[] = {0, 1, 2, 63, 64, UINT64_MAX, 0x7f, 0x80, 0x7fff, 0x8000,
		0x7fffffff, 0x80000000, 0xffffffff, UINT64_C(0x100000000),
		UINT64_C(0xffffffff80000000), INT64_MAX, UINT64_C(1) << 63,
		UINT64_C(0x0123456789abcdef), UINT64_C(0x8080808080808080)};
	uint64_t v = random_word(seed);
	switch (random_below(seed, 6)) {
	case 0:
		return special[random_below(seed, ARRAY_SIZE(special))];
	case 1:
		return special[random_below(seed, ARRAY_SIZE(special))] + random_below(seed, 5) - 2;
	case 2:
		return v >> random_below(seed, 64);
	case 3:
		return (uint64_t)((int64_t)v >> random_below(seed, 64));
	case 4:
		return UINT64_C(1) << random_below(seed, 64);
	default:
		return v;
	}
}

static inline uint32_t random_single(uint64_t *seed)
{
	static const uint32_t special[] = {0, 1, 2, 0x007fffff, 0x00800000, 0x00800001, 0x3effffff,
		0x3f000000, 0x3f000001, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fc00000, 0x40200000,
		0x4b000000, 0x4b800000, 0x4effffff, 0x4f000000, 0x4f7fffff, 0x4f800000, 0x5effffff,
		0x5f000000, 0x5f7fffff, 0x5f800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff,
		0x7fc00000, 0x7fc00001, 0x7fffffff};
	uint32_t v = (uint32_t)random_word(seed), sign = v & 0x80000000;
	switch (random_below(seed, 4)) {
	case 0:
	case 1:
		return special[random_below(seed, ARRAY_SIZE(special))] ^ sign;
	case 2: /* of a size that meets others, with few bits or many */
		v = (v & 0x807fffff) | (0x7f - 12 + random_below(seed, 24)) << 23;
		return random_chance(seed, 50) ? v & 0xfffff800 : v;
	default:
		return v;
	}
}

static inline uint64_t random_double(uint64_t *seed)
{
	static const uint64_t special[] = {0, 1, 2, UINT64_C(0x000fffffffffffff),
		UINT64_C(0x0010000000000000), UINT64_C(0x0010000000000001),
		UINT64_C(0x3fe0000000000000), UINT64_C(0x3fdfffffffffffff),
		UINT64_C(0x3ff0000000000000), UINT64_C(0x3ff0000000000001),
		UINT64_C(0x3ff8000000000000), UINT64_C(0x4004000000000000),
		UINT64_C(0x41dfffffffc00000), UINT64_C(0x41dfffffffe00000),
		UINT64_C(0x41e0000000000000), UINT64_C(0x41efffffffe00000),
		UINT64_C(0x41effffffff00000), UINT64_C(0x41f0000000000000),
		UINT64_C(0x43dfffffffffffff), UINT64_C(0x43e0000000000000),
		UINT64_C(0x43efffffffffffff), UINT64_C(0x43f0000000000000),
		UINT64_C(0x4330000000000000), UINT64_C(0x7fefffffffffffff),
		UINT64_C(0x7ff0000000000000), UINT64_C(0x7ff0000000000001),
		UINT64_C(0x7ff7ffffffffffff), UINT64_C(0x7ff8000000000000),
		UINT64_C(0x7ff8000000000001),
		/* about the limits of single precision */
		UINT64_C(0x47efffffe0000000), UINT64_C(0x47effffff0000000),
		UINT64_C(0x47f0000000000000), UINT64_C(0x3810000000000000),
		UINT64_C(0x380fffffffffffff), UINT64_C(0x380fffffe0000000),
		UINT64_C(0x36a0000000000000), UINT64_C(0x3690000000000000),
		UINT64_C(0x3690000000000001)};
	uint64_t v = random_word(seed), sign = v & UINT64_C(1) << 63;
	switch (random_below(seed, 4)) {
	case 0:
	case 1:
		return special[random_below(seed, ARRAY_SIZE(special))] ^ sign;
	case 2:
		v = (v & UINT64_C(0x800fffffffffffff)) |
		    (uint64_t)(0x3ff - 30 + random_below(seed, 60)) << 52;
		return random_chance(seed, 50) ? v & ~UINT64_C(0x1fffffff) : v;
	default:
		return v;
	}
}

static inline uint64_t random_float(uint64_t *seed)
{
	if (random_chance(seed, 45))
		return random_double(seed);
	uint64_t boxed = UINT64_C(0xffffffff00000000) | random_single(seed);
	return random_chance(seed, 8) ? boxed ^ UINT64_C(1) << (32 + random_below(seed, 32))
				      : boxed;
}

#endif
