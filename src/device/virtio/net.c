// SPDX-License-Identifier: Apache-2.0
// The network device (virtio 1.2, 5.1): frames between the guest and a socket that carries one a
// message, whoever is at its other end.
//
// Offloads: the guest may leave TCP and UDP checksums to us (CSUM), and we tell it which ones we
// have checked (GUEST_CSUM): a checksum costs the host far less than a translated guest. There is
// no segmentation offload: the MTU that is offered is nearly that of an IP packet, so that a
// segment is already as large as segmentation would make it.
//
// Back-pressure: when the socket is full, the transmit queue is left alone until it can be written;
// when the guest has no receive buffers, one frame waits here and the rest in the socket.
//
// Everything but config_read is the loop's thread; what that reads is atomic.
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "device/virtio/devices.h"
#include "device/virtio/transport.h"
#include "net/frame.h"

/* Feature bits, 5.1.3. */
#define NET_F_CSUM	    (UINT64_C(1) << 0)
#define NET_F_GUEST_CSUM    (UINT64_C(1) << 1)
#define NET_F_MTU	    (UINT64_C(1) << 3)
#define NET_F_MAC	    (UINT64_C(1) << 5)
#define NET_F_MRG_RXBUF	    (UINT64_C(1) << 15)
#define NET_F_STATUS	    (UINT64_C(1) << 16)
#define NET_F_CTRL_VQ	    (UINT64_C(1) << 17)
#define NET_F_CTRL_RX	    (UINT64_C(1) << 18)
#define NET_F_CTRL_RX_EXTRA (UINT64_C(1) << 20)
#define NET_F_CTRL_MAC_ADDR (UINT64_C(1) << 23)

enum { QUEUE_RX, QUEUE_TX, QUEUE_CTRL, QUEUES };

/* struct virtio_net_config, 5.1.4, as far as the features go. */
enum { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_PAIRS = 8, CONFIG_MTU = 10, CONFIG_BYTES = 12 };
enum { STATUS_LINK_UP = 1 };

/* struct virtio_net_hdr, 5.1.6. */
enum {
	HDR_FLAGS = 0,
	HDR_GSO_TYPE = 1,
	HDR_CSUM_START = 6,
	HDR_CSUM_OFFSET = 8,
	HDR_NUM_BUFFERS = 10,
	HDR_BYTES = 12,
	HDR_F_NEEDS_CSUM = 1,
	HDR_F_DATA_VALID = 2,
};

/* Commands of the control queue, 5.1.6.5. */
enum { CTRL_RX = 0, CTRL_MAC = 1, CTRL_OK = 0, CTRL_ERR = 1 };
enum { CTRL_MAC_TABLE_SET = 0, CTRL_MAC_ADDR_SET = 1 };
enum {
	RX_PROMISC,
	RX_ALLMULTI,
	RX_ALLUNI,
	RX_NOMULTI,
	RX_NOUNI,
	RX_NOBCAST,
	RX_MODES,
	RX_MODES_EXTRA = RX_ALLUNI, /* from here on with CTRL_RX_EXTRA only */
};

enum {
	MAC_BYTES = 6,
	MAC_TABLE_MAX = 64, /* more are taken as "all": the filter is a help, not a promise */
	FRAMES_A_TURN = 64, /* before other sources of the loop have their turn */
	RX_CHAINS_MAX = VIRTIO_QUEUE_MAX,
};

struct mac_table {
	uint32_t count;
	bool overflow; /* the driver named more than fit: every address passes */
	uint8_t macs[MAC_TABLE_MAX][MAC_BYTES];
};

struct net {
	struct virtio_device *device;
	struct virtio_queue *rx, *tx, *ctrl;
	int fd;		       /* owned */
	struct loop_fd *watch; /* NULL once the other end has gone */
	unsigned mtu;	       /* 0: not offered */
	uint8_t own_mac[MAC_BYTES];

	atomic_bool link_up;
	_Atomic uint64_t mac; /* its bytes, the first lowest */

	bool started;
	uint64_t features;
	bool rx_waits; /* for receive buffers */
	bool tx_waits; /* for room in the socket */
	bool modes[RX_MODES];
	struct mac_table unicast, multicast;

	size_t pending_bytes; /* of a frame in rx_frame that waits for buffers; 0: none */
	uint8_t rx_frame[FRAME_MAX + 1]; /* one more, to notice what is longer */
	uint8_t tx_frame[FRAME_MAX];
	struct virtio_chain chains[RX_CHAINS_MAX]; /* of the frame that is being delivered */
};

static uint64_t mac_pack(const uint8_t mac[MAC_BYTES])
{
	uint8_t wide[8] = {0};
	memcpy(wide, mac, MAC_BYTES);
	return load_le64(wide);
}

static void mac_unpack(uint64_t v, uint8_t mac[MAC_BYTES])
{
	uint8_t wide[8];
	store_le64(wide, v);
	memcpy(mac, wide, MAC_BYTES);
}

static void update_watch(struct net *n)
{
	if (!n->watch)
		return;
	bool in = n->started && !n->rx_waits, out = n->started && n->tx_waits;
	loop_fd_set(n->watch, (in ? EPOLLIN : 0u) | (out ? EPOLLOUT : 0u));
}

static void link_down(struct net *n)
{
	loop_fd_remove(TAKE_PTR(n->watch));
	n->tx_waits = false;
	if (atomic_exchange(&n->link_up, false)) {
		log_warn("virtio-net: the network back end has ended, the link is down");
		virtio_config_changed(n->device);
	}
}

/* --- receiving --- */

static bool table_has(const struct mac_table *t, const uint8_t *mac)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (!memcmp(t->macs[i], mac, MAC_BYTES))
			return true;
	return t->overflow;
}

/* What the driver asked to receive, 5.1.6.5.1 and 5.1.6.5.2. */
static bool filter_passes(const struct net *n, const uint8_t *frame)
{
	static const uint8_t broadcast[MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	if (n->modes[RX_PROMISC])
		return true;
	if (!memcmp(frame, broadcast, MAC_BYTES))
		return !n->modes[RX_NOBCAST];
	if (frame[0] & 1)
		return !n->modes[RX_NOMULTI] &&
		       (n->modes[RX_ALLMULTI] || table_has(&n->multicast, frame));
	return !n->modes[RX_NOUNI] &&
	       (n->modes[RX_ALLUNI] || mac_pack(frame) == atomic_load(&n->mac) ||
		       table_has(&n->unicast, frame));
}

static void fill_header(const struct net *n, uint8_t hdr[HDR_BYTES], unsigned buffers)
{
	struct frame f;
	memset(hdr, 0, HDR_BYTES);
	if ((n->features & NET_F_GUEST_CSUM) && frame_parse(n->rx_frame, n->pending_bytes, &f) &&
		frame_checksum_valid(n->rx_frame, &f))
		hdr[HDR_FLAGS] = HDR_F_DATA_VALID;
	store_le16(hdr + HDR_NUM_BUFFERS, (uint16_t)buffers);
}

/* Writes header and frame into chains[0..count), which together are large enough. */
static void fill_chains(struct net *n, unsigned count)
{
	uint8_t hdr[HDR_BYTES];
	fill_header(n, hdr, count);
	size_t total = HDR_BYTES + n->pending_bytes, at = 0;
	for (unsigned i = 0; i < count; i++) {
		struct virtio_chain *c = &n->chains[i];
		size_t part = MIN(c->in_bytes, total - at), in_chain = 0;
		while (in_chain < part) {
			bool head = at < HDR_BYTES;
			const uint8_t *from = head ? hdr + at : n->rx_frame + (at - HDR_BYTES);
			size_t len = MIN(part - in_chain, head ? HDR_BYTES - at : total - at);
			iov_write(c->iov, c->in_count, in_chain, from, len);
			in_chain += len;
			at += len;
		}
		virtio_queue_push(n->rx, c, (uint32_t)part);
	}
}

enum deliver { DELIVER_DONE, DELIVER_WAIT };

/* Gives the frame to the guest, or says that it has no buffers for it now. A frame that no number
 * of its buffers can hold is lost. */
static enum deliver deliver(struct net *n)
{
	size_t need = HDR_BYTES + n->pending_bytes, have = 0;
	unsigned most = n->features & NET_F_MRG_RXBUF ? RX_CHAINS_MAX : 1, count = 0;
	int r = 1;
	while (have < need && count < most) {
		r = virtio_queue_pop(n->rx, &n->chains[count]);
		if (r <= 0)
			break;
		struct virtio_chain *c = &n->chains[count++];
		have += c->in_bytes;
		if (c->out_count || !c->in_count) {
			virtio_fail(n->device, "a receive buffer that is to be read");
			r = -EBADMSG;
			break;
		}
	}
	if (have >= need && r > 0) {
		fill_chains(n, count);
		n->pending_bytes = 0;
		return DELIVER_DONE;
	}
	while (count)
		virtio_queue_unpop(n->rx, &n->chains[--count]);
	if (r <= 0)
		return DELIVER_WAIT;
	n->pending_bytes = 0;
	return DELIVER_DONE;
}

/* The next frame that the guest wants to have, into rx_frame. False: none now. */
static bool receive(struct net *n)
{
	for (int i = 0; i < FRAMES_A_TURN; i++) {
		ssize_t len =
			recv(n->fd, n->rx_frame, sizeof(n->rx_frame), MSG_DONTWAIT | MSG_TRUNC);
		if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR))
			link_down(n);
		if (len <= 0)
			return false;
		if (len < FRAME_ETH_BYTES || len > FRAME_MAX || !filter_passes(n, n->rx_frame))
			continue;
		n->pending_bytes = (size_t)len;
		return true;
	}
	return false;
}

static void serve_rx(struct net *n)
{
	n->rx_waits = false;
	virtio_queue_notify_disable(n->rx);
	for (int i = 0; i < FRAMES_A_TURN; i++) {
		if (!n->pending_bytes && (!n->watch || !receive(n)))
			break;
		if (deliver(n) == DELIVER_DONE)
			continue;
		/* Buffers that came before the driver saw that it is to notify are there now. */
		if (virtio_queue_notify_enable(n->rx) && deliver(n) == DELIVER_DONE) {
			virtio_queue_notify_disable(n->rx);
			continue;
		}
		n->rx_waits = true;
		break;
	}
	virtio_queue_signal(n->rx);
	update_watch(n);
}

/* --- transmitting --- */

/* Copies the frame of a transmit chain to tx_frame and finishes it. Its length; 0: it is to be
 * dropped (what an offload was not negotiated for, or too long). */
static size_t gather(struct net *n, const struct virtio_chain *c)
{
	uint8_t hdr[HDR_BYTES];
	uint64_t len = c->out_bytes - HDR_BYTES;
	iov_read(c->iov, c->out_count, 0, hdr, sizeof(hdr));
	if (len < FRAME_ETH_BYTES || len > sizeof(n->tx_frame) || hdr[HDR_GSO_TYPE])
		return 0;
	iov_read(c->iov, c->out_count, HDR_BYTES, n->tx_frame, len);
	if (!(hdr[HDR_FLAGS] & HDR_F_NEEDS_CSUM))
		return len;
	if (!(n->features & NET_F_CSUM) ||
		!frame_checksum_complete(n->tx_frame, len, load_le16(hdr + HDR_CSUM_START),
			load_le16(hdr + HDR_CSUM_OFFSET)))
		return 0;
	return len;
}

/* False: the socket has no room now. */
static bool transmit(struct net *n, const struct virtio_chain *c)
{
	size_t len = n->watch ? gather(n, c) : 0;
	if (!len || send(n->fd, n->tx_frame, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	if (errno == EAGAIN || errno == ENOBUFS)
		return false;
	if (errno == EPIPE || errno == ECONNRESET)
		link_down(n);
	return true; /* anything else loses the frame, as a wire would */
}

/* Sends what one chain holds. False: the queue is to be left alone now. */
static bool serve_tx_chain(struct net *n, struct virtio_chain *c)
{
	if (c->in_count || c->out_bytes < HDR_BYTES) {
		virtio_fail(n->device, "a frame to send without its header");
		virtio_queue_drop(n->tx, c);
		return false;
	}
	if (!transmit(n, c)) {
		virtio_queue_unpop(n->tx, c);
		n->tx_waits = true;
		return false;
	}
	virtio_queue_push(n->tx, c, 0);
	return true;
}

static void serve_tx(struct net *n)
{
	struct virtio_chain c;
	bool more = true;
	n->tx_waits = false;
	virtio_queue_notify_disable(n->tx);
	for (int i = 0; more && i < FRAMES_A_TURN; i++) {
		int r = virtio_queue_pop(n->tx, &c);
		if (r > 0)
			more = serve_tx_chain(n, &c);
		else
			more = r == 0 && virtio_queue_notify_enable(n->tx);
	}
	if (more) /* its turn is over: again after the others */
		virtio_device_notify(n->device, QUEUE_TX);
	virtio_queue_signal(n->tx);
	update_watch(n);
}

/* --- control queue --- */

/* Reads one table of 5.1.6.5.2 from *at on; false when the command does not hold all of it. */
static bool read_mac_table(const struct virtio_chain *c, uint64_t *at, struct mac_table *out)
{
	uint8_t word[4];
	if (iov_read(c->iov, c->out_count, *at, word, sizeof(word)) != sizeof(word))
		return false;
	uint64_t entries = load_le32(word), bytes = entries * MAC_BYTES;
	*at += sizeof(word);
	if (!range_fits(*at, bytes, c->out_bytes))
		return false;
	out->overflow = entries > MAC_TABLE_MAX;
	out->count = out->overflow ? 0 : (uint32_t)entries;
	iov_read(c->iov, c->out_count, *at, out->macs, (size_t)out->count * MAC_BYTES);
	*at += bytes;
	return true;
}

static uint8_t set_mac_tables(struct net *n, const struct virtio_chain *c)
{
	struct mac_table unicast = {0}, multicast = {0};
	uint64_t at = 2;
	if (!read_mac_table(c, &at, &unicast) || !read_mac_table(c, &at, &multicast))
		return CTRL_ERR;
	n->unicast = unicast;
	n->multicast = multicast;
	return CTRL_OK;
}

static uint8_t run_command(struct net *n, const struct virtio_chain *c)
{
	uint8_t command[2 + MAC_BYTES];
	size_t len = iov_read(c->iov, c->out_count, 0, command, sizeof(command));
	uint8_t class = command[0], code = command[1];
	if (class == CTRL_RX && (n->features & NET_F_CTRL_RX) && code < RX_MODES && len >= 3 &&
		(code < RX_MODES_EXTRA || (n->features & NET_F_CTRL_RX_EXTRA))) {
		n->modes[code] = command[2];
		return CTRL_OK;
	}
	if (class == CTRL_MAC && code == CTRL_MAC_TABLE_SET && (n->features & NET_F_CTRL_RX))
		return set_mac_tables(n, c);
	if (class == CTRL_MAC && code == CTRL_MAC_ADDR_SET && (n->features & NET_F_CTRL_MAC_ADDR) &&
		len == sizeof(command)) {
		atomic_store(&n->mac, mac_pack(command + 2));
		return CTRL_OK;
	}
	return CTRL_ERR;
}

static void serve_ctrl(struct net *n)
{
	struct virtio_chain c;
	for (int i = 0; virtio_queue_pop(n->ctrl, &c) > 0; i++) {
		if (c.out_bytes < 2 || !c.in_bytes) {
			virtio_fail(n->device, "a command without room for its status");
			virtio_queue_drop(n->ctrl, &c);
			return;
		}
		uint8_t ack = run_command(n, &c);
		iov_write(c.iov + c.out_count, c.in_count, 0, &ack, 1);
		virtio_queue_push(n->ctrl, &c, 1);
		if (i == FRAMES_A_TURN) {
			virtio_device_notify(n->device, QUEUE_CTRL);
			break;
		}
	}
	virtio_queue_signal(n->ctrl);
}

/* --- the class --- */

static void net_on_socket(void *opaque, int fd, uint32_t events)
{
	struct net *n = opaque;
	(void)fd;
	if (events & EPOLLOUT)
		serve_tx(n);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		serve_rx(n);
}

static void net_notify(void *dev, unsigned q)
{
	struct net *n = dev;
	if (q == QUEUE_RX && n->rx_waits)
		serve_rx(n);
	else if (q == QUEUE_TX && !n->tx_waits)
		serve_tx(n);
	else if (q == QUEUE_CTRL)
		serve_ctrl(n);
}

static void net_config_read(void *dev, uint8_t *config)
{
	struct net *n = dev;
	mac_unpack(atomic_load(&n->mac), config + CONFIG_MAC);
	store_le16(config + CONFIG_STATUS, atomic_load(&n->link_up) ? STATUS_LINK_UP : 0);
	store_le16(config + CONFIG_PAIRS, 1);
	store_le16(config + CONFIG_MTU, (uint16_t)n->mtu);
}

static int net_start(void *dev, uint64_t features)
{
	struct net *n = dev;
	n->started = true;
	n->features = features;
	update_watch(n);
	return 0;
}

/* As after power-on. Frames that wait in the socket stay: a wire would not know either. */
static void net_reset(void *dev)
{
	struct net *n = dev;
	n->started = n->rx_waits = n->tx_waits = false;
	n->features = 0;
	n->pending_bytes = 0;
	memset(n->modes, 0, sizeof(n->modes));
	n->modes[RX_PROMISC] = true; /* until a driver says otherwise */
	memset(&n->unicast, 0, sizeof(n->unicast));
	memset(&n->multicast, 0, sizeof(n->multicast));
	atomic_store(&n->mac, mac_pack(n->own_mac));
	update_watch(n);
}

static void net_queue_reset(void *dev, unsigned q)
{
	struct net *n = dev;
	if (q == QUEUE_RX)
		n->rx_waits = true; /* until the queue is back and notifies */
	else if (q == QUEUE_TX)
		n->tx_waits = false;
	update_watch(n);
}

static void mac_table_state(struct mac_table *t, struct state *s, const char *name)
{
	if (state_begin(s, name, 1)) {
		struct mac_table new = *t;
		state_u32(s, "count", &new.count);
		state_bool(s, "overflow", &new.overflow);
		state_bytes(s, "macs", new.macs, sizeof(new.macs));
		if (new.count > MAC_TABLE_MAX)
			state_fail(s, "virtio-net: %u addresses in a table", new.count);
		else
			*t = new;
	}
	state_end(s);
}

static void net_state(void *dev, struct state *s)
{
	struct net *n = dev;
	void *pending = n->rx_frame;
	size_t bytes = n->pending_bytes;
	uint64_t mac = atomic_load(&n->mac);
	if (state_begin(s, "net", 1)) {
		state_u64(s, "mac", &mac);
		for (int i = 0; i < RX_MODES; i++)
			state_bool(s, "mode", &n->modes[i]);
		mac_table_state(&n->unicast, s, "unicast");
		mac_table_state(&n->multicast, s, "multicast");
		if (!state_saving(s))
			pending = NULL;
		state_blob(s, "pending", &pending, &bytes, FRAME_MAX);
	}
	state_end(s);
	if (state_saving(s))
		return;
	atomic_store(&n->mac, mac & ((UINT64_C(1) << 48) - 1));
	if (pending) {
		bytes = bytes < FRAME_ETH_BYTES || bytes > FRAME_MAX ? 0 : bytes;
		memcpy(n->rx_frame, pending, bytes);
		n->pending_bytes = bytes;
		n->rx_waits = bytes != 0;
		free(pending);
	}
	update_watch(n);
}

static void net_free(void *dev)
{
	struct net *n = dev;
	loop_fd_remove(n->watch);
	if (n->fd >= 0)
		close(n->fd);
	free(n);
}

static const struct virtio_class net_class = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.features = NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_MTU | NET_F_MAC | NET_F_MRG_RXBUF |
		    NET_F_STATUS | NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_RX_EXTRA |
		    NET_F_CTRL_MAC_ADDR,
	.config_bytes = CONFIG_BYTES,
	.config_read = net_config_read,
	.start = net_start,
	.reset = net_reset,
	.notify = net_notify,
	.queue_reset = net_queue_reset,
	.state = net_state,
	.free = net_free,
};

int virtio_net_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	int frame_fd, const uint8_t mac[6], unsigned mtu, struct error *err)
{
	if ((mac[0] & 1) || !mac_pack(mac))
		return error_set(err, EINVAL, "virtio-net: the MAC address is no unicast address");
	if (mtu && (mtu < 68 || mtu > UINT16_MAX))
		return error_set(err, EINVAL, "virtio-net: an MTU of %u", mtu);
	struct net *n = xcalloc(1, sizeof(*n));
	n->fd = -1; /* the caller's until nothing can fail any more */
	n->mtu = mtu;
	memcpy(n->own_mac, mac, MAC_BYTES);
	atomic_store(&n->link_up, true);
	int r = loop_fd_add(loop, frame_fd, 0, net_on_socket, n, &n->watch, err);
	if (!r)
		r = virtio_device_new(&n->device, &net_class, n,
			mtu ? net_class.features : net_class.features & ~NET_F_MTU, QUEUES, memory,
			loop, err);
	if (r) {
		net_free(n);
		return error_wrap(err, r, "virtio-net");
	}
	n->fd = frame_fd;
	n->rx = virtio_queue_get(n->device, QUEUE_RX);
	n->tx = virtio_queue_get(n->device, QUEUE_TX);
	n->ctrl = virtio_queue_get(n->device, QUEUE_CTRL);
	net_reset(n);
	*out = n->device;
	return 0;
}
