// SPDX-License-Identifier: Apache-2.0
// `strata run` at container level.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "cli/configure.h"
#include "cli/run.h"
#include "cli/units.h"
#include "container/overlay.h"
#include "container/subids.h"
#include "container/userns.h"
#include "instance/container.h"
#include "net/publish.h"
#include "os/file.h"
#include "os/paths.h"

enum { PIDS_DEFAULT = 2048 };

/* What the options become; freed together. */
struct run {
	struct cli *cli;
	const struct run_values *v;
	char **command;
	size_t n_command;
	char *home;
	bool one_id;
	struct image_store *store;
	struct image *image;
	struct instance *instance;
	struct container container;
	struct bundle_options bundle;
	VEC(struct bundle_mount) mounts;
	VEC(char *) texts; /* that mounts and the environment point into */
	VEC(const char *) env, argv, hosts;
	struct strbuf resolv;
	struct meter meter;
	int signal_fd;
};

static void run_done(struct run *r)
{
	container_done(&r->container);
	cleanup_close_fd(&r->signal_fd);
	if (r->instance && r->v->remove)
		instance_remove_own(r->instance, NULL);
	instance_free(r->instance);
	image_free(r->image);
	image_store_free(r->store);
	meter_done(&r->meter);
	vec_for_each (text, &r->texts)
		free(*text);
	vec_done(&r->texts);
	vec_done(&r->mounts);
	vec_done(&r->env);
	vec_done(&r->argv);
	vec_done(&r->hosts);
	strbuf_done(&r->resolv);
	free(r->home);
}

/* Owned by r, whatever becomes of it. */
static char *keep(struct run *r, char *text)
{
	vec_push(&r->texts, text);
	return text;
}

/* HOME/volumes/NAME */
static int named_volume(struct run *r, const char *name, char **out, struct error *err)
{
	int e = instance_name_check(name, NULL);
	if (e < 0) {
		error_set(err, EINVAL, "\"%s\" is neither a path nor the name of a volume", name);
		error_remedy(
			err, "a path has a slash, as in ./%s; a name is a-z, 0-9 and dashes", name);
		return -EINVAL;
	}
	*out = keep(r, xasprintf("%s/volumes/%s", r->home, name));
	return dir_make_all(*out, err);
}

static int volume_source(struct run *r, char *host, char **out, struct error *err)
{
	if (!strchr(host, '/') && strcmp(host, ".") && strcmp(host, ".."))
		return named_volume(r, host, out, err);
	char *path = realpath(host, NULL);
	if (!path) {
		int code = errno;
		error_errno(err, code, "%s", host);
		if (code == ENOENT)
			error_remedy(err, "make the directory first: mkdir -p %s", host);
		return -code;
	}
	*out = keep(r, path);
	return 0;
}

/* HOST:DEST[:OPTIONS] */
static int add_volume(struct run *r, const char *spec, struct error *err)
{
	char *host = keep(r, xstrdup(spec)), *source = NULL;
	char *target = strchr(host, ':');
	if (target)
		*target++ = 0;
	char *options = target ? strchr(target, ':') : NULL;
	if (options)
		*options++ = 0;
	if (!target || *target != '/' || !*host) {
		error_set(err, EINVAL, "--volume %s: not of the form HOST:CONTAINER[:ro]", spec);
		error_remedy(
			err, "for example --volume \"$PWD:/src\"; CONTAINER is an absolute path");
		return -EINVAL;
	}
	/* Labels and ownership of other systems: nothing to do here. */
	static const char *const known[] = {"ro", "rw", "exec", "noexec", "suid", "nosuid", "dev",
		"nodev", "private", "rprivate", "shared", "rshared", "slave", "rslave", "z", "Z"};
	char *copy _free_ = xstrdup(options ? options : ""), *rest = copy;
	for (char *word; (word = strsep(&rest, ",")) && *word;) {
		size_t i = 0;
		while (i < ARRAY_SIZE(known) && strcmp(known[i], word))
			i++;
		if (i == ARRAY_SIZE(known))
			return error_set(
				err, EINVAL, "--volume %s: unknown option \"%s\"", spec, word);
	}
	int e = volume_source(r, host, &source, err);
	if (e < 0)
		return error_wrap(err, e, "--volume %s", spec);
	if (options && (!strcmp(options, "z") || !strcmp(options, "Z")))
		options = NULL;
	vec_push(&r->mounts, (struct bundle_mount){source, target, options});
	return 0;
}

static int add_tmpfs(struct run *r, const char *spec, struct error *err)
{
	char *target = keep(r, xstrdup(spec)), *options = strchr(target, ':');
	if (options)
		*options++ = 0;
	if (*target != '/')
		return error_set(err, EINVAL, "--tmpfs %s: not an absolute path", spec);
	vec_push(&r->mounts, (struct bundle_mount){NULL, target, options});
	return 0;
}

/* NAME:ADDRESS, where an address may have colons. */
static int add_host(struct run *r, const char *spec, struct error *err)
{
	const char *colon = strchr(spec, ':');
	if (!colon || colon == spec || !colon[1] || spec[strcspn(spec, " \t\n")])
		return error_set(err, EINVAL, "--add-host %s: not of the form NAME:ADDRESS", spec);
	vec_push(&r->hosts, keep(r, xasprintf("%s\t%.*s", colon + 1, (int)(colon - spec), spec)));
	return 0;
}

static int add_capabilities(struct run *r, struct error *err)
{
	const struct run_values *v = r->v;
	uint64_t drop = 0, add = 0;
	int e = 0;
	for (size_t i = 0; e == 0 && i < v->cap_drop.len; i++)
		e = bundle_capability(v->cap_drop.items[i], &drop, err);
	if (e < 0)
		return error_wrap(err, e, "--cap-drop");
	for (size_t i = 0; e == 0 && i < v->cap_add.len; i++)
		e = bundle_capability(v->cap_add.items[i], &add, err);
	if (e < 0)
		return error_wrap(err, e, "--cap-add");
	uint64_t base = bundle_default_capabilities;
	if (v->privileged)
		bundle_capability("ALL", &base, NULL);
	r->bundle.capabilities = (base & ~drop) | add;
	r->bundle.added = add;
	return 0;
}

static int add_security(struct run *r, struct error *err)
{
	const struct run_values *v = r->v;
	r->bundle.no_seccomp = r->bundle.privileged = v->privileged;
	for (size_t i = 0; i < v->security.len; i++) {
		const char *word = v->security.items[i];
		if (!strcmp(word, "seccomp=unconfined"))
			r->bundle.no_seccomp = true;
		else if (!strncmp(word, "seccomp=", 8))
			r->bundle.seccomp_file = word + 8;
		else if (!strcmp(word, "no-new-privileges") ||
			 !strcmp(word, "no-new-privileges=true") ||
			 !strcmp(word, "no-new-privileges:true"))
			r->bundle.no_new_privileges = true;
		else if (strcmp(word, "label=disable") && strcmp(word, "apparmor=unconfined")) {
			error_set(err, EINVAL, "--security-opt %s: unknown", word);
			error_remedy(err, "seccomp=FILE, seccomp=unconfined and no-new-privileges "
					  "are known");
			return -EINVAL;
		}
	}
	return 0;
}

static int check_limits(struct run *r, struct error *err)
{
	const struct run_values *v = r->v;
	struct bundle_options *b = &r->bundle;
	if (v->cpus && (parse_millis(v->cpus, &b->cpu_millis) < 0 || b->cpu_millis < 10)) {
		error_set(err, EINVAL, "--cpus %s: not a number of CPUs", v->cpus);
		error_remedy(err, "write it as in 2 or 0.5; at least 0.01");
		return -EINVAL;
	}
	if (v->memory && v->memory < MiB)
		return error_set(err, EINVAL, "--memory: at least 1M");
	if (v->memory_swap && v->memory_swap < v->memory)
		return error_set(err, EINVAL,
			"--memory-swap is memory and swap together: not less than --memory");
	b->memory_bytes = v->memory;
	b->swap_bytes = v->memory_swap;
	/* A user to whom no control group is delegated may still run containers. */
	b->pids = v->pids ? v->pids : geteuid() == 0 ? PIDS_DEFAULT : 0;
	b->shm_bytes = v->shm_size;
	return 0;
}

static int check_names(struct run *r, bool separated, struct error *err)
{
	const struct run_values *v = r->v;
	if (r->n_command && !separated && r->command[0][0] == '-') {
		error_set(err, EINVAL, "%s stands after the image, where the command begins",
			r->command[0]);
		error_remedy(err, "put it before the image, or -- before the command");
		return -EINVAL;
	}
	const char *const machine[] = {v->kernel, v->initrd, v->append, v->gdb,
		v->gdb_wait || v->console || v->disk_size || v->disks.len ? "" : NULL, v->stats};
	for (size_t i = 0; i < ARRAY_SIZE(machine); i++) {
		if (machine[i]) {
			error_set(err, EINVAL, "an option of machines, but this is a container");
			error_remedy(err, "say --vm for a machine");
			return -EINVAL;
		}
	}
	if (v->strace || v->root)
		return error_set(err, EINVAL, "--strace and --root are for --level process");
	int e = v->name ? instance_name_check(v->name, err) : 0;
	if (e < 0)
		return error_wrap(err, e, "--name");
	e = v->hostname ? instance_name_check(v->hostname, err) : 0;
	if (e < 0)
		return error_wrap(err, e, "--hostname");
	if (v->workdir && *v->workdir != '/')
		return error_set(err, EINVAL, "--workdir %s: not an absolute path", v->workdir);
	bool both = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	r->bundle.tty = v->tty ? isatty(STDIN_FILENO) : both;
	if (v->tty && !r->bundle.tty)
		return error_set(err, ENOTTY, "--tty: standard input is no terminal");
	return 0;
}

static int check_network(struct run *r, struct error *err)
{
	const char *n = r->v->network;
	const struct strings *publish = &r->v->publish;
	r->bundle.network = !n || !strcmp(n, "user") ? BUNDLE_NETWORK_USER
			    : !strcmp(n, "host")     ? BUNDLE_NETWORK_HOST
						     : BUNDLE_NETWORK_NONE;
	if (publish->len && r->bundle.network != BUNDLE_NETWORK_USER) {
		error_set(err, EINVAL, "--publish needs a network of the container's own");
		error_remedy(err, "leave out --network %s", n);
		return -EINVAL;
	}
	for (size_t i = 0; i < publish->len; i++) {
		struct slirp_publish p;
		int e = slirp_publish_parse(publish->items[i], &p, err);
		if (e < 0) {
			error_wrap(err, e, "--publish %s", publish->items[i]);
			error_remedy(err, "write [ADDRESS:]HOSTPORT:PORT[/tcp|udp], as in 8080:80");
			return e;
		}
	}
	r->bundle.publish = publish->items;
	r->bundle.n_publish = publish->len;
	return 0;
}

static int add_env(struct run *r, struct error *err)
{
	const struct run_values *v = r->v;
	const char *term = getenv("TERM");
	for (char **e = r->image->env; *e; e++)
		vec_push(&r->env, *e);
	if (r->bundle.tty)
		vec_push(&r->env, keep(r, xasprintf("TERM=%s", term && *term ? term : "xterm")));
	for (size_t i = 0; i < v->env.len; i++) {
		const char *word = v->env.items[i], *value;
		if (*word == '=' || !*word)
			return error_set(err, EINVAL, "--env %s: not of the form NAME=value", word);
		if (strchr(word, '='))
			vec_push(&r->env, word);
		else if ((value = getenv(word))) /* passed on, when there is one */
			vec_push(&r->env, keep(r, xasprintf("%s=%s", word, value)));
	}
	vec_push(&r->env, NULL);
	r->bundle.env = r->env.items;
	return 0;
}

/* --entrypoint stands for the image's own entry point and command. */
static void add_command(struct run *r)
{
	const char *entry = r->v->entrypoint;
	for (char **p = r->image->entrypoint; *p && !entry; p++)
		vec_push(&r->argv, *p);
	if (entry && *entry)
		vec_push(&r->argv, entry);
	for (size_t i = 0; i < r->n_command; i++)
		vec_push(&r->argv, r->command[i]);
	for (char **p = r->image->cmd; !r->n_command && !entry && *p; p++)
		vec_push(&r->argv, *p);
	if (!r->argv.len)
		vec_push(&r->argv, "/bin/sh");
	vec_push(&r->argv, NULL);
	r->bundle.argv = r->argv.items;
}

static int check_options(struct run *r, bool separated, struct error *err)
{
	const struct run_values *v = r->v;
	int e = check_names(r, separated, err);
	if (e == 0)
		e = check_limits(r, err);
	if (e == 0)
		e = add_capabilities(r, err);
	if (e == 0)
		e = add_security(r, err);
	if (e == 0)
		e = check_network(r, err);
	for (size_t i = 0; e == 0 && i < v->shares.len; i++)
		e = add_volume(r, v->shares.items[i], err);
	for (size_t i = 0; e == 0 && i < v->tmpfs.len; i++)
		e = add_tmpfs(r, v->tmpfs.items[i], err);
	for (size_t i = 0; e == 0 && i < v->hosts.len; i++)
		e = add_host(r, v->hosts.items[i], err);
	vec_push(&r->hosts, NULL);
	r->bundle.hosts = r->hosts.items;
	for (size_t i = 0; i < v->dns.len; i++)
		strbuf_addf(&r->resolv, "nameserver %s\n", v->dns.items[i]);
	return e;
}

int container_become_root(struct cli *cli, bool *one_id, struct error *err)
{
	char *why _free_ = NULL;
	if (geteuid() == 0)
		return overlay_unshare(err);
	int e = subids_become_root(one_id, &why, err);
	if (e == 0 && why)
		cli_note(cli,
			"strata: %s: all files of the container belong to one user; programs that "
			"change users fail",
			why);
	return e;
}

int container_own_trees(struct error *err)
{
	char *home _free_ = NULL, *why _free_ = NULL;
	bool one_id;
	int e = paths_home(&home, err);
	if (e < 0)
		return e;
	char *trees _free_ = xasprintf("%s/images/trees", home);
	return access(trees, F_OK) < 0 ? 0 : subids_become_root(&one_id, &why, err);
}

static int open_image(struct run *r, const char *ref, struct error *err)
{
	struct error inner _error_ = ERROR_INIT;
	int e = image_open(r->store, ref, r->v->arch, &r->image, &inner);
	if (e != -ENOENT) {
		if (e < 0) {
			*err = inner;
			inner = ERROR_INIT;
		}
		return e;
	}
	struct container_configure c = {r->store, r->home, &r->meter, r->one_id};
	const struct image_pull_options o = {.progress = &r->meter.callbacks,
		.configure = container_configure_image,
		.opaque = &c};
	e = image_pull(r->store, ref, r->v->arch, &o, err);
	return e < 0 ? e : image_open(r->store, ref, r->v->arch, &r->image, err);
}

static int make_instance(struct run *r, struct error *err)
{
	struct strbuf command _strbuf_ = STRBUF_INIT;
	for (size_t i = 0; r->argv.items[i] && command.len < 200; i++)
		strbuf_addf(&command, "%s%s", i ? " " : "", r->argv.items[i]);
	struct instance_config c = {.image = r->image->ref,
		.level = (char *)(uintptr_t) "container",
		.arch = r->image->arch,
		.command = command.data,
		.cpus = (r->bundle.cpu_millis + 999) / 1000,
		.memory_bytes = r->bundle.memory_bytes,
		.created_s = (uint64_t)time(NULL),
		.remove = r->v->remove};
	return instance_create(r->home, r->v->name, &c, &r->instance, err);
}

static int catch_signals(struct run *r, struct error *err)
{
	static const int forwarded[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT};
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->signal_fd < 0 ? error_errno(err, errno, "signalfd") : 0;
}

/* The runtime passes signals on to the container. Those of the terminal it gets itself, being in
 * our process group. */
static void wait_for_end(struct run *r)
{
	pid_t pid = r->container.pid;
	int pidfd _close_ = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p[2] = {{pidfd, POLLIN, 0}, {r->signal_fd, POLLIN, 0}};
	while (pidfd >= 0 && !p[0].revents) {
		struct signalfd_siginfo s;
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		while (p[1].revents && read(r->signal_fd, &s, sizeof(s)) == sizeof(s))
			if (s.ssi_code != SI_KERNEL)
				kill(pid, (int)s.ssi_signo);
	}
}

static int run_command(struct run *r, struct error *err)
{
	static const int stdio[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
	struct termios terminal;
	bool restore = r->bundle.tty && tcgetattr(STDIN_FILENO, &terminal) == 0;
	int exit_status = EXIT_STRATA;
	int e = container_start(&r->container, &r->bundle, stdio, err);
	if (e < 0)
		return e;
	wait_for_end(r);
	int status = container_reap(&r->container, &exit_status, err);
	/* The runtime does this too, unless it was killed. */
	if (restore)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal);
	if (status >= 0)
		return status;
	return cli_fail(r->cli, exit_status, err);
}

static int run_image(struct run *r, const char *ref, struct error *err)
{
	const struct run_values *v = r->v;
	struct bundle_options *b = &r->bundle;
	int e = open_image(r, ref, err);
	if (e < 0)
		return e;
	add_command(r);
	e = add_env(r, err);
	if (e == 0)
		e = make_instance(r, err);
	if (e == 0)
		e = catch_signals(r, err);
	if (e < 0)
		return e;
	r->container.home = r->home;
	r->container.instance = r->instance;
	e = container_prepare(
		&r->container, r->store, r->image, v->remove, &r->meter.callbacks, err);
	meter_done(&r->meter);
	if (e < 0)
		return e;
	b->workdir = v->workdir ? v->workdir : r->image->workdir;
	b->user = v->user ? v->user : r->image->user;
	b->hostname = v->hostname ? v->hostname : r->instance->name;
	b->mounts = r->mounts.items;
	b->n_mounts = r->mounts.len;
	b->dns = r->resolv.len ? r->resolv.data : NULL;
	b->read_only = v->read_only;
	b->one_id = r->one_id;
	b->rootless = !userns_is_host();
	b->arch = image_is_foreign(r->image) ? r->image->arch : NULL;
	if (v->verbose)
		cli_note(r->cli, "Instance %s is running.", r->instance->name);
	return run_command(r, err);
}

int run_container(struct cli *cli, const struct run_values *v, const char *image, char **command,
	size_t n_command)
{
	struct run r CLEANUP(run_done) = {.cli = cli,
		.v = v,
		.command = command,
		.n_command = n_command,
		.container = CONTAINER_INIT,
		.signal_fd = -1};
	struct error err _error_ = ERROR_INIT;
	bool separated = n_command && !strcmp(command[0], "--");
	r.command += separated;
	r.n_command -= separated;
	int e = paths_home(&r.home, &err);
	if (e < 0)
		return cli_fail(cli, EXIT_STRATA, &err);
	e = check_options(&r, separated, &err);
	if (e == -EINVAL)
		return cli_usage(cli, &err);
	meter_init(&r.meter, cli);
	if (e == 0)
		e = container_become_root(cli, &r.one_id, &err);
	if (e == 0) {
		container_sweep(r.home);
		instance_sweep(r.home);
		e = image_store_open(&r.store, NULL, &err);
	}
	if (e == 0)
		e = run_image(&r, image, &err);
	meter_done(&r.meter);
	return e < 0 ? cli_fail(cli, EXIT_STRATA, &err) : e;
}
