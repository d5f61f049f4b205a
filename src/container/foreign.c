// SPDX-License-Identifier: Apache-2.0
#include "container/foreign.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/vec.h"
#include "container/channel.h"
#include "os/helper.h"
#include "wire/elf_file.h"
#include "wire/script_line.h"

enum { ASK = 'I', SCRIPT_DEPTH = 5 };

/* --- in the container --- */

/* The architecture of what this path executes, scripts looked through; 0: not known. */
static unsigned machine_of(const char *path)
{
	char head[SCRIPT_LINE_BYTES];
	struct script_line line;
	struct stat st;
	for (int depth = 0; depth <= SCRIPT_DEPTH; depth++) {
		/* Opening a device may have effects. */
		bool file = stat(path, &st) == 0 && S_ISREG(st.st_mode);
		int fd _close_ =
			file ? open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
		ssize_t n = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);
		if (n < 0)
			return 0;
		if (script_line_read(head, (size_t)n, &line) == 0) {
			path = line.interpreter;
			continue;
		}
		if (n < (ssize_t)sizeof(Elf64_Ehdr) || !elf_magic(head, (size_t)n) ||
			head[EI_CLASS] != ELFCLASS64)
			return 0;
		return load_le16(head + offsetof(Elf64_Ehdr, e_machine));
	}
	return 0;
}

int foreign_ask(enum spec_foreign mode, const struct spec_process *p,
	struct process_program *program, int channel, struct error *err)
{
	int n = 0, fds[CHANNEL_FDS_MAX];
	if (mode == FOREIGN_NEVER)
		return 0;
	if (mode == FOREIGN_AS_FOUND) {
		char *full _free_ = *program->path == '/'
					    ? xstrdup(program->path)
					    : xasprintf("%s/%s", p->cwd, program->path);
		if (machine_of(full) != ELF_RISCV)
			return 0;
	}
	int r = channel_tell(channel, ASK, err);
	if (r == 0)
		r = channel_expect_fds(channel, ASK, fds, &n, err);
	if (r == 0)
		program->translator = n ? fds[0] : -1;
	return r;
}

int foreign_exec(int translator, const char *path, const char *const *args, const char *const *env,
	struct error *err)
{
	VEC(const char *) words = {0};
	char self[16];
	snprintf(self, sizeof(self), "%d", translator);
	const char *const first[] = {"strata-process", "--self", self, "--", path};
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		vec_push(&words, first[i]);
	for (; *args; args++)
		vec_push(&words, *args);
	vec_push(&words, NULL);
	/* It keeps the descriptor for the programs that its program executes. */
	fcntl(translator, F_SETFD, 0);
	syscall(SYS_execveat, translator, "", words.items, env, AT_EMPTY_PATH);
	int code = errno;
	vec_done(&words);
	return error_errno(err, code, "exec strata-process");
}

/* --- in the runtime --- */

/* The file through a mount of its own that is read-only and in no namespace, so that nobody can
 * change that: /proc/PID/exe in a container leads to the host's file (CVE-2019-5736). */
static int open_readonly(const char *path)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};
	int tree _close_ =
		(int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0 ||
		syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	/* The mount leaves its namespace when the first descriptor is closed. */
	int fd = (int)syscall(SYS_open_tree, tree, "", AT_EMPTY_PATH | OPEN_TREE_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Without the right to make mounts: in namespaces where we have it. The descriptor table is shared.
 */
static int open_in_namespaces(const char *path)
{
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_FILES, .exit_signal = SIGCHLD};
	int pipes[2], result = -EIO;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		int r = open_readonly(path);
		_exit(write(pipes[1], &r, sizeof(r)) != sizeof(r));
	}
	int code = errno, status = -1;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0)
		result = -code;
	else if (status || read(pipes[0], &result, sizeof(result)) != sizeof(result))
		result = -EIO;
	close(pipes[0]);
	close(pipes[1]);
	return result;
}

static int open_translator(struct error *err)
{
	char *path _free_ = NULL;
	int r = helper_find("strata-process", &path, err);
	if (r < 0)
		return r;
	r = open_readonly(path);
	if (r == -EPERM)
		r = open_in_namespaces(path);
	return r < 0 ? error_errno(err, -r, "%s", path) : r;
}

int foreign_serve(int channel, char what, struct error *err)
{
	int r = channel_receive(channel, err);
	if (r == ASK) {
		const char answer = ASK;
		int fd _close_ = open_translator(err);
		r = fd < 0 ? fd : channel_send(channel, &answer, 1, &fd, 1, err);
		if (r == 0)
			r = channel_receive(channel, err);
	}
	if (r < 0 || r == what)
		return MIN(r, 0);
	return error_set(err, EPIPE, "the other process has ended unexpectedly");
}

int foreign_mode(const char *arch, enum spec_foreign *out, struct error *err)
{
	struct utsname host;
	bool own = uname(&host) == 0 && !strcmp(arch, host.machine);
	if (own || (!strcmp(arch, "amd64") && !strcmp(host.machine, "x86_64"))) {
		*out = FOREIGN_NEVER;
	} else if (!strcmp(arch, "riscv64")) {
		*out = FOREIGN_ALWAYS;
	} else {
		error_set(err, EINVAL, "programs for \"%s\" cannot be run on this host", arch);
		error_remedy(err, "riscv64 is translated");
		return -EINVAL;
	}
	return 0;
}
