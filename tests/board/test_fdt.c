// SPDX-License-Identifier: Apache-2.0
// The device tree, also as the standard compiler sees it (dtc).
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "board/riscv64/fdt.h"
#include "isa/rv64/rv64.h"
#include "tap.h"

static struct riscv_fdt_config base(void)
{
	return (struct riscv_fdt_config){.cpus = 4,
		.memory_bytes = GiB,
		.cmdline = "console=ttyS0 root=/dev/vda",
		.initrd_addr = UINT64_C(0x90000000),
		.initrd_bytes = 12345,
		.pci_slots = 0x0000000e};
}

static void *build(const struct riscv_fdt_config *c)
{
	void *fdt = NULL;
	size_t bytes = 0;
	CHECK_EQ(riscv_fdt_build(&fdt, &bytes, c, NULL), 0);
	CHECK(fdt && fdt_check_full(fdt, bytes) == 0);
	return fdt;
}

static const char *text(const void *fdt, const char *path, const char *name)
{
	return fdt_getprop(fdt, fdt_path_offset(fdt, path), name, NULL);
}

static void tells_what_the_machine_is(void)
{
	struct riscv_fdt_config c = base();
	void *fdt _free_ = build(&c);
	int len;
	REQUIRE(fdt);
	CHECK_STR(text(fdt, "/chosen", "bootargs"), c.cmdline);
	CHECK_STR(text(fdt, "/chosen", "stdout-path"), "/soc/serial@10000000");
	CHECK(fdt_path_offset(fdt, text(fdt, "/chosen", "stdout-path")) > 0);
	const void *start = text(fdt, "/chosen", "linux,initrd-start");
	CHECK(start && load_be64(start) == c.initrd_addr);
	const void *end = text(fdt, "/chosen", "linux,initrd-end");
	CHECK(end && load_be64(end) == c.initrd_addr + c.initrd_bytes);
	CHECK(fdt_path_offset(fdt, "/cpus/cpu@3/interrupt-controller") > 0);
	CHECK(fdt_path_offset(fdt, "/cpus/cpu@4") < 0);
	CHECK_STR(text(fdt, "/cpus/cpu@0", "riscv,isa"), rv64_isa_string());
	const char *list =
		fdt_getprop(fdt, fdt_path_offset(fdt, "/cpus/cpu@0"), "riscv,isa-extensions", &len);
	for (const char *const *e = rv64_extensions; *e; e++)
		CHECK(fdt_stringlist_contains(list, len, *e));
	/* Three slots, each with its own line. */
	const uint8_t *map =
		fdt_getprop(fdt, fdt_path_offset(fdt, "/soc/pci@30000000"), "interrupt-map", &len);
	CHECK_EQ(len, 3 * 6 * 4);
	for (uint32_t i = 0; i < 3 && len == 72; i++) {
		CHECK_EQ(load_be32(map + 24 * i), (i + 1) << 11);
		CHECK_EQ(load_be32(map + 24 * i + 20), 32 + i + 1);
	}
}

static void without_initrd_and_devices(void)
{
	struct riscv_fdt_config c = base();
	c.initrd_bytes = 0;
	c.pci_slots = 0;
	c.cpus = 64;
	c.cmdline = "";
	void *fdt _free_ = build(&c);
	REQUIRE(fdt);
	CHECK(!text(fdt, "/chosen", "linux,initrd-start"));
	CHECK(!text(fdt, "/soc/pci@30000000", "interrupt-map"));
	CHECK(fdt_path_offset(fdt, "/cpus/cpu@3f") > 0);
}

static void limits_are_errors(void)
{
	struct riscv_fdt_config c = base();
	struct error err _error_ = ERROR_INIT;
	char line[RISCV_CMDLINE_MAX + 2];
	void *fdt = NULL;
	size_t bytes;
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	c.cmdline = line;
	CHECK_EQ(riscv_fdt_build(&fdt, &bytes, &c, &err), -E2BIG);
	CHECK_CONTAINS(err.message, "the kernel's command line has 1024 bytes");
	line[RISCV_CMDLINE_MAX] = '\0';
	free(build(&c));
	c = base();
	c.cpus = 65;
	CHECK_EQ(riscv_fdt_build(&fdt, &bytes, &c, NULL), -EINVAL);
	c = base();
	c.initrd_addr = UINT64_MAX - 5;
	CHECK_EQ(riscv_fdt_build(&fdt, &bytes, &c, NULL), -EINVAL);
	CHECK(!fdt);
}

static void dtc_has_no_complaint(void)
{
	if (system("command -v dtc >/dev/null") != 0)
		SKIP("dtc (package device-tree-compiler) is not installed");
	struct riscv_fdt_config c = base();
	void *fdt _free_ = build(&c);
	char name[] = "/tmp/strata-fdt-XXXXXX", command[128], said[4096] = "";
	int fd = mkstemp(name);
	REQUIRE(fd >= 0 && fdt);
	CHECK_EQ(write(fd, fdt, fdt_totalsize(fdt)), (ssize_t)fdt_totalsize(fdt));
	close(fd);
	snprintf(command, sizeof(command), "dtc -I dtb -O dts -o /dev/null %s 2>&1", name);
	FILE *p = popen(command, "r");
	REQUIRE(p);
	said[fread(said, 1, sizeof(said) - 1, p)] = '\0';
	CHECK_EQ(pclose(p), 0);
	CHECK_STR(said, "");
	unlink(name);
}

int main(void)
{
	RUN(tells_what_the_machine_is);
	RUN(without_initrd_and_devices);
	RUN(limits_are_errors);
	RUN(dtc_has_no_complaint);
	return tap_done();
}
