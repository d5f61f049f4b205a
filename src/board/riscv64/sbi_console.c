// SPDX-License-Identifier: Apache-2.0
// The debug console (SBI 2.0, chapter 12) and its legacy forerunner (chapter 5): the serial port's
// cable. Nothing here waits: a write takes what there is room for, as the specification allows.
#include "board/riscv64/sbi.h"

#include "isa/rv64/rv64.h"

enum { CONSOLE_WRITE, CONSOLE_READ, CONSOLE_WRITE_BYTE };
enum { CHUNK_BYTES = 1 << 14 }; /* of one call: it runs on the caller's time */

struct sbi_result sbi_dbcn(struct sbi *call)
{
	struct board *b = &call->machine->board;
	uint64_t bytes = MIN(call->arg[0], (uint64_t)CHUNK_BYTES);
	gpa_t at = GPA(call->arg[1]);
	if (call->function == CONSOLE_WRITE_BYTE) {
		uint8_t byte = (uint8_t)call->arg[0];
		return serial_put(b->serial, &byte, 1) ? SBI_OK(0) : SBI_FAIL(SBI_ERR_FAILED);
	}
	if (call->function > CONSOLE_WRITE_BYTE)
		return SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	if (call->arg[2] || !memory_read_ptr(b->memory, at, call->arg[0]))
		return SBI_FAIL(SBI_ERR_INVALID_PARAM);
	/* Other harts may change the buffer meanwhile: only what was copied is used. */
	uint8_t copy[CHUNK_BYTES];
	if (call->function == CONSOLE_WRITE) {
		memory_read(b->memory, at, copy, bytes);
		return SBI_OK(serial_put(b->serial, copy, bytes));
	}
	size_t n = serial_get(b->serial, copy, bytes);
	memory_write(b->memory, at, copy, n);
	return SBI_OK(n);
}

struct sbi_result sbi_legacy_putchar(struct sbi *call)
{
	uint8_t byte = (uint8_t)call->arg[0];
	serial_put(call->machine->board.serial, &byte, 1);
	return SBI_OK(0);
}

struct sbi_result sbi_legacy_getchar(struct sbi *call)
{
	uint8_t byte;
	if (!serial_get(call->machine->board.serial, &byte, 1))
		return SBI_FAIL(SBI_ERR_FAILED);
	return (struct sbi_result){byte, 0};
}
