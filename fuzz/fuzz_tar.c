// SPDX-License-Identifier: Apache-2.0
// The tar reader, from memory and as a stream; both must agree.
#include "wire/stream.h"
#include "wire/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint64_t walk(struct tar_reader *r, uint64_t size)
{
	struct tar_entry e;
	uint64_t sum = 0;
	char buf[700];
	while (tar_reader_next(r, &e, NULL) == 1) {
		sum = sum * 31 + strlen(e.path) + strlen(e.linkname) + e.size + e.mode + e.n_xattrs;
		if (!range_fits(e.data_offset, e.size, size) || strstr(e.path, "..//") ||
			e.path[0] == '/' || e.mtime_nsec >= 1000000000)
			__builtin_trap();
		for (size_t i = 0; i < e.n_xattrs; i++)
			sum += strlen(e.xattrs[i].name) + e.xattrs[i].len;
		if (e.size & 1)
			(void)tar_reader_read(r, buf, sizeof(buf), NULL);
	}
	tar_reader_done(r);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct tar_reader r;
	struct stream_mem m = {data, data + len};
	tar_reader_init_mem(&r, data, len);
	walk(&r, len);
	tar_reader_init_stream(&r, stream_mem_read, &m);
	walk(&r, UINT64_MAX);
	return 0;
}
