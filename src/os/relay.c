// SPDX-License-Identifier: Apache-2.0
#include "os/relay.h"

#include <limits.h>
#include <poll.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct relay {
	struct loop *loop;
	struct relay_config c;
	struct loop_fd *in, *out; /* NULL: epoll refuses the descriptor (a file), always ready */
	bool to_blocks;		  /* `to` is shared with others, so it must stay blocking */
	bool eof, drain, ended;
	enum relay_end verdict;
	int code;
	bool posted, freed; /* a turn is queued; it frees the relay when that was asked for */
	bool bounded;	    /* left counts down when draining */
	uint64_t left, total;
	size_t start, end;
	uint8_t buf[64 * 1024];
};

/* done() may free the relay, so it is called last in a turn: here only the verdict. */
static void conclude(struct relay *r, enum relay_end end, int code)
{
	r->ended = true;
	r->verdict = end;
	r->code = code;
}

static void finish(struct relay *r)
{
	if (r->in)
		loop_fd_set(r->in, 0);
	if (r->out)
		loop_fd_set(r->out, 0);
	r->c.done(r->c.opaque, r->verdict, r->code);
}

/* True when the buffer is empty, false when it must wait or has ended. */
static bool flush(struct relay *r)
{
	while (r->start < r->end) {
		size_t n = r->end - r->start;
		if (r->to_blocks) {
			/* A pipe that polls writable takes PIPE_BUF bytes without blocking. */
			struct pollfd p = {r->c.to, POLLOUT, 0};
			if (poll(&p, 1, 0) == 0)
				return false;
			n = MIN(n, (size_t)PIPE_BUF);
		}
		ssize_t done = write(r->c.to, r->buf + r->start, n);
		if (done < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN)
				return false;
			bool gone = errno == EPIPE || errno == ECONNRESET;
			conclude(r, gone ? RELAY_BROKEN : RELAY_FAILED, errno);
			return false;
		}
		r->start += (size_t)done;
		r->total += (uint64_t)done;
	}
	r->start = r->end = 0;
	return true;
}

/* True when bytes came. */
static bool fill(struct relay *r)
{
	size_t want = sizeof(r->buf);
	if (r->bounded && r->left < want)
		want = (size_t)r->left;
	ssize_t n = want ? read(r->c.from, r->buf, want) : 0;
	if (n < 0 && (errno == EINTR || (errno == EAGAIN && !r->drain)))
		return false;
	/* A terminal's master says EIO when the last slave is closed. */
	if (n < 0 && errno != EIO && errno != EAGAIN && errno != ECONNRESET) {
		conclude(r, RELAY_FAILED, errno);
		return false;
	}
	if (n <= 0) {
		r->eof = true;
		return false;
	}
	if (r->bounded)
		r->left -= (uint64_t)n;
	r->end = (size_t)n;
	if (r->c.filter)
		r->end = r->c.filter(r->c.opaque, r->buf, r->end);
	return true;
}

static void turn(void *opaque);

static void post(struct relay *r)
{
	if (r->posted)
		return;
	r->posted = true;
	loop_post(r->loop, turn, r);
}

/* One piece, then back to the loop, so that a fast stream does not starve the others. */
static void work(struct relay *r)
{
	if (r->ended)
		return;
	bool empty = flush(r);
	if (empty && !r->eof && !r->ended && fill(r))
		empty = flush(r);
	if (empty && r->eof && !r->ended)
		conclude(r, RELAY_EOF, 0);
	if (r->ended) {
		finish(r);
		return;
	}
	/* EPOLLERR alone still tells that the reader went away. */
	if (r->out)
		loop_fd_set(r->out, empty ? EPOLLERR : EPOLLOUT);
	if (r->in && !r->drain)
		loop_fd_set(r->in, empty ? EPOLLIN : 0);
	else if (empty)
		post(r);
}

static void turn(void *opaque)
{
	struct relay *r = opaque;
	r->posted = false;
	if (r->freed)
		free(r);
	else
		work(r);
}

static void on_readable(void *opaque, int fd, uint32_t events)
{
	/* A spurious wake-up must not block in read(): look before. */
	struct pollfd p = {fd, POLLIN, 0};
	if (poll(&p, 1, 0) > 0)
		work(opaque);
}

static void on_writable(void *opaque, int fd, uint32_t events)
{
	struct relay *r = opaque;
	if (r->start < r->end || !(events & (EPOLLERR | EPOLLHUP))) {
		work(r);
	} else {
		conclude(r, RELAY_BROKEN, EPIPE);
		finish(r);
	}
}

static int watch(struct relay *r, int fd, uint32_t events, loop_fd_fn *fn, struct loop_fd **out,
	struct error *err)
{
	struct error inner _error_ = ERROR_INIT;
	int status = loop_fd_add(r->loop, fd, events, fn, r, out, &inner);
	if (status < 0 && status != -EPERM)
		return error_set(err, -status, "%s", inner.message);
	return 0;
}

int relay_new(
	struct relay **out, struct loop *loop, const struct relay_config *config, struct error *err)
{
	struct relay *r = xcalloc(1, sizeof(*r));
	r->loop = loop;
	r->c = *config;
	r->to_blocks = !(fcntl(r->c.to, F_GETFL) & O_NONBLOCK);
	int status = watch(r, r->c.from, EPOLLIN, on_readable, &r->in, err);
	if (!status)
		status = watch(r, r->c.to, EPOLLERR, on_writable, &r->out, err);
	if (status) {
		relay_free(r);
		return status;
	}
	if (!r->out)
		r->to_blocks = false; /* a file: never waits */
	if (!r->in)
		post(r);
	*out = r;
	return 0;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	loop_fd_remove(r->in);
	loop_fd_remove(r->out);
	r->in = r->out = NULL;
	r->ended = true;
	if (r->posted)
		r->freed = true;
	else
		free(r);
}

void relay_drain(struct relay *r)
{
	int queued = 0;
	if (r->ended || r->drain)
		return;
	r->drain = true;
	/* Another writer may go on for ever: only what a pipe holds now. A terminal's buffers are
	 * not all counted, but it is ours alone and drains to EIO or EAGAIN. */
	struct stat st;
	if (fstat(r->c.from, &st) == 0 && S_ISFIFO(st.st_mode) &&
		ioctl(r->c.from, FIONREAD, &queued) == 0) {
		r->bounded = true;
		r->left = (uint64_t)MAX(queued, 0);
	}
	if (r->in)
		loop_fd_set(r->in, 0);
	post(r);
}

uint64_t relay_total(const struct relay *r)
{
	return r->total;
}
