// SPDX-License-Identifier: Apache-2.0
// What the two files of this folder share.
#ifndef STRATA_GDB_INTERNAL_H
#define STRATA_GDB_INTERNAL_H

#include "cpu/debug.h"
#include "gdb/gdb.h"
#include "wire/gdb_packet.h"

struct gdb {
	struct gdb_config config;
	const struct isa_debug *debug;
	unsigned registers;	 /* how many the architecture has */
	struct strbuf features;	 /* target.xml */
	struct loop_fd *listen;	 /* watches config.listen_fd */
	int stop_fd;		 /* eventfd: written by vCPUs that stop */
	struct loop_fd *stopped; /* watches it */

	/* The vCPUs. */
	bool running;		/* they have been let go */
	uint64_t stopped_at_ns; /* while not running */

	/* The client. */
	int fd; /* -1: none */
	struct loop_fd *client;
	struct gdb_reader reader;
	uint8_t in[4096];
	size_t in_at, in_len; /* bytes that wait until the client has read its answers */
	struct strbuf out;    /* to be written from out_at on */
	size_t out_at;
	struct strbuf last;	  /* the last frame, in case it has to be sent again */
	bool no_ack, closing;	  /* closing: when all is written */
	bool swbreak, hwbreak;	  /* it understands these reasons */
	struct vcpu *current;	  /* of registers and memory: Hg */
	struct vcpu *selected;	  /* of steps: Hc */
	const char *end_why;	  /* the guest is to end, once the answer is sent */
	struct strbuf reply;	  /* of the command at hand */
	struct strbuf stop_reply; /* why all stand */
};

/* server.c */
/* Lets the vCPUs go on as told; false: that is none of them. */
bool gdb_resume(struct gdb *g, const struct gdb_command *c);
/* The vCPU with a thread's id; NULL: there is none. */
struct vcpu *gdb_thread(struct gdb *g, int id);
static inline int gdb_thread_id(const struct vcpu *v)
{
	return (int)vcpu_id(v) + 1;
}

/* commands.c: carries out a packet; true: g->reply is the answer, false: none for now. */
bool gdb_command(struct gdb *g, uint8_t *packet, size_t len);

#endif
