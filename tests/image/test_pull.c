// SPDX-License-Identifier: Apache-2.0
// Pulls from a small archive that archive.py serves on loopback, through each way to go wrong.
// argv[1]: the directory of archive.py.
#include "image/store.h"
#include "tap.h"
#include "wire/tar.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[] = "/tmp/strata-test-pull-XXXXXX";
static int port;
static unsigned counter;

static struct image_store *store_at(const char *home, const char *mode)
{
	char *h _free_ = xasprintf("%s/%s", top, home), *c _free_ = xasprintf("%s/cache", h);
	char *m _free_ = xasprintf("http://127.0.0.1:%d/%s", port, mode);
	char *k _free_ = xasprintf("%s/keyring.gpg", top);
	struct image_store *s = NULL;
	struct image_store_options o = {.home = h, .cache = c, .mirror = m, .keyring = k};
	return image_store_open(&s, &o, NULL) < 0 ? NULL : s;
}

static struct image_store *new_store(const char *mode, char name[32])
{
	snprintf(name, 32, "home%u", counter++);
	return store_at(name, mode);
}

static int pull(struct image_store *s, struct error *err)
{
	return image_pull(s, "debian", "riscv64", NULL, err);
}

/* The digest of the only image's layer, which is also what it is made of. */
static int layer_of(struct image_store *s, char digest[72])
{
	struct image_info *list;
	size_t n;
	struct strbuf json _strbuf_ = STRBUF_INIT;
	if (image_list(s, &list, &n, NULL) < 0)
		return -1;
	image_list_free(list, n);
	if (n != 1 || image_inspect(s, "debian", "riscv64", &json, NULL) < 0)
		return -1;
	const char *layers = strstr(json.data, "\"layers\"");
	const char *at = layers ? strstr(layers, "\"sha256:") : NULL;
	if (!at)
		return -1;
	memcpy(digest, at + 1, 71);
	digest[71] = '\0';
	return 0;
}

static void find_entry(const char *home, const char *digest, const char *path,
	struct tar_entry *out, struct strbuf *content, struct strbuf *link)
{
	char *file _free_ = xasprintf("%s/%s/images/blobs/sha256/%s", top, home, digest + 7);
	int fd _close_ = open(file, O_RDONLY);
	struct tar_reader r;
	struct tar_entry e;
	*out = (struct tar_entry){0};
	if (fd < 0 || tar_reader_init_fd(&r, fd, NULL) < 0)
		return;
	while (tar_reader_next(&r, &e, NULL) == 1) {
		if (strcmp(e.path, path))
			continue;
		*out = e;
		strbuf_clear(link);
		strbuf_adds(link, e.linkname);
		out->path = path;
		out->linkname = link->data;
		if (e.size < 100000) {
			char buf[100000];
			strbuf_clear(content);
			strbuf_add(
				content, buf, (size_t)tar_reader_read(&r, buf, sizeof(buf), NULL));
		}
	}
	tar_reader_done(&r);
}

static void good(void)
{
	char home[32], digest[72], again[72];
	struct error err _error_ = ERROR_INIT;
	struct strbuf text _strbuf_ = STRBUF_INIT, link _strbuf_ = STRBUF_INIT;
	struct tar_entry e;
	struct image_store *s = new_store("good", home);
	REQUIRE(s);
	int rc = pull(s, &err);
	if (rc < 0)
		TAP_FAIL_("%s", err.message);
	REQUIRE(rc == 0 && layer_of(s, digest) == 0);
	find_entry(home, digest, "bin", &e, &text, &link);
	CHECK_EQ(e.type, TAR_SYMLINK);
	/* Shipped as ./bin/tool: it must be where the link leads. */
	find_entry(home, digest, "usr/bin/tool", &e, &text, &link);
	CHECK_EQ(e.type, TAR_FILE);
	CHECK_EQ(e.mode, 04755);
	CHECK_EQ(e.mtime_sec, 1700000000);
	find_entry(home, digest, "usr/bin/tool2", &e, &text, &link);
	CHECK_EQ(e.type, TAR_HARDLINK);
	CHECK_STR(e.linkname, "usr/bin/tool");
	find_entry(home, digest, "usr/lib/riscv64-linux-gnu/libfoo.so", &e, &text, &link);
	CHECK_STR(e.linkname, "libfoo.so.1");
	find_entry(home, digest, "tmp", &e, &text, &link);
	CHECK_EQ(e.mode, 01777);
	find_entry(home, digest, "var/lib/dpkg/status", &e, &text, &link);
	REQUIRE(text.data);
	CHECK_CONTAINS(text.data, "Package: tool\n");
	CHECK_CONTAINS(text.data, "Status: install ok unpacked\n");
	CHECK_CONTAINS(text.data, "Conffiles:\n /etc/issue b1946ac92492d2347c6235b4d2611184\n");
	CHECK_CONTAINS(text.data, "Version: 1.0\n");
	CHECK(!strstr(text.data, "gawk"));
	CHECK(!strstr(text.data, "build-essential"));
	CHECK(!strstr(text.data, "busybox"));
	find_entry(home, digest, "var/lib/dpkg/info/libfoo:riscv64.list", &e, &text, &link);
	REQUIRE(text.data);
	CHECK_STR(text.data, "/.\n/lib\n/lib/riscv64-linux-gnu\n"
			     "/lib/riscv64-linux-gnu/libfoo.so.1\n"
			     "/lib/riscv64-linux-gnu/libfoo.so\n");
	find_entry(home, digest, "var/lib/dpkg/info/tool.postinst", &e, &text, &link);
	CHECK_EQ(e.mode, 0755);
	find_entry(home, digest, "var/lib/dpkg/triggers/File", &e, &text, &link);
	CHECK_STR(text.data, "/usr/lib tool/noawait\n");
	find_entry(home, digest, "var/lib/dpkg/triggers/ldconfig", &e, &text, &link);
	CHECK_STR(text.data, "tool\n");
	CHECK_EQ(image_verify(s, "debian:trixie", NULL, NULL, &err), 0);
	image_store_free(s);
	/* The same packages give the same bytes, except for the mirror's name in the sources. */
	s = new_store("good", home);
	REQUIRE(s && pull(s, &err) == 0 && layer_of(s, again) == 0);
	CHECK_STR(again, digest);
	image_store_free(s);
}

static void change_byte(const char *path)
{
	uint8_t byte;
	chmod(path, 0644);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0 && pread(fd, &byte, 1, 700) == 1);
	byte ^= 1;
	CHECK_EQ(pwrite(fd, &byte, 1, 700), 1);
	close(fd);
}

static int open_and_close(struct image_store *s, struct error *err)
{
	struct image *img = NULL;
	error_done(err);
	int rc = image_open_unconfigured(s, "debian", "riscv64", &img, err);
	image_free(img);
	return rc;
}

static void damage_is_found_when_opened(void)
{
	char home[32], digest[72];
	struct error err _error_ = ERROR_INIT;
	struct stat first, second;
	struct image_store *s = new_store("good", home);
	REQUIRE(s && pull(s, &err) == 0 && layer_of(s, digest) == 0);
	char *blob _free_ = xasprintf("%s/%s/images/blobs/sha256/%s", top, home, digest + 7);
	char *stamp _free_ = xasprintf("%s/%s/images/verified/%s", top, home, digest + 7);
	/* What was written here is not read again: the stamp would be new. */
	REQUIRE(stat(stamp, &first) == 0);
	CHECK_EQ(open_and_close(s, &err), 0);
	REQUIRE(stat(stamp, &second) == 0);
	CHECK(first.st_mtim.tv_sec == second.st_mtim.tv_sec &&
		first.st_mtim.tv_nsec == second.st_mtim.tv_nsec);
	change_byte(blob);
	CHECK_EQ(open_and_close(s, &err), -EBADMSG);
	CHECK_CONTAINS(err.message, "damaged");
	CHECK_EQ(open_and_close(s, &err), -EBADMSG);
	change_byte(blob);
	CHECK_EQ(open_and_close(s, &err), 0);
	CHECK_EQ(stat(stamp, &second), 0);
	CHECK(first.st_mtim.tv_sec != second.st_mtim.tv_sec ||
		first.st_mtim.tv_nsec != second.st_mtim.tv_nsec);
	/* Without a stamp, or with nonsense for one. */
	CHECK_EQ(unlink(stamp), 0);
	CHECK_EQ(open_and_close(s, &err), 0);
	CHECK_EQ(truncate(stamp, 3), 0);
	CHECK_EQ(open_and_close(s, &err), 0);
	change_byte(blob);
	CHECK_EQ(pull(s, &err), 0); /* mends it */
	CHECK_EQ(image_verify(s, "debian", "riscv64", NULL, &err), 0);
	CHECK_EQ(image_remove(s, "debian", "riscv64", NULL, &err), 0);
	CHECK(stat(stamp, &second) < 0 && errno == ENOENT);
	image_store_free(s);
}

/* What is wrong -> the error and a word of its message. Nothing may be in the store then. */
static void bad_archives(void)
{
	static const struct {
		const char *mode;
		int code;
		const char *word;
	} cases[] = {
		{"badsig", -EKEYREJECTED, "signature is not valid"},
		{"otherkey", -EKEYREJECTED, "unknown key"},
		{"unsigned", -EKEYREJECTED, "signature"},
		{"wrongsuite", -EBADMSG, "suite bookworm, not of trixie"},
		{"expired", -EBADMSG, "expired"},
		{"badhash", -EBADMSG, "tool 1:2.0-1: the download does not match"},
		{"short", -EBADMSG, "does not match"},
		{"toolong", -EFBIG, "the server sent more than"},
		{"error", -EACCES, "403"},
		{"nowhere", -ENOENT, "404"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char home[32];
		struct error err _error_ = ERROR_INIT;
		struct image_info *list = NULL;
		size_t n = 9;
		/* An unknown mode serves everything; an unknown suite is what is missing. */
		bool missing = !strcmp(cases[i].mode, "nowhere");
		struct image_store *s = new_store(cases[i].mode, home);
		REQUIRE(s);
		int rc = image_pull(s, missing ? "debian:potato" : "debian", "riscv64", NULL, &err);
		if (rc != cases[i].code || !err.message || !strstr(err.message, cases[i].word))
			TAP_FAIL_("%s: %d, %s", cases[i].mode, rc,
				err.message ? err.message : "(none)");
		CHECK_EQ(image_list(s, &list, &n, NULL), 0);
		CHECK_EQ(n, 0);
		image_list_free(list, n);
		image_store_free(s);
		/* The same store recovers with a good mirror. */
		s = store_at(home, "good");
		error_done(&err);
		rc = pull(s, &err);
		if (rc < 0)
			TAP_FAIL_("%s, then good: %s", cases[i].mode, err.message);
		image_store_free(s);
	}
}

/* What stands before the signed part must not count as signed. */
static void signed_part_only(void)
{
	char home[32];
	struct error err _error_ = ERROR_INIT;
	struct image_store *s = new_store("prefixed", home);
	REQUIRE(s);
	int rc = pull(s, &err);
	CHECK(rc == 0 || rc == -EKEYREJECTED);
	image_store_free(s);
}

static void resumes(void)
{
	char home[32];
	struct error err _error_ = ERROR_INIT;
	struct image_store *s = new_store("drop", home);
	REQUIRE(s);
	int rc = pull(s, &err);
	if (rc < 0)
		TAP_FAIL_("drop: %s", err.message);
	char *stats _free_ =
		xasprintf("curl -s http://127.0.0.1:%d/stats/ | grep -q '^[1-9]'", port);
	CHECK_EQ(system(stats), 0); /* the server saw a Range request */
	image_store_free(s);
}

/* Pieces of something else under the names of our downloads: fetched anew, without an error. */
static void wrong_pieces(void)
{
	char home[32], other[32];
	struct error err _error_ = ERROR_INIT;
	struct image_store *s = new_store("good", home);
	REQUIRE(s && pull(s, &err) == 0);
	image_store_free(s);
	s = new_store("good", other);
	char *spoil _free_ = xasprintf(
		"cd %s && mkdir -p %s/cache/partial && for f in %s/cache/sha256/*; do "
		"head -c $(($(stat -c %%s $f) / 2 + 1)) /dev/zero >%s/cache/partial/${f##*/}; done",
		top, other, home, other);
	REQUIRE(s && system(spoil) == 0);
	int rc = pull(s, &err);
	if (rc < 0)
		TAP_FAIL_("%s", err.message);
	image_store_free(s);
}

static void server_without_range(void)
{
	char home[32];
	struct error err _error_ = ERROR_INIT;
	struct image_store *s = new_store("norange", home);
	REQUIRE(s);
	int rc = pull(s, &err);
	if (rc < 0)
		TAP_FAIL_("norange: %s", err.message);
	image_store_free(s);
}

static void no_network(void)
{
	char home[32];
	struct error err _error_ = ERROR_INIT;
	struct image_store *s = new_store("good", home);
	image_store_free(s);
	int saved = port;
	port = 1;
	s = store_at(home, "good");
	CHECK_EQ(pull(s, &err), -ENETUNREACH);
	CHECK_CONTAINS(err.remedy, "STRATA_MIRROR");
	image_store_free(s);
	port = saved;
	/* An image that is there needs none. */
	s = store_at(home, "good");
	error_done(&err);
	REQUIRE(pull(s, &err) == 0);
	image_store_free(s);
	port = 1;
	s = store_at(home, "good");
	CHECK_EQ(pull(s, &err), 0);
	image_store_free(s);
	port = saved;
}

static void full_disk(void)
{
	char home[32];
	struct image_store *s = new_store("good", home);
	REQUIRE(s);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		/* A limit on file sizes stands in for a full disk: the same code, without root. */
		struct rlimit lim = {500000, 500000};
		struct error err = ERROR_INIT;
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &lim);
		int rc = pull(s, &err);
		_exit(rc == -EFBIG && err.remedy && strstr(err.remedy, "STRATA_CACHE") ? 0 : 1);
	}
	int status;
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
	struct error err _error_ = ERROR_INIT;
	struct image_info *list = NULL;
	size_t n = 9;
	CHECK_EQ(image_list(s, &list, &n, &err), 0);
	CHECK_EQ(n, 0);
	image_list_free(list, n);
	CHECK_EQ(pull(s, &err), 0);
	image_store_free(s);
}

static void killed_at_any_time(void)
{
	char home[32];
	struct error err _error_ = ERROR_INIT;
	struct image_store *s = new_store("good", home);
	REQUIRE(s);
	fflush(stdout);
	for (unsigned i = 0; i < 12; i++) {
		struct image_info *list = NULL;
		size_t n = 0;
		pid_t pid = fork();
		if (pid == 0)
			_exit(pull(s, NULL) == 0 ? 0 : 1);
		usleep(5000 + 9000 * i);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		CHECK_EQ(image_list(s, &list, &n, &err), 0);
		for (size_t k = 0; k < n; k++)
			CHECK(!list[k].damaged);
		image_list_free(list, n);
	}
	CHECK_EQ(pull(s, &err), 0);
	CHECK_EQ(image_verify(s, "debian", "riscv64", NULL, &err), 0);
	image_store_free(s);
}

struct machine {
	const char *tar; /* what "the machine" writes */
	size_t len;
	int result;
	unsigned runs;
};

static int configure(void *opaque, const struct image *img, int fd, struct error *err)
{
	struct machine *m = opaque;
	m->runs++;
	if (img->kind != IMAGE_UNCONFIGURED || img->n_layers != 1 || img->layers[0].fd < 0)
		return error_set(err, EINVAL, "not the unconfigured image");
	for (size_t done = 0; done < m->len;) {
		ssize_t n = write(fd, m->tar + done, m->len - done);
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return m->result < 0 ? error_set(err, -m->result, "the guest panicked") : 0;
}

static int collect(void *opaque, const void *bytes, size_t len, struct error *err)
{
	strbuf_add(opaque, bytes, len);
	return 0;
}

static void make_tar(struct strbuf *out, const struct tar_entry *list, size_t n)
{
	struct tar_writer w;
	strbuf_clear(out);
	tar_writer_init(&w, collect, out);
	for (size_t i = 0; i < n; i++) {
		tar_writer_entry(&w, &list[i], NULL);
		for (uint64_t k = 0; k < list[i].size; k++)
			tar_writer_data(&w, "x", 1, NULL);
	}
	tar_writer_end(&w, NULL);
}

static void configured(void)
{
	char home[32], digest[72];
	struct error err _error_ = ERROR_INIT;
	struct strbuf tar _strbuf_ = STRBUF_INIT, link _strbuf_ = STRBUF_INIT;
	struct tar_entry e;
	const struct tar_entry tree[] = {
		{.path = "", .type = TAR_DIR, .mode = 0755, .linkname = ""},
		{.path = "dev", .type = TAR_DIR, .mode = 0755, .linkname = ""},
		{.path = "dev/null", .type = TAR_CHARDEV, .devmajor = 1, .linkname = ""},
		{.path = "a", .type = TAR_FILE, .mode = 0644, .size = 3, .linkname = ""},
		{.path = "b", .type = TAR_HARDLINK, .linkname = "a"},
	};
	struct machine m = {.result = -EIO};
	struct image_pull_options o = {.configure = configure, .opaque = &m};
	struct image *img = NULL;
	struct image_store *s = new_store("good", home);
	REQUIRE(s);
	make_tar(&tar, tree, ARRAY_SIZE(tree));
	m.tar = tar.data;
	m.len = tar.len;
	/* The machine fails: its reason is reported, the unconfigured image stays. */
	CHECK_EQ(image_pull(s, "debian", "riscv64", &o, &err), -EIO);
	CHECK_CONTAINS(err.message, "the guest panicked");
	CHECK_EQ(image_open(s, "debian", "riscv64", &img, &err), -ENOENT);
	image_store_free(s);
	/* Next time, without network, it goes on from there. */
	int saved = port;
	port = 1;
	s = store_at(home, "good");
	port = saved;
	m.result = 0;
	error_done(&err);
	int rc = image_pull(s, "debian", "riscv64", &o, &err);
	if (rc < 0)
		TAP_FAIL_("%s", err.message);
	CHECK_EQ(m.runs, 2);
	REQUIRE(image_open(s, "debian", "riscv64", &img, &err) == 0);
	CHECK_EQ(img->kind, IMAGE_ROOTFS);
	CHECK_STR(img->cmd[0], "/bin/bash");
	CHECK_STR(img->workdir, "/");
	CHECK_CONTAINS(img->env[0], "PATH=");
	snprintf(digest, sizeof(digest), "%s", img->layers[0].digest);
	find_entry(home, digest, "b", &e, &tar, &link);
	CHECK_EQ(e.type, TAR_HARDLINK);
	find_entry(home, digest, "dev/null", &e, &tar, &link);
	CHECK(e.type == 0);
	/* In use: kept. Then it goes, blobs and all. */
	uint64_t freed = 0;
	CHECK_EQ(image_remove(s, "debian", NULL, &freed, &err), -EBUSY);
	image_free(img);
	CHECK_EQ(image_remove(s, "debian", NULL, &freed, &err), 0);
	CHECK(freed > tar.len);
	char *ls _free_ = xasprintf("test -z \"$(ls %s/%s/images/blobs/sha256)\"", top, home);
	CHECK_EQ(system(ls), 0);
	CHECK_EQ(image_remove(s, "debian", NULL, NULL, &err), -ENOENT);
	image_store_free(s);
}

static void hostile_guest(void)
{
	static const struct tar_entry link_parent[] = {
		{.path = "d", .type = TAR_SYMLINK, .linkname = "/etc"},
		{.path = "d/passwd", .type = TAR_FILE, .linkname = ""},
	};
	static const struct tar_entry no_parent[] = {
		{.path = "d/passwd", .type = TAR_FILE, .linkname = ""},
	};
	static const struct tar_entry twice[] = {
		{.path = "d", .type = TAR_FILE, .linkname = ""},
		{.path = "d", .type = TAR_SYMLINK, .linkname = "x"},
	};
	static const struct tar_entry hard_link[] = {
		{.path = "l", .type = TAR_SYMLINK, .linkname = "/etc/shadow"},
		{.path = "h", .type = TAR_HARDLINK, .linkname = "l"},
	};
	static const struct {
		const struct tar_entry *list;
		size_t n;
		const char *word;
	} cases[] = {
		{link_parent, 2, "parent is not a directory"},
		{no_parent, 1, "parent is not a directory"},
		{twice, 2, "appears twice"},
		{hard_link, 2, "hard link"},
		{NULL, 0, "empty"},
	};
	char home[32];
	struct strbuf tar _strbuf_ = STRBUF_INIT;
	struct image_store *s = new_store("good", home);
	REQUIRE(s);
	for (size_t i = 0; i <= ARRAY_SIZE(cases); i++) {
		struct error err _error_ = ERROR_INIT;
		bool garbage = i == ARRAY_SIZE(cases);
		if (garbage) {
			strbuf_clear(&tar);
			for (unsigned k = 0; k < 1000000; k++)
				strbuf_addc(&tar, 'G');
		} else
			make_tar(&tar, cases[i].list, cases[i].n);
		struct machine m = {.tar = tar.data, .len = tar.len};
		struct image_pull_options o = {.configure = configure, .opaque = &m};
		CHECK_EQ(image_pull(s, "debian", "riscv64", &o, &err), -EBADMSG);
		CHECK_CONTAINS(err.message, garbage ? "checksum" : cases[i].word);
	}
	image_store_free(s);
}

static void boot(void)
{
	char home[32];
	struct error err _error_ = ERROR_INIT;
	struct image_store *s = new_store("good", home);
	struct image *img = NULL;
	REQUIRE(s);
	int rc = boot_pull(s, "debian", "riscv64", NULL, &err);
	if (rc < 0)
		TAP_FAIL_("%s", err.message);
	REQUIRE(rc == 0 && boot_open(s, "debian", "riscv64", &img, &err) == 0);
	CHECK_STR(img->kernel_version, "6.1.0-riscv64");
	char text[65536];
	ssize_t n = pread(img->layers[img->kernel].fd, text, sizeof(text), 0);
	CHECK(n == 8 && !memcmp(text, "MZkernel", 8));
	n = pread(img->layers[img->busybox].fd, text, sizeof(text), 0);
	CHECK(n == 7 && !memcmp(text, "BUSYBOX", 7));
	n = pread(img->layers[img->initramfs].fd, text, sizeof(text) - 1, 0);
	REQUIRE(n > 0 && n % 4 == 0);
	/* The order file is text inside an uncompressed archive: dependencies, softdeps, then ext4;
	 * the loop between two modules ends; what nobody asked for is absent. */
	static const char order[] = "/lib/modules/6.1.0-riscv64/kernel/drivers/loop-a.ko\n"
				    "/lib/modules/6.1.0-riscv64/kernel/drivers/virtio-rng.ko\n"
				    "/lib/modules/6.1.0-riscv64/kernel/crypto/crc32c_generic.ko\n"
				    "/lib/modules/6.1.0-riscv64/kernel/fs/jbd2.ko\n"
				    "/lib/modules/6.1.0-riscv64/kernel/fs/ext4.ko\n";
	CHECK(memmem(text, (size_t)n, order, sizeof(order) - 1));
	CHECK(!memmem(text, (size_t)n, "unwanted", 8));
	CHECK(memmem(text, (size_t)n, "TRAILER!!!", 10));
	image_free(img);
	image_store_free(s);
}

/* As modprobe reads them: see module_index.c for the form of the binary ones. */
static void module_indexes(void)
{
	static const char builtin[] = "\xb0\x07\xf4\x57\0\2\0\1\x20\0\0\x27"
				      "rc16\0\0\0\0\1\0\0\0\1\0" /* at 12 */
				      "use\0\0\0\0\1\0\0\0\0\0"	 /* at 26 */
				      "cf\xc0\0\0\x0c\0\0\0\0\0\0\0\0\xc0\0\0\x1a";
	/* A range keeps its '-'; a key that is not ASCII is left out. */
	static const char alias[] = "\xb0\x07\xf4\x57\0\2\0\1\xc0\0\0\x0c"
				    "fs_[a-z]_x\0\0\0\0\1\0\0\0\1ext4";
	static const char none[] = "\xb0\x07\xf4\x57\0\2\0\1\0\0\0";
	static const struct {
		const char *name, *bytes;
		size_t len;
	} files[] = {
		{"modules.builtin.bin", builtin, sizeof(builtin) - 1},
		{"modules.builtin.alias.bin",
			"\xb0\x07\xf4\x57\0\2\0\1\xc0\0\0\x0c"
			"fs_fuse\0\0\0\0\1\0\0\0\1"
			"fuse",
			33},
		{"modules.alias.bin", alias, sizeof(alias)},
		{"modules.symbols.bin", none, sizeof(none)},
	};
	char home[32];
	struct error err _error_ = ERROR_INIT;
	struct strbuf text _strbuf_ = STRBUF_INIT, link _strbuf_ = STRBUF_INIT;
	struct image_store *s = new_store("good", home);
	struct image *img = NULL;
	struct tar_entry e;
	REQUIRE(s && boot_pull(s, "debian", "riscv64", NULL, &err) == 0 &&
		boot_open(s, "debian", "riscv64", &img, &err) == 0);
	const char *digest = img->layers[img->modules].digest;
#define MODULES "usr/lib/modules/6.1.0-riscv64/"
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char *path _free_ = xasprintf(MODULES "%s", files[i].name);
		find_entry(home, digest, path, &e, &text, &link);
		CHECK_EQ(text.len, files[i].len);
		CHECK(text.len == files[i].len && !memcmp(text.data, files[i].bytes, text.len));
	}
	find_entry(home, digest, MODULES "modules.dep", &e, &text, &link);
	REQUIRE(text.data);
	CHECK_STR(text.data,
		"kernel/fs/ext4.ko.xz: kernel/fs/jbd2.ko.xz\n"
		"kernel/fs/jbd2.ko.xz:\n"
		"kernel/crypto/crc32c_generic.ko.xz:\n"
		"kernel/drivers/virtio-rng.ko: kernel/drivers/loop-a.ko\n"
		"kernel/drivers/loop-a.ko: kernel/drivers/virtio-rng.ko\n"
		"kernel/drivers/unwanted.ko: kernel/fs/ext4.ko.xz kernel/fs/jbd2.ko.xz\n");
	CHECK_EQ(e.mtime_sec, 1700000000);
	find_entry(home, digest, MODULES "modules.softdep", &e, &text, &link);
	CHECK_STR(text.data, "softdep ext4 pre: crc32c\n");
	find_entry(home, digest, MODULES "modules.alias", &e, &text, &link);
	CHECK_CONTAINS(text.data, "alias fs-[a-z]-x ext4\n");
	find_entry(home, digest, MODULES "modules.dep.bin", &e, &text, &link);
	static const char line[] = "\0\0\0\1\0\0\0\1kernel/fs/ext4.ko.xz: kernel/fs/jbd2.ko.xz";
	CHECK(memmem(text.data, text.len, line, sizeof(line)));
	image_free(img);
	image_store_free(s);
}

static void unwritable(void)
{
	struct error err _error_ = ERROR_INIT;
	struct image_store *s = NULL;
	struct image_store_options o = {.home = "/proc/nothing", .cache = "/proc/nothing"};
	CHECK(image_store_open(&s, &o, &err) < 0);
	CHECK(err.message && !s);
	char *file _free_ = xasprintf("%s/file", top);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	o.home = file;
	CHECK(image_store_open(&s, &o, &err) < 0);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	setenv("no_proxy", "127.0.0.1", 1);
	if (argc < 2 || !mkdtemp(top))
		return 2;
	bool ready = system("for p in gpg gpgv gpgconf python3 curl; do command -v $p || exit 1; "
			    "done >/dev/null") == 0;
	int keep_alive[2];
	FILE *words = NULL;
	pid_t server = -1;
	if (ready) {
		int out[2];
		if (pipe2(out, O_CLOEXEC) < 0 || pipe2(keep_alive, O_CLOEXEC) < 0)
			return 2;
		server = fork();
		if (server == 0) {
			char *script = xasprintf("%s/archive.py", argv[1]);
			dup2(keep_alive[0], 0);
			dup2(out[1], 1);
			execlp("python3", "python3", script, top, NULL);
			_exit(127);
		}
		close(out[1]);
		words = fdopen(out[0], "r");
		if (!words || fscanf(words, "%d", &port) != 1)
			ready = false;
	}
	if (!ready) {
		printf("1..0 # SKIP needs gpg, gpgv, python3 and curl\n");
		return 0;
	}
	RUN(good);
	RUN(damage_is_found_when_opened);
	RUN(bad_archives);
	RUN(signed_part_only);
	RUN(resumes);
	RUN(wrong_pieces);
	RUN(server_without_range);
	RUN(no_network);
	RUN(full_disk);
	RUN(killed_at_any_time);
	RUN(configured);
	RUN(hostile_guest);
	RUN(boot);
	RUN(module_indexes);
	RUN(unwritable);
	close(keep_alive[1]);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	fclose(words);
	char *clean _free_ = xasprintf("rm -rf %s", top);
	return tap_done() | (system(clean) != 0);
}
