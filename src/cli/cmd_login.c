// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "cli/command.h"
#include "image/image.h"

enum { SECRET_MAX = 64 << 10 };

struct values {
	const char *username;
	bool password_stdin;
};

/* One line, without its end. */
static int read_line(int fd, struct strbuf *out, struct error *err)
{
	char c;
	strbuf_reserve(out, 1);
	for (;;) {
		ssize_t n = read(fd, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "read");
		if (n == 0 || c == '\n')
			break;
		if (out->len >= SECRET_MAX)
			return error_set(err, EFBIG, "the line is too long");
		strbuf_addc(out, c);
	}
	if (out->len && out->data[out->len - 1] == '\r')
		out->data[--out->len] = '\0';
	return out->len ? 0 : error_set(err, EINVAL, "nothing was entered");
}

/* From the terminal, whatever stdin is; secret: without showing what is typed. */
static int ask(const char *what, bool secret, struct strbuf *out, struct error *err)
{
	struct termios old, quiet;
	int fd _close_ = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || tcgetattr(fd, &old) < 0) {
		error_set(err, ENOTTY, "there is no terminal to ask for the %s at", what);
		error_remedy(err, "use --username and --password-stdin");
		return -ENOTTY;
	}
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	dprintf(fd, "%s: ", what);
	if (secret)
		tcsetattr(fd, TCSAFLUSH, &quiet);
	int rc = read_line(fd, out, err);
	if (secret) {
		tcsetattr(fd, TCSAFLUSH, &old);
		dprintf(fd, "\n");
	}
	return rc;
}

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct strbuf user _strbuf_ = STRBUF_INIT, password _strbuf_ = STRBUF_INIT;
	int r = 0;
	if (v->username)
		strbuf_adds(&user, v->username);
	else
		r = ask("User name", false, &user, &err);
	if (!r)
		r = v->password_stdin ? read_line(STDIN_FILENO, &password, &err)
				      : ask("Password", true, &password, &err);
	if (!r)
		r = image_login(operands[0], user.data, password.data, &err);
	if (password.data)
		explicit_bzero(password.data, password.len);
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	cli_note(cli, "Logged in at %s as %s.", operands[0], user.data);
	return 0;
}

static const struct option options[] = {
	{"username", 'u', OPTION_STRING, offsetof(struct values, username), "NAME",
		"the account (asked for if missing)", NULL},
	{"password-stdin", 0, OPTION_FLAG, offsetof(struct values, password_stdin), NULL,
		"read the password from stdin instead of the terminal", NULL},
};

const struct command cmd_login = {
	.name = "login",
	.summary = "Log in at a registry",
	.operands = "HOST[:PORT]",
	.description = "The registry is asked before the credentials are kept, in "
		       "~/.config/strata/auth.json, for the user's eyes only. Logins of Podman and "
		       "Docker count too.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
