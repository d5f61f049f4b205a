# SPDX-License-Identifier: Apache-2.0
"""A small C project that the host makes in a shared folder and the guest builds there.

A manifest is what must look the same from both sides: for each entry its type, mode, size, time of
change and link target, for each file its SHA-256.
"""
import hashlib
import os
import pathlib
import random
import stat

LIBRARIES, SOURCES, PIECES = 5, 4, 100

MAIN = r"""
#include <stdio.h>
#include "all.h"
int main(int argc, char **argv)
{
	unsigned long x = 1, sum = 0, n = 0;
	FILE *f = fopen(argv[1], "rb");
	if (argc != 3 || !f)
		return 1;
	for (int c; (c = getc(f)) != EOF; n++)
		sum = sum * 31 + (unsigned long)c;
	fclose(f);
	CALLS
	printf("%lu bytes, %lx, %lx\n", n, sum, x);
	for (unsigned i = 0; i < PIECES; i++) {
		char name[300];
		snprintf(name, sizeof(name), "%s/piece %03u", argv[2], i);
		if (!(f = fopen(name, "wbx")))
			return 2;
		for (unsigned k = 0; k < i * 37 % 1000; k++)
			fprintf(f, "%lx.", x = x * 6364136223846793005UL + i);
		if (fclose(f))
			return 3;
	}
	return 0;
}
"""

# Runs in the guest, in the folder that is shared as /src.
SCRIPT = r"""
manifest()
{
    find . -mindepth 1 \( -type l -printf 'l %p %l\n' -o -type d -printf 'd %m %p\n' -o \
        -printf '%y %m %s %T@ %p\n' \)
    find . -type f -exec sha256sum {} +
}
cd /src/project
start=$(date +%s)
echo "== before"
manifest
echo "== program"
./tools/build.sh
out/run data/table.bin out/pieces
echo "== after"
manifest
echo "== took"
echo $(($(date +%s) - start))
"""

BUILD = r"""#!/bin/sh -e
mkdir -p out/obj out/pieces
for lib in lib*; do
	gcc -O1 -Wall -Werror -Iinclude -c $lib/*.c
	mv *.o out/obj
	ar rcD out/$lib.a out/obj/$lib-*.o
done
gcc -O1 -Wall -Werror -Iinclude -o out/new main.c out/lib*.a
mv out/new out/program
ln -s program out/run
chmod 750 out/program
chmod 440 out/lib0.a
ln out/lib1.a out/same.a
rm data/gone
"""


def constant(lib, n):
    return (lib * 7919 + n * 104729) | 1


def make(top):
    """Makes the project: sources in folders, headers through a link, odd names and modes, many small files."""
    rng = random.Random(1)

    def file(name, data, mode=0o644):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        path.chmod(mode)

    names = [(lib, n) for lib in range(LIBRARIES) for n in range(SOURCES)]
    for lib, n in names:
        file(f"lib{lib}/lib{lib}-{n}.c", f'#include "lib{lib}.h"\n#include "common.h"\n'
             f"unsigned long f_{lib}_{n}(unsigned long x)\n{{\n\tfor (int i = 0; i < 1000; i++)\n"
             f"\t\tx = STEP(x, {constant(lib, n)}UL);\n\treturn x;\n}}\n")
    for lib in range(LIBRARIES):
        file(f"lib{lib}/api/lib{lib}.h", "".join(
            f"unsigned long f_{lib}_{n}(unsigned long x);\n" for n in range(SOURCES)))
        (top / "include").mkdir(exist_ok=True)
        os.symlink(f"../lib{lib}/api/lib{lib}.h", top / f"include/lib{lib}.h")
    file("include/common.h", "#define STEP(x, k) (((x) ^ (x) >> 29) * (k) + 1)\n")
    file("include/all.h", "".join(f'#include "lib{n}.h"\n' for n in range(LIBRARIES)))
    calls = " ".join(f"x = f_{lib}_{n}(x);" for lib, n in names)
    file("main.c", MAIN.replace("CALLS", calls).replace("PIECES", str(PIECES)))
    file("tools/build.sh", BUILD, 0o755)
    file("data/table.bin", rng.randbytes(300_001), 0o400)
    file("data/gone", "removed by the guest")
    file("data/empty", b"")
    file("data/größe mit Leerzeichen", "ü\n", 0o604)
    for n in range(PIECES):
        file(f"data/small/{n % 7}/{n}", rng.randbytes(n * n % 700))
    os.symlink("nowhere", top / "data/dangling")
    (top / "data/small/0").chmod(0o711)


def step(x, k):
    return ((x ^ x >> 29) * k + 1) % 2**64


def expectation():
    """What the program prints and writes, computed here."""
    data = random.Random(1).randbytes(300_001)
    total, x = 0, 1
    for byte in data:
        total = (total * 31 + byte) % 2**64
    for lib in range(LIBRARIES):
        for n in range(SOURCES):
            for _ in range(1000):
                x = step(x, constant(lib, n))
    text = f"{len(data)} bytes, {total:x}, {x:x}\n"
    pieces = {}
    for i in range(PIECES):
        words = []
        for _ in range(i * 37 % 1000):
            x = (x * 6364136223846793005 + i) % 2**64
            words.append(f"{x:x}.")
        pieces[f"piece {i:03}"] = "".join(words)
    return text, pieces


EXPECTED, PIECE_TEXTS = expectation()


def manifest(top):
    """The lines that the script's manifest prints, in any order."""
    lines = []
    for path in pathlib.Path(top).rglob("*"):
        st, name = path.lstat(), f"./{path.relative_to(top)}"
        if stat.S_ISLNK(st.st_mode):
            lines.append(f"l {name} {os.readlink(path)}")
        elif stat.S_ISDIR(st.st_mode):
            lines.append(f"d {stat.S_IMODE(st.st_mode):o} {name}")
        else:
            s, ns = divmod(st.st_mtime_ns, 10**9)
            lines.append(f"f {stat.S_IMODE(st.st_mode):o} {st.st_size} {s}.{ns:09}0 {name}")
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}")
    return lines


def outputs(top):
    """What the build left that can be told without a compiler: texts of the pieces, kinds of the rest."""
    out = pathlib.Path(top, "out")
    found = {p.name: p.read_text() for p in out.glob("pieces/*")}
    found["objects"] = len(list(out.glob("obj/*.o")))
    found["magic"] = {p.name: p.read_bytes()[:8] for p in out.glob("lib*.a")}
    found["program"] = out.joinpath("program").read_bytes()[:4]
    found["machine"] = int.from_bytes(out.joinpath("program").read_bytes()[18:20], "little")
    found["run"] = os.readlink(out / "run")
    found["same"] = os.path.samefile(out / "same.a", out / "lib1.a")
    found["modes"] = [stat.S_IMODE(out.joinpath(n).stat().st_mode) for n in ("program", "lib0.a")]
    found["gone"] = pathlib.Path(top, "data/gone").exists()
    return found


def expected_outputs():
    return PIECE_TEXTS | {
        "objects": LIBRARIES * SOURCES,
        "magic": {f"lib{n}.a": b"!<arch>\n" for n in range(LIBRARIES)},
        "program": b"\x7fELF", "machine": 243, "run": "program", "same": True,
        "modes": [0o750, 0o440], "gone": False}
