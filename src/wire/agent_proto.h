// SPDX-License-Identifier: Apache-2.0
// The protocol between a host and the agent in its guest (docs/agent-protocol.md).
//
// A frame is u32 length, u16 type, fields; length counts what follows it. A field is u16 tag,
// u32 length, value. Everything is little-endian. Each side treats the other as hostile: a frame
// is at most AGENT_FRAME_MAX bytes, decoding allocates at most a small multiple of the frame's
// size from the caller's arena, and strings of a decoded message point into the frame.
// The same code is compiled into the host's tools and into the guest's agent.
#ifndef STRATA_WIRE_AGENT_PROTO_H
#define STRATA_WIRE_AGENT_PROTO_H

#include "base/arena.h"
#include "base/error.h"

#define AGENT_PROTOCOL_VERSION 1
#define AGENT_VSOCK_PORT       1024
#define AGENT_FRAME_MAX	       (256 * 1024) /* bytes, its length word included */
#define AGENT_FRAME_HEAD       6	    /* length and type */

enum agent_type {
	AGENT_HELLO = 1,
	AGENT_ERROR = 2,
	AGENT_DONE = 3,
	AGENT_SETUP = 4,
	AGENT_EXEC = 5,
	AGENT_READY = 6,
	AGENT_ATTACH = 7,
	AGENT_STARTED = 8,
	AGENT_SIGNAL = 9,
	AGENT_RESIZE = 10,
	AGENT_EXIT = 11,
	AGENT_SHUTDOWN = 12,
	AGENT_PING = 13,
	AGENT_PONG = 14,
	AGENT_INFO = 15,
	AGENT_INFO_REPLY = 16,
};

enum agent_stream { AGENT_STDIN, AGENT_STDOUT, AGENT_STDERR, AGENT_STREAMS };

struct agent_strings {
	const char **items;
	size_t len;
};

/* First message of every connection, both ways. */
struct agent_hello {
	uint32_t version;
	const char *software; /* name and release, for people */
};

struct agent_failure {
	uint32_t code;	      /* errno, Linux's generic numbers */
	uint32_t exit_status; /* EXEC: 126 or 127 when the command could not be started, else 0 */
	const char *message;
};

/* A source of a file system: "virtiofs:TAG", "block:SERIAL", "bind:PATH" or "tmpfs:". */
struct agent_mount {
	const char *source;
	const char *path; /* in the guest; made when missing */
	bool read_only;
};

struct agent_network {
	const char *address; /* "10.0.2.15" */
	uint32_t prefix;     /* bits of the network mask */
	const char *gateway; /* NULL: no default route */
	struct agent_strings dns;
};

struct agent_setup {
	const char *hostname;
	struct agent_strings lower; /* sources of the root, topmost first */
	const char *upper;	    /* source that takes the writes, NULL: the root is read-only */
	struct {
		struct agent_mount *items;
		size_t len;
	} mounts;
	struct {
		struct agent_network *items;
		size_t len;
	} networks;		  /* at most one today: the first Ethernet interface */
	struct agent_strings env; /* NAME=value, below those of each EXEC */
	uint64_t clock_ns;	  /* CLOCK_REALTIME of the host; 0: leave the guest's */
};

struct agent_exec {
	struct agent_strings argv; /* at least one */
	struct agent_strings env;
	const char *cwd;  /* NULL: the user's home, or / */
	const char *user; /* name or uid, then maybe :group; NULL: root */
	bool tty;	  /* one pseudo-terminal; streams 0 and 1 are its two directions */
	uint32_t rows, cols;
};

struct agent_ready {
	uint64_t token; /* for ATTACH; nobody else can guess it */
};
struct agent_attach {
	uint64_t token;
	uint32_t stream; /* enum agent_stream */
};
struct agent_started {
	uint32_t pid; /* in the guest */
};
struct agent_signal {
	uint32_t number; /* Linux's generic numbers; goes to the command's process group */
};
struct agent_resize {
	uint32_t rows, cols;
};
struct agent_exit {
	uint32_t status; /* when signal == 0 */
	uint32_t signal;
};
struct agent_shutdown {
	bool reboot;
	uint32_t grace_ms; /* between SIGTERM and SIGKILL; 0: SIGKILL at once */
};
struct agent_ping {
	uint64_t cookie; /* comes back in PONG */
};
struct agent_info {
	const char *software, *kernel, *machine;
	uint64_t uptime_ms;
	uint64_t memory_bytes, memory_available_bytes;
	uint32_t processes;
};

struct agent_message {
	enum agent_type type;
	union {
		struct agent_hello hello;
		struct agent_failure error;
		struct agent_setup setup;
		struct agent_exec exec;
		struct agent_ready ready;
		struct agent_attach attach;
		struct agent_started started;
		struct agent_signal signal;
		struct agent_resize resize;
		struct agent_exit exit;
		struct agent_shutdown shutdown;
		struct agent_ping ping; /* PONG too */
		struct agent_info info;
	};
};

/* Bytes of the frame written to buf, or -EMSGSIZE when it is larger than cap or than
 * AGENT_FRAME_MAX, -EINVAL for a type that does not exist. */
ssize_t agent_encode(const struct agent_message *m, void *buf, size_t cap, struct error *err);

/* How long the frame is that begins with these bytes: 0 when more bytes are needed to say, or
 * -EPROTO when no frame can begin so. */
ssize_t agent_frame_length(const void *bytes, size_t len, struct error *err);

/* Decodes one whole frame. Fields with unknown tags are skipped, a missing one is 0 or NULL unless
 * it is needed. *out points into `frame` and `arena`; it is untouched on failure (-EPROTO). */
int agent_decode(const void *frame, size_t len, struct arena *arena, struct agent_message *out,
	struct error *err);

const char *agent_type_name(enum agent_type type); /* "EXEC"; "?" for an unknown one */

#endif
