// SPDX-License-Identifier: Apache-2.0
// SETUP: the root is put together under /newroot, becomes /, and gets what distributions expect.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <linux/magic.h>

#include "agent.h"
#include "base/log.h"
#include "base/strbuf.h"

#define STAGE	"/.strata"
#define NEWROOT STAGE "/root"

/* "/dev/vdX" of the virtio disk with that serial number. */
static int find_disk(const char *serial, char *device, size_t cap, struct error *err)
{
	DIR *dir = opendir("/sys/block");
	if (!dir)
		return error_errno(err, errno, "/sys/block");
	bool found = false;
	for (struct dirent *e; !found && (e = readdir(dir));) {
		char path[PATH_MAX], have[64] = "";
		snprintf(path, sizeof(path), "/sys/block/%s/serial", e->d_name);
		FILE *f = fopen(path, "re");
		if (!f)
			continue;
		/* The attribute is not ended by a newline on every kernel. */
		size_t n = fread(have, 1, sizeof(have) - 1, f);
		have[n] = 0;
		have[strcspn(have, "\n")] = 0;
		fclose(f);
		found = !strcmp(have, serial);
		if (found)
			snprintf(device, cap, "/dev/%s", e->d_name);
	}
	closedir(dir);
	return found ? 0 : error_set(err, ENODEV, "no disk has the serial number \"%s\"", serial);
}

static const char *after(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);
	return strncmp(s, prefix, n) ? NULL : s + n;
}

static int mount_source(const char *source, const char *path, bool read_only, struct error *err)
{
	unsigned long flags = read_only ? MS_RDONLY : 0;
	const char *name;
	int r = make_directories(path, 0755);
	if (r < 0)
		return error_errno(err, -r, "mount point %s", path);
	if ((name = after(source, "virtiofs:"))) {
		r = mount(name, path, "virtiofs", flags, NULL);
	} else if ((name = after(source, "block:"))) {
		char device[300];
		int found = find_disk(name, device, sizeof(device), err);
		if (found < 0)
			return found;
		/* A fresh disk's inode tables are zeroes already: writing them again would keep an
		 * idle guest busy for minutes. */
		r = mount(device, path, "ext4", flags | MS_NOATIME, "discard,noinit_itable");
	} else if ((name = after(source, "bind:"))) {
		r = mount(name, path, NULL, MS_BIND | MS_REC, NULL);
		if (!r && read_only)
			r = mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
	} else if (!strcmp(source, "tmpfs:")) {
		r = mount("tmpfs", path, "tmpfs", flags, "mode=755");
	} else {
		return error_set(err, EINVAL, "source \"%s\" is of no known kind", source);
	}
	return r < 0 ? error_errno(err, errno, "mount %s on %s", source, path) : 0;
}

/* Options are numbered paths without the characters that overlayfs would need escaped. */
static int mount_overlay(const struct agent_setup *s, struct error *err)
{
	struct strbuf options _strbuf_ = STRBUF_INIT;
	for (size_t i = 0; i < s->lower.len; i++) {
		char path[64];
		snprintf(path, sizeof(path), STAGE "/lower%zu", i);
		int r = mount_source(s->lower.items[i], path, true, err);
		if (r < 0)
			return r;
		strbuf_addf(&options, "%s%s", i ? ":" : "lowerdir=", path);
	}
	if (s->upper) {
		int r = mount_source(s->upper, STAGE "/upper", false, err);
		if (r < 0)
			return r;
		mkdir(STAGE "/upper/upper", 0755);
		mkdir(STAGE "/upper/work", 0755);
		strbuf_adds(
			&options, ",upperdir=" STAGE "/upper/upper,workdir=" STAGE "/upper/work");
	}
	/* One file system to programs that compare devices and inodes, whatever layer has a file.
	 */
	strbuf_adds(&options, ",xino=on");
	make_directories(NEWROOT, 0755);
	if (mount("overlay", NEWROOT, "overlay", s->upper ? 0 : MS_RDONLY, options.data) < 0)
		return error_errno(err, errno, "root: overlay of %zu layers", s->lower.len);
	return 0;
}

static int mount_root(const struct agent_setup *s, struct error *err)
{
	/* A tmpfs of our own: the stage must survive that the initramfs is emptied. */
	int r = mount_source("tmpfs:", STAGE, false, err);
	if (r < 0)
		return r;
	if (s->lower.len == 1 && !s->upper)
		return mount_source(s->lower.items[0], NEWROOT, true, err);
	return mount_overlay(s, err);
}

/* Gives the initramfs's memory back. Stays on its file system; symbolic links are not followed. */
static void empty_directory(int dir_fd, dev_t device)
{
	DIR *dir = fdopendir(dir_fd);
	if (!dir) {
		close(dir_fd);
		return;
	}
	for (struct dirent *e; (e = readdir(dir));) {
		struct stat st;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
			fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			st.st_dev != device)
			continue;
		if (S_ISDIR(st.st_mode)) {
			int sub = openat(dirfd(dir), e->d_name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (sub >= 0)
				empty_directory(sub, device);
		}
		unlinkat(dirfd(dir), e->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	}
	closedir(dir);
}

static int enter_root(bool is_initramfs, struct error *err)
{
	struct stat st;
	struct statfs fs;
	int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (chdir(NEWROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0) {
		int code = errno;
		if (old >= 0)
			close(old);
		return error_errno(err, code, "enter the root");
	}
	/* Only ever what is in memory: a mistake here would delete somebody's files. */
	bool in_memory = old >= 0 && !fstatfs(old, &fs) &&
			 (fs.f_type == RAMFS_MAGIC || fs.f_type == TMPFS_MAGIC);
	if (is_initramfs && in_memory && !fstat(old, &st))
		empty_directory(old, st.st_dev);
	else if (old >= 0)
		close(old);
	return 0;
}

struct api_mount {
	const char *type, *path, *data;
	unsigned long flags;
	mode_t mode;
	bool optional;
};

static const struct api_mount api_mounts[] = {
	{"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, false},
	{"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, true},
	{"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0755, true},
	{"devtmpfs", "/dev", "mode=755", MS_NOSUID, 0755, true},
	{"devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC, 0755, true},
	{"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, 01777, true},
	{"mqueue", "/dev/mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 01777, true},
	{"tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV, 0755, true},
};

static int mount_api(bool root_read_only, struct error *err)
{
	static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"}};
	for (size_t i = 0; i < ARRAY_SIZE(api_mounts); i++) {
		const struct api_mount *m = &api_mounts[i];
		mkdir(m->path, m->mode); /* a read-only root has it or has not */
		if (mount(m->type, m->path, m->type, m->flags, m->data) == 0)
			continue;
		if (!m->optional)
			return error_errno(err, errno, "mount %s", m->path);
		log_warn("mount %s: %s", m->path, strerror(errno));
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			log_warn("%s: %s", links[i][1], strerror(errno));
	}
	mkdir("/run/lock", 01777);
	chmod("/run/lock", 01777);
	if (root_read_only)
		mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	else if (mkdir("/tmp", 01777) == 0)
		chmod("/tmp", 01777);
	return 0;
}

/* On a read-only root the file of /run is put over the one in /etc, if that is there. */
static void write_etc(const char *name, const char *text)
{
	char path[64], copy[64];
	snprintf(path, sizeof(path), "/etc/%s", name);
	mkdir("/etc", 0755);
	if (write_file(path, 0644, text) == 0)
		return;
	snprintf(copy, sizeof(copy), "/run/strata/%s", name);
	make_directories("/run/strata", 0755);
	if (write_file(copy, 0644, text) < 0 || mount(copy, path, NULL, MS_BIND, NULL) < 0)
		log_warn("%s: %s", path, strerror(errno));
}

static void write_names(const struct agent_setup *s)
{
	const char *hostname = s->hostname ? s->hostname : "localhost";
	if (sethostname(hostname, strlen(hostname)) < 0)
		log_warn("host name: %s", strerror(errno));
	if (access("/etc/hostname", F_OK) < 0) {
		char *text _free_ = xasprintf("%s\n", hostname);
		write_etc("hostname", text);
	}
	if (access("/etc/hosts", F_OK) < 0) {
		char *text _free_ = xasprintf("127.0.0.1\tlocalhost\n127.0.1.1\t%s\n"
					      "::1\tlocalhost ip6-localhost ip6-loopback\n",
			hostname);
		write_etc("hosts", text);
	}
	struct strbuf resolv _strbuf_ = STRBUF_INIT;
	for (size_t i = 0; i < s->networks.len; i++) {
		const struct agent_strings *dns = &s->networks.items[i].dns;
		for (size_t j = 0; j < dns->len; j++)
			strbuf_addf(&resolv, "nameserver %s\n", dns->items[j]);
	}
	if (resolv.len)
		write_etc("resolv.conf", resolv.data);
}

int setup_machine(struct agent *a, const struct agent_setup *s, struct error *err)
{
	struct timespec now = {.tv_sec = (time_t)(s->clock_ns / NS_PER_SEC),
		.tv_nsec = (long)(s->clock_ns % NS_PER_SEC)};
	if (s->clock_ns && clock_settime(CLOCK_REALTIME, &now) < 0)
		log_warn("clock: %s", strerror(errno));
	if (!a->is_init) {
		if (s->lower.len || s->mounts.len || s->networks.len)
			return error_set(err, EPERM, "this agent is not the init of a machine");
		return 0;
	}
	umask(0);
	int r = 0;
	if (s->lower.len) {
		r = mount_root(s, err);
		if (!r)
			r = enter_root(a->is_init, err);
		if (!r)
			r = mount_api(!s->upper, err);
	}
	for (size_t i = 0; !r && i < s->mounts.len; i++) {
		const struct agent_mount *m = &s->mounts.items[i];
		r = mount_source(m->source, m->path, m->read_only, err);
	}
	for (size_t i = 0; !r && i < s->networks.len; i++)
		r = setup_network(&s->networks.items[i], err);
	if (!r)
		write_names(s);
	umask(022);
	return r;
}
