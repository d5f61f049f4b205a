// SPDX-License-Identifier: Apache-2.0
#include "instance/machine.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "instance/machine_wire.h"
#include "os/child.h"

struct machine {
	pid_t pid; /* of the monitor; 0: reaped */
	int control;
	bool ended;    /* ENDED was told */
	json_t *stats; /* owned, or NULL */
};

void machine_event_done(struct machine_event *e)
{
	free(e->text);
	free(e->remedy);
	e->text = e->remedy = NULL;
}

int machine_start(struct machine **out, const struct machine_spec *spec, struct error *err)
{
	static const char *const argv[] = {"/proc/self/exe", "monitor", NULL};
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, errno, "monitor");
	int ours _close_ = pair[0], theirs _close_ = pair[1];
	struct fd_list fds = {0};
	vec_push(&fds, theirs);
	json_t *json = machine_spec_to_json(spec, &fds);
	struct child_spec child = {.argv = argv,
		.stdio = {-1, -1, -1},
		.fds = fds.items,
		.n_fds = fds.len,
		.die_with_parent = true};
	pid_t pid = child_spawn(&child, err);
	vec_done(&fds);
	if (pid < 0) {
		json_decref(json);
		return error_wrap(err, (int)pid, "monitor");
	}
	int r = machine_send(ours, json, 0);
	if (r < 0) {
		kill(pid, SIGKILL);
		child_wait(pid);
		return error_errno(err, -r, "monitor");
	}
	struct machine *m = xcalloc(1, sizeof(*m));
	m->pid = pid;
	m->control = TAKE_FD(ours);
	*out = m;
	return 0;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	if (m->pid > 0) {
		kill(m->pid, SIGKILL);
		child_wait(m->pid);
	}
	close(m->control);
	json_decref(m->stats);
	free(m);
}

json_t *machine_take_stats(struct machine *m)
{
	return TAKE_PTR(m->stats);
}

int machine_fd(const struct machine *m)
{
	return m->control;
}

void machine_stop(struct machine *m)
{
	machine_send(m->control, json_pack("{s:s}", "do", "stop"), MSG_DONTWAIT);
}

static enum machine_end end_from_name(const char *name)
{
	for (int i = 0; machine_end_names[i] && name; i++) {
		if (!strcmp(machine_end_names[i], name))
			return (enum machine_end)i;
	}
	return MACHINE_FAILED;
}

static char *copy_string(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? xstrdup(s) : NULL;
}

/* The monitor is gone without a word. */
static void mourn(struct machine *m, struct machine_event *out)
{
	int status = m->pid > 0 ? child_wait(m->pid) : 0;
	m->pid = 0;
	*out = (struct machine_event){MACHINE_ENDED, MACHINE_FAILED};
	out->text = status > 128 ? xasprintf("its monitor was killed by signal %d (%s)",
					   status - 128, strsignal(status - 128))
				 : xasprintf("its monitor ended with status %d", status);
}

int machine_next(struct machine *m, struct machine_event *out)
{
	json_t *o = NULL;
	if (m->ended)
		return 0;
	int r = machine_receive(m->control, &o, MSG_DONTWAIT);
	if (r == 0)
		return 0;
	if (r < 0) {
		m->ended = true;
		mourn(m, out);
		return 1;
	}
	const char *event = json_string_value(json_object_get(o, "event"));
	if (event && !strcmp(event, "stats")) {
		json_decref(m->stats);
		m->stats = json_incref(json_object_get(o, "cpus"));
		json_decref(o);
		return 0;
	}
	*out = (struct machine_event){.kind = MACHINE_LOG, .text = copy_string(o, "text")};
	if (event && !strcmp(event, "started")) {
		out->kind = MACHINE_STARTED;
	} else if (event && !strcmp(event, "ended")) {
		out->kind = MACHINE_ENDED;
		out->end = end_from_name(json_string_value(json_object_get(o, "end")));
		out->remedy = copy_string(o, "remedy");
		m->ended = true;
	}
	json_decref(o);
	return 1;
}

static int ended_early(struct machine_event *e, struct error *err)
{
	const char *why = e->text ? e->text : "";
	switch (e->end) {
	case MACHINE_POWEROFF:
		error_set(err, ECONNABORTED,
			"the guest switched itself off before its agent answered");
		break;
	case MACHINE_REBOOT:
		error_set(err, ECONNABORTED, "the guest reset itself before its agent answered");
		break;
	case MACHINE_PANIC:
		error_set(err, ECONNABORTED, "the guest's kernel panicked%s%s", *why ? ": " : "",
			why);
		break;
	default:
		error_set(err, ECONNABORTED, "the machine failed%s%s", *why ? ": " : "", why);
	}
	if (e->remedy)
		error_remedy(err, "%s", e->remedy);
	else if (e->end != MACHINE_FAILED && e->end != MACHINE_STOPPED)
		error_remedy(err, "--console shows what its kernel says");
	machine_event_done(e);
	return -ECONNABORTED;
}

/* Tells what happened until nothing is left to tell. 0, or -ECONNABORTED. */
static int tell(struct machine *m, void (*log)(void *opaque, const char *line), void *opaque,
	struct error *err)
{
	struct machine_event e;
	while (machine_next(m, &e) > 0) {
		if (e.kind == MACHINE_ENDED)
			return ended_early(&e, err);
		if (e.kind == MACHINE_LOG && log && e.text)
			log(opaque, e.text);
		machine_event_done(&e);
	}
	return 0;
}

static bool is_readable(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	return fd >= 0 && poll(&p, 1, 0) > 0;
}

int machine_wait_agent(struct machine *m, const struct agent_address *address, uint64_t deadline_ns,
	int cancel_fd, void (*log)(void *opaque, const char *line), void *opaque,
	struct agent_conn **out, struct error *err)
{
	for (;;) {
		struct error inner _error_ = ERROR_INIT;
		/* In short turns, so that one watched descriptor is enough. */
		struct agent_wait w = {
			MIN(deadline_ns, clock_monotonic_ns() + NS_PER_SEC / 4), m->control};
		int r = agent_connect_patiently(out, address, &w, &inner);
		if (!r)
			return 0;
		r = tell(m, log, opaque, err);
		if (r < 0)
			return r;
		if (is_readable(cancel_fd))
			return error_set(err, EINTR, "interrupted");
		if (inner.code == EPROTO || inner.code == EPROTONOSUPPORT)
			return error_set(err, inner.code, "%s", inner.message);
		if (clock_monotonic_ns() >= deadline_ns) {
			error_set(err, ETIMEDOUT, "the guest's agent did not answer in time: %s",
				inner.message ? inner.message : "");
			error_remedy(err, "--console shows how far the guest came");
			return -ETIMEDOUT;
		}
	}
}

enum machine_end machine_wait_end(struct machine *m, uint64_t deadline_ns, char **reason)
{
	struct machine_event e = {.kind = MACHINE_LOG};
	while (!m->ended) {
		uint64_t now = clock_monotonic_ns();
		struct pollfd p = {m->control, POLLIN, 0};
		if (now >= deadline_ns && m->pid > 0)
			kill(m->pid, SIGKILL);
		int ms = now >= deadline_ns
				 ? 5000
				 : (int)MIN((deadline_ns - now) / 1000000 + 1, UINT64_C(60000));
		poll(&p, 1, ms);
		if (machine_next(m, &e) > 0 && e.kind != MACHINE_ENDED)
			machine_event_done(&e);
	}
	if (reason)
		*reason = TAKE_PTR(e.text);
	enum machine_end end = e.kind == MACHINE_ENDED ? e.end : MACHINE_STOPPED;
	machine_event_done(&e);
	return end;
}
