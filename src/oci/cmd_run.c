// SPDX-License-Identifier: Apache-2.0
#include "container/hooks.h"
#include "oci/container.h"
#include "oci/foreground.h"

struct values {
	struct create_options o;
	bool detach, keep;
};

static void poststart(struct container *c)
{
	const struct spec *s = c->state.spec;
	struct error err _error_ = ERROR_INIT;
	if (!s->n_hooks[HOOK_POSTSTART])
		return;
	char *state _free_ = state_json(&c->state, c->state.pid, "running", false);
	if (hooks_run(s, HOOK_POSTSTART, state, &err) < 0)
		fprintf(stderr, "strata-oci: warning: %s\n", err.message);
}

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	struct container c;
	struct foreground f CLEANUP(foreground_done) = FOREGROUND_INIT;
	bool attach = !v->detach;
	int r = check_preserved(&v->o, err);
	if (r < 0)
		return r;
	if (attach)
		r = foreground_begin(&f, !v->o.console_socket, err);
	if (r < 0)
		return r;
	r = container_create(&c, g, &v->o, operands[0], f.theirs, false, err);
	if (r == 0) {
		r = launch_start(&c.launch, err);
		if (r < 0)
			container_delete(&c.state, true, NULL);
	}
	if (r == 0) {
		poststart(&c);
		/* Nobody is told where our terminal went when the container has none. */
		if (attach && !c.state.spec->process->terminal)
			cleanup_close_fd(&f.ours), f.ours = -1;
		else if (attach && v->o.console_socket)
			f.ours = -1;
		/* Meanwhile others pause it, change its limits, remove it. */
		state_unlock(&c.state);
		if (attach)
			r = foreground_wait(&f, c.launch.pid, status, err);
		if (attach && !v->keep && r == 0 && state_relock(&c.state, NULL) == 0)
			r = container_delete(&c.state, true, err);
	}
	c.launch.console_socket = f.theirs >= 0 ? -1 : c.launch.console_socket;
	container_done(&c);
	return r;
}

static const struct option options[] = {
	{"detach", 'd', OPTION_FLAG, offsetof(struct values, detach), NULL,
		"do not wait for its end"},
	{"keep", 0, OPTION_FLAG, offsetof(struct values, keep), NULL,
		"do not delete it when it has ended"},
	{"tied", 0, OPTION_FLAG, offsetof(struct values, o.tied), NULL,
		"the container dies when this process is killed"},
	CREATE_OPTIONS(struct values, o),
};

const struct command cmd_run = {
	.name = "run",
	.summary = "Make a container, start it, wait for its end and remove it",
	.operands = "ID",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
