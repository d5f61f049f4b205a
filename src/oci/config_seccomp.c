// SPDX-License-Identifier: Apache-2.0
// linux.seccomp: names become libseccomp's numbers here, so that nothing later can be unknown.
#include <linux/seccomp.h>
#include <seccomp.h>

#include "oci/config_linux.h"

static uint32_t read_action(
	struct reader *r, const struct node *parent, const char *key, const char *errno_key)
{
	static const struct {
		const char *name;
		uint32_t action;
	} actions[] = {{"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
		{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
		{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS}, {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
		{"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)}, {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
		{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW}, {"SCMP_ACT_LOG", SCMP_ACT_LOG},
		{"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY}};
	const char *name = need_string(r, parent, key);
	struct node n = member(parent, key);
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(actions[i].name, name))
			continue;
		uint32_t a = actions[i].action;
		/* EPERM where nothing is given: the specification's default. */
		if (a == SCMP_ACT_ERRNO(0) || a == SCMP_ACT_TRACE(0))
			a |= (uint32_t)get_number(r, parent, errno_key, EPERM, 0, UINT16_MAX);
		return a;
	}
	bad(r, &n, "there is no action \"%s\"", name);
	return SCMP_ACT_KILL_PROCESS;
}

static void read_arches(struct reader *r, const struct node *n, struct spec_seccomp *s)
{
	static const struct {
		const char *name;
		uint32_t arch;
	} arches[] = {{"SCMP_ARCH_NATIVE", SCMP_ARCH_NATIVE}, {"SCMP_ARCH_X86", SCMP_ARCH_X86},
		{"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64}, {"SCMP_ARCH_X32", SCMP_ARCH_X32},
		{"SCMP_ARCH_ARM", SCMP_ARCH_ARM}, {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
		{"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS}, {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
		{"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
		{"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL}, {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
		{"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32}, {"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
		{"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64}, {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
		{"SCMP_ARCH_S390", SCMP_ARCH_S390}, {"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
		{"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC}, {"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
		{"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64}};
	struct node list = member(n, "architectures");
	const char **names = get_strings(r, n, "architectures");
	size_t count = array_size(r, &list);
	s->arches = ARENA_ARRAY(r->arena, uint32_t, count + 1);
	for (; names && *names && !r->failed; names++) {
		size_t i = 0;
		while (i < ARRAY_SIZE(arches) && strcmp(arches[i].name, *names))
			i++;
		if (i == ARRAY_SIZE(arches))
			bad(r, &list, "there is no architecture \"%s\"", *names);
		else
			s->arches[s->n_arches++] = arches[i].arch;
	}
}

static void read_args(struct reader *r, const struct node *rule, struct spec_seccomp_rule *out)
{
	static const struct {
		const char *name;
		enum scmp_compare op;
	} ops[] = {{"SCMP_CMP_NE", SCMP_CMP_NE}, {"SCMP_CMP_LT", SCMP_CMP_LT},
		{"SCMP_CMP_LE", SCMP_CMP_LE}, {"SCMP_CMP_EQ", SCMP_CMP_EQ},
		{"SCMP_CMP_GE", SCMP_CMP_GE}, {"SCMP_CMP_GT", SCMP_CMP_GT},
		{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
	struct node list = member(rule, "args");
	size_t n = array_size(r, &list);
	if (n > 6)
		bad(r, &list, "a system call has six arguments");
	out->args = ARENA_ARRAY(r->arena, struct spec_seccomp_arg, MIN(n, 6) + 1);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&list, i), op = member(&e, "op"),
			    value = member(&e, "value"), two = member(&e, "valueTwo");
		struct spec_seccomp_arg *a = &out->args[out->n_args++];
		const char *name = need_string(r, &e, "op");
		a->index = (unsigned)get_number(r, &e, "index", 0, 0, 5);
		a->value = get_u64(r, &value);
		a->value_two = get_u64(r, &two);
		for (size_t k = 0; k < ARRAY_SIZE(ops); k++)
			if (!strcmp(ops[k].name, name))
				a->op = ops[k].op;
		if (!a->op)
			bad(r, &op, "there is no comparison \"%s\"", name);
	}
}

static void read_flags(struct reader *r, const struct node *n, struct spec_seccomp *s)
{
	static const struct {
		const char *name;
		unsigned flag;
	} flags[] = {{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
		{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
		{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV}};
	struct node list = member(n, "flags");
	const char **names = get_strings(r, n, "flags");
	for (; names && *names && !r->failed; names++) {
		size_t i = 0;
		while (i < ARRAY_SIZE(flags) && strcmp(flags[i].name, *names))
			i++;
		if (i == ARRAY_SIZE(flags))
			bad(r, &list, "there is no flag \"%s\"", *names);
		else
			s->flags |= flags[i].flag;
	}
}

struct spec_seccomp *config_seccomp(struct reader *r, const struct node *linux_node)
{
	struct node n = member(linux_node, "seccomp"), list = member(&n, "syscalls");
	if (!is_object(r, &n))
		return NULL;
	struct spec_seccomp *s = ARENA_NEW(r->arena, struct spec_seccomp);
	s->default_action = read_action(r, &n, "defaultAction", "defaultErrnoRet");
	read_arches(r, &n, s);
	read_flags(r, &n, s);
	s->listener_path = get_string(r, &n, "listenerPath");
	s->listener_metadata = get_string(r, &n, "listenerMetadata");
	size_t count = array_size(r, &list);
	s->rules = ARENA_ARRAY(r->arena, struct spec_seccomp_rule, count + 1);
	for (size_t i = 0; i < count && !r->failed; i++) {
		struct node e = element(&list, i), names = member(&e, "names");
		struct spec_seccomp_rule *rule = &s->rules[s->n_rules++];
		rule->names = get_strings(r, &e, "names");
		if (!rule->names || !rule->names[0])
			bad(r, &names, "is required");
		rule->action = read_action(r, &e, "action", "errnoRet");
		if (rule->action == SCMP_ACT_NOTIFY && !s->listener_path)
			bad(r, &e, "SCMP_ACT_NOTIFY needs a listenerPath");
		read_args(r, &e, rule);
	}
	return s;
}
