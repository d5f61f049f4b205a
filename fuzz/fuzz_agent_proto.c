// SPDX-License-Identifier: Apache-2.0
// Any bytes as a frame. What decodes must encode again, and decode to the same frame.
#include "wire/agent_proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t first[AGENT_FRAME_MAX], second[AGENT_FRAME_MAX];
	struct arena arena = ARENA_INIT;
	struct agent_message m, again;
	struct error err = ERROR_INIT;
	ssize_t n = agent_frame_length(data, size, &err);
	if (n > 0 && (size_t)n <= size && !agent_decode(data, (size_t)n, &arena, &m, &err)) {
		ssize_t len = agent_encode(&m, first, sizeof(first), &err);
		/* Missing fields are written as zeroes, so it may grow beyond the limit. */
		if (len < 0 && len != -EMSGSIZE)
			abort();
		if (len > 0) {
			if (agent_decode(first, (size_t)len, &arena, &again, &err))
				abort();
			ssize_t len2 = agent_encode(&again, second, sizeof(second), &err);
			if (len2 != len || memcmp(first, second, (size_t)len))
				abort();
		}
	}
	error_done(&err);
	arena_done(&arena);
	return 0;
}
