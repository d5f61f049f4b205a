// SPDX-License-Identifier: Apache-2.0
#include "cli/session.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/relay.h"
#include "os/term.h"

enum { ESCAPE = 0x1d /* Ctrl-] */, ESCAPE_TIMES = 3, LEAVE_GRACE_S = 3, INSIST_TIMES = 3 };

struct session {
	const struct session_options *o;
	struct session_result *result;
	struct loop *loop;
	struct relay *relays[AGENT_STREAMS];
	struct loop_fd *control, *machine, *signals;
	struct loop_timer *leave_timer;
	struct term_raw *raw;
	bool exited; /* EXIT came */
	unsigned escapes, interrupts;
	uint64_t first_escape_ns, first_interrupt_ns;
	struct error error; /* why it ended otherwise */
};

/* One end of a stream is over: our socket says so to the guest. */
static void close_stream(struct session *s, int i)
{
	relay_free(s->relays[i]);
	s->relays[i] = NULL;
	int *fd = &s->o->process->streams[i];
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void stop_when_over(struct session *s)
{
	if (s->exited && !s->relays[AGENT_STDOUT] && !s->relays[AGENT_STDERR])
		loop_stop(s->loop);
}

static void on_input_end(void *opaque, enum relay_end end, int code)
{
	close_stream(opaque, AGENT_STDIN);
}

static void on_stdout_end(void *opaque, enum relay_end end, int code)
{
	struct session *s = opaque;
	if (end == RELAY_FAILED)
		error_errno(&s->error, code, "standard output");
	close_stream(s, AGENT_STDOUT);
	stop_when_over(s);
}

static void on_stderr_end(void *opaque, enum relay_end end, int code)
{
	close_stream(opaque, AGENT_STDERR);
	stop_when_over(opaque);
}

static void send_signal(struct session *s, int number)
{
	agent_send(s->o->process->control,
		&(struct agent_message){AGENT_SIGNAL, .signal = {(uint32_t)number}}, NULL);
}

static void send_size(struct session *s)
{
	struct agent_message m = {AGENT_RESIZE};
	if (s->o->tty && term_size(STDIN_FILENO, &m.resize.rows, &m.resize.cols))
		agent_send(s->o->process->control, &m, NULL);
}

static void give_up_waiting(void *opaque)
{
	struct session *s = opaque;
	s->result->status = 128 + SIGKILL;
	loop_stop(s->loop);
}

/* The guest's command is told by SIGHUP; one that does not listen is left behind. */
static void leave(struct session *s)
{
	s->result->left = true;
	send_signal(s, SIGHUP);
	send_signal(s, SIGCONT);
	loop_timer_arm(s->leave_timer, clock_monotonic_ns() + LEAVE_GRACE_S * NS_PER_SEC);
}

static size_t find_escape(void *opaque, uint8_t *bytes, size_t n)
{
	struct session *s = opaque;
	for (size_t i = 0; i < n; i++) {
		uint64_t now = clock_monotonic_ns();
		if (bytes[i] != ESCAPE) {
			s->escapes = 0;
			continue;
		}
		if (!s->escapes || now - s->first_escape_ns > NS_PER_SEC) {
			s->escapes = 0;
			s->first_escape_ns = now;
		}
		if (++s->escapes == ESCAPE_TIMES) {
			leave(s);
			return 0;
		}
	}
	return n;
}

static void suspend(struct session *s)
{
	term_raw_suspend(s->raw);
	raise(SIGSTOP);
	term_raw_resume(s->raw);
	send_size(s);
}

/* A guest that does not react must not hold its user: three interrupts within two seconds. */
static void insist(struct session *s)
{
	uint64_t now = clock_monotonic_ns();
	if (!s->interrupts || now - s->first_interrupt_ns > 2 * NS_PER_SEC) {
		s->interrupts = 0;
		s->first_interrupt_ns = now;
	}
	if (++s->interrupts == INSIST_TIMES) {
		s->result->status = 128 + SIGINT;
		loop_stop(s->loop);
	}
}

static void on_signal(void *opaque, int fd, uint32_t events)
{
	struct session *s = opaque;
	struct signalfd_siginfo si;
	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGWINCH:
			send_size(s);
			break;
		case SIGTSTP:
			suspend(s);
			break;
		case SIGCONT:
			term_raw_resume(s->raw);
			break;
		case SIGINT:
			insist(s);
			send_signal(s, SIGINT);
			break;
		default:
			send_signal(s, (int)si.ssi_signo);
		}
	}
}

static void on_control(void *opaque, int fd, uint32_t events)
{
	struct session *s = opaque;
	struct agent_message m;
	struct error err _error_ = ERROR_INIT;
	int r;
	while ((r = agent_poll(s->o->process->control, &m, &err)) > 0) {
		if (m.type != AGENT_EXIT)
			continue;
		uint32_t signal = m.exit.signal & 127;
		s->result->status = signal ? 128 + (int)signal : (int)(m.exit.status & 255);
		s->exited = true;
		loop_fd_set(s->control, 0);
		stop_when_over(s);
		return;
	}
	if (r < 0) {
		/* The machine's own end, told a moment later, explains it better. */
		error_set(&s->error, -r, "the guest's agent is gone: %s", err.message);
		loop_fd_set(s->control, 0);
		loop_timer_arm(s->leave_timer, clock_monotonic_ns() + LEAVE_GRACE_S * NS_PER_SEC);
	}
}

static void on_machine(void *opaque, int fd, uint32_t events)
{
	struct session *s = opaque;
	struct machine_event e;
	while (machine_next(s->o->machine, &e) > 0) {
		if (e.kind == MACHINE_ENDED && !s->exited) {
			s->result->machine_ended = true;
			s->result->end = e.end;
			s->result->reason = TAKE_PTR(e.text);
		}
		bool over = e.kind == MACHINE_ENDED;
		machine_event_done(&e);
		if (over) {
			loop_fd_set(s->machine, 0);
			loop_stop(s->loop);
			return;
		}
	}
}

static int start(struct session *s, struct error *err)
{
	const struct session_options *o = s->o;
	int *streams = o->process->streams;
	struct relay_config c[AGENT_STREAMS] = {
		{STDIN_FILENO, streams[0], o->tty ? find_escape : NULL, on_input_end, s},
		{streams[1], STDOUT_FILENO, NULL, on_stdout_end, s},
		{streams[2], STDERR_FILENO, NULL, on_stderr_end, s}};
	int r = loop_new(&s->loop, err);
	if (!r)
		r = loop_timer_new(s->loop, give_up_waiting, s, &s->leave_timer, err);
	if (!o->input)
		close_stream(s, AGENT_STDIN);
	for (int i = 0; !r && i < AGENT_STREAMS; i++) {
		if (streams[i] >= 0)
			r = relay_new(&s->relays[i], s->loop, &c[i], err);
	}
	if (!r)
		r = loop_fd_add(s->loop, agent_conn_fd(o->process->control), EPOLLIN, on_control, s,
			&s->control, err);
	if (!r)
		r = loop_fd_add(
			s->loop, machine_fd(o->machine), EPOLLIN, on_machine, s, &s->machine, err);
	if (!r)
		r = loop_fd_add(s->loop, o->signal_fd, EPOLLIN, on_signal, s, &s->signals, err);
	if (!r && o->tty)
		r = term_raw_begin(&s->raw, STDIN_FILENO, err);
	return r;
}

int session_run(const struct session_options *o, struct session_result *out, struct error *err)
{
	struct session s = {.o = o, .result = out};
	*out = (struct session_result){.status = -1};
	int r = start(&s, err);
	if (!r) {
		send_size(&s); /* it may have changed since EXEC */
		r = loop_run(s.loop, err);
	}
	term_raw_end(s.raw);
	for (int i = 0; i < AGENT_STREAMS; i++)
		relay_free(s.relays[i]);
	loop_timer_free(s.leave_timer);
	loop_fd_remove(s.control);
	loop_fd_remove(s.machine);
	loop_fd_remove(s.signals);
	loop_free(s.loop);
	if (!r && s.error.code && !out->machine_ended && (out->status < 0 || s.exited)) {
		r = -s.error.code;
		*err = s.error;
		s.error = ERROR_INIT;
	}
	error_done(&s.error);
	return r;
}
