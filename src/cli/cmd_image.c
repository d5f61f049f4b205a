// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

const struct command cmd_image = {
	.name = "image",
	.summary = "Manage images",
	.operands = "COMMAND",
};
