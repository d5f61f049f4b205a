#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The speed of translated programs: the same riscv64 binaries under QEMU and Strata, and native.

Runs each workload in each mode several times, alternating, compares what they print, and ends with
a table of medians, ratios, geometric means and peak RSS. README.md says more. Ends with 1 when a
program failed or printed something else than elsewhere.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import boot  # noqa: E402
from lib import data, machine, modes, report, roots, workloads  # noqa: E402

MODES = [modes.Native, modes.QemuUser, modes.StrataUser, machine.QemuSystem, machine.StrataVm]
SCRIPTS = [os.path.join(HERE, "scripts", n) for n in ("bench.py", "bench.pl", "bench.lua", "bench.sh")]


class Environment:
    """What all modes share."""

    def __init__(self, a, say):
        self.build, self.limit, self.scale, self.memory = a.build, a.limit, a.scale, a.memory
        self.kernel, self.modules, self.kernel_missing = a.kernel, None, ""
        self.lock = roots.lock()
        self.roots = {arch: roots.prepare(arch, say) for arch in ("amd64", "riscv64")}
        for root in self.roots.values():
            data.make(os.path.join(root, "bench", "data"), a.scale, SCRIPTS)
        self.files = machine.Files(self)

    def find_kernel(self):
        try:
            if not self.kernel:
                self.kernel = boot.find_blob(self.build, "kernel")
                self.modules = boot.find_blob(self.build, "initramfs")
        except (SystemExit, OSError) as e:
            self.kernel_missing = str(e)


def say(text):
    print(f"# {text}", file=sys.stderr, flush=True)


def chosen_modes(names, env):
    if not names or any("system" in n or "vm" in n for n in names):
        env.find_kernel()
    found = []
    for mode in MODES:
        if names and mode.name not in names:
            continue
        m = mode(env)
        if m.missing:
            say(f"without {m.name}: {m.missing}")
        else:
            found.append(m)
    return found


def run_turn(chosen, found, results, boot_s):
    """Each workload once in each mode."""
    processes = [m for m in found if not m.machine]
    for w in (w for w in chosen if w.group != workloads.IDLE):
        for m in processes:
            r = m.run(w)
            results[m.name].setdefault(w.name, []).append(r)
            say(f"{w.name:16} {m.name:12} {r.seconds:8.2f}  {r.failure}")
    for m in (m for m in found if m.machine):
        for cpus in sorted({w.cpus for w in chosen}):
            part = [w for w in chosen if w.cpus == cpus]
            start = time.monotonic()
            done, seconds = m.run_all(part, cpus)
            boot_s[m.name].append(seconds)
            say(f"{m.name}, {cpus} CPU: {len(part)} programs in {time.monotonic() - start:.0f} s")
            for name, r in done.items():
                results[m.name].setdefault(name, []).append(r)
                say(f"{name:16} {m.name:12} {r.seconds:8.2f}  {r.failure}")


def conditions(a, found):
    cpu = ""
    with open("/proc/cpuinfo") as f:
        cpu = next((line.partition(":")[2].strip() for line in f if line.startswith("model name")), "")
    lines = [f"{cpu}, {os.cpu_count()} CPUs, Linux {platform.release()}; {a.runs} runs, scale {a.scale:g}, "
             f"guests of {a.memory} MiB, load at the start {os.getloadavg()[0]:.1f}"
             + ("; CPU time instead of elapsed time" if a.cpu else "")]
    for m in found:
        if qemu := getattr(m, "qemu", None):
            out = subprocess.run([qemu, "--version"], capture_output=True, text=True).stdout
            lines.append(f"{m.title}: {out.splitlines()[0]}")
    a64, rv = roots.versions("amd64"), roots.versions("riscv64")
    other = [f"{p} {a64[p]} / {rv[p]}" for p in sorted(a64.keys() & rv.keys()) if a64[p] != rv[p]]
    if other:
        lines.append("versions that differ (amd64 / riscv64): " + ", ".join(other))
    return lines


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--list", action="store_true", help="name the workloads and end")
    p.add_argument("--only", default="", help="workloads or groups, by commas; NAME* for many")
    p.add_argument("--modes", default="", help="of " + ",".join(m.name for m in MODES))
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--scale", type=float, default=1.0, help="how much work, against the usual")
    p.add_argument("--limit", type=int, default=180, help="seconds that one program may take")
    p.add_argument("--memory", type=int, default=1024, help="of guests, MiB")
    p.add_argument("--cpu", action="store_true",
                   help="compare CPU time, of all threads: for a host that is not idle")
    p.add_argument("--json", help="write all results to this file")
    p.add_argument("--kernel", help="of the guests, with virtio_blk and ext4 built in; otherwise that of the "
                   "image debian-boot with its modules")
    p.add_argument("--build", default=os.path.join(HERE, "..", "build"))
    a = p.parse_args()
    a.mode_names = [n for n in a.modes.split(",") if n]
    if unknown := set(a.mode_names) - {m.name for m in MODES}:
        p.error(f"no mode {', '.join(sorted(unknown))}; there are {', '.join(m.name for m in MODES)}")
    a.chosen = workloads.select([n for n in a.only.split(",") if n])
    if not a.chosen:
        p.error(f"--only {a.only}: no such workload (--list names them)")
    if a.runs < 1 or a.scale <= 0:
        p.error("--runs and --scale are positive")
    return a


def main():
    a = arguments()
    if a.list:
        for w in a.chosen:
            print(f"{w.name:16} {w.group:16} {w.cpus} CPU  {' '.join(w.command(a.scale, str))}")
        return 0
    try:
        roots.check_host()
        env = Environment(a, say)
    except roots.Failed as e:
        print(f"suite.py: {e}", file=sys.stderr)
        return 2
    found = chosen_modes(a.mode_names, env)
    if not found:
        print("suite.py: no mode can run here", file=sys.stderr)
        return 2
    said = conditions(a, found)
    results, boot_s = {m.name: {} for m in found}, {m.name: [] for m in found}
    for turn in range(a.runs):
        say(f"run {turn + 1} of {a.runs}")
        run_turn(a.chosen, found, results, boot_s)
    figures = report.Figures(results, a.chosen, [m.name for m in found],
                             "cpu_s" if a.cpu else "seconds")
    print(report.text(figures, boot_s, said))
    if a.json:
        with open(a.json, "w") as f:
            json.dump(report.data(figures, boot_s, said), f, indent=1)
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
