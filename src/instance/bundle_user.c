// SPDX-License-Identifier: Apache-2.0
// Users of an image: passwd(5) and group(5) of its tree, which may hold anything.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "instance/bundle.h"

enum { FILE_MAX = 4 << 20, FIELDS_MAX = 7, GROUPS_MAX = 1024 };

static int read_in(int root, const char *path, struct strbuf *out)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd _close_ = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	struct stat st;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		return -EBADMSG;
	char buf[16384];
	ssize_t n;
	while ((n = read(fd, buf, sizeof(buf))) > 0 && out->len < FILE_MAX)
		strbuf_add(out, buf, (size_t)n);
	return n < 0 ? -errno : 0;
}

/* The next line, cut at its colons in place; the number of fields, or -1 at the end. */
static int next_line(char **at, char *fields[FIELDS_MAX])
{
	char *line = strsep(at, "\n");
	int n = 0;
	if (!line)
		return -1;
	while (line && n < FIELDS_MAX)
		fields[n++] = strsep(&line, ":");
	for (int i = n; i < FIELDS_MAX; i++)
		fields[i] = (char *)(uintptr_t) "";
	return n;
}

static bool parse_id(const char *s, uint32_t *out)
{
	char *end;
	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	unsigned long v = strtoul(s, &end, 10);
	if (*end || errno || v >= UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

/* By name, or by number: the first line that fits. */
static bool find_passwd(char *text, const char *name, struct bundle_user *out, char **login)
{
	char *fields[FIELDS_MAX];
	uint32_t wanted = 0, uid, gid;
	bool number = parse_id(name, &wanted);
	for (int n; (n = next_line(&text, fields)) >= 0;) {
		if (n < 4 || !parse_id(fields[2], &uid) || !parse_id(fields[3], &gid))
			continue;
		if (strcmp(fields[0], name) && !(number && uid == wanted))
			continue;
		out->uid = uid;
		out->gid = gid;
		*login = xstrdup(fields[0]);
		if (*fields[5] == '/')
			out->home = xstrdup(fields[5]);
		return true;
	}
	return false;
}

static bool is_member(const char *list, const char *name)
{
	size_t len = strlen(name);
	while (*list) {
		size_t n = strcspn(list, ",");
		if (n == len && !memcmp(list, name, n))
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

/* group: NULL, or a name whose number goes to *gid. Otherwise all groups of login. */
static bool find_groups(char *text, const char *group, const char *login, struct bundle_user *out)
{
	char *fields[FIELDS_MAX];
	uint32_t gid;
	for (int n; (n = next_line(&text, fields)) >= 0;) {
		if (n < 3 || !parse_id(fields[2], &gid))
			continue;
		if (group && !strcmp(fields[0], group)) {
			out->gid = gid;
			return true;
		}
		if (!group && login && is_member(fields[3], login) && gid != out->gid &&
			out->groups.len < GROUPS_MAX)
			vec_push(&out->groups, gid);
	}
	return !group;
}

void bundle_user_done(struct bundle_user *u)
{
	free(u->home);
	vec_done(&u->groups);
	*u = (struct bundle_user){0};
}

static int find(
	int root, const char *user, const char *group, struct bundle_user *u, struct error *err)
{
	struct strbuf passwd _strbuf_ = STRBUF_INIT, groups _strbuf_ = STRBUF_INIT;
	char *login _free_ = NULL;
	int bad_passwd = read_in(root, "etc/passwd", &passwd);
	int bad_group = read_in(root, "etc/group", &groups);
	bool known = !bad_passwd && passwd.data && find_passwd(passwd.data, user, u, &login);
	if (!known && !parse_id(user, &u->uid)) {
		error_set(err, ENOENT, "there is no user \"%s\" in the image", user);
		error_remedy(err, "a number needs no entry in the image's /etc/passwd");
		return -ENOENT;
	}
	if (!known && u->uid == 0)
		u->home = xstrdup("/root");
	if (group && parse_id(group, &u->gid))
		return 0;
	bool found = !bad_group && groups.data && find_groups(groups.data, group, login, u);
	if (group && !found)
		return error_set(err, ENOENT, "there is no group \"%s\" in the image", group);
	return 0;
}

int bundle_find_user(int root_fd, const char *user, struct bundle_user *out, struct error *err)
{
	char *name _free_ = xstrdup(user && *user ? user : "0");
	char *group = strchr(name, ':');
	struct bundle_user u = {0};
	if (group)
		*group++ = 0;
	int r = find(root_fd, *name ? name : "0", group && *group ? group : NULL, &u, err);
	if (r < 0) {
		bundle_user_done(&u);
		return r;
	}
	if (!u.home)
		u.home = xstrdup("/");
	*out = u;
	return 0;
}
