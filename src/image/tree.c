// SPDX-License-Identifier: Apache-2.0
// Where trees are kept, and the child process that unpacks one.
#include "image/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/store.h"
#include "os/file.h"

#define NEW_PREFIX  ".new-"
#define GONE_PREFIX ".gone-"

enum { PROGRESS_MS = 100, HEX_DIGITS = 64, DEPTH_MAX = 64 };
/* What takes less time than reading about it is done in silence. */
#define TELL_BYTES (16 * MiB)

/* What the child tells; shared memory. */
struct report {
	volatile uint64_t done;
	int code;
	char message[1024], remedy[256];
};

static char *read_map(const char *path, uint64_t *ids)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	unsigned inside, outside, count;
	int used;
	if (file_read(AT_FDCWD, path, 65536, &text, NULL) < 0)
		return NULL;
	const char *p = text.data ? text.data : "";
	for (*ids = 0; sscanf(p, "%u %u %u%n", &inside, &outside, &count, &used) == 3; p += used)
		*ids += count;
	return strbuf_take(&text);
}

/* "-0123456789abcdef" where IDs are mapped: another user, or another range of his, has other owners
 * on disk. "" for root of the host. */
static void id_suffix(char out[20], bool *one_id)
{
	uint64_t uids = UINT32_MAX, gids = UINT32_MAX, hash = UINT64_C(0xcbf29ce484222325);
	char *maps[] = {
		read_map("/proc/self/uid_map", &uids), read_map("/proc/self/gid_map", &gids)};
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		for (const char *p = maps[i]; p && *p; p++)
			hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
		free(maps[i]);
	}
	*one_id = uids == 1 || gids == 1;
	*out = 0;
	if (uids != UINT32_MAX || gids != UINT32_MAX)
		snprintf(out, 20, "-%016llx", (unsigned long long)hash);
}

static char *trees_path(const struct image_store *s)
{
	return xasprintf("%s/trees", s->images);
}

static int open_trees(struct image_store *s, struct error *err)
{
	char *path _free_ = trees_path(s);
	/* Nobody else may reach set-user-ID programs of an image. */
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return store_error(s, err, errno, path, "cannot make the directory");
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? store_error(s, err, errno, path, "cannot open") : fd;
}

static int lock_trees(int trees, int operation)
{
	int fd = openat(trees, ".lock", O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	while (fd >= 0 && flock(fd, operation) < 0) {
		if (errno == EINTR)
			continue;
		int code = errno;
		close(fd);
		return -code;
	}
	return fd < 0 ? -errno : fd;
}

/* A shared lock on what is still called so; -ENOENT. */
static int take(int trees, const char *name)
{
	for (;;) {
		struct stat a, b;
		int fd _close_ =
			openat(trees, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			return -errno;
		/* The collector locks and renames; it does not wait, and neither has the lock for
		 * long. */
		if (flock(fd, LOCK_SH) < 0 && errno != EINTR)
			return -errno;
		if (fstatat(trees, name, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &b) == 0 &&
			a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return TAKE_FD(fd);
	}
}

/* Unpacking takes rights over other people's files and modes, and nothing else. Whiteouts are no
 * devices to the kernel. */
static int drop_rights(void)
{
	static const int keep[] = {
		CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP};
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {0};
	for (size_t i = 0; i < ARRAY_SIZE(keep); i++)
		data[0].effective |= 1u << keep[i];
	data[0].permitted = data[0].effective;
	if (syscall(SYS_capset, &head, data) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static _Noreturn void unpack_child(int tar_fd, int dir, bool one_id, struct report *report)
{
	struct error err = ERROR_INIT;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	umask(0);
	int r = fchdir(dir) < 0 || chroot(".") < 0
			? error_errno(&err, errno, "change the root directory")
			: drop_rights();
	if (r == 0)
		r = tree_extract(tar_fd, dir, one_id, &report->done, &err);
	if (r == 0 && syncfs(dir) < 0)
		r = error_errno(&err, errno, "sync");
	report->code = r;
	snprintf(report->message, sizeof(report->message), "%s", err.message ? err.message : "");
	snprintf(report->remedy, sizeof(report->remedy), "%s", err.remedy ? err.remedy : "");
	_exit(r != 0);
}

static int wait_child(pid_t pid, const struct report *report, uint64_t total,
	const struct image_progress *progress, struct error *err)
{
	int status = -1;
	int pidfd _close_ = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {pidfd, POLLIN, 0};
	while (pidfd >= 0 && poll(&p, 1, PROGRESS_MS) <= 0)
		progress_bytes(progress, report->done, total);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (!report->code)
		return error_set(err, EIO, "the process that unpacks was killed");
	if (report->message[0])
		error_set(err, -report->code, "%s", report->message);
	else
		error_errno(err, -report->code, "unpack");
	if (report->remedy[0])
		error_remedy(err, "%s", report->remedy);
	return report->code;
}

static int unpack(int tar_fd, int dir, bool one_id, uint64_t total,
	const struct image_progress *progress, struct error *err)
{
	struct report *report = mmap(
		NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED)
		return error_errno(err, errno, "unpack");
	pid_t pid = fork();
	if (pid == 0)
		unpack_child(tar_fd, dir, one_id, report);
	int r = pid < 0 ? error_errno(err, errno, "new process")
			: wait_child(pid, report, total, progress, err);
	munmap(report, sizeof(*report));
	return r;
}

/* Only who has the lock makes trees, so what is half made was a killed process's. */
static void remove_half_made(int trees)
{
	int copy = openat(trees, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	if (!d && copy >= 0)
		close(copy);
	for (struct dirent *e; d && (e = readdir(d));)
		if (!strncmp(e->d_name, NEW_PREFIX, strlen(NEW_PREFIX)))
			dir_remove_tree(trees, e->d_name, NULL);
	if (d)
		closedir(d);
}

static int make(struct image_store *s, int trees, const char *name, const struct image_layer *layer,
	bool one_id, const struct image_progress *progress, struct error *err)
{
	char *temporary _free_ = xasprintf(NEW_PREFIX "%d", (int)getpid());
	if (layer->size >= TELL_BYTES)
		progress_stage(progress, "Unpacking a layer (%llu MiB)",
			(unsigned long long)(layer->size / MiB));
	remove_half_made(trees);
	if (mkdirat(trees, temporary, 0700) < 0)
		return store_error(s, err, errno, "trees", "cannot make the directory");
	int top _close_ = openat(trees, temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0 || mkdirat(top, "fs", 0755) < 0)
		return store_error(s, err, errno, "trees", "cannot make the directory");
	int fs _close_ = openat(top, "fs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fs < 0 ? error_errno(err, errno, "trees")
		       : unpack(layer->fd, fs, one_id, layer->size, progress, err);
	if (r == 0 && renameat2(trees, temporary, trees, name, RENAME_NOREPLACE) < 0)
		r = error_errno(err, errno, "name the tree");
	if (r == 0 && fsync(trees) < 0)
		r = error_errno(err, errno, "sync");
	if (r < 0)
		dir_remove_tree(trees, temporary, NULL);
	return r;
}

int image_tree_open(struct image_store *s, const struct image_layer *layer,
	const struct image_progress *progress, struct image_tree *out, struct error *err)
{
	char suffix[20];
	bool one_id;
	id_suffix(suffix, &one_id);
	char *name _free_ = xasprintf("%s%s", layer->diff_id + strlen("sha256:"), suffix);
	int trees _close_ = open_trees(s, err);
	if (trees < 0)
		return trees;
	int fd = take(trees, name), r = 0;
	if (fd == -ENOENT) {
		int lock _close_ = lock_trees(trees, LOCK_EX);
		if (lock < 0)
			return store_error(s, err, -lock, "trees/.lock", "cannot lock");
		/* Another process may have made it meanwhile. */
		fd = take(trees, name);
		if (fd == -ENOENT) {
			r = make(s, trees, name, layer, one_id, progress, err);
			fd = r < 0 ? r : take(trees, name);
		}
	}
	if (fd < 0)
		return r < 0 ? error_wrap(err, r, "layer %.19s", layer->diff_id)
			     : error_errno(err, -fd, "layer %.19s: its tree", layer->diff_id);
	*out = (struct image_tree){fd, xasprintf("%s/trees/%s/fs", s->images, name)};
	return 0;
}

void image_tree_done(struct image_tree *t)
{
	cleanup_close_fd(&t->lock_fd);
	free(t->path);
	*t = IMAGE_TREE_INIT;
}

/* What its files take, roughly: no deeper than trees of people are. */
static uint64_t tree_bytes(int dir, const char *name, unsigned depth)
{
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	bool directory = S_ISDIR(st.st_mode);
	uint64_t sum = (uint64_t)st.st_blocks * 512 / MAX(directory ? 1 : st.st_nlink, 1);
	int fd = directory && depth
			 ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
			 : -1;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d && fd >= 0)
		close(fd);
	for (struct dirent *e; d && (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			sum += tree_bytes(fd, e->d_name, depth - 1);
	if (d)
		closedir(d);
	return sum;
}

/* False: somebody uses it, or it is not ours to remove. */
static bool remove_tree(int trees, const char *name, uint64_t *freed)
{
	char *gone _free_ = xasprintf(GONE_PREFIX "%d-%s", (int)getpid(), name);
	bool named = *name != '.';
	int fd _close_ = openat(trees, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return false;
	/* Under another name first: half a tree is none. */
	if (named && renameat(trees, name, trees, gone) < 0)
		return false;
	name = named ? gone : name;
	uint64_t bytes = tree_bytes(trees, name, DEPTH_MAX);
	if (dir_remove_tree(trees, name, NULL) < 0)
		return false;
	*freed += bytes;
	return true;
}

void image_trees_collect(struct image_store *s, bool (*keep)(void *opaque, const char *diff_id),
	void *opaque, uint64_t *freed_bytes)
{
	char *path _free_ = trees_path(s);
	char suffix[20], digest[IMAGE_DIGEST_LEN + 1];
	bool one_id;
	uint64_t freed = 0;
	id_suffix(suffix, &one_id);
	int trees _close_ = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* While one is being made, the next collection will do. */
	int lock _close_ = trees < 0 ? -1 : lock_trees(trees, LOCK_EX | LOCK_NB);
	DIR *d = lock < 0 ? NULL : opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		const char *name = e->d_name;
		bool left = !strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) ||
			    !strncmp(name, GONE_PREFIX, strlen(GONE_PREFIX));
		if (!left && (*name == '.' || strlen(name) < HEX_DIGITS ||
				     strcmp(name + HEX_DIGITS, suffix)))
			continue;
		snprintf(digest, sizeof(digest), "sha256:%.64s", name);
		if (left || !keep(opaque, digest))
			remove_tree(trees, name, &freed);
	}
	if (d)
		closedir(d);
	if (freed_bytes)
		*freed_bytes += freed;
}
