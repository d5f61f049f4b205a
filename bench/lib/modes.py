# SPDX-License-Identifier: Apache-2.0
"""Ways to run one program on the host: native, qemu-riscv64, strata's process level."""
import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass
class Result:
    """One run. `failure` is empty, or why there is no figure."""
    seconds: float = 0.0
    cpu_s: float = 0.0
    rss_kib: int = 0
    beyond_kib: int = 0  # machines: without the guest's memory
    output: str = ""     # its length and hash
    failure: str = ""


def parse(line, said):
    """A result line of the runner's, and the end of the program's output after a failure."""
    f = line.split()
    if len(f) != 7:
        return Result(failure=line.strip() or "no result")
    status = int(f[0])
    failure = ""
    if status == -1:
        failure = "over its time"
    elif status:
        failure = f"signal {status & 127}" if status & 127 else f"status {status >> 8}"
        failure += "".join("; " + s for s in said[-4:])
    return Result(float(f[1]), float(f[2]) + float(f[3]), int(f[4]), 0, f"{f[5]}:{f[6]}", failure)


class Process:
    """Base of the modes: `missing` says why a mode cannot run here, or is empty."""
    machine = False

    def __init__(self, env):
        self.runner = os.path.join(env.roots["amd64"], "bench", "runner")
        self.root = env.roots["riscv64"]
        self.limit, self.scale = env.limit, env.scale
        self.environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
        self.missing = ""

    def prefix(self, program):
        """The words before the program's arguments, with the program."""
        raise NotImplementedError

    def executable(self, name):
        return f"/bench/bin/{name}"

    def argument(self, word):
        return word

    def options(self):
        return []

    def run(self, workload):
        argv = [self.argument(w) for w in workload.command(self.scale, self.executable)]
        command = [self.runner, "-l", str(self.limit), *self.options()]
        if workload.one_cpu:
            command.append("-1")
        command += self.prefix(argv[0]) + argv[1:]
        p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           errors="replace", env=self.environment)
        lines = p.stdout.splitlines() or [p.stderr]
        return parse(lines[0], [s[5:] for s in lines[1:] if s.startswith("@say ")])

    def probe(self):
        """Runs a tiny program; sets `missing` when that fails."""
        p = subprocess.run([self.runner, "-l", "20", *self.options(), *self.prefix("/bench/bin/fib"), "1"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.environment)
        lines = p.stdout.splitlines() or [p.stderr]
        r = parse(lines[0], [s[5:] for s in lines[1:]])
        self.missing = r.failure


class Native(Process):
    name, title = "native", "native"

    def __init__(self, env):
        super().__init__(env)
        self.amd64 = env.roots["amd64"]
        self.probe()

    def options(self):
        return ["-r", self.amd64]

    def prefix(self, program):
        return [program]


class QemuUser(Process):
    name, title = "qemu-user", "qemu-riscv64"

    def __init__(self, env):
        super().__init__(env)
        self.qemu = shutil.which("qemu-riscv64")
        if not self.qemu:
            self.missing = "qemu-riscv64 is not installed (Debian package qemu-user)"
            return
        self.environment["QEMU_LD_PREFIX"] = self.root
        self.wrap()
        self.probe()

    def wrap(self):
        """qemu-riscv64 starts no riscv64 program itself, the host's kernel does: with a script
        there, no binfmt registration is needed."""
        directory = os.path.join(self.root, "bench", "wrap")
        os.makedirs(directory, exist_ok=True)
        for name in ("nothing", "nothing_dynamic", "cc1"):
            program = os.path.join(self.root, "bench", "bin", name)
            with open(os.path.join(directory, name), "w") as f:
                # The first form costs no shell, but adds an argument.
                f.write(f"#!{self.qemu} {program}\n" if name != "cc1" else
                        f'#!/bin/sh\nexec {self.qemu} {program} "$@"\n')
            os.chmod(os.path.join(directory, name), 0o755)

    def executable(self, name):
        return os.path.join(self.root, "bench", "wrap", name)

    def argument(self, word):
        # Not all of its system calls look below the prefix.
        return word.replace("/bench/data/", self.root + "/bench/data/")

    def prefix(self, program):
        return [self.qemu, "-0", program, self.root + program]


class StrataUser(Process):
    name, title = "strata-user", "strata process"

    def __init__(self, env):
        super().__init__(env)
        self.strata = os.path.join(env.build, "strata")
        if not os.path.exists(self.strata):
            self.missing = f"{self.strata} is not built"
            return
        self.probe()

    def prefix(self, program):
        return [self.strata, "run", "--level", "process", "--arch", "riscv64", "--root", self.root,
                program]
