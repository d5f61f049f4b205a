// SPDX-License-Identifier: Apache-2.0
// Requests to both file systems. First byte: which (bit 0), exclusive (1), read-only (2), few
// descriptors (3). Then requests: opcode, node (small numbers, or 0xff: 8 bytes follow), flags (bit
// 0: a wrong length follows, bit 1: little room for the reply, bit 2: save and restore first),
// length of the body, body.
#include "fs/layers.h"
#include "fs/passthrough.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/tars.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int layer(int which)
{
	return which ? LAYER({'f', "b", "2"}, {'f', ".wh.a", ""}, {'l', "l", "b"})
		     : LAYER({'f', "a", "1"}, {'d', "d", ""}, {'f', "d/f", "data"},
			       {'h', "h", "d/f"});
}

static void fill(int dir)
{
	static const char *const files[] = {"a", "b", "d/f"};
	mkdirat(dir, "d", 0755);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int fd _close_ = openat(dir, files[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (write(fd, "0123456789", 10) != 10)
			abort();
	}
	if (symlinkat("/etc", dir, "l"))
		abort();
}

static void save_restore(struct fuse_fs *fs)
{
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	fuse_fs_state(fs, s);
	if (state_finish(s, NULL) < 0)
		abort();
	state_free(s);
	s = state_new_restore(sb.data, sb.len);
	fuse_fs_state(fs, s);
	if (state_finish(s, NULL) < 0)
		abort();
	state_free(s);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

struct input {
	const uint8_t *p;
	size_t left;
};

static uint64_t take(struct input *in, size_t n)
{
	uint64_t v = 0;
	n = MIN(n, in->left);
	memcpy(&v, in->p, n);
	in->p += n;
	in->left -= n;
	return v;
}

static void request(struct fuse_fs *fs, struct input *in)
{
	static uint8_t body[512], reply[16384];
	struct fuse_in_header h = {.unique = 1, .uid = 0, .pid = 1};
	h.opcode = (uint32_t)take(in, 1);
	h.nodeid = take(in, 1);
	if (h.nodeid == 0xff)
		h.nodeid = take(in, 8);
	uint8_t flags = (uint8_t)take(in, 1);
	size_t len = (size_t)take(in, 1);
	len = MIN(len, in->left);
	memcpy(body, in->p, len);
	in->p += len;
	in->left -= len;
	h.len = (uint32_t)(sizeof(h) + len);
	if (flags & 1)
		h.len = (uint32_t)take(in, 4);
	if (flags & 4)
		save_restore(fs);
	struct iovec out[2] = {{&h, sizeof(h)}, {body, len}};
	struct iovec back[2] = {{reply, 20}, {reply + 20, flags & 2 ? 16 : sizeof(reply) - 20}};
	ssize_t n = fuse_fs_serve(fs, out, 2, back, 2);
	if (n > (ssize_t)sizeof(reply) || (n > 0 && load_le32(reply) != (size_t)n))
		abort();
}

static struct fuse_fs *make(uint8_t mode, char dir[32])
{
	struct fuse_fs *fs;
	if (mode & 1) {
		int fds[2] = {layer(0), layer(1)};
		if (layers_fs_new(&fs, fds, 2, NULL) < 0)
			abort();
		return fs;
	}
	struct passthrough_config config = {.exclusive = mode & 2,
		.read_only = mode & 4,
		.fds_max = mode & 8 ? 16 : 0,
		.ids = PASSTHROUGH_IDS_MAP};
	strcpy(dir, "/dev/shm/strata-fuzz-XXXXXX");
	if (!mkdtemp(dir))
		abort();
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fill(fd);
	if (passthrough_fs_new(&fs, fd, &config, NULL) < 0)
		abort();
	return fs;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char dir[32] = "";
	struct input in = {data, len};
	struct rlimit small = {1 << 20, 1 << 20};
	signal(SIGXFSZ, SIG_IGN);
	if (len < 2)
		return 0;
	uint8_t mode = (uint8_t)take(&in, 1);
	struct fuse_fs *fs = make(mode, dir);
	struct rlimit old;
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small); /* no request fills this host's memory */
	struct fuse_in_header h = {.len = 56, .opcode = FUSE_INIT, .unique = 1};
	uint32_t init[4] = {7, 38, 1 << 20, UINT32_MAX >> 1};
	uint8_t reply[80];
	struct iovec out[2] = {{&h, sizeof(h)}, {init, sizeof(init)}},
		     back = {reply, sizeof(reply)};
	if (fuse_fs_serve(fs, out, 2, &back, 1) != sizeof(reply))
		abort();
	for (int i = 0; i < 64 && in.left; i++)
		request(fs, &in);
	fuse_fs_free(fs);
	setrlimit(RLIMIT_FSIZE, &old);
	if (dir[0] && nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS))
		abort();
	return 0;
}
