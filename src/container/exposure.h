// SPDX-License-Identifier: Apache-2.0
// /proc/PID/exe of a process that is about to enter a container leads to this program on the host,
// and who may write there owns the host (CVE-2019-5736).
#ifndef STRATA_CONTAINER_EXPOSURE_H
#define STRATA_CONTAINER_EXPOSURE_H

#include "base/error.h"

/* A process that is to enter a container goes on from memory: its code moves to a sealed memory
 * file, its data to anonymous pages, and its /proc/self/exe becomes an empty file that nobody can
 * write or execute. Nothing of the program's file is reachable through it any more. Cheaper than
 * executing a sealed copy, and the file can be filled by another process meanwhile. */

/* The memory file, empty. The caller's; inherited by the process. */
int exposure_open(struct error *err);
/* Writes this program's code into it. By any process that runs the same program. */
int exposure_fill(int image, struct error *err);
/* Moves the calling process, of one thread, over. proc: a /proc in which we are "self". Needs
 * CAP_SYS_ADMIN in the own user namespace and a kernel with CONFIG_CHECKPOINT_RESTORE. */
int exposure_end(int image, int proc, struct error *err);

#endif
