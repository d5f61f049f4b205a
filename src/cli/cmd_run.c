// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "cli/guest.h"
#include "cli/process.h"
#include "cli/run.h"
#include "cli/session.h"
#include "cli/stats.h"
#include "cli/units.h"
#include "net/publish.h"
#include "os/listen.h"
#include "os/paths.h"
#include "os/term.h"

enum { CPUS_MAX = 64, DISKS_MAX = MACHINE_DISKS_MAX - 1, SHARES_MAX = MACHINE_SHARES_MAX - 1 };

/* What the options become; closed and freed together. */
struct run {
	struct cli *cli;
	const struct run_values *v;
	char **command;
	size_t n_command;
	char *home;
	struct image_store *store;
	struct image *image, *boot;
	struct instance *instance;
	struct guest_options guest;
	struct machine_disk disks[DISKS_MAX];
	char *disk_paths[DISKS_MAX];
	struct guest_share shares[SHARES_MAX];
	struct meter meter;
	int signal_fd, console_read, console_write;
};

static void run_done(struct run *r)
{
	for (size_t i = 0; i < r->guest.n_disks; i++) {
		close(r->disks[i].fd);
		free(r->disk_paths[i]);
	}
	for (size_t i = 0; i < r->guest.n_shares; i++) {
		close(r->shares[i].dir_fd);
		free(r->shares[i].host);
	}
	cleanup_close_fd(&r->guest.kernel_fd);
	cleanup_close_fd(&r->guest.initrd_fd);
	if (r->guest.gdb) {
		listen_remove(r->v->gdb, r->guest.gdb_fd);
		close(r->guest.gdb_fd);
	}
	cleanup_close_fd(&r->signal_fd);
	if (r->instance && r->v->remove)
		instance_remove_own(r->instance, NULL);
	instance_free(r->instance);
	image_free(r->image);
	image_free(r->boot);
	image_store_free(r->store);
	meter_done(&r->meter);
	free(r->home);
}

/* Options -> what the machine gets. A mistake names the option, the thing and the remedy. */

static int open_input(const char *option, const char *path, int *out, struct error *err)
{
	struct stat st;
	int fd _close_ = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "--%s %s", option, path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ENOEXEC, "--%s %s: not a regular file", option, path);
	if (!st.st_size)
		return error_set(err, ENOEXEC, "--%s %s: the file is empty", option, path);
	*out = TAKE_FD(fd);
	return 0;
}

/* A kernel passes over what it cannot read and panics much later, for want of an init. */
static int open_initrd(const char *path, int *out, struct error *err)
{
	static const struct {
		const char *bytes;
		size_t len;
	} magics[] = {{"070701", 6}, {"070702", 6}, {"\x1f\x8b", 2}, {"\x28\xb5\x2f\xfd", 4},
		{"\xfd\x37zXZ", 5}, {"\x5d\0\0", 3}, {"BZh", 3}, {"\x89LZO", 4},
		{"\x02\x21\x4c\x18", 4}};
	char head[8] = {0};
	int r = open_input("initrd", path, out, err);
	if (r < 0)
		return r;
	if (pread(*out, head, sizeof(head), 0) < 0)
		return error_errno(err, errno, "--initrd %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if (!memcmp(head, magics[i].bytes, magics[i].len))
			return 0;
	error_set(err, ENOEXEC, "--initrd %s: no initramfs", path);
	error_remedy(err, "a cpio archive of format newc is wanted, as it is or compressed");
	return -ENOEXEC;
}

static bool take_suffix(char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);
	if (n <= m || strcmp(s + n - m, suffix))
		return false;
	s[n - m] = 0;
	return true;
}

static int add_disk(struct run *r, const char *spec, struct error *err)
{
	if (r->guest.n_disks == DISKS_MAX)
		return error_set(err, E2BIG, "--disk: more than %d disks", DISKS_MAX);
	char *path _free_ = xstrdup(spec);
	bool read_only = take_suffix(path, ":ro");
	int fd _close_ = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0) {
		int code = errno;
		error_errno(err, code, "--disk %s", path);
		if (code == ENOENT)
			error_remedy(err, "make one with: truncate -s 8G %s", path);
		else if (code == EACCES && !read_only)
			error_remedy(err, "--disk %s:ro needs no right to write", path);
		else if (code == EISDIR)
			error_remedy(err, "--share %s:/mnt shows a directory to the guest", path);
		return -code;
	}
	struct stat st;
	if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
		return error_set(
			err, ENOTBLK, "--disk %s: neither a file nor a block device", path);
	if (flock(fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0) {
		error_set(err, EBUSY, "--disk %s: in use by another machine", path);
		error_remedy(err, "stop that machine, or give both of them %s:ro", path);
		return -EBUSY;
	}
	r->disk_paths[r->guest.n_disks] = TAKE_PTR(path);
	r->disks[r->guest.n_disks] = (struct machine_disk){
		r->disk_paths[r->guest.n_disks], NULL, TAKE_FD(fd), read_only};
	r->guest.n_disks++;
	return 0;
}

static int add_share(struct run *r, const char *spec, struct error *err)
{
	if (r->guest.n_shares == SHARES_MAX)
		return error_set(err, E2BIG, "--share: more than %d directories", SHARES_MAX);
	char *host _free_ = xstrdup(spec);
	bool read_only = take_suffix(host, ":ro");
	char *guest = strrchr(host, ':');
	if (!guest || guest == host || guest[1] != '/') {
		error_set(err, EINVAL, "--share %s: not of the form HOST:GUEST[:ro]", spec);
		error_remedy(err, "for example --share \"$PWD:/src\"; GUEST is an absolute path");
		return -EINVAL;
	}
	*guest++ = 0;
	int fd _close_ = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int code = errno;
		error_errno(err, code, "--share %s", host);
		if (code == ENOENT)
			error_remedy(err, "make the directory first: mkdir -p %s", host);
		return -code;
	}
	r->shares[r->guest.n_shares++] = (struct guest_share){host, guest, TAKE_FD(fd), read_only};
	TAKE_PTR(host);
	return 0;
}

static int check_size(struct run *r, struct error *err)
{
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t memory = r->v->memory ? r->v->memory : GiB;
	char want[24], have[24];
	format_size(memory, want);
	format_size(host, have);
	if (memory > host) {
		error_set(err, ENOMEM, "--memory: %s is more than this host has (%s)", want, have);
		error_remedy(err, "ask for less; `strata doctor` shows what is free");
		return -ENOMEM;
	}
	if (memory < 96 * MiB || memory % 4096) {
		error_set(err, EINVAL, "--memory: %s is not possible", want);
		error_remedy(err, "at least 96M, in whole pages of 4 KiB");
		return -EINVAL;
	}
	r->guest.memory_bytes = memory;
	r->guest.cpus = 1;
	if (r->v->cpus && (parse_uint(r->v->cpus, &r->guest.cpus) < 0 || !r->guest.cpus))
		return error_set(err, EINVAL, "run: --cpus %s: not a number from 1 up", r->v->cpus);
	if (r->guest.cpus > CPUS_MAX)
		return error_set(err, EINVAL,
			"--cpus: %llu are more than the %d that a machine can have",
			(unsigned long long)r->guest.cpus, CPUS_MAX);
	r->guest.disk_bytes = r->v->disk_size ? r->v->disk_size : 16 * GiB;
	if (r->guest.disk_bytes < 64 * MiB || r->guest.disk_bytes > 16384 * GiB)
		return error_set(err, EINVAL, "--disk-size: between 64M and 16384G is possible");
	return 0;
}

static int check_network(struct run *r, struct error *err)
{
	const struct run_values *v = r->v;
	r->guest.network = !v->network || !strcmp(v->network, "user");
	if (v->network && !strcmp(v->network, "host"))
		return error_set(err, EINVAL, "--network host: only a container can have it");
	if (!r->guest.network && v->publish.len) {
		error_set(
			err, EINVAL, "--publish needs a network, and --network none was asked for");
		error_remedy(err, "leave one of them out");
		return -EINVAL;
	}
	if (v->publish.len > MACHINE_PUBLISH_MAX)
		return error_set(err, EINVAL, "--publish: at most %d ports", MACHINE_PUBLISH_MAX);
	for (size_t i = 0; i < v->publish.len; i++) {
		struct slirp_publish p;
		int bad = slirp_publish_parse(v->publish.items[i], &p, err);
		if (bad < 0) {
			error_wrap(err, bad, "--publish %s", v->publish.items[i]);
			error_remedy(
				err, "write [ADDRESS:]HOSTPORT:GUESTPORT[/tcp|udp], as in 8080:80");
			return bad;
		}
	}
	r->guest.publish = v->publish.items;
	r->guest.n_publish = v->publish.len;
	return 0;
}

static int open_gdb(struct run *r, struct error *err)
{
	if (!r->v->gdb) {
		if (!r->v->gdb_wait)
			return 0;
		error_set(err, EINVAL, "--gdb-wait without --gdb");
		error_remedy(err, "say where a debugger connects, for example --gdb 1234");
		return -EINVAL;
	}
	int e = listen_open(r->v->gdb, &r->guest.gdb_fd, err);
	if (e < 0)
		return error_wrap(err, e, "--gdb");
	r->guest.gdb = true;
	r->guest.gdb_wait = r->v->gdb_wait;
	return 0;
}

static int check_env(const struct run_values *v, struct error *err)
{
	for (size_t i = 0; i < v->env.len; i++)
		if (v->env.items[i][0] == '=' || !strchr(v->env.items[i], '='))
			return error_set(err, EINVAL, "--env %s: not of the form NAME=value",
				v->env.items[i]);
	return 0;
}

static int check_options(struct run *r, bool separated, struct error *err)
{
	const struct run_values *v = r->v;
	if (r->n_command && !separated && r->command[0][0] == '-') {
		error_set(err, EINVAL,
			"%s stands after the image, where the guest's command begins",
			r->command[0]);
		error_remedy(err, "put it before the image, or -- before the command");
		return -EINVAL;
	}
	int e = check_env(v, err);
	if (e < 0)
		return e;
	e = v->name ? instance_name_check(v->name, err) : 0;
	if (e < 0)
		return error_wrap(err, e, "--name");
	e = v->hostname ? instance_name_check(v->hostname, err) : 0;
	if (e < 0)
		return error_wrap(err, e, "--hostname");
	e = check_size(r, err);
	if (!e)
		e = check_network(r, err);
	if (!e && v->kernel)
		e = open_input("kernel", v->kernel, &r->guest.kernel_fd, err);
	r->guest.kernel_name = v->kernel;
	if (!e && v->initrd)
		e = open_initrd(v->initrd, &r->guest.initrd_fd, err);
	for (size_t i = 0; !e && i < v->disks.len; i++)
		e = add_disk(r, v->disks.items[i], err);
	for (size_t i = 0; !e && i < v->shares.len; i++)
		e = add_share(r, v->shares.items[i], err);
	return e ? e : open_gdb(r, err);
}

/* The command, as OCI has it: the image's entry point, then our words or else the image's. */
static char **command_line(const struct run *r, size_t *n)
{
	VEC(char *) argv = {0};
	for (char **p = r->image->entrypoint; *p; p++)
		vec_push(&argv, *p);
	for (size_t i = 0; i < r->n_command; i++)
		vec_push(&argv, r->command[i]);
	for (char **p = r->image->cmd; !r->n_command && *p; p++)
		vec_push(&argv, *p);
	if (!argv.len)
		vec_push(&argv, (char *)(uintptr_t) "/bin/sh");
	*n = argv.len;
	return argv.items;
}

static int make_instance(struct run *r, char **argv, size_t n, struct error *err)
{
	struct strbuf command _strbuf_ = STRBUF_INIT;
	for (size_t i = 0; i < n && command.len < 200; i++)
		strbuf_addf(&command, "%s%s", i ? " " : "", argv[i]);
	struct instance_config c = {.image = r->image->ref,
		.level = (char *)(uintptr_t) "vm",
		.arch = r->image->arch,
		.command = command.data,
		.cpus = r->guest.cpus,
		.memory_bytes = r->guest.memory_bytes,
		.created_s = (uint64_t)time(NULL),
		.remove = r->v->remove};
	int e = instance_create(r->home, r->v->name, &c, &r->instance, err);
	if (e < 0)
		return e;
	r->guest.hostname = r->v->hostname ? r->v->hostname : r->instance->name;
	/* --console and --verbose show the kernel's words; otherwise they are only kept. */
	bool show = r->v->console || r->v->verbose;
	r->guest.verbose_kernel = show;
	r->guest.console_fd = show ? STDERR_FILENO
				   : openat(r->instance->dir_fd, "console.log",
					     O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return r->guest.console_fd < 0 ? error_errno(err, errno, "console.log") : 0;
}

/* From here on signals are the guest's, or they cancel its start. */
static int catch_signals(struct run *r, struct error *err)
{
	static const int forwarded[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT};
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->signal_fd < 0 ? error_errno(err, errno, "signalfd") : 0;
}

static int exec_in_guest(struct run *r, struct guest *g, char **argv, size_t n, bool tty,
	struct agent_process *p, uint32_t *exit_status, struct error *err)
{
	VEC(const char *) env = {0};
	const char *term = getenv("TERM");
	char *term_var _free_ = term && *term ? xasprintf("TERM=%s", term) : NULL;
	for (char **e = r->image->env; *e; e++)
		vec_push(&env, *e);
	if (tty && term_var)
		vec_push(&env, term_var);
	for (size_t i = 0; i < r->v->env.len; i++)
		vec_push(&env, r->v->env.items[i]);
	const char *image_dir = strcmp(r->image->workdir, "/") ? r->image->workdir : NULL;
	const char *image_user = *r->image->user ? r->image->user : NULL;
	struct agent_exec e = {.argv = {(const char **)argv, n},
		.env = {env.items, env.len},
		.cwd = r->v->workdir ? r->v->workdir : image_dir,
		.user = r->v->user ? r->v->user : image_user,
		.tty = tty};
	if (tty)
		term_size(STDIN_FILENO, &e.rows, &e.cols);
	struct agent_wait w = {
		r->guest.gdb ? UINT64_MAX : clock_monotonic_ns() + 120 * NS_PER_SEC, -1};
	int status = agent_exec(p, &g->address, &e, &w, exit_status, err);
	vec_done(&env);
	return status;
}

/* The exit status when the machine ended under its command. */
static int machine_ended(struct run *r, const struct session_result *s, bool tty)
{
	struct error err _error_ = ERROR_INIT;
	const char *why = s->reason ? s->reason : "";
	switch (s->end) {
	case MACHINE_POWEROFF:
	case MACHINE_REBOOT:
		why = s->end == MACHINE_POWEROFF ? "the guest switched itself off"
						 : "the guest restarted itself";
		if (!r->n_command && tty) { /* `poweroff` is one way to leave a shell */
			cli_note(r->cli, "%s", why);
			return 0;
		}
		error_set(&err, ECANCELED, "%s before its command ended", why);
		break;
	case MACHINE_PANIC:
		error_set(&err, EIO, "the guest's kernel panicked%s%s", *why ? ": " : "", why);
		break;
	default:
		error_set(&err, EIO, "the machine ended%s%s", *why ? ": " : "", why);
	}
	return cli_fail(r->cli, EXIT_STRATA, &err);
}

static int run_command(struct run *r, struct guest *g, char **argv, size_t n)
{
	struct error err _error_ = ERROR_INIT;
	struct agent_process p = {.streams = {-1, -1, -1}};
	uint32_t exit_status = 0;
	bool both = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	bool tty = r->v->tty ? isatty(STDIN_FILENO) : both;
	if (r->v->tty && !tty) {
		error_set(&err, ENOTTY, "--tty: standard input is no terminal");
		return cli_fail(r->cli, EXIT_STRATA, &err);
	}
	if (exec_in_guest(r, g, argv, n, tty, &p, &exit_status, &err) < 0)
		return cli_fail(r->cli, exit_status ? (int)exit_status : EXIT_STRATA, &err);
	if (tty && r->v->verbose)
		cli_note(r->cli, "Ctrl-] three times within a second leaves the machine.");
	struct session_options o = {g->machine, &p, r->signal_fd, tty, true};
	struct session_result s;
	int e = session_run(&o, &s, &err);
	int status = s.status >= 0 ? s.status : EXIT_STRATA;
	if (s.machine_ended)
		status = machine_ended(r, &s, tty);
	else if (e < 0)
		status = cli_fail(r->cli, EXIT_STRATA, &err);
	else if (s.left)
		cli_note(r->cli, "\nLeft the machine; it is switched off.");
	if (s.machine_ended)
		guest_done(g);
	free(s.reason);
	agent_process_done(&p);
	return status;
}

/* As a user of GDB types it. */
static void note_debugger(struct run *r)
{
	const char *at = r->v->gdb;
	cli_note(r->cli, "The guest waits for a debugger: target remote %s%s",
		strchr(at, ':') ? "" : ":", strncmp(at, "unix:", 5) ? at : at + 5);
}

static int run_guest(struct run *r, struct error *err)
{
	size_t n;
	char **argv _free_ = command_line(r, &n);
	char *what _free_ = xasprintf("Booting %s (%s)", r->image->ref, r->image->arch);
	struct guest g = {0};
	int e = make_instance(r, argv, n, err);
	if (!e)
		e = catch_signals(r, err);
	if (e < 0)
		return e;
	if (r->meter.tty && !r->guest.verbose_kernel)
		meter_stage(&r->meter, what);
	if (r->guest.gdb_wait)
		note_debugger(r);
	e = guest_start(&g, r->instance, &r->guest, r->signal_fd, &r->meter, err);
	meter_done(&r->meter);
	if (r->guest.console_fd != STDERR_FILENO)
		close(r->guest.console_fd);
	if (e < 0) {
		json_decref(g.stats);
		return e == -EINTR ? 128 + SIGINT : e;
	}
	if (r->v->verbose)
		cli_note(r->cli, "Instance %s is running.", r->instance->name);
	int status = run_command(r, &g, argv, n);
	if (g.machine)
		guest_stop(&g);
	if (r->v->stats)
		stats_print(g.stats, r->v->stats, stderr);
	json_decref(g.stats);
	return status;
}

/* The options that a process has no use for are about machines. */
static int run_process(struct cli *cli, const struct run_values *v, char **command)
{
	struct error err _error_ = ERROR_INIT;
	const char *const machine[] = {v->kernel, v->initrd, v->append, v->network, v->name,
		v->hostname, v->user, v->gdb, v->gdb_wait ? "" : NULL,
		v->cpus || v->memory || v->disk_size ? "" : NULL,
		v->disks.len || v->shares.len || v->publish.len ? "" : NULL};
	for (size_t i = 0; i < ARRAY_SIZE(machine); i++) {
		if (machine[i]) {
			error_set(&err, EINVAL, "--level process takes no options of a machine");
			error_remedy(
				&err, "--root, --env, --workdir, --strace and --stats are for it");
			return cli_usage(cli, &err);
		}
	}
	if (check_env(v, &err) < 0)
		return cli_usage(cli, &err);
	const struct process_options o = {
		v->root, v->workdir, &v->env, v->strace, v->stats, command};
	return process_run(cli, &o);
}

static int run_machine(struct cli *cli, const struct run_values *values, char **operands, size_t n)
{
	struct run r CLEANUP(run_done) = {.cli = cli,
		.v = values,
		.command = operands + 1,
		.n_command = n - 1,
		.signal_fd = -1,
		.guest = {.kernel_fd = -1, .initrd_fd = -1, .console_fd = -1}};
	struct error err _error_ = ERROR_INIT;
	bool separated = r.n_command && !strcmp(r.command[0], "--");
	r.command += separated;
	r.n_command -= separated;
	if (check_options(&r, separated, &err) == -EINVAL)
		return cli_usage(cli, &err);
	if (r.v->stats)
		setenv("STRATA_COUNT", "1", true); /* for the machine's process */
	meter_init(&r.meter, cli);
	r.guest.disks = r.disks;
	r.guest.shares = r.shares;
	r.guest.append = r.v->append;
	int e = err.code ? -err.code : paths_home(&r.home, &err);
	if (!e) {
		instance_sweep(r.home);
		e = image_store_open(&r.store, NULL, &err);
	}
	if (!e)
		e = guest_open_images(r.store, r.home, operands[0],
			r.v->arch ? r.v->arch : "riscv64", &r.meter, &r.image, &r.boot, &err);
	meter_done(&r.meter);
	r.guest.image = r.image;
	r.guest.boot = r.boot;
	if (!e)
		e = run_guest(&r, &err);
	if (e < 0)
		return cli_fail(cli, EXIT_STRATA, &err);
	return e;
}

/* A container is the default where the programs are the host's own. */
static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct run_values *v = values;
	struct error err _error_ = ERROR_INIT;
	const char *level = v->level ? v->level : v->vm ? "vm" : "container";
	if (v->vm && strcmp(level, "vm")) {
		error_set(&err, EINVAL, "--vm and --level %s exclude each other", level);
		return cli_usage(cli, &err);
	}
	if (!strcmp(level, "process"))
		return run_process(cli, v, operands);
	if (!strcmp(level, "container"))
		return run_container(cli, v, operands[0], operands + 1, n - 1);
	if (v->arch && strcmp(v->arch, "riscv64")) {
		error_set(&err, EINVAL, "there is no machine for %s yet", v->arch);
		error_remedy(&err, "--arch riscv64 has one");
		return cli_usage(cli, &err);
	}
	return run_machine(cli, v, operands, n);
}

#define OPTION(name, letter, type, member, arg, help)                                              \
	{                                                                                          \
		name, letter, OPTION_##type, offsetof(struct run_values, member), arg, help, NULL  \
	}

static const char *const level_choices[] = {"container", "vm", "process", NULL};
static const char *const net_choices[] = {"user", "none", "host", NULL};

static const struct option options[] = {
	OPTION("vm", 0, FLAG, vm, NULL, "run it as a virtual machine: short for --level vm"),
	{"level", 0, OPTION_ENUM, offsetof(struct run_values, level), "LEVEL",
		"the level of isolation", level_choices},
	OPTION("arch", 0, STRING, arch, "ARCH",
		"the instruction set, as in riscv64 (the host's; riscv64 for a machine)"),
	OPTION("name", 0, STRING, name, "NAME",
		"the instance's name; a free one is found otherwise"),
	OPTION("rm", 0, FLAG, remove, NULL, "remove the instance and its disk at the end"),
	OPTION("cpus", 'c', STRING, cpus, "N",
		"number of CPUs (1); a container's share of them, as in 0.5 (all)"),
	OPTION("memory", 'm', SIZE, memory, "SIZE", "main memory (1G); a container's limit (none)"),
	OPTION("disk-size", 0, SIZE, disk_size, "SIZE",
		"size of the disk that takes its writes (16G)"),
	OPTION("disk", 0, LIST, disks, "FILE[:ro]", "add a disk: vda, vdb, …"),
	OPTION("volume", 'v', LIST, shares, "HOST:GUEST[:ro]",
		"show a directory of the host, or a container's file or volume by name"),
	OPTION("share", 0, LIST, shares, "HOST:GUEST[:ro]", "the same"),
	{"network", 0, OPTION_ENUM, offsetof(struct run_values, network), "NET", "the network",
		net_choices},
	{"net", 0, OPTION_ENUM, offsetof(struct run_values, network), "NET", "the same",
		net_choices},
	OPTION("publish", 'p', LIST, publish, "[ADDR:]HOST:GUEST[/tcp|udp]",
		"pass a port of the host on to the guest"),
	OPTION("env", 'e', LIST, env, "NAME=VALUE", "set a variable of the command's environment"),
	OPTION("workdir", 'w', STRING, workdir, "DIR", "where the command starts"),
	OPTION("user", 'u', STRING, user, "USER[:GROUP]", "as whom the command runs (root)"),
	OPTION("hostname", 0, STRING, hostname, "NAME",
		"the guest's host name (the instance's name)"),
	OPTION("tty", 't', FLAG, tty, NULL,
		"insist on a terminal; by default there is one if stdin and stdout are"),
	OPTION("interactive", 'i', FLAG, interactive, NULL,
		"accepted for habit: stdin is always passed on"),
	OPTION("kernel", 0, STRING, kernel, "FILE",
		"boot this kernel (Image or ELF) instead of the image's"),
	OPTION("initrd", 0, STRING, initrd, "FILE",
		"with this initramfs instead of the boot image's"),
	OPTION("append", 0, STRING, append, "WORDS", "add to the kernel's command line"),
	OPTION("gdb", 0, STRING, gdb, "[HOST:]PORT|unix:PATH",
		"let a debugger connect there (GDB's remote protocol)"),
	OPTION("gdb-wait", 0, FLAG, gdb_wait, NULL,
		"start nothing before a debugger has connected and continues"),
	OPTION("entrypoint", 0, STRING, entrypoint, "PROGRAM",
		"container: instead of the image's entry point and command"),
	OPTION("read-only", 0, FLAG, read_only, NULL, "container: nothing can write to its root"),
	OPTION("tmpfs", 0, LIST, tmpfs, "DIR[:OPTIONS]", "container: mount a tmpfs"),
	OPTION("cap-add", 0, LIST, cap_add, "CAPABILITY", "container: have it, as in NET_ADMIN"),
	OPTION("cap-drop", 0, LIST, cap_drop, "CAPABILITY", "container: not have it; ALL is all"),
	OPTION("security-opt", 0, LIST, security, "OPTION",
		"container: seccomp=FILE, seccomp=unconfined, no-new-privileges"),
	OPTION("privileged", 0, FLAG, privileged, NULL,
		"container: all capabilities, all devices, nothing masked, no seccomp filter"),
	OPTION("pids-limit", 0, UINT, pids, "N", "container: at most so many processes (2048)"),
	OPTION("memory-swap", 0, SIZE, memory_swap, "SIZE",
		"container: memory and swap together (twice --memory)"),
	OPTION("shm-size", 0, SIZE, shm_size, "SIZE", "container: size of /dev/shm (64M)"),
	OPTION("dns", 0, LIST, dns, "ADDRESS", "container: ask this name server"),
	OPTION("add-host", 0, LIST, hosts, "NAME:ADDRESS", "container: a line of /etc/hosts"),
	OPTION("root", 0, STRING, root, "DIR",
		"process: look up absolute paths in this directory first"),
	OPTION("strace", 0, FLAG, strace, NULL, "process: print its system calls on stderr"),
	{"stats", 0, OPTION_MAYBE, offsetof(struct run_values, stats), "FORMAT",
		"print at the end, on stderr, what the CPUs have done", format_choices},
	OPTION("console", 0, FLAG, console, NULL,
		"show what the guest's console prints, on stderr"),
	OPTION("verbose", 0, FLAG, verbose, NULL, "show that and more"),
};

static const struct example examples[] = {
	{"strata run debian", "A shell in a Debian container"},
	{"strata run --rm -v \"$PWD:/src\" -w /src -m 512M debian -- make",
		"A command, with a directory and a limit"},
	{"strata run --rm --arch riscv64 debian -- uname -m", "Programs of another architecture"},
	{"strata run --vm --arch riscv64 --rm debian", "A shell in a RISC-V Debian"},
	{"strata run --vm --rm debian -- uname -m", "One command; its status is passed on"},
	{"tar c src | strata run --vm --rm debian -- tar tv", "Its streams are yours"},
	{"strata run --vm --gdb 1234 --gdb-wait debian", "For gdb-multiarch: target remote :1234"},
	{"strata run --vm --share \"$PWD:/src\" --publish 8080:80 debian",
		"With a directory and a port of the host"},
	{"strata run --level process ./program-for-riscv64 arg",
		"One program, with the host's kernel and files"},
};

const struct command cmd_run = {
	.name = "run",
	.summary = "Run a command in a new instance of an image",
	.operands = "IMAGE [--] [COMMAND [ARG...]]",
	.description =
		"The image is fetched when it is not here yet. Without a command the image's own "
		"runs, usually a shell. With a terminal on both sides the session is interactive. "
		"Otherwise stdin, stdout and stderr are passed byte for byte, and INT, TERM, HUP, "
		"QUIT, USR1 and USR2 are passed on to the command. The instance ends with its "
		"command, whose exit status is passed on; 125 to 127 are as container tools have "
		"them.\n\n"
		"A container is the default: namespaces, control groups and a seccomp filter "
		"around "
		"programs of the host's architecture, or, translated, of riscv64. An ordinary user "
		"needs a range in /etc/subuid.\n\n"
		"A machine (--vm) has its own kernel. Ctrl-] pressed three times within a second "
		"leaves it; three INT within two seconds end it.\n\n"
		"With --level process, IMAGE COMMAND is a Linux program of another architecture "
		"and "
		"its arguments; it runs as a process of this host.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.values_bytes = sizeof(struct run_values),
	.min_operands = 1,
	.max_operands = 4096,
	.completes = OPERAND_IMAGE,
	.options_first = true,
	.run = run,
};
