#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a guest that does nothing costs the host: CPU time of all its processes and threads.

Usage: idle.py [--build DIR] [--kernel FILE] [--seconds N] [--settle N] [--cpus N] [--threads]

Three guests run side by side and sleep, all on the stock kernel: our machine and
qemu-system-riscv64 with nothing but a kernel and one process, and a whole instance of `strata run`
(agent, network, disk, shared folder). --threads says which of its threads it was. Ends with 1 when
a guest does not come up.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time

import boot


def descendants(pid):
    """The process and all that it has started."""
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path) as f:
            for child in f.read().split():
                found += descendants(int(child))
    return found


def threads(pid):
    """{(pid, tid): (name, nanoseconds on a CPU, times that it went to sleep)}"""
    found = {}
    for process in descendants(pid):
        for path in glob.glob(f"/proc/{process}/task/*"):
            with open(path + "/comm") as f:
                name = f.read().strip()
            with open(path + "/schedstat") as f:
                ns = int(f.read().split()[0])
            with open(path + "/status") as f:
                slept = next(int(line.split()[1]) for line in f if line.startswith("voluntary"))
            found[process, int(os.path.basename(path))] = name, ns, slept
    return found


def start(command, mark):
    """A guest that has said `mark`."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    said = b""
    while mark not in said:
        chunk = os.read(child.stdout.fileno(), 65536)
        if not chunk:
            sys.stderr.buffer.write(said[-2000:])
            sys.exit(f"\nidle.py: {command[0]} did not come up")
        said = (said + chunk)[-100000:]
    return child


def commands(a, kernel, initrd):
    bare = boot.CMDLINE + " quiet -- idle"
    strata = os.path.join(a.build, "strata")
    mark = boot.MARK
    rows = {"strata machine": ([os.path.join(a.build, "tests", "vm", "boot"), "-c", str(a.cpus), "-m", "512",
                                "-t", "100000", "-i", initrd, "-a", bare, kernel], mark)}
    if qemu := shutil.which("qemu-system-riscv64"):
        rows["qemu"] = ([qemu, "-M", "virt", "-smp", str(a.cpus), "-m", "512", "-nographic", "-kernel",
                         kernel, "-initrd", initrd, "-append", bare], mark)
    rows["strata run"] = ([strata, "run", "--vm", "--rm", "--cpus", str(a.cpus), "debian", "--", "sh", "-c",
                           "echo userland; exec sleep 1000000"], b"userland")
    return rows


def report(name, before, after, seconds, detailed):
    used = {k: (n, ns - before.get(k, (n, 0, 0))[1], slept - before.get(k, (n, 0, 0))[2])
            for k, (n, ns, slept) in after.items()}
    share = sum(ns for _, ns, _ in used.values()) / 1e7 / seconds
    wakes = sum(slept for _, _, slept in used.values()) / seconds
    print(f"{name:16} {share:12.3f} {wakes:12.1f}")
    for (pid, tid), (thread, ns, slept) in sorted(used.items()) if detailed else []:
        print(f"  {thread:14} {ns / 1e7 / seconds:12.3f} {slept / seconds:12.1f}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default=os.path.join(boot.HERE, "..", "build"))
    p.add_argument("--kernel")
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--settle", type=float, default=10, help="seconds that do not count, after the start")
    p.add_argument("--cpus", type=int, default=1)
    p.add_argument("--threads", action="store_true")
    a = p.parse_args()
    kernel = a.kernel or boot.find_blob(a.build, "kernel")
    children = {}
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as directory:
        try:
            for name, (command, mark) in commands(a, kernel, boot.make_initrd(directory)).items():
                children[name] = start(command, mark)
            time.sleep(a.settle)
            before = {n: threads(c.pid) for n, c in children.items()}
            time.sleep(a.seconds)
            after = {n: threads(c.pid) for n, c in children.items()}
        finally:
            for c in children.values():
                c.terminate()
                c.wait()
    print(f"{'guest':16} {'% of a core':>12} {'wakes a s':>12}   "
          f"({a.seconds:g} s, {a.cpus} CPUs, load {os.getloadavg()[0]:.1f})")
    for name in children:
        report(name, before[name], after[name], a.seconds, a.threads)


if __name__ == "__main__":
    main()
