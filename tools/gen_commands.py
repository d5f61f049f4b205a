#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of commands, from the list in src/cli/meson.build: gen_commands.py OUT NAME..."""
import sys

out, *names = sys.argv[1:]
with open(out, "w") as f:
    f.write('// SPDX-License-Identifier: Apache-2.0\n#include "cli/command.h"\n\n')
    f.writelines(f"extern const struct command cmd_{n};\n" for n in names)
    f.write("\nconst struct command *const commands[] = {\n")
    f.writelines(f"\t&cmd_{n},\n" for n in names)
    f.write("};\nconst size_t n_commands = ARRAY_SIZE(commands);\n")
