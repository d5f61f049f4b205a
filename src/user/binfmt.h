// SPDX-License-Identifier: Apache-2.0
// binfmt_misc: the kernel starts riscv64 programs by itself, with strata-process as interpreter
// (Linux, Documentation/admin-guide/binfmt-misc.rst). A registration lasts until it is removed or
// the host starts anew; files that systemd-binfmt reads are not touched.
#ifndef STRATA_USER_BINFMT_H
#define STRATA_USER_BINFMT_H

#include "base/error.h"

enum user_binfmt_state {
	USER_BINFMT_UNMOUNTED, /* the kernel's file system is not mounted, or it has none */
	USER_BINFMT_ABSENT,
	USER_BINFMT_OFF, /* registered, but it or all of binfmt_misc was switched off */
	USER_BINFMT_ON,
};

struct user_binfmt {
	enum user_binfmt_state state;
	char *interpreter; /* path at the time of registration; NULL: not registered. Owned */
	char *flags;	   /* owned */
	char *other;	   /* name of another interpreter for the same programs, or NULL. Owned */
};

/* interpreter: absolute path. The kernel opens it now, so that it works in any root. credentials: a
 * program's set-user-ID bit counts. An older registration of ours is replaced.
 * -ENOENT: not mounted; -EPERM, -EACCES: not allowed. */
int user_binfmt_install(const char *interpreter, bool credentials, struct error *err);
int user_binfmt_remove(struct error *err); /* -ESRCH: not registered */
int user_binfmt_status(struct user_binfmt *out, struct error *err);
void user_binfmt_done(struct user_binfmt *b);

#endif
