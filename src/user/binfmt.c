// SPDX-License-Identifier: Apache-2.0
#include "user/binfmt.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOUNT	 "/proc/sys/fs/binfmt_misc"
#define NAME	 "strata-riscv64"
#define ENTRY	 MOUNT "/" NAME
#define REGISTER MOUNT "/register"

enum { FILE_MAX = 4096, LINE_MAX_BYTES = 1920 /* the kernel's limit */ };

/* An ELF file of 64 bits, little-endian, version 1, for System V or GNU, ET_EXEC or ET_DYN, machine
 * 243. A byte of the file counts where the mask has bits. */
static const char magic[] = "\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00"
			    "\\x02\\x00\\xf3\\x00";
static const char mask[] =
	"\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfc\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00"
	"\\xfe\\xff\\xff\\xff";

static int read_file(const char *path, char *text)
{
	int fd _close_ = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, FILE_MAX - 1);
	if (n < 0)
		return -errno;
	text[n] = 0;
	return 0;
}

static int write_file(const char *path, const char *text)
{
	int fd _close_ = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	ssize_t n = fd < 0 ? -1 : write(fd, text, len);
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}

static int explain(int r, const char *what, struct error *err)
{
	switch (-r) {
	case ENOENT:
		error_set(err, ENOENT, "%s: binfmt_misc is not mounted on " MOUNT, what);
		error_remedy(err, "as root: mount -t binfmt_misc binfmt_misc " MOUNT);
		break;
	case EPERM:
	case EACCES:
		error_set(err, -r, "%s: only root may tell the kernel how to start programs", what);
		error_remedy(err, "use sudo; `strata run --level process` needs no registration");
		break;
	default:
		error_errno(err, -r, "%s: " REGISTER, what);
	}
	return r;
}

/* The rest of the line that starts with key; a copy, or NULL. */
static char *line_of(const char *text, const char *key)
{
	size_t len = strlen(key);
	for (const char *s = text; s; s = strchr(s, '\n')) {
		s += *s == '\n';
		if (!strncmp(s, key, len))
			return xasprintf("%.*s", (int)strcspn(s + len, "\n"), s + len);
	}
	return NULL;
}

static bool is_on(const char *text)
{
	return !strncmp(text, "enabled", 7);
}

/* Another entry for the machine: its magic has our number in the same place. */
static char *find_other(void)
{
	char text[FILE_MAX], path[512], *found = NULL;
	DIR *d = opendir(MOUNT);
	for (struct dirent *e; d && !found && (e = readdir(d));) {
		if (e->d_name[0] == '.' || !strcmp(e->d_name, NAME) ||
			!strcmp(e->d_name, "register") || !strcmp(e->d_name, "status"))
			continue;
		snprintf(path, sizeof(path), MOUNT "/%s", e->d_name);
		if (read_file(path, text) < 0 || !is_on(text))
			continue;
		char *bytes _free_ = line_of(text, "magic ");
		if (bytes && !strncmp(bytes, "7f454c46", 8) && strlen(bytes) >= 40 &&
			!strncmp(bytes + 36, "f300", 4))
			found = xstrdup(e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}

int user_binfmt_status(struct user_binfmt *out, struct error *err)
{
	char text[FILE_MAX];
	int r = read_file(MOUNT "/status", text);
	*out = (struct user_binfmt){.state = USER_BINFMT_UNMOUNTED};
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return error_errno(err, -r, MOUNT "/status");
	bool on = is_on(text);
	out->other = find_other();
	out->state = USER_BINFMT_ABSENT;
	r = read_file(ENTRY, text);
	if (r == -ENOENT)
		return 0;
	if (r < 0) {
		user_binfmt_done(out);
		return error_errno(err, -r, ENTRY);
	}
	out->state = on && is_on(text) ? USER_BINFMT_ON : USER_BINFMT_OFF;
	out->interpreter = line_of(text, "interpreter ");
	out->flags = line_of(text, "flags: ");
	return 0;
}

void user_binfmt_done(struct user_binfmt *b)
{
	free(b->interpreter);
	free(b->flags);
	free(b->other);
	*b = (struct user_binfmt){0};
}

/* F: the kernel keeps the file open. P: it tells argv[0]. C: the program's credentials, which
 * brings O: the program's file is opened by the kernel. */
int user_binfmt_install(const char *interpreter, bool credentials, struct error *err)
{
	static const char what[] = "register riscv64 programs";
	char separator = 0;
	for (const char *s = ":,;|%@"; *s && !separator; s++)
		if (!strchr(interpreter, *s))
			separator = *s;
	if (interpreter[0] != '/' || !separator)
		return error_set(
			err, EINVAL, "%s: the kernel takes no interpreter %s", what, interpreter);
	char s = separator;
	char *line _free_ = xasprintf("%c" NAME "%cM%c%c%s%c%s%c%s%cPF%s", s, s, s, s, magic, s,
		mask, s, interpreter, s, credentials ? "C" : "");
	if (strlen(line) > LINE_MAX_BYTES)
		return error_set(err, ENAMETOOLONG, "%s: %s: too long", what, interpreter);
	/* Only who may open this may replace what is there. */
	if (access(MOUNT "/status", F_OK) < 0)
		return explain(-ENOENT, what, err);
	if (access(REGISTER, W_OK) < 0)
		return explain(-errno, what, err);
	int r = write_file(ENTRY, "-1");
	if (r < 0 && r != -ENOENT)
		return explain(r, what, err);
	r = write_file(REGISTER, line);
	return r < 0 ? explain(r, what, err) : 0;
}

int user_binfmt_remove(struct error *err)
{
	static const char what[] = "remove the registration";
	if (access(MOUNT "/status", F_OK) < 0)
		return explain(-ENOENT, what, err);
	int r = write_file(ENTRY, "-1");
	if (r == -ENOENT)
		return error_set(err, ESRCH, "%s: there is none", what);
	return r < 0 ? explain(r, what, err) : 0;
}
