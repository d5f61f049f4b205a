// SPDX-License-Identifier: Apache-2.0
// A script's first line: what is accepted are words of that line.
#include "wire/script_line.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script_line line;
	/* In a buffer of its own length, so that reading beyond it is noticed. */
	char *head = malloc(size ? size : 1);
	memcpy(head, data, size);
	if (script_line_read(head, size, &line) == 0) {
		size_t n = strlen(line.interpreter), m = strlen(line.argument);
		if (!n || n + m + 2 > size || strpbrk(line.interpreter, " \t\n") ||
			strchr(line.argument, '\n'))
			abort();
		if (m && strchr(" \t", line.argument[m - 1]))
			abort();
	}
	free(head);
	return 0;
}
