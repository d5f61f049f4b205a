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

struct fetch_job {
	const char *url;
	int fd;		/* write-only or read-write; the body is written from offset `have` on */
	uint64_t have;	/* bytes of an earlier attempt */
	uint64_t limit; /* bytes at most, with `have` */
	/* Results. */
	int result; /* 0 or -errno */
	char message[160];
};

/* 0 when all jobs succeeded; otherwise the first failure, wrapped with its URL; every job has its
 * result. bytes(opaque, n) is told new bytes as they arrive (n < 0: a server restarted from 0); may
 * be NULL. */
int fetch_run(struct fetch_job *jobs, size_t n, void (*bytes)(void *opaque, int64_t n),
	void *opaque, struct error *err);

#endif
