#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A debugger looks at a Debian while it runs: `strata run --gdb`, with gdb-multiarch."""
import os
import re
import shutil
import socket
import subprocess
import time

import machine
from machine import ARCH, STRATA, contains, equal, strata

# Kernels have no symbols here: the trap vector is an address that every kernel has.
READ_UPTIME = "echo ready; while read x; do cut -d' ' -f1 /proc/uptime; done; exit 7"


def gdb(where, *commands):
    args = ["gdb-multiarch", "-batch", "-nx", "-ex", "set pagination off", "-ex", "set confirm off",
            "-ex", "set architecture riscv:rv64", "-ex", f"target remote {where}"]
    for c in commands:
        args += ["-ex", c]
    p = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=300)
    equal((p.returncode, p.stdout if p.returncode else ""), (0, ""))
    return p.stdout


def start(*options, command=READ_UPTIME):
    if not shutil.which("gdb-multiarch"):
        raise machine.Skip("there is no gdb-multiarch")
    return subprocess.Popen([STRATA, "run", *ARCH, "--rm", "--net", "none", *options, "debian", "--",
                             "sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, "STRATA_COUNT": "1"})


def uptime(p):
    p.stdin.write("\n")
    p.stdin.flush()
    return float(p.stdout.readline())


def numbers(text):
    return [int(n, 0) for n in re.findall(r"^\$\d+ = (\S+)", text, re.M)]


def test_a_running_debian():
    with machine.temporary_directory() as d:
        where = os.path.join(d, "gdb")
        p = start("--gdb", f"unix:{where}", "--cpus", "2")
        equal(p.stdout.readline(), "ready\n")
        equal(os.stat(where).st_mode & 0o777, 0o600)
        text = gdb(where, "info threads", "hbreak *$stvec", "continue", "p/x $pc == $stvec",
                   "p/x $priv", "stepi", "p/x $pc - $stvec == 4 || $pc - $stvec == 2", "x/2i $pc",
                   "monitor info registers", "delete", "detach")
        contains(text, "CPU 1")
        contains(text, "Breakpoint 1, ")
        equal(numbers(text), [1, 1, 1])
        contains(text, "supervisor mode")
        # stopped for three seconds, of which the guest knows nothing
        before, began = uptime(p), time.monotonic()
        gdb(where, "shell sleep 3", "detach")
        after, took = uptime(p), time.monotonic() - began
        assert took > 3 and 0 <= after - before < took - 2.5, (before, after, took)
        p.stdin.close()
        equal(p.wait(timeout=120), 7)
        equal(os.path.exists(where), False)


def test_from_the_first_instruction():
    with machine.temporary_directory() as d:
        where = os.path.join(d, "gdb")
        p = start("--gdb", f"unix:{where}", "--gdb-wait", "--cpus", "2")
        equal(p.stderr.readline(), f"The guest waits for a debugger: target remote {where}\n")
        text = gdb(where, "p/x (long)$pc & 0xfff", "p $a0", "p $satp", "stepi 100", "p $instret", "detach")
        equal(numbers(text)[:3], [0, 0, 0])
        equal(numbers(text)[-1], 100)
        equal(p.stdout.readline(), "ready\n")
        p.stdin.close()
        equal(p.wait(timeout=120), 7)


def test_killed_by_the_debugger():
    with machine.temporary_directory() as d:
        where = os.path.join(d, "gdb")
        p = start("--gdb", f"unix:{where}")
        equal(p.stdout.readline(), "ready\n")
        gdb(where, "kill")
        equal(p.wait(timeout=120), 125)
        contains(p.stderr.read(), "killed by the debugger")


def test_where_it_cannot_listen():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        p = strata("run", *ARCH, "--rm", "--gdb", str(port), "debian", "--", "true")
        equal((p.returncode, p.stderr), (125, f"strata: --gdb: {port}: Address already in use\n".encode()))
    p = strata("run", *ARCH, "--rm", "--gdb", "nonsense", "debian", "--", "true")
    equal(p.returncode, 2)
    contains(p.stderr.decode(), "the port is not a number from 1 to 65535")
    p = strata("run", *ARCH, "--rm", "--gdb-wait", "debian", "--", "true")
    equal(p.returncode, 2)
    contains(p.stderr.decode(), "--gdb-wait without --gdb")


if __name__ == "__main__":
    machine.main()
