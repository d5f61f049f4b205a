// SPDX-License-Identifier: Apache-2.0
// Any bytes as a frame, from and to the guest, and a checksum to complete at any place.
#include <arpa/inet.h>

#include "net/frame.h"
#include "net/slirp_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct slirp_filter filter;
	struct frame f;
	if (size < 4 || size > FRAME_MAX)
		return 0;
	memset(&filter, 0, sizeof(filter));
	filter.dns_alias.s_addr = htonl(0x0a000203);
	filter.dns_server.s_addr = htonl(data[0] & 1 ? 0x7f000035 : 0x0a000203);
	unsigned start = load_le16(data), offset = load_le16(data + 2);
	size -= 4;
	uint8_t *frame = xmalloc(size + 1); /* its own, so that what is read beyond it is seen */
	memcpy(frame, data + 4, size);
	bool valid = frame_parse(frame, size, &f) && frame_checksum_valid(frame, &f);
	bool passed = slirp_filter_from_guest(&filter, frame, size);
	/* A right checksum stays right, whatever is rewritten. */
	if (passed && valid && (!frame_parse(frame, size, &f) || !frame_checksum_valid(frame, &f)))
		abort();
	slirp_filter_opens(frame, size);
	slirp_filter_to_guest(&filter, frame, size);
	frame_checksum_complete(frame, size, start, offset);
	free(frame);
	return 0;
}
