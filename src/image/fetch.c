// SPDX-License-Identifier: Apache-2.0
// The parent's side of downloads; the child's is fetch_child.c.
#include "image/fetch.h"

#include "image/fetch_child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int wait_child(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

/* A whole record or nothing: they are shorter than PIPE_BUF. 1, 0 at the end, -errno. */
static int read_record(int fd, struct fetch_record *r)
{
	size_t got = 0;
	while (got < sizeof(*r)) {
		ssize_t n = read(fd, (char *)r + got, sizeof(*r) - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		got += (size_t)n;
	}
	return 1;
}

static int listen_child(int fd, struct fetch_job *jobs, size_t n,
	void (*bytes)(void *opaque, int64_t n), void *opaque)
{
	struct fetch_record r;
	size_t open_jobs = n;
	while (open_jobs && read_record(fd, &r) == 1) {
		/* The child may have been taken over: believe nothing. */
		if (r.job >= n || jobs[r.job].result != -EINPROGRESS)
			return -EPROTO;
		if (!r.done) {
			if (bytes)
				bytes(opaque, r.bytes);
			continue;
		}
		r.message[sizeof(r.message) - 1] = '\0';
		for (char *c = r.message; *c; c++)
			if ((unsigned char)*c < ' ' || *c == 0x7f)
				*c = '?';
		jobs[r.job].result = r.result > 0 || r.result < -4095 ? -EPROTO : r.result;
		jobs[r.job].status = r.status;
		jobs[r.job].redirects = r.redirects;
		snprintf(jobs[r.job].message, sizeof(jobs[r.job].message), "%s", r.message);
		open_jobs--;
	}
	return open_jobs ? -EPIPE : 0;
}

static int report(const struct fetch_job *j, struct error *err)
{
	error_set(err, -j->result, "%s: %s", j->url,
		j->message[0] ? j->message : strerror(-j->result));
	if (j->request)
		return j->result; /* whoever asked knows more about the place */
	if (j->result == -ENETUNREACH || j->result == -EHOSTUNREACH || j->result == -ETIMEDOUT)
		error_remedy(err, "check the network connection (and http_proxy), or let "
				  "STRATA_MIRROR name another mirror");
	return j->result;
}

int fetch_run(struct fetch_job *jobs, size_t n, void (*bytes)(void *opaque, int64_t n),
	void *opaque, struct error *err)
{
	int pipe_fds[2];
	if (n == 0)
		return 0;
	if (n > FETCH_JOBS_MAX)
		return error_set(err, E2BIG, "too many downloads at once");
	for (size_t i = 0; i < n; i++) {
		jobs[i].result = -EINPROGRESS;
		jobs[i].message[0] = '\0';
		jobs[i].status = jobs[i].redirects = 0;
	}
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_errno(err, errno, "download helper");
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		close(pipe_fds[0]);
		fetch_child(jobs, n, pipe_fds[1], parent);
	}
	int code = errno;
	close(pipe_fds[1]);
	int from_child _close_ = pipe_fds[0];
	if (pid < 0)
		return error_errno(err, code, "download helper");
	int rc = listen_child(from_child, jobs, n, bytes, opaque);
	if (rc < 0)
		kill(pid, SIGKILL);
	int status = wait_child(pid);
	for (size_t i = 0; i < n; i++) {
		if (jobs[i].result == -EINPROGRESS) {
			jobs[i].result = -EIO;
			snprintf(jobs[i].message, sizeof(jobs[i].message),
				"the download helper died (status 0x%x)", (unsigned)status);
		}
	}
	for (size_t i = 0; i < n; i++)
		if (jobs[i].result < 0)
			return report(&jobs[i], err);
	return 0;
}
