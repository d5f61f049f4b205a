// SPDX-License-Identifier: Apache-2.0
#include "wire/script_line.h"

#include <errno.h>
#include <string.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

int script_line_read(const char *head, size_t bytes, struct script_line *out)
{
	bytes = MIN(bytes, SCRIPT_LINE_BYTES);
	if (bytes < 2 || head[0] != '#' || head[1] != '!')
		return -ENOENT;
	size_t end = 2, at = 2, n;
	while (end < bytes && head[end] != '\n' && head[end])
		end++;
	/* A whole file may be one line. */
	bool cut = end == SCRIPT_LINE_BYTES;
	while (at < end && is_space(head[at]))
		at++;
	for (n = at; n < end && !is_space(head[n]);)
		n++;
	if (n == at || (cut && n == end))
		return -ENOEXEC;
	memcpy(out->interpreter, head + at, n - at);
	out->interpreter[n - at] = 0;
	for (at = n; at < end && is_space(head[at]);)
		at++;
	while (end > at && is_space(head[end - 1]))
		end--;
	memcpy(out->argument, head + at, end - at);
	out->argument[end - at] = 0;
	return 0;
}
