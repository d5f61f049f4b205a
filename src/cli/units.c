// SPDX-License-Identifier: Apache-2.0
#include "cli/units.h"

#include <stdio.h>
#include <strings.h>

int parse_uint(const char *s, uint64_t *out)
{
	uint64_t v = 0;
	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || mul_overflows(v, 10, &v) ||
			add_overflows(v, (uint64_t)(*s - '0'), &v))
			return -EINVAL;
	}
	*out = v;
	return 0;
}

static int unit_shift(const char *s)
{
	static const char units[] = "KMGTP";
	if (!*s || !strcasecmp(s, "B"))
		return 0;
	for (int i = 0; units[i]; i++) {
		if ((s[0] & ~0x20) == units[i] &&
			(!s[1] || !strcasecmp(s + 1, "B") || !strcasecmp(s + 1, "iB")))
			return 10 * (i + 1);
	}
	return -1;
}

int parse_size(const char *s, uint64_t *out)
{
	size_t digits = strspn(s, "0123456789");
	char whole[24];
	uint64_t v, fraction = 0, scale = 1;
	if (!digits || digits >= sizeof(whole))
		return -EINVAL;
	memcpy(whole, s, digits);
	whole[digits] = 0;
	if (parse_uint(whole, &v))
		return -EINVAL;
	s += digits;
	if (*s == '.') {
		for (s++; *s >= '0' && *s <= '9' && scale < 1000; s++, scale *= 10)
			fraction = fraction * 10 + (uint64_t)(*s - '0');
		if (scale == 1)
			return -EINVAL;
	}
	int shift = unit_shift(s + (*s == ' '));
	uint64_t unit = UINT64_C(1) << MAX(shift, 0);
	if (shift < 0 || (scale > 1 && !shift) || mul_overflows(v, unit, &v) ||
		add_overflows(v, fraction * unit / scale, &v))
		return -EINVAL;
	*out = v;
	return 0;
}

void format_size(uint64_t bytes, char text[24])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t u = 0;
	double v = (double)bytes;
	while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	bool whole = u == 0 || v >= 100 || (bytes & ((UINT64_C(1) << (10 * u)) - 1)) == 0;
	snprintf(text, 24, whole ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void format_duration(uint64_t s, char text[32])
{
	unsigned long long d = s / 86400, h = s / 3600 % 24, m = s / 60 % 60;
	if (d)
		snprintf(text, 32, "%llu d %llu h", d, h);
	else if (h)
		snprintf(text, 32, "%llu h %llu min", h, m);
	else if (m)
		snprintf(text, 32, "%llu min %llu s", m, (unsigned long long)(s % 60));
	else
		snprintf(text, 32, "%llu s", (unsigned long long)s);
}

int parse_millis(const char *s, uint64_t *out)
{
	char whole[16];
	size_t n = strcspn(s, ".");
	uint64_t v, scale = 100;
	if (n >= sizeof(whole))
		return -EINVAL;
	memcpy(whole, s, n);
	whole[n] = 0;
	if (parse_uint(n ? whole : "0", &v) < 0 || v > UINT32_MAX || (!n && !s[1]))
		return -EINVAL;
	v *= 1000;
	for (const char *p = s + n + (s[n] == '.'); *p; p++, scale /= 10) {
		if (*p < '0' || *p > '9' || !scale)
			return -EINVAL;
		v += (uint64_t)(*p - '0') * scale;
	}
	*out = v;
	return 0;
}
