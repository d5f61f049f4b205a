// SPDX-License-Identifier: Apache-2.0
#include "container/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define TOP "/sys/fs/cgroup"

static void dir_done(struct cgroup_dir *d)
{
	free(d->controllers);
	free(d->path);
	if (d->fd >= 0)
		close(d->fd);
}

void cgroup_done(struct cgroup *cg)
{
	vec_for_each (d, &cg->dirs)
		dir_done(d);
	vec_done(&cg->dirs);
}

static ssize_t read_text(int dir_fd, const char *name, char *text, size_t bytes)
{
	int fd _close_ = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;
	if (fd < 0)
		return -errno;
	while (used < bytes - 1 && (n = read(fd, text + used, bytes - 1 - used)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		used += n > 0 ? (size_t)n : 0;
	}
	text[used] = 0;
	return (ssize_t)used;
}

ssize_t cgroup_read(const struct cgroup_dir *d, const char *file, char *text, size_t bytes)
{
	return d->fd < 0 ? -ENOENT : read_text(d->fd, file, text, bytes);
}

static bool is_v2(const char *path)
{
	struct statfs s;
	return statfs(path, &s) == 0 && s.f_type == CGROUP2_SUPER_MAGIC;
}

/* Where the hierarchy with these controllers is mounted, NULL when nowhere. By convention only:
 * /proc/self/mountinfo is long on a host with many containers. */
static char *mounted_at(const char *controllers, bool v2_only)
{
	char path[256];
	if (!*controllers) {
		snprintf(path, sizeof(path), v2_only ? TOP : TOP "/unified");
		return is_v2(path) ? xstrdup(path) : NULL;
	}
	const char *name = strncmp(controllers, "name=", 5) ? controllers : controllers + 5;
	snprintf(path, sizeof(path), TOP "/%s", name);
	if (access(path, X_OK) == 0)
		return xstrdup(path);
	/* Mounted together, but under the name of one of them. */
	for (const char *p = name; *p; p += strspn(p, ",")) {
		size_t n = strcspn(p, ",");
		snprintf(path, sizeof(path), TOP "/%.*s", (int)n, p);
		if (n < strlen(name) && access(path, X_OK) == 0)
			return xstrdup(path);
		p += n;
	}
	return NULL;
}

/* No "..": the path of a cgroup is where we may remove directories. */
static bool path_ok(const char *path)
{
	bool any = false;
	for (const char *p = path; *p;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if ((n == 1 && *p == '.') || (n == 2 && !strncmp(p, "..", 2)) || n > 255)
			return false;
		any |= n > 0;
		p += n;
	}
	return any;
}

/* Bytes of the longest part of path, in whole names, that there is. */
static size_t existing(const char *path)
{
	char *copy _free_ = xstrdup(path);
	while (access(copy, F_OK) < 0)
		*strrchr(copy, '/') = 0;
	return strlen(copy);
}

int cgroup_locate(struct cgroup *cg, const char *path, struct error *err)
{
	char text[16384], *save = NULL;
	if (!path_ok(path) || strlen(path) > 2048)
		return error_set(err, EINVAL, "cgroup path \"%s\": not a path below the top", path);
	ssize_t n = read_text(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text));
	if (n < 0)
		return error_errno(err, (int)-n, "/proc/self/cgroup");
	cg->v2_only = is_v2(TOP);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':'), *own;
		if (!controllers || !(own = strchr(++controllers, ':')))
			continue;
		*own++ = 0;
		if (cg->v2_only && *controllers)
			continue;
		char *top _free_ = mounted_at(controllers, cg->v2_only);
		if (!top)
			continue;
		bool below = *path != '/' && strcmp(own, "/") && strncmp(own, "/..", 3);
		char *full =
			xasprintf("%s%s%s%s", top, below ? own : "", *path == '/' ? "" : "/", path);
		vec_push(&cg->dirs, ((struct cgroup_dir){
					    .controllers = xstrdup(controllers),
					    .path = full,
					    .there = existing(full),
					    .fd = -1,
				    }));
	}
	return 0;
}

/* A v1 cpuset begins empty, and nothing can enter it then. */
static void inherit_cpuset(int parent, int fd)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char text[4096];
		if (read_text(fd, files[i], text, sizeof(text)) > 1)
			continue;
		ssize_t n = read_text(parent, files[i], text, sizeof(text));
		int out _close_ = openat(fd, files[i], O_WRONLY | O_CLOEXEC);
		if (n > 0 && out >= 0 && write(out, text, (size_t)n) < 0)
			continue; /* entering says it */
	}
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || strchr(", ", p[-1])) && (!p[n] || strchr(", \n", p[n])))
			return true;
	return false;
}

/* In v2 a group has the controllers that its parent hands down. Each for itself: one that cannot
 * be is missing only when a limit asks for it. */
static void hand_down(int parent)
{
	char text[1024], *save = NULL;
	if (read_text(parent, "cgroup.controllers", text, sizeof(text)) <= 0)
		return;
	int fd _close_ = openat(parent, "cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
	char have[1024] = "";
	read_text(parent, "cgroup.subtree_control", have, sizeof(have));
	for (char *c = strtok_r(text, " \n", &save); c && fd >= 0;
		c = strtok_r(NULL, " \n", &save)) {
		char word[64];
		if (has_word(have, c))
			continue;
		int n = snprintf(word, sizeof(word), "+%s", c);
		if (write(fd, word, (size_t)n) < 0)
			continue;
	}
}

/* Groups above a container's own that we have made: they go with the last container in them. On the
 * group itself, because containers that share a parent come and go in any order; cgroup_dir.there
 * knows of those that we were killed making. */
static const char *const marks[] = {"user.strata", "trusted.strata"};

static void mark(int fd)
{
	/* An ordinary user may set the first, where groups can have it: in v2. */
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (fsetxattr(fd, marks[i], "", 0, 0) == 0)
			return;
}

static bool marked(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (lgetxattr(path, marks[i], NULL, 0) >= 0)
			return true;
	return false;
}

/* The path is ours from the hierarchy's top on, component by component. -EAGAIN: a part of it was
 * removed meanwhile. */
static int make_dir_once(struct cgroup_dir *d, struct error *err)
{
	bool v2 = !*d->controllers, cpuset = strstr(d->controllers, "cpuset") != NULL;
	int fd _close_ = -1;
	int first = mkdir(d->path, 0755);
	/* The usual case: only the last one is missing. */
	if (first == 0 && !v2 && !cpuset) {
		d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		return d->fd < 0 ? error_errno(err, errno, "%s", d->path) : 0;
	}
	fd = open(TOP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (const char *p = d->path + strlen(TOP); fd >= 0 && *p;) {
		p += strspn(p, "/");
		char name[256];
		int n = (int)strcspn(p, "/");
		if (!n)
			break;
		snprintf(name, sizeof(name), "%.*s", n, p);
		p += n;
		bool mount_point = !v2 && fd >= 0 && p - n == d->path + strlen(TOP) + 1;
		if (v2 && is_v2(TOP))
			hand_down(fd);
		bool made = mkdirat(fd, name, 0755) == 0;
		if (!made && errno == ENOENT)
			return -EAGAIN;
		if (!made && errno != EEXIST) {
			int e = errno;
			d->missing = e == EACCES || e == EPERM || e == EROFS;
			return d->missing ? 0 : error_errno(err, e, "%s", d->path);
		}
		int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (next < 0 && errno == ENOENT)
			return -EAGAIN;
		if (next >= 0 && made && p[strspn(p, "/")])
			mark(next);
		if (next >= 0 && cpuset && !mount_point)
			inherit_cpuset(fd, next);
		close(fd);
		fd = next;
	}
	if (fd < 0)
		return error_errno(err, errno, "%s", d->path);
	d->fd = TAKE_FD(fd);
	return 0;
}

static int make_dir(struct cgroup_dir *d, struct error *err)
{
	int r = -EAGAIN;
	for (int i = 0; i < 100 && r == -EAGAIN; i++)
		r = make_dir_once(d, err);
	return r == -EAGAIN ? error_errno(err, ENOENT, "%s", d->path) : r;
}

int cgroup_make(struct cgroup *cg, bool v2, struct error *err)
{
	vec_for_each (d, &cg->dirs) {
		if (v2 != !*d->controllers)
			continue;
		int r = make_dir(d, err);
		if (r < 0)
			return error_wrap(err, r, "cgroup");
	}
	return 0;
}

int cgroup_open(struct cgroup *cg, struct error *err)
{
	vec_for_each (d, &cg->dirs) {
		d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		d->missing = d->fd < 0;
		if (d->fd < 0 && errno != ENOENT)
			return error_errno(err, errno, "cgroup: %s", d->path);
	}
	return 0;
}

int cgroup_descend(struct cgroup *cg, const char *path, struct error *err)
{
	const char *colon = strchr(path, ':'), *below = colon ? colon + 1 : path;
	bool any = false;
	if (strcmp(below, "/") && !path_ok(below))
		return error_set(
			err, EINVAL, "cgroup \"%s\": not a path below the container's", path);
	vec_for_each (d, &cg->dirs) {
		char *list _free_ = xasprintf("%.*s", colon ? (int)(colon - path) : 0, path);
		bool named = !colon;
		for (char *save = NULL, *c = strtok_r(list, ",", &save); c;
			c = strtok_r(NULL, ",", &save))
			named |= has_word(d->controllers, c);
		if (d->fd < 0 || !named)
			continue;
		below += strspn(below, "/");
		int fd = openat(d->fd, *below ? below : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* Without names: wherever there is such a group. */
		if (fd < 0 && !colon && errno == ENOENT)
			continue;
		if (fd < 0)
			return error_errno(err, errno, "cgroup %s/%s", d->path, below);
		close(d->fd);
		d->fd = fd;
		any = true;
	}
	return any ? 0 : error_set(err, ENOENT, "cgroup \"%s\": the container has none", path);
}

int cgroup_follow(struct cgroup *cg, pid_t pid, struct error *err)
{
	char file[32], text[16384], *save = NULL;
	snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	ssize_t n = read_text(AT_FDCWD, file, text, sizeof(text));
	if (n < 0)
		return error_errno(err, (int)-n, "%s", file);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *top _free_ = strncmp(line, "0::/", 4) ? NULL : mounted_at("", cg->v2_only);
		if (!top)
			continue;
		char *path _free_ = xasprintf("%s%s", top, line + 3);
		vec_for_each (d, &cg->dirs) {
			size_t own = strlen(d->path);
			if (*d->controllers || strncmp(path, d->path, own) || path[own] != '/')
				continue;
			int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (fd < 0)
				return error_errno(err, errno, "%s", path);
			cleanup_close_fd(&d->fd);
			d->fd = fd;
			return 0;
		}
	}
	return error_set(err, EBUSY, "the container's cgroup takes no processes");
}

int cgroup_v2_fd(const struct cgroup *cg)
{
	vec_for_each (d, &cg->dirs)
		if (!*d->controllers)
			return d->fd;
	return -1;
}

int cgroup_entries(const struct cgroup *cg, int *fds, size_t max, struct error *err)
{
	size_t n = 0;
	vec_for_each (d, &cg->dirs) {
		if (!*d->controllers || d->fd < 0)
			continue;
		if (n == max)
			return error_set(err, E2BIG, "cgroup: more than %zu hierarchies", max);
		fds[n] = openat(d->fd, "tasks", O_WRONLY | O_CLOEXEC);
		if (fds[n] < 0) {
			int r = error_errno(err, errno, "cgroup: %s/tasks", d->path);
			while (n)
				close(fds[--n]);
			return r;
		}
		n++;
	}
	return (int)n;
}

int cgroup_enter(const int *fds, int n, struct error *err)
{
	for (int i = 0; i < n; i++)
		if (write(fds[i], "0", 1) < 0)
			return error_errno(err, errno, "enter the cgroup");
	return 0;
}

const struct cgroup_dir *cgroup_controller(
	const struct cgroup *cg, const char *controller, bool *v2, struct error *err)
{
	const struct cgroup_dir *unified = NULL;
	vec_for_each (d, &cg->dirs) {
		if (!*d->controllers)
			unified = d;
		if (!has_word(d->controllers, controller))
			continue;
		*v2 = false;
		if (d->fd >= 0)
			return d;
		error_set(err, EACCES, "cgroup %s: we may not make a group there", d->path);
		error_remedy(err, "delegate a cgroup to this user, or run as root");
		return NULL;
	}
	char text[1024];
	*v2 = true;
	if (unified && unified->fd >= 0 &&
		read_text(unified->fd, "cgroup.controllers", text, sizeof(text)) > 0 &&
		has_word(text, controller))
		return unified;
	error_set(err, ENOTSUP, "the cgroup controller \"%s\" is not available here", controller);
	if (unified && unified->fd < 0)
		error_remedy(err, "delegate a cgroup to this user, or run as root");
	return NULL;
}

int cgroup_write(const struct cgroup_dir *d, const char *file, const char *value, struct error *err)
{
	int fd _close_ = openat(d->fd, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "cgroup %s/%s", d->path, file);
	if (write(fd, value, strlen(value)) < 0)
		return error_errno(err, errno, "cgroup %s/%s: write \"%s\"", d->path, file, value);
	return 0;
}

/* The directory whose freezer holds the container, or NULL. */
static const struct cgroup_dir *freezer(const struct cgroup *cg, bool *v2, struct error *err)
{
	const struct cgroup_dir *unified = NULL;
	vec_for_each (d, &cg->dirs) {
		if (has_word(d->controllers, "freezer") && d->fd >= 0) {
			*v2 = false;
			return d;
		}
		if (!*d->controllers && d->fd >= 0)
			unified = d;
	}
	*v2 = true;
	if (!unified)
		error_set(err, ENOTSUP, "the container has no cgroup that can be frozen");
	return unified;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

bool cgroup_frozen(const struct cgroup *cg)
{
	bool v2;
	char text[256];
	const struct cgroup_dir *d = freezer(cg, &v2, NULL);
	if (!d)
		return false;
	if (!v2)
		return cgroup_read(d, "freezer.state", text, sizeof(text)) > 0 &&
		       !strncmp(text, "FR", 2);
	return cgroup_read(d, "cgroup.freeze", text, sizeof(text)) > 0 && *text == '1';
}

int cgroup_freeze(const struct cgroup *cg, bool frozen, struct error *err)
{
	bool v2;
	char text[256];
	const struct cgroup_dir *d = freezer(cg, &v2, err);
	if (!d)
		return -ENOTSUP;
	if (!v2) {
		/* A v1 freezer may wait for ever for a process that is being made: asking
		 * again helps. */
		for (int i = 0; i < 1000; i++) {
			int r = cgroup_write(d, "freezer.state", frozen ? "FROZEN" : "THAWED", err);
			if (r < 0)
				return r;
			if (cgroup_read(d, "freezer.state", text, sizeof(text)) > 0 &&
				!strcmp(text, frozen ? "FROZEN\n" : "THAWED\n"))
				return 0;
			pause_ms(i < 10 ? 1 : 10);
		}
	} else {
		int r = cgroup_write(d, "cgroup.freeze", frozen ? "1" : "0", err);
		if (r < 0)
			return r;
		for (int i = 0; i < 1000; i++) {
			if (cgroup_read(d, "cgroup.events", text, sizeof(text)) > 0 &&
				strstr(text, frozen ? "frozen 1" : "frozen 0"))
				return 0;
			pause_ms(i < 10 ? 1 : 10);
		}
	}
	if (frozen)
		cgroup_write(d, v2 ? "cgroup.freeze" : "freezer.state", v2 ? "0" : "THAWED", NULL);
	return error_set(err, ETIMEDOUT, "cgroup %s: a process does not %s within 10 s", d->path,
		frozen ? "freeze" : "thaw");
}

/* Calls fn for dir and all below it, deepest first. */
static int walk(int dir, int (*fn)(int parent, const char *name, int fd, void *opaque),
	void *opaque, unsigned depth)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	if (!d) {
		r = -errno;
		if (copy >= 0)
			close(copy);
		return r;
	}
	for (struct dirent *e; depth < 64 && (e = readdir(d));) {
		if (e->d_type != DT_DIR || !strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		int fd _close_ = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		int one = walk(fd, fn, opaque, depth + 1);
		if (one == 0)
			one = fn(dir, e->d_name, fd, opaque);
		if (one < 0 && r == 0)
			r = one;
	}
	closedir(d);
	return r;
}

static int add_pids(int parent, const char *name, int fd, void *opaque)
{
	cgroup_pids *out = opaque;
	int file = openat(fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	FILE *f = file < 0 ? NULL : fdopen(file, "re");
	int pid;
	if (!f)
		return -errno;
	while (fscanf(f, "%d", &pid) == 1)
		if (pid > 0)
			vec_push(out, pid);
	fclose(f);
	return 0;
}

int cgroup_check_free(const struct cgroup *cg, struct error *err)
{
	vec_for_each (d, &cg->dirs) {
		cgroup_pids pids = {0};
		int fd _close_ = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		add_pids(-1, NULL, fd, &pids);
		walk(fd, add_pids, &pids, 0);
		bool any = pids.len > 0;
		vec_done(&pids);
		if (!any)
			continue;
		error_set(err, EBUSY, "cgroup %s has processes already", d->path);
		error_remedy(err, "give the container a linux.cgroupsPath of its own");
		return -EBUSY;
	}
	return 0;
}

int cgroup_list(const struct cgroup *cg, cgroup_pids *out, struct error *err)
{
	const struct cgroup_dir *best = NULL;
	vec_for_each (d, &cg->dirs)
		if (d->fd >= 0 && (!best || has_word(d->controllers, "pids") ||
					  (!*d->controllers && cg->v2_only)))
			best = d;
	if (!best)
		return error_set(err, ENOTSUP, "the container has no cgroup of its own");
	int r = add_pids(-1, NULL, best->fd, out);
	if (r == 0)
		r = walk(best->fd, add_pids, out, 0);
	return r < 0 ? error_errno(err, -r, "cgroup %s", best->path) : 0;
}

int cgroup_signal(const struct cgroup *cg, int sig, struct error *err)
{
	/* The kernel's own, where everything is in v2: no process can be born unseen. */
	if (sig == SIGKILL && cg->v2_only && cg->dirs.len &&
		cgroup_write(&cg->dirs.items[0], "cgroup.kill", "1", NULL) == 0)
		return 0;
	for (int round = 0; round < (sig == SIGKILL ? 100 : 1); round++) {
		cgroup_pids pids = {0};
		int r = cgroup_list(cg, &pids, err);
		if (r < 0 || !pids.len) {
			vec_done(&pids);
			return r;
		}
		/* They make new ones faster than we look: nobody does while frozen. */
		if (sig == SIGKILL && round > 5 && cgroup_freeze(cg, true, NULL) == 0) {
			pids.len = 0;
			cgroup_list(cg, &pids, NULL);
		}
		vec_for_each (pid, &pids)
			kill(*pid, sig);
		vec_done(&pids);
		if (sig == SIGKILL) {
			if (cgroup_frozen(cg))
				cgroup_freeze(cg, false, NULL);
			pause_ms(round < 5 ? 1 : 10);
		}
	}
	return 0;
}

static int remove_one(int parent, const char *name, int fd, void *opaque)
{
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

/* Empty groups above it that are ours. */
static void remove_parents(const struct cgroup_dir *d)
{
	char *path _free_ = xstrdup(d->path);
	for (char *end; (end = strrchr(path, '/')) && end > path + strlen(TOP);) {
		*end = 0;
		if (strlen(path) <= d->there && !marked(path))
			return;
		if (rmdir(path) < 0 && errno != ENOENT)
			return;
	}
}

static int remove_dir(const struct cgroup_dir *d)
{
	if (rmdir(d->path) == 0 || errno == ENOENT)
		return 0;
	/* Groups below, or a process that is just ending. */
	for (int i = 0; i < 300; i++) {
		int fd _close_ = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			walk(fd, remove_one, NULL, 0);
		if (rmdir(d->path) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY)
			return -errno;
		pause_ms(i < 20 ? 1 : 10);
	}
	return -EBUSY;
}

int cgroup_remove(struct cgroup *cg, struct error *err)
{
	int r = 0;
	vec_for_each (d, &cg->dirs) {
		int one = remove_dir(d);
		if (one == 0)
			remove_parents(d);
		if (one < 0 && r == 0)
			r = error_errno(err, -one, "remove the cgroup %s", d->path);
	}
	return r;
}
