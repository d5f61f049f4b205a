// SPDX-License-Identifier: Apache-2.0
// Mounts a file server with the host's own FUSE client, so that real programs can try it. Needs
// root.
#ifndef STRATA_TESTS_FS_MOUNT_H
#define STRATA_TESTS_FS_MOUNT_H

#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>
#include <unistd.h>

#include "fs/fuse.h"
#include "tap.h"

enum { MOUNT_THREADS = 3 };

struct mounted {
	struct fuse_fs *fs;
	int fd;
	char path[64];
	pthread_t threads[MOUNT_THREADS];
};

static void *mount_thread(void *opaque)
{
	struct mounted *m = opaque;
	size_t size = FUSE_FS_REQUEST_MAX;
	char *in = malloc(size), *out = malloc(size);
	for (;;) {
		ssize_t n = read(m->fd, in, size);
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < 0) /* ENODEV: unmounted */
			break;
		/* In odd pieces, as a guest's pages may be. */
		size_t cut = (size_t)n / 3;
		struct iovec iov[4] = {{in, cut}, {in + cut, (size_t)n - cut}, {out, 4096 + 16},
			{out + 4096 + 16, size - 4096 - 16}};
		ssize_t reply = fuse_fs_serve(m->fs, iov, 2, iov + 2, 2);
		if (reply > 0 && write(m->fd, out, (size_t)reply) < 0 && errno != ENOENT)
			break;
	}
	free(in);
	free(out);
	return NULL;
}

/* false: this host does not let us. */
TAP_UNUSED static bool mount_fs(struct mounted *m, struct fuse_fs *fs)
{
	char options[128];
	strcpy(m->path, "/tmp/strata-mount-XXXXXX");
	m->fs = fs;
	m->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (m->fd < 0 || !mkdtemp(m->path))
		return false;
	snprintf(options, sizeof(options),
		"fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", m->fd);
	if (mount("strata", m->path, "fuse", MS_NODEV, options) < 0) {
		close(m->fd);
		rmdir(m->path);
		return false;
	}
	for (int i = 0; i < MOUNT_THREADS; i++)
		pthread_create(&m->threads[i], NULL, mount_thread, m);
	return true;
}

TAP_UNUSED static void unmount_fs(struct mounted *m)
{
	if (umount2(m->path, 0) < 0) {
		TAP_FAIL_("umount: %s", strerror(errno));
		umount2(m->path, MNT_FORCE | MNT_DETACH);
	}
	for (int i = 0; i < MOUNT_THREADS; i++)
		pthread_join(m->threads[i], NULL);
	close(m->fd);
	rmdir(m->path);
	fuse_fs_free(m->fs);
}

/* Runs a shell command line, with M the mount point and D another directory. */
TAP_UNUSED static int shell(const struct mounted *m, const char *dir, const char *command)
{
	char *line;
	if (asprintf(&line, "M=%s D=%s; export M D; set -e; { %s ; } >/tmp/strata-mount.log 2>&1",
		    m->path, dir, command) < 0)
		return -1;
	int rc = system(line);
	free(line);
	return rc;
}

#endif
