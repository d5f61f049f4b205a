// SPDX-License-Identifier: Apache-2.0
#include "tap.h"
#include "cli/units.h"

static void sizes_are_read(void)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {{"4096", 4096}, {"512M", 512 * MiB}, {"2g", 2 * GiB}, {"1GiB", GiB},
		{"1.5G", GiB + GiB / 2}, {"64 KiB", 65536}, {"10B", 10}, {"3TB", 3072 * GiB}};
	static const char *const bad[] = {"", "M", "-1", "12X", "1.5", "1.", "99999999999999999999",
		"17179869184G", "1MM", "0x10", " 1"};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint64_t v = 0;
		CHECK_EQ(parse_size(good[i].text, &v), 0);
		CHECK_EQ(v, good[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t v = 7;
		if (parse_size(bad[i], &v) != -EINVAL)
			TAP_FAIL_("\"%s\" is taken for a size", bad[i]);
		CHECK_EQ(v, (uint64_t)7);
	}
}

static void sizes_are_written(void)
{
	char text[24];
	format_size(0, text);
	CHECK_STR(text, "0 B");
	format_size(512 * MiB, text);
	CHECK_STR(text, "512 MiB");
	format_size(GiB + GiB / 2, text);
	CHECK_STR(text, "1.5 GiB");
	format_size(UINT64_MAX, text);
	CHECK_STR(text, "16.0 EiB");
}

static void durations_are_written(void)
{
	char text[32];
	format_duration(59, text);
	CHECK_STR(text, "59 s");
	format_duration(125, text);
	CHECK_STR(text, "2 min 5 s");
	format_duration(15000, text);
	CHECK_STR(text, "4 h 10 min");
	format_duration(UINT64_MAX, text);
	CHECK_CONTAINS(text, " d ");
}

int main(void)
{
	RUN(sizes_are_read);
	RUN(sizes_are_written);
	RUN(durations_are_written);
	return tap_done();
}
