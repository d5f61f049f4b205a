// SPDX-License-Identifier: Apache-2.0
#include "image/fetch_child.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ATTEMPTS	  5
#define CONNECT_TIMEOUT_S 20L
#define STALL_SECONDS	  30L /* below STALL_BYTES a second for so long is a failure */
#define STALL_BYTES	  256L
#define REDIRECTS_MAX	  5L
#define REPORT_BYTES	  (128 * KiB) /* progress granularity */

enum { SYS_FCHMODAT2 = 452 }; /* on every architecture; libseccomp may be older */

struct transfer {
	struct fetch_job *job;
	CURL *easy;
	uint32_t index;
	int report_fd;
	uint64_t size;	     /* bytes in the file so far */
	uint64_t head_bytes; /* in the request's head_fd */
	uint64_t sent;	     /* bytes of the request's body */
	struct curl_slist *headers;
	uint64_t unreported; /* bytes */
	unsigned attempts;
	uint64_t retry_at_ns; /* 0: running or finished */
	int write_error;      /* errno of the output file */
	bool too_large;
};

static void send_record(const struct transfer *t, struct fetch_record *r)
{
	r->job = t->index;
	/* A parent that is gone means that nobody waits for us. */
	if (write(t->report_fd, r, sizeof(*r)) != sizeof(*r))
		_exit(1);
}

static void report_progress(struct transfer *t)
{
	struct fetch_record r = {.bytes = (int64_t)t->unreported};
	if (t->unreported)
		send_record(t, &r);
	t->unreported = 0;
}

static void report_end(struct transfer *t, int result, const char *message)
{
	struct fetch_record r = {.done = 1, .result = result};
	long status = 0, redirects = 0;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_COUNT, &redirects);
	r.status = (uint16_t)status;
	r.redirects = (uint16_t)redirects;
	report_progress(t);
	snprintf(r.message, sizeof(r.message), "%s", message);
	send_record(t, &r);
}

static bool write_all(struct transfer *t, int fd, const char *bytes, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, bytes + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			t->write_error = errno;
			return false;
		}
		done += (size_t)n;
	}
	return true;
}

/* More of the header than anybody needs is dropped. */
static bool add_head(struct transfer *t, const char *bytes, size_t len)
{
	size_t n = (size_t)MIN((uint64_t)len, FETCH_HEAD_MAX - t->head_bytes);
	if (!write_all(t, t->job->request->head_fd, bytes, n, t->head_bytes))
		return false;
	t->head_bytes += n;
	return true;
}

static size_t on_header(char *bytes, size_t one, size_t len, void *opaque)
{
	struct transfer *t = opaque;
	if (len >= 5 && !strncmp(bytes, "HTTP/", 5)) {
		/* A new answer: what stood here was a redirect's, or an interim one. */
		t->head_bytes = 0;
		if (ftruncate(t->job->request->head_fd, 0) < 0) {
			t->write_error = errno;
			return 0;
		}
	}
	return add_head(t, bytes, len) ? len : 0;
}

static size_t on_send(char *to, size_t one, size_t len, void *opaque)
{
	struct transfer *t = opaque;
	const struct fetch_request *q = t->job->request;
	size_t want = (size_t)MIN((uint64_t)(one * len), q->body_bytes - t->sent);
	ssize_t n = want ? pread(q->body_fd, to, want, (off_t)(q->body_offset + t->sent)) : 0;
	if (n < 0 || (want && n == 0))
		return CURL_READFUNC_ABORT;
	t->sent += (size_t)n;
	t->unreported += (size_t)n;
	if (t->unreported >= REPORT_BYTES)
		report_progress(t);
	return (size_t)n;
}

/* Counts again what has to be sent again. */
static void unsend(struct transfer *t, uint64_t to)
{
	struct fetch_record r = {.bytes = -(int64_t)(t->sent - MIN(to, t->sent))};
	report_progress(t);
	if (r.bytes)
		send_record(t, &r);
	t->sent = to;
}

static int on_seek(void *opaque, curl_off_t offset, int origin)
{
	struct transfer *t = opaque;
	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->job->request->body_bytes)
		return CURL_SEEKFUNC_CANTSEEK;
	unsend(t, (uint64_t)offset);
	return CURL_SEEKFUNC_OK;
}

static size_t on_body(char *bytes, size_t one, size_t len, void *opaque)
{
	struct transfer *t = opaque;
	long status = 0;
	if (t->job->request) {
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		if (status >= 300)
			return add_head(t, bytes, len) ? len : 0;
	}
	if (len > t->job->limit - t->size) {
		t->too_large = true;
		return 0;
	}
	if (t->job->fd >= 0 && !write_all(t, t->job->fd, bytes, len, t->size))
		return 0;
	t->size += len;
	t->unreported += len;
	if (t->unreported >= REPORT_BYTES)
		report_progress(t);
	return len;
}

/* Drops what is in the file and starts anew. */
static void start_over(struct transfer *t)
{
	struct fetch_record r = {.bytes = -(int64_t)t->size};
	report_progress(t);
	if (t->size)
		send_record(t, &r);
	t->size = 0;
	if (t->job->fd >= 0 && ftruncate(t->job->fd, 0) < 0)
		t->write_error = errno;
}

static int error_code(const struct transfer *t, CURLcode rc, long status)
{
	if (t->write_error)
		return -t->write_error;
	if (t->too_large)
		return -EFBIG;
	switch (rc) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
		return -ENETUNREACH;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_HTTP_RETURNED_ERROR:
		return status == 404 || status == 410 ? -ENOENT : status == 403 ? -EACCES : -EIO;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return -EKEYREJECTED;
	case CURLE_SSL_CONNECT_ERROR:
		return -EPROTO;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static bool worth_retrying(const struct transfer *t, CURLcode rc, long status)
{
	if (t->write_error || t->too_large || t->attempts >= ATTEMPTS)
		return false;
	/* What changed something on the server is for the caller to look at. */
	const struct fetch_request *q = t->job->request;
	if (q && strcmp(q->method, "GET") && strcmp(q->method, "HEAD"))
		return false;
	switch (rc) {
	case CURLE_OK:
		return status == 429 || (status >= 500 && status != 501);
	case CURLE_HTTP_RETURNED_ERROR:
		return status == 429 || status >= 500;
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_HTTP2_STREAM:
		return true;
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
		return t->attempts < 2;
	default:
		return false;
	}
}

static void start(CURLM *multi, struct transfer *t)
{
	t->attempts++;
	t->retry_at_ns = 0;
	curl_easy_setopt(t->easy, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->size);
	curl_multi_add_handle(multi, t->easy);
}

static bool add_line(struct transfer *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);
	t->headers = more ? more : t->headers;
	return more != NULL;
}

static bool setup_request(struct transfer *t, const struct fetch_request *q)
{
	CURL *e = t->easy;
	bool ok = add_line(t, "Expect:"); /* no waiting for 100 Continue */
	for (const char *const *h = q->headers; ok && h && *h; h++)
		ok = add_line(t, *h);
	if (ok && q->authorization) {
		/* libcurl sends a line of this name to the first host only (same scheme and port).
		 */
		char *line _free_ = xasprintf("Authorization: %s", q->authorization);
		ok = add_line(t, line);
	}
	bool get = !strcmp(q->method, "GET"), head = !strcmp(q->method, "HEAD");
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(e, CURLOPT_FAILONERROR, 0L);
	/* Only what changes nothing follows; no secrets over a line that others can read. */
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, get || head ? 1L : 0L);
	if (!strncasecmp(t->job->url, "https:", 6))
		curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "https");
	if (q->ca_file)
		curl_easy_setopt(e, CURLOPT_CAINFO, q->ca_file);
	if (q->no_verify) {
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (head)
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	else if (q->body_fd >= 0) {
		curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_send);
		curl_easy_setopt(e, CURLOPT_READDATA, t);
		curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
		curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->body_bytes);
	} else if (!get) {
		curl_easy_setopt(e, CURLOPT_POST, 1L);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, "");
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, 0L);
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
	}
	return ok;
}

static bool setup(struct transfer *t)
{
	CURL *e = t->easy = curl_easy_init();
	if (!e)
		return false;
	curl_easy_setopt(e, CURLOPT_URL, t->job->url);
	curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(e, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(e, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "strata/" STRATA_VERSION);
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	return !t->job->request || setup_request(t, t->job->request);
}

/* True when the transfer is over for good. */
static bool finish(CURLM *multi, struct transfer *t, CURLcode rc)
{
	long status = 0;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_multi_remove_handle(multi, t->easy);
	/* An error's body is never a range. */
	if (t->job->request && rc == CURLE_RANGE_ERROR && status >= 400)
		rc = CURLE_OK;
	/* The server cannot resume, or has fewer bytes than we have: begin at 0. */
	bool range = rc == CURLE_RANGE_ERROR ||
		     ((rc == CURLE_HTTP_RETURNED_ERROR || rc == CURLE_OK) && status == 416) ||
		     (rc == CURLE_BAD_DOWNLOAD_RESUME);
	if (range && t->size && t->attempts < ATTEMPTS) {
		start_over(t);
		t->retry_at_ns = clock_monotonic_ns();
		return false;
	}
	if (worth_retrying(t, rc, status)) {
		t->retry_at_ns = clock_monotonic_ns() + (NS_PER_SEC / 4 << t->attempts);
		return false;
	}
	int code = error_code(t, rc, status);
	char text[160] = "";
	if (t->write_error)
		snprintf(text, sizeof(text), "cannot write: %s", strerror(t->write_error));
	else if (t->too_large)
		snprintf(text, sizeof(text), "the server sent more than %llu bytes",
			(unsigned long long)t->job->limit);
	else if (rc == CURLE_HTTP_RETURNED_ERROR)
		snprintf(text, sizeof(text), "the server answered with status %ld", status);
	else if (rc)
		snprintf(text, sizeof(text), "%s", curl_easy_strerror(rc));
	report_end(t, code, text);
	return true;
}

static void run(CURLM *multi, struct transfer *transfers, size_t n)
{
	size_t open_transfers = n;
	while (open_transfers) {
		int running, queued;
		CURLMsg *m;
		if (curl_multi_perform(multi, &running))
			_exit(1);
		while ((m = curl_multi_info_read(multi, &queued))) {
			struct transfer *t = NULL;
			if (m->msg != CURLMSG_DONE)
				continue;
			CURLcode rc = m->data.result;
			curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
			if (finish(multi, t, rc))
				open_transfers--;
		}
		uint64_t now = clock_monotonic_ns();
		bool waiting = false;
		for (size_t i = 0; i < n; i++) {
			if (transfers[i].retry_at_ns && transfers[i].retry_at_ns <= now)
				start(multi, &transfers[i]);
			waiting |= transfers[i].retry_at_ns != 0;
		}
		if (open_transfers)
			curl_multi_poll(multi, NULL, 0, waiting ? 100 : 1000, NULL);
	}
}

/* The smallest descriptor that we keep and that is not below `from`; or max. */
static unsigned next_kept(
	const struct fetch_job *jobs, size_t n, int report_fd, unsigned from, unsigned max)
{
	unsigned keep = max;
	if (report_fd >= (int)from)
		keep = MIN(keep, (unsigned)report_fd);
	for (size_t i = 0; i < n; i++) {
		const struct fetch_request *q = jobs[i].request;
		const int fds[] = {jobs[i].fd, q ? q->head_fd : -1, q ? q->body_fd : -1};
		for (size_t k = 0; k < ARRAY_SIZE(fds); k++)
			if (fds[k] >= (int)from)
				keep = MIN(keep, (unsigned)fds[k]);
	}
	return keep;
}

/* Nothing but our descriptors: the parent's other files are none of our business. */
static void close_others(const struct fetch_job *jobs, size_t n, int report_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		if (null >= 0 && fd != report_fd)
			dup2(null, fd);
	struct rlimit lim;
	unsigned max =
		getrlimit(RLIMIT_NOFILE, &lim) == 0 ? (unsigned)MIN(lim.rlim_cur, 65536ul) : 1024;
	for (unsigned from = 3; from < max;) {
		unsigned keep = next_kept(jobs, n, report_fd, from, max);
		if (keep > from)
			close_range(from, keep - 1, 0);
		from = keep + 1;
	}
}

static void confine(void)
{
	static const int denied[] = {
		SCMP_SYS(execve),
		SCMP_SYS(execveat),
		SCMP_SYS(ptrace),
		SCMP_SYS(process_vm_readv),
		SCMP_SYS(process_vm_writev),
		SCMP_SYS(kill),
		SCMP_SYS(tkill),
		SCMP_SYS(tgkill),
		SCMP_SYS(rt_sigqueueinfo),
		SCMP_SYS(rt_tgsigqueueinfo),
		SCMP_SYS(pidfd_open),
		SCMP_SYS(pidfd_getfd),
		SCMP_SYS(pidfd_send_signal),
		SCMP_SYS(creat),
		SCMP_SYS(unlink),
		SCMP_SYS(unlinkat),
		SCMP_SYS(rename),
		SCMP_SYS(renameat),
		SCMP_SYS(renameat2),
		SCMP_SYS(mkdir),
		SCMP_SYS(mkdirat),
		SCMP_SYS(rmdir),
		SCMP_SYS(link),
		SCMP_SYS(linkat),
		SCMP_SYS(symlink),
		SCMP_SYS(symlinkat),
		SCMP_SYS(mknod),
		SCMP_SYS(mknodat),
		SCMP_SYS(chmod),
		SCMP_SYS(fchmod),
		SCMP_SYS(fchmodat),
		SYS_FCHMODAT2,
		SCMP_SYS(chown),
		SCMP_SYS(lchown),
		SCMP_SYS(fchown),
		SCMP_SYS(fchownat),
		SCMP_SYS(truncate),
		SCMP_SYS(setxattr),
		SCMP_SYS(lsetxattr),
		SCMP_SYS(fsetxattr),
		SCMP_SYS(removexattr),
		SCMP_SYS(lremovexattr),
		SCMP_SYS(fremovexattr),
		SCMP_SYS(utime),
		SCMP_SYS(utimes),
		SCMP_SYS(futimesat),
		SCMP_SYS(utimensat),
		SCMP_SYS(mount),
		SCMP_SYS(umount2),
		SCMP_SYS(pivot_root),
		SCMP_SYS(chroot),
		SCMP_SYS(setns),
		SCMP_SYS(unshare),
		SCMP_SYS(bpf),
		SCMP_SYS(perf_event_open),
		SCMP_SYS(userfaultfd),
		SCMP_SYS(io_uring_setup),
		SCMP_SYS(keyctl),
		SCMP_SYS(add_key),
		SCMP_SYS(request_key),
		SCMP_SYS(init_module),
		SCMP_SYS(finit_module),
		SCMP_SYS(kexec_load),
		SCMP_SYS(reboot),
		SCMP_SYS(open_by_handle_at),
		SCMP_SYS(personality),
		SCMP_SYS(memfd_create),
		SCMP_SYS(openat2),
	};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	bool ok = ctx != NULL;
	/* Calls that an architecture does not have are simply not there to deny. */
	for (size_t i = 0; ok && i < ARRAY_SIZE(denied); i++)
		ok = denied[i] < 0 ||
		     seccomp_rule_add(ctx,
			     SCMP_ACT_ERRNO(denied[i] == SCMP_SYS(openat2) ? ENOSYS : EPERM),
			     denied[i], 0) == 0;
	/* Files open for reading only: name service and certificates. O_TRUNC and O_CREAT write
	 * whatever the access mode is. */
	static const int writing[] = {O_WRONLY, O_RDWR, O_CREAT, O_TRUNC};
	for (size_t i = 0; ok && i < ARRAY_SIZE(writing); i++) {
		scmp_datum_t bit = (scmp_datum_t)writing[i];
		ok = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 1,
			     SCMP_A2(SCMP_CMP_MASKED_EQ, bit, bit)) == 0;
#ifdef __NR_open
		ok = ok && seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(open), 1,
				   SCMP_A1(SCMP_CMP_MASKED_EQ, bit, bit)) == 0;
#endif
	}
	/* No talking to the user's other programs: session bus, container engines, agents. */
	ok = ok && seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
			   SCMP_A0(SCMP_CMP_EQ, AF_UNIX)) == 0;
	/* A kernel without seccomp still has no_new_privs; the digests protect the store anyway. */
	if (ok)
		(void)seccomp_load(ctx);
	seccomp_release(ctx);
}

_Noreturn void fetch_child(struct fetch_job *jobs, size_t n, int report_fd, pid_t parent)
{
	static const struct rlimit no_core = {0, 0};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	close_others(jobs, n, report_fd);
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		_exit(1);
	confine();
	CURLM *multi = curl_multi_init();
	struct transfer *transfers = xcalloc(n, sizeof(*transfers));
	if (!multi)
		_exit(1);
	curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)FETCH_CONNECTIONS);
	curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)FETCH_CONNECTIONS);
	for (size_t i = 0; i < n; i++) {
		transfers[i] = (struct transfer){.job = &jobs[i],
			.index = (uint32_t)i,
			.report_fd = report_fd,
			.size = jobs[i].have};
		if (!setup(&transfers[i]))
			_exit(1);
		start(multi, &transfers[i]);
	}
	run(multi, transfers, n);
	_exit(0);
}
