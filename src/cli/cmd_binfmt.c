// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

const struct command cmd_binfmt = {
	.name = "binfmt",
	.summary = "Have the kernel start programs of another architecture by itself",
	.operands = "COMMAND",
};
