// SPDX-License-Identifier: Apache-2.0
#include "instance/monitor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/vcpu.h"
#include "instance/agent_image.h"
#include "instance/machine_wire.h"
#include "net/slirp.h"
#include "vm/vm.h"

#define SOCKET_NAME "vsock.sock"
/* A guest that floods its console must not fill the host's disk. */
#define CONSOLE_LOG_BYTES MiB

struct monitor {
	struct loop *loop;
	struct loop_fd *control;
	struct vm *vm;
	bool told; /* ENDED was sent */
};

static void send_ended(enum machine_end end, const char *text, const char *remedy)
{
	json_t *o = json_pack("{s:s, s:s, s:s*, s:s*}", "event", "ended", "end",
		machine_end_names[end], "text", text, "remedy", remedy);
	machine_send(MONITOR_CONTROL_FD, o, 0);
}

static void log_to_control(void *opaque, enum log_level level, const char *message)
{
	/* A reader that is busy loses lines rather than stopping a vCPU. */
	machine_send(MONITOR_CONTROL_FD, json_pack("{s:s, s:s*}", "event", "log", "text", message),
		MSG_DONTWAIT);
}

/* What the CPUs have counted; nobody waits for it. */
static void send_stats(struct vm *vm)
{
	struct vcpu_stats stats;
	json_t *cpus = json_array();
	for (unsigned n = 0; vm_stats(vm, n, &stats); n++) {
		json_t *cpu = json_object();
#define X(name) json_object_set_new(cpu, #name, json_integer((json_int_t)stats.name));
		VCPU_STATS(X)
#undef X
		json_array_append_new(cpus, cpu);
	}
	machine_send(
		MONITOR_CONTROL_FD, json_pack("{s:s, s:o}", "event", "stats", "cpus", cpus), 0);
}

static void on_ended(void *opaque, enum vm_end end, const char *reason)
{
	static const enum machine_end ends[] = {[VM_END_POWEROFF] = MACHINE_POWEROFF,
		[VM_END_REBOOT] = MACHINE_REBOOT,
		[VM_END_PANIC] = MACHINE_PANIC,
		[VM_END_STOPPED] = MACHINE_STOPPED,
		[VM_END_FAILED] = MACHINE_FAILED};
	struct monitor *m = opaque;
	m->told = true;
	send_stats(m->vm);
	send_ended(ends[end], reason, NULL);
	loop_stop(m->loop);
}

static void on_control(void *opaque, int fd, uint32_t events)
{
	struct monitor *m = opaque;
	json_t *o = NULL;
	int r = machine_receive(fd, &o, MSG_DONTWAIT);
	if (r < 0) {
		/* Whoever asked for the machine is gone, and nobody else knows of it. */
		loop_fd_set(m->control, 0);
		loop_stop(m->loop);
		return;
	}
	const char *what = json_string_value(json_object_get(o, "do"));
	if (r > 0 && what && !strcmp(what, "stop"))
		vm_stop(m->vm, "stopped by its user");
	json_decref(o);
}

/* Bound through /proc: the instance's path may be longer than a socket address. */
static int listen_vsock(int dir_fd, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" SOCKET_NAME,
		dir_fd);
	int fd _close_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlinkat(dir_fd, SOCKET_NAME, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, 64) < 0)
		return error_errno(err, errno, "vsock socket");
	return TAKE_FD(fd);
}

static int start_network(const struct machine_spec *spec, struct vm_config *c, struct error *err)
{
	struct slirp_publish publish[SLIRP_PUBLISH_MAX];
	struct slirp_config net = {.publish = publish, .hostname = spec->hostname};
	for (unsigned i = 0; i < spec->n_publish; i++) {
		int r = i < SLIRP_PUBLISH_MAX
				? slirp_publish_parse(spec->publish[i], &publish[i], err)
				: error_set(err, E2BIG, "more than %d published ports",
					  SLIRP_PUBLISH_MAX);
		if (r < 0)
			return r;
	}
	net.publish_count = spec->n_publish;
	pid_t pid;
	return slirp_helper_start(&net, &pid, &c->net_fd, err);
}

/* Locally administered, and the same for the same name: leases and logs stay readable. */
static void make_mac(const char *name, uint8_t mac[6])
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	for (; name && *name; name++)
		h = (h ^ (uint8_t)*name) * UINT64_C(1099511628211);
	mac[0] = 0x52;
	mac[1] = 0x54;
	for (int i = 2; i < 6; i++)
		mac[i] = (uint8_t)(h >> (8 * i));
}

static int make_config(const struct machine_spec *spec, struct vm_config *c, struct strbuf *initrd,
	struct error *err)
{
	*c = (struct vm_config){.arch = spec->arch,
		.cpus = (unsigned)spec->cpus,
		.memory_bytes = spec->memory_bytes,
		.kernel_name = spec->kernel_name,
		.kernel_fd = spec->kernel_fd,
		.initrd_fds = spec->initrd_fds,
		.initrd_count = spec->n_initrds,
		.cmdline = spec->cmdline,
		.disk_count = spec->n_disks,
		.share_count = spec->n_shares,
		.net_fd = -1,
		.vsock_listen_fd = -1,
		.vsock_path = NULL, /* the agent is called, it calls nobody */
		.has_debugger = spec->has_gdb,
		.debugger_fd = spec->gdb_fd,
		.debugger_wait = spec->gdb_wait,
		.console_in_fd = -1,
		.console_log_bytes = spec->console_log ? CONSOLE_LOG_BYTES : 0,
		.console_out_fd = spec->console_fd};
	for (unsigned i = 0; i < spec->n_disks; i++) {
		const struct machine_disk *d = &spec->disks[i];
		c->disks[i] = (struct vm_disk){d->path, d->serial, d->fd, d->read_only};
	}
	for (unsigned i = 0; i < spec->n_shares; i++) {
		const struct machine_share *s = &spec->shares[i];
		c->shares[i] = (struct vm_share){.tag = s->tag,
			.dir_fd = s->dir_fd,
			.layer_fds = s->layer_fds,
			.layer_count = s->n_layers,
			.readonly = s->read_only};
	}
	make_mac(spec->hostname, c->mac);
	int r = 0;
	if (spec->agent)
		r = agent_initramfs(spec->arch, initrd, err);
	c->initrd_extra = initrd->data;
	c->initrd_extra_bytes = initrd->len;
	if (!r && spec->dir_fd >= 0) {
		c->vsock_listen_fd = listen_vsock(spec->dir_fd, err);
		r = MIN(c->vsock_listen_fd, 0);
	}
	if (!r && spec->network)
		r = start_network(spec, c, err);
	return r;
}

static int run_machine(struct monitor *m, const struct machine_spec *spec, struct error *err)
{
	struct strbuf initrd _strbuf_ = STRBUF_INIT;
	struct vm_config config;
	int r = loop_new(&m->loop, err);
	if (!r)
		r = make_config(spec, &config, &initrd, err);
	if (!r)
		r = vm_new(&m->vm, &config, m->loop, on_ended, m, err);
	if (!r)
		r = vm_sandbox(m->vm, err);
	if (!r)
		r = loop_fd_add(
			m->loop, MONITOR_CONTROL_FD, EPOLLIN, on_control, m, &m->control, err);
	if (!r)
		r = vm_start(m->vm, err);
	if (!r) {
		machine_send(MONITOR_CONTROL_FD, json_pack("{s:s}", "event", "started"), 0);
		r = loop_run(m->loop, err);
	}
	return r;
}

int monitor_main(void)
{
	struct error err _error_ = ERROR_INIT;
	struct machine_spec spec;
	struct monitor m = {0};
	json_t *json = NULL;
	signal(SIGPIPE, SIG_IGN);
	setsid(); /* a terminal's ^C is for the user's command alone */
	if (fcntl(MONITOR_CONTROL_FD, F_GETFD) < 0 ||
		machine_receive(MONITOR_CONTROL_FD, &json, 0) <= 0)
		return 2; /* not started by machine.c: nobody to tell */
	log_set_sink(log_to_control, NULL, LOG_INFO);
	int r = machine_spec_from_json(json, &spec, &err);
	if (!r)
		r = run_machine(&m, &spec, &err);
	if (r < 0 && !m.told)
		send_ended(MACHINE_FAILED, err.message, err.remedy);
	vm_free(m.vm);
	loop_fd_remove(m.control);
	loop_free(m.loop);
	json_decref(json);
	return r < 0;
}
