// SPDX-License-Identifier: Apache-2.0
// SHA-256 as the hexadecimal text that OCI and Debian use. Thread: the caller's.
#ifndef STRATA_IMAGE_DIGEST_H
#define STRATA_IMAGE_DIGEST_H

#include "base/error.h"

#include <nettle/sha2.h>

#define DIGEST_HEX_LEN 64

struct digest {
	struct sha256_ctx ctx;
};

void digest_init(struct digest *d);
void digest_update(struct digest *d, const void *bytes, size_t len);
void digest_finish(struct digest *d, char hex[DIGEST_HEX_LEN + 1]);
/* "sha256:" and the digest of these bytes. */
void digest_text(const void *bytes, size_t len, char out[7 + DIGEST_HEX_LEN + 1]);
/* Of a whole file, from its start. bytes() may be NULL and is told what was read. */
int digest_fd(int fd, char hex[DIGEST_HEX_LEN + 1], void (*bytes)(void *opaque, uint64_t n),
	void *opaque, struct error *err);

#endif
