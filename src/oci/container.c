// SPDX-License-Identifier: Apache-2.0
#include "oci/container.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <stdio.h>

#include "container/hooks.h"
#include "container/userns.h"
#include "net/slirp.h"
#include "oci/config.h"
#include "os/file.h"

int write_pid_file(const char *path, pid_t pid, struct error *err)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)pid);
	/* Written under another name: who waits for the file reads a whole number. */
	char *temporary _free_ = xasprintf("%s.tmp", path);
	int fd _close_ = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n || rename(temporary, path) < 0)
		return error_errno(err, errno, "pid file %s", path);
	return 0;
}

int connect_socket(const char *path, int type, struct error *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int at _close_ = open(path, O_PATH | O_CLOEXEC),
	       fd _close_ = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	/* Through /proc: the path itself may be longer than an address. */
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d", at);
	if (at < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return error_errno(err, errno, "socket %s", path);
	return TAKE_FD(fd);
}

void container_done(struct container *c)
{
	cleanup_close_fd(&c->launch.listener);
	cleanup_close_fd(&c->launch.filter_cache);
	cleanup_close_fd(&c->launch.console_socket);
	launch_done(&c->launch);
	state_done(&c->state);
}

static char *hook_state(void *opaque, pid_t pid, const char *status)
{
	return state_json(opaque, pid, status, false);
}

static char *agent_state(void *opaque, pid_t pid)
{
	return state_agent_json(opaque, pid, "creating");
}

static int born(void *opaque, pid_t pid, struct error *err)
{
	struct state *s = opaque;
	s->pid = pid;
	s->start_time = process_start_time(pid);
	return state_save(s, err);
}

/* The helper lives as long as the container's process, whatever becomes of us. */
static int network(void *opaque, int tap, pid_t pid, struct error *err)
{
	struct state *s = opaque;
	const struct slirp_config config = {
		.publish = s->spec->published, .publish_count = s->spec->n_published};
	int life _close_ = (int)syscall(SYS_pidfd_open, pid, 0);
	if (life < 0)
		return error_errno(err, errno, "network");
	int r = slirp_helper_start_tap(
		&config, tap, life, &s->network_pid, &s->network_status, err);
	if (r < 0)
		return r;
	s->network_start_time = process_start_time(s->network_pid);
	return state_save(s, err);
}

static int network_ready(void *opaque, struct error *err)
{
	struct state *s = opaque;
	return slirp_helper_wait(s->network_pid, &s->network_status, err);
}

static int read_bundle(struct container *c, const char *bundle, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct state *s = &c->state;
	s->bundle = realpath(bundle ? bundle : ".", NULL);
	if (!s->bundle)
		return error_errno(err, errno, "bundle %s", bundle);
	int dir _close_ = open(s->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "bundle %s", s->bundle);
	int r = file_read(dir, "config.json", CONFIG_MAX, &text, err);
	if (r < 0)
		return error_wrap(err, r, "bundle %s", s->bundle);
	r = config_parse(
		text.data ? text.data : "", text.len, "config.json", &s->arena, &s->spec, err);
	if (r < 0)
		return r;
	if (!s->spec->process)
		return error_set(err, EINVAL, "config.json: process: is required");
	char *root _free_ = *s->spec->root == '/' ? xstrdup(s->spec->root)
						  : xasprintf("%s/%s", s->bundle, s->spec->root);
	s->rootfs = realpath(root, NULL);
	if (!s->rootfs)
		return error_errno(err, errno, "root %s", root);
	/* What a bind mount leads to may be relative to the bundle. */
	for (size_t i = 0; i < s->spec->n_mounts; i++) {
		struct spec_mount *m = &s->spec->mounts[i];
		if (m->bind && m->source && *m->source != '/') {
			char *full _free_ = xasprintf("%s/%s", s->bundle, m->source);
			size_t n = strlen(full) + 1;
			m->source = memcpy(arena_alloc(&s->arena, n), full, n);
		}
	}
	/* As it is now: what is changed later does not count. */
	int fd _close_ =
		openat(s->dir, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len)
		return error_errno(err, errno, "keep config.json");
	return 0;
}

static int check_options(
	const struct container *c, const struct create_options *o, int console, struct error *err)
{
	bool terminal = c->state.spec->process->terminal;
	if (terminal && console < 0 && !o->console_socket)
		return error_set(err, EINVAL,
			"config.json: process.terminal: --console-socket is needed for it");
	if (!terminal && o->console_socket)
		return error_set(err, EINVAL, "--console-socket: config.json asks for no terminal");
	return 0;
}

static int locate_cgroup(struct state *s, struct error *err)
{
	/* Beside all others; below ourselves where only that is delegated to us. */
	char *own _free_ =
		xasprintf("%sstrata-%s", geteuid() == 0 && userns_is_host() ? "/" : "", s->id);
	const char *path = s->spec->cgroups_path;
	int r = cgroup_locate(&s->cgroup, path && *path ? path : own, err);
	if (r == 0 && (r = cgroup_check_free(&s->cgroup, err)) < 0)
		cgroup_done(&s->cgroup); /* another's: not to be removed either */
	/* Written down first: whoever comes after us can remove what we have made. */
	if (r == 0)
		r = state_save(s, err);
	return r < 0 ? r : cgroup_make(&s->cgroup, true, err);
}

static int make_groups(void *opaque, struct error *err)
{
	struct state *s = opaque;
	int r = cgroup_make(&s->cgroup, false, err);
	if (r == 0)
		r = cgroup_allow_devices(&s->cgroup, &s->spec->resources, err);
	if (r == 0)
		r = cgroup_limit(&s->cgroup, &s->spec->resources, err);
	return r;
}

/* A name that a killed `create` left behind is free. */
static int take_name(struct state *s, const char *root, const char *id, struct error *err)
{
	int r = state_new(s, root, id, err);
	if (r != -EEXIST)
		return r;
	struct state old CLEANUP(state_done) = STATE_INIT;
	if (state_open(&old, root, id, STATE_TRY, NULL) < 0 || old.pid ||
		container_delete(&old, true, NULL) < 0)
		return r;
	state_done(s);
	error_done(err);
	return state_new(s, root, id, err);
}

static int create(struct container *c, const struct create_options *o, int console, bool listen,
	struct error *err)
{
	struct state *s = &c->state;
	struct launch *l = &c->launch;
	s->keyring = !o->no_new_keyring;
	int r = read_bundle(c, o->bundle, err);
	if (r == 0)
		r = check_options(c, o, console, err);
	if (r == 0)
		r = locate_cgroup(s, err);
	if (r < 0)
		return r;
	l->spec = s->spec;
	l->root = s->rootfs;
	l->cgroup = &s->cgroup;
	l->filter_cache = s->spec->seccomp ? state_filter_cache(s) : -1;
	l->preserve_fds = o->preserve_fds;
	l->no_pivot = o->no_pivot;
	l->new_keyring = s->keyring;
	l->tied = o->tied;
	l->state = hook_state;
	l->agent_state = agent_state;
	l->groups = make_groups;
	l->born = born;
	l->network = network;
	l->network_ready = network_ready;
	l->opaque = s;
	l->console_socket = console;
	if (o->console_socket) {
		r = connect_socket(o->console_socket, SOCK_STREAM, err);
		if (r < 0)
			return error_wrap(err, r, "--console-socket");
		l->console_socket = r;
	}
	if (listen) {
		r = state_listen(s, err);
		if (r < 0)
			return r;
		l->listener = r;
	}
	r = launch_create(l, err);
	if (r == 0 && o->pid_file)
		r = write_pid_file(o->pid_file, l->pid, err);
	return r;
}

int check_preserved(const struct create_options *o, struct error *err)
{
	for (unsigned i = 0; i < o->preserve_fds; i++)
		if (fcntl(3 + (int)i, F_GETFD) < 0)
			return error_set(err, EBADF, "--preserve-fds %u: descriptor %u is not open",
				o->preserve_fds, 3 + i);
	return 0;
}

int container_create(struct container *c, const struct global *g, const struct create_options *o,
	const char *id, int console, bool listen, struct error *err)
{
	*c = (struct container){.state = STATE_INIT};
	struct launch *l = &c->launch;
	l->filter_cache = l->listener = l->console_socket = l->channel = l->proc = l->image =
		l->filter = l->agent = -1;
	l->rootfs = ROOTFS_INIT;
	for (int k = 0; k < NAMESPACES; k++)
		l->joins[k] = -1;
	int r = take_name(&c->state, g->root, id, err);
	if (r < 0)
		return r;
	r = create(c, o, console, listen, err);
	if (r < 0)
		container_delete(&c->state, true, NULL);
	return r;
}

static int wait_end(int pidfd, int ms)
{
	struct pollfd p = {pidfd, POLLIN, 0};
	int n;
	while ((n = poll(&p, 1, ms)) < 0 && errno == EINTR)
		;
	return n;
}

static int end_process(struct state *s, struct error *err)
{
	int fd _close_ = state_pidfd(s);
	cgroup_pids rest = {0};
	if (fd >= 0) {
		syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
		/* A frozen process does not even die (cgroup v1). */
		if (cgroup_frozen(&s->cgroup))
			cgroup_freeze(&s->cgroup, false, NULL);
		if (wait_end(fd, 10000) <= 0)
			return error_set(err, EBUSY,
				"process %d does not end: it waits for a device, perhaps",
				(int)s->pid);
	}
	/* Without a PID namespace others may live on. */
	if (cgroup_list(&s->cgroup, &rest, NULL) == 0 && rest.len)
		cgroup_signal(&s->cgroup, SIGKILL, NULL);
	vec_done(&rest);
	return 0;
}

/* Its published ports are free when it has gone. */
static void end_network(const struct state *s)
{
	int fd _close_ = s->network_pid > 0 ? (int)syscall(SYS_pidfd_open, s->network_pid, 0) : -1;
	if (fd < 0 || process_start_time(s->network_pid) != s->network_start_time)
		return;
	syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
	wait_end(fd, 10000);
}

int container_delete(struct state *s, bool force, struct error *err)
{
	enum status status = state_status(s);
	if (!force && status != STATUS_STOPPED && status != STATUS_CREATED)
		return error_set(err, EBUSY, "container \"%s\" is %s, not stopped", s->id,
			status_names[status]);
	cgroup_open(&s->cgroup, NULL);
	int r = end_process(s, err);
	if (r == 0)
		end_network(s);
	if (r == 0)
		r = cgroup_remove(&s->cgroup, err);
	if (r < 0)
		return r;
	/* "The runtime MUST log a warning, but continue": a hook cannot keep a container. */
	struct error hook _error_ = ERROR_INIT;
	if ((s->spec || state_config(s, NULL) == 0) && s->pid && s->spec->n_hooks[HOOK_POSTSTOP]) {
		char *state _free_ = state_json(s, 0, "stopped", false);
		if (hooks_run(s->spec, HOOK_POSTSTOP, state, &hook) < 0)
			fprintf(stderr, "strata-oci: warning: %s\n", hook.message);
	}
	return state_remove(s, err);
}
