// SPDX-License-Identifier: Apache-2.0
// config.json of a bundle, the process of exec, the resources of update: what is accepted must keep
// what the runtime relies on.
#include "oci/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct arena a = ARENA_INIT;
	struct error err _error_ = ERROR_INIT;
	struct spec *s = NULL;
	struct spec_process *p = NULL;
	struct spec_resources r;
	const char *text = (const char *)data;
	int rc = config_parse(text, len, "config.json", &a, &s, &err);
	if (rc == 0 &&
		(!s->root || (s->process && (!s->process->args[0] || *s->process->cwd != '/'))))
		__builtin_trap();
	for (size_t i = 0; rc == 0 && i < s->n_mounts; i++)
		if (!s->mounts[i].destination ||
			(s->mounts[i].bind ? !s->mounts[i].source : !s->mounts[i].type))
			__builtin_trap();
	if (rc < 0 && !err.message)
		__builtin_trap();
	config_parse_process(text, len, "process.json", &a, &p, NULL);
	config_parse_resources(text, len, "resources.json", &a, &r, NULL);
	arena_done(&a);
	return 0;
}
