// SPDX-License-Identifier: Apache-2.0
#include "cli/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/configure.h"
#include "os/child.h"

enum { BOOT_TIMEOUT_S = 300, SETUP_TIMEOUT_S = 120, STOP_TIMEOUT_S = 20 };

/* The disk that takes an instance's writes: sparse, ext4. */
static int make_disk(const struct instance *i, uint64_t bytes, int *out, struct error *err)
{
	char *mke2fs _free_ = child_find_program("mke2fs");
	if (!mke2fs) {
		error_set(err, ENOENT, "the instance's disk: there is no mke2fs");
		error_remedy(err, "install the package e2fsprogs");
		return -ENOENT;
	}
	int fd _close_ =
		openat(i->dir_fd, "upper.img", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return error_errno(err, errno, "the instance's disk %s/upper.img", i->path);
	char *path _free_ = xasprintf("%s/upper.img", i->path);
	const char *const argv[] = {mke2fs, "-t", "ext4", "-F", "-q", "-m", "0", "-E",
		"lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", path, NULL};
	int r = child_run(argv, NULL, err);
	if (r < 0)
		return error_wrap(err, r, "the instance's disk %s", path);
	*out = TAKE_FD(fd);
	return 0;
}

static void add_root(struct machine_spec *spec, const struct guest_options *o)
{
	struct machine_share *root = &spec->shares[spec->n_shares++];
	*root = (struct machine_share){.tag = "root0", .dir_fd = -1, .read_only = true};
	for (size_t i = 0; i < o->image->n_layers && root->n_layers < MACHINE_LAYERS_MAX - 1; i++)
		root->layer_fds[root->n_layers++] = o->image->layers[i].fd;
	/* So that the guest's own modprobe finds the modules of the kernel it runs on. */
	if (o->kernel_fd < 0)
		root->layer_fds[root->n_layers++] = o->boot->layers[o->boot->modules].fd;
}

static int check_limits(const struct guest_options *o, struct error *err)
{
	if (o->image->n_layers >= MACHINE_LAYERS_MAX)
		return error_set(err, E2BIG, "image %s has %zu layers; at most %d are possible",
			o->image->ref, o->image->n_layers, MACHINE_LAYERS_MAX - 1);
	if (o->n_disks >= MACHINE_DISKS_MAX)
		return error_set(err, E2BIG, "more than %d disks", MACHINE_DISKS_MAX - 1);
	if (o->n_shares >= MACHINE_SHARES_MAX)
		return error_set(err, E2BIG, "more than %d shares", MACHINE_SHARES_MAX - 1);
	return 0;
}

static const char *const share_tags[] = {"share0", "share1", "share2", "share3", "share4", "share5",
	"share6", "share7", "share8", "share9", "share10", "share11", "share12", "share13",
	"share14"};

static int launch(struct guest *g, const struct instance *instance, const struct guest_options *o,
	struct error *err)
{
	int upper _close_ = -1;
	int r = check_limits(o, err);
	if (!r && !o->scratch)
		r = make_disk(instance, o->disk_bytes, &upper, err);
	if (r < 0)
		return r;
	char *cmdline _free_ =
		xasprintf("console=ttyS0 panic=-1%s%s%s", o->verbose_kernel ? "" : " quiet",
			o->append ? " " : "", o->append ? o->append : "");
	struct machine_spec *spec _free_ = xcalloc(1, sizeof(*spec));
	*spec = (struct machine_spec){.arch = o->image->arch,
		.hostname = o->hostname,
		.cpus = o->cpus,
		.memory_bytes = o->memory_bytes,
		.cmdline = cmdline,
		.kernel_name = o->kernel_name,
		.kernel_fd = o->kernel_fd >= 0 ? o->kernel_fd : o->boot->layers[o->boot->kernel].fd,
		.initrd_fds = {o->initrd_fd >= 0 ? o->initrd_fd
						 : o->boot->layers[o->boot->initramfs].fd},
		.n_initrds = 1,
		.agent = true,
		.network = o->network,
		.console_fd = o->console_fd,
		.has_gdb = o->gdb,
		.gdb_wait = o->gdb_wait,
		.gdb_fd = o->gdb_fd,
		.console_log = o->console_fd != STDERR_FILENO,
		.dir_fd = instance->dir_fd,
		.lock_fd = instance->lock_fd};
	for (; spec->n_publish < o->n_publish; spec->n_publish++)
		spec->publish[spec->n_publish] = o->publish[spec->n_publish];
	/* The user's disks come first, so that they are vda, vdb, … */
	for (size_t i = 0; i < o->n_disks; i++)
		spec->disks[spec->n_disks++] = o->disks[i];
	if (upper >= 0)
		spec->disks[spec->n_disks++] =
			(struct machine_disk){"upper.img", "strata-upper", upper, false};
	add_root(spec, o);
	for (size_t i = 0; i < o->n_shares; i++)
		spec->shares[spec->n_shares++] = (struct machine_share){.tag = share_tags[i],
			.dir_fd = o->shares[i].dir_fd,
			.read_only = o->shares[i].read_only};
	return machine_start(&g->machine, spec, err);
}

/* A debugged guest may stand still for any time. */
static uint64_t deadline_ns(const struct guest_options *o, uint64_t seconds)
{
	return o->gdb ? UINT64_MAX : clock_monotonic_ns() + seconds * NS_PER_SEC;
}

static int set_up(struct guest *g, const struct guest_options *o, struct error *err)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	const char *lower[] = {"virtiofs:root0"}, *dns[] = {"10.0.2.3"};
	struct agent_network net = {"10.0.2.15", 24, "10.0.2.2", {dns, 1}};
	struct agent_mount mounts[MACHINE_SHARES_MAX];
	char sources[MACHINE_SHARES_MAX][32];
	for (size_t i = 0; i < o->n_shares; i++) {
		snprintf(sources[i], sizeof(sources[i]), "virtiofs:%s", share_tags[i]);
		mounts[i] = (struct agent_mount){
			sources[i], o->shares[i].guest, o->shares[i].read_only};
	}
	struct agent_message answer,
		m = {AGENT_SETUP, .setup = {.hostname = o->hostname,
					  .lower = {lower, 1},
					  .upper = o->scratch ? "tmpfs:" : "block:strata-upper",
					  .mounts = {mounts, o->n_shares},
					  .networks = {&net, o->network ? 1 : 0},
					  .clock_ns = (uint64_t)now.tv_sec * NS_PER_SEC +
						      (uint64_t)now.tv_nsec}};
	struct agent_wait w = {deadline_ns(o, SETUP_TIMEOUT_S), -1};
	int r = agent_call(g->control, &m, AGENT_DONE, &answer, &w, err);
	return r < 0 ? error_wrap(err, r, "the guest's root") : 0;
}

static void on_log(void *opaque, const char *line)
{
	meter_tick(opaque);
}

int guest_start(struct guest *g, const struct instance *instance, const struct guest_options *o,
	int cancel_fd, struct meter *meter, struct error *err)
{
	*g = (struct guest){.address = {instance->dir_fd, "vsock.sock", AGENT_VSOCK_PORT}};
	int r = launch(g, instance, o, err);
	uint64_t deadline = deadline_ns(o, BOOT_TIMEOUT_S);
	if (!r)
		r = machine_wait_agent(g->machine, &g->address, deadline, cancel_fd, on_log, meter,
			&g->control, err);
	if (!r)
		r = set_up(g, o, err);
	if (r < 0)
		guest_done(g);
	return r;
}

enum machine_end guest_stop(struct guest *g)
{
	struct agent_message answer, m = {AGENT_SHUTDOWN, .shutdown = {.grace_ms = 2000}};
	struct agent_wait w = {clock_monotonic_ns() + 5 * NS_PER_SEC, -1};
	/* An agent that does not answer any more has the plug pulled. */
	if (agent_call(g->control, &m, AGENT_DONE, &answer, &w, NULL) < 0)
		machine_stop(g->machine);
	enum machine_end end = machine_wait_end(
		g->machine, clock_monotonic_ns() + STOP_TIMEOUT_S * NS_PER_SEC, NULL);
	guest_done(g);
	return end;
}

void guest_done(struct guest *g)
{
	agent_conn_free(g->control);
	if (g->machine && !g->stats)
		g->stats = machine_take_stats(g->machine);
	machine_free(g->machine);
	*g = (struct guest){.stats = g->stats};
}

/* Configuring a pulled image: Debian's packages run their scripts in a machine of their own. */

static int send_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t done = write(fd, bytes, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		bytes += done;
		n -= (size_t)done;
	}
	return 0;
}

/* Until both streams and the exit status are there. */
static int pump_configure(
	struct agent_process *p, int tar_fd, int log_fd, struct meter *meter, struct error *err)
{
	struct configure_words words CLEANUP(configure_words_done) = {
		STRBUF_INIT, STRBUF_INIT, 0, 0};
	static char buf[65536];
	int status = -1;
	cleanup_close_fd(&p->streams[AGENT_STDIN]);
	p->streams[AGENT_STDIN] = -1;
	while (status < 0 || p->streams[1] >= 0 || p->streams[2] >= 0) {
		struct pollfd f[3] = {{p->streams[1], POLLIN, 0}, {p->streams[2], POLLIN, 0},
			{status < 0 ? agent_conn_fd(p->control) : -1, POLLIN, 0}};
		if (poll(f, 3, 100) == 0)
			meter_tick(meter);
		for (int i = 0; i < 2; i++) {
			if (!f[i].revents)
				continue;
			ssize_t n = read(f[i].fd, buf, sizeof(buf));
			if (n < 0 && (errno == EAGAIN || errno == EINTR))
				continue;
			int r = n > 0 && i == 0 ? send_all(tar_fd, buf, (size_t)n) : 0;
			if (r < 0)
				return error_errno(err, -r, "the guest's tar stream");
			if (n > 0 && i == 1 && send_all(log_fd, buf, (size_t)n) == 0)
				configure_words_take(&words, meter, buf, (size_t)n);
			if (n <= 0)
				cleanup_close_fd(&p->streams[i + 1]), p->streams[i + 1] = -1;
		}
		struct agent_message m;
		int got = f[2].revents ? agent_poll(p->control, &m, err) : 0;
		if (got < 0)
			return error_wrap(err, got, "the machine went away");
		if (got && m.type == AGENT_EXIT)
			status = m.exit.signal ? 128 + (int)m.exit.signal : (int)m.exit.status;
	}
	return status ? configure_failed(&words, status, err) : 0;
}

static int configure_in(
	struct guest *g, int tar_fd, int log_fd, struct meter *meter, struct error *err)
{
	const char *argv[] = {"/bin/sh", IMAGE_CONFIGURE_PATH};
	struct agent_exec e = {.argv = {argv, 2}, .cwd = "/"};
	struct agent_wait w = {clock_monotonic_ns() + 60 * NS_PER_SEC, -1};
	struct agent_process p;
	uint32_t exit_status;
	int r = agent_exec(&p, &g->address, &e, &w, &exit_status, err);
	if (r < 0)
		return r;
	r = pump_configure(&p, tar_fd, log_fd, meter, err);
	agent_process_done(&p);
	return r;
}

int guest_configure_image(
	void *opaque, const struct image *unconfigured, int tar_fd, struct error *err)
{
	struct guest_configure *c = opaque;
	struct image *boot = NULL;
	struct instance *instance = NULL;
	struct guest g = {0};
	struct instance_config config = {.image = unconfigured->ref,
		.level = (char *)(uintptr_t) "vm",
		.arch = unconfigured->arch,
		.command = (char *)(uintptr_t) "(configuring the image)",
		.cpus = 1,
		.memory_bytes = GiB,
		.created_s = (uint64_t)time(NULL),
		.remove = true};
	int r = boot_open(c->store, unconfigured->ref, unconfigured->arch, &boot, err);
	if (!r)
		r = instance_create(c->home, NULL, &config, &instance, err);
	int console _close_ = -1, log_fd _close_ = -1;
	if (!r) {
		log_fd = configure_open_log(c->home, err);
		r = MIN(log_fd, 0);
	}
	if (!r) {
		console = openat(instance->dir_fd, "console.log",
			O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		struct guest_options o = {.image = unconfigured,
			.boot = boot,
			.cpus = 1,
			.memory_bytes = GiB,
			.kernel_fd = -1,
			.initrd_fd = -1,
			.verbose_kernel = true,
			.append = "norandmaps",
			.hostname = "localhost",
			.disk_bytes = 4 * GiB,
			.console_fd = console};
		meter_stage(c->meter, "Configuring the packages in a virtual machine");
		r = guest_start(&g, instance, &o, -1, c->meter, err);
	}
	if (!r)
		r = configure_in(&g, tar_fd, log_fd, c->meter, err);
	if (g.machine)
		guest_stop(&g);
	if (instance)
		instance_remove_own(instance, NULL);
	instance_free(instance);
	image_free(boot);
	return r;
}

static int pull(struct image_store *store, const char *home, const char *ref, const char *arch,
	bool boot, struct meter *meter, struct error *err)
{
	struct guest_configure c = {store, home, meter};
	struct image_pull_options o = {
		.progress = &meter->callbacks, .configure = guest_configure_image, .opaque = &c};
	return boot ? boot_pull(store, ref, arch, &o, err) : image_pull(store, ref, arch, &o, err);
}

int guest_open_images(struct image_store *store, const char *home, const char *ref,
	const char *arch, struct meter *meter, struct image **image, struct image **boot,
	struct error *err)
{
	struct error inner _error_ = ERROR_INIT;
	int r = boot_open(store, ref, arch, boot, &inner);
	if (r == -ENOENT) {
		r = pull(store, home, ref, arch, true, meter, err);
		if (!r)
			r = boot_open(store, ref, arch, boot, err);
	} else if (r < 0) {
		*err = inner;
		inner = ERROR_INIT;
	}
	if (r < 0)
		return r;
	r = image_open(store, ref, arch, image, &inner);
	bool unfinished = !r && (*image)->kind == IMAGE_UNCONFIGURED;
	if (r == -ENOENT || unfinished) {
		if (unfinished)
			image_free(*image);
		*image = NULL;
		r = pull(store, home, ref, arch, false, meter, err);
		if (!r)
			r = image_open(store, ref, arch, image, err);
	} else if (r < 0) {
		error_done(err);
		*err = inner;
		inner = ERROR_INIT;
	}
	if (r < 0) {
		image_free(*boot);
		*boot = NULL;
	}
	return r;
}
