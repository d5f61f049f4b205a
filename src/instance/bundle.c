// SPDX-License-Identifier: Apache-2.0
#include "instance/bundle.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "instance/bundle_seccomp.h"
#include "os/file.h"

/* docs/network.md */
#define OWN_ADDRESS "10.0.2.15"
#define NAME_SERVER "10.0.2.3"

#define CAP(name) (UINT64_C(1) << CAP_##name)

const uint64_t bundle_default_capabilities = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) |
					     CAP(FSETID) | CAP(KILL) | CAP(NET_BIND_SERVICE) |
					     CAP(SETFCAP) | CAP(SETGID) | CAP(SETPCAP) |
					     CAP(SETUID) | CAP(SYS_CHROOT);

/* By number: linux/capability.h. */
static const char *const capabilities[] = {"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER",
	"FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE",
	"NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
	"SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
	"AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
	"BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"};

int bundle_capability(const char *name, uint64_t *set, struct error *err)
{
	const char *word = strncasecmp(name, "CAP_", 4) ? name : name + 4;
	if (!strcasecmp(name, "ALL")) {
		*set |= (UINT64_C(1) << ARRAY_SIZE(capabilities)) - 1;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++) {
		if (!strcasecmp(word, capabilities[i])) {
			*set |= UINT64_C(1) << i;
			return 0;
		}
	}
	error_set(err, EINVAL, "there is no capability \"%s\"", name);
	error_remedy(err, "names are those of capabilities(7), as in NET_ADMIN; or ALL");
	return -EINVAL;
}

static json_t *capability_names(uint64_t set)
{
	json_t *a = json_array();
	char name[40];
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++) {
		snprintf(name, sizeof(name), "CAP_%s", capabilities[i]);
		if (set >> i & 1)
			json_array_append_new(a, json_string(name));
	}
	return a;
}

static json_t *strings(const char *const *list)
{
	json_t *a = json_array();
	for (; list && *list; list++)
		json_array_append_new(a, json_string(*list));
	return a;
}

/* "a,b" -> ["a", "b"] */
static json_t *words(const char *text)
{
	json_t *a = json_array();
	for (const char *p = text ? text : ""; *p;) {
		size_t n = strcspn(p, ",");
		if (n)
			json_array_append_new(a, json_stringn(p, n));
		p += n + (p[n] == ',');
	}
	return a;
}

static void add_mount(
	json_t *a, const char *target, const char *type, const char *source, const char *options)
{
	json_array_append_new(a, json_pack("{s:s, s:s, s:s, s:o}", "destination", target, "type",
					 type, "source", source, "options", words(options)));
}

static void default_mounts(json_t *a, const struct bundle_options *o)
{
	char shm[80];
	unsigned long long shm_bytes = o->shm_bytes ? o->shm_bytes : 64 * MiB;
	snprintf(shm, sizeof(shm), "nosuid,noexec,nodev,mode=1777,size=%llu", shm_bytes);
	add_mount(a, "/proc", "proc", "proc", "nosuid,noexec,nodev");
	add_mount(a, "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k");
	add_mount(a, "/dev/pts", "devpts", "devpts",
		o->one_id ? "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"
			  : "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
	add_mount(a, "/dev/shm", "tmpfs", "shm", shm);
	add_mount(a, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
	/* Only who owns the network may mount a new one. */
	if (o->rootless && o->network == BUNDLE_NETWORK_HOST)
		add_mount(a, "/sys", "bind", "/sys", "rbind,nosuid,noexec,nodev,ro");
	else
		add_mount(a, "/sys", "sysfs", "sysfs",
			o->privileged ? "nosuid,noexec,nodev" : "nosuid,noexec,nodev,ro");
	add_mount(a, "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro");
}

static bool covered(const struct bundle_options *o, const char *target)
{
	for (size_t i = 0; i < o->n_mounts; i++)
		if (!strcmp(o->mounts[i].target, target))
			return true;
	return false;
}

static json_t *mounts(const char *path, const struct bundle_options *o)
{
	static const char *const files[] = {"hosts", "hostname", "resolv.conf"};
	json_t *a = json_array();
	default_mounts(a, o);
	for (size_t i = 0; i < ARRAY_SIZE(files) && !o->tree_at_mnt; i++) {
		char *source _free_ = xasprintf("%s/%s", path, files[i]);
		char *target _free_ = xasprintf("/etc/%s", files[i]);
		if (!covered(o, target))
			add_mount(a, target, "bind", source,
				o->read_only ? "bind,nosuid,noexec,nodev,ro"
					     : "bind,nosuid,noexec,nodev");
	}
	for (size_t i = 0; i < o->n_mounts; i++) {
		const struct bundle_mount *m = &o->mounts[i];
		const char *more = m->options ? m->options : "";
		char *options _free_ = xasprintf(m->source ? "rbind,%s" : "nosuid,nodev,%s", more);
		add_mount(a, m->target, m->source ? "bind" : "tmpfs",
			m->source ? m->source : "tmpfs", options);
	}
	if (o->tree_at_mnt) {
		char *root _free_ = xasprintf("%s/root", path);
		add_mount(a, "/mnt", "bind", root, "bind,ro");
	}
	return a;
}

static bool has_name(const json_t *env, const char *name)
{
	size_t n = strlen(name), i;
	json_t *v;
	json_array_foreach((json_t *)(uintptr_t)env, i, v)
	{
		const char *s = json_string_value(v);
		if (s && !strncmp(s, name, n) && s[n] == '=')
			return true;
	}
	return false;
}

static void add_env(json_t *env, const char *name, const char *value)
{
	char *text _free_ = xasprintf("%s=%s", name, value);
	if (!has_name(env, name))
		json_array_append_new(env, json_string(text));
}

/* Later ones replace earlier ones. */
static json_t *environment(const struct bundle_options *o, const struct bundle_user *u)
{
	json_t *a = json_array();
	for (const char *const *e = o->env; e && *e; e++) {
		size_t n = strcspn(*e, "=") + 1, i;
		json_t *v;
		json_array_foreach(a, i, v)
		{
			if (!strncmp(json_string_value(v), *e, n)) {
				json_array_remove(a, i);
				break;
			}
		}
		json_array_append_new(a, json_string(*e));
	}
	add_env(a, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	add_env(a, "HOME", u->home);
	add_env(a, "container", "strata");
	if (o->hostname)
		add_env(a, "HOSTNAME", o->hostname);
	return a;
}

static json_t *process(const struct bundle_options *o, const struct bundle_user *u)
{
	/* A user other than root has in effect only what was asked for by name. */
	uint64_t effective = u->uid ? o->added & o->capabilities : o->capabilities;
	uint64_t ambient = u->uid ? effective : 0;
	json_t *groups = json_array();
	for (size_t i = 0; i < u->groups.len && !o->one_id; i++)
		json_array_append_new(groups, json_integer(u->groups.items[i]));
	json_t *caps = json_pack("{s:o, s:o, s:o, s:o, s:o}", "bounding",
		capability_names(o->capabilities), "effective", capability_names(effective),
		"permitted", capability_names(effective), "inheritable", capability_names(ambient),
		"ambient", capability_names(ambient));
	return json_pack("{s:b, s:{s:I, s:I, s:o, s:i}, s:o, s:o, s:s, s:o, s:b}", "terminal",
		(int)o->tty, "user", "uid", (json_int_t)u->uid, "gid", (json_int_t)u->gid,
		"additionalGids", groups, "umask", 022, "args", strings(o->argv), "env",
		environment(o, u), "cwd", o->workdir && *o->workdir ? o->workdir : "/",
		"capabilities", caps, "noNewPrivileges", (int)o->no_new_privileges);
}

static json_t *namespaces(const struct bundle_options *o)
{
	static const char *const always[] = {"pid", "ipc", "uts", "mount", "cgroup"};
	json_t *a = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		json_array_append_new(a, json_pack("{s:s}", "type", always[i]));
	if (o->network != BUNDLE_NETWORK_HOST)
		json_array_append_new(a, json_pack("{s:s}", "type", "network"));
	return a;
}

static json_t *resources(const struct bundle_options *o)
{
	json_t *r = json_object(), *cpu = json_object(), *memory = json_object();
	enum { PERIOD_US = 100000 };
	/* Root of a user namespace has no device that its user has not. */
	if (!o->rootless)
		json_object_set_new(r, "devices",
			json_pack("[{s:b, s:s}]", "allow", (int)o->privileged, "access", "rwm"));
	if (o->cpu_millis) {
		json_object_set_new(cpu, "period", json_integer(PERIOD_US));
		json_object_set_new(
			cpu, "quota", json_integer((json_int_t)(o->cpu_millis * PERIOD_US / 1000)));
	}
	if (o->cpu_set)
		json_object_set_new(cpu, "cpus", json_string(o->cpu_set));
	if (o->memory_bytes) {
		json_object_set_new(memory, "limit", json_integer((json_int_t)o->memory_bytes));
		json_object_set_new(memory, "swap",
			json_integer(
				(json_int_t)(o->swap_bytes ? o->swap_bytes : o->memory_bytes * 2)));
	}
	if (o->pids)
		json_object_set_new(r, "pids", json_pack("{s:I}", "limit", (json_int_t)o->pids));
	if (json_object_size(cpu))
		json_object_set(r, "cpu", cpu);
	if (json_object_size(memory))
		json_object_set(r, "memory", memory);
	json_decref(cpu);
	json_decref(memory);
	return r;
}

static int seccomp(const struct bundle_options *o, json_t **out, struct error *err)
{
	json_error_t why;
	if (!o->seccomp_file) {
		*out = o->no_seccomp ? NULL : bundle_seccomp(o->capabilities);
		return 0;
	}
	*out = json_load_file(o->seccomp_file, JSON_REJECT_DUPLICATES, &why);
	if (!*out)
		return error_set(err, EBADMSG, "seccomp profile %s: %s", o->seccomp_file, why.text);
	return 0;
}

static int linux_part(const struct bundle_options *o, json_t **out, struct error *err)
{
	static const char *const masked[] = {"/proc/acpi", "/proc/interrupts", "/proc/kcore",
		"/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
		"/proc/timer_list", "/proc/timer_stats", "/sys/dev/block",
		"/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux", NULL};
	static const char *const read_only[] = {"/proc/asound", "/proc/bus", "/proc/fs",
		"/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL};
	json_t *filter;
	int r = seccomp(o, &filter, err);
	if (r < 0)
		return r;
	json_t *l = json_pack("{s:o, s:o, s:o, s:o}", "namespaces", namespaces(o), "resources",
		resources(o), "maskedPaths", strings(o->privileged ? NULL : masked),
		"readonlyPaths", strings(o->privileged ? NULL : read_only));
	if (filter)
		json_object_set_new(l, "seccomp", filter);
	*out = l;
	return 0;
}

/* What the OCI runtime of ours understands beyond the specification. */
static json_t *annotations(const struct bundle_options *o)
{
	json_t *a = json_object();
	struct strbuf ports _strbuf_ = STRBUF_INIT;
	if (o->arch)
		json_object_set_new(a, "dev.strata.arch", json_string(o->arch));
	if (o->network == BUNDLE_NETWORK_USER)
		json_object_set_new(a, "dev.strata.network", json_string("user"));
	for (size_t i = 0; i < o->n_publish; i++)
		strbuf_addf(&ports, "%s%s", i ? "," : "", o->publish[i]);
	if (ports.len)
		json_object_set_new(a, "dev.strata.publish", json_string(ports.data));
	return a;
}

static int write_config(int dir_fd, const char *path, const struct bundle_options *o,
	const struct bundle_user *u, struct error *err)
{
	json_t *l;
	int r = linux_part(o, &l, err);
	if (r < 0)
		return r;
	char *root _free_ = xasprintf("%s/root", path);
	json_t *config = json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:o, s:o, s:o}", "ociVersion",
		"1.2.0", "process", process(o, u), "root", "path", root, "readonly",
		(int)o->read_only, "hostname", o->hostname ? o->hostname : "localhost", "mounts",
		mounts(path, o), "annotations", annotations(o), "linux", l);
	char *text _free_ = config ? json_dumps(config, JSON_INDENT(1)) : NULL;
	json_decref(config);
	if (!text)
		return error_set(err, EINVAL,
			"a word of the command or of the environment is not UTF-8 text");
	return file_write_atomic(dir_fd, "config.json", text, strlen(text), 0600, err);
}

/* Not synced: a crash of the host ends the container anyway. */
static int write_file(int dir_fd, const char *name, const char *text, struct error *err)
{
	int fd _close_ =
		openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	size_t n = strlen(text);
	if (fd < 0 || write(fd, text, n) != (ssize_t)n || fchmod(fd, 0644) < 0)
		return error_errno(err, errno, "%s", name);
	return 0;
}

static int write_files(int dir_fd, const struct bundle_options *o, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	const char *name = o->hostname ? o->hostname : "localhost";
	strbuf_adds(&text, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	strbuf_addf(&text, "%s\t%s\n",
		o->network == BUNDLE_NETWORK_USER ? OWN_ADDRESS : "127.0.1.1", name);
	for (const char *const *h = o->hosts; h && *h; h++)
		strbuf_addf(&text, "%s\n", *h);
	int r = write_file(dir_fd, "hosts", text.data, err);
	strbuf_clear(&text);
	strbuf_addf(&text, "%s\n", name);
	if (r == 0)
		r = write_file(dir_fd, "hostname", text.data, err);
	strbuf_clear(&text);
	if (o->network == BUNDLE_NETWORK_USER)
		strbuf_addf(&text, "nameserver %s\n", NAME_SERVER);
	else if (!o->dns)
		file_read(AT_FDCWD, "/etc/resolv.conf", 65536, &text, NULL);
	if (r == 0)
		r = write_file(dir_fd, "resolv.conf",
			o->dns	    ? o->dns
			: text.data ? text.data
				    : "",
			err);
	return r;
}

int bundle_write(int dir_fd, const char *path, const struct bundle_options *o, struct error *err)
{
	struct bundle_user user = {0};
	int root _close_ = openat(dir_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_errno(err, errno, "the container's root");
	int r = bundle_find_user(root, o->user, &user, err);
	if (r < 0)
		return r;
	r = write_files(dir_fd, o, err);
	if (r == 0)
		r = write_config(dir_fd, path, o, &user, err);
	bundle_user_done(&user);
	return r;
}
