// SPDX-License-Identifier: Apache-2.0
#include "container/spec.h"

#include <linux/mount.h>
#include <sys/mount.h>

#ifndef MS_LAZYTIME
#define MS_LAZYTIME (1 << 25)
#endif

void spec_resources_init(struct spec_resources *r)
{
	*r = (struct spec_resources){0};
	int64_t *const numbers[] = {&r->memory_limit, &r->memory_reservation, &r->memory_swap,
		&r->memory_kernel, &r->memory_kernel_tcp, &r->memory_swappiness,
		&r->memory_no_oom_killer, &r->memory_use_hierarchy, &r->cpu_shares, &r->cpu_quota,
		&r->cpu_burst, &r->cpu_period, &r->cpu_rt_runtime, &r->cpu_rt_period, &r->cpu_idle,
		&r->pids_limit, &r->blkio_weight, &r->blkio_leaf_weight, &r->net_class};
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		*numbers[i] = SPEC_UNSET;
}

/* In the kernel's order: linux/capability.h. */
static const char *const capabilities[] = {"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER",
	"FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE",
	"NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
	"SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
	"AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
	"BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"};

int spec_capability(const char *name)
{
	if (strncmp(name, "CAP_", 4))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++)
		if (!strcmp(name + 4, capabilities[i]))
			return (int)i;
	return -1;
}

const char *spec_capability_name(int cap)
{
	return cap >= 0 && cap < (int)ARRAY_SIZE(capabilities) ? capabilities[cap] : NULL;
}

static const struct {
	const char *word;
	uint64_t flags;
} propagations[] = {
	{"shared", MS_SHARED},
	{"rshared", MS_SHARED | MS_REC},
	{"private", MS_PRIVATE},
	{"rprivate", MS_PRIVATE | MS_REC},
	{"slave", MS_SLAVE},
	{"rslave", MS_SLAVE | MS_REC},
	{"unbindable", MS_UNBINDABLE},
	{"runbindable", MS_UNBINDABLE | MS_REC},
};

uint64_t spec_propagation(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
		if (!strcmp(word, propagations[i].word))
			return propagations[i].flags;
	return 0;
}

/* As for all mounts below too; for one mount, without the "r". set, clear: MOUNT_ATTR_*. One that
 * sets an access time mode clears the whole field. */
static const struct {
	const char *word;
	uint64_t set, clear;
} attributes[] = {
	{"rro", MOUNT_ATTR_RDONLY, 0},
	{"rrw", 0, MOUNT_ATTR_RDONLY},
	{"rnosuid", MOUNT_ATTR_NOSUID, 0},
	{"rsuid", 0, MOUNT_ATTR_NOSUID},
	{"rnodev", MOUNT_ATTR_NODEV, 0},
	{"rdev", 0, MOUNT_ATTR_NODEV},
	{"rnoexec", MOUNT_ATTR_NOEXEC, 0},
	{"rexec", 0, MOUNT_ATTR_NOEXEC},
	{"rnoatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
	{"ratime", 0, MOUNT_ATTR__ATIME},
	{"rrelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
	{"rnorelatime", 0, MOUNT_ATTR__ATIME},
	{"rstrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
	{"rnostrictatime", 0, MOUNT_ATTR__ATIME},
	{"rnodiratime", MOUNT_ATTR_NODIRATIME, 0},
	{"rdiratime", 0, MOUNT_ATTR_NODIRATIME},
	{"rnosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
	{"rsymfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
};

/* set, clear: MS_* (SB). */
static const struct {
	const char *word;
	enum { NOTHING, SB, BIND, RBIND, COPY_UP, IDMAP, RIDMAP, REMOUNT } kind;
	uint64_t set, clear;
} options[] = {
	{"defaults", NOTHING, 0, 0},
	/* Mandatory locks are no more, and versions of inodes nobody has to ask for. */
	{"mand", NOTHING, 0, 0},
	{"nomand", NOTHING, 0, 0},
	{"iversion", NOTHING, 0, 0},
	{"noiversion", NOTHING, 0, 0},
	{"remount", REMOUNT, 0, 0},
	{"sync", SB, MS_SYNCHRONOUS, 0},
	{"async", SB, 0, MS_SYNCHRONOUS},
	{"dirsync", SB, MS_DIRSYNC, 0},
	{"lazytime", SB, MS_LAZYTIME, 0},
	{"nolazytime", SB, 0, MS_LAZYTIME},
	{"silent", SB, MS_SILENT, 0},
	{"loud", SB, 0, MS_SILENT},
	{"bind", BIND, 0, 0},
	{"rbind", RBIND, 0, 0},
	{"tmpcopyup", COPY_UP, 0, 0},
	{"idmap", IDMAP, 0, 0},
	{"ridmap", RIDMAP, 0, 0},
};

const char *spec_mount_option_name(size_t i)
{
	const size_t attrs = ARRAY_SIZE(attributes);
	if (i < 2 * attrs)
		return attributes[i % attrs].word + (i < attrs);
	i -= 2 * attrs;
	if (i < ARRAY_SIZE(options))
		return options[i].word;
	i -= ARRAY_SIZE(options);
	return i < ARRAY_SIZE(propagations) ? propagations[i].word : NULL;
}

static void change(uint64_t *set, uint64_t *clear, uint64_t add, uint64_t take)
{
	*set = (*set & ~take) | add;
	*clear = (*clear & ~add) | take;
}

static bool attribute(struct spec_mount *m, const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
		uint64_t set = attributes[i].set, clear = attributes[i].clear;
		if (!strcmp(attributes[i].word + 1, word))
			change(&m->attr_set, &m->attr_clear, set, clear);
		else if (!strcmp(attributes[i].word, word))
			change(&m->recursive_set, &m->recursive_clear, set, clear);
		else
			continue;
		return true;
	}
	return false;
}

static bool propagation(struct spec_mount *m, const char *word)
{
	uint64_t flags = spec_propagation(word);
	if (flags & MS_REC)
		m->recursive_propagation = flags & ~(uint64_t)MS_REC;
	else if (flags)
		m->propagation = flags;
	return flags;
}

bool spec_mount_option(struct spec_mount *m, const char *word)
{
	size_t i = 0;
	if (attribute(m, word) || propagation(m, word))
		return true;
	while (i < ARRAY_SIZE(options) && strcmp(options[i].word, word))
		i++;
	if (i == ARRAY_SIZE(options))
		return false;
	switch (options[i].kind) {
	case NOTHING:
		break;
	case SB:
		m->sb_set = (unsigned)((m->sb_set & ~options[i].clear) | options[i].set);
		break;
	case RBIND:
		m->recursive = true;
		m->bind = true;
		break;
	case BIND:
		m->bind = true;
		break;
	case COPY_UP:
		m->copy_up = true;
		break;
	case RIDMAP:
		m->idmap_recursive = true;
		m->idmap = true;
		break;
	case IDMAP:
		m->idmap = true;
		break;
	case REMOUNT:
		m->remount = true;
		break;
	}
	return true;
}

const char *spec_namespace_name(enum namespace_kind k)
{
	static const char *const names[NAMESPACES] = {
		"user", "pid", "network", "ipc", "uts", "cgroup", "time", "mount"};
	return names[k];
}
