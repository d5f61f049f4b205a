// SPDX-License-Identifier: Apache-2.0
// The program strata-oci: an OCI runtime, for `strata oci` and for whoever takes a runtime's path
// (Podman, containerd, CRI-O). Static and small: each call of an engine is one start of it.
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "container/userns.h"
#include "oci/command.h"

extern const struct command cmd_create, cmd_delete, cmd_events, cmd_exec, cmd_features, cmd_kill,
	cmd_list, cmd_pause, cmd_ps, cmd_resume, cmd_run, cmd_spec, cmd_start, cmd_state,
	cmd_update;
/* In the order of the help. */
static const struct command *const commands[] = {&cmd_create, &cmd_start, &cmd_run, &cmd_exec,
	&cmd_state, &cmd_kill, &cmd_delete, &cmd_list, &cmd_ps, &cmd_pause, &cmd_resume,
	&cmd_update, &cmd_events, &cmd_spec, &cmd_features};

static const struct option options[] = {
	{"root", 0, OPTION_STRING, offsetof(struct global, root), "DIR",
		"where the containers' state is"},
	{"log", 0, OPTION_STRING, offsetof(struct global, log), "FILE",
		"errors go there as well as to stderr"},
	{"log-format", 0, OPTION_STRING, offsetof(struct global, log_format), "text|json",
		"of that file"},
	{"cgroup-manager", 0, OPTION_STRING, offsetof(struct global, cgroup_manager), "cgroupfs",
		"who makes control groups"},
	{"debug", 0, OPTION_FLAG, offsetof(struct global, debug), NULL, "accepted, without effect"},
	{"systemd-cgroup", 0, OPTION_FLAG, offsetof(struct global, systemd_cgroup), NULL,
		"refused: control groups are made directly"},
	{"quiet", 0, OPTION_FLAG, offsetof(struct global, quiet), NULL,
		"errors go to --log only: stderr is the container's"},
	{"version", 'v', OPTION_FLAG, offsetof(struct global, version), NULL, "print the version"},
};

enum { LOG_FD = 512 };

static void help(FILE *out)
{
	fputs("usage: strata-oci [OPTION...] COMMAND [ARG...]\n"
	      "An OCI runtime: makes containers from bundles.\n\n",
		out);
	options_help(options, ARRAY_SIZE(options), out);
	fputs("\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\nstrata-oci COMMAND --help lists what a command takes.\n", out);
}

static void log_message(const struct global *g, const char *message, const char *remedy)
{
	char when[64];
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(when + n, sizeof(when) - n, ".%09ldZ", now.tv_nsec);
	if (g->log_fd < 0)
		return;
	if (!g->log_json) {
		dprintf(g->log_fd, "%s: %s\n", when, message);
		return;
	}
	json_t *o = json_pack("{s:s, s:s, s:s}", "msg", message, "level", "error", "time", when);
	/* Beyond what engines read: for `strata run`. */
	if (o && remedy)
		json_object_set_new(o, "remedy", json_string(remedy));
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (text)
		dprintf(g->log_fd, "%s\n", text);
	free(text);
	json_decref(o);
}

static int fail(const struct global *g, const struct error *err)
{
	const char *message = err->message ? err->message : "failed";
	log_message(g, message, err->remedy);
	if (g->quiet && g->log_fd >= 0)
		return 1;
	fprintf(stderr, "strata-oci: %s\n", message);
	if (err->remedy)
		fprintf(stderr, "            %s\n", err->remedy);
	return 1;
}

static char *default_root(void)
{
	const char *run = getenv("XDG_RUNTIME_DIR");
	/* Root of a user namespace, as a rootless engine makes us, is an ordinary user. */
	bool host_root = geteuid() == 0 && userns_is_host();
	if (!host_root && run && *run == '/')
		return xasprintf("%s/strata-oci", run);
	return host_root ? xstrdup("/run/strata-oci") : xasprintf("/tmp/strata-oci-%u", geteuid());
}

static int check_globals(struct global *g, struct error *err)
{
	if (g->log_format && strcmp(g->log_format, "json") && strcmp(g->log_format, "text"))
		return error_set(err, EINVAL, "--log-format is text or json");
	g->log_json = g->log_format && !strcmp(g->log_format, "json");
	/* "journald:" and "syslog:" belong to crun. */
	if (g->log && *g->log) {
		const char *file = strncmp(g->log, "file:", 5) ? g->log : g->log + 5;
		int fd _close_ = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (fd < 0)
			return error_errno(err, errno, "--log %s", file);
		/* Out of the way of those that --preserve-fds may name. */
		g->log_fd = fcntl(fd, F_DUPFD_CLOEXEC, LOG_FD);
	}
	if (g->systemd_cgroup || (g->cgroup_manager && strcmp(g->cgroup_manager, "cgroupfs"))) {
		error_set(err, ENOTSUP, "control groups are made directly, not through systemd");
		error_remedy(err, "set the engine's cgroup manager to cgroupfs");
		return -ENOTSUP;
	}
	return 0;
}

static void values_done(const struct command *c, void *values)
{
	for (size_t i = 0; i < c->n_options; i++)
		if (c->options[i].type == OPTION_LIST)
			free(((struct strings *)(void *)((char *)values + c->options[i].offset))
					->items);
}

static int run_values(const struct global *g, const struct command *c, char **argv, void *values,
	int *status, struct error *err)
{
	size_t n = 0;
	bool wants_help = false;
	if (c->defaults)
		c->defaults(values);
	int r = command_parse(c->options, c->n_options, argv, values, c->max_operands == ~0u, &n,
		&wants_help, err);
	if (r < 0)
		return error_wrap(err, r, "%s", c->name);
	if (wants_help) {
		command_help(c, stdout);
		return 0;
	}
	if (n < c->min_operands || n > c->max_operands)
		return error_set(
			err, EINVAL, "usage: strata-oci %s [OPTION...] %s", c->name, c->operands);
	return c->run(g, values, argv, status, err);
}

static int run(
	struct global *g, const struct command *c, char **argv, int *status, struct error *err)
{
	void *values _free_ = xcalloc(1, c->values_bytes + 1);
	int r = run_values(g, c, argv, values, status, err);
	values_done(c, values);
	return r;
}

int main(int argc, char **argv)
{
	struct global g = {.log_fd = -1};
	struct error err _error_ = ERROR_INIT;
	size_t n = 0;
	int status = 0;
	signal(SIGPIPE, SIG_IGN);
	/* Descriptors 0 to 2 are the container's: nothing of ours may land there. */
	for (int i = 0; i < 3; i++)
		if (fcntl(i, F_GETFD) < 0 && open("/dev/null", O_RDWR) != i)
			return 1;
	int r = command_parse(options, ARRAY_SIZE(options), argv + 1, &g, true, &n, &g.help, &err);
	if (r < 0)
		return fail(&g, &err);
	if (g.help || (!n && !g.version)) {
		help(g.help ? stdout : stderr);
		return g.help ? 0 : 1;
	}
	if (g.version) {
		printf("strata-oci version " STRATA_VERSION "\nspec: 1.2.0\n");
		return 0;
	}
	char *root _free_ = default_root();
	if (!g.root)
		g.root = root;
	r = check_globals(&g, &err);
	if (r < 0)
		return fail(&g, &err);
	const char *name = argv[1];
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i]->name, name))
			continue;
		r = run(&g, commands[i], argv + 2, &status, &err);
		if (r == 0 && fflush(stdout) != 0)
			r = error_errno(&err, errno, "standard output");
		return r < 0 ? fail(&g, &err) : status;
	}
	error_set(&err, EINVAL, "there is no command \"%s\"", name);
	error_remedy(&err, "`strata-oci --help` lists the commands");
	return fail(&g, &err);
}
