// SPDX-License-Identifier: Apache-2.0
#include "instance/container.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/overlay.h"
#include "os/child.h"
#include "os/file.h"
#include "os/helper.h"

enum { LOG_MAX = 65536, STATUS_FAILED = 125, STATUS_CANNOT_RUN = 126, STATUS_NOT_FOUND = 127 };

static char *state_root(const char *home)
{
	return xasprintf("%s/containers", home);
}

static int make_dirs(struct container *c, struct error *err)
{
	static const char *const names[] = {"bundle", "bundle/root", "bundle/upper", "bundle/work"};
	int dir = c->instance->dir_fd;
	c->bundle = xasprintf("%s/bundle", c->instance->path);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (mkdirat(dir, names[i], i ? 0755 : 0700) < 0 && errno != EEXIST)
			return error_errno(err, errno, "%s/%s", c->instance->path, names[i]);
	c->bundle_fd = openat(dir, "bundle", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return c->bundle_fd < 0 ? error_errno(err, errno, "%s", c->bundle) : 0;
}

/* The upper directory's own attributes are what the container sees of its root. */
static int copy_root_attributes(const struct container *c, struct error *err)
{
	struct stat st;
	int upper _close_ =
		openat(c->bundle_fd, "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (upper < 0 || stat(c->trees[c->n_trees - 1].path, &st) < 0 ||
		fchown(upper, st.st_uid, st.st_gid) < 0 || fchmod(upper, st.st_mode & 07777) < 0)
		return error_errno(err, errno, "the container's root");
	return 0;
}

static int mount_root(struct container *c, bool scratch, struct error *err)
{
	const char **lower _free_ = xcalloc(c->n_trees + 1, sizeof(*lower));
	for (size_t i = 0; i < c->n_trees; i++)
		lower[i] = c->trees[i].path;
	char *upper _free_ = xasprintf("%s/upper", c->bundle);
	char *work _free_ = xasprintf("%s/work", c->bundle);
	char *root _free_ = xasprintf("%s/root", c->bundle);
	const struct overlay o = {lower, c->n_trees, upper, work, scratch};
	int r = copy_root_attributes(c, err);
	return r < 0 ? r : overlay_mount(&o, root, err);
}

int container_prepare(struct container *c, struct image_store *store, const struct image *image,
	bool scratch, const struct image_progress *progress, struct error *err)
{
	if (!image->n_layers)
		return error_set(err, EBADMSG, "image %s has no layers", image->ref);
	c->trees = xcalloc(image->n_layers, sizeof(*c->trees));
	int r = make_dirs(c, err);
	for (size_t i = 0; r == 0 && i < image->n_layers; i++) {
		r = image_tree_open(store, &image->layers[i], progress, &c->trees[i], err);
		c->n_trees += r == 0;
	}
	if (r < 0)
		return error_wrap(err, r, "image %s", image->ref);
	return mount_root(c, scratch, err);
}

static int start_runtime(struct container *c, const int stdio[3], struct error *err)
{
	char *program _free_ = NULL, *root _free_ = state_root(c->home);
	int r = helper_find("strata-oci", &program, err);
	if (r < 0)
		return r;
	c->log_fd = memfd_create("log", MFD_CLOEXEC);
	if (c->log_fd < 0)
		return error_errno(err, errno, "log");
	const char *const argv[] = {program, "--root", root, "--log", "/proc/self/fd/3",
		"--log-format", "json", "--quiet", "run", "--tied", "--bundle", c->bundle,
		c->instance->name, NULL};
	const struct child_spec s = {.argv = argv,
		.stdio = {stdio[0], stdio[1], stdio[2]},
		.fds = &c->log_fd,
		.n_fds = 1,
		.die_with_parent = true};
	pid_t pid = child_spawn(&s, err);
	if (pid < 0)
		return pid;
	c->pid = pid;
	return 0;
}

int container_start(
	struct container *c, const struct bundle_options *o, const int stdio[3], struct error *err)
{
	int r = bundle_write(c->bundle_fd, c->bundle, o, err);
	return r < 0 ? r : start_runtime(c, stdio, err);
}

/* As other container tools have it: the command is not there, or cannot be executed. */
static int status_of(const char *message)
{
	if (strncmp(message, "exec", 4))
		return STATUS_FAILED;
	if (strstr(message, "No such file or directory") || strstr(message, "not found in $PATH"))
		return STATUS_NOT_FOUND;
	return STATUS_CANNOT_RUN;
}

int container_reap(struct container *c, int *exit_status, struct error *err)
{
	char text[LOG_MAX];
	int status = child_wait(c->pid);
	c->pid = 0;
	ssize_t n = pread(c->log_fd, text, sizeof(text), 0);
	if (n <= 0)
		return status;
	json_t *o = json_loadb(text, (size_t)n, JSON_DISABLE_EOF_CHECK, NULL);
	const char *message = json_string_value(json_object_get(o, "msg"));
	message = message ? message : "the container failed";
	*exit_status = status_of(message);
	const char *remedy = json_string_value(json_object_get(o, "remedy"));
	error_set(err, EIO, "%s", message);
	if (remedy)
		error_remedy(err, "%s", remedy);
	json_decref(o);
	return -EIO;
}

void container_done(struct container *c)
{
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		child_wait(c->pid);
	}
	if (c->bundle) {
		char *root _free_ = xasprintf("%s/root", c->bundle);
		/* The overlay and what it was mounted from. */
		while (umount2(root, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
			;
	}
	for (size_t i = 0; i < c->n_trees; i++)
		image_tree_done(&c->trees[i]);
	free(c->trees);
	free(c->bundle);
	cleanup_close_fd(&c->bundle_fd);
	cleanup_close_fd(&c->log_fd);
	*c = CONTAINER_INIT;
}

/* A lock that nobody holds, or no instance: its container is a leftover. */
static bool abandoned(const char *home, const char *name, int *lock)
{
	char *path _free_ = xasprintf("%s/instances/%s/lock", home, name);
	*lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return *lock < 0 ? errno == ENOENT : flock(*lock, LOCK_EX | LOCK_NB) == 0;
}

void container_sweep(const char *home)
{
	char *root _free_ = state_root(home), *program _free_ = NULL;
	DIR *d = opendir(root);
	if (d && helper_find("strata-oci", &program, NULL) == 0) {
		for (struct dirent *e; (e = readdir(d));) {
			int lock _close_ = -1;
			if (instance_name_check(e->d_name, NULL) < 0 ||
				!abandoned(home, e->d_name, &lock))
				continue;
			const char *const argv[] = {
				program, "--root", root, "delete", "--force", e->d_name, NULL};
			child_run(argv, NULL, NULL);
		}
	}
	if (d)
		closedir(d);
}
