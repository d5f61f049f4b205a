// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "base/log.h"

enum { MOUNTS_MAX = 256 };

/* Newest first: what lies on another mount goes before it. What is busy becomes read-only, which
 * writes an ext4 upper layer back whole. */
static void unmount_all(void)
{
	char *points[MOUNTS_MAX], *line _free_ = NULL;
	size_t n = 0, cap = 0;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	while (f && n < MOUNTS_MAX && getline(&line, &cap, f) > 0) {
		char path[1024];
		if (sscanf(line, "%*s %*s %*s %*s %1023s", path) == 1)
			points[n++] = xstrdup(path);
	}
	if (f)
		fclose(f);
	while (n) {
		char *path _free_ = points[--n];
		if (umount2(path, UMOUNT_NOFOLLOW) < 0)
			mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
}

static void end_machine(void *opaque)
{
	struct agent *a = opaque;
	if (!a->is_init) {
		loop_stop(a->loop);
		return;
	}
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	sync();
	unmount_all();
	sync();
	reboot(a->reboot ? RB_AUTOBOOT : RB_POWER_OFF);
	log_error("power off: %s", strerror(errno));
}

/* True when no process but this one and the kernel's threads is left. */
static bool alone(void)
{
	bool others = false;
	DIR *dir = opendir("/proc");
	for (struct dirent *e; dir && !others && (e = readdir(dir));) {
		char path[300];
		int c = EOF;
		if (atoi(e->d_name) <= 1)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
		FILE *f = fopen(path, "re");
		if (f) {
			c = fgetc(f); /* empty for a kernel thread */
			fclose(f);
		}
		others = c != EOF;
	}
	if (dir)
		closedir(dir);
	return !others;
}

void shutdown_child_ended(struct agent *a)
{
	if (a->is_init && alone())
		end_machine(a);
}

void shutdown_begin(struct agent *a, const struct agent_shutdown *s)
{
	if (a->ending)
		return;
	a->ending = true;
	a->reboot = s->reboot;
	if (!a->is_init || !s->grace_ms || alone()) {
		end_machine(a);
		return;
	}
	kill(-1, SIGTERM);
	kill(-1, SIGCONT);
	uint64_t deadline = clock_monotonic_ns() + s->grace_ms * UINT64_C(1000000);
	if (loop_timer_new(a->loop, end_machine, a, &a->end_timer, NULL) < 0)
		end_machine(a);
	else
		loop_timer_arm(a->end_timer, deadline);
}

static char *arena_strdup(struct arena *arena, const char *s)
{
	size_t n = strlen(s) + 1;
	return memcpy(arena_alloc(arena, n), s, n);
}

void system_info(struct agent_info *out, struct arena *arena)
{
	struct utsname u;
	struct sysinfo si;
	memset(out, 0, sizeof(*out));
	out->software = "strata-agent " STRATA_VERSION;
	if (uname(&u) == 0) {
		out->kernel = arena_strdup(arena, u.release);
		out->machine = arena_strdup(arena, u.machine);
	}
	if (sysinfo(&si) == 0) {
		out->uptime_ms = (uint64_t)si.uptime * 1000;
		out->memory_bytes = (uint64_t)si.totalram * si.mem_unit;
		out->memory_available_bytes = (uint64_t)(si.freeram + si.bufferram) * si.mem_unit;
		out->processes = si.procs;
	}
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			out->memory_available_bytes = kib * KiB;
	}
	if (f)
		fclose(f);
}
