// SPDX-License-Identifier: Apache-2.0
// The one visitor that saves and restores state. A class writes a single
//     void x_state(struct x *x, struct state *s)
// that names every field once; the direction is the stream's. Fields are tagged, records are
// versioned and nested, integers are little-endian: never raw structs.
//
//     if (state_begin(s, "uart", 1)) {
//             state_u8(s, "ier", &u->ier);
//             state_u32(s, "fifo.len", &u->fifo_len);
//             state_bytes(s, "fifo", u->fifo, sizeof(u->fifo));
//             if (state_version(s) >= 2) …
//     }
//     state_end(s);
//
// The stream is hostile when it is restored: every length is checked against the caller's, and the
// caller validates values that it later uses as an index. The first error sticks; afterwards all
// calls are no-ops and fields keep their values. A stream belongs to one thread.
#ifndef STRATA_WIRE_STATE_H
#define STRATA_WIRE_STATE_H

#include "base/error.h"
#include "base/strbuf.h"

struct state;

/* A stream that saves into `out` (not owned, appended to). */
struct state *state_new_save(struct strbuf *out);
/* A stream that restores from `bytes`, which must outlive it. */
struct state *state_new_restore(const void *bytes, size_t len);
void state_free(struct state *s);

bool state_saving(const struct state *s);
/* Sets the sticky error, for values that the class itself refuses. */
void state_fail(struct state *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* 0, or the sticky error moved into err. Restoring: also fails when bytes are left over. */
int state_finish(struct state *s, struct error *err);

/* Opens a record. Returns false when there is an error. Saving writes `version`; restoring fails
 * when the stream's version is newer than `version`. */
bool state_begin(struct state *s, const char *name, uint32_t version);
uint32_t state_version(const struct state *s); /* of the innermost record */
void state_end(struct state *s);	       /* call it also after state_begin() returned false */

void state_u8(struct state *s, const char *tag, uint8_t *v);
void state_u16(struct state *s, const char *tag, uint16_t *v);
void state_u32(struct state *s, const char *tag, uint32_t *v);
void state_u64(struct state *s, const char *tag, uint64_t *v);
void state_bool(struct state *s, const char *tag, bool *v);
void state_bytes(struct state *s, const char *tag, void *bytes, size_t len); /* fixed length */
void state_u64s(struct state *s, const char *tag, uint64_t *v, size_t n);    /* fixed count */
/* A length that varies. Restoring allocates at most max_len bytes, which the caller frees. */
void state_blob(struct state *s, const char *tag, void **bytes, size_t *len, size_t max_len);

#endif
