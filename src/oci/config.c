// SPDX-License-Identifier: Apache-2.0
#include "oci/config.h"

#include "base/strbuf.h"
#include "oci/config_annotations.h"
#include "oci/config_linux.h"
#include "oci/json.h"

static void read_version(struct reader *r, const struct node *root, struct spec *s)
{
	s->version = need_string(r, root, "ociVersion");
	struct node n = member(root, "ociVersion");
	if (!r->failed && strncmp(s->version, "1.", 2))
		bad(r, &n, "version \"%s\" is not 1.x", s->version);
}

/* RLIMIT_ names, in the order of config.json's documentation. */
static const struct {
	const char *name;
	int resource;
} rlimits[] = {{"RLIMIT_AS", RLIMIT_AS}, {"RLIMIT_CORE", RLIMIT_CORE}, {"RLIMIT_CPU", RLIMIT_CPU},
	{"RLIMIT_DATA", RLIMIT_DATA}, {"RLIMIT_FSIZE", RLIMIT_FSIZE},
	{"RLIMIT_LOCKS", RLIMIT_LOCKS}, {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
	{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
	{"RLIMIT_NOFILE", RLIMIT_NOFILE}, {"RLIMIT_NPROC", RLIMIT_NPROC},
	{"RLIMIT_RSS", RLIMIT_RSS}, {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
	{"RLIMIT_RTTIME", RLIMIT_RTTIME}, {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
	{"RLIMIT_STACK", RLIMIT_STACK}};

static void read_rlimits(struct reader *r, const struct node *process, struct spec_process *p)
{
	struct node list = member(process, "rlimits");
	size_t n = array_size(r, &list);
	p->rlimits = ARENA_ARRAY(r->arena, struct spec_rlimit, n + 1);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&list, i);
		const char *name = need_string(r, &e, "type");
		struct node type = member(&e, "type"), soft = member(&e, "soft"),
			    hard = member(&e, "hard");
		size_t k = 0;
		while (k < ARRAY_SIZE(rlimits) && strcmp(rlimits[k].name, name))
			k++;
		if (k == ARRAY_SIZE(rlimits)) {
			bad(r, &type, "there is no resource limit \"%s\"", name);
			break;
		}
		struct spec_rlimit limit = {
			rlimits[k].resource, get_u64(r, &soft), get_u64(r, &hard)};
		for (size_t j = 0; j < p->n_rlimits; j++)
			if (p->rlimits[j].resource == limit.resource)
				bad(r, &type, "%s is there twice", name);
		if (limit.soft > limit.hard)
			bad(r, &soft, "is above the hard limit");
		p->rlimits[p->n_rlimits++] = limit;
	}
}

static void read_capabilities(struct reader *r, const struct node *process, struct spec_process *p)
{
	static const char *const sets[CAPS_SETS] = {
		"bounding", "effective", "inheritable", "permitted", "ambient"};
	struct node caps = member(process, "capabilities");
	if (!is_object(r, &caps))
		return;
	p->caps_given = true;
	for (int i = 0; i < CAPS_SETS; i++) {
		const char **names = get_strings(r, &caps, sets[i]);
		/* A name of a newer kernel is what nobody can have: not an error. */
		for (; names && *names && !r->failed; names++) {
			int cap = spec_capability(*names);
			if (cap >= 0)
				p->caps[i] |= UINT64_C(1) << cap;
		}
	}
}

static void read_user(struct reader *r, const struct node *process, struct spec_process *p)
{
	struct node user = member(process, "user"), groups = member(&user, "additionalGids");
	p->umask = -1;
	if (!is_object(r, &user))
		return;
	/* UINT32_MAX means "no change" to the kernel. */
	p->uid = (uint32_t)get_number(r, &user, "uid", 0, 0, UINT32_MAX - 1);
	p->gid = (uint32_t)get_number(r, &user, "gid", 0, 0, UINT32_MAX - 1);
	p->umask = (int)get_number(r, &user, "umask", -1, 0, 0777);
	size_t n = array_size(r, &groups);
	p->groups = ARENA_ARRAY(r->arena, uint32_t, n + 1);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&groups, i);
		uint64_t gid = get_u64(r, &e);
		if (gid >= UINT32_MAX)
			bad(r, &e, "is no group ID");
		p->groups[p->n_groups++] = (uint32_t)gid;
	}
}

static void read_io_priority(struct reader *r, const struct node *process, struct spec_process *p)
{
	static const char *const classes[] = {
		"", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"};
	struct node io = member(process, "ioPriority"), class = member(&io, "class");
	if (!is_object(r, &io))
		return;
	const char *name = need_string(r, &io, "class");
	for (int i = 1; i < (int)ARRAY_SIZE(classes); i++)
		if (!strcmp(name, classes[i]))
			p->io_class = i;
	if (!p->io_class)
		bad(r, &class, "there is no I/O priority class \"%s\"", name);
	p->io_priority = (int)get_number(r, &io, "priority", 0, 0, 7);
}

static void read_scheduler(struct reader *r, const struct node *process, struct spec_process *p)
{
	static const struct {
		const char *name;
		uint32_t policy;
	} policies[] = {{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2}, {"SCHED_BATCH", 3},
		{"SCHED_ISO", 4}, {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}};
	static const struct {
		const char *name;
		uint64_t flag;
	} flags[] = {{"SCHED_FLAG_RESET_ON_FORK", 1}, {"SCHED_FLAG_RECLAIM", 2},
		{"SCHED_FLAG_DL_OVERRUN", 4}, {"SCHED_FLAG_KEEP_POLICY", 8},
		{"SCHED_FLAG_KEEP_PARAMS", 16}, {"SCHED_FLAG_UTIL_CLAMP_MIN", 32},
		{"SCHED_FLAG_UTIL_CLAMP_MAX", 64}};
	struct node s = member(process, "scheduler"), policy = member(&s, "policy"),
		    list = member(&s, "flags");
	if (!is_object(r, &s))
		return;
	const char *name = need_string(r, &s, "policy");
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		if (!strcmp(name, policies[i].name)) {
			p->scheduler_given = true;
			p->scheduler_policy = policies[i].policy;
		}
	}
	if (!p->scheduler_given)
		bad(r, &policy, "there is no scheduling policy \"%s\"", name);
	p->nice = (int32_t)get_number(r, &s, "nice", 0, -20, 19);
	p->scheduler_priority = (uint32_t)get_number(r, &s, "priority", 0, 0, 99);
	p->scheduler_runtime = (uint64_t)get_number(r, &s, "runtime", 0, 0, INT64_MAX);
	p->scheduler_deadline = (uint64_t)get_number(r, &s, "deadline", 0, 0, INT64_MAX);
	p->scheduler_period = (uint64_t)get_number(r, &s, "period", 0, 0, INT64_MAX);
	const char **words = get_strings(r, &s, "flags");
	for (; words && *words && !r->failed; words++) {
		size_t i = 0;
		while (i < ARRAY_SIZE(flags) && strcmp(flags[i].name, *words))
			i++;
		if (i == ARRAY_SIZE(flags))
			bad(r, &list, "there is no scheduler flag \"%s\"", *words);
		else
			p->scheduler_flags |= flags[i].flag;
	}
}

static struct spec_process *read_process(struct reader *r, const struct node *process)
{
	if (!is_object(r, process))
		return NULL;
	struct spec_process *p = ARENA_NEW(r->arena, struct spec_process);
	struct node args = member(process, "args"), env = member(process, "env"),
		    size = member(process, "consoleSize"), oom = member(process, "oomScoreAdj");
	p->terminal = get_bool(r, process, "terminal");
	if (is_object(r, &size)) {
		p->rows = (uint16_t)get_number(r, &size, "height", 0, 0, UINT16_MAX);
		p->columns = (uint16_t)get_number(r, &size, "width", 0, 0, UINT16_MAX);
	}
	p->args = get_strings(r, process, "args");
	if (!p->args || !p->args[0])
		bad(r, &args, "a command is required");
	p->env = get_strings(r, process, "env");
	if (!p->env)
		p->env = ARENA_ARRAY(r->arena, const char *, 1);
	for (const char **e = p->env; *e && !r->failed; e++)
		if (!strchr(*e, '=') || **e == '=')
			bad(r, &env, "\"%s\" is not NAME=VALUE", *e);
	p->cwd = need_path(r, process, "cwd");
	read_user(r, process, p);
	read_capabilities(r, process, p);
	read_rlimits(r, process, p);
	read_io_priority(r, process, p);
	read_scheduler(r, process, p);
	p->no_new_privileges = get_bool(r, process, "noNewPrivileges");
	p->oom_given = oom.json != NULL;
	p->oom_score_adj = (int)get_number(r, process, "oomScoreAdj", 0, -1000, 1000);
	p->apparmor = get_string(r, process, "apparmorProfile");
	p->selinux = get_string(r, process, "selinuxLabel");
	if (p->apparmor && !*p->apparmor)
		p->apparmor = NULL;
	if (p->selinux && !*p->selinux)
		p->selinux = NULL;
	return p;
}

static void add_data(struct strbuf *out, const char *word)
{
	strbuf_addf(out, "%s%s", out->len ? "," : "", word);
}

static void read_mount(struct reader *r, const struct node *n, struct spec_mount *m)
{
	struct strbuf data _strbuf_ = STRBUF_INIT;
	struct node source = member(n, "source");
	m->destination = need_string(r, n, "destination");
	m->type = get_string(r, n, "type");
	m->source = get_string(r, n, "source");
	const char **words = get_strings(r, n, "options");
	for (; words && *words && !r->failed; words++)
		if (!spec_mount_option(m, *words))
			add_data(&data, *words);
	m->data = keep(r, data.len ? data.data : "");
	if (m->type && !strcmp(m->type, "bind"))
		m->bind = true;
	if (m->bind && !m->source && !m->remount)
		bad(r, &source, "a bind mount needs one");
	if (!m->bind && !m->remount && (!m->type || !*m->type || !strcmp(m->type, "none")))
		bad(r, n, "a mount needs a type, or the option \"bind\"");
	m->uids = config_id_maps(r, n, "uidMappings");
	m->gids = config_id_maps(r, n, "gidMappings");
	if (!m->uids.n != !m->gids.n)
		bad(r, n, "uidMappings and gidMappings go together");
	if (m->uids.n)
		m->idmap = true;
}

static void read_mounts(struct reader *r, const struct node *root, struct spec *s)
{
	struct node list = member(root, "mounts");
	size_t n = array_size(r, &list);
	s->mounts = ARENA_ARRAY(r->arena, struct spec_mount, n + 1);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct node e = element(&list, i);
		if (!is_object(r, &e))
			bad(r, &e, "must be an object");
		read_mount(r, &e, &s->mounts[s->n_mounts++]);
	}
}

static void read_hooks(struct reader *r, const struct node *root, struct spec *s)
{
	static const char *const names[HOOKS] = {"prestart", "createRuntime", "createContainer",
		"startContainer", "poststart", "poststop"};
	struct node hooks = member(root, "hooks");
	if (!is_object(r, &hooks))
		return;
	for (int k = 0; k < HOOKS; k++) {
		struct node list = member(&hooks, names[k]);
		size_t n = array_size(r, &list);
		s->hooks[k] = ARENA_ARRAY(r->arena, struct spec_hook, n + 1);
		for (size_t i = 0; i < n && !r->failed; i++) {
			struct node e = element(&list, i);
			struct spec_hook *h = &s->hooks[k][s->n_hooks[k]++];
			h->path = need_path(r, &e, "path");
			h->args = get_strings(r, &e, "args");
			h->env = get_strings(r, &e, "env");
			h->timeout_s = (unsigned)get_number(r, &e, "timeout", 0, 1, INT32_MAX);
		}
	}
}

static void read_root(struct reader *r, const struct node *root, struct spec *s)
{
	struct node n = member(root, "root");
	if (!is_object(r, &n)) {
		bad(r, &n, "is required");
		return;
	}
	s->root = need_string(r, &n, "path");
	s->root_readonly = get_bool(r, &n, "readonly");
}

int config_parse(const char *text, size_t len, const char *name, struct arena *a, struct spec **out,
	struct error *err)
{
	json_t *json _json_ = json_load_text(text, len, name, err);
	if (!json)
		return -EBADMSG;
	struct reader r = {a, name, err, 0};
	struct node root = {json, NULL, NULL, 0}, process = member(&root, "process");
	struct spec *s = ARENA_NEW(a, struct spec);
	read_version(&r, &root, s);
	s->process = read_process(&r, &process);
	read_root(&r, &root, s);
	s->hostname = get_string(&r, &root, "hostname");
	s->domainname = get_string(&r, &root, "domainname");
	read_mounts(&r, &root, s);
	read_hooks(&r, &root, s);
	s->annotations = get_pairs(&r, &root, "annotations");
	config_linux(&r, &root, s);
	config_annotations(&r, s);
	if (!r.failed)
		*out = s;
	return r.failed;
}

int config_parse_process(const char *text, size_t len, const char *name, struct arena *a,
	struct spec_process **out, struct error *err)
{
	json_t *json _json_ = json_load_text(text, len, name, err);
	if (!json)
		return -EBADMSG;
	struct reader r = {a, name, err, 0};
	struct node root = {json, NULL, NULL, 0};
	struct spec_process *p = read_process(&r, &root);
	if (!r.failed)
		*out = p;
	return r.failed;
}

int config_parse_resources(const char *text, size_t len, const char *name, struct arena *a,
	struct spec_resources *out, struct error *err)
{
	json_t *json _json_ = json_load_text(text, len, name, err);
	if (!json)
		return -EBADMSG;
	struct reader r = {a, name, err, 0};
	struct node root = {json, NULL, NULL, 0};
	struct spec_resources res;
	config_resources(&r, &root, &res);
	if (!r.failed)
		*out = res;
	return r.failed;
}
