// SPDX-License-Identifier: Apache-2.0
// A virtual machine as the process that asked for it sees it: a monitor process on the other side
// of a control socket. The monitor (monitor.h) dies with us and takes nothing along but itself.
//
// Descriptors in a specification stay the caller's; the monitor inherits copies. A machine belongs
// to the thread that started it, which must live as long as it.
#ifndef STRATA_INSTANCE_MACHINE_H
#define STRATA_INSTANCE_MACHINE_H

#include <jansson.h>

#include "base/error.h"
#include "instance/agent_client.h"
#include "instance/store.h"

enum {
	MACHINE_DISKS_MAX = 16,
	MACHINE_SHARES_MAX = 16,
	MACHINE_LAYERS_MAX = 64,
	MACHINE_PUBLISH_MAX = 128,
};

struct machine_disk {
	const char *path; /* for messages */
	const char *serial;
	int fd;
	bool read_only;
};

struct machine_share {
	const char *tag;		   /* of virtio-fs */
	int dir_fd;			   /* -1: layers */
	int layer_fds[MACHINE_LAYERS_MAX]; /* tar files, lowest first */
	unsigned n_layers;
	bool read_only;
};

struct machine_spec {
	const char *arch; /* "riscv64" */
	const char *hostname;
	uint64_t cpus, memory_bytes;
	const char *cmdline;
	const char *kernel_name; /* for messages; NULL: the image's own */
	int kernel_fd;
	int initrd_fds[4];
	unsigned n_initrds;
	bool agent; /* append the agent's initramfs */
	struct machine_disk disks[MACHINE_DISKS_MAX];
	unsigned n_disks;
	struct machine_share shares[MACHINE_SHARES_MAX];
	unsigned n_shares;
	bool network;
	const char *publish[MACHINE_PUBLISH_MAX]; /* [ADDR:]HOST:GUEST[/tcp|udp] */
	unsigned n_publish;
	int console_fd;		/* gets what the guest's console prints; -1: nobody */
	int gdb_fd;		/* listening socket for debuggers, when has_gdb */
	bool has_gdb, gdb_wait; /* wait: nothing runs before a debugger says so */
	bool console_log; /* console_fd is a file, open for reading too: its newest part is kept */
	/* Where the monitor makes vsock.sock; -1: no agent can be reached. */
	int dir_fd;
	int lock_fd; /* of the instance: held until the monitor is gone */
};

enum machine_end {
	MACHINE_POWEROFF,
	MACHINE_REBOOT,
	MACHINE_PANIC,
	MACHINE_STOPPED,
	MACHINE_FAILED, /* or its monitor died */
};

struct machine_event {
	enum { MACHINE_STARTED, MACHINE_LOG, MACHINE_ENDED } kind;
	enum machine_end end;
	char *text;   /* owned: log line or reason */
	char *remedy; /* owned, or NULL */
};
void machine_event_done(struct machine_event *e);

struct machine;
int machine_start(struct machine **out, const struct machine_spec *spec, struct error *err);
/* Kills what still runs; accepts NULL. */
void machine_free(struct machine *m);
int machine_fd(const struct machine *m); /* readable: machine_next() has something to say */
/* 1: *out is the next event (ENDED is the last), 0: none yet. */
int machine_next(struct machine *m, struct machine_event *out);
/* Once it has ended: what its CPUs have counted (enum of VCPU_STATS in cpu/vcpu.h), an array with
 * an object for each; NULL when its monitor has not told. Owned by the caller. */
json_t *machine_take_stats(struct machine *m);
void machine_stop(struct machine *m); /* pulls the plug; ENDED follows */

/* Waits for the guest's agent. log may be NULL. -ETIMEDOUT; -ECONNABORTED when the machine ended
 * before, with what it did as the message; -EINTR when cancel_fd (or -1) became readable. */
int machine_wait_agent(struct machine *m, const struct agent_address *address, uint64_t deadline_ns,
	int cancel_fd, void (*log)(void *opaque, const char *line), void *opaque,
	struct agent_conn **out, struct error *err);
/* Waits for ENDED, at most until the deadline, then kills. */
enum machine_end machine_wait_end(struct machine *m, uint64_t deadline_ns, char **reason);

#endif
