// SPDX-License-Identifier: Apache-2.0
// The host's kernel and ordinary programs as the client: what they do through the mount must be
// what they do on a plain directory.
#include "fs/layers.h"
#include "fs/passthrough.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fs/mount.h"

static char plain[64], shared[64];

static struct fuse_fs *make_passthrough(const void *config)
{
	struct fuse_fs *fs;
	int fd = open(shared, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return passthrough_fs_new(&fs, fd, config, NULL) < 0 ? NULL : fs;
}

static struct fuse_fs *make_layers(const void *fds)
{
	struct fuse_fs *fs;
	return layers_fs_new(&fs, fds, 2, NULL) < 0 ? NULL : fs;
}

static bool setup(struct mounted *m, struct passthrough_config config)
{
	strcpy(plain, "/tmp/strata-plain-XXXXXX");
	strcpy(shared, "/tmp/strata-shared-XXXXXX");
	if (geteuid() != 0 || !mkdtemp(plain) || !mkdtemp(shared))
		return false;
	chmod(shared, 0755);
	return mount_fs(m, make_passthrough, &config);
}

static void teardown(struct mounted *m)
{
	char *line;
	unmount_fs(m);
	if (asprintf(&line, "rm -rf %s %s", plain, shared) > 0 && system(line))
		TAP_FAIL_("rm");
	free(line);
}

#define SHELL(m, command)                                                                          \
	do {                                                                                       \
		int rc_ = shell(m, plain, command);                                                \
		if (rc_)                                                                           \
			TAP_FAIL_("exit %d: %s (see /tmp/strata-mount.log)", rc_, command);        \
	} while (0)

static const char *const configs[] = {"shared", "exclusive", "few descriptors"};
static struct passthrough_config config_of(size_t i)
{
	return (struct passthrough_config){.exclusive = i == 1, .fds_max = i == 2 ? 40 : 0};
}

/* Trees with hard links, symlinks, odd names, modes, times and attributes survive a round trip. */
static void copies_trees(void)
{
	for (size_t i = 0; i < 3; i++) {
		struct mounted m;
		if (!setup(&m, config_of(i)))
			SKIP("cannot mount FUSE here");
		printf("# %s\n", configs[i]);
		SHELL(&m, "mkdir $D/src; cp -a /usr/include/linux $D/src/; cd $D/src; "
			  "ln linux/fuse.h hard; ln -s ../nowhere dangling; ln -s linux dirlink; "
			  "mkdir -p 'a b/c'; printf x >'a b/c/n\nl'; touch -d @1.5 'a b'; "
			  "chmod 0500 linux/fuse.h; mkdir -m 1777 sticky; : >empty; "
			  "truncate -s 5G sparse; printf end >>sparse; "
			  "chown -R 1000:1001 'a b'");
		SHELL(&m, "cp -a $D/src $M/copy; diff -r --no-dereference $D/src/linux "
			  "$M/copy/linux");
		SHELL(&m, "cd $D/src; find . -printf '%p %y %m %U %G %s %n %l %T@\\n' | "
			  "grep -v '^./sparse' | sort >$D/want; "
			  "cd $M/copy; find . -printf '%p %y %m %U %G %s %n %l %T@\\n' | "
			  "grep -v '^./sparse' | sort >$D/got; cmp $D/want $D/got; "
			  "test $(stat -c %s $M/copy/sparse) = $(stat -c %s $D/src/sparse); tail "
			  "-c 99999 $D/src/sparse >$D/want; tail -c 99999 $M/copy/sparse | cmp - "
			  "$D/want");
		SHELL(&m, "cd $M && tar cf $D/t.tar --exclude sparse copy && mkdir $M/x && "
			  "tar xf $D/t.tar -C $M/x && diff -r --no-dereference $M/copy/linux "
			  "$M/x/copy/linux");
		SHELL(&m, "cp -a $M/copy/linux $D/back; diff -r $D/src/linux $D/back; "
			  "rm -rf $M/copy $M/x; test -z \"$(ls -A $M)\"");
		teardown(&m);
	}
}

/* Many more files than descriptors; every one of them known to the client at once. */
static void many_files(void)
{
	struct mounted m;
	if (!setup(&m, (struct passthrough_config){.fds_max = 200}))
		SKIP("cannot mount FUSE here");
	SHELL(&m,
		"cd $M; for d in $(seq 60); do mkdir d$d; (cd d$d; seq -f f%g 200 | xargs touch); "
		"done; test $(find . -type f | wc -l) = 12000; find . -type f -newermt 2000-01-01 "
		"| "
		"xargs chmod 640; test $(find . -perm 640 | wc -l) = 12000; mv d1 e1; mv d2 e1/; "
		"test $(find e1 -type f | wc -l) = 400; stat e1/d2/f7 >/dev/null; "
		"for f in e1/d2/f?; do echo $f >$f; done; cat e1/d2/f7; rm -rf d3 e1");
	teardown(&m);
}

/* A program's configure-and-make life: scripts, compiling, linking, running from the mount. */
static void builds_a_program(void)
{
	struct mounted m;
	if (!setup(&m, (struct passthrough_config){0}))
		SKIP("cannot mount FUSE here");
	SHELL(&m, "cd $M; for i in 1 2 3 4 5 6 7 8; do "
		  "printf 'int f%d(void){return %d;}\\n' $i $i >f$i.c; done; "
		  "printf 'int f1(void);int f8(void);int main(void){return f1()+f8()-9;}\\n' "
		  ">main.c; "
		  "printf 'O=$(patsubst %%.c,%%.o,$(wildcard *.c))\\nprog: $(O)\\n\\tcc -o $@ "
		  "$(O)\\n' "
		  ">Makefile; make -j2; ./prog; touch f3.c; make; ./prog; ar rcs lib.a *.o; "
		  "strip prog; ./prog; git init -q . 2>/dev/null && git add . && "
		  "git -c user.name=a -c user.email=a@b commit -qm x && git fsck --strict || "
		  "! command -v git");
	teardown(&m);
}

/* Random reads, writes, truncations and mappings of a file and its twin on a plain directory. */
static void random_io(bool exclusive)
{
	enum { SIZE = 300000, OPS = 6000 };
	struct mounted m;
	struct passthrough_config config = {.exclusive = exclusive};
	if (!setup(&m, config))
		SKIP("cannot mount FUSE here");
	char path[128];
	snprintf(path, sizeof(path), "%s/io", m.path);
	int a = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	snprintf(path, sizeof(path), "%s/io", plain);
	int b = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	static uint8_t x[SIZE], y[SIZE];
	unsigned seed = 12345;
	for (int i = 0; i < OPS && !tap_failed; i++) {
		off_t at = rand_r(&seed) % SIZE;
		size_t len = (size_t)(rand_r(&seed) % (i % 7 ? 5000 : SIZE - 1)) + 1;
		len = MIN(len, (size_t)(SIZE - at));
		switch (rand_r(&seed) % 8) {
		case 0:
		case 1:
		case 2:
			for (size_t k = 0; k < len; k++)
				x[k] = (uint8_t)rand_r(&seed);
			CHECK_EQ(pwrite(a, x, len, at), (ssize_t)len);
			CHECK_EQ(pwrite(b, x, len, at), (ssize_t)len);
			break;
		case 3:
			CHECK_EQ(ftruncate(a, at), 0);
			CHECK_EQ(ftruncate(b, at), 0);
			break;
		case 4: {
			struct stat sa, sb;
			fstat(a, &sa);
			fstat(b, &sb);
			CHECK_EQ(sa.st_size, sb.st_size);
			if (!sa.st_size)
				break;
			/* Shared writable mappings: dirty pages come back as WRITE_CACHE. */
			uint8_t *p = mmap(
				NULL, (size_t)sa.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0);
			uint8_t *q = mmap(
				NULL, (size_t)sa.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, b, 0);
			REQUIRE(p != MAP_FAILED && q != MAP_FAILED);
			CHECK(!memcmp(p, q, (size_t)sa.st_size));
			for (off_t k = at % sa.st_size; k < sa.st_size; k += 977)
				p[k] = q[k] = (uint8_t)rand_r(&seed);
			munmap(p, (size_t)sa.st_size);
			munmap(q, (size_t)sb.st_size);
			break;
		}
		case 5:
			CHECK_EQ(fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
					 (off_t)len),
				fallocate(b, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
					(off_t)len));
			break;
		default: {
			ssize_t n = pread(a, x, len, at);
			CHECK_EQ(n, pread(b, y, len, at));
			CHECK(n < 0 || !memcmp(x, y, (size_t)n));
		}
		}
		if (i % 1000 == 0)
			CHECK_EQ(fsync(a), 0);
	}
	close(a);
	close(b);
	SHELL(&m, "cmp $M/io $D/io");
	teardown(&m);
}

static void random_io_shared(void)
{
	random_io(false);
}

static void random_io_exclusive(void)
{
	random_io(true);
}

/* Files that lost their name or got another one while they are open. */
static void open_files_outlive_names(void)
{
	struct mounted m;
	if (!setup(&m, (struct passthrough_config){.fds_max = 40}))
		SKIP("cannot mount FUSE here");
	char a[128], b[128], buf[16] = "";
	struct stat st;
	snprintf(a, sizeof(a), "%s/a", m.path);
	snprintf(b, sizeof(b), "%s/b", m.path);
	int fd = open(a, O_RDWR | O_CREAT, 0600);
	REQUIRE(fd >= 0);
	CHECK_EQ(write(fd, "hello", 5), 5);
	CHECK_EQ(link(a, b), 0);
	CHECK_EQ(unlink(a), 0);
	SHELL(&m, "cd $M; mkdir many; cd many; seq 300 | xargs touch; ls -l >/dev/null");
	CHECK(fstat(fd, &st) == 0 && st.st_size == 5 && st.st_nlink == 1);
	CHECK_EQ(unlink(b), 0);
	SHELL(&m, "cd $M/many; ls -l >/dev/null; stat *");
	sleep(2); /* attributes expire */
	CHECK(fstat(fd, &st) == 0 && st.st_size == 5 && st.st_nlink == 0);
	CHECK_EQ(ftruncate(fd, 3), 0);
	CHECK_EQ(pread(fd, buf, sizeof(buf), 0), 3);
	CHECK_EQ(fchmod(fd, 0640), 0);
	close(fd);
	fd = open(a, O_RDWR | O_CREAT | O_EXCL, 0600);
	CHECK_EQ(write(fd, "one", 3), 3);
	CHECK_EQ(rename(a, b), 0);
	CHECK_EQ(write(fd, "two", 3), 3);
	SHELL(&m, "test \"$(cat $M/b)\" = onetwo; echo y >$M/a; mv $M/a $M/b");
	CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 6);
	close(fd);
	teardown(&m);
}

/* What the host does in the directory is seen by the client. */
static void sees_the_host(void)
{
	struct mounted m;
	if (!setup(&m, (struct passthrough_config){0}))
		SKIP("cannot mount FUSE here");
	setenv("S", shared, 1);
	SHELL(&m, "mkdir $M/d; echo 1 >$M/d/f; cat $M/d/f; mv $S/d $S/e; sleep 1.1; cat $M/e/f; "
		  "! test -e $M/d; echo 22 >$S/e/f; sleep 1.1; test \"$(cat $M/e/f)\" = 22; "
		  "rm $S/e/f; mkdir $S/e/f; sleep 1.1; test -d $M/e/f; "
		  "(echo a >>$M/log; echo b >>$S/log; echo c >>$M/log); sleep 1.1; "
		  "test \"$(cat $S/log | tr -d '\\n')\" = abc");
	teardown(&m);
}

/* A server that dies or hangs does not take its clients with it. */
static void a_dead_server_fails_its_clients(void)
{
	struct mounted m;
	struct stat st;
	char path[128];
	if (!setup(&m, (struct passthrough_config){0}))
		SKIP("cannot mount FUSE here");
	snprintf(path, sizeof(path), "%s/file", m.path);
	kill(m.server, SIGSTOP);
	pid_t client = fork();
	if (client == 0)
		_exit(stat(path, &st) < 0 && errno != ENOENT ? 0 : 1);
	usleep(200000);
	kill(m.server, SIGKILL);
	int status = -1;
	CHECK(waitpid(client, &status, 0) == client);
	CHECK_EQ(status, 0);
	CHECK_EQ(umount2(m.path, 0), 0);
	waitpid(m.server, &status, 0);
	alarm(0);
	rmdir(m.path);
	rmdir(plain);
	rmdir(shared);
}

static void reads_layers(void)
{
	struct mounted m = {0};
	if (geteuid() != 0)
		SKIP("not root");
	strcpy(plain, "/tmp/strata-plain-XXXXXX");
	strcpy(shared, "/tmp/strata-shared-XXXXXX");
	REQUIRE(mkdtemp(plain) && mkdtemp(shared));
	SHELL(&m, "mkdir $D/a $D/b; cp -a /usr/include/linux /usr/include/asm-generic $D/a/; "
		  "ln $D/a/linux/fuse.h $D/a/hard; ln -s linux $D/a/l; cp -a /bin/true $D/a/; "
		  "chmod 4755 $D/a/true; mkdir -p $D/b/linux; echo new >$D/b/linux/fuse.h; "
		  "touch $D/b/linux/.wh.fs.h $D/b/.wh.asm-generic; truncate -s 3000001 $D/b/big; "
		  "tar cf $D/1.tar --xattrs -C $D/a .; tar cf $D/2.tar -C $D/b .");
	char path[128];
	int fds[2];
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%d.tar", plain, i + 1);
		fds[i] = open(path, O_RDONLY | O_CLOEXEC);
	}
	REQUIRE(fds[0] >= 0 && fds[1] >= 0);
	bool mounted = mount_fs(&m, make_layers, fds);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	if (!mounted)
		SKIP("cannot mount FUSE here");
	SHELL(&m, "cd $D/a; rm -r linux/fs.h asm-generic; rm linux/fuse.h; echo new >linux/fuse.h; "
		  "cp ../b/big .; touch -r ../b/linux linux; touch -r ../b . ; diff -r $D/a $M; "
		  "find . -not -path ./linux/fuse.h -not -path ./big -printf "
		  "'%p %y %m %U %G %l %T@\\n' | sed 's/\\.[0-9]*$//' | sort >$D/want; cd $M; "
		  "find . -not -path ./linux/fuse.h -not -path ./big -printf "
		  "'%p %y %m %U %G %l %T@\\n' | sed 's/\\.[0-9]*$//' | sort >$D/got; "
		  "diff $D/want $D/got; ./true; test $(stat -c %h hard) = 1; "
		  "! touch $M/x; ! rm $M/big; find $M >/dev/null; tar cf $D/3.tar -C $M .; "
		  "mkdir $D/u $D/w $D/o; mount -t overlay -o "
		  "lowerdir=$M,upperdir=$D/u,workdir=$D/w o $D/o "
		  "&& { cd $D/o; echo x >>hard; rm -r linux; mkdir linux; ls; cd /; umount $D/o; } "
		  "|| :");
	teardown(&m);
}

int main(void)
{
	RUN(copies_trees);
	RUN(many_files);
	RUN(builds_a_program);
	RUN(random_io_shared);
	RUN(random_io_exclusive);
	RUN(open_files_outlive_names);
	RUN(sees_the_host);
	RUN(a_dead_server_fails_its_clients);
	RUN(reads_layers);
	return tap_done();
}
