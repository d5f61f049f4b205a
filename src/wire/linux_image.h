// SPDX-License-Identifier: Apache-2.0
// What kind of kernel a file holds, told from its first bytes, and the header of a Linux RISC-V
// Image (Linux, Documentation/arch/riscv/boot-image-header.rst).
#ifndef STRATA_WIRE_LINUX_IMAGE_H
#define STRATA_WIRE_LINUX_IMAGE_H

#include "base/error.h"

enum { LINUX_HEAD_BYTES = 1024 }; /* what linux_kernel_kind() wants to see, when the file has it */

enum linux_kernel_kind {
	LINUX_KERNEL_UNKNOWN,
	LINUX_KERNEL_RISCV_IMAGE,
	LINUX_KERNEL_ARM64_IMAGE,
	LINUX_KERNEL_X86_BZIMAGE,
	LINUX_KERNEL_ELF,
	LINUX_KERNEL_GZIP,
	LINUX_KERNEL_XZ,
	LINUX_KERNEL_ZSTD,
};
enum linux_kernel_kind linux_kernel_kind(const uint8_t *head, size_t len);
/* For messages: "a Linux Image for arm64". Never NULL. */
const char *linux_kernel_kind_name(enum linux_kernel_kind kind);

struct riscv_image {
	uint64_t text_offset; /* from a 2 MiB boundary in RAM; itself 2 MiB aligned */
	uint64_t image_bytes; /* of memory, with what follows the file: at least file_bytes */
	uint16_t version_major, version_minor;
};
enum { RISCV_IMAGE_ALIGN = 2 << 20 };
/* head: the first len bytes of a file of file_bytes. */
int riscv_image_parse(struct riscv_image *out, const uint8_t *head, size_t len, uint64_t file_bytes,
	struct error *err);

#endif
