# SPDX-License-Identifier: Apache-2.0
"""The files that workloads read: written by rule, the same everywhere for the same scale."""
import os
import random

TEXT_BYTES = 4_000_000
FUNCTIONS = 32
ROWS = 30000


def text(path, size):
    """Words with the frequencies of a language, in lines; every tenth line is a table's row."""
    rng = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(rng.choices(letters, range(len(letters), 0, -1), k=rng.randint(2, 9)))
             for _ in range(6000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    with open(path, "w") as f:
        line = 0
        while f.tell() < size:
            chosen = rng.choices(words, weights, k=2000)
            for at in range(0, 2000, 10):
                line += 1
                if line % 10 == 0:
                    chosen[at + 3] = f"{line}\t{rng.randint(0, 99999)}"
                f.write(" ".join(chosen[at:at + 10]) + "\n")


def function(rng, n):
    """One C function with loops, branches, arrays, structures and calls."""
    lines = [f"static long f{n}(struct item *p, long a, long b)", "{", "\tlong s = a, t[8] = {b};",
             f"\tfor (int i = 0; i < {rng.randint(5, 40)}; i++) {{"]
    for _ in range(rng.randint(6, 14)):
        kind, k, m = rng.randint(0, 6), rng.randint(1, 99), rng.randint(0, 7)
        lines.append("\t\t" + [
            f"s += p[i].a * {k} + t[{m}];",
            f"if (s > {k * 1000} && p->b != {m}) s -= p[i & {m}].b; else t[{m}] ^= s;",
            f"switch (s & 7) {{ case {m}: s += {k}; break; case {(m + 3) % 8}: t[i & 7]++; break; default: s--; }}",
            f"t[(i + {m}) & 7] = s >> {m} | a << {m + 1};",
            f"p[i].x = p[i].x * {k}.5 + (double)s / (p->x + {m + 1});",
            f"while (s > {k} && t[{m}]-- > 0) s = s / {m + 2} + b;",
            f"s += f{rng.randint(max(0, n - 9), n - 1)}(p + 1, s, t[{m}]);" if n else "s ^= b;",
        ][kind])
    return "\n".join(lines + ["\t}", "\treturn s + t[3];", "}", ""])


def unit(path, functions):
    """A preprocessed C file for cc1."""
    rng = random.Random(2)
    with open(path, "w") as f:
        f.write("struct item { long a; int b; double x; };\n")
        for n in range(functions):
            f.write(function(rng, n))
        f.write("long all(struct item *p)\n{\n\tlong s = 0;\n")
        f.writelines(f"\ts += f{n}(p, s, {n});\n" for n in range(functions))
        f.write("\treturn s;\n}\n")


def sql(path, rows):
    rng = random.Random(3)
    with open(path, "w") as f:
        f.write("create table part(id integer primary key, name text, kind int, price real);\n"
                "create table sale(part int, day int, n int);\nbegin;\n")
        for i in range(rows):
            f.write(f"insert into part values({i}, 'part {rng.randint(0, 10**6)}', {i % 37}, "
                    f"{rng.randint(1, 9999) / 100});\n")
            f.write(f"insert into sale values({rng.randrange(rows)}, {i % 365}, {i % 9});\n")
        f.write("commit;\ncreate index by_part on sale(part);\ncreate index by_name on part(name);\n"
                "select kind, count(*), round(sum(price * n), 2) from part join sale on part = id "
                "group by kind order by 2 desc, 1;\n"
                "select count(*) from part where name like '%77%' or name glob '*[1-3]9';\n"
                "select day, sum(n) over (order by day) from (select day, sum(n) n from sale "
                "group by day) order by day limit 40;\n"
                "update part set price = price * 1.1 where id in (select part from sale where n > 4);\n"
                "delete from sale where day between 100 and 200;\n"
                "with recursive c(x) as (select 1 union all select x + 1 from c where x < "
                f"{rows * 6}) select sum(x * x % 7) from c;\n"
                "select name, price from part order by price desc, name limit 20;\n")


def make(directory, scale, scripts):
    """All of them, and our scripts; skipped when they are already there."""
    done = os.path.join(directory, "done")
    stamp = f"{scale} {max(os.path.getmtime(p) for p in [__file__, *scripts])}"
    if os.path.exists(done) and open(done).read() == stamp:
        return
    os.makedirs(directory, exist_ok=True)
    text(os.path.join(directory, "text"), max(50_000, int(TEXT_BYTES * scale)))
    unit(os.path.join(directory, "unit.i"), max(4, int(FUNCTIONS * scale)))
    unit(os.path.join(directory, "small.i"), max(4, int(FUNCTIONS * scale / 4)))
    sql(os.path.join(directory, "sql"), max(100, int(ROWS * scale)))
    for path in scripts:
        with open(path) as f, open(os.path.join(directory, os.path.basename(path)), "w") as out:
            out.write(f.read())
    with open(done, "w") as f:
        f.write(stamp)
