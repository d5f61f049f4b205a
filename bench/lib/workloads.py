# SPDX-License-Identifier: Apache-2.0
"""What is run. README.md says what each is for."""
from dataclasses import dataclass

GROUPS = ["integer", "floating point", "memory", "applications", "system", "parallel"]
IDLE = "idle"  # of machines: not how long it takes, but what it costs


@dataclass(frozen=True)
class Workload:
    name: str
    group: str
    argv: tuple  # {n}: how much work; {exec:NAME}: a program below /bench/bin that is executed
    n: int = 1   # at scale 1
    cpus: int = 1
    one_cpu: bool = False  # bound to one CPU where there are more

    def command(self, scale, executable):
        n = max(1, int(self.n * scale))
        return [executable(w[6:-1]) if w.startswith("{exec:") else w.replace("{n}", str(n))
                for w in self.argv]


def own(group, *rows):
    return [Workload(name.replace("_", "-"), group, (f"/bench/bin/{name}", "{n}"), n)
            for name, n in rows]


def debian(name, n, *argv):
    return Workload(name, "applications", ("/usr/bin/" + argv[0], *argv[1:]), n)


def pair(name, n, *argv):
    """On one CPU, and on two."""
    return [Workload(f"{name}/1", "parallel", argv, n, 1, True),
            Workload(f"{name}/2", "parallel", argv, n, 2)]


CC1 = ("-quiet", "-O2", "-fpreprocessed", "-march=rv64gc", "-mabi=lp64d", "-fno-ident",
       "-o", "/dev/stdout")
TEXT = "/bench/data/text"

WORKLOADS = [
    *own("integer", ("fib", 400), ("quicksort", 60), ("strings", 1500000), ("crc", 800),
         ("sha256", 1600), ("bytecode", 8000000), ("queens", 2000), ("modpow", 500000),
         ("calls", 80000)),
    *own("floating point", ("nbody", 1500000), ("matmul_double", 90), ("matmul_float", 70),
         ("mandelbrot", 1000), ("spectral", 800), ("fft", 1000), ("raytrace", 800),
         ("convert", 3000000)),
    *own("memory", ("sieve", 20), ("hashtable", 3000000), ("listwalk", 8), ("trees", 400),
         ("libc_memory", 3000), ("transpose", 5)),
    debian("python", 25, "python3.13", "-I", "-S", "-B", "/bench/data/bench.py", "{n}"),
    debian("perl", 80, "perl", "/bench/data/bench.pl", "{n}"),
    debian("lua", 150, "lua5.4", "/bench/data/bench.lua", "{n}"),
    Workload("cc1", "applications", ("/bench/bin/cc1", *CC1, "/bench/data/unit.i")),
    debian("sqlite", 1, "sqlite3", "-batch", ":memory:", ".read /bench/data/sql"),
    debian("shell", 30000, "busybox", "sh", "/bench/data/bench.sh", "{n}"),
    debian("xz", 1, "xz", "-9", "-T1", "-k", "-c", TEXT),
    debian("zstd", 1, "zstd", "-q", "-9", "-T1", "-c", TEXT),
    debian("gzip", 1, "gzip", "-n", "-c", TEXT),
    debian("bzip2", 1, "bzip2", "-k", "-c", TEXT),
    debian("pbkdf2", 400000, "openssl", "kdf", "-keylen", "32", "-kdfopt", "digest:SHA256",
           "-kdfopt", "pass:strata", "-kdfopt", "salt:bench", "-kdfopt", "iter:{n}", "PBKDF2"),
    debian("grep", 1, "grep", "-c", "-E", "([aeiou][tnr]{1,2}){3}|[0-9]{4}[13579]|(.)a\\2", TEXT),
    debian("sort", 1, "sort", "-S", "64M", "--parallel=1", "-f", "-k", "3", *[TEXT] * 5),
    debian("awk", 1, "mawk", "{for (i = 1; i <= NF; i++) c[$i] += length($i)} "
           "END {for (w in c) {n++; s += c[w] * length(w)}; print n, s}", TEXT),
    *own("system", ("syscalls", 1500000)),
    Workload("files", "system", ("/bench/bin/files", "{n}", TEXT), 25000),
    *own("system", ("pipes", 40000), ("signals", 50000), ("forks", 1500)),
    Workload("exec", "system", ("/bench/bin/spawn", "{n}", "1", "{exec:nothing}"), 500),
    Workload("exec-dynamic", "system", ("/bench/bin/spawn", "{n}", "1", "{exec:nothing_dynamic}"),
             300),
    *own("system", ("faults", 400), ("atomics", 3000000), ("futexes", 40000)),
    *pair("threads", 250, "/bench/bin/threads", "2", "{n}"),
    *pair("xz-2", 1, "/usr/bin/xz", "-3", "-T2", "--block-size=512KiB", "-k", "-c", TEXT),
    *pair("build-2", 4, "/bench/bin/spawn", "{n}", "2", "{exec:cc1}", *CC1,
          "/bench/data/small.i"),
    Workload("idle", IDLE, ("/usr/bin/busybox", "sleep", "{n}"), 10),
]


def select(names):
    """Workloads by name, by group, or by a part of a name before `*`; None: all."""
    if not names:
        return WORKLOADS
    chosen = []
    for w in WORKLOADS:
        if any(n in (w.name, w.group) or n.endswith("*") and w.name.startswith(n[:-1]) for n in names):
            chosen.append(w)
    return chosen
