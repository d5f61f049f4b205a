// SPDX-License-Identifier: Apache-2.0
// Between machine.c and monitor.c: the specification as JSON, descriptors as the numbers that they
// have in the monitor. One message of a SOCK_SEQPACKET socket is one JSON object.
#ifndef STRATA_INSTANCE_MACHINE_WIRE_H
#define STRATA_INSTANCE_MACHINE_WIRE_H

#include <jansson.h>

#include "base/vec.h"
#include "instance/machine.h"

enum { MONITOR_CONTROL_FD = 3, MACHINE_MESSAGE_MAX = 96 * 1024 };

struct fd_list {
	int *items;
	size_t len, cap;
};

/* Appends the descriptors that the monitor inherits; item i is MONITOR_CONTROL_FD + i there. */
json_t *machine_spec_to_json(const struct machine_spec *spec, struct fd_list *fds);
/* Strings point into the JSON value, which must outlive the specification. */
int machine_spec_from_json(const json_t *json, struct machine_spec *out, struct error *err);

int machine_send(int fd, json_t *message, int flags); /* takes the reference; 0 or -errno */
/* 1 and *out, 0 when nothing is there (flags MSG_DONTWAIT), -EPIPE at the end. */
int machine_receive(int fd, json_t **out, int flags);

extern const char *const machine_end_names[]; /* by enum machine_end */

#endif
