// SPDX-License-Identifier: Apache-2.0
// Boot protocol: Linux, Documentation/arch/riscv/boot.rst. From low to high addresses: the kernel
// where it wants to be, free memory, the device tree, the initial RAM disk at the top.
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "board/riscv64/fdt.h"
#include "board/riscv64/machine.h"
#include "isa/rv64/rv64.h"
#include "wire/elf_file.h"
#include "wire/linux_image.h"
#include "wire/stream.h"

/* Beside kernel and initial RAM disk, Linux needs some memory to get anywhere. */
#define WORKING_BYTES (32 * MiB)
#define FDT_ALIGN     UINT64_C(4096)

DEFINE_CLEANUP(struct decompress *, decompress_cleanup, decompress_free)

/* What a loaded kernel occupies. */
struct placed {
	uint64_t entry, end; /* guest-physical */
};

static uint64_t ram_end(const struct riscv_machine *m)
{
	return RISCV_RAM_BASE + m->memory_bytes;
}

static int too_small(
	struct riscv_machine *m, uint64_t kernel_bytes, uint64_t initrd_bytes, struct error *err)
{
	uint64_t need = align_up(kernel_bytes + initrd_bytes + WORKING_BYTES, 16 * MiB);
	error_set(err, ENOMEM,
		"%llu MiB of memory are too little for this kernel (%llu MiB) and initial RAM disk "
		"(%llu MiB)",
		(unsigned long long)(m->memory_bytes / MiB),
		(unsigned long long)(align_up(kernel_bytes, MiB) / MiB),
		(unsigned long long)(align_up(initrd_bytes, MiB) / MiB));
	error_remedy(err, "give the machine at least %llu MiB", (unsigned long long)(need / MiB));
	return -ENOMEM;
}

static int read_into(struct riscv_machine *m, const struct source *file, uint64_t offset,
	uint64_t addr, uint64_t bytes, struct error *err)
{
	void *to = memory_write_ptr(m->board.memory, GPA(addr), bytes);
	if (!to)
		return error_set(err, EFAULT, "0x%llx to 0x%llx is not memory",
			(unsigned long long)addr, (unsigned long long)(addr + bytes));
	int r = source_read(file, offset, to, bytes);
	return r < 0 ? error_errno(err, -r, "read") : 0;
}

static int load_image(struct riscv_machine *m, const struct source *file, const uint8_t *head,
	size_t head_len, struct placed *out, struct error *err)
{
	struct riscv_image image;
	int r = riscv_image_parse(&image, head, head_len, file->bytes, err);
	if (r < 0)
		return r;
	uint64_t at;
	if (add_overflows(RISCV_RAM_BASE, image.text_offset, &at) || at >= ram_end(m) ||
		!range_fits(at, image.image_bytes, ram_end(m)))
		return too_small(m, MIN(image.image_bytes, UINT64_MAX / 4), 0, err);
	r = read_into(m, file, 0, at, file->bytes, err);
	*out = (struct placed){at, at + image.image_bytes};
	return r;
}

/* Programs linked for this machine's RAM go where they say. Others (a kernel's vmlinux, linked at
 * zero) are position independent and go where an Image would. */
static int load_elf(
	struct riscv_machine *m, const struct source *file, struct placed *out, struct error *err)
{
	struct elf elf;
	int r = elf_read(&elf, file, err);
	if (r < 0)
		return r;
	if (elf.machine != ELF_RISCV) {
		const char *name = elf_machine_name(elf.machine);
		return error_set(err, ENOEXEC, "ELF file is for %s (machine %u), wanted is riscv64",
			name ? name : "another architecture", elf.machine);
	}
	uint64_t low = UINT64_MAX, shift = 0;
	for (unsigned i = 0; i < elf.segment_count; i++)
		low = MIN(low, elf.segments[i].paddr);
	if (low < RISCV_RAM_BASE)
		shift = RISCV_RAM_BASE + RISCV_IMAGE_ALIGN - align_down(low, RISCV_IMAGE_ALIGN);
	struct placed p = {0};
	for (unsigned i = 0; i < elf.segment_count; i++) {
		const struct elf_segment *s = &elf.segments[i];
		uint64_t at = s->paddr + shift; /* cannot wrap into RAM unnoticed: checked below */
		if (at < s->paddr || at < RISCV_RAM_BASE ||
			!range_fits(at - RISCV_RAM_BASE, s->memory_bytes, m->memory_bytes))
			return error_set(err, ENOMEM,
				"ELF segment at 0x%llx (%llu MiB) lies outside the machine's "
				"memory",
				(unsigned long long)s->paddr,
				(unsigned long long)(align_up(s->memory_bytes & ~(MiB - 1), MiB) /
						     MiB));
		r = read_into(m, file, s->file_offset, at, s->file_bytes, err);
		if (r < 0)
			return error_wrap(err, r, "ELF segment %u", i);
		p.end = MAX(p.end, at + s->memory_bytes);
		if (elf.entry - s->vaddr < s->memory_bytes)
			p.entry = at + (elf.entry - s->vaddr);
	}
	if (!p.entry || p.entry % rv64_isa.min_insn_bytes)
		return error_set(err, ENOEXEC, "ELF file with its entry point in no segment");
	*out = p;
	return 0;
}

static int load_kernel_from(
	struct riscv_machine *m, int fd, bool expanded, struct placed *out, struct error *err);

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Expands into memory of the host's own, of which the kernel is then loaded. */
static int load_compressed(struct riscv_machine *m, const struct source *file, int fd,
	enum compression compression, struct placed *out, struct error *err)
{
	int expanded _close_ = memfd_create("kernel", MFD_CLOEXEC);
	if (expanded < 0)
		return error_errno(err, errno, "expand");
	struct stream_range range = {fd, 0, file->bytes};
	struct decompress *d CLEANUP(decompress_cleanup) = NULL;
	/* What does not fit into the machine is not worth expanding: a bomb ends here. */
	int r = decompress_new(&d, compression, stream_range_read, &range, m->memory_bytes, err);
	if (r < 0)
		return r;
	uint8_t chunk[1 << 15];
	for (;;) {
		ssize_t n = decompress_read(d, chunk, sizeof(chunk), err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return load_kernel_from(m, expanded, true, out, err);
		r = write_all(expanded, chunk, (size_t)n);
		if (r < 0)
			return error_errno(err, -r, "expand");
	}
}

static enum compression compression_of_kind(enum linux_kernel_kind kind)
{
	switch (kind) {
	case LINUX_KERNEL_GZIP:
		return COMPRESSION_GZIP;
	case LINUX_KERNEL_XZ:
		return COMPRESSION_XZ;
	case LINUX_KERNEL_ZSTD:
		return COMPRESSION_ZSTD;
	default:
		return COMPRESSION_NONE;
	}
}

static int load_kernel_from(
	struct riscv_machine *m, int fd, bool expanded, struct placed *out, struct error *err)
{
	struct source file;
	uint8_t head[LINUX_HEAD_BYTES];
	int r = source_from_fd(&file, fd, err);
	if (r < 0)
		return r;
	size_t head_len = (size_t)MIN(file.bytes, (uint64_t)sizeof(head));
	r = source_read(&file, 0, head, head_len);
	if (r < 0)
		return error_errno(err, -r, "read");
	enum linux_kernel_kind kind = linux_kernel_kind(head, head_len);
	if (kind == LINUX_KERNEL_RISCV_IMAGE)
		return load_image(m, &file, head, head_len, out, err);
	if (kind == LINUX_KERNEL_ELF)
		return load_elf(m, &file, out, err);
	enum compression compression = compression_of_kind(kind);
	if (compression != COMPRESSION_NONE && !expanded)
		return load_compressed(m, &file, fd, compression, out, err);
	if (!file.bytes)
		return error_set(err, ENOEXEC, "the file is empty");
	error_set(err, ENOEXEC, "%s, wanted is a Linux Image for riscv64 (or gzip of it) or ELF",
		linux_kernel_kind_name(kind));
	error_remedy(err, "use a kernel that was built for riscv64");
	return -ENOEXEC;
}

struct initrd {
	uint64_t bytes, addr;
};

static int initrd_size(const struct board_boot *boot, uint64_t *out, struct error *err)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < boot->initrd_count; i++) {
		struct source file;
		int r = source_from_fd(&file, boot->initrd_fds[i], err);
		if (r < 0)
			return r;
		if (file.bytes > UINT64_MAX / 4 ||
			add_overflows(total, align_up(file.bytes, 4), &total))
			return error_set(err, EFBIG, "impossible size");
	}
	if (add_overflows(total, boot->initrd_extra_bytes, &total))
		return error_set(err, EFBIG, "impossible size");
	*out = total;
	return 0;
}

/* Memory was zero: so is the padding. */
static int load_initrd(struct riscv_machine *m, const struct board_boot *boot,
	const struct initrd *place, struct error *err)
{
	uint64_t at = place->addr, end = place->addr + place->bytes;
	for (unsigned i = 0; i < boot->initrd_count; i++) {
		struct source file;
		int r = source_from_fd(&file, boot->initrd_fds[i], err);
		if (r < 0)
			return r;
		if (!range_fits(at, file.bytes, end)) /* it grew since it was measured */
			return error_set(err, EBUSY, "the file changes while it is read");
		r = read_into(m, &file, 0, at, file.bytes, err);
		if (r < 0)
			return r;
		at += align_up(file.bytes, 4);
	}
	if (!boot->initrd_extra_bytes)
		return 0;
	if (!range_fits(at, boot->initrd_extra_bytes, end))
		return error_set(err, EBUSY, "the file changes while it is read");
	return memory_write(m->board.memory, GPA(at), boot->initrd_extra, boot->initrd_extra_bytes);
}

static int load_fdt(struct riscv_machine *m, const struct board_boot *boot,
	const struct initrd *initrd, uint64_t kernel_end, struct error *err)
{
	struct riscv_fdt_config config = {
		.cpus = m->cpus,
		.memory_bytes = m->memory_bytes,
		.cmdline = boot->cmdline ? boot->cmdline : "",
		.initrd_addr = initrd->addr,
		.initrd_bytes = initrd->bytes,
		.pci_slots = m->used_slots,
	};
	if (getrandom(config.seed, sizeof(config.seed), 0) != (ssize_t)sizeof(config.seed))
		return error_errno(err, errno, "random seed");
	void *fdt _free_ = NULL;
	size_t bytes;
	int r = riscv_fdt_build(&fdt, &bytes, &config, err);
	explicit_bzero(config.seed, sizeof(config.seed));
	if (r < 0)
		return r;
	uint64_t at = align_down(initrd->addr - bytes, FDT_ALIGN);
	if (at < kernel_end)
		return too_small(m, kernel_end - RISCV_RAM_BASE, initrd->bytes, err);
	m->fdt_addr = at;
	return memory_write(m->board.memory, GPA(at), fdt, bytes);
}

int riscv_boot_load(struct riscv_machine *m, const struct board_boot *boot, struct error *err)
{
	struct placed kernel = {0};
	struct initrd initrd = {0};
	int r = load_kernel_from(m, boot->kernel_fd, false, &kernel, err);
	if (r < 0)
		return boot->kernel_name ? error_wrap(err, r, "kernel %s", boot->kernel_name)
					 : error_wrap(err, r, "kernel");
	r = initrd_size(boot, &initrd.bytes, err);
	if (r < 0)
		return error_wrap(err, r, "initial RAM disk");
	uint64_t kernel_bytes = kernel.end - RISCV_RAM_BASE;
	if (!range_fits(kernel_bytes, initrd.bytes, m->memory_bytes) ||
		m->memory_bytes - kernel_bytes - initrd.bytes < WORKING_BYTES)
		return too_small(m, kernel_bytes, MIN(initrd.bytes, UINT64_MAX / 4), err);
	initrd.addr = align_down(ram_end(m) - initrd.bytes, GUEST_PAGE_BYTES);
	r = load_initrd(m, boot, &initrd, err);
	if (r < 0)
		return error_wrap(err, r, "initial RAM disk");
	m->entry = kernel.entry;
	return load_fdt(m, boot, &initrd, kernel.end, err);
}
