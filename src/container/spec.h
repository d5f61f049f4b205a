// SPDX-License-Identifier: Apache-2.0
// What a container is to be, already checked: the OCI runtime specification's config.json without
// its JSON. Plain data; strings and arrays belong to the arena that the reader was given.
#ifndef STRATA_CONTAINER_SPEC_H
#define STRATA_CONTAINER_SPEC_H

#include <sys/resource.h>

#include "base/base.h"
#include "net/publish.h"

/* In the order in which namespaces of the host are entered. */
enum namespace_kind {
	NAMESPACE_USER,
	NAMESPACE_PID,
	NAMESPACE_NET,
	NAMESPACE_IPC,
	NAMESPACE_UTS,
	NAMESPACE_CGROUP,
	NAMESPACE_TIME,
	NAMESPACE_MOUNT,
	NAMESPACES
};

struct spec_namespace {
	bool listed;	  /* false: the runtime's own */
	const char *path; /* of one to join; NULL: a new one */
};

struct spec_id_map {
	uint32_t inside, outside, count;
};
struct spec_id_maps {
	struct spec_id_map *items;
	size_t n;
};

struct spec_mount {
	const char *destination; /* inside the root */
	const char *type;	 /* NULL or "bind" with a bind mount */
	const char *source;	 /* absolute for a bind mount; NULL: none */
	const char *data; /* options that are the file system's own, comma-separated; may be "" */
	bool bind, recursive; /* rbind */
	bool remount;	      /* other options for what is mounted there already */
	bool copy_up;	      /* tmpfs: begins with what the image has there */
	unsigned sb_set; /* MS_RDONLY, MS_SYNCHRONOUS, MS_DIRSYNC, MS_LAZYTIME of the superblock */
	uint64_t attr_set, attr_clear;		     /* MOUNT_ATTR_*, this mount */
	uint64_t recursive_set, recursive_clear;     /* the same, with all below it */
	uint64_t propagation, recursive_propagation; /* MS_SHARED…, 0: as it comes */
	bool idmap, idmap_recursive;
	struct spec_id_maps uids, gids; /* empty with idmap: those of the container */
};

struct spec_rlimit {
	int resource;
	uint64_t soft, hard;
};

enum capability_set {
	CAPS_BOUNDING,
	CAPS_EFFECTIVE,
	CAPS_INHERITABLE,
	CAPS_PERMITTED,
	CAPS_AMBIENT,
	CAPS_SETS
};

struct spec_process {
	bool terminal;
	uint16_t rows, columns; /* 0: not given */
	uint32_t uid, gid;
	uint32_t *groups;
	size_t n_groups;
	int umask;		  /* -1: inherited */
	const char **args, **env; /* end with NULL; args has at least one */
	const char *cwd;
	bool no_new_privileges;
	bool caps_given;
	uint64_t caps[CAPS_SETS];
	struct spec_rlimit *rlimits;
	size_t n_rlimits;
	bool oom_given;
	int oom_score_adj;
	const char *apparmor, *selinux; /* NULL: none */
	int io_class, io_priority;	/* io_class 0: not given */
	bool scheduler_given;
	uint32_t scheduler_policy;
	uint64_t scheduler_flags;
	int32_t nice;
	uint32_t scheduler_priority;
	uint64_t scheduler_runtime, scheduler_deadline, scheduler_period;
};

struct spec_device {
	const char *path;
	mode_t type, mode; /* S_IFCHR, S_IFBLK, S_IFIFO; permissions */
	unsigned major, minor;
	uint32_t uid, gid;
};

/* A rule of the devices cgroup, in the order in which rules apply. */
struct spec_device_rule {
	bool allow;
	char type;	      /* 'a', 'b', 'c' */
	int64_t major, minor; /* -1: any */
	const char *access;   /* letters of "rwm" */
};

struct spec_blkio_device {
	unsigned major, minor;
	int64_t value, leaf; /* leaf: weights only; INT64_MIN: not given */
};
enum blkio_throttle {
	THROTTLE_READ_BPS,
	THROTTLE_WRITE_BPS,
	THROTTLE_READ_IOPS,
	THROTTLE_WRITE_IOPS,
	THROTTLES
};

struct spec_pair {
	const char *key, *value;
};
struct spec_pairs {
	struct spec_pair *items;
	size_t n;
};

#define SPEC_UNSET INT64_MIN

/* Numbers as config.json has them; SPEC_UNSET: leave it alone. */
struct spec_resources {
	int64_t memory_limit, memory_reservation, memory_swap, memory_kernel, memory_kernel_tcp,
		memory_swappiness;
	int64_t memory_no_oom_killer, memory_use_hierarchy;
	bool memory_check; /* a limit below what is in use is refused */
	int64_t cpu_shares, cpu_quota, cpu_burst, cpu_period, cpu_rt_runtime, cpu_rt_period,
		cpu_idle;
	const char *cpus, *mems;
	int64_t pids_limit;
	int64_t blkio_weight, blkio_leaf_weight;
	struct spec_blkio_device *weights;
	size_t n_weights;
	struct spec_blkio_device *throttles[THROTTLES];
	size_t n_throttles[THROTTLES];
	struct spec_pairs hugepages; /* page size "2MB", limit in bytes */
	int64_t net_class;
	struct spec_pairs net_priorities;
	struct spec_pairs rdma; /* device, "hca_handle=N hca_object=N" */
	struct spec_pairs unified;
	struct spec_device_rule *devices;
	size_t n_devices;
};

enum hook_kind {
	HOOK_PRESTART,
	HOOK_CREATE_RUNTIME,
	HOOK_CREATE_CONTAINER,
	HOOK_START_CONTAINER,
	HOOK_POSTSTART,
	HOOK_POSTSTOP,
	HOOKS
};

struct spec_hook {
	const char *path;
	const char **args, **env; /* end with NULL; args NULL: the path alone */
	unsigned timeout_s;	  /* 0: none */
};

struct spec_seccomp_arg {
	unsigned index;
	uint64_t value, value_two;
	int op; /* enum scmp_compare */
};
struct spec_seccomp_rule {
	const char **names; /* ends with NULL */
	uint32_t action;    /* SCMP_ACT_* */
	struct spec_seccomp_arg *args;
	size_t n_args;
};
struct spec_seccomp {
	uint32_t default_action;
	uint32_t *arches; /* SCMP_ARCH_* */
	size_t n_arches;
	struct spec_seccomp_rule *rules;
	size_t n_rules;
	unsigned flags;		   /* SECCOMP_FILTER_FLAG_* */
	const char *listener_path; /* NULL: no notification */
	const char *listener_metadata;
};

/* Whether the program is for another architecture, which strata-process runs. */
enum spec_foreign {
	FOREIGN_AS_FOUND, /* the program's file tells */
	FOREIGN_NEVER,
	FOREIGN_ALWAYS,
};

struct spec {
	const char *version;
	struct spec_process *process; /* NULL: a container that cannot be started */
	const char *root;	      /* absolute, or relative to the bundle; NULL: none */
	bool root_readonly;
	const char *hostname, *domainname;
	struct spec_mount *mounts;
	size_t n_mounts;
	struct spec_hook *hooks[HOOKS];
	size_t n_hooks[HOOKS];
	struct spec_pairs annotations;
	struct spec_namespace namespaces[NAMESPACES];
	struct spec_id_maps uids, gids;
	bool time_offsets;
	int64_t monotonic_s, boottime_s;
	uint32_t monotonic_ns, boottime_ns;
	struct spec_device *devices;
	size_t n_devices;
	const char *cgroups_path;
	struct spec_resources resources;
	const char **masked, **readonly; /* end with NULL */
	struct spec_pairs sysctl;
	uint64_t root_propagation; /* MS_*, 0: the default */
	const char *mount_label;
	bool personality_given;
	unsigned long personality;
	struct spec_seccomp *seccomp; /* NULL: none */
	enum spec_foreign foreign;
	bool user_network; /* usernet.h; the network namespace is a new one */
	struct slirp_publish *published;
	unsigned n_published;
};

/* A number of SPEC_UNSETs: an empty struct spec_resources limits everything to 0. */
void spec_resources_init(struct spec_resources *r);

/* "CAP_CHOWN" -> 0; -1 for a name that this program does not know. */
int spec_capability(const char *name);
const char *spec_capability_name(int cap); /* NULL past the last */

/* One word of a mount's options. False: the file system's own. */
bool spec_mount_option(struct spec_mount *m, const char *word);
/* "rslave" -> MS_SLAVE | MS_REC; 0: no such. */
uint64_t spec_propagation(const char *word);
/* The words that spec_mount_option() knows, in order; NULL at the end. */
const char *spec_mount_option_name(size_t i);
const char *spec_namespace_name(enum namespace_kind k);

#endif
