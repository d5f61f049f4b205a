# SPDX-License-Identifier: Apache-2.0
"""Machines: both boot the same kernel and one initramfs with the whole root and the commands.

Our init (runner.c) announces each command on the console; the times are the host's, from when it
sees "@begin" to when it sees "@end". A machine runs all commands of its turn in one boot.
"""
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time

import boot
from lib.modes import Result, parse

CMDLINE = "console=ttyS0 quiet loglevel=1 panic=-1 rdinit=/init"
KEPT_OUT = ("bench/wrap",)


def root_entries(root):
    """(name, mode, data, device) of all that is below the root, for boot.cpio."""
    entries = []
    for directory, directories, files in os.walk(root):
        for name in sorted(directories + files):
            path = os.path.join(directory, name)
            short = os.path.relpath(path, root)
            if short.startswith(KEPT_OUT):
                continue
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                data = os.readlink(path).encode()
            elif stat.S_ISREG(mode):
                with open(path, "rb") as f:
                    data = f.read()
            elif stat.S_ISDIR(mode):
                data = b""
            else:
                continue
            entries.append((short, mode, data, (0, 0)))
    return entries


class Initramfs:
    """The root once, and for each list of commands a file with that list behind it."""

    def __init__(self, env):
        self.env = env
        self.directory = tempfile.TemporaryDirectory(prefix="strata-bench-")
        self.base = None
        self.files = {}

    def get(self, workloads):
        key = tuple(w.name for w in workloads)
        if key not in self.files:
            if not self.base:
                self.base = os.path.join(self.directory.name, "base")
                with open(os.path.join(self.env.roots["riscv64"], "bench", "runner"), "rb") as f:
                    init = f.read()
                boot.cpio(self.base, [*root_entries(self.env.roots["riscv64"]),
                                      ("dev/console", 0o020600, b"", (5, 1)),
                                      ("init", 0o100755, init, (0, 0))])
            lines = ["\t".join([str(self.env.limit), str(int(w.one_cpu)),
                                *w.command(self.env.scale, lambda n: f"/bench/bin/{n}")])
                     for w in workloads]
            path = os.path.join(self.directory.name, f"initrd{len(self.files)}")
            boot.cpio(path + ".list", [("bench/commands", 0o100644, "\n".join(lines).encode() + b"\n",
                                        (0, 0))])
            with open(path, "wb") as out:
                for part in (self.base, path + ".list"):
                    with open(part, "rb") as f:
                        shutil.copyfileobj(f, out)
            self.files[key] = path
        return self.files[key]


def proc_status(pid):
    """{name: KiB} of VmHWM and VmRSS."""
    with open(f"/proc/{pid}/status") as f:
        return {k: int(v.split()[0]) for k, _, v in (line.partition(":") for line in f)
                if k in ("VmHWM", "VmRSS")}


def guest_memory_kib(pid, memory_kib):
    """Resident memory of the guest's own: mappings at least half as large as it is."""
    total = size = 0
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            if line.startswith("Size:"):
                size = int(line.split()[1])
            elif line.startswith("Rss:") and memory_kib / 2 <= size <= memory_kib:
                total += int(line.split()[1])
    return total


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Session:
    """One boot: reads the console, and what the host says of the process at each mark."""

    def __init__(self, command, workloads, memory_mib):
        self.workloads, self.memory_kib = workloads, memory_mib * 1024
        self.results = {}
        self.said, self.current, self.boot_s = [], None, None
        self.began = self.cpu_began = 0.0
        self.start = time.monotonic()
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)

    def begin(self, n, now):
        pid = self.child.pid
        with open(f"/proc/{pid}/clear_refs", "w") as f:
            f.write("5")  # the peak starts again
        self.current, self.said, self.cpu_began = n, [], cpu_seconds(pid)
        self.began = now

    def end(self, n, now):
        pid = self.child.pid
        peak = proc_status(pid)["VmHWM"]
        beyond = peak - guest_memory_kib(pid, self.memory_kib)
        self.results[n] = Result(now - self.began, cpu_seconds(pid) - self.cpu_began, peak, beyond,
                                 "", "no result")

    def result(self, n, text):
        guest = parse(text, self.said)
        r = self.results.setdefault(n, Result())
        r.output, r.failure = guest.output, guest.failure

    def take(self, line, now):
        word, _, rest = line.partition(" ")
        if word == "@userland":
            self.boot_s = now - self.start
        elif word == "@begin":
            self.begin(int(rest), now)
        elif word == "@end":
            self.end(int(rest), now)
        elif word == "@result":
            n, _, text = rest.partition(" ")
            self.result(int(n), text)
            self.current = None
        elif word == "@say" and self.results:
            last = self.results[max(self.results)]
            last.failure += "; " + rest if len(last.failure) < 300 else ""

    def read(self, longest_s):
        """Reads until the machine ends; it is stopped when it is silent for too long."""
        last, buffer = time.monotonic(), b""
        silent = threading.Event()

        def watch():
            while not silent.wait(1):
                if time.monotonic() - last > longest_s:
                    self.child.kill()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        while chunk := os.read(self.child.stdout.fileno(), 65536):
            last = time.monotonic()
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").strip()
                self.take(text[max(text.find("@"), 0):], last)
        self.child.wait()
        silent.set()
        watcher.join()

    def finish(self):
        """{workload: Result}; those that were not reached have failed."""
        why = "the machine did not reach userland" if self.boot_s is None else "the machine ended"
        return {w.name: self.results.get(n, Result(failure=why if n != self.current else why + " in it"))
                for n, w in enumerate(self.workloads)}


class Machine:
    machine = True

    def __init__(self, env):
        self.env = env
        self.kernel = env.kernel
        self.missing = "" if env.kernel else env.kernel_missing

    def command(self, cpus, initrd):
        raise NotImplementedError

    def run_all(self, workloads, cpus):
        """({workload: Result}, seconds from start to userland)."""
        initrd = self.env.initramfs.get(workloads)
        s = Session(self.command(cpus, initrd), workloads, self.env.memory)
        s.read(self.env.limit + 120)
        return s.finish(), s.boot_s


class QemuSystem(Machine):
    name, title = "qemu-system", "qemu-system-riscv64"

    def __init__(self, env):
        super().__init__(env)
        self.qemu = shutil.which("qemu-system-riscv64")
        if not self.qemu:
            self.missing = "qemu-system-riscv64 is not installed (Debian package qemu-system-misc)"

    def command(self, cpus, initrd):
        return [self.qemu, "-M", "virt", "-smp", str(cpus), "-m", str(self.env.memory), "-nographic",
                "-no-reboot", "-kernel", self.kernel, "-initrd", initrd, "-append", CMDLINE]


class StrataVm(Machine):
    name, title = "strata-vm", "strata machine"

    def __init__(self, env):
        super().__init__(env)
        self.program = os.path.join(env.build, "tests", "vm", "boot")
        if not os.path.exists(self.program):
            self.missing = f"{self.program} is not built"

    def command(self, cpus, initrd):
        return [self.program, "-c", str(cpus), "-m", str(self.env.memory), "-t", "1000000",
                "-i", initrd, "-a", CMDLINE, self.kernel]
