// SPDX-License-Identifier: Apache-2.0
// A kernel file of any kind, as the RISC-V board loads it: Image, ELF, gzip, xz, zstd of those.
#include <sys/mman.h>
#include <unistd.h>

#include "board/board.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct board *board;

static void make_board(void)
{
	static struct loop *loop;
	struct board_config config = {
		.cpus = 1, .memory_bytes = 64 * MiB, .console_in_fd = -1, .console_out_fd = -1};
	if (loop_new(&loop, NULL) < 0 ||
		board_new(&board, board_find("riscv64"), &config, loop, NULL) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!board)
		make_board();
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	/* The same bytes are the initial RAM disk. */
	struct board_boot boot = {
		.kernel_fd = fd, .initrd_fds = &fd, .initrd_count = 1, .cmdline = ""};
	struct error err _error_ = ERROR_INIT;
	if (board->ops->load(board, &boot, &err) < 0 && !err.message)
		abort(); /* every refusal has its sentence */
	close(fd);
	return 0;
}
