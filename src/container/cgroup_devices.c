// SPDX-License-Identifier: Apache-2.0
// Which devices a container may use: files of the devices controller in cgroup v1, a program for
// the kernel's BPF machine in v2. In both the last rule that matches decides, and what no rule
// names is denied; what every container needs is allowed after the rules.
#include <linux/bpf.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "container/cgroup.h"
#include "container/userns.h"

static const struct spec_device_rule always[] = {
	{true, 'c', -1, -1, "m"},			    /* making a node gives no access */
	{true, 'b', -1, -1, "m"}, {true, 'c', 1, 3, "rwm"}, /* null */
	{true, 'c', 1, 5, "rwm"},			    /* zero */
	{true, 'c', 1, 7, "rwm"},			    /* full */
	{true, 'c', 1, 8, "rwm"},			    /* random */
	{true, 'c', 1, 9, "rwm"},			    /* urandom */
	{true, 'c', 5, 0, "rwm"},			    /* tty */
	{true, 'c', 5, 1, "rwm"},			    /* console */
	{true, 'c', 5, 2, "rwm"},			    /* ptmx */
	{true, 'c', 136, -1, "rwm"},			    /* pseudo-terminals */
};

static bool everything(const struct spec_device_rule *d)
{
	return d->type == 'a' && d->major < 0 && d->minor < 0 && strlen(d->access) == 3;
}

static void number(char *out, int64_t v)
{
	if (v < 0)
		strcpy(out, "*");
	else
		sprintf(out, "%lld", (long long)v);
}

static int write_rule(
	const struct cgroup_dir *dir, const struct spec_device_rule *d, struct error *err)
{
	const char *file = d->allow ? "devices.allow" : "devices.deny";
	/* "a" stands for everything there: of both types only with any number and access. */
	if (everything(d))
		return cgroup_write(dir, file, "a", err);
	for (const char *type = d->type == 'a' ? "bc" : (char[]){d->type, 0}; *type; type++) {
		char line[80], major[24], minor[24];
		number(major, d->major);
		number(minor, d->minor);
		snprintf(line, sizeof(line), "%c %s:%s %s", *type, major, minor, d->access);
		int r = cgroup_write(dir, file, line, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int allow_v1(
	const struct cgroup_dir *dir, const struct spec_resources *res, struct error *err)
{
	size_t first = 0;
	/* What stands before a rule about everything has no effect. */
	for (size_t i = 0; i < res->n_devices; i++)
		if (everything(&res->devices[i]))
			first = i;
	bool all = res->n_devices && everything(&res->devices[first]) && res->devices[first].allow;
	int r = 0;
	if (!all)
		r = cgroup_write(dir, "devices.deny", "a", err);
	for (size_t i = first; i < res->n_devices && r == 0; i++)
		if (all || !everything(&res->devices[i]))
			r = write_rule(dir, &res->devices[i], err);
	bool open = all && first + 1 == res->n_devices;
	for (size_t i = 0; i < ARRAY_SIZE(always) && r == 0 && !open; i++)
		r = write_rule(dir, &always[i], err);
	return r;
}

/* The program, in struct bpf_insn. Registers: r1 the context, then r2 type, r3 access, r4 major,
 * r5 minor of the device that is asked for (struct bpf_cgroup_dev_ctx). */
typedef VEC(struct bpf_insn) program;

static void op(program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	vec_push(p, ((struct bpf_insn){code, dst & 15, src & 15, off, imm}));
}

/* Up to five conditions, each of which skips the rest of the rule. */
static void add_rule(program *p, const struct spec_device_rule *d)
{
	int access = 0;
	size_t jumps[5], n = 0;
	for (const char *c = d->access; *c; c++)
		access |= *c == 'm'   ? BPF_DEVCG_ACC_MKNOD
			  : *c == 'r' ? BPF_DEVCG_ACC_READ
				      : BPF_DEVCG_ACC_WRITE;
	if (d->type != 'a') {
		jumps[n++] = p->len;
		op(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0,
			d->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	}
	if (access != 7) {
		/* Allowed: all that is asked for is in the rule. Denied: any of it. */
		op(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_0, BPF_REG_3, 0, 0);
		op(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_0, 0, 0,
			d->allow ? ~access & 7 : access);
		jumps[n++] = p->len;
		op(p, BPF_JMP | (d->allow ? BPF_JNE : BPF_JEQ) | BPF_K, BPF_REG_0, 0, 0, 0);
	}
	if (d->major >= 0) {
		jumps[n++] = p->len;
		op(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, 0, (int32_t)d->major);
	}
	if (d->minor >= 0) {
		jumps[n++] = p->len;
		op(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 0, (int32_t)d->minor);
	}
	op(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, d->allow);
	op(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	while (n--)
		p->items[jumps[n]].off = (int16_t)(p->len - jumps[n] - 1);
}

static void make_program(program *p, const struct spec_resources *res)
{
	op(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1,
		offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	op(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	op(p, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	op(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	op(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1,
		offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	op(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1,
		offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	bool open = res->n_devices && everything(&res->devices[res->n_devices - 1]) &&
		    res->devices[res->n_devices - 1].allow;
	/* The last rule that matches decides: it goes first. */
	for (size_t i = ARRAY_SIZE(always); i-- > 0 && !open;)
		add_rule(p, &always[i]);
	for (size_t i = res->n_devices; i-- > 0;) {
		add_rule(p, &res->devices[i]);
		if (everything(&res->devices[i]))
			return; /* nothing gets past it, and the verifier refuses what cannot run */
	}
	op(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0);
	op(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int allow_v2(
	const struct cgroup_dir *dir, const struct spec_resources *res, struct error *err)
{
	program p = {0};
	make_program(&p, res);
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insn_cnt = (uint32_t)p.len,
		.insns = (uintptr_t)p.items,
		.license = (uintptr_t) "Apache-2.0"};
	int fd _close_ = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load)), r = 0;
	if (fd < 0)
		r = error_errno(err, errno, "load the program of the device rules");
	union bpf_attr attach = {.target_fd = (uint32_t)dir->fd,
		.attach_bpf_fd = (uint32_t)fd,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI};
	if (r == 0 && syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)) < 0)
		r = error_errno(err, errno, "attach the program of the device rules");
	vec_done(&p);
	return r;
}

int cgroup_allow_devices(const struct cgroup *cg, const struct spec_resources *r, struct error *err)
{
	const struct cgroup_dir *v2 = NULL;
	vec_for_each (d, &cg->dirs) {
		if (!strcmp(d->controllers, "devices"))
			return d->fd < 0 ? 0 : allow_v1(d, r, err);
		if (!*d->controllers && cg->v2_only)
			v2 = d;
	}
	/* Without rights to BPF there are no rights to device nodes either. */
	return v2 && v2->fd >= 0 && geteuid() == 0 && userns_is_host() ? allow_v2(v2, r, err) : 0;
}
