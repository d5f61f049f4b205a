// SPDX-License-Identifier: Apache-2.0
#include "image/archive.h"
#include "wire/stream.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_MAX (1u << 20)

static int temp_file(const struct strbuf *content, struct error *err)
{
	int fd _close_ = memfd_create("gpgv", MFD_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "gpgv");
	for (size_t done = 0; content && done < content->len;) {
		ssize_t n = pwrite(fd, content->data + done, content->len - done, (off_t)done);
		if (n < 0)
			return error_errno(err, errno, "gpgv");
		done += (size_t)n;
	}
	return TAKE_FD(fd);
}

static int read_temp(int fd, uint64_t limit, struct strbuf *out, struct error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "gpgv");
	struct stream_range r = {.fd = fd, .end = (uint64_t)st.st_size};
	return stream_read_all(stream_range_read, &r, limit, out, err);
}

/* Runs gpgv without a shell; descriptors 3, 4: the document, the status. Returns its exit status.
 */
static int run(const char *keyring, int in, int out, int status, struct error *err)
{
	static const char *const env[] = {"LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin", NULL};
	const char *const argv[] = {"gpgv", "--status-fd", "4", "--keyring", keyring, "--output",
		"-", "/dev/fd/3", NULL};
	posix_spawn_file_actions_t fa;
	pid_t pid;
	int code, wstatus;
	/* High copies first, so that no dup2() closes what a later one needs. */
	int high[3] = {fcntl(in, F_DUPFD_CLOEXEC, 10), fcntl(out, F_DUPFD_CLOEXEC, 10),
		fcntl(status, F_DUPFD_CLOEXEC, 10)};
	if (posix_spawn_file_actions_init(&fa))
		return error_set(err, ENOMEM, "gpgv");
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, high[1], 1);
	posix_spawn_file_actions_adddup2(&fa, high[0], 3);
	posix_spawn_file_actions_adddup2(&fa, high[2], 4);
	code = posix_spawnp(&pid, "gpgv", &fa, NULL, (char *const *)(uintptr_t)argv,
		(char *const *)(uintptr_t)env);
	posix_spawn_file_actions_destroy(&fa);
	for (size_t i = 0; i < ARRAY_SIZE(high); i++)
		if (high[i] >= 0)
			close(high[i]);
	if (code) {
		error_errno(err, code, "cannot run gpgv to check the archive's signature");
		error_remedy(err, "install the package gpgv");
		return -code;
	}
	while (waitpid(pid, &wstatus, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, errno, "gpgv");
	if (!WIFEXITED(wstatus))
		return error_set(
			err, EKEYREJECTED, "gpgv was killed by signal %d", WTERMSIG(wstatus));
	return WEXITSTATUS(wstatus);
}

/* What gpg's doc/DETAILS says about the status lines. A missing key for one of several signatures
 * is normal (an archive rolls its keys); a bad signature never is. */
static int judge(const struct strbuf *status, int exit_status, struct error *err)
{
	struct slice rest = {status->data, status->len}, line, word, key = {0};
	unsigned good = 0, valid = 0, texts = 0;
	bool rejected = false, no_key = false;
	while (slice_line(&rest, &line)) {
		if (!slice_word(&line, &word) || !slice_is(word, "[GNUPG:]") ||
			!slice_word(&line, &word))
			continue;
		good += slice_is(word, "GOODSIG");
		valid += slice_is(word, "VALIDSIG");
		texts += slice_is(word, "PLAINTEXT");
		rejected |= slice_is(word, "BADSIG") || slice_is(word, "NODATA") ||
			    slice_is(word, "UNEXPECTED") || slice_is(word, "FAILURE");
		if (slice_is(word, "NO_PUBKEY")) {
			no_key = true;
			slice_word(&line, &key);
		}
	}
	/* 2: something was wrong with a signature, for example a key that we do not have. */
	if (rejected || !good || !valid || texts != 1 || (exit_status != 0 && exit_status != 2)) {
		if (no_key && !rejected && !good) {
			error_set(err, EKEYREJECTED,
				"the archive is signed with an unknown key (%.*s)",
				(int)MIN(key.len, (size_t)40), key.p);
			error_remedy(err, "update the package debian-archive-keyring");
			return -EKEYREJECTED;
		}
		error_set(err, EKEYREJECTED, "the archive's signature is not valid");
		error_remedy(err, "the mirror or the network changed the index: let "
				  "STRATA_MIRROR name another mirror");
		return -EKEYREJECTED;
	}
	return 0;
}

int gpgv_verify(const char *keyring, const struct strbuf *signed_text, struct strbuf *out,
	struct error *err)
{
	struct strbuf status _strbuf_ = STRBUF_INIT, text _strbuf_ = STRBUF_INIT;
	if (access(keyring, R_OK) < 0) {
		int code = errno;
		error_errno(err, code, "keyring %s", keyring);
		error_remedy(err, "install the package debian-archive-keyring");
		return -code;
	}
	int in _close_ = temp_file(signed_text, err);
	int text_fd _close_ = in < 0 ? -1 : temp_file(NULL, err);
	int status_fd _close_ = text_fd < 0 ? -1 : temp_file(NULL, err);
	if (in < 0 || text_fd < 0 || status_fd < 0)
		return -EIO;
	int rc = run(keyring, in, text_fd, status_fd, err);
	if (rc < 0)
		return rc;
	int exit_status = rc;
	rc = read_temp(status_fd, STATUS_MAX, &status, err);
	if (rc == 0)
		rc = judge(&status, exit_status, err);
	if (rc == 0)
		rc = read_temp(text_fd, signed_text->len, &text, err);
	if (rc == 0)
		strbuf_add(out, text.data, text.len);
	return rc;
}
