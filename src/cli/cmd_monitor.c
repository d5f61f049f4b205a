// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "instance/monitor.h"

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	return monitor_main();
}

const struct command cmd_monitor = {
	.name = "monitor",
	.summary = "Supervise one machine (started by other commands)",
	.hidden = true,
	.run = run,
};
