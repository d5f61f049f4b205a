// SPDX-License-Identifier: Apache-2.0
#include "oci/config_linux.h"

#include <stdio.h>
#include <sys/personality.h>
#include <sys/stat.h>

struct spec_id_maps config_id_maps(struct reader *r, const struct node *parent, const char *key)
{
	struct node list = member(parent, key);
	struct spec_id_maps maps = {0};
	size_t n = array_size(r, &list);
	/* The kernel's limit: user_namespaces(7). */
	if (n > 340)
		bad(r, &list, "has more than 340 ranges");
	maps.items = ARENA_ARRAY(r->arena, struct spec_id_map, MIN(n, 340) + 1);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&list, i);
		struct spec_id_map *m = &maps.items[maps.n++];
		m->inside = (uint32_t)get_number(r, &e, "containerID", 0, 0, UINT32_MAX);
		m->outside = (uint32_t)get_number(r, &e, "hostID", 0, 0, UINT32_MAX);
		m->count = (uint32_t)get_number(r, &e, "size", 0, 1, UINT32_MAX);
		if (!m->count)
			bad(r, &e, "size is required");
	}
	return maps;
}

static void read_namespaces(struct reader *r, const struct node *l, struct spec *s)
{
	struct node list = member(l, "namespaces");
	size_t n = array_size(r, &list);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&list, i), type = member(&e, "type");
		const char *name = need_string(r, &e, "type"), *path = get_string(r, &e, "path");
		int k = 0;
		while (k < NAMESPACES && strcmp(name, spec_namespace_name((enum namespace_kind)k)))
			k++;
		if (k == NAMESPACES) {
			bad(r, &type, "there is no namespace type \"%s\"", name);
		} else if (s->namespaces[k].listed) {
			bad(r, &type, "the %s namespace is there twice", name);
		} else {
			s->namespaces[k].listed = true;
			s->namespaces[k].path = path && *path ? path : NULL;
		}
	}
}

static void read_offsets(struct reader *r, const struct node *l, struct spec *s)
{
	struct node offsets = member(l, "timeOffsets"), mono = member(&offsets, "monotonic"),
		    boot = member(&offsets, "boottime");
	if (!is_object(r, &offsets))
		return;
	if (!s->namespaces[NAMESPACE_TIME].listed || s->namespaces[NAMESPACE_TIME].path)
		bad(r, &offsets, "needs a new time namespace");
	s->time_offsets = true;
	if (is_object(r, &mono)) {
		s->monotonic_s = get_number(r, &mono, "secs", 0, -INT32_MAX, INT32_MAX);
		s->monotonic_ns = (uint32_t)get_number(r, &mono, "nanosecs", 0, 0, 999999999);
	}
	if (is_object(r, &boot)) {
		s->boottime_s = get_number(r, &boot, "secs", 0, -INT32_MAX, INT32_MAX);
		s->boottime_ns = (uint32_t)get_number(r, &boot, "nanosecs", 0, 0, 999999999);
	}
}

static void read_devices(struct reader *r, const struct node *l, struct spec *s)
{
	struct node list = member(l, "devices");
	size_t n = array_size(r, &list);
	s->devices = ARENA_ARRAY(r->arena, struct spec_device, n + 1);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&list, i), type = member(&e, "type");
		struct spec_device *d = &s->devices[s->n_devices++];
		const char *t = need_string(r, &e, "type");
		d->path = need_path(r, &e, "path");
		d->type = !strcmp(t, "c") || !strcmp(t, "u") ? S_IFCHR
			  : !strcmp(t, "b")		     ? S_IFBLK
			  : !strcmp(t, "p")		     ? S_IFIFO
							     : 0;
		if (!d->type)
			bad(r, &type, "\"%s\" is none of b, c, u and p", t);
		d->major = (unsigned)get_number(r, &e, "major", 0, 0, 0xfff);
		d->minor = (unsigned)get_number(r, &e, "minor", 0, 0, 0xfffff);
		d->mode = (mode_t)get_number(r, &e, "fileMode", 0666, 0, UINT32_MAX) & 07777;
		d->uid = (uint32_t)get_number(r, &e, "uid", 0, 0, UINT32_MAX - 1);
		d->gid = (uint32_t)get_number(r, &e, "gid", 0, 0, UINT32_MAX - 1);
	}
}

static void read_device_rules(
	struct reader *r, const struct node *resources, struct spec_resources *out)
{
	struct node list = member(resources, "devices");
	size_t n = array_size(r, &list);
	out->devices = ARENA_ARRAY(r->arena, struct spec_device_rule, n + 1);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&list, i), type = member(&e, "type"),
			    access = member(&e, "access");
		struct spec_device_rule *d = &out->devices[out->n_devices++];
		const char *t = get_string(r, &e, "type");
		d->allow = get_bool(r, &e, "allow");
		d->type = t && *t ? *t : 'a';
		if (t && *t && (t[1] || !strchr("abcu", *t)))
			bad(r, &type, "\"%s\" is none of a, b, c and u", t);
		if (d->type == 'u')
			d->type = 'c';
		d->major = get_number(r, &e, "major", -1, -1, 0xfff);
		d->minor = get_number(r, &e, "minor", -1, -1, 0xfffff);
		d->access = get_string(r, &e, "access");
		if (!d->access || !*d->access)
			d->access = "rwm";
		if (strlen(d->access) > 3 || strspn(d->access, "rwm") != strlen(d->access))
			bad(r, &access, "\"%s\" has letters other than r, w and m", d->access);
	}
}

static struct spec_blkio_device *read_blkio_devices(
	struct reader *r, const struct node *block, const char *key, const char *value, size_t *n)
{
	struct node list = member(block, key);
	*n = array_size(r, &list);
	struct spec_blkio_device *out = ARENA_ARRAY(r->arena, struct spec_blkio_device, *n + 1);
	for (size_t i = 0; i < *n && !r->failed; i++) {
		struct node e = element(&list, i);
		out[i].major = (unsigned)get_number(r, &e, "major", 0, 0, 0xfff);
		out[i].minor = (unsigned)get_number(r, &e, "minor", 0, 0, 0xfffff);
		out[i].value = get_int(r, &e, value);
		out[i].leaf = get_int(r, &e, "leafWeight");
	}
	return out;
}

static void read_blkio(struct reader *r, const struct node *resources, struct spec_resources *out)
{
	static const char *const throttles[THROTTLES] = {"throttleReadBpsDevice",
		"throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"};
	struct node block = member(resources, "blockIO");
	if (!is_object(r, &block))
		return;
	out->blkio_weight = get_int(r, &block, "weight");
	out->blkio_leaf_weight = get_int(r, &block, "leafWeight");
	out->weights = read_blkio_devices(r, &block, "weightDevice", "weight", &out->n_weights);
	for (int i = 0; i < THROTTLES; i++)
		out->throttles[i] =
			read_blkio_devices(r, &block, throttles[i], "rate", &out->n_throttles[i]);
}

static int64_t tristate(struct reader *r, const struct node *parent, const char *key)
{
	struct node n = member(parent, key);
	return n.json ? get_bool(r, parent, key) : SPEC_UNSET;
}

static void read_rdma(struct reader *r, const struct node *resources, struct spec_resources *out)
{
	struct node rdma = member(resources, "rdma");
	const char *device;
	json_t *value;
	if (!is_object(r, &rdma))
		return;
	out->rdma.items = ARENA_ARRAY(
		r->arena, struct spec_pair, MIN(json_object_size(rdma.json), ARRAY_MAX) + 1);
	json_object_foreach((json_t *)(uintptr_t)rdma.json, device, value)
	{
		struct node e = {value, &rdma, device, 0};
		if (out->rdma.n == ARRAY_MAX)
			break;
		int64_t handles = get_number(r, &e, "hcaHandles", -1, 0, UINT32_MAX);
		int64_t objects = get_number(r, &e, "hcaObjects", -1, 0, UINT32_MAX);
		char text[80], *p = text;
		*p = 0;
		if (handles >= 0)
			p += sprintf(p, " hca_handle=%lld", (long long)handles);
		if (objects >= 0)
			p += sprintf(p, " hca_object=%lld", (long long)objects);
		out->rdma.items[out->rdma.n++] = (struct spec_pair){keep(r, device), keep(r, text)};
	}
}

/* [{name: "2MB", number: N}] */
static struct spec_pairs numbered(struct reader *r, const struct node *parent, const char *key,
	const char *name, const char *number)
{
	struct node list = member(parent, key);
	struct spec_pairs out = {0};
	size_t n = array_size(r, &list);
	out.items = ARENA_ARRAY(r->arena, struct spec_pair, n + 1);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&list, i), v = member(&e, number);
		char text[32];
		snprintf(text, sizeof(text), "%llu", (unsigned long long)get_u64(r, &v));
		out.items[out.n++] = (struct spec_pair){need_string(r, &e, name), keep(r, text)};
	}
	return out;
}

static void read_unified(struct reader *r, const struct node *resources, struct spec_resources *out)
{
	struct node n = member(resources, "unified");
	out->unified = get_pairs(r, resources, "unified");
	for (size_t i = 0; i < out->unified.n; i++)
		if (strchr(out->unified.items[i].key, '/') || *out->unified.items[i].key == '.')
			bad(r, &n, "\"%s\" is no file of a cgroup", out->unified.items[i].key);
	/* A name becomes a part of a file's name. */
	n = member(resources, "hugepageLimits");
	for (size_t i = 0; i < out->hugepages.n; i++)
		if (strchr(out->hugepages.items[i].key, '/'))
			bad(r, &n, "\"%s\" is no page size", out->hugepages.items[i].key);
}

/* 0 is what callers send for "not given". */
static int64_t unless_zero(struct reader *r, const struct node *parent, const char *key)
{
	int64_t v = get_int(r, parent, key);
	return v ? v : SPEC_UNSET;
}

void config_resources(struct reader *r, const struct node *resources, struct spec_resources *out)
{
	spec_resources_init(out);
	if (!is_object(r, resources))
		return;
	struct node memory = member(resources, "memory"), cpu = member(resources, "cpu"),
		    pids = member(resources, "pids"), network = member(resources, "network");
	if (is_object(r, &memory)) {
		out->memory_limit = unless_zero(r, &memory, "limit");
		out->memory_reservation = unless_zero(r, &memory, "reservation");
		out->memory_swap = unless_zero(r, &memory, "swap");
		out->memory_kernel = unless_zero(r, &memory, "kernel");
		out->memory_kernel_tcp = unless_zero(r, &memory, "kernelTCP");
		out->memory_check = get_bool(r, &memory, "checkBeforeUpdate");
		out->memory_swappiness = get_number(r, &memory, "swappiness", SPEC_UNSET, 0, 100);
		out->memory_no_oom_killer = tristate(r, &memory, "disableOOMKiller");
		out->memory_use_hierarchy = tristate(r, &memory, "useHierarchy");
	}
	if (is_object(r, &cpu)) {
		out->cpu_shares = get_number(r, &cpu, "shares", SPEC_UNSET, 0, INT64_MAX);
		out->cpu_quota = get_int(r, &cpu, "quota");
		out->cpu_burst = get_number(r, &cpu, "burst", SPEC_UNSET, 0, INT64_MAX);
		out->cpu_period = get_number(r, &cpu, "period", SPEC_UNSET, 0, INT64_MAX);
		out->cpu_rt_runtime = get_int(r, &cpu, "realtimeRuntime");
		out->cpu_rt_period =
			get_number(r, &cpu, "realtimePeriod", SPEC_UNSET, 0, INT64_MAX);
		out->cpu_idle = get_number(r, &cpu, "idle", SPEC_UNSET, 0, 1);
		out->cpus = get_string(r, &cpu, "cpus");
		out->mems = get_string(r, &cpu, "mems");
	}
	if (is_object(r, &pids))
		out->pids_limit = get_int(r, &pids, "limit");
	if (is_object(r, &network)) {
		out->net_class = get_number(r, &network, "classID", SPEC_UNSET, 0, UINT32_MAX);
		out->net_priorities = numbered(r, &network, "priorities", "name", "priority");
	}
	out->hugepages = numbered(r, resources, "hugepageLimits", "pageSize", "limit");
	read_blkio(r, resources, out);
	read_rdma(r, resources, out);
	read_unified(r, resources, out);
	read_device_rules(r, resources, out);
}

static void read_personality(struct reader *r, const struct node *l, struct spec *s)
{
	struct node p = member(l, "personality"), domain = member(&p, "domain"),
		    flags = member(&p, "flags");
	if (!is_object(r, &p))
		return;
	const char *name = need_string(r, &p, "domain");
	s->personality_given = true;
	if (!strcmp(name, "LINUX"))
		s->personality = PER_LINUX;
	else if (!strcmp(name, "LINUX32"))
		s->personality = PER_LINUX32;
	else
		bad(r, &domain, "\"%s\" is neither LINUX nor LINUX32", name);
	if (array_size(r, &flags))
		bad(r, &flags, "the specification has no flags yet");
}

/* Only what belongs to a namespace may be set, and only in a namespace of the container's own:
 * anything else is the host's. */
static void check_sysctl(struct reader *r, const struct node *l, const struct spec *s)
{
	static const struct {
		const char *prefix;
		enum namespace_kind kind;
	} prefixes[] = {{"net.", NAMESPACE_NET}, {"fs.mqueue.", NAMESPACE_IPC},
		{"kernel.msgmax", NAMESPACE_IPC}, {"kernel.msgmnb", NAMESPACE_IPC},
		{"kernel.msgmni", NAMESPACE_IPC}, {"kernel.sem", NAMESPACE_IPC},
		{"kernel.shm", NAMESPACE_IPC}, {"kernel.domainname", NAMESPACE_UTS},
		{"kernel.hostname", NAMESPACE_UTS}, {"user.", NAMESPACE_USER}};
	struct node n = member(l, "sysctl");
	for (size_t i = 0; i < s->sysctl.n && !r->failed; i++) {
		const char *key = s->sysctl.items[i].key;
		char name[256];
		size_t k = 0;
		/* Both net.ipv4.x and net/ipv4/x are written; a dot in an interface's name
		 * only as the latter. */
		snprintf(name, sizeof(name), "%s", key);
		for (char *p = name; *p && !strchr(key, '.'); p++)
			if (*p == '/')
				*p = '.';
		while (k < ARRAY_SIZE(prefixes) &&
			strncmp(name, prefixes[k].prefix, strlen(prefixes[k].prefix)))
			k++;
		if (k == ARRAY_SIZE(prefixes) || strstr(key, "..") || *key == '/')
			bad(r, &n, "\"%s\" is not a setting of a namespace", key);
		else if (!s->namespaces[prefixes[k].kind].listed)
			bad(r, &n, "\"%s\" would be the host's: list a %s namespace", key,
				spec_namespace_name(prefixes[k].kind));
	}
}

static void check_namespaces(struct reader *r, const struct node *l, const struct spec *s)
{
	const struct spec_namespace *ns = s->namespaces;
	struct node uids = member(l, "uidMappings");
	bool mapped = s->uids.n || s->gids.n;
	if (ns[NAMESPACE_USER].listed && !ns[NAMESPACE_USER].path && (!s->uids.n || !s->gids.n))
		bad(r, &uids, "a new user namespace needs uidMappings and gidMappings");
	if (mapped && !ns[NAMESPACE_USER].listed)
		bad(r, &uids, "ID mappings need a user namespace");
	if (s->hostname && *s->hostname && !ns[NAMESPACE_UTS].listed)
		bad(r, l, "hostname needs a uts namespace");
	if (s->domainname && *s->domainname && !ns[NAMESPACE_UTS].listed)
		bad(r, l, "domainname needs a uts namespace");
	if (!ns[NAMESPACE_MOUNT].listed)
		bad(r, l, "a mount namespace is required");
}

void config_linux(struct reader *r, const struct node *root, struct spec *s)
{
	struct node l = member(root, "linux"), resources = member(&l, "resources"),
		    propagation = member(&l, "rootfsPropagation");
	spec_resources_init(&s->resources);
	if (!is_object(r, &l)) {
		bad(r, &l, "is required");
		return;
	}
	read_namespaces(r, &l, s);
	s->uids = config_id_maps(r, &l, "uidMappings");
	s->gids = config_id_maps(r, &l, "gidMappings");
	check_namespaces(r, &l, s);
	read_offsets(r, &l, s);
	read_devices(r, &l, s);
	s->cgroups_path = get_string(r, &l, "cgroupsPath");
	config_resources(r, &resources, &s->resources);
	s->masked = get_strings(r, &l, "maskedPaths");
	s->readonly = get_strings(r, &l, "readonlyPaths");
	s->sysctl = get_pairs(r, &l, "sysctl");
	check_sysctl(r, &l, s);
	s->mount_label = get_string(r, &l, "mountLabel");
	read_personality(r, &l, s);
	s->seccomp = config_seccomp(r, &l);
	/* "MUST generate an error": nothing here could hold it to its limits. */
	struct node rdt = member(&l, "intelRdt");
	if (rdt.json)
		bad(r, &rdt, "Intel RDT is not supported");
	const char *word = get_string(r, &l, "rootfsPropagation");
	if (word && *word && !(s->root_propagation = spec_propagation(word)))
		bad(r, &propagation, "there is no propagation \"%s\"", word);
}
