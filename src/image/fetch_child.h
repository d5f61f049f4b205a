// SPDX-License-Identifier: Apache-2.0
// The download helper itself: runs in the forked child. For fetch.c only.
#ifndef STRATA_IMAGE_FETCH_CHILD_H
#define STRATA_IMAGE_FETCH_CHILD_H

#include "image/fetch.h"

/* What the child writes into the pipe; smaller than PIPE_BUF, so never torn. */
struct fetch_record {
	uint32_t job;
	uint32_t done;	/* 0: progress, 1: the job's end */
	int64_t bytes;	/* progress: new bytes, negative when the server began again */
	int32_t result; /* end: 0 or -errno */
	uint16_t status, redirects;
	char message[160];
};

_Noreturn void fetch_child(struct fetch_job *jobs, size_t n, int report_fd, pid_t parent);

#endif
