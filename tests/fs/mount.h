// SPDX-License-Identifier: Apache-2.0
// Mounts a file server with the host's own FUSE client, so that real programs can try it. Needs
// root.
//
// Server and client are different processes: a client that waits for an answer cannot be killed,
// and as long as it lives the kernel keeps its descriptors open, so a server inside of it would
// never be seen to be gone. The server ends with its parent or when it has been at it for too long,
// and with it the mount, which is in a mount namespace of the test's own.
#ifndef STRATA_TESTS_FS_MOUNT_H
#define STRATA_TESTS_FS_MOUNT_H

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/fuse.h"
#include "tap.h"

enum { MOUNT_THREADS = 3, MOUNT_SECONDS = 120 /* for all that is done with one mount */ };

struct mounted {
	pid_t server;
	char path[64];
};

/* Makes what is to be served, in the server's process; NULL: it cannot. */
typedef struct fuse_fs *mount_make_fn(const void *opaque);

struct mount_server {
	struct fuse_fs *fs;
	int fd;
};

static void *mount_thread(void *opaque)
{
	struct mount_server *m = opaque;
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

static _Noreturn void mount_serve(int fd, pid_t parent, mount_make_fn *make, const void *opaque)
{
	pthread_t threads[MOUNT_THREADS];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	alarm(MOUNT_SECONDS);
	struct mount_server s = {make(opaque), fd};
	if (!s.fs)
		_exit(1);
	for (int i = 0; i < MOUNT_THREADS; i++)
		pthread_create(&threads[i], NULL, mount_thread, &s);
	for (int i = 0; i < MOUNT_THREADS; i++)
		pthread_join(threads[i], NULL);
	fuse_fs_free(s.fs);
	_exit(0);
}

/* false: this host does not let us. */
TAP_UNUSED static bool mount_fs(struct mounted *m, mount_make_fn *make, const void *opaque)
{
	char options[128];
	strcpy(m->path, "/tmp/strata-mount-XXXXXX");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	snprintf(options, sizeof(options),
		"fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fd);
	if (!mkdtemp(m->path) || mount("strata", m->path, "fuse", MS_NODEV, options) < 0) {
		close(fd);
		rmdir(m->path);
		return false;
	}
	fflush(NULL);
	pid_t parent = getpid();
	m->server = fork();
	if (m->server == 0)
		mount_serve(fd, parent, make, opaque);
	close(fd); /* the server's is now the only one: when it dies, every request fails */
	alarm(MOUNT_SECONDS + 5);
	return m->server > 0;
}

TAP_UNUSED static void unmount_fs(struct mounted *m)
{
	int status = 0;
	if (umount2(m->path, 0) < 0) {
		TAP_FAIL_("umount: %s", strerror(errno));
		umount2(m->path, MNT_FORCE | MNT_DETACH);
		kill(m->server, SIGKILL);
	}
	if (waitpid(m->server, &status, 0) < 0 || status)
		TAP_FAIL_("the server ended with status 0x%x", (unsigned)status);
	alarm(0);
	rmdir(m->path);
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
