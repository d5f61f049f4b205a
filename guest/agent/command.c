// SPDX-License-Identifier: Apache-2.0
// A command that the host asked for: from EXEC over its streams to EXIT.
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"
#include "os/relay.h"

/* One direction of one stream, between the host's connection and our end of a pipe or terminal. */
struct stream {
	struct command *cmd;
	struct relay *relay;
	int socket; /* -1: not attached, or over */
	int end;    /* -1: over */
	bool out;   /* from the command to the host */
};

struct command {
	struct agent *agent;
	struct conn *control; /* NULL once it is gone or has got EXIT */
	struct arena arena;   /* owns request */
	struct agent_exec request;
	uint64_t token;
	struct stream streams[AGENT_STREAMS];
	unsigned n_streams;
	pid_t pid; /* 0: not started; -1: reaped */
	struct loop_timer *kill_timer;
	struct command *next, **link;
};

static void stream_close(struct stream *s)
{
	relay_free(s->relay);
	s->relay = NULL;
	if (s->socket >= 0)
		close(s->socket);
	if (s->end >= 0)
		close(s->end);
	s->socket = s->end = -1;
}

static void command_free(struct command *cmd)
{
	for (unsigned i = 0; i < AGENT_STREAMS; i++)
		stream_close(&cmd->streams[i]);
	if (cmd->control)
		conn_set_command(cmd->control, NULL);
	loop_timer_free(cmd->kill_timer);
	*cmd->link = cmd->next;
	if (cmd->next)
		cmd->next->link = cmd->link;
	cmd->agent->command_count--;
	arena_done(&cmd->arena);
	free(cmd);
}

/* A command is forgotten when its process is reaped and its output delivered. */
static void free_when_over(struct command *cmd)
{
	if (cmd->pid >= 0)
		return;
	for (unsigned i = 0; i < cmd->n_streams; i++) {
		if (cmd->streams[i].out && cmd->streams[i].relay)
			return;
	}
	command_free(cmd);
}

static void on_stream_done(void *opaque, enum relay_end end, int code)
{
	struct stream *s = opaque;
	struct command *cmd = s->cmd;
	/* Either side learns it from its descriptor: end of file, or a broken pipe. On a terminal
	 * the end of input is no hang-up: the output direction still holds the master. */
	stream_close(s);
	free_when_over(cmd);
}

void command_new(struct agent *a, struct conn *control, const struct agent_exec *request,
	struct arena *arena)
{
	struct error err _error_ = ERROR_INIT;
	if (a->is_init && !a->set_up)
		error_set(&err, ENOTCONN, "SETUP must come before EXEC");
	else if (a->command_count >= COMMANDS_MAX)
		error_set(&err, EAGAIN, "%d commands are running already", COMMANDS_MAX);
	if (err.code) {
		conn_send_error(control, &err, 0);
		return;
	}
	struct command *cmd = xcalloc(1, sizeof(*cmd));
	cmd->agent = a;
	cmd->control = control;
	cmd->arena = *arena;
	*arena = ARENA_INIT;
	cmd->request = *request;
	cmd->n_streams = request->tty ? 2 : 3;
	for (unsigned i = 0; i < AGENT_STREAMS; i++)
		cmd->streams[i] = (struct stream){
			.cmd = cmd, .socket = -1, .end = -1, .out = i != AGENT_STDIN};
	/* Only the host connects, so a token must be unique rather than secret: early entropy will
	 * do, and a guest without any must not hang here. */
	if (getrandom(&cmd->token, sizeof(cmd->token), GRND_INSECURE) != sizeof(cmd->token))
		cmd->token = clock_monotonic_ns();
	cmd->next = a->commands;
	cmd->link = &a->commands;
	if (cmd->next)
		cmd->next->link = &cmd->next;
	a->commands = cmd;
	a->command_count++;
	conn_set_command(control, cmd);
	conn_send(control, &(struct agent_message){AGENT_READY, .ready = {cmd->token}});
}

/* Our ends of what the command sees as 0, 1 and 2, and the child's. */
static int open_pipes(struct command *cmd, int child[3], struct error *err)
{
	for (int i = 0; i < 3; i++) {
		int p[2];
		if (pipe2(p, O_CLOEXEC) < 0)
			return error_errno(err, errno, "pipe");
		bool out = cmd->streams[i].out;
		cmd->streams[i].end = out ? p[0] : p[1];
		child[i] = out ? p[1] : p[0];
		fcntl(cmd->streams[i].end, F_SETFL, O_NONBLOCK);
	}
	return 0;
}

static int open_terminal(struct command *cmd, int child[3], struct error *err)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (master < 0)
		return error_errno(err, errno, "terminal: /dev/ptmx");
	cmd->streams[AGENT_STDOUT].end = master;
	cmd->streams[AGENT_STDIN].end = fcntl(master, F_DUPFD_CLOEXEC, 3);
	int zero = 0;
	ioctl(master, TIOCSPTLCK, &zero);
	child[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (cmd->streams[AGENT_STDIN].end < 0 || child[0] < 0)
		return error_errno(err, errno, "terminal");
	child[1] = child[2] = child[0];
	command_resize(cmd, cmd->request.rows, cmd->request.cols);
	return 0;
}

static int start_relays(struct command *cmd, struct error *err)
{
	int r = 0;
	for (unsigned i = 0; !r && i < cmd->n_streams; i++) {
		struct stream *s = &cmd->streams[i];
		struct relay_config c = {.from = s->out ? s->end : s->socket,
			.to = s->out ? s->socket : s->end,
			.done = on_stream_done,
			.opaque = s};
		r = relay_new(&s->relay, cmd->agent->loop, &c, err);
	}
	return r;
}

static void command_start(struct command *cmd)
{
	struct error err _error_ = ERROR_INIT;
	struct spawn s = {.request = &cmd->request, .env = &cmd->agent->env, .stdio = {-1, -1, -1}};
	uint32_t exit_status = 0;
	int r = cmd->request.tty ? open_terminal(cmd, s.stdio, &err)
				 : open_pipes(cmd, s.stdio, &err);
	if (!r)
		r = spawn(&s, &cmd->pid, &exit_status, &err);
	for (int i = 0; i < (cmd->request.tty ? 1 : 3); i++) {
		if (s.stdio[i] >= 0)
			close(s.stdio[i]);
	}
	if (!r && (r = start_relays(cmd, &err)) < 0)
		kill(-cmd->pid, SIGKILL);
	if (r < 0) {
		conn_send_error(cmd->control, &err, exit_status);
		if (cmd->pid <= 0)
			command_free(cmd);
		return;
	}
	conn_send(cmd->control,
		&(struct agent_message){AGENT_STARTED, .started = {(uint32_t)cmd->pid}});
}

int command_attach(struct agent *a, const struct agent_attach *request, int fd, struct error *err)
{
	struct command *cmd = a->commands;
	while (cmd && cmd->token != request->token)
		cmd = cmd->next;
	if (!cmd || cmd->pid)
		return error_set(err, ENOENT, "no command waits for streams with this token");
	if (request->stream >= cmd->n_streams)
		return error_set(
			err, EINVAL, "stream %u of %u", (unsigned)request->stream, cmd->n_streams);
	struct stream *s = &cmd->streams[request->stream];
	if (s->socket >= 0)
		return error_set(
			err, EBUSY, "stream %u is attached already", (unsigned)request->stream);
	/* DONE must precede the stream's bytes. So few bytes always fit into a new connection. */
	uint8_t frame[AGENT_FRAME_HEAD];
	ssize_t n = agent_encode(&(struct agent_message){AGENT_DONE}, frame, sizeof(frame), err);
	if (n < 0 || send(fd, frame, (size_t)n, MSG_NOSIGNAL) != n)
		return error_set(err, EIO, "cannot answer");
	s->socket = fd;
	for (unsigned i = 0; i < cmd->n_streams; i++) {
		if (cmd->streams[i].socket < 0)
			return 0;
	}
	command_start(cmd);
	return 0;
}

void command_signal(struct command *cmd, uint32_t number)
{
	if (cmd->pid > 0 && number < (uint32_t)_NSIG)
		kill(-cmd->pid, (int)number);
}

void command_resize(struct command *cmd, uint32_t rows, uint32_t cols)
{
	struct winsize size = {.ws_row = (unsigned short)MIN(rows, 65535u),
		.ws_col = (unsigned short)MIN(cols, 65535u)};
	int master = cmd->streams[AGENT_STDOUT].end;
	if (cmd->request.tty && master >= 0 && rows && cols)
		ioctl(master, TIOCSWINSZ, &size);
}

static void kill_hard(void *opaque)
{
	struct command *cmd = opaque;
	if (cmd->pid > 0)
		kill(-cmd->pid, SIGKILL);
}

void command_abandon(struct command *cmd)
{
	cmd->control = NULL;
	if (!cmd->pid) {
		command_free(cmd);
		return;
	}
	if (cmd->pid < 0)
		return;
	kill(-cmd->pid, SIGHUP);
	kill(-cmd->pid, SIGCONT);
	if (!loop_timer_new(cmd->agent->loop, kill_hard, cmd, &cmd->kill_timer, NULL))
		loop_timer_arm(cmd->kill_timer, clock_monotonic_ns() + NS_PER_SEC);
	else
		kill_hard(cmd);
}

void command_reaped(struct agent *a, pid_t pid, int wait_status)
{
	struct command *cmd = a->commands;
	while (cmd && cmd->pid != pid)
		cmd = cmd->next;
	if (!cmd)
		return; /* an orphan */
	cmd->pid = -1;
	struct agent_message m = {AGENT_EXIT};
	if (WIFSIGNALED(wait_status))
		m.exit.signal = (uint32_t)WTERMSIG(wait_status);
	else
		m.exit.status = (uint32_t)WEXITSTATUS(wait_status);
	if (cmd->control) {
		conn_send(cmd->control, &m);
		conn_set_command(cmd->control, NULL);
		cmd->control = NULL;
	}
	stream_close(&cmd->streams[AGENT_STDIN]);
	for (unsigned i = 0; i < cmd->n_streams; i++) {
		if (cmd->streams[i].out && cmd->streams[i].relay)
			relay_drain(cmd->streams[i].relay);
	}
	free_when_over(cmd);
}
