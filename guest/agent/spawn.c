// SPDX-License-Identifier: Apache-2.0
// Starts a process as a user of the guest's root. No NSS: the agent is linked statically and the
// root may hold any libc; /etc/passwd and /etc/group are read as files.
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "base/strbuf.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { LINE_FIELDS = 7 };

/* Splits at colons in place; missing fields are "". */
static void split_line(char *line, char *fields[LINE_FIELDS])
{
	static char empty[] = "";
	line[strcspn(line, "\n")] = 0;
	for (int i = 0; i < LINE_FIELDS; i++)
		fields[i] = line ? strsep(&line, ":") : empty;
}

static bool parse_id(const char *s, uint32_t *out)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 10);
	if (*s < '0' || *s > '9' || *end || errno || v >= UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

/* True when the comma-separated list has the name. */
static bool list_has(char *list, const char *name)
{
	for (char *item; (item = strsep(&list, ","));) {
		if (!strcmp(item, name))
			return true;
	}
	return false;
}

static bool find_passwd(const char *name, bool by_uid, uint32_t uid, struct user *out)
{
	FILE *f = fopen("/etc/passwd", "re");
	char *line _free_ = NULL, *v[LINE_FIELDS];
	size_t cap = 0;
	bool found = false;
	while (f && !found && getline(&line, &cap, f) > 0) {
		uint32_t line_uid, gid;
		split_line(line, v);
		if (!parse_id(v[2], &line_uid) || !parse_id(v[3], &gid))
			continue;
		if (by_uid ? line_uid != uid : strcmp(v[0], name) != 0)
			continue;
		found = true;
		out->uid = line_uid;
		out->gid = gid;
		out->name = xstrdup(v[0]);
		out->home = xstrdup(v[5]);
		out->shell = xstrdup(v[6]);
	}
	if (f)
		fclose(f);
	return found;
}

/* group != NULL: finds its number. Otherwise collects the groups that have the user. */
static bool scan_groups(const char *group, struct user *out)
{
	FILE *f = fopen("/etc/group", "re");
	char *line _free_ = NULL, *v[LINE_FIELDS];
	size_t cap = 0;
	bool found = false;
	while (f && !found && getline(&line, &cap, f) > 0) {
		uint32_t gid;
		split_line(line, v);
		if (!parse_id(v[2], &gid))
			continue;
		if (group) {
			if (!strcmp(v[0], group)) {
				out->gid = gid;
				found = true;
			}
		} else if (out->name && out->n_groups < ARRAY_SIZE(out->groups) &&
			   list_has(v[3], out->name)) {
			out->groups[out->n_groups++] = gid;
		}
	}
	if (f)
		fclose(f);
	return found;
}

void user_done(struct user *u)
{
	free(u->name);
	free(u->home);
	free(u->shell);
}

int user_find(const char *spec, struct user *out, struct error *err)
{
	char *copy _free_ = xstrdup(spec && *spec ? spec : "0");
	char *group = strchr(copy, ':');
	if (group)
		*group++ = 0;
	uint32_t id;
	*out = (struct user){0};
	bool numeric = parse_id(copy, &id);
	if (!find_passwd(copy, numeric, id, out)) {
		if (!numeric)
			return error_set(err, ENOENT, "no user \"%s\" in /etc/passwd", copy);
		out->uid = id;
		out->gid = 0;
	}
	if (group && parse_id(group, &id)) {
		out->gid = id;
	} else if (group && !scan_groups(group, out)) {
		user_done(out);
		return error_set(err, ENOENT, "no group \"%s\" in /etc/group", group);
	}
	out->groups[out->n_groups++] = out->gid;
	if (!group)
		scan_groups(NULL, out);
	return 0;
}

/* Environment: defaults, then SETUP's, then the request's; a later one replaces an earlier. */
struct environment {
	VEC(char *) vars;
};

static void env_put(struct environment *e, const char *assignment)
{
	size_t name = strcspn(assignment, "=");
	if (!assignment[name] || !name)
		return;
	vec_for_each (v, &e->vars) {
		if (!strncmp(*v, assignment, name + 1)) {
			free(*v);
			*v = xstrdup(assignment);
			return;
		}
	}
	vec_push(&e->vars, xstrdup(assignment));
}

static void env_set(struct environment *e, const char *name, const char *value)
{
	char *assignment _free_ = xasprintf("%s=%s", name, value);
	env_put(e, assignment);
}

static const char *env_get(const struct environment *e, const char *name)
{
	size_t n = strlen(name);
	for (size_t i = 0; i < e->vars.len; i++) {
		if (!strncmp(e->vars.items[i], name, n) && e->vars.items[i][n] == '=')
			return e->vars.items[i] + n + 1;
	}
	return NULL;
}

static void env_build(struct environment *e, const struct spawn *s, const struct user *u)
{
	env_put(e, "PATH=" DEFAULT_PATH);
	env_set(e, "HOME", u->home && *u->home ? u->home : "/");
	env_set(e, "SHELL", u->shell && *u->shell ? u->shell : "/bin/sh");
	if (u->name) {
		env_set(e, "USER", u->name);
		env_set(e, "LOGNAME", u->name);
	}
	if (s->request->tty)
		env_put(e, "TERM=linux");
	for (size_t i = 0; i < s->env->len; i++)
		env_put(e, s->env->items[i]);
	for (size_t i = 0; i < s->request->env.len; i++)
		env_put(e, s->request->env.items[i]);
	vec_push(&e->vars, NULL);
	e->vars.len--;
}

static void env_done(struct environment *e)
{
	vec_for_each (v, &e->vars)
		free(*v);
	vec_done(&e->vars);
}

/* What the child tells before exec; nothing arrives when exec succeeded. */
struct child_failure {
	int32_t code;
	char step[60];
};

static _Noreturn void child_fail(int report_fd, const char *step)
{
	struct child_failure f = {.code = errno};
	strncpy(f.step, step, sizeof(f.step) - 1);
	ssize_t n = write(report_fd, &f, sizeof(f));
	_exit(n == sizeof(f) ? 127 : 126);
}

/* As execvp: the most telling error of all candidates. */
static void exec_search(char *const argv[], char *const envp[], const char *path)
{
	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, envp);
		return;
	}
	int code = ENOENT;
	char file[4096];
	while (*argv[0] && path) {
		size_t n = strcspn(path, ":");
		int len = snprintf(file, sizeof(file), "%.*s%s%s", (int)MIN(n, 4000), path,
			n ? "/" : "", argv[0]);
		if (len > 0 && (size_t)len < sizeof(file)) {
			execve(file, argv, envp);
			if (errno != ENOENT && errno != ENOTDIR)
				code = errno;
			if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
				break;
		}
		path = path[n] ? path + n + 1 : NULL;
	}
	errno = code;
}

static _Noreturn void child_run(const struct spawn *s, const struct user *u, char **argv,
	const struct environment *env, int report_fd)
{
	sigset_t none;
	sigemptyset(&none);
	for (int sig = 1; sig < _NSIG; sig++)
		signal(sig, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	/* A descriptor in 0..2 may be one that another needs: move them out of the way first. */
	int high[3];
	for (int i = 0; i < 3; i++) {
		high[i] = fcntl(s->stdio[i], F_DUPFD_CLOEXEC, 10);
		if (high[i] < 0)
			child_fail(report_fd, "streams");
	}
	for (int i = 0; i < 3; i++) {
		if (dup2(high[i], i) < 0)
			child_fail(report_fd, "streams");
	}
	if (s->request->tty && ioctl(0, TIOCSCTTY, 0) < 0)
		child_fail(report_fd, "controlling terminal");
	/* The user may open /dev/stdout and his terminal again. */
	for (int i = 0; i < (s->request->tty ? 1 : 3); i++) {
		if (u->uid && fchown(i, u->uid, s->request->tty ? (gid_t)-1 : u->gid) < 0 &&
			errno != EPERM && errno != EROFS)
			child_fail(report_fd, "owner of the streams");
	}
	umask(022);
	/* Without the privilege (a test as an ordinary user) only the own identity is left. */
	if (geteuid() == 0 && (setgroups(u->n_groups, u->groups) < 0 && errno != EPERM))
		child_fail(report_fd, "groups");
	if (setgid(u->gid) < 0 && getgid() != u->gid)
		child_fail(report_fd, "group");
	if (setuid(u->uid) < 0 && getuid() != u->uid)
		child_fail(report_fd, "user");
	const char *cwd = s->request->cwd;
	if (cwd ? chdir(cwd) < 0 : (chdir(env_get(env, "HOME")) < 0 && chdir("/") < 0))
		child_fail(report_fd, cwd ? cwd : "/");
	exec_search(argv, env->vars.items, env_get(env, "PATH"));
	child_fail(report_fd, "");
}

static int child_report(int fd, const char *program, uint32_t *exit_status, struct error *err)
{
	struct child_failure f = {0};
	ssize_t n;
	while ((n = read(fd, &f, sizeof(f))) < 0 && errno == EINTR)
		;
	if (n == 0)
		return 0;
	if (n != sizeof(f))
		return error_set(err, EIO, "%s: cannot be started", program);
	f.step[sizeof(f.step) - 1] = 0;
	bool missing = !f.step[0] && (f.code == ENOENT || f.code == ENOTDIR);
	*exit_status = missing ? 127 : 126;
	if (missing)
		return error_set(err, ENOENT, "%s: no such program in the guest", program);
	if (!f.step[0])
		return error_errno(err, f.code, "%s: cannot be run", program);
	return error_errno(err, f.code, "%s: %s", program, f.step);
}

int spawn(const struct spawn *s, pid_t *pid, uint32_t *exit_status, struct error *err)
{
	struct user u;
	*exit_status = 0;
	int r = user_find(s->request->user, &u, err);
	if (r < 0) {
		*exit_status = 126;
		return r;
	}
	struct environment env = {0};
	env_build(&env, s, &u);
	size_t n = s->request->argv.len;
	char **argv _free_ = xcalloc(n + 1, sizeof(*argv));
	for (size_t i = 0; i < n; i++)
		argv[i] = (char *)(uintptr_t)s->request->argv.items[i];
	int report[2] = {-1, -1};
	pid_t child = -1;
	if (pipe2(report, O_CLOEXEC) == 0)
		child = fork();
	if (child == 0)
		child_run(s, &u, argv, &env, report[1]);
	if (report[1] >= 0)
		close(report[1]);
	if (child < 0) {
		*exit_status = 126;
		r = error_errno(err, errno, "%s: new process", argv[0]);
	} else {
		r = child_report(report[0], argv[0], exit_status, err);
		if (r < 0)
			waitpid(child, NULL, 0);
		else
			*pid = child;
	}
	if (report[0] >= 0)
		close(report[0]);
	env_done(&env);
	user_done(&u);
	return r;
}
