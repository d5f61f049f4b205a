// SPDX-License-Identifier: Apache-2.0
// ELF and Linux Image headers, whole, cut at every byte, and with every bit flipped.
#include <elf.h>

#include "tap.h"
#include "wire/elf_file.h"
#include "wire/linux_image.h"

static struct {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[3];
	uint8_t bytes[32];
} f;

static void make(void)
{
	memset(&f, 0, sizeof(f));
	f.eh = (Elf64_Ehdr){.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_RISCV,
		.e_entry = 0x1000,
		.e_phoff = sizeof(f.eh),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3};
	f.ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_offset = offsetof(__typeof__(f), bytes),
		.p_vaddr = 0x1000,
		.p_paddr = 0x2000,
		.p_filesz = 32,
		.p_memsz = 64};
	f.ph[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = UINT64_MAX};
	f.ph[2] = (Elf64_Phdr){.p_type = PT_LOAD}; /* empty: nothing to load */
}

static int parse(size_t len, struct elf *out, struct error *err)
{
	struct source s;
	uint8_t *exact _free_ = memcpy(xmalloc(len), &f, len);
	source_from_memory(&s, exact, len);
	return elf_read(out, &s, err);
}

static void reads_segments(void)
{
	struct elf e;
	make();
	REQUIRE(parse(sizeof(f), &e, NULL) == 0);
	CHECK_EQ(e.segment_count, 1u);
	CHECK_EQ(e.segments[0].paddr, 0x2000u);
	CHECK_EQ(e.segments[0].memory_bytes, 64u);
	CHECK_EQ(e.segments[0].flags, (uint32_t)(ELF_R | ELF_X));
	CHECK_EQ(e.entry, 0x1000u);
	CHECK_STR(elf_machine_name(e.machine), "riscv64");
}

static void cut_at_every_byte(void)
{
	struct elf e;
	make();
	for (size_t n = 0; n < sizeof(f); n++) {
		struct error err _error_ = ERROR_INIT;
		CHECK_EQ(parse(n, &e, &err), -ENOEXEC);
		CHECK(err.message != NULL);
	}
}

static void every_flipped_bit_is_refused_or_harmless(void)
{
	struct elf e;
	make();
	for (size_t i = 0; i < sizeof(f) * 8; i++) {
		((uint8_t *)&f)[i / 8] ^= (uint8_t)(1u << i % 8);
		if (parse(sizeof(f), &e, NULL) == 0)
			for (unsigned n = 0; n < e.segment_count; n++)
				CHECK(range_fits(e.segments[n].file_offset,
					e.segments[n].file_bytes, sizeof(f)));
		((uint8_t *)&f)[i / 8] ^= (uint8_t)(1u << i % 8);
	}
}

static void kinds_of_kernels(void)
{
	uint8_t head[LINUX_HEAD_BYTES] = {0};
	CHECK_EQ(linux_kernel_kind(head, sizeof(head)), LINUX_KERNEL_UNKNOWN);
	memcpy(head + 56, "RSC\x05", 4);
	CHECK_EQ(linux_kernel_kind(head, sizeof(head)), LINUX_KERNEL_RISCV_IMAGE);
	CHECK_EQ(linux_kernel_kind(head, 59), LINUX_KERNEL_UNKNOWN);
	memcpy(head + 56, "ARM\x64", 4);
	CHECK_EQ(linux_kernel_kind(head, sizeof(head)), LINUX_KERNEL_ARM64_IMAGE);
	memset(head, 0, sizeof(head));
	memcpy(head, "\x1f\x8b", 2);
	CHECK_EQ(linux_kernel_kind(head, 2), LINUX_KERNEL_GZIP);
	CHECK_EQ(linux_kernel_kind(head, 1), LINUX_KERNEL_UNKNOWN);
	CHECK_EQ(linux_kernel_kind(head, 0), LINUX_KERNEL_UNKNOWN);
}

static void image_header(void)
{
	struct riscv_image i;
	struct error err _error_ = ERROR_INIT;
	uint8_t head[64] = {0};
	memcpy(head + 56, "RSC\x05", 4);
	store_le64(head + 8, 2 * MiB);
	store_le64(head + 16, 5000);
	store_le32(head + 32, 2);
	CHECK_EQ(riscv_image_parse(&i, head, 64, 4000, NULL), 0);
	CHECK_EQ(i.text_offset, 2 * MiB);
	CHECK_EQ(i.image_bytes, 5000u);
	CHECK_EQ(riscv_image_parse(&i, head, 63, 4000, NULL), -ENOEXEC);
	CHECK_EQ(riscv_image_parse(&i, head, 64, 5001, NULL), -ENOEXEC);
	store_le64(head + 24, 1);
	CHECK_EQ(riscv_image_parse(&i, head, 64, 4000, &err), -ENOEXEC);
	CHECK_CONTAINS(err.message, "big-endian");
	store_le64(head + 24, 0);
	store_le32(head + 32, 0x10000);
	CHECK_EQ(riscv_image_parse(&i, head, 64, 4000, &err), -ENOEXEC);
	CHECK_CONTAINS(err.message, "header version 1.0");
}

int main(void)
{
	RUN(reads_segments);
	RUN(cut_at_every_byte);
	RUN(every_flipped_bit_is_refused_or_harmless);
	RUN(kinds_of_kernels);
	RUN(image_header);
	return tap_done();
}
