// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>

#include "base/strbuf.h"
#include "cli/units.h"
#include "os/child.h"
#include "os/file.h"
#include "os/helper.h"
#include "os/paths.h"

static void PRINTF_LIKE(3, 4)
	found(struct finding *f, enum finding_state state, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	f->state = state;
	f->why = n < 0 ? xstrdup("") : text;
}

static void remedy(struct finding *f, const char *text)
{
	f->remedy = xstrdup(text);
}

/* The first line of a small file, or NULL. */
static char *first_line(const char *path)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	if (file_read(AT_FDCWD, path, 64 * KiB, &text, NULL) < 0 || !text.len)
		return NULL;
	text.data[strcspn(text.data, "\n")] = 0;
	return xstrdup(text.data);
}

static bool has_line_with(const char *path, const char *word)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	return file_read(AT_FDCWD, path, MiB, &text, NULL) == 0 && text.data &&
	       strstr(text.data, word);
}

static uint64_t meminfo(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long long kib = 0;
	size_t n = strlen(key);
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, n) && line[n] == ':')
			sscanf(line + n + 1, "%llu", &kib);
	}
	if (f)
		fclose(f);
	return kib * KiB;
}

static void probe_cpus(struct finding *f)
{
	cpu_set_t set;
	int allowed = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	found(f, FINDING_OK, "%d of %ld CPUs may be used", allowed, online);
}

static void probe_memory(struct finding *f)
{
	char total[24], free_text[24];
	uint64_t available = meminfo("MemAvailable");
	format_size(meminfo("MemTotal"), total);
	format_size(available, free_text);
	found(f, available < 1536 * MiB ? FINDING_WARN : FINDING_OK, "%s of %s are available",
		free_text, total);
	if (f->state)
		remedy(f, "give machines less than 1 GiB each with --memory, or end something");
}

static void probe_huge_pages(struct finding *f)
{
	char *thp _free_ = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
	bool never = !thp || strstr(thp, "[never]");
	found(f, never ? FINDING_WARN : FINDING_OK, "transparent huge pages: %s",
		thp ? thp : "not built into this kernel");
	if (thp && never)
		remedy(f, "as root: echo madvise >/sys/kernel/mm/transparent_hugepage/enabled");
}

static void probe_kvm(struct finding *f)
{
	static const char next[] = "; machines are translated anyway in this version";
	int kvm _close_ = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0) {
		found(f, FINDING_WARN, "/dev/kvm: %s%s", strerror(errno), next);
		if (errno == EACCES)
			remedy(f, "join the group that owns /dev/kvm (usually kvm)");
		return;
	}
	int version = ioctl(kvm, KVM_GET_API_VERSION, 0);
	int vm _close_ = version == KVM_API_VERSION ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;
	int vcpu _close_ = vm >= 0 ? ioctl(vm, KVM_CREATE_VCPU, 0) : -1;
	if (vcpu < 0)
		found(f, FINDING_WARN, "/dev/kvm opens (API %d) but makes no %s%s", version,
			vm < 0 ? "machine" : "vCPU", next);
	else
		found(f, FINDING_OK,
			"makes machines and vCPUs (API %d); the KVM back end is not built yet",
			version);
}

/* In a child: a namespace cannot be left again. */
static int try_in_child(int (*attempt)(void))
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(attempt() & 255);
	return pid < 0 ? errno : child_wait(pid);
}

static int unshare_user(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) < 0 ? errno : 0;
}

static void probe_user_namespaces(struct finding *f)
{
	int code = try_in_child(unshare_user);
	if (!code) {
		found(f, FINDING_OK, "can be made, with mount and pid namespaces");
		return;
	}
	found(f, FINDING_WARN, "cannot be made: %s", strerror(code));
	remedy(f, "as root: sysctl kernel.unprivileged_userns_clone=1 (or "
		  "kernel.apparmor_restrict_unprivileged_userns=0)");
}

static void probe_seccomp(struct finding *f)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;
	long r = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
	found(f, r ? FINDING_NO : FINDING_OK, r ? "no filters: %s" : "filters are available%s",
		r ? strerror(errno) : "");
	if (r)
		remedy(f, "a kernel with CONFIG_SECCOMP_FILTER is needed to sandbox monitors");
}

static void probe_landlock(struct finding *f)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi > 0) {
		found(f, FINDING_OK, "ABI %ld", abi);
		return;
	}
	found(f, FINDING_WARN, "not available: %s; monitors rely on seccomp alone",
		strerror(errno));
	remedy(f, "boot with lsm=landlock,… or a kernel with CONFIG_SECURITY_LANDLOCK");
}

static void probe_cgroups(struct finding *f)
{
	bool v2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
	bool v1 = has_line_with("/proc/self/mountinfo", " - cgroup ");
	bool hybrid = v1 && has_line_with("/proc/self/mountinfo", " - cgroup2 ");
	char *own _free_ = first_line("/proc/self/cgroup");
	const char *path = own && !strncmp(own, "0::", 3) ? own + 3 : "";
	char *directory _free_ = xasprintf("/sys/fs/cgroup%s", path);
	if (v2 && !v1) {
		bool mine = access(directory, W_OK) == 0;
		found(f, mine ? FINDING_OK : FINDING_WARN, "version 2, %s %s",
			mine ? "delegated to this user at" : "not delegated: no right to write to",
			directory);
		if (!mine)
			remedy(f, "limits need: systemd-run --user --scope -p Delegate=yes …");
		return;
	}
	found(f, FINDING_WARN, "%s",
		hybrid ? "hybrid: version 1 with a version 2 mount"
		: v1   ? "version 1"
		       : "none mounted");
	remedy(f, "nothing here needs it yet; boot with systemd.unified_cgroup_hierarchy=1 for "
		  "limits");
}

static void probe_store(struct finding *f)
{
	char *home _free_ = NULL, *at _free_ = NULL;
	struct statvfs s;
	if (paths_home(&home, NULL) < 0) {
		found(f, FINDING_NO, "there is no home directory");
		remedy(f, "set STRATA_HOME to an absolute path");
		return;
	}
	/* The deepest part that exists: the rest is made when it is needed. */
	at = xstrdup(home);
	while (access(at, F_OK) < 0 && strrchr(at, '/') > at)
		*strrchr(at, '/') = 0;
	if (access(at, F_OK) < 0)
		strcpy(at, "/");
	if (access(at, W_OK) < 0 || statvfs(at, &s) < 0) {
		found(f, FINDING_NO, "%s: %s", at, strerror(errno));
		remedy(f, "set STRATA_HOME to a directory that you may write to");
		return;
	}
	char size[24];
	uint64_t free_bytes = (uint64_t)s.f_bavail * s.f_frsize;
	format_size(free_bytes, size);
	found(f, free_bytes < 4 * GiB ? FINDING_WARN : FINDING_OK, "%s, %s free", home, size);
	if (f->state)
		remedy(f, "an image and its instance take about 1 GiB; set STRATA_HOME elsewhere");
}

static void probe_ports(struct finding *f)
{
	char *first _free_ = first_line("/proc/sys/net/ipv4/ip_unprivileged_port_start");
	bool root = geteuid() == 0;
	found(f, FINDING_OK, "%s may be published%s%s", root ? "any port" : "ports from ",
		root	? ""
		: first ? first
			: "1024",
		root ? "" : " upward");
}

static void probe_program(
	struct finding *f, const char *name, const char *package, enum finding_state without)
{
	char *path _free_ = child_find_program(name);
	if (path) {
		found(f, FINDING_OK, "%s", path);
		return;
	}
	found(f, without, "there is no %s", name);
	f->remedy = xasprintf("install the package %s", package);
}

static void probe_mke2fs(struct finding *f)
{
	probe_program(f, "mke2fs", "e2fsprogs", FINDING_NO);
}

static void probe_gpgv(struct finding *f)
{
	probe_program(f, "gpgv", "gpgv", FINDING_NO);
}

static void probe_keyring(struct finding *f)
{
	static const char path[] = "/usr/share/keyrings/debian-archive-keyring.gpg";
	bool here = access(path, R_OK) == 0;
	found(f, here ? FINDING_OK : FINDING_NO, "%s%s", path, here ? "" : " is missing");
	if (!here)
		remedy(f, "install the package debian-archive-keyring");
}

static void probe_slirp(struct finding *f)
{
	char *path _free_ = NULL;
	struct error err _error_ = ERROR_INIT;
	if (helper_find("strata-slirp", &path, &err) == 0) {
		found(f, FINDING_OK, "%s", path);
		return;
	}
	found(f, FINDING_WARN, "%s; only --net none works", err.message);
	if (err.remedy)
		remedy(f, err.remedy);
}

/* Containers need it; machines do without. */
static void probe_tun(struct finding *f)
{
	_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		found(f, FINDING_OK, "/dev/net/tun");
		return;
	}
	int code = errno;
	found(f, FINDING_WARN, "/dev/net/tun: %s; containers have --net none and host only",
		strerror(code));
	remedy(f,
		code == EACCES ? "chmod 666 /dev/net/tun, as most hosts have it" : "modprobe tun");
}

static void probe_terminal(struct finding *f)
{
	const char *term = getenv("TERM");
	if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
		found(f, FINDING_OK, "%s: sessions are interactive", term ? term : "no TERM");
	else
		found(f, FINDING_OK, "none here: sessions are pipes, byte for byte");
}

const struct doctor_probe doctor_probes[] = {
	{"CPUs", probe_cpus, false},
	{"memory", probe_memory, false},
	{"huge pages", probe_huge_pages, false},
	{"KVM", probe_kvm, false},
	{"user namespaces", probe_user_namespaces, false},
	{"seccomp", probe_seccomp, true},
	{"Landlock", probe_landlock, false},
	{"cgroups", probe_cgroups, false},
	{"store", probe_store, true},
	{"disks (mke2fs)", probe_mke2fs, true},
	{"signatures (gpgv)", probe_gpgv, true},
	{"archive's keys", probe_keyring, true},
	{"network helper", probe_slirp, false},
	{"containers' network", probe_tun, false},
	{"published ports", probe_ports, false},
	{"terminal", probe_terminal, false},
	{0},
};
