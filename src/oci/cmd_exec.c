// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "container/enter.h"
#include "oci/config.h"
#include "oci/container.h"
#include "oci/foreground.h"
#include "os/file.h"

struct values {
	const char *process, *pid_file, *console_socket, *cwd, *user, *apparmor, *selinux, *cgroup;
	unsigned preserve_fds;
	bool detach, tty, no_new_privileges;
	struct strings env, caps;
};

static const char *keep(struct arena *a, const char *s)
{
	size_t n = strlen(s) + 1;
	return memcpy(arena_alloc(a, n), s, n);
}

static int read_process(
	const struct values *v, struct arena *a, struct spec_process **p, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	int r = file_read(AT_FDCWD, v->process, CONFIG_MAX, &text, err);
	if (r == 0)
		r = config_parse_process(
			text.data ? text.data : "", text.len, v->process, a, p, err);
	return r;
}

/* What confines the container confines a process that says nothing of it. */
static void confine(struct spec_process *p, const struct spec_process *own)
{
	if (!p->caps_given)
		memcpy(p->caps, own->caps, sizeof(p->caps));
	if (!p->apparmor)
		p->apparmor = own->apparmor;
	if (!p->selinux)
		p->selinux = own->selinux;
	if (!p->n_rlimits) {
		p->rlimits = own->rlimits;
		p->n_rlimits = own->n_rlimits;
	}
	if (!p->oom_given) {
		p->oom_given = own->oom_given;
		p->oom_score_adj = own->oom_score_adj;
	}
}

/* UID[:GID] */
static int set_user(const char *text, struct spec_process *p, struct error *err)
{
	char *end;
	unsigned long uid = strtoul(text, &end, 10), gid = p->gid;
	bool ok = end != text;
	if (ok && *end == ':') {
		text = end + 1;
		gid = strtoul(text, &end, 10);
		ok = end != text;
	}
	if (!ok || *end || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return error_set(err, EINVAL, "--user is UID or UID:GID, in numbers");
	p->uid = (uint32_t)uid;
	p->gid = (uint32_t)gid;
	return 0;
}

/* The container's own process, with another command and what else the options say. */
static int make_process(const struct values *v, struct state *s, char **command,
	struct spec_process **out, struct error *err)
{
	struct spec_process *p = ARENA_NEW(&s->arena, struct spec_process);
	size_t n = 0;
	*p = *s->spec->process;
	p->args = (const char **)command;
	p->terminal = v->tty;
	p->rows = p->columns = 0;
	p->no_new_privileges |= v->no_new_privileges;
	p->cwd = v->cwd ? v->cwd : p->cwd;
	p->apparmor = v->apparmor ? v->apparmor : p->apparmor;
	p->selinux = v->selinux ? v->selinux : p->selinux;
	while (p->env[n])
		n++;
	const char **env = ARENA_ARRAY(&s->arena, const char *, n + v->env.len + 1);
	memcpy(env, p->env, n * sizeof(*env));
	for (size_t i = 0; i < v->env.len; i++) {
		if (!strchr(v->env.items[i], '='))
			return error_set(
				err, EINVAL, "--env %s is not NAME=VALUE", v->env.items[i]);
		env[n++] = keep(&s->arena, v->env.items[i]);
	}
	p->env = env;
	for (size_t i = 0; i < v->caps.len; i++) {
		int cap = spec_capability(v->caps.items[i]);
		if (cap < 0)
			return error_set(err, EINVAL, "--cap %s: there is no such capability",
				v->caps.items[i]);
		for (int k = CAPS_BOUNDING; k <= CAPS_PERMITTED; k++)
			if (k != CAPS_INHERITABLE)
				p->caps[k] |= UINT64_C(1) << cap;
	}
	if (*p->cwd != '/')
		return error_set(err, EINVAL, "--cwd %s must be an absolute path", p->cwd);
	*out = p;
	return v->user ? set_user(v->user, p, err) : 0;
}

static char *agent_state(void *opaque, pid_t pid)
{
	return state_agent_json(opaque, pid, "running");
}

static int check_running(const struct state *s, struct error *err)
{
	enum status is = state_status(s);
	if (is == STATUS_RUNNING || is == STATUS_CREATED)
		return 0;
	error_set(err, EINVAL, "container \"%s\" is %s, not running", s->id, status_names[is]);
	if (is == STATUS_PAUSED)
		error_remedy(err, "resume it first");
	return -EINVAL;
}

static int start(struct enter *e, const struct values *v, struct foreground *f, bool console,
	int *status, struct error *err)
{
	int r = enter_create(e, err);
	if (r == 0 && v->pid_file)
		r = write_pid_file(v->pid_file, e->pid, err);
	if (r == 0)
		r = enter_start(e, err);
	else if (e->pid > 0)
		kill(e->pid, SIGKILL);
	if (r < 0 || v->detach)
		return r;
	if (!console)
		cleanup_close_fd(&f->ours), f->ours = -1;
	return foreground_wait(f, e->pid, status, err);
}

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	struct state s CLEANUP(state_done) = STATE_INIT;
	struct foreground f CLEANUP(foreground_done) = FOREGROUND_INIT;
	struct spec_process *p = NULL;
	struct create_options preserved = {.preserve_fds = v->preserve_fds};
	int r = check_preserved(&preserved, err);
	if (r == 0 && !v->process && !operands[1])
		r = error_set(err, EINVAL, "exec: a command or --process is needed");
	if (r == 0)
		r = state_open(&s, g->root, operands[0], STATE_READ, err);
	if (r == 0)
		r = cgroup_open(&s.cgroup, err);
	if (r == 0)
		r = check_running(&s, err);
	if (r == 0)
		r = state_config(&s, err);
	if (r == 0)
		r = v->process ? read_process(v, &s.arena, &p, err)
			       : make_process(v, &s, operands + 1, &p, err);
	if (r == 0 && v->cgroup)
		r = cgroup_descend(&s.cgroup, v->cgroup, err);
	if (r < 0)
		return r;
	confine(p, s.spec->process);
	p->terminal |= v->tty;
	bool own = p->terminal && !v->console_socket;
	if (own && v->detach)
		return error_set(
			err, EINVAL, "exec: a terminal needs --console-socket when detached");
	if (!v->detach)
		r = foreground_begin(&f, own, err);
	struct enter e = {.process = p,
		.seccomp = s.spec->seccomp,
		.foreign = s.spec->foreign,
		.filter_cache = s.spec->seccomp ? state_filter_cache(&s) : -1,
		.target = state_pidfd(&s),
		.target_pid = s.pid,
		.cgroup = &s.cgroup,
		.console_socket = f.theirs,
		.preserve_fds = v->preserve_fds,
		.new_keyring = s.keyring,
		.agent_state = agent_state,
		.opaque = &s,
		.channel = -1};
	int console _close_ = -1;
	if (r == 0 && p->terminal && v->console_socket) {
		console = connect_socket(v->console_socket, SOCK_STREAM, err);
		e.console_socket = console;
		r = MIN(console, 0);
	}
	if (r == 0 && e.target < 0)
		r = error_set(err, ESRCH, "container \"%s\" is stopped, not running", s.id);
	if (r == 0)
		r = start(&e, v, &f, own, status, err);
	cleanup_close_fd(&e.target);
	cleanup_close_fd(&e.filter_cache);
	cleanup_close_fd(&e.channel);
	return r;
}

#define ROW(name, letter, type, member, arg, help)                                                 \
	{                                                                                          \
		name, letter, type, offsetof(struct values, member), arg, help                     \
	}
static const struct option options[] = {
	ROW("process", 'p', OPTION_STRING, process, "FILE", "what to run, as in config.json"),
	ROW("pid-file", 0, OPTION_STRING, pid_file, "FILE", "where the process ID is written"),
	ROW("console-socket", 0, OPTION_STRING, console_socket, "SOCKET",
		"who gets the terminal's other side"),
	ROW("preserve-fds", 0, OPTION_UINT, preserve_fds, "N",
		"descriptors 3 to 3+N-1 are the process's too"),
	ROW("detach", 'd', OPTION_FLAG, detach, NULL, "do not wait for its end"),
	ROW("tty", 't', OPTION_FLAG, tty, NULL, "in a terminal"),
	ROW("cwd", 0, OPTION_STRING, cwd, "DIR", "where it begins"),
	ROW("env", 'e', OPTION_LIST, env, "NAME=VALUE", "one more variable"),
	ROW("user", 'u', OPTION_STRING, user, "UID[:GID]", "who it is"),
	ROW("cap", 'c', OPTION_LIST, caps, "CAP_NAME", "one more capability"),
	ROW("cgroup", 0, OPTION_STRING, cgroup, "[CONTROLLER,...:]PATH",
		"in this group below the container's"),
	ROW("no-new-privs", 0, OPTION_FLAG, no_new_privileges, NULL, "execve gives no rights"),
	ROW("apparmor", 0, OPTION_STRING, apparmor, "PROFILE", "its AppArmor profile"),
	ROW("process-label", 0, OPTION_STRING, selinux, "LABEL", "its SELinux label"),
};

const struct command cmd_exec = {
	.name = "exec",
	.summary = "Run one more process in a container",
	.operands = "ID [COMMAND [ARG...]]",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = ~0u,
	.run = run,
};
