// SPDX-License-Identifier: Apache-2.0
#include "container/filter.h"

#include <dirent.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"

enum { KEPT_MAX = 64, KEPT_BYTES_MAX = 1 << 20 };

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

static ssize_t compile(const struct spec_seccomp *s, int fd, struct error *err)
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

/* All that the program follows from. Lengths and ends are in it: two keys cannot run together. */
static void make_key(const struct spec_seccomp *s, struct strbuf *key)
{
	const struct scmp_version *v = seccomp_version();
	uint32_t head[] = {0x31534353 /* the format */, v->major, v->minor, v->micro,
		seccomp_arch_native(), s->default_action, (uint32_t)s->n_arches,
		(uint32_t)s->n_rules};
	strbuf_add(key, head, sizeof(head));
	strbuf_add(key, s->arches, s->n_arches * sizeof(*s->arches));
	for (size_t i = 0; i < s->n_rules; i++) {
		const struct spec_seccomp_rule *rule = &s->rules[i];
		uint32_t words[] = {rule->action, (uint32_t)rule->n_args};
		strbuf_add(key, words, sizeof(words));
		for (size_t k = 0; k < rule->n_args; k++) {
			const struct spec_seccomp_arg *a = &rule->args[k];
			uint64_t values[] = {a->index, a->value, a->value_two, (uint64_t)a->op};
			strbuf_add(key, values, sizeof(values));
		}
		for (const char **name = rule->names; *name; name++)
			strbuf_add(key, *name, strlen(*name) + 1);
		strbuf_addc(key, 0);
	}
}

/* Only a name: what counts is that the whole key is in the file. */
static void make_name(const struct strbuf *key, char *name, size_t bytes)
{
	uint64_t hash = 0xcbf29ce484222325;
	for (size_t i = 0; i < key->len; i++)
		hash = (hash ^ (unsigned char)key->data[i]) * 0x100000001b3;
	snprintf(name, bytes, "%016llx", (unsigned long long)hash);
}

/* 0: not there, or of something else. */
static ssize_t take_kept(int cache, const char *name, const struct strbuf *key, int fd)
{
	struct stat st;
	int file _close_ = openat(cache, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (file < 0 || fstat(file, &st) < 0 || st.st_size > KEPT_BYTES_MAX ||
		(size_t)st.st_size <= key->len)
		return 0;
	size_t bytes = (size_t)st.st_size, program = bytes - key->len;
	char *text _free_ = xmalloc(bytes);
	if (pread(file, text, bytes, 0) != (ssize_t)bytes || memcmp(text, key->data, key->len) ||
		program % 8 || pwrite(fd, text + key->len, program, 0) != (ssize_t)program)
		return 0;
	return (ssize_t)program;
}

/* The usual host knows a handful of profiles. One that makes them up does not fill the disk. */
static void make_room(int cache)
{
	int copy = openat(cache, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	int n = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		n += *e->d_name != '.';
	if (d && n >= KEPT_MAX) {
		rewinddir(d);
		for (struct dirent *e; (e = readdir(d));)
			if (*e->d_name != '.')
				unlinkat(cache, e->d_name, 0);
	}
	if (d)
		closedir(d);
	else if (copy >= 0)
		close(copy);
}

/* Best effort: without it the next one is compiled again. */
static void keep(int cache, const char *name, struct strbuf *key, int fd, size_t program)
{
	char temporary[64];
	size_t bytes = key->len + program;
	char *text _free_ = xmalloc(bytes);
	if (bytes > KEPT_BYTES_MAX || pread(fd, text + key->len, program, 0) != (ssize_t)program)
		return;
	memcpy(text, key->data, key->len);
	make_room(cache);
	snprintf(temporary, sizeof(temporary), "%s.%d", name, (int)getpid());
	int file _close_ = openat(cache, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file < 0 || write(file, text, bytes) != (ssize_t)bytes ||
		renameat(cache, temporary, cache, name) < 0)
		unlinkat(cache, temporary, 0);
}

ssize_t filter_compile(const struct spec_seccomp *s, int cache, int fd, struct error *err)
{
	struct strbuf key _strbuf_ = STRBUF_INIT;
	char name[32];
	if (cache < 0)
		return compile(s, fd, err);
	make_key(s, &key);
	make_name(&key, name, sizeof(name));
	ssize_t bytes = take_kept(cache, name, &key, fd);
	if (bytes > 0)
		return bytes;
	bytes = compile(s, fd, err);
	if (bytes > 0)
		keep(cache, name, &key, fd, (size_t)bytes);
	return bytes;
}
