// SPDX-License-Identifier: Apache-2.0
#include "image/digest.h"

#include <stdio.h>
#include <unistd.h>

void digest_init(struct digest *d)
{
	sha256_init(&d->ctx);
}

void digest_update(struct digest *d, const void *bytes, size_t len)
{
	if (len)
		sha256_update(&d->ctx, len, bytes);
}

void digest_finish(struct digest *d, char hex[DIGEST_HEX_LEN + 1])
{
	uint8_t raw[SHA256_DIGEST_SIZE];
	sha256_digest(&d->ctx, sizeof(raw), raw);
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(hex + 2 * i, 3, "%02x", raw[i]);
}

void digest_text(const void *bytes, size_t len, char out[7 + DIGEST_HEX_LEN + 1])
{
	struct digest d;
	digest_init(&d);
	digest_update(&d, bytes, len);
	memcpy(out, "sha256:", 7);
	digest_finish(&d, out + 7);
}

int digest_fd(int fd, char hex[DIGEST_HEX_LEN + 1], void (*bytes)(void *opaque, uint64_t n),
	void *opaque, struct error *err)
{
	struct digest d;
	char *chunk _free_ = xmalloc(256 * KiB);
	off_t pos = 0;
	digest_init(&d);
	for (;;) {
		ssize_t n = pread(fd, chunk, 256 * KiB, pos);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "read");
		if (n == 0)
			break;
		digest_update(&d, chunk, (size_t)n);
		pos += n;
		if (bytes)
			bytes(opaque, (uint64_t)n);
	}
	digest_finish(&d, hex);
	return 0;
}
