// SPDX-License-Identifier: Apache-2.0
// Decompression (the first byte chooses the form) and module information.
#include "wire/modinfo.h"
#include "wire/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct modinfo info;
	const char *cursor = NULL;
	if (!len)
		return 0;
	struct stream_mem m = {data + 1, data + len};
	struct decompress *d;
	struct strbuf out = STRBUF_INIT;
	if (decompress_new(
		    &d, (enum compression)(data[0] % 4), stream_mem_read, &m, 4 * MiB, NULL) == 0) {
		(void)stream_read_all(decompress_read, d, 4 * MiB, &out, NULL);
		decompress_free(d);
	}
	strbuf_done(&out);
	if (modinfo_open(&info, data + 1, len - 1, NULL) == 0)
		while (modinfo_next(&info, "depends", &cursor))
			;
	return 0;
}
