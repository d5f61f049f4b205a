// SPDX-License-Identifier: Apache-2.0
#include "device/serial.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Registers, and their bits. */
enum { DATA = 0, IER = 1, IIR_FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { IER_RDI = 1, IER_THRI = 2, IER_RLSI = 4, IER_MSI = 8 };
enum { IIR_NONE = 0x01, IIR_MSI = 0x00, IIR_THRI = 0x02, IIR_RDI = 0x04, IIR_RLSI = 0x06 };
enum { IIR_TIMEOUT = 0x0c, IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum { LSR_DR = 1, LSR_OE = 2, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

enum {
	RX_BYTES = 1024,
	TX_BYTES = 1 << 16,
	TX_ROOM = 16,	    /* a driver that saw an empty transmitter writes a FIFO full */
	TX_SOON = 1 << 12,  /* so much is written at once */
	WRITE_BYTES = 4096, /* a pipe that polls as writable takes these without blocking */
};
/* Output is collected for this long: a guest's console writes byte by byte. */
#define TX_DELAY_NS UINT64_C(1000000)

struct ring {
	uint8_t *bytes;
	uint32_t size, head, len;
};

struct serial {
	struct bus *bus;
	gpa_t base;
	struct irq_line irq;
	serial_tap_fn *tap;
	void *tap_opaque;
	/* The loop's thread only: */
	int in_fd, out_fd;
	uint64_t log_bytes; /* serial.h */
	struct loop_fd *in_watch, *out_watch;
	bool in_plain; /* a regular file, which epoll refuses: always ready */
	struct loop_timer *kick;

	pthread_mutex_t lock; /* guards all below */
	uint8_t ier, fcr, lcr, mcr, lsr_errors, msr, scr;
	uint16_t divisor;
	bool thr_empty; /* the "transmitter empty" interrupt waits to be seen */
	struct ring rx, tx;
	bool in_paused; /* no room in rx */
	bool out_waits; /* the loop watches for out_fd to take more */
	bool kicked;	/* the timer is armed */
};

static void ring_put(struct ring *r, uint8_t byte)
{
	r->bytes[(r->head + r->len++) % r->size] = byte;
}

static uint8_t ring_get(struct ring *r)
{
	uint8_t byte = r->bytes[r->head];
	r->head = (r->head + 1) % r->size;
	r->len--;
	return byte;
}

/* --- registers; the lock is held --- */

static bool tx_ready(const struct serial *p)
{
	return p->tx.size - p->tx.len >= TX_ROOM;
}

static unsigned rx_trigger(const struct serial *p)
{
	static const uint8_t trigger[4] = {1, 4, 8, 14};
	return p->fcr & FCR_ENABLE ? trigger[p->fcr >> 6] : 1;
}

static uint8_t interrupt_id(const struct serial *p)
{
	if (p->ier & IER_RLSI && p->lsr_errors)
		return IIR_RLSI;
	if (p->ier & IER_RDI && p->rx.len)
		return p->rx.len >= rx_trigger(p) ? IIR_RDI : IIR_TIMEOUT;
	if (p->ier & IER_THRI && p->thr_empty)
		return IIR_THRI;
	if (p->ier & IER_MSI && p->msr & 0x0f)
		return IIR_MSI;
	return IIR_NONE;
}

static void update_irq(struct serial *p)
{
	irq_line_set(&p->irq, interrupt_id(p) != IIR_NONE);
}

static void kick(struct serial *p, bool at_once)
{
	if (p->kicked && !at_once)
		return;
	p->kicked = true;
	loop_timer_arm(p->kick, at_once ? 0 : clock_monotonic_ns() + TX_DELAY_NS);
}

static size_t transmit(struct serial *p, const uint8_t *bytes, size_t len)
{
	size_t n = MIN(len, (size_t)(p->tx.size - p->tx.len));
	if (p->tap && n)
		p->tap(p->tap_opaque, bytes, n);
	for (size_t i = 0; i < n; i++)
		ring_put(&p->tx, bytes[i]);
	if (n && !p->out_waits)
		kick(p, p->tx.len >= TX_SOON && p->tx.len - n < TX_SOON);
	return n;
}

static void modem_lines(struct serial *p)
{
	uint8_t lines = MSR_CTS | MSR_DSR | MSR_DCD;
	if (p->mcr & MCR_LOOP)
		lines = (uint8_t)((p->mcr & MCR_RTS ? MSR_CTS : 0) |
				  (p->mcr & MCR_DTR ? MSR_DSR : 0) |
				  (p->mcr & MCR_OUT1 ? MSR_RI : 0) |
				  (p->mcr & MCR_OUT2 ? MSR_DCD : 0));
	uint8_t changed = (uint8_t)((lines ^ p->msr) & 0xf0);
	/* The ring indicator's delta bit is set by its trailing edge only. */
	if (lines & MSR_RI)
		changed &= (uint8_t)~MSR_RI;
	p->msr = (uint8_t)(lines | (p->msr & 0x0f) | changed >> 4);
}

static void write_data(struct serial *p, uint8_t v)
{
	p->thr_empty = false;
	if (p->mcr & MCR_LOOP) {
		if (p->rx.len < p->rx.size)
			ring_put(&p->rx, v);
		else
			p->lsr_errors |= LSR_OE;
	} else {
		transmit(p, &v, 1); /* a driver that does not look at LSR loses what has no room */
	}
	p->thr_empty = tx_ready(p);
}

static uint8_t read_data(struct serial *p)
{
	if (!p->rx.len)
		return 0;
	uint8_t v = ring_get(&p->rx);
	if (p->in_paused && p->rx.len <= p->rx.size / 2)
		kick(p, true);
	return v;
}

static void write_fcr(struct serial *p, uint8_t v)
{
	if ((v ^ p->fcr) & FCR_ENABLE)
		v |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	if (v & FCR_CLEAR_RX) {
		p->rx.len = 0;
		if (p->in_paused)
			kick(p, true);
	}
	/* What is in the transmit buffer has left the port, as the guest sees it. */
	p->fcr = v & FCR_ENABLE ? v & 0xc9 : 0;
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned bytes)
{
	struct serial *p = opaque;
	uint8_t v = 0;
	pthread_mutex_lock(&p->lock);
	bool dlab = p->lcr & LCR_DLAB;
	switch (offset) {
	case DATA:
		v = dlab ? (uint8_t)p->divisor : read_data(p);
		break;
	case IER:
		v = dlab ? (uint8_t)(p->divisor >> 8) : p->ier;
		break;
	case IIR_FCR:
		v = interrupt_id(p);
		if (v == IIR_THRI)
			p->thr_empty = false;
		v |= p->fcr & FCR_ENABLE ? IIR_FIFO : 0;
		break;
	case LCR:
		v = p->lcr;
		break;
	case MCR:
		v = p->mcr;
		break;
	case LSR:
		v = (uint8_t)((p->rx.len ? LSR_DR : 0) | (tx_ready(p) ? LSR_THRE | LSR_TEMT : 0) |
			      p->lsr_errors);
		p->lsr_errors = 0;
		break;
	case MSR:
		v = p->msr;
		p->msr &= 0xf0;
		break;
	case SCR:
		v = p->scr;
		break;
	}
	update_irq(p);
	pthread_mutex_unlock(&p->lock);
	return v;
}

static void serial_write(void *opaque, uint64_t offset, unsigned bytes, uint64_t value)
{
	struct serial *p = opaque;
	uint8_t v = (uint8_t)value;
	pthread_mutex_lock(&p->lock);
	bool dlab = p->lcr & LCR_DLAB;
	switch (offset) {
	case DATA:
		if (dlab)
			p->divisor = (uint16_t)((p->divisor & 0xff00) | v);
		else
			write_data(p, v);
		break;
	case IER:
		if (dlab) {
			p->divisor = (uint16_t)((p->divisor & 0x00ff) | v << 8);
			break;
		}
		/* Enabling it while the transmitter is empty raises it at once (drivers test this).
		 */
		if (v & ~p->ier & IER_THRI)
			p->thr_empty = tx_ready(p);
		p->ier = v & 0x0f;
		break;
	case IIR_FCR:
		write_fcr(p, v);
		break;
	case LCR:
		p->lcr = v;
		break;
	case MCR:
		p->mcr = v & 0x1f;
		modem_lines(p);
		break;
	case SCR:
		p->scr = v;
		break;
	}
	update_irq(p);
	pthread_mutex_unlock(&p->lock);
}

static const struct bus_ops serial_ops = {serial_read, serial_write, 1, 1};

size_t serial_put(struct serial *p, const void *bytes, size_t len)
{
	pthread_mutex_lock(&p->lock);
	size_t n = transmit(p, bytes, len);
	pthread_mutex_unlock(&p->lock);
	return n;
}

size_t serial_get(struct serial *p, void *bytes, size_t len)
{
	uint8_t *to = bytes;
	size_t n = 0;
	pthread_mutex_lock(&p->lock);
	while (n < len && p->rx.len)
		to[n++] = read_data(p);
	if (n)
		update_irq(p);
	pthread_mutex_unlock(&p->lock);
	return n;
}

/* --- the cable; on the loop's thread --- */

/* Copies what waits for output. The bytes stay in the ring until they are written. */
static size_t tx_peek(struct serial *p, uint8_t *to, size_t max)
{
	pthread_mutex_lock(&p->lock);
	size_t n = MIN((size_t)p->tx.len, max);
	for (size_t i = 0; i < n; i++)
		to[i] = p->tx.bytes[(p->tx.head + i) % p->tx.size];
	pthread_mutex_unlock(&p->lock);
	return n;
}

static void tx_drop(struct serial *p, size_t n)
{
	pthread_mutex_lock(&p->lock);
	bool was_ready = tx_ready(p);
	n = MIN(n, (size_t)p->tx.len);
	p->tx.head = (p->tx.head + (uint32_t)n) % p->tx.size;
	p->tx.len -= (uint32_t)n;
	if (!was_ready && tx_ready(p)) {
		p->thr_empty = true;
		update_irq(p);
	}
	pthread_mutex_unlock(&p->lock);
}

static bool writable_now(int fd, int timeout_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	return poll(&pfd, 1, timeout_ms) == 1;
}

/* Room for n more bytes in a log: the older half makes it. */
static void trim_log(int fd, uint64_t limit, size_t n)
{
	uint8_t chunk[WRITE_BYTES];
	off_t end = lseek(fd, 0, SEEK_CUR);
	if (end < 0 || (uint64_t)end + n <= limit)
		return;
	off_t from = end - (off_t)MIN((uint64_t)end, limit / 2), to = 0;
	while (from < end) {
		ssize_t got = pread(fd, chunk, (size_t)MIN((off_t)sizeof(chunk), end - from), from);
		if (got <= 0 || pwrite(fd, chunk, (size_t)got, to) != got)
			break; /* what was moved so far has to do */
		from += got;
		to += got;
	}
	if (ftruncate(fd, to) == 0)
		lseek(fd, to, SEEK_SET);
}

/* Writes until the buffer is empty or the reader is slow. */
static void drain(struct serial *p, int timeout_ms)
{
	uint8_t chunk[WRITE_BYTES];
	for (;;) {
		size_t n = tx_peek(p, chunk, sizeof(chunk));
		if (!n)
			return;
		if (p->out_fd < 0) {
			tx_drop(p, n);
			continue;
		}
		if (!writable_now(p->out_fd, timeout_ms))
			return;
		if (p->log_bytes)
			trim_log(p->out_fd, p->log_bytes, n);
		ssize_t done = write(p->out_fd, chunk, n);
		if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (timeout_ms <= 0)
				return;
			continue;
		}
		/* A reader that is gone, a full disk: the guest goes on without its console. */
		tx_drop(p, done > 0 ? (size_t)done : n);
	}
}

static void pump_output(struct serial *p)
{
	drain(p, 0);
	pthread_mutex_lock(&p->lock);
	bool waits = p->tx.len > 0;
	p->out_waits = waits && p->out_watch;
	if (waits && !p->out_watch)
		kick(p, false);
	pthread_mutex_unlock(&p->lock);
	if (p->out_watch)
		loop_fd_set(p->out_watch, waits ? EPOLLOUT : 0);
}

static void on_out(void *opaque, int fd, uint32_t events)
{
	pump_output(opaque);
}

static void end_input(struct serial *p)
{
	loop_fd_remove(p->in_watch);
	p->in_watch = NULL;
	p->in_plain = false;
	if (p->in_fd >= 0 && p->in_fd != p->out_fd)
		close(p->in_fd);
	p->in_fd = -1;
}

static void pump_input(struct serial *p)
{
	if (p->in_fd < 0)
		return;
	uint8_t chunk[RX_BYTES];
	pthread_mutex_lock(&p->lock);
	size_t room = p->rx.size - p->rx.len;
	pthread_mutex_unlock(&p->lock);
	struct pollfd pfd = {.fd = p->in_fd, .events = POLLIN};
	/* Only this thread adds to rx, but for a guest in loopback mode: room is checked again. */
	if (room && poll(&pfd, 1, 0) == 1) {
		ssize_t n = read(p->in_fd, chunk, room);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			end_input(p);
			return;
		}
		pthread_mutex_lock(&p->lock);
		for (ssize_t i = 0; i < n && p->rx.len < p->rx.size; i++)
			ring_put(&p->rx, chunk[i]);
		update_irq(p);
		pthread_mutex_unlock(&p->lock);
	}
	pthread_mutex_lock(&p->lock);
	p->in_paused = p->rx.len == p->rx.size || p->in_plain;
	bool watch = p->rx.len < p->rx.size;
	pthread_mutex_unlock(&p->lock);
	if (p->in_watch)
		loop_fd_set(p->in_watch, watch ? EPOLLIN : 0);
}

static void on_in(void *opaque, int fd, uint32_t events)
{
	pump_input(opaque);
}

static void on_kick(void *opaque)
{
	struct serial *p = opaque;
	pthread_mutex_lock(&p->lock);
	p->kicked = false;
	pthread_mutex_unlock(&p->lock);
	pump_output(p);
	pump_input(p);
}

void serial_flush(struct serial *p, int timeout_ms)
{
	drain(p, timeout_ms);
}

/* --- life --- */

static void registers_reset(struct serial *p)
{
	p->ier = p->fcr = p->lcr = p->mcr = p->lsr_errors = p->scr = 0;
	p->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	p->divisor = 12;
	p->thr_empty = false;
	p->rx.len = 0;
}

/* Regular files cannot be watched and need not be. */
static int watch(struct serial *p, struct loop *loop, int fd, uint32_t events, loop_fd_fn *fn,
	struct loop_fd **out, bool *plain, struct error *err)
{
	struct error ignored _error_ = ERROR_INIT;
	int r = loop_fd_add(loop, fd, events ? events : EPOLLOUT, fn, p, out, &ignored);
	if (r == -EPERM) {
		*plain = true;
		return 0;
	}
	if (r < 0)
		return error_errno(err, -r, "serial port: watch descriptor %d", fd);
	loop_fd_set(*out, events);
	return 0;
}

int serial_new(struct serial **out, struct bus *bus, struct loop *loop,
	const struct serial_config *config, struct error *err)
{
	struct serial *p = xcalloc(1, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->base = config->base;
	p->irq = config->irq;
	p->tap = config->tap;
	p->tap_opaque = config->tap_opaque;
	p->in_fd = p->out_fd = -1;
	p->rx = (struct ring){xmalloc(RX_BYTES), RX_BYTES};
	p->tx = (struct ring){xmalloc(TX_BYTES), TX_BYTES};
	registers_reset(p);
	int in_fd = config->in_fd, out_fd = config->out_fd;
	bool plain; /* a regular file takes all that is written: no need to know */
	int r = loop_timer_new(loop, on_kick, p, &p->kick, err);
	/* The same descriptor for both directions needs two entries in epoll, so a second number.
	 */
	if (r == 0 && in_fd >= 0 && in_fd == out_fd) {
		out_fd = dup(in_fd);
		if (out_fd < 0)
			r = error_errno(err, errno, "serial port");
	}
	if (r == 0 && in_fd >= 0)
		r = watch(p, loop, in_fd, EPOLLIN, on_in, &p->in_watch, &p->in_plain, err);
	if (r == 0 && out_fd >= 0)
		r = watch(p, loop, out_fd, 0, on_out, &p->out_watch, &plain, err);
	if (r == 0)
		r = bus_add(bus, config->base, SERIAL_BYTES, &serial_ops, p, "serial", err);
	if (r < 0) {
		if (out_fd >= 0 && out_fd != config->out_fd)
			close(out_fd);
		serial_free(p);
		return r;
	}
	p->bus = bus;
	p->in_fd = in_fd;
	p->out_fd = out_fd;
	p->log_bytes = config->log_bytes;
	if (p->in_plain)
		pump_input(p);
	*out = p;
	return 0;
}

void serial_free(struct serial *p)
{
	if (!p)
		return;
	if (p->bus)
		bus_remove(p->bus, p->base);
	loop_timer_free(p->kick);
	loop_fd_remove(p->out_watch);
	end_input(p);
	if (p->out_fd >= 0)
		close(p->out_fd);
	free(p->rx.bytes);
	free(p->tx.bytes);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void serial_reset(struct serial *p)
{
	pthread_mutex_lock(&p->lock);
	registers_reset(p);
	update_irq(p);
	pthread_mutex_unlock(&p->lock);
	pump_input(p);
}

void serial_state(struct serial *p, struct state *s)
{
	pthread_mutex_lock(&p->lock);
	if (state_begin(s, "serial", 1)) {
		state_u8(s, "ier", &p->ier);
		state_u8(s, "fcr", &p->fcr);
		state_u8(s, "lcr", &p->lcr);
		state_u8(s, "mcr", &p->mcr);
		state_u8(s, "lsr_errors", &p->lsr_errors);
		state_u8(s, "msr", &p->msr);
		state_u8(s, "scr", &p->scr);
		state_u16(s, "divisor", &p->divisor);
		state_bool(s, "thr_empty", &p->thr_empty);
		/* Input that the guest has not read; output has left the port. */
		uint8_t bytes[RX_BYTES];
		uint32_t len = p->rx.len;
		for (uint32_t i = 0; i < RX_BYTES; i++)
			bytes[i] = i < len ? p->rx.bytes[(p->rx.head + i) % RX_BYTES] : 0;
		state_u32(s, "rx.len", &len);
		if (len > RX_BYTES)
			state_fail(s, "serial port with %u bytes of input", len);
		state_bytes(s, "rx", bytes, sizeof(bytes));
		if (!state_saving(s) && len <= RX_BYTES) {
			memcpy(p->rx.bytes, bytes, sizeof(bytes));
			p->rx.head = 0;
			p->rx.len = len;
		}
	}
	state_end(s);
	if (!state_saving(s)) {
		p->ier &= 0x0f;
		p->fcr &= 0xc9;
		p->mcr &= 0x1f;
		update_irq(p);
	}
	pthread_mutex_unlock(&p->lock);
}
