// SPDX-License-Identifier: Apache-2.0
// The device tree's generator: whatever the machine and its command line, the tree is well-formed
// and says what it was told.
#include <libfdt.h>

#include "board/riscv64/fdt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { HEAD = 32 };
	uint8_t head[HEAD] = {0};
	memcpy(head, data, size < HEAD ? size : HEAD);
	size_t n = size > HEAD ? size - HEAD : 0;
	char *cmdline _free_ = xmalloc(n + 1);
	if (n)
		memcpy(cmdline, data + HEAD, n);
	cmdline[n] = '\0';
	struct riscv_fdt_config config = {.cpus = load_le16(head) % 80,
		.memory_bytes = load_le64(head + 2),
		.initrd_addr = load_le64(head + 10),
		.initrd_bytes = load_le64(head + 18),
		.pci_slots = load_le32(head + 26),
		.cmdline = cmdline};
	void *fdt _free_ = NULL;
	size_t bytes;
	struct error err _error_ = ERROR_INIT;
	if (riscv_fdt_build(&fdt, &bytes, &config, &err) < 0) {
		if (!err.message || fdt)
			abort();
		return 0;
	}
	if (fdt_check_full(fdt, bytes))
		abort();
	const char *args = fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "bootargs", NULL);
	if (!args || strcmp(args, cmdline))
		abort();
	return 0;
}
