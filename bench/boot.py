#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time from start to userland, of one kernel on our machine and on qemu-system-riscv64.

Usage: boot.py [--build DIR] [--kernel FILE] [--runs N] [--cpus N] [--memory MIB]

Both boot the same kernel and the same initramfs, which holds one static program (bench/init.c). The
runs alternate, after one of each that does not count. Peak RSS is the whole process's: the guest's
touched memory is part of it. Ends with 1 when a machine does not reach userland.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MARK = b"strata-bench: userland"
CMDLINE = "console=ttyS0 panic=-1"
HERE = os.path.dirname(os.path.abspath(__file__))


def cpio(path, entries):
    """A newc archive: (name, mode, data, (major, minor)) each."""
    with open(path, "wb") as f:
        for ino, (name, mode, data, dev) in enumerate(entries + [("TRAILER!!!", 0, b"", (0, 0))], 1):
            raw = name.encode() + b"\0"
            fields = [ino, mode, 0, 0, 1, 0, len(data), 0, 0, *dev, len(raw), 0]
            head = b"070701" + b"".join(b"%08x" % v for v in fields) + raw
            f.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


def make_initrd(directory):
    program = os.path.join(directory, "init")
    subprocess.run(["riscv64-linux-gnu-gcc", "-Os", "-static", "-s", "-o", program,
                    os.path.join(HERE, "init.c")], check=True)
    path = os.path.join(directory, "initrd")
    with open(program, "rb") as f:
        cpio(path, [("dev", 0o040755, b"", (0, 0)), ("dev/console", 0o020600, b"", (5, 1)),
                    ("init", 0o100755, f.read(), (0, 0))])
    return path


def find_blob(build, kind):
    """A file of the boot image in the store: "kernel" or "initramfs"."""
    home = os.environ.get("STRATA_HOME") or os.path.expanduser("~/.local/share/strata")
    out = subprocess.run([os.path.join(build, "strata"), "image", "inspect", "--arch", "riscv64",
                          "debian-boot:trixie"], stdout=subprocess.PIPE, text=True)
    if out.returncode:
        sys.exit("boot.py: `strata image pull --arch riscv64 debian-boot`, or name a kernel with --kernel")
    for layer in json.loads(out.stdout)["manifest"]["layers"]:
        if layer["mediaType"].startswith(f"application/vnd.strata.boot.{kind}."):
            return os.path.join(home, "images", "blobs", *layer["digest"].split(":"))
    sys.exit(f"boot.py: the boot image has no {kind}")


def boot(command):
    """Seconds to userland, seconds to the end, peak RSS in MiB."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    reached, tail = None, b""
    while chunk := os.read(child.stdout.fileno(), 65536):
        tail = (tail + chunk)[-200000:]
        if reached is None and MARK in tail:
            reached = time.monotonic() - start
    _, _, usage = os.wait4(child.pid, 0)
    child.returncode = 0  # waited for
    if reached is None:
        sys.stderr.buffer.write(tail[-2000:])
        sys.exit(f"\nboot.py: {command[0]} did not reach userland")
    return reached, time.monotonic() - start, usage.ru_maxrss / 1024


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default=os.path.join(HERE, "..", "build"))
    p.add_argument("--kernel")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--cpus", type=int, default=1)
    p.add_argument("--memory", type=int, default=512, help="MiB")
    a = p.parse_args()
    kernel = a.kernel or find_blob(a.build, "kernel")
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as directory:
        initrd = make_initrd(directory)
        machines = {"strata": [os.path.join(a.build, "tests", "vm", "boot"), "-c", str(a.cpus), "-m",
                               str(a.memory), "-i", initrd, "-a", CMDLINE, kernel]}
        if qemu := shutil.which("qemu-system-riscv64"):
            machines["qemu"] = [qemu, "-M", "virt", "-smp", str(a.cpus), "-m", str(a.memory),
                                "-nographic", "-no-reboot", "-kernel", kernel, "-initrd", initrd,
                                "-append", CMDLINE]
        results = {name: [] for name in machines}
        for turn in range(a.runs + 1):
            for name, command in machines.items():
                result = boot(command)
                if turn:
                    results[name].append(result)
    print(f"{'machine':8} {'userland s':>10} {'end s':>8} {'peak RSS MiB':>13}   "
          f"(median of {a.runs}, {a.cpus} CPUs, {a.memory} MiB)")
    medians = {n: [statistics.median(c) for c in zip(*r)] for n, r in results.items()}
    for name, (reached, end, rss) in medians.items():
        print(f"{name:8} {reached:10.2f} {end:8.2f} {rss:13.0f}")
    if "qemu" in medians:
        ratios = [s / q for s, q in zip(medians["strata"], medians["qemu"])]
        print(f"{'ratio':8} {ratios[0]:10.2f} {ratios[1]:8.2f} {ratios[2]:13.2f}   (below 1: ours is better)")
    else:
        print("qemu-system-riscv64 is not installed: nothing to compare with")


if __name__ == "__main__":
    main()
