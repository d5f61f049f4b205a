// SPDX-License-Identifier: Apache-2.0
// A container's programs of another architecture: strata-process runs them (docs/process-mode.md).
//
// The container's process says over its channel that it needs the translator, and the runtime
// answers with a descriptor, so that only those containers pay that have such programs. Nothing of
// the host's tree is needed inside, nor anything that was registered with the kernel.
#ifndef STRATA_CONTAINER_FOREIGN_H
#define STRATA_CONTAINER_FOREIGN_H

#include "base/error.h"
#include "container/process.h"

/* In the container, after process_find(): program->translator is set when one is needed. */
int foreign_ask(enum spec_foreign mode, const struct spec_process *p,
	struct process_program *program, int channel, struct error *err);
/* In the runtime: answers such a question, if there is one, and waits for `what`. */
int foreign_serve(int channel, char what, struct error *err);
/* Executes the program under the translator. Returns only on failure. */
int foreign_exec(int translator, const char *path, const char *const *args, const char *const *env,
	struct error *err);
/* "riscv64" -> FOREIGN_ALWAYS, the host's own -> FOREIGN_NEVER; -EINVAL with remedy for others. */
int foreign_mode(const char *arch, enum spec_foreign *out, struct error *err);

#endif
