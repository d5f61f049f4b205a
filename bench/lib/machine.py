# SPDX-License-Identifier: Apache-2.0
"""Machines: both boot the same kernel with one disk, the root, and one initramfs, the commands.

Our init (runner.c) announces each command on the console; the times are the host's, from when it
sees "@begin" to when it sees "@end". A machine runs all commands of its turn in one boot.
"""
import os
import shutil
import subprocess
import tempfile
import threading
import time

import boot
from lib import roots
from lib.modes import Result, parse

CMDLINE = "console=ttyS0 quiet loglevel=1 panic=-1 rdinit=/init"


class Files:
    """What machines boot from: a disk with the root, and an initramfs for each list of commands."""

    def __init__(self, env):
        self.env = env
        self.directory = tempfile.TemporaryDirectory(prefix="strata-bench-")
        self.initramfs = {}
        self.disk_path = None

    def disk(self):
        if not self.disk_path:
            path = os.path.join(self.directory.name, "disk")
            root = self.env.roots["riscv64"]
            size = int(roots.run(["du", "-sm", root]).split()[0])
            roots.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, path,
                       f"{size * 5 // 4 + 32}M"])
            self.disk_path = path
        return self.disk_path

    def initrd(self, workloads):
        """The boot image's, for its modules, and behind it our init and the commands."""
        key = tuple(w.name for w in workloads)
        if key not in self.initramfs:
            path = os.path.join(self.directory.name, f"initrd{len(self.initramfs)}")
            with open(os.path.join(self.env.roots["riscv64"], "bench", "runner"), "rb") as f:
                init = f.read()
            lines = ["\t".join([str(self.env.limit), str(int(w.one_cpu)),
                                *w.command(self.env.scale, lambda n: f"/bench/bin/{n}")]) + "\n"
                     for w in workloads]
            boot.cpio(path + ".ours", [("dev", 0o040755, b"", (0, 0)),
                                       ("dev/console", 0o020600, b"", (5, 1)),
                                       ("proc", 0o040755, b"", (0, 0)),
                                       ("commands", 0o100644, "".join(lines).encode(), (0, 0)),
                                       ("init", 0o100755, init, (0, 0))])
            with open(path, "wb") as out:
                for part in filter(None, (self.env.modules, path + ".ours")):
                    with open(part, "rb") as f:
                        shutil.copyfileobj(f, out)
                    out.write(bytes(-out.tell() % 4))
            self.initramfs[key] = path
        return self.initramfs[key]


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
        self.said, self.current, self.boot_s, self.why = [], None, None, ""
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
        elif word == "@say":
            self.why += "; " + rest

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
        why += self.why
        return {w.name: self.results.get(n, Result(failure=why if n != self.current else why + " in it"))
                for n, w in enumerate(self.workloads)}


class Machine:
    machine = True

    def __init__(self, env):
        self.env = env
        self.kernel = env.kernel
        self.missing = "" if env.kernel else env.kernel_missing

    def command(self, cpus, initrd, disk):
        raise NotImplementedError

    def run_all(self, workloads, cpus):
        """({workload: Result}, seconds from start to userland)."""
        command = self.command(cpus, self.env.files.initrd(workloads), self.env.files.disk())
        s = Session(command, workloads, self.env.memory)
        s.read(self.env.limit + 120)
        return s.finish(), s.boot_s


class QemuSystem(Machine):
    name, title = "qemu-system", "qemu-system-riscv64"

    def __init__(self, env):
        super().__init__(env)
        self.qemu = shutil.which("qemu-system-riscv64")
        if not self.qemu:
            self.missing = "qemu-system-riscv64 is not installed (Debian package qemu-system-misc)"

    def command(self, cpus, initrd, disk):
        return [self.qemu, "-M", "virt", "-smp", str(cpus), "-m", str(self.env.memory), "-nographic",
                "-no-reboot", "-kernel", self.kernel, "-initrd", initrd, "-append", CMDLINE,
                "-drive", f"file={disk},format=raw,if=none,id=root", "-device", "virtio-blk-pci,drive=root"]


class StrataVm(Machine):
    name, title = "strata-vm", "strata machine"

    def __init__(self, env):
        super().__init__(env)
        self.program = os.path.join(env.build, "tests", "vm", "boot")
        if not os.path.exists(self.program):
            self.missing = f"{self.program} is not built"

    def command(self, cpus, initrd, disk):
        return [self.program, "-c", str(cpus), "-m", str(self.env.memory), "-t", "1000000",
                "-i", initrd, "-d", disk, "-a", CMDLINE, self.kernel]
