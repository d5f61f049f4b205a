// SPDX-License-Identifier: Apache-2.0
// Loading kernels: what is accepted lands where it should, what is not is named in a sentence.
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "board/riscv64/machine.h"
#include "tap.h"

#define RAM (64 * MiB)

static struct loop *loop;
static struct board *board;
static struct error err;

static void setup(uint64_t memory_bytes)
{
	struct board_config config = {
		.cpus = 1, .memory_bytes = memory_bytes, .console_in_fd = -1, .console_out_fd = -1};
	error_done(&err);
	if (loop_new(&loop, NULL) || board_new(&board, board_find("riscv64"), &config, loop, NULL))
		exit(1);
}
static void teardown(void)
{
	board_free(board);
	loop_free(loop);
	error_done(&err);
}

static int file(const void *bytes, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		exit(1);
	return fd;
}

/* Loads and closes. */
static int load_with(int kernel, const int *initrds, unsigned n)
{
	struct board_boot boot = {.kernel_fd = kernel,
		.initrd_fds = initrds,
		.initrd_count = n,
		.initrd_extra = "extra",
		.initrd_extra_bytes = n ? 5 : 0,
		.cmdline = "test"};
	int r = board->ops->load(board, &boot, &err);
	close(kernel);
	return r;
}
static int load(const void *bytes, size_t len)
{
	return load_with(file(bytes, len), NULL, 0);
}

static uint8_t image[8192];

static void make_image(uint64_t text_offset, uint64_t image_bytes)
{
	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)(i * 7);
	memset(image, 0, 64);
	store_le64(image + 8, text_offset);
	store_le64(image + 16, image_bytes);
	store_le32(image + 32, 2);
	memcpy(image + 48, "RISCV\0\0\0", 8);
	memcpy(image + 56, "RSC\x05", 4);
}

static bool memory_is(uint64_t addr, const void *bytes, size_t len)
{
	const void *p = memory_read_ptr(board->memory, GPA(addr), len);
	return p && !memcmp(p, bytes, len);
}

static void image_with_initrds(void)
{
	setup(RAM);
	make_image(2 * MiB, 4 * MiB);
	int initrds[2] = {file("12345", 5), file("abcd", 4)};
	CHECK_EQ(load_with(file(image, sizeof(image)), initrds, 2), 0);
	struct riscv_machine *m = riscv_machine(board);
	CHECK_EQ(m->entry, RISCV_RAM_BASE + 2 * MiB);
	CHECK(memory_is(m->entry, image, sizeof(image)));
	/* 5 bytes, padding, 4 bytes, the extra: 17 bytes at the top of memory. */
	CHECK(memory_is(RISCV_RAM_BASE + RAM - 4096, "12345\0\0\0abcdextra", 17));
	CHECK(memory_is(m->fdt_addr, "\xd0\x0d\xfe\xed", 4));
	CHECK_EQ(m->fdt_addr % 8, 0u);
	close(initrds[0]);
	close(initrds[1]);
	teardown();
}

static void gzip_of_an_image(void)
{
	setup(RAM);
	make_image(0, 4 * MiB);
	uint8_t packed[2 * sizeof(image)];
	z_stream z = {.next_in = image,
		.avail_in = sizeof(image),
		.next_out = packed,
		.avail_out = sizeof(packed)};
	deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
	deflate(&z, Z_FINISH);
	CHECK_EQ(load(packed, z.total_out), 0);
	CHECK(memory_is(RISCV_RAM_BASE, image, sizeof(image)));
	for (size_t n = 2; n < z.total_out; n += 97)
		CHECK(load(packed, n) < 0);
	CHECK_CONTAINS(err.message, "kernel: ");
	deflateEnd(&z);
	teardown();
}

static void a_gzip_bomb_is_refused(void)
{
	setup(RAM);
	enum { PACKED = 1 << 20 };
	uint8_t *packed _free_ = xmalloc(PACKED), *zeros _free_ = xcalloc(1, MiB);
	z_stream z = {.next_out = packed, .avail_out = PACKED};
	deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
	for (int i = 0; i < 200; i++) {
		z.next_in = zeros;
		z.avail_in = MiB;
		deflate(&z, i == 199 ? Z_FINISH : Z_NO_FLUSH);
	}
	CHECK_EQ(load(packed, z.total_out), -EFBIG);
	deflateEnd(&z);
	teardown();
}

static void broken_images(void)
{
	setup(RAM);
	make_image(2 * MiB, 4 * MiB);
	CHECK(load(image, 60) < 0);
	CHECK_CONTAINS(err.message, "kernel: ");
	CHECK(load("", 0) < 0);
	CHECK_CONTAINS(err.message, "kernel: the file is empty");
	make_image(2 * MiB, 4096); /* smaller than its file */
	CHECK(load(image, sizeof(image)) < 0);
	make_image(4096, 4 * MiB);
	CHECK(load(image, sizeof(image)) < 0);
	CHECK_CONTAINS(err.message, "text offset 0x1000");
	make_image(UINT64_MAX - 2 * MiB + 1, 4 * MiB);
	CHECK(load(image, sizeof(image)) < 0);
	make_image(2 * MiB, UINT64_MAX);
	CHECK(load(image, sizeof(image)) < 0);
	CHECK_CONTAINS(err.message, "64 MiB of memory are too little for this kernel");
	CHECK(err.remedy && strstr(err.remedy, "give the machine at least"));
	teardown();
}

/* The Image's PE header says how long the file has to be. */
static void truncated_image(void)
{
	setup(RAM);
	make_image(2 * MiB, 4 * MiB);
	memcpy(image, "MZ", 2);
	store_le32(image + 60, 64);
	memset(image + 64, 0, 128);
	memcpy(image + 64, "PE\0\0", 4);
	store_le16(image + 64 + 6, 1);
	store_le16(image + 64 + 20, 0);
	store_le32(image + 64 + 24 + 16, 4096);
	store_le32(image + 64 + 24 + 20, 4096);
	CHECK_EQ(load(image, sizeof(image)), 0);
	CHECK(load(image, sizeof(image) - 1) < 0);
	CHECK_CONTAINS(
		err.message, "kernel: truncated Linux Image: the file has 8191 bytes of 8192");
	teardown();
}

static void memory_too_small_says_how_much(void)
{
	setup(RAM);
	make_image(2 * MiB, 20 * MiB);
	int initrd = memfd_create("test", MFD_CLOEXEC);
	CHECK_EQ(ftruncate(initrd, 30 * MiB), 0);
	CHECK_EQ(load_with(file(image, sizeof(image)), &initrd, 1), -ENOMEM);
	CHECK_STR(err.message, "64 MiB of memory are too little for this kernel (22 MiB) and "
			       "initial RAM disk (31 MiB)");
	CHECK_STR(err.remedy, "give the machine at least 96 MiB");
	CHECK_EQ(ftruncate(initrd, (off_t)(UINT64_C(1) << 61)), 0);
	CHECK_EQ(load_with(file(image, sizeof(image)), &initrd, 1), -ENOMEM);
	close(initrd);
	teardown();
}

static void other_architectures_are_named(void)
{
	setup(RAM);
	uint8_t head[1024] = {0};
	memcpy(head + 56, "ARM\x64", 4);
	CHECK(load(head, sizeof(head)) < 0);
	CHECK_STR(err.message, "kernel: a Linux Image for arm64, wanted is a Linux Image for "
			       "riscv64 (or gzip of it) or ELF");
	memset(head, 0, sizeof(head));
	memcpy(head + 0x202, "HdrS", 4);
	CHECK(load(head, sizeof(head)) < 0);
	CHECK_CONTAINS(err.message, "bzImage for x86");
	memset(head, 'x', sizeof(head));
	CHECK(load(head, sizeof(head)) < 0);
	CHECK_CONTAINS(err.message, "no kernel known here");
	CHECK_EQ(load_with(memfd_create("x", 0), NULL, 0) < 0, true);
	teardown();
}

static Elf64_Ehdr elf_head(uint16_t machine, unsigned segments, uint64_t entry)
{
	return (Elf64_Ehdr){.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = machine,
		.e_version = EV_CURRENT,
		.e_entry = entry,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (uint16_t)segments};
}

static void elf_files(void)
{
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph;
		char text[16];
	} f = {elf_head(EM_RISCV, 1, UINT64_C(0xffffffff80000004)), {0}, "program text"};
	f.ph = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = offsetof(__typeof__(f), text),
		.p_vaddr = UINT64_C(0xffffffff80000000),
		.p_paddr = RISCV_RAM_BASE + MiB,
		.p_filesz = 16,
		.p_memsz = 4096};
	setup(RAM);
	CHECK_EQ(load(&f, sizeof(f)), 0);
	CHECK_EQ(riscv_machine(board)->entry, RISCV_RAM_BASE + MiB + 4);
	CHECK(memory_is(RISCV_RAM_BASE + MiB, "program text", 12));
	f.ph.p_paddr = 0; /* a kernel linked at zero: position independent */
	CHECK_EQ(load(&f, sizeof(f)), 0);
	CHECK_EQ(riscv_machine(board)->entry, RISCV_RAM_BASE + 2 * MiB + 4);
	f.eh.e_machine = EM_AARCH64;
	CHECK(load(&f, sizeof(f)) < 0);
	CHECK_STR(err.message, "kernel: ELF file is for arm64 (machine 183), wanted is riscv64");
	f.eh.e_machine = EM_RISCV;
	CHECK(load(&f, sizeof(f) - 1) < 0);
	CHECK_CONTAINS(err.message, "truncated ELF file: segment 0");
	f.ph.p_paddr = RISCV_RAM_BASE + RAM - 16; /* memsz leaves memory */
	CHECK(load(&f, sizeof(f)) < 0);
	f.ph.p_paddr = UINT64_MAX - 4095;
	CHECK(load(&f, sizeof(f)) < 0);
	f.ph.p_paddr = UINT64_MAX - 100; /* wraps */
	CHECK(load(&f, sizeof(f)) < 0);
	f.ph.p_paddr = RISCV_RAM_BASE;
	f.ph.p_filesz = 5000; /* more than memsz */
	CHECK(load(&f, sizeof(f)) < 0);
	f.ph.p_filesz = 16;
	f.eh.e_entry = 5;
	CHECK(load(&f, sizeof(f)) < 0);
	f.eh.e_phoff = UINT64_MAX - 8;
	CHECK(load(&f, sizeof(f)) < 0);
	f.eh.e_phoff = sizeof(Elf64_Ehdr);
	f.eh.e_phnum = UINT16_MAX;
	CHECK(load(&f, sizeof(f)) < 0);
	f.eh.e_phnum = 0;
	CHECK(load(&f, sizeof(f)) < 0);
	CHECK_CONTAINS(err.message, "nothing to load");
	teardown();
}

static void the_configuration_has_limits(void)
{
	struct board_config config = {
		.cpus = 65, .memory_bytes = GiB, .console_in_fd = -1, .console_out_fd = -1};
	setup(RAM);
	struct board *other = NULL;
	CHECK_EQ(board_new(&other, board->ops, &config, loop, &err), -EINVAL);
	CHECK_STR(err.message, "a riscv64 machine has 1 to 64 CPUs, not 65");
	config.cpus = 1;
	config.memory_bytes = MiB;
	CHECK_EQ(board_new(&other, board->ops, &config, loop, &err), -EINVAL);
	CHECK_CONTAINS(err.message, "64 MiB to 512 GiB of memory, not 1 MiB");
	config.memory_bytes = GiB + 1;
	CHECK_EQ(board_new(&other, board->ops, &config, loop, &err), -EINVAL);
	CHECK(!other && !board_find("z80"));
	teardown();
}

int main(void)
{
	RUN(image_with_initrds);
	RUN(gzip_of_an_image);
	RUN(a_gzip_bomb_is_refused);
	RUN(broken_images);
	RUN(truncated_image);
	RUN(memory_too_small_says_how_much);
	RUN(other_architectures_are_named);
	RUN(elf_files);
	RUN(the_configuration_has_limits);
	return tap_done();
}
