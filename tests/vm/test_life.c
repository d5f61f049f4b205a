// SPDX-License-Identifier: Apache-2.0
// A machine's life without a kernel: what is refused, pause and state, the end, nothing left
// behind.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"
#include "cpu/vcpu.h"
#include "vm/vm.h"
#include "wire/state.h"

static struct loop *loop;
static struct error err;
static unsigned ended;
static enum vm_end how;
static char why[128];

static void on_ended(void *opaque, enum vm_end end, const char *reason)
{
	ended++;
	how = end;
	snprintf(why, sizeof(why), "%s", reason);
}

/* A kernel of a few instructions. */
static int kernel(const uint32_t *code, unsigned n)
{
	uint8_t image[4096] = {0};
	store_le32(image, 0x0400006f); /* j 64: behind the header */
	store_le64(image + 16, sizeof(image));
	store_le32(image + 32, 2);
	memcpy(image + 56, "RSC\x05", 4);
	for (unsigned i = 0; i < n; i++)
		store_le32(image + 64 + 4 * i, code[i]);
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	if (write(fd, image, sizeof(image)) != (ssize_t)sizeof(image))
		exit(1);
	return fd;
}

static const uint32_t idle[] = {0x10500073, 0xffdff06f}; /* wfi; j -4 */

static struct vm_config base(void)
{
	return (struct vm_config){.arch = "riscv64",
		.cpus = 2,
		.memory_bytes = 64 * MiB,
		.kernel_fd = kernel(idle, ARRAY_SIZE(idle)),
		.cmdline = "",
		.net_fd = -1,
		.vsock_listen_fd = -1,
		.console_in_fd = -1,
		.console_out_fd = -1};
}

static void setup(void)
{
	ended = 0;
	error_done(&err);
	if (loop_new(&loop, NULL))
		exit(1);
}
static void teardown(void)
{
	loop_free(loop);
	error_done(&err);
}

static void refused(const struct vm_config *c, const char *message)
{
	struct vm *vm = NULL;
	CHECK(vm_new(&vm, c, loop, on_ended, NULL, &err) < 0);
	CHECK_CONTAINS(err.message, message);
	CHECK(!vm);
	CHECK(fcntl(c->kernel_fd, F_GETFD) >= 0); /* still the caller's */
}

static void what_cannot_be_is_named(void)
{
	setup();
	struct vm_config c = base();
	c.arch = "z80";
	refused(&c, "no machine for architecture z80");
	c.arch = "riscv64";
	c.cpus = 0;
	refused(&c, "a riscv64 machine has 1 to 64 CPUs, not 0");
	c.cpus = 1;
	c.memory_bytes = UINT64_C(1) << 60;
	refused(&c, "on a host that has");
	CHECK_STR(err.remedy, "give the machine less memory");
	c.memory_bytes = 64 * MiB;
	c.disks[0] = (struct vm_disk){.path = "odd.img", .fd = memfd_create("x", MFD_CLOEXEC)};
	CHECK_EQ(ftruncate(c.disks[0].fd, 4096), 0);
	c.disk_count = 1;
	c.shares[0] = (struct vm_share){.tag = "t", .dir_fd = -1};
	c.share_count = 1;
	refused(&c, "share t: 1 to 64 layers, not 0");
	c.share_count = 0;
	close(c.kernel_fd);
	c.kernel_fd = memfd_create("empty", MFD_CLOEXEC);
	refused(&c, "kernel: the file is empty");
	CHECK(fcntl(c.disks[0].fd, F_GETFD) >= 0);
	close(c.disks[0].fd);
	close(c.kernel_fd);
	teardown();
}

static void pause_state_stop(void)
{
	setup();
	struct vm_config c = base();
	struct vm *vm;
	struct vcpu_stats stats;
	REQUIRE(vm_new(&vm, &c, loop, on_ended, NULL, &err) == 0);
	CHECK(fcntl(c.kernel_fd, F_GETFD) < 0); /* the machine's now: closed */
	REQUIRE(vm_start(vm, &err) == 0);
	for (int i = 0; i < 20; i++) {
		vm_pause(vm);
		vm_pause(vm);
		vm_resume(vm);
	}
	vm_pause(vm);
	struct strbuf a _strbuf_ = STRBUF_INIT, b _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&a);
	vm_state(vm, s);
	CHECK_EQ(state_finish(s, &err), 0);
	state_free(s);
	s = state_new_restore(a.data, a.len);
	vm_state(vm, s);
	CHECK_EQ(state_finish(s, &err), 0);
	CHECK_STR(err.message ? err.message : "", "");
	state_free(s);
	s = state_new_save(&b);
	vm_state(vm, s);
	CHECK_EQ(state_finish(s, &err), 0);
	state_free(s);
	CHECK_EQ(a.len, b.len);
	vm_resume(vm);
	CHECK(vm_stats(vm, 1, &stats));
	CHECK(!vm_stats(vm, 2, &stats));
	vm_stop(vm, "enough");
	vm_stop(vm, "again");
	CHECK_EQ(ended, 1u);
	CHECK_EQ((int)how, (int)VM_END_STOPPED);
	CHECK_STR(why, "enough");
	vm_free(vm);
	teardown();
}

static void two_machines_and_one_never_started(void)
{
	setup();
	struct vm_config a = base(), b = base(), c = base();
	struct vm *vms[3];
	REQUIRE(vm_new(&vms[0], &a, loop, on_ended, NULL, &err) == 0);
	REQUIRE(vm_new(&vms[1], &b, loop, on_ended, NULL, &err) == 0);
	REQUIRE(vm_new(&vms[2], &c, loop, on_ended, NULL, &err) == 0);
	CHECK_EQ(vm_start(vms[0], &err), 0);
	CHECK_EQ(vm_start(vms[1], &err), 0);
	for (int i = 0; i < 3; i++)
		vm_free(vms[i]);
	CHECK_EQ(ended, 0u);
	teardown();
}

/* SRST with a type and a reason. */
static void end_by(uint32_t type, uint32_t reason, enum vm_end expected)
{
	const uint32_t code[] = {
		0x00000513 | type << 20,   /* li a0, type */
		0x00000593 | reason << 20, /* li a1, reason */
		0x00000813,		   /* li a6, 0 */
		0x535258b7,		   /* lui a7, 0x53525 */
		0x3548889b,		   /* addiw a7, a7, 0x354 */
		0x00000073,		   /* ecall */
		0x0000006f,		   /* j . */
	};
	setup();
	struct vm_config c = base();
	struct vm *vm;
	close(c.kernel_fd);
	c.kernel_fd = kernel(code, ARRAY_SIZE(code));
	REQUIRE(vm_new(&vm, &c, loop, on_ended, NULL, &err) == 0 && vm_start(vm, &err) == 0);
	for (int i = 0; i < 500 && !ended; i++)
		loop_once(loop, 10, NULL);
	CHECK_EQ(ended, 1u);
	CHECK_EQ((int)how, (int)expected);
	vm_free(vm);
	teardown();
}

static void the_guest_ends_it(void)
{
	end_by(0, 0, VM_END_POWEROFF);
	end_by(1, 0, VM_END_REBOOT);
	end_by(2, 0, VM_END_REBOOT);
	end_by(0, 1, VM_END_PANIC);
}

int main(void)
{
	RUN(what_cannot_be_is_named);
	RUN(pause_state_stop);
	RUN(two_machines_and_one_never_started);
	RUN(the_guest_ends_it);
	return tap_done();
}
