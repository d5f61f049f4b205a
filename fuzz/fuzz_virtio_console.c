// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio_fuzz.h"
#include "device/virtio/devices.h"

static void host(struct vf *v, uint8_t arg)
{
	int *fds = v->opaque, *fd = &fds[arg & 1];
	char bytes[512];
	memset(bytes, arg, sizeof(bytes));
	switch (arg >> 1 & 7) {
	case 0:
	case 1:
	case 2:
		if (*fd >= 0 && write(*fd, bytes, arg) < 0)
			return;
		break;
	case 3:
	case 4:
		while (*fd >= 0 && read(*fd, bytes, sizeof(bytes)) > 0)
			;
		break;
	case 5:
		virtio_console_resize(v->device, arg, arg);
		break;
	case 6:
		if (*fd >= 0)
			shutdown(*fd, SHUT_WR);
		break;
	case 7:
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf v;
	int hosts[2];
	struct virtio_console_port ports[2];
	signal(SIGPIPE, SIG_IGN);
	vf_init(&v, data, size);
	for (int i = 0; i < 2; i++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
			abort();
		hosts[i] = pair[0];
		ports[i] = (struct virtio_console_port){i ? "port" : NULL, pair[1], pair[1]};
	}
	v.host = host;
	v.opaque = hosts;
	if (virtio_console_new(&v.device, v.memory, v.loop, ports, 2, NULL))
		abort();
	vf_run(&v);
	vf_done(&v);
	for (int i = 0; i < 2; i++)
		if (hosts[i] >= 0)
			close(hosts[i]);
	return 0;
}
