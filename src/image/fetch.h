// SPDX-License-Identifier: Apache-2.0
// Downloads over HTTP(S) in a helper process.
//
// fetch_run() forks a child that keeps nothing but the output descriptors and one end of a pipe,
// gives up the right to gain privileges, to run programs, to open files for writing and to change
// the file system (seccomp), and then speaks the network's protocols with libcurl. It writes into
// the descriptors that it inherited; what arrived is checked by the parent. So a flaw in the
// network code can at worst deliver wrong bytes, which a digest then refuses.
// Call it from a process with one thread (fork).
#ifndef STRATA_IMAGE_FETCH_H
#define STRATA_IMAGE_FETCH_H

#include "base/error.h"

#define FETCH_JOBS_MAX	  200 /* in one call: each has a descriptor */
#define FETCH_CONNECTIONS 6

/* What is more than a plain GET. With it any status is an answer, and no failure of the job:
 * what a status from 300 on has as a body goes to head_fd, never to the job's fd. */
struct fetch_request {
	const char *method;	    /* "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" */
	const char *const *headers; /* "Name: value", ends with NULL; or NULL. They follow
				     * redirects */
	const char *authorization;  /* value of that header, or NULL: never for another host */
	int head_fd; /* takes the last answer's header as it came, an empty line, and the body of
		      * an error, at most FETCH_HEAD_MAX bytes */
	int body_fd; /* what is sent, or -1 */
	uint64_t body_offset, body_bytes;
	const char *ca_file; /* certificates to trust in place of the system's, or NULL */
	bool no_verify;	     /* whoever answers is the right one */
};

#define FETCH_HEAD_MAX (64u << 10)

struct fetch_job {
	const char *url;
	const struct fetch_request *request; /* NULL: GET; only success is success */
	int fd; /* write-only or read-write; the body is written from offset `have` on; -1: dropped
		 */
	uint64_t have;	/* bytes of an earlier attempt */
	uint64_t limit; /* bytes at most, with `have` */
	/* Results. */
	int result; /* 0 or -errno */
	char message[160];
	unsigned status;    /* HTTP's; 0: there was no answer */
	unsigned redirects; /* that were followed to it */
};

/* 0 when all jobs succeeded; otherwise the first failure, wrapped with its URL; every job has its
 * result. bytes(opaque, n) is told new bytes as they arrive (n < 0: a server restarted from 0); may
 * be NULL. */
int fetch_run(struct fetch_job *jobs, size_t n, void (*bytes)(void *opaque, int64_t n),
	void *opaque, struct error *err);

#endif
