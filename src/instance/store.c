// SPDX-License-Identifier: Apache-2.0
#include "instance/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/vec.h"
#include "instance/names.h"
#include "os/file.h"

#define NEW_PREFIX ".new-"

enum { CONFIG_MAX = 64 * 1024, HALF_MADE_AGE_S = 60 };

void instance_config_done(struct instance_config *c)
{
	free(c->image);
	free(c->level);
	free(c->arch);
	free(c->command);
	*c = (struct instance_config){0};
}

void instance_free(struct instance *i)
{
	if (!i)
		return;
	cleanup_close_fd(&i->lock_fd);
	cleanup_close_fd(&i->dir_fd);
	free(i->name);
	free(i->path);
	free(i);
}
DEFINE_CLEANUP(struct instance *, cleanup_instance, instance_free)

int instance_name_check(const char *name, struct error *err)
{
	size_t n = strlen(name);
	bool ok = n >= 1 && n <= INSTANCE_NAME_MAX && name[0] != '-' && name[n - 1] != '-' &&
		  strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
	if (ok)
		return 0;
	error_set(err, EINVAL, "\"%s\" cannot be the name of an instance", name);
	error_remedy(err, "use 1 to %d of a-z, 0-9 and dashes inside", INSTANCE_NAME_MAX);
	return -EINVAL;
}

/* config.json */

static json_t *optional(const char *s)
{
	json_t *v = s ? json_string(s) : NULL;
	return v ? v : json_null();
}

static int config_write(int dir_fd, const struct instance_config *c, struct error *err)
{
	json_t *o = json_pack("{s:i, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:b}", "version", 1,
		"image", optional(c->image), "level", optional(c->level), "arch", optional(c->arch),
		"command", optional(c->command), "cpus", (json_int_t)c->cpus, "memory_bytes",
		(json_int_t)c->memory_bytes, "created", (json_int_t)c->created_s, "remove",
		(int)c->remove);
	char *text _free_ = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
	json_decref(o);
	if (!text)
		return error_set(err, EINVAL, "config.json: cannot be written as JSON");
	return file_write_atomic(dir_fd, "config.json", text, strlen(text), 0600, err);
}

static char *get_string(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? xstrdup(s) : NULL;
}

static uint64_t get_uint(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));
	return v > 0 ? (uint64_t)v : 0;
}

static int config_read(int dir_fd, struct instance_config *out, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	json_error_t why;
	int r = file_read(dir_fd, "config.json", CONFIG_MAX, &text, err);
	if (r < 0)
		return r;
	json_t *o = json_loadb(text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(o)) {
		json_decref(o);
		return error_set(err, EBADMSG, "config.json is damaged: %s", why.text);
	}
	*out = (struct instance_config){.image = get_string(o, "image"),
		.level = get_string(o, "level"),
		.arch = get_string(o, "arch"),
		.command = get_string(o, "command"),
		.cpus = get_uint(o, "cpus"),
		.memory_bytes = get_uint(o, "memory_bytes"),
		.created_s = get_uint(o, "created"),
		.remove = json_is_true(json_object_get(o, "remove"))};
	json_decref(o);
	return 0;
}

/* Directories and locks */

static int open_root(const char *home, bool make, int *out, struct error *err)
{
	char *path _free_ = xasprintf("%s/instances", home);
	int r = make ? dir_make_all(path, err) : 0;
	if (r < 0) {
		error_remedy(err, "set STRATA_HOME to a directory that you may write to");
		return r;
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "%s", path);
	*out = fd;
	return 0;
}

/* The locked descriptor, or -EWOULDBLOCK while another holds it. */
static int take_lock(int dir_fd, int flags)
{
	int fd = openat(dir_fd, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int code = errno;
		close(fd);
		return -code;
	}
	return fd;
}

static int name_taken(int root, const char *name, struct error *err)
{
	int dir _close_ = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int lock _close_ = dir < 0 ? -1 : take_lock(dir, 0);
	bool running = lock == -EWOULDBLOCK;
	error_set(err, EEXIST, "there is an instance %s already, %s", name,
		running ? "and it is running" : "stopped");
	if (running)
		error_remedy(err, "choose another --name");
	else
		error_remedy(err, "`strata rm %s` removes it with its disk", name);
	return -EEXIST;
}

/* Everything is made under a temporary name and locked, then the rename claims the name. */
static int make_locked(int root, const char *temporary, const struct instance_config *config,
	struct instance *i, struct error *err)
{
	if (mkdirat(root, temporary, 0700) < 0)
		return error_errno(err, errno, "make an instance");
	i->dir_fd = openat(root, temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (i->dir_fd < 0)
		return error_errno(err, errno, "make an instance");
	i->lock_fd = take_lock(i->dir_fd, O_CREAT);
	if (i->lock_fd < 0)
		return error_errno(err, -i->lock_fd, "lock the new instance");
	return config_write(i->dir_fd, config, err);
}

static uint64_t random_number(void)
{
	uint64_t n;
	if (getrandom(&n, sizeof(n), 0) != sizeof(n))
		n = clock_monotonic_ns();
	return n;
}

int instance_create(const char *home, const char *name, const struct instance_config *config,
	struct instance **out, struct error *err)
{
	int root _close_ = -1;
	int r = name ? instance_name_check(name, err) : 0;
	if (!r)
		r = open_root(home, true, &root, err);
	if (r < 0)
		return r;
	struct instance *i CLEANUP(cleanup_instance) = xcalloc(1, sizeof(*i));
	i->dir_fd = i->lock_fd = -1;
	uint64_t number = random_number();
	char *temporary _free_ =
		xasprintf(NEW_PREFIX "%d-%llx", (int)getpid(), (unsigned long long)number);
	r = make_locked(root, temporary, config, i, err);
	for (unsigned attempt = 0; !r; attempt++) {
		free(i->name);
		i->name = name ? xstrdup(name) : name_from_number(number + attempt * 997);
		if (renameat2(root, temporary, root, i->name, RENAME_NOREPLACE) == 0) {
			i->path = xasprintf("%s/instances/%s", home, i->name);
			*out = TAKE_PTR(i);
			return 0;
		}
		if (errno != EEXIST)
			r = error_errno(err, errno, "make instance %s", i->name);
		else if (name || attempt > 4096)
			r = name_taken(root, i->name, err);
	}
	dir_remove_tree(root, temporary, NULL);
	return r;
}

/* The caller holds the lock. The directory is renamed first: a removal that is interrupted leaves
 * nothing that looks like an instance. */
static int remove_locked(int root, const char *name, struct error *err)
{
	char *temporary _free_ = xasprintf(NEW_PREFIX "gone-%d-%s", (int)getpid(), name);
	if (renameat(root, name, root, temporary) < 0)
		return error_errno(err, errno, "remove instance %s", name);
	int r = dir_remove_tree(root, temporary, err);
	return r < 0 ? error_wrap(err, r, "remove instance %s", name) : 0;
}

int instance_remove(const char *home, const char *name, struct error *err)
{
	int root _close_ = -1;
	struct error inner _error_ = ERROR_INIT;
	int r = instance_name_check(name, err);
	if (r < 0)
		return r;
	int dir _close_ = -1;
	if (open_root(home, false, &root, &inner) == 0)
		dir = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0) {
		error_set(err, ENOENT, "there is no instance %s", name);
		error_remedy(err, "`strata list` shows what there is");
		return -ENOENT;
	}
	int lock _close_ = take_lock(dir, O_CREAT);
	if (lock == -EWOULDBLOCK) {
		error_set(err, EBUSY, "instance %s is running", name);
		error_remedy(err, "end it first: leave its shell, or stop its `strata run`");
		return -EBUSY;
	}
	if (lock < 0)
		return error_errno(err, -lock, "lock instance %s", name);
	return remove_locked(root, name, err);
}

int instance_remove_own(struct instance *i, struct error *err)
{
	int root _close_ = openat(i->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_errno(err, errno, "remove instance %s", i->name);
	return remove_locked(root, i->name, err);
}

/* Listing and sweeping */

static uint64_t disk_use(int dir_fd)
{
	int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	uint64_t sum = 0;
	struct stat st;
	for (struct dirent *e; dir && (e = readdir(dir));) {
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	if (dir)
		closedir(dir);
	return sum;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(
		((const struct instance_info *)a)->name, ((const struct instance_info *)b)->name);
}

int instance_list(const char *home, struct instance_info **out, size_t *n, struct error *err)
{
	int root = -1;
	struct error inner _error_ = ERROR_INIT;
	VEC(struct instance_info) list = {0};
	int r = open_root(home, false, &root, &inner);
	if (r < 0 && r != -ENOENT)
		return error_set(err, -r, "%s", inner.message);
	DIR *dir = r ? NULL : fdopendir(root);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		if (instance_name_check(e->d_name, NULL) < 0)
			continue;
		int fd _close_ = openat(
			dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue;
		struct instance_info info = {
			.name = xstrdup(e->d_name), .disk_bytes = disk_use(fd)};
		config_read(
			fd, &info.config, NULL); /* damaged: listed all the same, to be removed */
		int lock _close_ = take_lock(fd, 0);
		info.running = lock == -EWOULDBLOCK;
		vec_push(&list, info);
	}
	if (dir)
		closedir(dir);
	if (list.len)
		qsort(list.items, list.len, sizeof(*list.items), compare_names);
	*out = list.items;
	*n = list.len;
	return 0;
}

void instance_list_free(struct instance_info *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].name);
		instance_config_done(&list[i].config);
	}
	free(list);
}

/* Half made, or half removed. Its maker holds the lock; before that, it is very young. */
static void sweep_half_made(int root, const char *name)
{
	struct stat st;
	int fd _close_ = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	int lock _close_ = take_lock(fd, 0);
	bool young = time(NULL) - st.st_mtime < HALF_MADE_AGE_S;
	if (lock >= 0 || (lock == -ENOENT && !young))
		dir_remove_tree(root, name, NULL);
}

void instance_sweep(const char *home)
{
	int root = -1;
	if (open_root(home, false, &root, NULL) < 0)
		return;
	DIR *dir = fdopendir(root);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		if (!strncmp(e->d_name, NEW_PREFIX, strlen(NEW_PREFIX))) {
			sweep_half_made(dirfd(dir), e->d_name);
			continue;
		}
		if (instance_name_check(e->d_name, NULL) < 0)
			continue;
		struct instance_config config = {0};
		int fd _close_ = openat(
			dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		int lock _close_ = fd < 0 ? -1 : take_lock(fd, 0);
		if (lock >= 0 && config_read(fd, &config, NULL) == 0 && config.remove)
			remove_locked(dirfd(dir), e->d_name, NULL);
		instance_config_done(&config);
	}
	if (dir)
		closedir(dir);
}
