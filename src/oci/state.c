// SPDX-License-Identifier: Apache-2.0
#include "oci/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "oci/config.h"
#include "oci/json.h"
#include "os/file.h"

#define SOCKET	"start.sock"
#define FILTERS ".filters"

const char *const status_names[] = {"creating", "created", "running", "paused", "stopped"};

void state_done(struct state *s)
{
	free(s->id);
	free(s->bundle);
	free(s->rootfs);
	free(s->created);
	cgroup_done(&s->cgroup);
	cleanup_close_fd(&s->dir);
	cleanup_close_fd(&s->root);
	cleanup_close_fd(&s->network_status);
	arena_done(&s->arena);
	*s = STATE_INIT;
}

int state_check_id(const char *id, struct error *err)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.";
	size_t n = strlen(id);
	if (!n || n > 255 || strspn(id, letters) != n || *id == '.')
		return error_set(err, EINVAL,
			"\"%s\" is no container ID: letters, digits and _ + - . make one, not . "
			"first",
			id);
	return 0;
}

static int open_root(struct state *s, const char *root, bool make, struct error *err)
{
	int r = make ? dir_make_all(root, err) : 0;
	if (r < 0)
		return r;
	struct stat st;
	s->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0 || fstat(s->root, &st) < 0)
		return error_errno(err, errno, "%s", root);
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022)) {
		error_set(err, EPERM, "%s: others may write there: Operation not permitted", root);
		error_remedy(err, "--root must be a directory of your own");
		return -EPERM;
	}
	return 0;
}

/* Whether the name still leads to the directory that we have open. Who holds its lock when it does
 * is the only one who may take the name away. */
static bool is_current(const struct state *s, const char *id)
{
	struct stat ours, there;
	return fstat(s->dir, &ours) == 0 &&
	       fstatat(s->root, id, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

/* Opens ROOT/ID and locks it as asked: -errno; -ESTALE when it was removed while we waited. */
static int open_locked(struct state *s, const char *id, enum state_lock lock)
{
	s->dir = openat(s->root, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->dir < 0)
		return -errno;
	if (lock == STATE_READ)
		return 0;
	while (flock(s->dir, lock == STATE_TRY ? LOCK_EX | LOCK_NB : LOCK_EX) < 0)
		if (errno != EINTR)
			return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (is_current(s, id))
		return 0;
	cleanup_close_fd(&s->dir);
	s->dir = -1;
	return -ESTALE;
}

/* Made and locked in one step for those who look under ROOT's lock. Who waits for the directory's
 * lock alone, to remove it, may be first: then once more. */
static int make_dir(struct state *s, const char *id)
{
	int r;
	if (flock(s->root, LOCK_EX) < 0)
		return -errno;
	do {
		r = mkdirat(s->root, id, 0700) < 0 ? -errno : open_locked(s, id, STATE_LOCK);
	} while (r == -ENOENT || r == -ESTALE);
	flock(s->root, LOCK_UN);
	return r;
}

int state_new(struct state *s, const char *root, const char *id, struct error *err)
{
	int r = state_check_id(id, err);
	if (r == 0)
		r = open_root(s, root, true, err);
	if (r < 0)
		return r;
	r = make_dir(s, id);
	if (r == -EEXIST)
		return error_set(err, EEXIST, "container \"%s\" already exists", id);
	if (r < 0)
		return error_errno(err, -r, "%s/%s", root, id);
	s->id = xstrdup(id);
	struct timespec now;
	struct tm tm;
	char text[64];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%06ldZ", now.tv_nsec / 1000);
	s->created = xstrdup(text);
	s->owner = getuid();
	return 0;
}

unsigned long long process_start_time(pid_t pid)
{
	char path[48], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd _close_ = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = 0;
	const char *p = strrchr(text, ')');
	/* Field 3 is the state, 22 the start time. A zombie has ended. */
	if (!p || strlen(p) < 4 || p[2] == 'Z' || p[2] == 'X')
		return 0;
	for (int field = 2; field < 22 && p; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

int state_save(struct state *s, struct error *err)
{
	json_t *groups = json_object();
	vec_for_each (d, &s->cgroup.dirs)
		if (!d->missing)
			json_object_set_new(groups, d->controllers,
				json_pack("[s, I]", d->path, (json_int_t)d->there));
	json_t *json _json_ = json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:b, s:b, s:o}",
		"format", 2, "id", s->id, "bundle", s->bundle, "rootfs", s->rootfs, "created",
		s->created, "owner", (int)s->owner, "pid", (int)s->pid, "startTime",
		(json_int_t)s->start_time, "keyring", s->keyring, "cgroupV2", s->cgroup.v2_only,
		"cgroups", groups);
	if (json && s->network_pid)
		json_object_set_new(json, "network",
			json_pack("{s:i, s:I}", "pid", (int)s->network_pid, "startTime",
				(json_int_t)s->network_start_time));
	char *text _free_ = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
	if (!text)
		return error_set(err, EINVAL, "state: a path that is not UTF-8");
	/* Renamed, but not synced: after a crash of the host there is no container left to know of.
	 */
	int fd _close_ =
		openat(s->dir, "state.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t len = strlen(text);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len ||
		renameat(s->dir, "state.new", s->dir, "state.json") < 0)
		return error_errno(err, errno, "write state.json");
	return 0;
}

static int load(struct state *s, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	int r = file_read(s->dir, "state.json", CONFIG_MAX, &text, err);
	if (r == -ENOENT) {
		/* Killed before there was anything to write down. */
		error_done(err);
		s->bundle = xstrdup("");
		s->rootfs = xstrdup("");
		s->created = xstrdup("");
		return 0;
	}
	json_t *json _json_ =
		r < 0 ? NULL
		      : json_load_text(text.data ? text.data : "", text.len, "state.json", err);
	const char *bundle, *rootfs, *created, *key;
	int format, owner, pid, v2, keyring = true, network_pid = 0;
	json_int_t start, network_start = 0;
	json_t *groups, *value;
	if (!json)
		return r < 0 ? r : -EBADMSG;
	if (json_unpack(json, "{s:i, s:s, s:s, s:s, s:i, s:i, s:I, s:b, s:b, s:o, s?{s:i, s:I}}",
		    "format", &format, "bundle", &bundle, "rootfs", &rootfs, "created", &created,
		    "owner", &owner, "pid", &pid, "startTime", &start, "keyring", &keyring,
		    "cgroupV2", &v2, "cgroups", &groups, "network", "pid", &network_pid,
		    "startTime", &network_start) < 0 ||
		format != 2)
		return error_set(err, EBADMSG, "state.json: not one of ours");
	s->bundle = xstrdup(bundle);
	s->rootfs = xstrdup(rootfs);
	s->created = xstrdup(created);
	s->owner = (unsigned)owner;
	s->pid = pid;
	s->start_time = (unsigned long long)start;
	s->network_pid = network_pid;
	s->network_start_time = (unsigned long long)network_start;
	s->keyring = keyring;
	s->cgroup.v2_only = v2;
	json_object_foreach(groups, key, value)
	{
		const char *path;
		json_int_t there;
		if (json_unpack(value, "[s, I]", &path, &there) == 0)
			vec_push(&s->cgroup.dirs, ((struct cgroup_dir){.controllers = xstrdup(key),
							  .path = xstrdup(path),
							  .there = (size_t)there,
							  .fd = -1}));
	}
	return 0;
}

static void unload(struct state *s)
{
	free(s->bundle);
	free(s->rootfs);
	free(s->created);
	s->bundle = s->rootfs = s->created = NULL;
	cgroup_done(&s->cgroup);
	s->cgroup = CGROUP_INIT;
}

int state_open(
	struct state *s, const char *root, const char *id, enum state_lock lock, struct error *err)
{
	int r = state_check_id(id, err);
	if (r == 0 && (r = open_root(s, root, false, err)) < 0 && r != -ENOENT)
		return r;
	if (r == -EINVAL)
		return r;
	if (r == 0 && lock == STATE_TRY)
		flock(s->root, LOCK_SH);
	if (r == 0)
		while ((r = open_locked(s, id, lock)) == -ESTALE)
			;
	if (s->root >= 0 && lock == STATE_TRY)
		flock(s->root, LOCK_UN);
	if (r == -ENOENT)
		return error_set(err, ENOENT, "container \"%s\" does not exist", id);
	if (r < 0)
		return error_errno(err, -r, "%s/%s", root, id);
	s->id = xstrdup(id);
	r = load(s, err);
	if (r == 0 && !s->pid && lock == STATE_READ) {
		/* Somebody makes it, or was killed doing so, or has done it just now. */
		flock(s->root, LOCK_SH);
		s->busy = flock(s->dir, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
		if (!s->busy) {
			flock(s->dir, LOCK_UN);
			unload(s);
			r = load(s, err);
		}
		flock(s->root, LOCK_UN);
	}
	return r < 0 ? error_wrap(err, r, "container \"%s\"", id) : 0;
}

void state_unlock(struct state *s)
{
	flock(s->dir, LOCK_UN);
}

int state_relock(struct state *s, struct error *err)
{
	while (flock(s->dir, LOCK_EX) < 0)
		if (errno != EINTR)
			return error_errno(err, errno, "lock");
	return is_current(s, s->id)
		       ? 0
		       : error_set(err, ENOENT, "container \"%s\" does not exist", s->id);
}

int state_config(struct state *s, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	int r = file_read(s->dir, "config.json", CONFIG_MAX, &text, err);
	if (r == 0)
		r = config_parse(text.data ? text.data : "", text.len, "config.json", &s->arena,
			&s->spec, err);
	return r;
}

static bool alive(const struct state *s)
{
	unsigned long long t = s->pid > 0 ? process_start_time(s->pid) : 0;
	return t && t == s->start_time;
}

/* Through /proc: a socket's own path may have 107 bytes only. */
static int socket_at(const struct state *s, struct sockaddr_un *a, int flags)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/" SOCKET, s->dir);
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
}

/* start.sock stays when `start` is killed after it has said so: what counts is who listens. One who
 * says nothing the process does not mind. */
static bool waits_for_start(const struct state *s)
{
	struct sockaddr_un a;
	if (faccessat(s->dir, SOCKET, F_OK, 0) < 0)
		return false;
	int fd _close_ = socket_at(s, &a, SOCK_NONBLOCK);
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EAGAIN;
}

enum status state_status(const struct state *s)
{
	if (!alive(s))
		return s->busy ? STATUS_CREATING : STATUS_STOPPED;
	if (cgroup_frozen(&s->cgroup))
		return STATUS_PAUSED;
	return waits_for_start(s) ? STATUS_CREATED : STATUS_RUNNING;
}

int state_pidfd(const struct state *s)
{
	int fd _close_ = s->pid > 0 ? (int)syscall(SYS_pidfd_open, s->pid, 0) : -1;
	/* Opened first: now the number cannot be another's. */
	return fd >= 0 && alive(s) ? TAKE_FD(fd) : -ESRCH;
}

static json_t *annotations(const struct state *s)
{
	json_t *map = json_object();
	for (size_t i = 0; s->spec && i < s->spec->annotations.n; i++)
		json_object_set_new(map, s->spec->annotations.items[i].key,
			json_string(s->spec->annotations.items[i].value));
	return map;
}

static json_t *state_object(const struct state *s, pid_t pid, const char *status)
{
	json_t *o =
		json_pack("{s:s, s:s, s:s}", "ociVersion", "1.2.0", "id", s->id, "status", status);
	if (pid > 0)
		json_object_set_new(o, "pid", json_integer(pid));
	json_object_set_new(o, "bundle", json_string(s->bundle));
	json_object_set_new(o, "rootfs", json_string(s->rootfs));
	json_object_set_new(o, "created", json_string(s->created));
	json_object_set_new(o, "annotations", annotations(s));
	return o;
}

char *state_json(const struct state *s, pid_t pid, const char *status, bool pretty)
{
	json_t *o _json_ = state_object(s, pid, status);
	return json_dumps(o, pretty ? JSON_INDENT(2) : JSON_COMPACT);
}

/* containerProcessState of the specification: config-linux.md, "The Container Process State". */
char *state_agent_json(const struct state *s, pid_t pid, const char *status)
{
	const char *metadata = s->spec->seccomp->listener_metadata;
	json_t *o _json_ = json_pack("{s:s, s:[s], s:i, s:s, s:o}", "ociVersion", "1.2.0", "fds",
		"seccompFd", "pid", (int)pid, "metadata", metadata ? metadata : "", "state",
		state_object(s, s->pid > 0 ? s->pid : pid, status));
	return json_dumps(o, JSON_COMPACT);
}

int state_filter_cache(const struct state *s)
{
	if (mkdirat(s->root, FILTERS, 0700) < 0 && errno != EEXIST)
		return -1;
	return openat(s->root, FILTERS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int state_remove(struct state *s, struct error *err)
{
	if (!is_current(s, s->id))
		return 0;
	return dir_remove_tree(s->root, s->id, err);
}

int state_listen(const struct state *s, struct error *err)
{
	struct sockaddr_un a;
	int fd _close_ = socket_at(s, &a, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4) < 0)
		return error_errno(err, errno, SOCKET);
	return TAKE_FD(fd);
}

int state_connect(const struct state *s, struct error *err)
{
	struct sockaddr_un a;
	int fd _close_ = socket_at(s, &a, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return error_errno(err, errno, SOCKET);
	return TAKE_FD(fd);
}

void state_started(const struct state *s)
{
	unlinkat(s->dir, SOCKET, 0);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int state_list(const char *root, char ***ids, size_t *n, struct error *err)
{
	VEC(char *) list = {0};
	DIR *d = opendir(root);
	if (!d && errno != ENOENT)
		return error_errno(err, errno, "%s", root);
	for (struct dirent *e; d && (e = readdir(d));)
		if (state_check_id(e->d_name, NULL) == 0)
			vec_push(&list, xstrdup(e->d_name));
	if (d)
		closedir(d);
	if (list.len)
		qsort(list.items, list.len, sizeof(*list.items), by_name);
	*ids = list.items;
	*n = list.len;
	return 0;
}
