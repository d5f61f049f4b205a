// SPDX-License-Identifier: Apache-2.0
// Console device (virtio 1.2, 5.3): byte streams between the guest and pairs of descriptors.
//
// Nothing is buffered here. The guest's bytes go from its buffer straight to the descriptor; when
// that takes no more, the buffer goes back to the ring and only `tx_done` remembers how far we
// were. In the other direction nothing is read before the guest has given a buffer. Likewise,
// control messages to the guest are bits of what it has still to be told, not a queue.
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "device/virtio/devices.h"

enum { F_SIZE = 0, F_MULTIPORT = 1 };
#define BIT(n) (UINT64_C(1) << (n))

enum { /* struct virtio_console_config */
	CONFIG_COLS = 0,
	CONFIG_ROWS = 2,
	CONFIG_MAX_PORTS = 4,
	CONFIG_BYTES = 12,
};

enum control_event { /* 5.3.6.2 */
	EVENT_DEVICE_READY,
	EVENT_DEVICE_ADD,
	EVENT_DEVICE_REMOVE,
	EVENT_PORT_READY,
	EVENT_CONSOLE_PORT,
	EVENT_RESIZE,
	EVENT_PORT_OPEN,
	EVENT_PORT_NAME,
	EVENT_COUNT,
};

enum {
	CONTROL_BYTES = 8,
	QUEUE_CONTROL_RX = 2, /* named, as all queues, from the driver's side */
	QUEUE_CONTROL_TX = 3,
	PORTS_MAX = 31,
	NAME_MAX_BYTES = 64,
	BATCH = 64, /* buffers before others on the loop have their turn */
};

struct port {
	struct console *console;
	unsigned index;
	char *name;	   /* owned; NULL: a console */
	int in_fd, out_fd; /* owned, may be equal; -1: at its end */
	struct loop_fd *in_watch,
		*out_watch; /* equal when the descriptors are; NULL: always ready */
	bool in_wanted, out_wanted;
	bool guest_open;
	uint8_t untold;	  /* bits of enum control_event: messages that the guest is still to get */
	uint64_t tx_done; /* bytes of the next transmitted buffer that are written already */
};

struct console {
	struct virtio_device *device; /* not owned: owns us */
	struct loop *loop;
	uint64_t features; /* negotiated */
	_Atomic uint16_t columns, rows;
	unsigned port_count;
	struct iovec iov[VIRTIO_CHAIN_MAX]; /* the rest of the buffer that is being written */
	struct port ports[];
};

static bool multiport(const struct console *c)
{
	return c->features & BIT(F_MULTIPORT);
}

static struct virtio_queue *rx_queue(struct port *p)
{
	return virtio_queue_get(p->console->device, p->index ? 2 + p->index * 2 : 0);
}
static struct virtio_queue *tx_queue(struct port *p)
{
	return virtio_queue_get(p->console->device, p->index ? 3 + p->index * 2 : 1);
}

/* --- control messages --- */

static size_t control_message(struct port *p, enum control_event event, uint8_t *out)
{
	struct console *c = p->console;
	size_t n = CONTROL_BYTES;
	uint16_t value = 1;
	if (event == EVENT_PORT_OPEN)
		value = p->in_fd >= 0 || p->out_fd >= 0;
	store_le32(out, p->index);
	store_le16(out + 4, (uint16_t)event);
	store_le16(out + 6, value);
	if (event == EVENT_RESIZE) {
		store_le16(out + n, atomic_load(&c->columns));
		store_le16(out + n + 2, atomic_load(&c->rows));
		n += 4;
	} else if (event == EVENT_PORT_NAME) {
		size_t len = strlen(p->name);
		memcpy(out + n, p->name, len);
		n += len;
	}
	return n;
}

/* Tells the guest what it is to know, as far as it has given buffers. */
static void pump_control(struct console *c)
{
	static const enum control_event order[] = {EVENT_DEVICE_ADD, EVENT_CONSOLE_PORT,
		EVENT_PORT_NAME, EVENT_RESIZE, EVENT_PORT_OPEN};
	struct virtio_queue *vq = virtio_queue_get(c->device, QUEUE_CONTROL_RX);
	struct virtio_chain chain;
	if (!multiport(c))
		return;
	for (unsigned i = 0; i < c->port_count * ARRAY_SIZE(order); i++) {
		struct port *p = &c->ports[i / ARRAY_SIZE(order)];
		enum control_event event = order[i % ARRAY_SIZE(order)];
		if (!(p->untold & BIT(event)))
			continue;
		if (virtio_queue_pop(vq, &chain) != 1)
			break;
		uint8_t message[CONTROL_BYTES + NAME_MAX_BYTES];
		size_t n = control_message(p, event, message);
		if (chain.in_bytes < n) {
			virtio_queue_drop(vq, &chain);
			virtio_fail(c->device, "a control buffer of less than %zu bytes", n);
			break;
		}
		iov_write(chain.iov + chain.out_count, chain.in_count, 0, message, n);
		virtio_queue_push(vq, &chain, (uint32_t)n);
		p->untold &= (uint8_t)~BIT(event);
	}
	virtio_queue_signal(vq);
}

static void tell(struct port *p, unsigned events)
{
	p->untold |= (uint8_t)events;
	pump_control(p->console);
}

/* --- descriptors --- */

static void update_watches(struct port *p)
{
	uint32_t in = p->in_wanted ? EPOLLIN : 0, out = p->out_wanted ? EPOLLOUT : 0;
	if (p->in_watch && p->in_watch == p->out_watch) {
		loop_fd_set(p->in_watch, in | out);
		return;
	}
	if (p->in_watch)
		loop_fd_set(p->in_watch, in);
	if (p->out_watch)
		loop_fd_set(p->out_watch, out);
}

/* Ends one direction; the descriptor is closed with its last use. */
static void end_side(int *fd, struct loop_fd **watch, int other_fd, struct loop_fd *other_watch)
{
	if (*watch != other_watch)
		loop_fd_remove(*watch);
	*watch = NULL;
	if (*fd >= 0 && *fd != other_fd)
		close(*fd);
	*fd = -1;
}

static void end_in(struct port *p)
{
	p->in_wanted = false;
	end_side(&p->in_fd, &p->in_watch, p->out_fd, p->out_watch);
}

static void end_out(struct port *p)
{
	p->out_wanted = false;
	end_side(&p->out_fd, &p->out_watch, p->in_fd, p->in_watch);
}

/* The guest's port closes when both directions have ended. */
static void ended(struct port *p)
{
	if (p->in_fd < 0 && p->out_fd < 0)
		tell(p, BIT(EVENT_PORT_OPEN));
}

static void in_ended(struct port *p)
{
	struct pollfd hangup = {.fd = p->in_fd};
	/* A socket whose peer has only shut down its writing can still be written to. */
	bool both = p->in_fd == p->out_fd && poll(&hangup, 1, 0) == 1 && hangup.revents & POLLHUP;
	end_in(p);
	if (both)
		end_out(p);
	ended(p);
}

/* --- data --- */

enum step { STEP_AGAIN, STEP_BLOCKED, STEP_ENDED };

static enum step step_of(ssize_t n)
{
	if (n > 0 || (n < 0 && errno == EINTR))
		return STEP_AGAIN;
	return n < 0 && errno == EAGAIN ? STEP_BLOCKED : STEP_ENDED;
}

/* From the descriptor to the guest. */
static void pump_rx(struct port *p)
{
	struct virtio_queue *vq = rx_queue(p);
	struct virtio_chain chain;
	enum step step = STEP_AGAIN;
	unsigned served = 0;
	p->in_wanted = false;
	while (p->in_fd >= 0 && p->guest_open && step == STEP_AGAIN && served < BATCH &&
		virtio_queue_pop(vq, &chain) == 1) {
		served++;
		if (!chain.in_count) { /* not a buffer for us */
			virtio_queue_push(vq, &chain, 0);
			continue;
		}
		ssize_t n = readv(p->in_fd, chain.iov + chain.out_count, (int)chain.in_count);
		step = step_of(n);
		if (n > 0)
			virtio_queue_push(vq, &chain, (uint32_t)n);
		else
			virtio_queue_unpop(vq, &chain);
	}
	virtio_queue_signal(vq);
	p->in_wanted = step == STEP_BLOCKED;
	if (step == STEP_ENDED)
		in_ended(p);
	else if (served == BATCH)
		virtio_queue_again(vq);
	update_watches(p);
}

/* The bytes of a chain from `skip` on, as an iovec; returns its length. */
static int rest(struct iovec *to, const struct virtio_chain *chain, uint64_t skip)
{
	int count = 0;
	for (unsigned i = 0; i < chain->out_count; i++) {
		size_t len = chain->iov[i].iov_len, cut = (size_t)MIN(len, skip);
		skip -= cut;
		if (cut < len)
			to[count++] =
				(struct iovec){(uint8_t *)chain->iov[i].iov_base + cut, len - cut};
	}
	return count;
}

/* Writes what is left of a chain. */
static enum step transmit(struct port *p, const struct virtio_chain *chain)
{
	enum step step = STEP_AGAIN;
	while (step == STEP_AGAIN && p->tx_done < chain->out_bytes) {
		int count = rest(p->console->iov, chain, p->tx_done);
		ssize_t n = writev(p->out_fd, p->console->iov, count);
		step = step_of(n);
		p->tx_done += n > 0 ? (size_t)n : 0;
	}
	return step;
}

/* From the guest to the descriptor; to nobody, when it has none. */
static void pump_tx(struct port *p)
{
	struct virtio_queue *vq = tx_queue(p);
	struct virtio_chain chain;
	enum step step = STEP_AGAIN;
	unsigned served = 0;
	while (step != STEP_BLOCKED && served < BATCH && virtio_queue_pop(vq, &chain) == 1) {
		served++;
		step = p->out_fd >= 0 ? transmit(p, &chain) : STEP_AGAIN;
		if (step == STEP_ENDED) {
			end_out(p);
			ended(p);
		}
		if (step == STEP_BLOCKED) {
			virtio_queue_unpop(vq, &chain);
		} else {
			virtio_queue_push(vq, &chain, 0);
			p->tx_done = 0;
		}
	}
	virtio_queue_signal(vq);
	p->out_wanted = step == STEP_BLOCKED;
	if (served == BATCH && step != STEP_BLOCKED)
		virtio_queue_again(vq);
	update_watches(p);
}

static void on_fd(void *opaque, int fd, uint32_t events)
{
	struct port *p = opaque;
	if (p->in_wanted && fd == p->in_fd)
		pump_rx(p);
	if (p->out_wanted && fd == p->out_fd)
		pump_tx(p);
}

/* --- what the driver says --- */

static void control_received(struct console *c, uint32_t id, uint16_t event, uint16_t value)
{
	if (event == EVENT_DEVICE_READY && value) {
		for (unsigned i = 0; i < c->port_count; i++)
			tell(&c->ports[i], BIT(EVENT_DEVICE_ADD));
		return;
	}
	if (id >= c->port_count)
		return;
	struct port *p = &c->ports[id];
	if (event == EVENT_PORT_READY && value) {
		unsigned events = BIT(EVENT_PORT_OPEN);
		events |= p->name ? BIT(EVENT_PORT_NAME) : BIT(EVENT_CONSOLE_PORT);
		if (!p->name && (c->features & BIT(F_SIZE)) && atomic_load(&c->columns))
			events |= BIT(EVENT_RESIZE);
		tell(p, events);
	} else if (event == EVENT_PORT_OPEN) {
		p->guest_open = value;
		pump_rx(p);
	}
}

static void pump_control_tx(struct console *c)
{
	struct virtio_queue *vq = virtio_queue_get(c->device, QUEUE_CONTROL_TX);
	struct virtio_chain chain;
	unsigned served = 0;
	while (served < BATCH && virtio_queue_pop(vq, &chain) == 1) {
		uint8_t m[CONTROL_BYTES];
		size_t n = iov_read(chain.iov, chain.out_count, 0, m, sizeof(m));
		virtio_queue_push(vq, &chain, 0);
		served++;
		if (n == sizeof(m))
			control_received(c, load_le32(m), load_le16(m + 4), load_le16(m + 6));
	}
	virtio_queue_signal(vq);
	if (served == BATCH)
		virtio_queue_again(vq);
}

static void console_notify(void *dev, unsigned q)
{
	struct console *c = dev;
	if (q >= 2 && !multiport(c))
		return;
	if (q == QUEUE_CONTROL_RX)
		pump_control(c);
	else if (q == QUEUE_CONTROL_TX)
		pump_control_tx(c);
	else if (q % 2)
		pump_tx(&c->ports[q < 2 ? 0 : (q - 2) / 2]);
	else
		pump_rx(&c->ports[q < 2 ? 0 : (q - 2) / 2]);
}

/* --- the device --- */

static void console_config_read(void *dev, uint8_t *config)
{
	struct console *c = dev;
	store_le16(config + CONFIG_COLS, atomic_load(&c->columns));
	store_le16(config + CONFIG_ROWS, atomic_load(&c->rows));
	store_le32(config + CONFIG_MAX_PORTS, c->port_count);
}

static int console_start(void *dev, uint64_t features)
{
	struct console *c = dev;
	c->features = features;
	c->ports[0].guest_open = !multiport(c); /* else the driver says when */
	return 0;
}

static void console_reset(void *dev)
{
	struct console *c = dev;
	for (unsigned i = 0; i < c->port_count; i++) {
		struct port *p = &c->ports[i];
		p->guest_open = p->in_wanted = p->out_wanted = false;
		p->untold = 0;
		p->tx_done = 0;
		update_watches(p);
	}
}

static void console_queue_reset(void *dev, unsigned q)
{
	struct console *c = dev;
	if (q % 2 && q != QUEUE_CONTROL_TX)
		c->ports[q < 2 ? 0 : (q - 2) / 2].tx_done = 0;
}

static void console_state(void *dev, struct state *s)
{
	struct console *c = dev;
	uint16_t columns = atomic_load(&c->columns), rows = atomic_load(&c->rows);
	state_u16(s, "columns", &columns);
	state_u16(s, "rows", &rows);
	atomic_store(&c->columns, columns);
	atomic_store(&c->rows, rows);
	for (unsigned i = 0; i < c->port_count; i++) {
		struct port *p = &c->ports[i];
		if (state_begin(s, "port", 1)) {
			state_bool(s, "guest_open", &p->guest_open);
			state_u8(s, "untold", &p->untold);
			state_u64(s, "tx_done", &p->tx_done);
		}
		state_end(s);
		if (state_saving(s))
			continue;
		p->untold &= BIT(EVENT_DEVICE_ADD) | BIT(EVENT_CONSOLE_PORT) |
			     BIT(EVENT_PORT_OPEN) | BIT(EVENT_RESIZE) |
			     (p->name ? BIT(EVENT_PORT_NAME) : 0);
		if (p->guest_open) /* the host's side may be another one now */
			p->untold |= BIT(EVENT_PORT_OPEN);
	}
}

static void console_free(void *dev)
{
	struct console *c = dev;
	for (unsigned i = 0; i < c->port_count; i++) {
		end_in(&c->ports[i]);
		end_out(&c->ports[i]);
		free(c->ports[i].name);
	}
	free(c);
}

static const struct virtio_class console_class = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.features = BIT(F_SIZE) | BIT(F_MULTIPORT),
	.config_bytes = CONFIG_BYTES,
	.config_read = console_config_read,
	.start = console_start,
	.reset = console_reset,
	.notify = console_notify,
	.queue_reset = console_queue_reset,
	.state = console_state,
	.free = console_free,
};

/* Watches a descriptor, paused. What cannot be waited for (a file, /dev/null) is always ready. */
static int watch_fd(struct port *p, int fd, struct loop_fd **out, struct error *err)
{
	if (fd < 0)
		return 0;
	int r = loop_fd_add(p->console->loop, fd, EPOLLIN, on_fd, p, out, NULL);
	if (r == -EPERM)
		return 0;
	if (r < 0)
		return error_errno(err, -r, "virtio-console: port %u", p->index);
	loop_fd_set(*out, 0);
	return 0;
}

static int watch_port(struct port *p, const struct virtio_console_port *config, struct error *err)
{
	int r = watch_fd(p, config->in_fd, &p->in_watch, err);
	if (r == 0 && config->in_fd == config->out_fd)
		p->out_watch = p->in_watch;
	else if (r == 0)
		r = watch_fd(p, config->out_fd, &p->out_watch, err);
	return r;
}

int virtio_console_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	const struct virtio_console_port *ports, unsigned port_count, struct error *err)
{
	if (!port_count || port_count > PORTS_MAX)
		return error_set(err, EINVAL, "virtio-console: %u ports", port_count);
	bool multi = port_count > 1 || ports[0].name;
	struct console *c = xcalloc(1, sizeof(*c) + port_count * sizeof(c->ports[0]));
	c->loop = loop;
	c->port_count = port_count;
	int r = 0;
	for (unsigned i = 0; i < port_count; i++) {
		struct port *p = &c->ports[i];
		*p = (struct port){.console = c, .index = i, .in_fd = -1, .out_fd = -1};
		if (ports[i].name)
			p->name = xasprintf("%.*s", NAME_MAX_BYTES, ports[i].name);
		if (r == 0)
			r = watch_port(p, &ports[i], err);
	}
	if (r == 0)
		r = virtio_device_new(&c->device, &console_class, c,
			multi ? BIT(F_SIZE) | BIT(F_MULTIPORT) : BIT(F_SIZE),
			multi ? 2 + port_count * 2 : 2, memory, loop, err);
	if (r < 0) {
		console_free(c); /* has no descriptors yet: they stay the caller's */
		return r;
	}
	for (unsigned i = 0; i < port_count; i++) {
		c->ports[i].in_fd = ports[i].in_fd;
		c->ports[i].out_fd = ports[i].out_fd;
	}
	*out = c->device;
	return 0;
}

static void resized(void *opaque)
{
	struct console *c = opaque;
	for (unsigned i = 0; i < c->port_count; i++)
		if (!c->ports[i].name && c->ports[i].guest_open && multiport(c) &&
			(c->features & BIT(F_SIZE)))
			tell(&c->ports[i], BIT(EVENT_RESIZE));
}

void virtio_console_resize(struct virtio_device *d, uint16_t columns, uint16_t rows)
{
	struct console *c = virtio_device_impl(d);
	atomic_store(&c->columns, columns);
	atomic_store(&c->rows, rows);
	virtio_config_changed(d);
	loop_post(c->loop, resized, c);
}
