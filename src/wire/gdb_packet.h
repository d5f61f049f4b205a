// SPDX-License-Identifier: Apache-2.0
// The server's side of GDB's remote protocol as bytes: frames, and what the packets in them say.
// Pure functions; nothing here knows a CPU. Specification: "Debugging with GDB", appendix E.
#ifndef STRATA_WIRE_GDB_PACKET_H
#define STRATA_WIRE_GDB_PACKET_H

#include "base/strbuf.h"

enum { GDB_PACKET_MAX = 16384, GDB_ACTIONS_MAX = 128 };

/* --- frames --- */

enum gdb_input {
	GDB_MORE,      /* nothing yet */
	GDB_PACKET,    /* data[0, len) is a packet, unescaped; valid until the next byte */
	GDB_BAD,       /* one with a wrong checksum */
	GDB_ACK,       /* + */
	GDB_NACK,      /* - */
	GDB_INTERRUPT, /* Ctrl-C */
};

/* Zeroed at first. A packet that is too long reads as an empty one: nobody supports it. */
struct gdb_reader {
	enum { GDB_OUTSIDE, GDB_INSIDE, GDB_ESCAPED, GDB_SUM_HIGH, GDB_SUM_LOW } state;
	uint8_t sum, sum_high;
	bool too_long, bad_digit;
	size_t len;
	uint8_t data[GDB_PACKET_MAX + 1]; /* NUL behind the packet */
};
enum gdb_input gdb_reader_take(struct gdb_reader *r, uint8_t byte);

/* Appends a frame with the payload, escaped. */
void gdb_frame(struct strbuf *out, const void *payload, size_t len);
void gdb_add_hex(struct strbuf *out, const void *bytes, size_t len);

/* --- packets --- */

enum gdb_kind {
	GDB_UNKNOWN,   /* the answer is empty */
	GDB_MALFORMED, /* the answer is an error */
	GDB_STATUS,
	GDB_READ_REGISTERS,
	GDB_WRITE_REGISTERS, /* data */
	GDB_READ_REGISTER,   /* number */
	GDB_WRITE_REGISTER,  /* number, data */
	GDB_READ_MEMORY,     /* addr, length; binary: the answer's form */
	GDB_WRITE_MEMORY,    /* addr, data */
	GDB_SET_THREAD,	     /* thread; resuming: for Hc */
	GDB_THREAD_ALIVE,    /* thread */
	GDB_RESUME,	     /* actions; when has_addr: from addr */
	GDB_RESUME_QUERY,
	GDB_INSERT, /* number: the type (0 to 4), addr, length */
	GDB_REMOVE,
	GDB_DETACH,
	GDB_KILL,
	GDB_SUPPORTED, /* swbreak, hwbreak */
	GDB_NO_ACK,
	GDB_FEATURES, /* text: the annex; addr: offset, length */
	GDB_FIRST_THREADS,
	GDB_NEXT_THREADS,
	GDB_THREAD_INFO, /* thread */
	GDB_CURRENT_THREAD,
	GDB_ATTACHED,
	GDB_SYMBOLS,
	GDB_MONITOR, /* text: the command */
};

/* Breakpoint types of Z and z. */
enum {
	GDB_BREAK_SOFTWARE,
	GDB_BREAK_HARDWARE,
	GDB_WATCH_WRITE,
	GDB_WATCH_READ,
	GDB_WATCH_ACCESS,
	GDB_TYPES
};

enum { GDB_THREAD_ALL = -1, GDB_THREAD_ANY = 0 }; /* else an id, from 1 */

struct gdb_action {
	bool step;
	int thread; /* GDB_THREAD_ANY: the one selected with Hc */
};

struct gdb_command {
	enum gdb_kind kind;
	int thread;
	uint64_t addr, length;
	unsigned number;
	bool binary, resuming, has_addr, swbreak, hwbreak;
	const uint8_t *data; /* inside the packet */
	size_t data_len;
	const char *text; /* inside the packet, ends with NUL */
	struct gdb_action actions[GDB_ACTIONS_MAX];
	unsigned action_count;
};

/* Reads a packet and decodes its hexadecimal parts in place; packet[len] must be NUL. A command's
 * numbers may be anything that its type holds, but for those that are said to be limited. */
void gdb_command_parse(uint8_t *packet, size_t len, struct gdb_command *out);

/* What the packet asks of a thread; NULL: that it stays stopped. selected: the thread of Hc. */
const struct gdb_action *gdb_command_action(const struct gdb_command *c, int thread, int selected);

#endif
