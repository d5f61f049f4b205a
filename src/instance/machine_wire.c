// SPDX-License-Identifier: Apache-2.0
#include "instance/machine_wire.h"

#include <fcntl.h>
#include <sys/socket.h>

const char *const machine_end_names[] = {"poweroff", "reboot", "panic", "stopped", "failed", NULL};

int machine_send(int fd, json_t *message, int flags)
{
	char *text _free_ = message ? json_dumps(message, JSON_COMPACT) : NULL;
	json_decref(message);
	if (!text)
		return -EINVAL;
	size_t len = strlen(text);
	if (len > MACHINE_MESSAGE_MAX)
		return -EMSGSIZE;
	ssize_t n;
	do
		n = send(fd, text, len, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int machine_receive(int fd, json_t **out, int flags)
{
	char *buf _free_ = xmalloc(MACHINE_MESSAGE_MAX);
	ssize_t n;
	do
		n = recv(fd, buf, MACHINE_MESSAGE_MAX, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -EPIPE;
	if (n == 0)
		return -EPIPE;
	json_t *o = json_loadb(buf, (size_t)n, 0, NULL);
	if (!json_is_object(o)) {
		json_decref(o);
		return -EPIPE; /* the other side is no longer itself */
	}
	*out = o;
	return 1;
}

static json_t *add_fd(struct fd_list *list, int fd)
{
	if (fd < 0)
		return json_integer(-1);
	vec_push(list, fd);
	return json_integer((json_int_t)(MONITOR_CONTROL_FD + list->len - 1));
}

static json_t *text(const char *s)
{
	json_t *v = s ? json_string(s) : NULL;
	return v ? v : json_null();
}

static json_t *shares_to_json(const struct machine_spec *s, struct fd_list *fds)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < s->n_shares; i++) {
		const struct machine_share *share = &s->shares[i];
		json_t *layers = json_array();
		for (unsigned j = 0; j < share->n_layers; j++)
			json_array_append_new(layers, add_fd(fds, share->layer_fds[j]));
		json_array_append_new(
			list, json_pack("{s:o, s:o, s:o, s:b}", "tag", text(share->tag), "dir",
				      add_fd(fds, share->dir_fd), "layers", layers, "read_only",
				      (int)share->read_only));
	}
	return list;
}

json_t *machine_spec_to_json(const struct machine_spec *s, struct fd_list *fds)
{
	json_t *disks = json_array(), *initrds = json_array(), *publish = json_array();
	for (unsigned i = 0; i < s->n_disks; i++) {
		const struct machine_disk *d = &s->disks[i];
		json_array_append_new(
			disks, json_pack("{s:o, s:o, s:o, s:b}", "path", text(d->path), "serial",
				       text(d->serial), "fd", add_fd(fds, d->fd), "read_only",
				       (int)d->read_only));
	}
	for (unsigned i = 0; i < s->n_initrds; i++)
		json_array_append_new(initrds, add_fd(fds, s->initrd_fds[i]));
	for (size_t i = 0; i < s->n_publish; i++)
		json_array_append_new(publish, text(s->publish[i]));
	return json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:b, s:o, s:o, s:b, s:o, "
			 "s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:b}",
		"arch", text(s->arch), "hostname", text(s->hostname), "cpus", (json_int_t)s->cpus,
		"memory_bytes", (json_int_t)s->memory_bytes, "cmdline", text(s->cmdline),
		"kernel_name", text(s->kernel_name), "console_log", (int)s->console_log, "kernel",
		add_fd(fds, s->kernel_fd), "initrds", initrds, "agent", (int)s->agent, "disks",
		disks, "shares", shares_to_json(s, fds), "network", (int)s->network, "publish",
		publish, "console", add_fd(fds, s->console_fd), "directory", add_fd(fds, s->dir_fd),
		"lock", add_fd(fds, s->lock_fd), "gdb", add_fd(fds, s->has_gdb ? s->gdb_fd : -1),
		"gdb_wait", (int)s->gdb_wait);
}

static int get_fd(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);
	return v && json_is_integer(v) ? (int)json_integer_value(v) : -1;
}

static int list_fds(const json_t *list, int *out, unsigned max, unsigned *n)
{
	size_t len = json_array_size(list);
	if (len > max)
		return -E2BIG;
	for (size_t i = 0; i < len; i++)
		out[i] = (int)json_integer_value(json_array_get(list, i));
	*n = (unsigned)len;
	return 0;
}

static int disks_from_json(const json_t *list, struct machine_spec *out)
{
	size_t len = json_array_size(list);
	if (len > MACHINE_DISKS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < len; i++) {
		const json_t *o = json_array_get(list, i);
		out->disks[i] =
			(struct machine_disk){.path = json_string_value(json_object_get(o, "path")),
				.serial = json_string_value(json_object_get(o, "serial")),
				.fd = get_fd(o, "fd"),
				.read_only = json_is_true(json_object_get(o, "read_only"))};
		if (!out->disks[i].path)
			return -EINVAL;
	}
	out->n_disks = (unsigned)len;
	return 0;
}

static int shares_from_json(const json_t *list, struct machine_spec *out)
{
	size_t len = json_array_size(list);
	if (len > MACHINE_SHARES_MAX)
		return -E2BIG;
	for (size_t i = 0; i < len; i++) {
		const json_t *o = json_array_get(list, i);
		struct machine_share *s = &out->shares[i];
		s->tag = json_string_value(json_object_get(o, "tag"));
		s->dir_fd = get_fd(o, "dir");
		s->read_only = json_is_true(json_object_get(o, "read_only"));
		if (!s->tag || list_fds(json_object_get(o, "layers"), s->layer_fds,
				       MACHINE_LAYERS_MAX, &s->n_layers))
			return -EINVAL;
	}
	out->n_shares = (unsigned)len;
	return 0;
}

static int publish_from_json(const json_t *list, struct machine_spec *out)
{
	size_t len = json_array_size(list);
	if (len > MACHINE_PUBLISH_MAX)
		return -E2BIG;
	for (size_t i = 0; i < len; i++) {
		out->publish[i] = json_string_value(json_array_get(list, i));
		if (!out->publish[i])
			return -EINVAL;
	}
	out->n_publish = (unsigned)len;
	return 0;
}

int machine_spec_from_json(const json_t *o, struct machine_spec *out, struct error *err)
{
	*out = (struct machine_spec){
		.arch = json_string_value(json_object_get(o, "arch")),
		.hostname = json_string_value(json_object_get(o, "hostname")),
		.cpus = (uint64_t)json_integer_value(json_object_get(o, "cpus")),
		.memory_bytes = (uint64_t)json_integer_value(json_object_get(o, "memory_bytes")),
		.cmdline = json_string_value(json_object_get(o, "cmdline")),
		.kernel_name = json_string_value(json_object_get(o, "kernel_name")),
		.kernel_fd = get_fd(o, "kernel"),
		.agent = json_is_true(json_object_get(o, "agent")),
		.network = json_is_true(json_object_get(o, "network")),
		.console_fd = get_fd(o, "console"),
		.console_log = json_is_true(json_object_get(o, "console_log")),
		.dir_fd = get_fd(o, "directory"),
		.lock_fd = get_fd(o, "lock"),
		.gdb_fd = get_fd(o, "gdb"),
		.has_gdb = get_fd(o, "gdb") >= 0,
		.gdb_wait = json_is_true(json_object_get(o, "gdb_wait")),
	};
	int r = list_fds(json_object_get(o, "initrds"), out->initrd_fds,
		ARRAY_SIZE(out->initrd_fds), &out->n_initrds);
	if (!r)
		r = disks_from_json(json_object_get(o, "disks"), out);
	if (!r)
		r = shares_from_json(json_object_get(o, "shares"), out);
	if (!r)
		r = publish_from_json(json_object_get(o, "publish"), out);
	if (r || !out->arch || !out->cmdline)
		return error_set(err, EINVAL, "the machine's specification is incomplete");
	return 0;
}
