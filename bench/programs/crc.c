// SPDX-License-Identifier: Apache-2.0
// CRC-32 by table, and by bits: loads with a dependent index, shifts.
#include "bench.h"

enum { LEN = 1 << 16 };

static uint32_t table[256];

static uint32_t by_bits(uint32_t crc, const uint8_t *p, long n)
{
	for (; n; n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
	}
	return crc;
}

static uint32_t by_table(uint32_t crc, const uint8_t *p, long n)
{
	for (; n; n--)
		crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
	return crc;
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	uint8_t *data = bench_alloc(LEN);
	uint64_t seed = 7;
	uint32_t crc = ~0u;
	for (uint32_t i = 0; i < 256; i++)
		table[i] = by_bits(0, (uint8_t[]){(uint8_t)i}, 1);
	for (long i = 0; i < LEN; i++)
		data[i] = (uint8_t)bench_random(&seed);
	for (long r = 0; r < rounds; r++) {
		crc = by_table(crc, data, LEN);
		crc = by_bits(crc, data, LEN / 4);
	}
	printf("%08" PRIx32 "\n", ~crc);
	return 0;
}
