#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes C from files: embed.py OUT.c HEADER TABLE NAME=PATH...

OUT.c defines `const struct embedded TABLE[]`, ended by an empty row. The bytes are taken in by the
assembler; a digest in a comment makes the object depend on what they are.
"""
import hashlib
import os
import sys


def main():
    out, header, table, *entries = sys.argv[1:]
    lines = ["// SPDX-License-Identifier: Apache-2.0", f'#include "{header}"', ""]
    rows = []
    for i, entry in enumerate(entries):
        name, _, path = entry.partition("=")
        path = os.path.abspath(path)
        data = open(path, "rb").read()
        symbol = f"{table}_bytes_{i}"
        lines += [
            f"// {hashlib.sha256(data).hexdigest()}",
            "__asm__(\".pushsection .rodata, \\\"a\\\"\\n.balign 16\\n"
            f".local {symbol}\\n{symbol}:\\n.incbin \\\"{path}\\\"\\n.popsection\\n\");",
            f"extern const unsigned char {symbol}[];",
        ]
        rows.append(f'\t{{"{name}", {symbol}, {len(data)}}},')
    lines += [f"const struct embedded {table}[] = {{", *rows, "\t{0},", "};"]
    with open(out, "w") as f:
        f.write("\n".join(lines) + "\n")


main()
