// SPDX-License-Identifier: Apache-2.0
// One table per message says where each tag lives in the C structure; encoder and decoder are two
// walks over the same tables, so they cannot disagree.
#include "wire/agent_proto.h"

enum kind {
	BOOL,	 /* bool, one byte 0 or 1 */
	U32,	 /* uint32_t */
	U64,	 /* uint64_t */
	STRING,	 /* const char *, bytes with their terminator */
	STRINGS, /* struct agent_strings, the tag repeated */
	RECORDS, /* struct { T *items; size_t len; }, the tag repeated, fields inside */
};

struct field {
	uint16_t tag;
	uint8_t kind;
	bool needed;
	size_t offset;
	const struct record *sub; /* RECORDS */
};

struct record {
	const char *name;
	size_t bytes; /* of the C structure */
	const struct field *fields;
	size_t n;
};

/* Every list in the structures has this layout; decoding fills it through the bytes. */
struct list {
	void *items;
	size_t len;
};

#define F(tag, kind, type, member)                                                                 \
	{                                                                                          \
		tag, kind, false, offsetof(type, member), NULL                                     \
	}
#define NEED(tag, kind, type, member)                                                              \
	{                                                                                          \
		tag, kind, true, offsetof(type, member), NULL                                      \
	}
#define LIST(tag, type, member, record)                                                            \
	{                                                                                          \
		tag, RECORDS, false, offsetof(type, member), record                                \
	}
#define RECORD(name, type, fields)                                                                 \
	{                                                                                          \
		name, sizeof(type), fields, ARRAY_SIZE(fields)                                     \
	}

static const struct field mount_fields[] = {
	NEED(1, STRING, struct agent_mount, source),
	NEED(2, STRING, struct agent_mount, path),
	F(3, BOOL, struct agent_mount, read_only),
};
static const struct record mount_record = RECORD("mount", struct agent_mount, mount_fields);

static const struct field network_fields[] = {
	NEED(1, STRING, struct agent_network, address),
	NEED(2, U32, struct agent_network, prefix),
	F(3, STRING, struct agent_network, gateway),
	F(4, STRINGS, struct agent_network, dns),
};
static const struct record network_record = RECORD("network", struct agent_network, network_fields);

static const struct field hello_fields[] = {
	NEED(1, U32, struct agent_hello, version),
	F(2, STRING, struct agent_hello, software),
};
static const struct field error_fields[] = {
	NEED(1, U32, struct agent_failure, code),
	F(2, U32, struct agent_failure, exit_status),
	NEED(3, STRING, struct agent_failure, message),
};
static const struct field setup_fields[] = {
	F(1, STRING, struct agent_setup, hostname),
	F(2, STRINGS, struct agent_setup, lower),
	F(3, STRING, struct agent_setup, upper),
	LIST(4, struct agent_setup, mounts, &mount_record),
	LIST(5, struct agent_setup, networks, &network_record),
	F(6, STRINGS, struct agent_setup, env),
	F(7, U64, struct agent_setup, clock_ns),
};
static const struct field exec_fields[] = {
	NEED(1, STRINGS, struct agent_exec, argv),
	F(2, STRINGS, struct agent_exec, env),
	F(3, STRING, struct agent_exec, cwd),
	F(4, STRING, struct agent_exec, user),
	F(5, BOOL, struct agent_exec, tty),
	F(6, U32, struct agent_exec, rows),
	F(7, U32, struct agent_exec, cols),
};
static const struct field ready_fields[] = {NEED(1, U64, struct agent_ready, token)};
static const struct field attach_fields[] = {
	NEED(1, U64, struct agent_attach, token),
	NEED(2, U32, struct agent_attach, stream),
};
static const struct field started_fields[] = {NEED(1, U32, struct agent_started, pid)};
static const struct field signal_fields[] = {NEED(1, U32, struct agent_signal, number)};
static const struct field resize_fields[] = {
	NEED(1, U32, struct agent_resize, rows),
	NEED(2, U32, struct agent_resize, cols),
};
static const struct field exit_fields[] = {
	NEED(1, U32, struct agent_exit, status),
	F(2, U32, struct agent_exit, signal),
};
static const struct field shutdown_fields[] = {
	F(1, BOOL, struct agent_shutdown, reboot),
	F(2, U32, struct agent_shutdown, grace_ms),
};
static const struct field ping_fields[] = {F(1, U64, struct agent_ping, cookie)};
static const struct field info_fields[] = {
	F(1, STRING, struct agent_info, software),
	F(2, STRING, struct agent_info, kernel),
	F(3, STRING, struct agent_info, machine),
	F(4, U64, struct agent_info, uptime_ms),
	F(5, U64, struct agent_info, memory_bytes),
	F(6, U64, struct agent_info, memory_available_bytes),
	F(7, U32, struct agent_info, processes),
};

static const struct record messages[] = {
	[AGENT_HELLO] = RECORD("HELLO", struct agent_hello, hello_fields),
	[AGENT_ERROR] = RECORD("ERROR", struct agent_failure, error_fields),
	[AGENT_DONE] = {"DONE", 0, NULL, 0},
	[AGENT_SETUP] = RECORD("SETUP", struct agent_setup, setup_fields),
	[AGENT_EXEC] = RECORD("EXEC", struct agent_exec, exec_fields),
	[AGENT_READY] = RECORD("READY", struct agent_ready, ready_fields),
	[AGENT_ATTACH] = RECORD("ATTACH", struct agent_attach, attach_fields),
	[AGENT_STARTED] = RECORD("STARTED", struct agent_started, started_fields),
	[AGENT_SIGNAL] = RECORD("SIGNAL", struct agent_signal, signal_fields),
	[AGENT_RESIZE] = RECORD("RESIZE", struct agent_resize, resize_fields),
	[AGENT_EXIT] = RECORD("EXIT", struct agent_exit, exit_fields),
	[AGENT_SHUTDOWN] = RECORD("SHUTDOWN", struct agent_shutdown, shutdown_fields),
	[AGENT_PING] = RECORD("PING", struct agent_ping, ping_fields),
	[AGENT_PONG] = RECORD("PONG", struct agent_ping, ping_fields),
	[AGENT_INFO] = {"INFO", 0, NULL, 0},
	[AGENT_INFO_REPLY] = RECORD("INFO_REPLY", struct agent_info, info_fields),
};

#define FIELD_HEAD 6 /* tag and length */
#define FIELDS_MAX 8 /* of one record; checked below */
_Static_assert(ARRAY_SIZE(setup_fields) <= FIELDS_MAX, "raise FIELDS_MAX");
_Static_assert(ARRAY_SIZE(exec_fields) <= FIELDS_MAX, "raise FIELDS_MAX");
_Static_assert(ARRAY_SIZE(info_fields) <= FIELDS_MAX, "raise FIELDS_MAX");

static const struct record *message_record(unsigned type)
{
	return type < ARRAY_SIZE(messages) && messages[type].name ? &messages[type] : NULL;
}

const char *agent_type_name(enum agent_type type)
{
	const struct record *r = message_record((unsigned)type);
	return r ? r->name : "?";
}

/* Encoding */

struct writer {
	uint8_t *bytes;
	size_t cap, len; /* len may pass cap: then nothing is written, only counted */
};

static void put(struct writer *w, const void *bytes, size_t n)
{
	if (range_fits(w->len, n, w->cap))
		memcpy(w->bytes + w->len, bytes, n);
	if (add_overflows(w->len, n, &w->len))
		w->len = SIZE_MAX;
}

static void put_field(struct writer *w, uint16_t tag, const void *value, size_t n)
{
	uint8_t head[FIELD_HEAD];
	store_le16(head, tag);
	store_le32(head + 2, (uint32_t)MIN(n, UINT32_MAX));
	put(w, head, sizeof(head));
	put(w, value, n);
}

static void put_record(struct writer *w, const struct record *r, const uint8_t *base);

static void put_list(struct writer *w, const struct field *f, const uint8_t *base)
{
	struct list list;
	memcpy(&list, base + f->offset, sizeof(list));
	for (size_t i = 0; i < list.len; i++) {
		if (f->kind == STRINGS) {
			const char *s = ((const char *const *)list.items)[i];
			put_field(w, f->tag, s, strlen(s) + 1);
			continue;
		}
		size_t start = w->len;
		put_field(w, f->tag, "", 0);
		put_record(w, f->sub, (const uint8_t *)list.items + i * f->sub->bytes);
		if (w->len <= w->cap)
			store_le32(w->bytes + start + 2, (uint32_t)(w->len - start - FIELD_HEAD));
	}
}

static void put_record(struct writer *w, const struct record *r, const uint8_t *base)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct field *f = &r->fields[i];
		uint8_t number[8];
		const char *s;
		switch (f->kind) {
		case BOOL:
			put_field(w, f->tag, base + f->offset, 1);
			break;
		case U32:
			store_le32(number, *(const uint32_t *)(const void *)(base + f->offset));
			put_field(w, f->tag, number, 4);
			break;
		case U64:
			store_le64(number, *(const uint64_t *)(const void *)(base + f->offset));
			put_field(w, f->tag, number, 8);
			break;
		case STRING:
			memcpy(&s, base + f->offset, sizeof(s));
			if (s)
				put_field(w, f->tag, s, strlen(s) + 1);
			break;
		default:
			put_list(w, f, base);
		}
	}
}

ssize_t agent_encode(const struct agent_message *m, void *buf, size_t cap, struct error *err)
{
	const struct record *r = message_record((unsigned)m->type);
	if (!r)
		return error_set(err, EINVAL, "agent protocol: no message type %d", (int)m->type);
	struct writer w = {buf, MIN(cap, (size_t)AGENT_FRAME_MAX), 0};
	uint8_t head[AGENT_FRAME_HEAD] = {0};
	store_le16(head + 4, (uint16_t)m->type);
	put(&w, head, sizeof(head));
	put_record(&w, r, (const uint8_t *)&m->hello);
	if (w.len > w.cap)
		return error_set(err, EMSGSIZE,
			"agent protocol: %s of %zu bytes is larger than the %zu that fit", r->name,
			w.len, w.cap);
	store_le32(w.bytes, (uint32_t)(w.len - 4));
	return (ssize_t)w.len;
}

/* Decoding */

ssize_t agent_frame_length(const void *bytes, size_t len, struct error *err)
{
	if (len < 4)
		return 0;
	uint32_t n = load_le32(bytes);
	if (n < AGENT_FRAME_HEAD - 4 || n > AGENT_FRAME_MAX - 4)
		return error_set(
			err, EPROTO, "agent protocol: a frame of %u bytes cannot be", (unsigned)n);
	return (ssize_t)n + 4;
}

struct raw_field {
	uint16_t tag;
	uint32_t len;
	const uint8_t *value;
};

/* 1 and the next field, 0 at the end, -EPROTO. */
static int next_field(const uint8_t **p, const uint8_t *end, struct raw_field *out)
{
	size_t left = (size_t)(end - *p);
	if (!left)
		return 0;
	if (left < FIELD_HEAD)
		return -EPROTO;
	*out = (struct raw_field){load_le16(*p), load_le32(*p + 2), *p + FIELD_HEAD};
	if (out->len > left - FIELD_HEAD)
		return -EPROTO;
	*p += FIELD_HEAD + out->len;
	return 1;
}

static bool is_string(const struct raw_field *v)
{
	return v->len && memchr(v->value, 0, v->len) == v->value + v->len - 1;
}

static const struct field *find_field(const struct record *r, uint16_t tag)
{
	for (size_t i = 0; i < r->n; i++) {
		if (r->fields[i].tag == tag)
			return &r->fields[i];
	}
	return NULL;
}

static bool is_list(const struct field *f)
{
	return f->kind == STRINGS || f->kind == RECORDS;
}

/* Counts how often each field of the record occurs, which also proves that the bytes divide into
 * fields; then makes room for the lists. */
static int count_fields(const struct record *r, const uint8_t *p, const uint8_t *end,
	size_t count[FIELDS_MAX], struct error *err)
{
	struct raw_field v;
	int more;
	while ((more = next_field(&p, end, &v)) > 0) {
		const struct field *f = find_field(r, v.tag);
		if (f)
			count[f - r->fields]++;
	}
	if (more < 0)
		return error_set(err, EPROTO, "%s: a field reaches past the end", r->name);
	for (size_t i = 0; i < r->n; i++) {
		const struct field *f = &r->fields[i];
		if (f->needed && !count[i])
			return error_set(err, EPROTO, "%s: field %u is missing", r->name, f->tag);
		if (!is_list(f) && count[i] > 1)
			return error_set(err, EPROTO, "%s: field %u stands twice", r->name, f->tag);
	}
	return 0;
}

static int get_record(const struct record *r, const uint8_t *p, const uint8_t *end,
	struct arena *arena, uint8_t *base, struct error *err);

/* The list's room was made; its len counts those filled in. */
static int get_item(const struct field *f, const struct raw_field *v, struct arena *arena,
	uint8_t *base, struct error *err)
{
	struct list *list = (void *)(base + f->offset);
	if (f->kind == STRINGS) {
		if (!is_string(v))
			return -EPROTO;
		((const char **)list->items)[list->len++] = (const char *)v->value;
		return 0;
	}
	uint8_t *item = (uint8_t *)list->items + list->len * f->sub->bytes;
	int r = get_record(f->sub, v->value, v->value + v->len, arena, item, err);
	if (!r)
		list->len++;
	return r;
}

static int get_field(const struct field *f, const struct raw_field *v, struct arena *arena,
	uint8_t *base, struct error *err)
{
	void *slot = base + f->offset;
	switch (f->kind) {
	case BOOL:
		if (v->len != 1 || v->value[0] > 1)
			return -EPROTO;
		*(bool *)slot = v->value[0];
		return 0;
	case U32:
		if (v->len != 4)
			return -EPROTO;
		*(uint32_t *)slot = load_le32(v->value);
		return 0;
	case U64:
		if (v->len != 8)
			return -EPROTO;
		*(uint64_t *)slot = load_le64(v->value);
		return 0;
	case STRING:
		if (!is_string(v))
			return -EPROTO;
		*(const char **)slot = (const char *)v->value;
		return 0;
	default:
		return get_item(f, v, arena, base, err);
	}
}

static int get_record(const struct record *r, const uint8_t *p, const uint8_t *end,
	struct arena *arena, uint8_t *base, struct error *err)
{
	size_t count[FIELDS_MAX] = {0};
	int status = count_fields(r, p, end, count, err);
	if (status)
		return status;
	for (size_t i = 0; i < r->n; i++) {
		const struct field *f = &r->fields[i];
		if (!is_list(f) || !count[i])
			continue;
		/* count <= frame / FIELD_HEAD, so this stays below a dozen times the frame. */
		size_t item = f->kind == STRINGS ? sizeof(char *) : f->sub->bytes;
		((struct list *)(void *)(base + f->offset))->items =
			arena_alloc(arena, count[i] * item);
	}
	struct raw_field v;
	while (next_field(&p, end, &v) > 0) {
		const struct field *f = find_field(r, v.tag);
		if (!f)
			continue;
		struct error inner _error_ = ERROR_INIT;
		if (get_field(f, &v, arena, base, &inner) < 0)
			return error_set(err, EPROTO, "%s: field %u: %s", r->name, f->tag,
				inner.message ? inner.message : "bad value");
	}
	return 0;
}

int agent_decode(const void *frame, size_t len, struct arena *arena, struct agent_message *out,
	struct error *err)
{
	ssize_t whole = agent_frame_length(frame, len, err);
	if (whole < 0)
		return (int)whole;
	if (!whole || (size_t)whole != len)
		return error_set(
			err, EPROTO, "agent protocol: a frame of %zu bytes says %zd", len, whole);
	const uint8_t *p = frame;
	unsigned type = load_le16(p + 4);
	const struct record *r = message_record(type);
	if (!r)
		return error_set(err, EPROTO, "agent protocol: unknown message type %u", type);
	struct agent_message m;
	memset(&m, 0, sizeof(m));
	m.type = (enum agent_type)type;
	int status = get_record(
		r, p + AGENT_FRAME_HEAD, p + len, arena, (uint8_t *)(void *)&m.hello, err);
	if (status) {
		error_wrap(err, status, "agent protocol");
		return status;
	}
	*out = m;
	return 0;
}
