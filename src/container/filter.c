// SPDX-License-Identifier: Apache-2.0
#include "container/filter.h"

#include <seccomp.h>
#include <sys/stat.h>

static void cleanup_filter(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

static int add_rule(scmp_filter_ctx ctx, const struct spec_seccomp_rule *rule, const char *name,
	struct error *err)
{
	struct scmp_arg_cmp args[6];
	bool used[6] = {false}, twice = false;
	int nr = seccomp_syscall_resolve_name(name);
	if (nr == __NR_SCMP_ERROR)
		return 0;
	for (size_t i = 0; i < rule->n_args; i++) {
		const struct spec_seccomp_arg *a = &rule->args[i];
		/* libseccomp compares (argument & a) == b for MASKED_EQ, as config.json has it. */
		args[i] = (struct scmp_arg_cmp){a->index, (enum scmp_compare)a->op, a->value,
			a->op == SCMP_CMP_MASKED_EQ ? a->value_two : 0};
		twice |= used[a->index];
		used[a->index] = true;
	}
	int r = 0;
	/* Several conditions on one argument are alternatives: the specification's words. */
	for (size_t i = 0; twice && i < rule->n_args && r >= 0; i++)
		r = seccomp_rule_add_array(ctx, rule->action, nr, 1, &args[i]);
	if (!twice)
		r = seccomp_rule_add_array(ctx, rule->action, nr, (unsigned)rule->n_args, args);
	/* -EDOM: not on one of the architectures. */
	return r < 0 && r != -EDOM && r != -EEXIST ? error_errno(err, -r, "seccomp: %s", name) : 0;
}

ssize_t filter_compile(const struct spec_seccomp *s, int fd, struct error *err)
{
	scmp_filter_ctx ctx CLEANUP(cleanup_filter) = seccomp_init(s->default_action);
	if (!ctx)
		return error_set(err, EINVAL, "seccomp: this default action is not possible");
	for (size_t i = 0; i < s->n_arches; i++) {
		int r = seccomp_arch_add(ctx, s->arches[i]);
		if (r < 0 && r != -EEXIST)
			return error_errno(err, -r, "seccomp: architecture");
	}
	for (size_t i = 0; i < s->n_rules; i++) {
		/* What the default does anyway libseccomp refuses to be told. */
		if (s->rules[i].action == s->default_action)
			continue;
		for (const char **name = s->rules[i].names; *name; name++) {
			int r = add_rule(ctx, &s->rules[i], *name, err);
			if (r < 0)
				return r;
		}
	}
	struct stat st;
	int r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return error_errno(err, -r, "seccomp: write the filter");
	return fstat(fd, &st) < 0 ? error_errno(err, errno, "seccomp") : st.st_size;
}
