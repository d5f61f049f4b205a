// SPDX-License-Identifier: Apache-2.0
// Requests by hand, results compared with what the host's own calls see.
#include "fs/passthrough.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/client.h"

static char dir[64];

static bool open_share(struct client *c, struct passthrough_config config)
{
	struct fuse_fs *fs;
	if (passthrough_fs_new(&fs, open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), &config, NULL) < 0)
		return false;
	return client_init(c, fs) == 0;
}

static bool make_share(struct client *c, struct passthrough_config config)
{
	strcpy(dir, "/tmp/strata-pt-XXXXXX");
	return mkdtemp(dir) && open_share(c, config);
}

static void remove_share(struct client *c)
{
	char line[128];
	client_done(c);
	snprintf(line, sizeof(line), "rm -rf %s", dir);
	if (system(line))
		TAP_FAIL_("rm");
}

static const char *at(const char *name)
{
	static char path[2][4096];
	static int i;
	i = !i;
	snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
	return path[i];
}

static void put(const char *name, const char *text)
{
	int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void files(void)
{
	struct client c;
	struct fuse_entry_out e;
	struct stat st;
	uint64_t fh;
	REQUIRE(make_share(&c, (struct passthrough_config){0}));
	umask(077);
	CHECK_EQ(do_create(&c, 1, "f", O_RDWR, 0664, &e, &fh), 0);
	umask(022);
	CHECK_EQ(do_write(&c, e.nodeid, fh, 5, "hello", 5, 0), (ssize_t)5);
	c.split = 43;
	CHECK_EQ(do_write(&c, e.nodeid, fh, 0, "01234", 5, 0), (ssize_t)5);
	CHECK_EQ(do_read(&c, e.nodeid, fh, 3, 100), (ssize_t)7);
	CHECK(!memcmp(payload(&c), "34hello", 7));
	c.split = 0;
	CHECK_EQ(do_write(&c, e.nodeid, fh, 0, "+", 1, O_APPEND), (ssize_t)1);
	CHECK(!stat(at("f"), &st) && st.st_size == 11 && (st.st_mode & 07777) == 0664);
	CHECK_EQ(do_setattr(&c, e.nodeid,
			 (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_MODE | FATTR_MTIME,
				 .size = 4,
				 .mode = 06755,
				 .mtime = 1234,
				 .mtimensec = 5}),
		0);
	/* set-id bits do not get to the host */
	CHECK(!stat(at("f"), &st) && st.st_size == 4 && (st.st_mode & 07777) == 0755);
	CHECK(st.st_mtim.tv_sec == 1234 && st.st_mtim.tv_nsec == 5);
	CHECK_EQ(do_create(&c, 1, "f", O_RDWR | O_EXCL, 0644, &e, &fh), -EEXIST);
	CHECK_EQ(do_release(&c, e.nodeid, fh, false), 0);
	CHECK_EQ(do_release(&c, e.nodeid, fh, false), -EBADF);
	CHECK_EQ(do_read(&c, e.nodeid, fh, 0, 10), (ssize_t)-EBADF);
	CHECK_EQ(do_open(&c, e.nodeid, O_RDONLY, &fh), 0);
	CHECK_EQ(do_write(&c, e.nodeid, fh, 0, "x", 1, 0), (ssize_t)-EBADF);
	CHECK_EQ(do_read(&c, 1, fh, 0, 10), (ssize_t)-EBADF); /* another node's handle */
	do_release(&c, e.nodeid, fh, false);
	do_forget(&c, e.nodeid, 1);
	CHECK_EQ(do_getattr(&c, e.nodeid, &e.attr), -ESTALE);
	remove_share(&c);
}

static void specials_are_refused(void)
{
	struct client c;
	struct fuse_entry_out e;
	struct fuse_mknod_in in = {.rdev = 0x103};
	uint64_t fh;
	REQUIRE(make_share(&c, (struct passthrough_config){0}));
	static const uint32_t types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		in.mode = types[i] | 0666;
		CHECK_EQ(
			call(&c, FUSE_MKNOD, 1, &in, sizeof(in), "x", NULL, &e, sizeof(e)), -EPERM);
	}
	CHECK_EQ(mkfifo(at("fifo"), 0666), 0);
	/* A file of our own outside the share: what a broken server harms must not be the host's.
	 */
	char outside[] = "/tmp/strata-outside-XXXXXX";
	int outside_fd = mkstemp(outside);
	REQUIRE(outside_fd >= 0);
	CHECK_EQ(write(outside_fd, "keep", 4), (ssize_t)4);
	CHECK_EQ(symlink(outside, at("link")), 0);
	CHECK_EQ(do_lookup(&c, 1, "fifo", &e), 0);
	CHECK_EQ(do_open(&c, e.nodeid, O_RDONLY, &fh), -EPERM);
	CHECK_EQ(do_create(&c, 1, "fifo", O_RDWR, 0644, &e, &fh), -EEXIST);
	CHECK_EQ(do_lookup(&c, 1, "link", &e), 0);
	CHECK_EQ(do_open(&c, e.nodeid, O_RDONLY, &fh), -ELOOP);
	CHECK_EQ(do_setattr(&c, e.nodeid, (struct fuse_setattr_in){.valid = FATTR_SIZE}), -ELOOP);
	CHECK_EQ(do_create(&c, 1, "link", O_RDWR, 0644, &e, &fh), -EEXIST);
	CHECK_EQ(lseek(outside_fd, 0, SEEK_END), (off_t)4);
	close(outside_fd);
	unlink(outside);
	/* a name is one component */
	static const char *const names[] = {"..", ".", "", "a/b", "/etc"};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		CHECK_EQ(do_lookup(&c, 1, names[i], &e), -EINVAL);
	char longest[300];
	memset(longest, 'n', sizeof(longest));
	longest[256] = '\0';
	CHECK_EQ(do_lookup(&c, 1, longest, &e), -ENAMETOOLONG);
	/* only user attributes */
	struct {
		uint32_t size, flags;
	} set = {0, 0};
	CHECK_EQ(
		call(&c, FUSE_SETXATTR, 1, &set, sizeof(set), "security.capability", NULL, NULL, 0),
		-EOPNOTSUPP);
	CHECK_EQ(call(&c, FUSE_SETXATTR, 1, &set, sizeof(set), "trusted.x", NULL, NULL, 0),
		-EOPNOTSUPP);
	remove_share(&c);
}

static void read_only(void)
{
	struct client c;
	struct fuse_entry_out e;
	uint64_t fh;
	REQUIRE(make_share(&c, (struct passthrough_config){.read_only = true}));
	put("f", "text");
	CHECK_EQ(do_lookup(&c, 1, "f", &e), 0);
	CHECK_EQ(do_open(&c, e.nodeid, O_RDWR, &fh), -EROFS);
	CHECK_EQ(do_open(&c, e.nodeid, O_RDONLY | O_TRUNC, &fh), -EROFS);
	CHECK_EQ(do_open(&c, e.nodeid, O_RDONLY, &fh), 0);
	CHECK_EQ(do_read(&c, e.nodeid, fh, 0, 10), (ssize_t)4);
	CHECK_EQ(do_write(&c, e.nodeid, fh, 0, "x", 1, 0), (ssize_t)-EROFS);
	CHECK_EQ(do_setattr(&c, e.nodeid, (struct fuse_setattr_in){.valid = FATTR_MODE}), -EROFS);
	CHECK_EQ(call(&c, FUSE_UNLINK, 1, NULL, 0, "f", NULL, NULL, 0), -EROFS);
	CHECK_EQ(call(&c, FUSE_SYMLINK, 1, NULL, 0, "s", "t", &e, sizeof(e)), -EROFS);
	remove_share(&c);
}

/* A guest that says what it likes: no answer may be wrong, none may kill us. */
static void malformed_requests(void)
{
	struct client c;
	uint8_t junk[300], reply[200];
	REQUIRE(make_share(&c, (struct passthrough_config){0}));
	memset(junk, 'A', sizeof(junk));
	for (uint32_t op = 0; op < 64; op++)
		for (size_t len = 0; len < 120; len += 3) {
			if (op == FUSE_INIT || op == FUSE_DESTROY || op == FUSE_FORGET ||
				op == FUSE_BATCH_FORGET || op == FUSE_INTERRUPT ||
				op == FUSE_SYNCFS)
				continue;
			int rc = call_raw(&c, op, 1, junk, len, len % 2 ? 0 : 8192);
			CHECK(rc <= 0 && rc > -1000);
		}
	struct fuse_in_header h = {.len = 1000, .opcode = FUSE_STATFS, .nodeid = 1};
	struct iovec in = {&h, sizeof(h)}, out = {reply, sizeof(reply)};
	CHECK_EQ(fuse_fs_serve(c.fs, &in, 1, &out, 1), (ssize_t)-EBADMSG);
	h.len = 39;
	CHECK_EQ(fuse_fs_serve(c.fs, &in, 1, &out, 1), (ssize_t)-EBADMSG);
	h.len = 40;
	out.iov_len = 15;
	CHECK_EQ(fuse_fs_serve(c.fs, &in, 1, &out, 1), (ssize_t)-EBADMSG);
	out.iov_len = 16;
	CHECK_EQ(fuse_fs_serve(c.fs, &in, 1, &out, 1), (ssize_t)16);
	in.iov_len = 12;
	CHECK_EQ(fuse_fs_serve(c.fs, &in, 1, &out, 1), (ssize_t)-EBADMSG);
	/* forgets of what was never looked up, and too often */
	do_forget(&c, 1, UINT64_MAX);
	do_forget(&c, 77, 3);
	struct fuse_batch_forget_in batch = {.count = UINT32_MAX};
	call_raw(&c, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), 0);
	struct fuse_attr a;
	CHECK_EQ(do_getattr(&c, 1, &a), 0);
	/* before INIT */
	fuse_fs_reset(c.fs);
	CHECK_EQ(do_getattr(&c, 1, &a), -EIO);
	remove_share(&c);
}

/* Only names inside are reached while somebody on the host swaps a directory for a symlink. */
static atomic_bool stop;
static void *swapper(void *opaque)
{
	(void)opaque;
	char a[128], b[128];
	snprintf(a, sizeof(a), "%s/swap", dir);
	snprintf(b, sizeof(b), "%s/other", dir);
	while (!atomic_load(&stop))
		renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
	return NULL;
}

static void races_with_symlinks(void)
{
	struct client c;
	pthread_t t;
	char outside[64] = "/tmp/strata-outside-XXXXXX", path[128];
	REQUIRE(make_share(&c, (struct passthrough_config){.fds_max = 16}));
	REQUIRE(mkdtemp(outside) != NULL);
	snprintf(path, sizeof(path), "%s/secret", outside);
	int fd = open(path, O_WRONLY | O_CREAT, 0644);
	CHECK_EQ(write(fd, "SECRET", 6), 6);
	close(fd);
	CHECK(!mkdir(at("swap"), 0755) && !symlink(outside, at("other")));
	put("swap/secret", "inside");
	atomic_store(&stop, false);
	pthread_create(&t, NULL, swapper, NULL);
	unsigned opened = 0, made = 0;
	for (int i = 0; i < 20000; i++) {
		struct fuse_entry_out d, e;
		uint64_t fh;
		char name[32];
		if (do_lookup(&c, 1, i % 2 ? "swap" : "other", &d) != 0)
			continue;
		if (do_lookup(&c, d.nodeid, "secret", &e) == 0) {
			if (do_open(&c, e.nodeid, O_RDONLY, &fh) == 0) {
				opened++;
				if (do_read(&c, e.nodeid, fh, 0, 10) != 6 ||
					memcmp(payload(&c), "inside", 6))
					TAP_FAIL_("read what is outside");
				do_release(&c, e.nodeid, fh, false);
			}
			do_setattr(&c, e.nodeid,
				(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0600});
			do_forget(&c, e.nodeid, 1);
		}
		snprintf(name, sizeof(name), "new%d", i);
		if (do_create(&c, d.nodeid, name, O_RDWR, 0644, &e, &fh) == 0) {
			made++;
			do_release(&c, e.nodeid, fh, false);
			do_forget(&c, e.nodeid, 1);
			call(&c, FUSE_UNLINK, d.nodeid, NULL, 0, name, NULL, NULL, 0);
		}
		do_forget(&c, d.nodeid, 1);
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	CHECK(opened > 100 && made > 100);
	struct stat st;
	CHECK(!stat(path, &st) && st.st_size == 6 && (st.st_mode & 0777) == 0644);
	DIR *o = opendir(outside);
	unsigned n = 0;
	while (readdir(o))
		n++;
	closedir(o);
	CHECK_EQ(n, 3u);
	unlink(path);
	rmdir(outside);
	remove_share(&c);
}

/* Nodes and open files go on after a restore, in the same directory. */
static void saved_and_restored(void)
{
	struct client a, b;
	struct fuse_entry_out d, e, gone;
	uint64_t fh = 0, lost = 0, dfh;
	struct fuse_open_in oin = {0};
	struct fuse_open_out oout;
	REQUIRE(make_share(&a, (struct passthrough_config){0}));
	CHECK_EQ(mkdir(at("d"), 0755), 0);
	put("d/f", "some text");
	put("gone", "x");
	CHECK(!do_lookup(&a, 1, "d", &d) && !do_lookup(&a, d.nodeid, "f", &e) &&
		!do_lookup(&a, 1, "gone", &gone));
	CHECK(!do_open(&a, e.nodeid, O_RDWR, &fh) && !do_open(&a, gone.nodeid, O_RDWR, &lost));
	CHECK_EQ(call(&a, FUSE_OPENDIR, d.nodeid, &oin, sizeof(oin), NULL, NULL, &oout,
			 sizeof(oout)),
		0);
	dfh = oout.fh;
	CHECK_EQ(call(&a, FUSE_UNLINK, 1, NULL, 0, "gone", NULL, NULL, 0), 0);
	CHECK_EQ(do_read(&a, gone.nodeid, lost, 0, 10), (ssize_t)1);
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	fuse_fs_state(a.fs, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	REQUIRE(open_share(&b, (struct passthrough_config){0}));
	s = state_new_restore(sb.data, sb.len);
	fuse_fs_state(b.fs, s);
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(state_finish(s, &err), 0);
	state_free(s);
	CHECK_EQ(do_read(&b, e.nodeid, fh, 5, 10), (ssize_t)4);
	CHECK_EQ(do_write(&b, e.nodeid, fh, 0, "S", 1, 0), (ssize_t)1);
	CHECK_EQ(do_read(&b, gone.nodeid, lost, 0, 10), (ssize_t)-EBADF);
	CHECK_EQ(do_release(&b, gone.nodeid, lost, false), 0);
	CHECK_EQ(do_readdir(&b, d.nodeid, dfh, true, 4096, NULL, NULL), 3);
	struct fuse_entry_out again;
	CHECK(!do_lookup(&b, d.nodeid, "f", &again) && again.nodeid == e.nodeid);
	/* every cut of the stream is refused or harmless */
	for (size_t n = 0; n < sb.len; n += 7) {
		s = state_new_restore(sb.data, n);
		fuse_fs_state(b.fs, s);
		CHECK(state_finish(s, NULL) < 0);
		state_free(s);
	}
	client_done(&b);
	remove_share(&a);
}

/* As an ordinary user: our files are the guest root's, others' nobody's; chown records nothing. */
static void run_as_user(void)
{
	struct client c;
	struct fuse_entry_out e;
	struct fuse_mkdir_in in = {.mode = 0755};
	uint64_t fh;
	if (setgroups(0, NULL) || setgid(12345) || setuid(12345) ||
		!make_share(&c, (struct passthrough_config){0})) {
		TAP_FAIL_("cannot be a user");
		return;
	}
	c.uid = 1000;
	CHECK_EQ(call(&c, FUSE_MKDIR, 1, &in, sizeof(in), "d", NULL, &e, sizeof(e)), 0);
	CHECK_EQ(do_create(&c, 1, "f", O_RDWR, 0600, &e, &fh), 0);
	CHECK(e.attr.uid == 0 && e.attr.gid == 0);
	struct fuse_setattr_in own = {.valid = FATTR_UID | FATTR_GID};
	CHECK_EQ(do_setattr(&c, e.nodeid, own), 0);
	own.uid = 1000;
	CHECK_EQ(do_setattr(&c, e.nodeid, own), -EPERM);
	struct fuse_attr a;
	CHECK_EQ(do_getattr(&c, 1, &a), 0);
	CHECK(a.uid == 0);
	remove_share(&c);
}

static void ordinary_user(void)
{
	if (geteuid() != 0) {
		SKIP("the other tests run as one");
	}
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		run_as_user();
		fflush(stdout);
		_exit(tap_failed);
	}
	int status = 1;
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
}

/* Directories nested deeper than a path is long, with hardly any descriptors. */
static void deep_trees(void)
{
	struct client c;
	struct fuse_entry_out e = {.nodeid = 1};
	struct fuse_mkdir_in in = {.mode = 0755};
	struct fuse_attr a;
	char name[201];
	REQUIRE(make_share(&c, (struct passthrough_config){.fds_max = 16}));
	memset(name, 'd', 200);
	name[200] = '\0';
	uint64_t nodes[100];
	for (int i = 0; i < 100; i++) {
		REQUIRE(call(&c, FUSE_MKDIR, e.nodeid, &in, sizeof(in), name, NULL, &e,
				sizeof(e)) == 0);
		nodes[i] = e.nodeid;
	}
	for (int i = 99; i >= 0; i -= 7) {
		CHECK_EQ(do_getattr(&c, nodes[i], &a), 0);
		CHECK_EQ(do_getattr(&c, nodes[99 - i], &a), 0);
	}
	CHECK_EQ(do_lookup(&c, nodes[98], name, &e), 0);
	remove_share(&c);
}

int main(void)
{
	RUN(files);
	RUN(specials_are_refused);
	RUN(read_only);
	RUN(malformed_requests);
	RUN(races_with_symlinks);
	RUN(saved_and_restored);
	RUN(ordinary_user);
	RUN(deep_trees);
	return tap_done();
}
