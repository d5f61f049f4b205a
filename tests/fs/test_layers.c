// SPDX-License-Identifier: Apache-2.0
#include "fs/layers.h"

#include <dirent.h>
#include <sys/stat.h>

#include "fs/client.h"
#include "fs/tars.h"

static bool open_layers(struct client *c, const int *fds, unsigned n)
{
	struct fuse_fs *fs;
	struct error err _error_ = ERROR_INIT;
	if (layers_fs_new(&fs, fds, n, &err) < 0) {
		TAP_FAIL_("%s", err.message);
		return false;
	}
	CHECK_EQ(client_init(c, fs), 0);
	return true;
}
#define OPEN(c, ...)                                                                               \
	REQUIRE(open_layers((c), (const int[]){__VA_ARGS__},                                       \
		sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

/* The text of a file, "" when it is not there. */
static const char *text_of(struct client *c, const char *path)
{
	static char buf[256];
	uint64_t node = do_walk(c, path, NULL);
	ssize_t n = node ? do_read(c, node, 0, 0, 200) : 0;
	memcpy(buf, payload(c), (size_t)MAX(n, 0));
	buf[MAX(n, 0)] = '\0';
	return buf;
}

static void collect(
	void *opaque, const char *name, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	char *out = opaque;
	(void)d;
	if (e && name[0] != '.' && e->nodeid != e->attr.ino)
		TAP_FAIL_("%s: node and inode differ", name);
	if (strcmp(name, ".") && strcmp(name, "..")) {
		strcat(out, name);
		strcat(out, " ");
	}
}

static const char *list_of(struct client *c, const char *path)
{
	static char plus[2048], small[2048];
	uint64_t node = *path ? do_walk(c, path, NULL) : 1;
	plus[0] = small[0] = '\0';
	CHECK(do_readdir(c, node, 0, true, 4096, collect, plus) >= 2);
	CHECK(do_readdir(c, node, 0, false, 64, collect, small) >= 2);
	CHECK_STR(small, plus);
	return plus;
}

static void serves_one_layer(void)
{
	struct client c;
	struct fuse_entry_out e;
	OPEN(&c, LAYER({'d', "", ""}, {'d', "etc", ""}, {'f', "etc/a", "alpha"}, {'f', "etc/b", ""},
			 {'l', "link", "etc/a"}, {'h', "hard", "etc/a"}, {'c', "dev", ""},
			 {'f', "deep/er/f", "x"}));
	CHECK_STR(text_of(&c, "etc/a"), "alpha");
	CHECK_STR(text_of(&c, "hard"), "alpha");
	CHECK_STR(list_of(&c, ""), "etc link hard dev deep ");
	CHECK_STR(list_of(&c, "etc"), "a b ");
	REQUIRE(do_walk(&c, "hard", &e));
	CHECK_EQ(e.attr.nlink, 2u);
	CHECK_EQ(e.attr.uid, 5u);
	CHECK_EQ(e.attr.gid, 6u);
	CHECK_EQ(e.attr.mtime, (uint64_t)1000);
	CHECK_EQ(e.attr.mode, (uint32_t)(S_IFREG | 0644));
	CHECK(e.entry_valid > 1000);
	CHECK_EQ(e.nodeid, do_walk(&c, "etc/a", NULL));
	REQUIRE(do_walk(&c, "dev", &e));
	CHECK_EQ(e.attr.rdev, (uint32_t)(44 | 5 << 8 | 256 << 12));
	REQUIRE(do_walk(&c, "deep/er", &e));
	CHECK_EQ(e.attr.mode, (uint32_t)(S_IFDIR | 0755));
	CHECK_EQ(e.attr.uid, 0u);
	REQUIRE(do_walk(&c, "link", &e));
	CHECK_EQ(call_raw(&c, FUSE_READLINK, e.nodeid, NULL, 0, 4096), 0);
	CHECK(c.out_len == 5 && !memcmp(payload(&c), "etc/a", 5));
	/* not there: known for long */
	CHECK_EQ(do_lookup(&c, 1, "none", &e), 0);
	CHECK(e.nodeid == 0 && e.entry_valid > 1000);
	CHECK_EQ(do_lookup(&c, do_walk(&c, "hard", NULL), "x", &e), -ENOTDIR);
	CHECK_EQ(do_lookup(&c, 9999, "x", &e), -ESTALE);
	/* reads at and past the end, in two buffers */
	uint64_t node = do_walk(&c, "etc/a", NULL);
	c.split = 18;
	CHECK_EQ(do_read(&c, node, 0, 3, 100), (ssize_t)2);
	CHECK(!memcmp(payload(&c), "ha", 2));
	CHECK_EQ(do_read(&c, node, 0, 0, 4), (ssize_t)4);
	CHECK(!memcmp(payload(&c), "alph", 4));
	c.split = 0;
	CHECK_EQ(do_read(&c, node, 0, 5, 100), (ssize_t)0);
	CHECK_EQ(do_read(&c, node, 0, UINT64_MAX, 100), (ssize_t)-EINVAL);
	CHECK_EQ(do_read(&c, 1, 0, 0, 100), (ssize_t)-EISDIR);
	/* it cannot be changed, and needs no open */
	uint64_t fh;
	CHECK_EQ(do_open(&c, node, 0, &fh), -ENOSYS);
	CHECK_EQ(do_open(&c, node, 2, &fh), -ENOSYS);
	CHECK_EQ(call(&c, FUSE_UNLINK, 1, NULL, 0, "hard", NULL, NULL, 0), -EROFS);
	CHECK_EQ(do_create(&c, 1, "new", 2, 0644, &e, &fh), -EROFS);
	CHECK_EQ(do_setattr(&c, node, (struct fuse_setattr_in){.valid = FATTR_MODE}), -EROFS);
	client_done(&c);
}

static void whiteouts_and_replacement(void)
{
	struct client c;
	OPEN(&c,
		LAYER({'f', "a", "1"}, {'f', "b", "1"}, {'f', "d/x", "1"}, {'f', "d/y", "1"},
			{'f', "o/x", "1"}, {'f', "o/s/deep", "1"}, {'f', "o/s/t/deeper", "1"},
			{'d', "dir2file", ""}, {'f', "dir2file/in", "1"}, {'f', "file2dir", "1"},
			{'f', "twice", "1"}, {'f', "twice", "2"}, {'f', "keep/me", "1"}),
		LAYER({'f', ".wh.a", ""}, {'f', "b", "2"}, {'f', "d/.wh.x", ""},
			{'f', "o/new", "2"},
			/* of this layer, before its opaque mark: stays */
			{'f', "o/s/new", "2"}, {'f', "o/.wh..wh..opq", ""}, {'f', "o/later", "2"},
			{'f', "dir2file", "2"}, {'f', "file2dir", "2"}, {'d', "keep", ""}));
	CHECK_STR(text_of(&c, "a"), "");
	CHECK_STR(text_of(&c, "b"), "2");
	CHECK_STR(text_of(&c, "twice"), "2");
	CHECK_STR(text_of(&c, "dir2file"), "2");
	CHECK_STR(text_of(&c, "keep/me"), "1");
	CHECK_STR(list_of(&c, "d"), "y ");
	CHECK_STR(list_of(&c, "o"), "s new later ");
	CHECK_STR(list_of(&c, "o/s"), "new ");
	client_done(&c);
}

static void entries_below_a_file_are_refused(void)
{
	struct fuse_fs *fs;
	struct error err _error_ = ERROR_INIT;
	int fds[2] = {LAYER({'f', "file2dir", "1"}), LAYER({'f', "file2dir/in", "2"})};
	CHECK_EQ(layers_fs_new(&fs, fds, 2, &err), -EBADMSG);
	CHECK_CONTAINS(err.message, "layer 2: file2dir/in: below 'file2dir'");
	close(fds[0]);
	close(fds[1]);
}

static void more_whiteouts(void)
{
	struct client c;
	OPEN(&c, LAYER({'f', "d/x", "1"}, {'f', "e/x", "1"}, {'f', "f/x", "1"}, {'h', "fx", "f/x"}),
		/* removed and made again in one layer, in both orders */
		LAYER({'f', ".wh.d", ""}, {'f', "d/y", "2"}, {'f', "e/y", "2"}, {'f', ".wh.e", ""},
			{'f', ".wh.f", ""}, {'f', ".wh.nothing", ""}, {'f', ".wh..wh.plnk/1", ""},
			{'f', ".wh..wh.aufs", ""}),
		LAYER({'f', "f/z", "3"}));
	CHECK_STR(list_of(&c, "d"), "y ");
	CHECK_STR(list_of(&c, "e"), "y ");
	CHECK_STR(list_of(&c, "f"), "z ");
	struct fuse_entry_out e;
	REQUIRE(do_walk(&c, "fx", &e));
	CHECK_EQ(e.attr.nlink, 1u);
	CHECK_STR(list_of(&c, ""), "e fx d f ");
	struct layers_stats st;
	layers_fs_stats(c.fs, &st);
	CHECK_EQ(st.names, (uint64_t)7);
	client_done(&c);
}

static void symlinks_stay_inside(void)
{
	struct client c;
	OPEN(&c,
		LAYER({'d', "usr/lib", ""}, {'l', "lib", "usr/lib"}, {'l', "abs", "/usr/./lib/"},
			{'l', "out", "../../../../usr"}, {'l', "etc", "/nowhere/else"}),
		LAYER({'f', "lib/a", "1"}, {'f', "abs/b", "2"}, {'f', "out/c", "3"},
			{'f', "etc/passwd", "4"}));
	CHECK_STR(list_of(&c, "usr/lib"), "a b ");
	CHECK_STR(text_of(&c, "usr/c"), "3");
	CHECK_STR(text_of(&c, "nowhere/else/passwd"), "4");
	client_done(&c);
}

static void hostile_layers(void)
{
	struct error err = ERROR_INIT;
	struct fuse_fs *fs;
	static const struct {
		const char *what;
		struct layer_item items[4];
		int code;
	} cases[] = {
		{"does not exist", {{'h', "a", "none"}}, -EBADMSG},
		{"hard link to the directory", {{'d', "d", ""}, {'h', "a", "d"}}, -EBADMSG},
		{"loop", {{'l', "a", "b"}, {'l', "b", "a"}, {'f', "a/x", ""}}, -ELOOP},
		{"loop", {{'l', "a", "a/a"}, {'f', "a/x", ""}}, -ELOOP},
		{"names nothing", {{'f', ".wh.", ""}}, -EBADMSG},
		{"names nothing", {{'f', ".wh...", ""}}, -EBADMSG},
		{"not a directory", {{'c', "dev", ""}, {'f', "dev/x", ""}}, -EBADMSG},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = layer_of(cases[i].items);
		CHECK_EQ(layers_fs_new(&fs, &fd, 1, &err), cases[i].code);
		CHECK_CONTAINS(err.message, cases[i].what);
		CHECK_CONTAINS(err.message, "layer 1: ");
		error_done(&err);
		close(fd);
	}
	int fd = memfd_create("layer", MFD_CLOEXEC);
	CHECK(layers_fs_new(&fs, &fd, 1, &err) < 0);
	error_done(&err);
	close(fd);
}

/* A file that became shorter than its tar said is an error, not zeros. */
static void truncated_later(void)
{
	struct client c;
	char *text = calloc(1, 100001);
	memset(text, 'x', 100000);
	int fd = LAYER({'f', "a", text});
	OPEN(&c, fd);
	uint64_t node = do_walk(&c, "a", NULL);
	CHECK_EQ(do_read(&c, node, 0, 0, 100000), (ssize_t)100000);
	CHECK_EQ(ftruncate(fd, 50000), 0);
	CHECK_EQ(do_read(&c, node, 0, 0, 100000), (ssize_t)-EIO);
	client_done(&c);
	free(text);
}

static void ten_thousand_entries(void)
{
	enum { N = 10000 };
	struct tar_maker t;
	struct client c;
	char path[64];
	tar_begin(&t);
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "usr/share/dir%d/file-number-%d", i / 50, i);
		struct tar_entry e = {.path = path, .linkname = "", .type = TAR_FILE, .mode = 0644};
		e.size = 30000;
		tar_writer_entry(&t.w, &e, NULL);
		static const char zero[30000];
		tar_writer_data(&t.w, zero, sizeof(zero), NULL);
	}
	int fd = tar_finish(&t);
	uint64_t before = clock_monotonic_ns();
	OPEN(&c, fd);
	uint64_t ns = clock_monotonic_ns() - before;
	struct layers_stats st;
	layers_fs_stats(c.fs, &st);
	printf("# 300 MB, %d entries: %.1f ms, %.0f bytes an entry\n", N, (double)ns / 1e6,
		(double)st.index_bytes / (double)st.names);
	CHECK_EQ(st.names, (uint64_t)(N + N / 50 + 2));
	CHECK(st.index_bytes / st.names < 250);
	for (int i = 0; i < N; i += 997) {
		snprintf(path, sizeof(path), "usr/share/dir%d/file-number-%d", i / 50, i);
		CHECK(do_walk(&c, path, NULL) != 0);
	}
	client_done(&c);
}

static void saved_state_names_the_layers(void)
{
	struct client a, b, c;
	OPEN(&a, LAYER({'f', "a", "1"}, {'f', "b", "1"}));
	OPEN(&b, LAYER({'f', "a", "1"}, {'f', "b", "1"}));
	OPEN(&c, LAYER({'f', "a", "1"}, {'f', "b", "12"}));
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	fuse_fs_state(a.fs, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	s = state_new_restore(sb.data, sb.len);
	fuse_fs_state(b.fs, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	s = state_new_restore(sb.data, sb.len);
	fuse_fs_state(c.fs, s);
	CHECK(state_finish(s, NULL) < 0);
	state_free(s);
	CHECK_EQ(do_walk(&a, "b", NULL), do_walk(&b, "b", NULL));
	client_done(&a);
	client_done(&b);
	client_done(&c);
}

int main(void)
{
	RUN(serves_one_layer);
	RUN(whiteouts_and_replacement);
	RUN(entries_below_a_file_are_refused);
	RUN(more_whiteouts);
	RUN(symlinks_stay_inside);
	RUN(hostile_layers);
	RUN(truncated_later);
	RUN(ten_thousand_entries);
	RUN(saved_state_names_the_layers);
	return tap_done();
}
