// SPDX-License-Identifier: Apache-2.0
// Layers as trees: good ones exactly, hostile ones without harm. Everything happens below a
// temporary directory, with a file beside the tree that nothing may touch.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "image/digest.h"
#include "image/store.h"
#include "image/tree.h"
#include "os/file.h"
#include "tap.h"
#include "wire/tar.h"

/* One line each: a test unpacks one layer and looks at many things. */
static void PRINTF_LIKE(2, 3) ok(bool good, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	printf("%s %d - ", good ? "ok" : "not ok", ++tap_count);
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	tap_failed_tests += !good;
}

/* What went wrong stands in `err`. */
#define EXPECT(cond, what)                                                                         \
	do {                                                                                       \
		bool good = (cond);                                                                \
		ok(good, "%s%s%s", what, err.message ? ": " : "", err.message ? err.message : ""); \
		error_done(&err);                                                                  \
	} while (0)

static char top[] = "/tmp/strata-tree-XXXXXX";
static int top_fd, tree_fd;
static unsigned n_trees;

static int put(void *opaque, const void *bytes, size_t len, struct error *err)
{
	return write(*(int *)opaque, bytes, len) == (ssize_t)len ? 0 : -EIO;
}

/* A layer in a memory file. Names and targets are written as they are given. */
struct layer {
	int fd;
	struct tar_writer w;
};

static void layer_begin(struct layer *l)
{
	l->fd = memfd_create("layer", MFD_CLOEXEC);
	tar_writer_init(&l->w, put, &l->fd);
}

static void layer_add(struct layer *l, struct tar_entry e, const char *data)
{
	if (!e.mode)
		e.mode = e.type == TAR_DIR ? 0755 : 0644;
	e.size = data ? strlen(data) : 0;
	if (!e.linkname)
		e.linkname = "";
	if (tar_writer_entry(&l->w, &e, NULL) < 0 ||
		(data && tar_writer_data(&l->w, data, e.size, NULL) < 0))
		abort();
}

#define ADD(l, data, ...)    layer_add(l, (struct tar_entry){__VA_ARGS__}, data)
#define FILE_(l, name, data) ADD(l, data, .path = (name), .type = TAR_FILE)
#define DIR_(l, name)	     ADD(l, NULL, .path = (name), .type = TAR_DIR)
#define LINK_(l, name, to)   ADD(l, NULL, .path = (name), .linkname = (to), .type = TAR_SYMLINK)
#define HARD_(l, name, to)   ADD(l, NULL, .path = (name), .linkname = (to), .type = TAR_HARDLINK)

/* Into tree_fd, a new directory. */
static int unpack(struct layer *l, struct error *err)
{
	char name[16];
	tar_writer_end(&l->w, NULL);
	snprintf(name, sizeof(name), "t%u", n_trees++);
	cleanup_close_fd(&tree_fd);
	mkdirat(top_fd, name, 0755);
	tree_fd = openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = tree_extract(l->fd, tree_fd, false, NULL, err);
	close(l->fd);
	return r;
}

static struct stat look(const char *path)
{
	struct stat st = {0};
	if (fstatat(tree_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		st.st_mode = 0;
	return st;
}

static bool holds(const char *path, const char *text)
{
	struct strbuf s _strbuf_ = STRBUF_INIT;
	return file_read(tree_fd, path, 4096, &s, NULL) == 0 && s.len == strlen(text) &&
	       !memcmp(s.data ? s.data : "", text, s.len);
}

static bool refused(struct layer *l, int code, const char *words)
{
	struct error err _error_ = ERROR_INIT;
	int r = unpack(l, &err);
	bool good = r == -code && err.message && strstr(err.message, words);
	if (!good)
		printf("# %d: %s\n", r, err.message ? err.message : "");
	return good;
}

static void test_attributes(void)
{
	static const uint8_t caps[20] = {1, 0, 0, 2, 0, 4};
	const struct tar_xattr xattrs[] = {{"security.capability", caps, sizeof(caps)},
		{"user.note", "hi", 2}, {"user.overlay.opaque", "y", 1},
		{"trusted.overlay.opaque", "y", 1}, {"security.selinux", "x", 1}};
	struct layer l;
	struct error err _error_ = ERROR_INIT;
	char value[32];
	layer_begin(&l);
	ADD(&l, NULL, .path = "d", .type = TAR_DIR, .mode = 01750, .uid = 3, .gid = 4,
		.mtime_sec = 1000);
	ADD(&l, "data", .path = "d/f", .type = TAR_FILE, .mode = 06711, .uid = 5, .gid = 70000,
		.mtime_sec = 1234567890, .mtime_nsec = 5, .xattrs = xattrs, .n_xattrs = 5);
	ADD(&l, NULL, .path = "d/s", .type = TAR_SYMLINK, .linkname = "/etc/passwd", .uid = 6,
		.gid = 7, .mtime_sec = -5);
	ADD(&l, NULL, .path = "d/p", .type = TAR_FIFO, .mode = 0620);
	HARD_(&l, "d/h", "d/f");
	FILE_(&l, "not/announced/f", "x");
	EXPECT(unpack(&l, &err) == 0, "a layer is unpacked");
	struct stat f = look("d/f"), d = look("d"), s = look("d/s"), p = look("d/p"),
		    h = look("d/h");
	ok(f.st_mode == (S_IFREG | 06711) && f.st_uid == 5 && f.st_gid == 70000 &&
			holds("d/f", "data"),
		"mode, owner, content");
	ok(f.st_mtim.tv_sec == 1234567890 && f.st_mtim.tv_nsec == 5 && d.st_mtim.tv_sec == 1000 &&
			s.st_mtim.tv_sec == -5,
		"times, also of a directory that was filled later");
	ok(d.st_mode == (S_IFDIR | 01750) && d.st_uid == 3 && d.st_gid == 4, "a directory's mode");
	ok(S_ISLNK(s.st_mode) && s.st_uid == 6 && S_ISFIFO(p.st_mode) && (p.st_mode & 0777) == 0620,
		"symbolic link, pipe");
	ok(h.st_ino == f.st_ino && f.st_nlink == 2, "hard link");
	struct stat i = look("not/announced");
	ok((i.st_mode & 07777) == 0755 && i.st_uid == 0 && i.st_mtim.tv_sec == 0,
		"what no entry announces is root's, 0755, and of 1970");
	int fd _close_ = openat(tree_fd, "d/f", O_RDONLY | O_CLOEXEC);
	ok(fgetxattr(fd, "security.capability", value, sizeof(value)) == sizeof(caps) &&
			fgetxattr(fd, "user.note", value, sizeof(value)) == 2,
		"capabilities and user attributes");
	ok(fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)) < 0 &&
			fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)) < 0,
		"no attribute that overlayfs would take for its own");
}

static bool is_whiteout(const char *path)
{
	struct stat st = look(path);
	return S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

static bool is_opaque(const char *path)
{
	char value[8];
	int fd _close_ = openat(tree_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)) == 1 &&
	       *value == 'y';
}

static void test_whiteouts(void)
{
	struct layer l;
	struct error err _error_ = ERROR_INIT;
	layer_begin(&l);
	FILE_(&l, "d/.wh.gone", "");
	FILE_(&l, "d/.wh.both", "");
	FILE_(&l, "d/both", "new");
	FILE_(&l, "d/made/x", "");
	FILE_(&l, "d/.wh.made", "");
	FILE_(&l, "o/.wh..wh..opq", "");
	FILE_(&l, "o/in", "");
	FILE_(&l, "d/.wh..wh.plnk/1.2", "");
	FILE_(&l, ".wh..wh.aufs", "");
	ADD(&l, NULL, .path = "d/dev", .type = TAR_CHARDEV);
	ADD(&l, NULL, .path = "d/disk", .type = TAR_BLOCKDEV, .devmajor = 8);
	EXPECT(unpack(&l, &err) == 0, "whiteouts");
	ok(is_whiteout("d/gone"), "a whiteout is one of overlayfs");
	ok(holds("d/both", "new"),
		"what the layer brings itself stays, wherever the whiteout stands");
	ok(is_opaque("d/made") && look("d/made/x").st_mode,
		"a directory of the layer hides the lower one");
	ok(is_opaque("o") && !is_opaque("d"), "opaque");
	ok(!look("d/.wh..wh.plnk").st_mode && !look(".wh..wh.aufs").st_mode &&
			!look("d/.wh.gone").st_mode,
		"nothing of AUFS is left");
	ok(!look("d/dev").st_mode && !look("d/disk").st_mode, "no device nodes");
	layer_begin(&l);
	FILE_(&l, "d/.wh.", "");
	ok(refused(&l, EBADMSG, "names nothing"), "a whiteout of nothing");
	layer_begin(&l);
	FILE_(&l, "d/.wh...", "");
	ok(refused(&l, EBADMSG, "names nothing"), "a whiteout of ..");
}

static void test_twice(void)
{
	struct layer l;
	struct error err _error_ = ERROR_INIT;
	layer_begin(&l);
	FILE_(&l, "a", "one");
	FILE_(&l, "a", "two");
	FILE_(&l, "d/x", "");
	FILE_(&l, "d", "file now");
	FILE_(&l, "f", "");
	DIR_(&l, "f");
	FILE_(&l, "f/in", "in");
	ADD(&l, NULL, .path = "k", .type = TAR_DIR, .mode = 0700);
	FILE_(&l, "k/in", "in");
	ADD(&l, NULL, .path = "k", .type = TAR_DIR, .mode = 0711, .mtime_sec = 9);
	HARD_(&l, "a", "a");
	FILE_(&l, "link/x", "");
	LINK_(&l, "link", "k");
	FILE_(&l, "link/y", "through");
	EXPECT(unpack(&l, &err) == 0, "names that come twice");
	ok(holds("a", "two"), "the last one wins; a link to itself changes nothing");
	ok(holds("d", "file now") && holds("f/in", "in"),
		"a file replaces a directory, and the reverse");
	ok((look("k").st_mode & 07777) == 0711 && look("k").st_mtim.tv_sec == 9 &&
			holds("k/in", "in"),
		"a directory gets the last attributes and keeps what is in it");
	ok(S_ISLNK(look("link").st_mode) && holds("k/y", "through"),
		"below a link, it lands where that leads");
}

static void test_outside(void)
{
	struct layer l;
	struct error err _error_ = ERROR_INIT;
	struct stat before, after;
	/* Beside the tree: what an entry that gets out would meet. */
	mkdirat(top_fd, "outside", 0755);
	int fd = openat(top_fd, "outside/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	close(fd);
	fstatat(top_fd, "outside", &before, 0);
	char *absolute _free_ = xasprintf("%s/outside", top);
	layer_begin(&l);
	LINK_(&l, "up", "../outside");
	DIR_(&l, "outside");
	FILE_(&l, "up/made", "inside");
	LINK_(&l, "far", absolute);
	EXPECT(unpack(&l, &err) == 0 && holds("outside/made", "inside"),
		"a link upwards leads inside the tree");
	layer_begin(&l);
	LINK_(&l, "far", absolute);
	FILE_(&l, "far/made", "");
	ok(refused(&l, EBADMSG, "leads nowhere"), "below an absolute link that leads outside");
	layer_begin(&l);
	LINK_(&l, "f", "../outside/file");
	FILE_(&l, "f", "mine");
	ok(unpack(&l, NULL) == 0 && holds("f", "mine") && S_ISREG(look("f").st_mode),
		"a file over a link replaces the link");
	layer_begin(&l);
	LINK_(&l, "d", "../outside");
	ADD(&l, NULL, .path = "d", .type = TAR_DIR, .mode = 0777, .uid = 9);
	ok(unpack(&l, NULL) == 0 && S_ISDIR(look("d").st_mode), "a directory over a link too");
	layer_begin(&l);
	LINK_(&l, "l", "../outside/file");
	HARD_(&l, "h", "l");
	ok(unpack(&l, NULL) == 0 && S_ISLNK(look("h").st_mode),
		"a hard link to a link is one to the link");
	layer_begin(&l);
	LINK_(&l, "up", "../outside");
	HARD_(&l, "h", "up/file");
	ok(refused(&l, EBADMSG, "does not exist"), "a hard link through a link outwards");
	layer_begin(&l);
	LINK_(&l, "up", "../outside");
	FILE_(&l, "up/.wh.file", "");
	ok(refused(&l, EBADMSG, "leads nowhere"), "a whiteout through a link outwards");
	layer_begin(&l);
	FILE_(&l, "x/f", "");
	FILE_(&l, "x/.wh.g", "");
	LINK_(&l, "x", "../outside");
	DIR_(&l, "x/y");
	ok(refused(&l, EBADMSG, "leads nowhere"), "a directory that a link replaces");
	layer_begin(&l);
	FILE_(&l, "f", "");
	FILE_(&l, "f/g", "");
	ok(refused(&l, EBADMSG, "not a directory"), "below a file");
	layer_begin(&l);
	LINK_(&l, "a", "b");
	LINK_(&l, "b", "a");
	FILE_(&l, "a/g", "");
	ok(refused(&l, EBADMSG, "loop"), "below a loop");
	layer_begin(&l);
	HARD_(&l, "h", "nothing");
	ok(refused(&l, EBADMSG, "does not exist"), "a hard link to nothing");
	layer_begin(&l);
	DIR_(&l, "d");
	HARD_(&l, "h", "d");
	ok(refused(&l, EBADMSG, "the directory"), "a hard link to a directory");
	layer_begin(&l);
	ADD(&l, "", .path = "f", .type = TAR_FILE, .uid = UINT32_MAX);
	ok(refused(&l, EBADMSG, "no ID"), "an owner that is none");
	fstatat(top_fd, "outside", &after, 0);
	struct stat file;
	ok(!memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)) &&
			!memcmp(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim)) &&
			fstatat(top_fd, "outside/file", &file, 0) == 0 && file.st_size == 0 &&
			file.st_nlink == 1,
		"nothing outside was touched");
}

/* Directories deeper than any path, through links: made, and removed again. */
static void test_deep(void)
{
	enum { LINKS = 20, EACH = 150 };
	struct layer l;
	struct error err _error_ = ERROR_INIT;
	struct strbuf path _strbuf_ = STRBUF_INIT;
	layer_begin(&l);
	for (unsigned i = 0; i < LINKS; i++) {
		char link[16];
		strbuf_clear(&path);
		if (i)
			strbuf_addf(&path, "l%u/", i - 1);
		for (unsigned k = 0; k < EACH; k++)
			strbuf_addf(&path, "%sd", k ? "/" : "");
		DIR_(&l, path.data);
		snprintf(link, sizeof(link), "l%u", i);
		LINK_(&l, link, path.data);
	}
	int r = unpack(&l, &err);
	EXPECT(r == 0, "deep directories");
	char name[16];
	snprintf(name, sizeof(name), "t%u", n_trees - 1);
	error_done(&err);
	r = dir_remove_tree(top_fd, name, &err);
	EXPECT(r == 0 && faccessat(top_fd, name, F_OK, 0) < 0, "and gone again");
}

/* The store. */

static int make_blob(struct image_layer *out, const char *content)
{
	struct layer l;
	struct digest d;
	struct stat st;
	layer_begin(&l);
	FILE_(&l, "usr/file", content);
	tar_writer_end(&l.w, NULL);
	fstat(l.fd, &st);
	void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, l.fd, 0);
	*out = (struct image_layer){.fd = l.fd, .size = (uint64_t)st.st_size};
	digest_init(&d);
	digest_update(&d, bytes, (size_t)st.st_size);
	memcpy(out->diff_id, "sha256:", 7);
	digest_finish(&d, out->diff_id + 7);
	munmap(bytes, (size_t)st.st_size);
	return l.fd;
}

static bool keep_none(void *opaque, const char *diff_id)
{
	return opaque && !strcmp(opaque, diff_id);
}

static unsigned count_trees(void)
{
	char *path _free_ = xasprintf("%s/home/images/trees", top);
	DIR *d = opendir(path);
	unsigned n = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		     strcmp(e->d_name, ".lock");
	if (d)
		closedir(d);
	return n;
}

static void test_store(void)
{
	char *home _free_ = xasprintf("%s/home", top);
	const struct image_store_options o = {.home = home, .cache = home};
	struct image_store *s = NULL;
	struct image_layer one, bad;
	struct image_tree a = IMAGE_TREE_INIT, b = IMAGE_TREE_INIT;
	struct error err _error_ = ERROR_INIT;
	struct stat st, again;
	uint64_t freed = 0;
	image_store_open(&s, &o, NULL);
	make_blob(&one, "content");
	EXPECT(image_tree_open(s, &one, NULL, &a, &err) == 0, "a tree in the store");
	char *file _free_ = xasprintf("%s/usr/file", a.path ? a.path : "");
	ok(stat(file, &st) == 0 && st.st_size == 7, "has the layer's file");
	ok(image_tree_open(s, &one, NULL, &b, NULL) == 0 && stat(file, &again) == 0 &&
			again.st_ino == st.st_ino && count_trees() == 1,
		"is made once");
	image_tree_done(&b);
	image_trees_collect(s, keep_none, NULL, &freed);
	ok(stat(file, &st) == 0 && freed == 0, "stays while it is open");
	image_tree_done(&a);
	image_trees_collect(s, keep_none, one.diff_id, &freed);
	ok(stat(file, &st) == 0 && freed == 0, "stays while an image has it");
	char *left _free_ = xasprintf("%s/images/trees/.new-1", home);
	mkdir(left, 0700);
	image_trees_collect(s, keep_none, NULL, &freed);
	ok(stat(file, &st) < 0 && freed >= 4096 && count_trees() == 0,
		"goes otherwise, with what a killed maker left");
	/* A maker that is killed at any moment leaves nothing that has a tree's name. */
	unsigned whole = 0;
	for (unsigned i = 0; i < 15; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(image_tree_open(s, &one, NULL, &b, NULL) != 0);
		usleep(i * 2000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		char *name _free_ = xasprintf("%s/images/trees/%s", home, one.diff_id + 7);
		if (access(name, F_OK) < 0)
			continue;
		whole += stat(file, &st) == 0 && st.st_size == 7;
		while (access(name, F_OK) == 0)
			image_trees_collect(s, keep_none, NULL, NULL);
	}
	ok(image_tree_open(s, &one, NULL, &a, NULL) == 0 && stat(file, &st) == 0 && st.st_size == 7,
		"killed makers are no obstacle (%u trees were whole)", whole);
	image_tree_done(&a);
	ok(count_trees() == 1, "what they left half made goes with the next one");
	struct layer l;
	layer_begin(&l);
	FILE_(&l, "ok", "");
	HARD_(&l, "h", "nothing");
	tar_writer_end(&l.w, NULL);
	fstat(l.fd, &st);
	bad = (struct image_layer){.fd = l.fd, .size = (uint64_t)st.st_size};
	memset(bad.diff_id, 'a', sizeof(bad.diff_id) - 1);
	memcpy(bad.diff_id, "sha256:", 7);
	EXPECT(image_tree_open(s, &bad, NULL, &a, &err) == -EBADMSG && err.message &&
			strstr(err.message, "h: hard link to 'nothing'") && count_trees() == 1,
		"a bad layer leaves no tree and says why");
	close(one.fd);
	close(bad.fd);
	image_store_free(s);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	if (!mkdtemp(top))
		return 1;
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	tree_fd = -1;
	test_attributes();
	test_whiteouts();
	test_twice();
	test_outside();
	test_deep();
	test_store();
	cleanup_close_fd(&tree_fd);
	dir_remove_tree(AT_FDCWD, top, NULL);
	return tap_done();
}
