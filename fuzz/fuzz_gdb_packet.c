// SPDX-License-Identifier: Apache-2.0
// A hostile debugger's bytes, as a stream and as one packet. What a command points to lies inside
// its packet; a frame that we make reads as its payload.
#include "wire/gdb_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(uint8_t *packet, size_t len)
{
	struct gdb_command c;
	gdb_command_parse(packet, len, &c);
	const uint8_t *text = (const uint8_t *)c.text;
	if (c.data && (c.data < packet || c.data + c.data_len > packet + len))
		abort();
	if (text && *text && (text < packet || text + strlen(c.text) > packet + len))
		abort();
	if (c.action_count > GDB_ACTIONS_MAX || c.number > (c.kind == GDB_INSERT ? 4u : UINT32_MAX))
		abort();
	const struct gdb_action *a = gdb_command_action(&c, 1, 2);
	if (a && (c.kind == GDB_RESUME) != (c.action_count > 0) && c.kind != GDB_MALFORMED)
		abort();
}

static void round_trip(struct gdb_reader *r, const uint8_t *data, size_t size)
{
	struct strbuf frame _strbuf_ = STRBUF_INIT;
	size = MIN(size, (size_t)GDB_PACKET_MAX);
	gdb_frame(&frame, data, size);
	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i + 1 < frame.len; i++)
		if (gdb_reader_take(r, (uint8_t)frame.data[i]) != GDB_MORE)
			abort();
	if (gdb_reader_take(r, (uint8_t)frame.data[frame.len - 1]) != GDB_PACKET)
		abort();
	if (r->len != size || (size && memcmp(r->data, data, size)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gdb_reader r;
	memset(&r, 0, sizeof(r));
	for (size_t i = 0; i < size; i++)
		if (gdb_reader_take(&r, data[i]) == GDB_PACKET)
			check(r.data, r.len);
	round_trip(&r, data, size);
	check(r.data, r.len);
	return 0;
}
