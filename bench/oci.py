#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OCI runtimes side by side: `run` of true, and create, start, wait, delete. Prints medians in
milliseconds and peak resident memory of each. Needs root and busybox; takes turns, so that what
else the host does falls on all alike. crun 1.8 refuses a hybrid cgroup layout: all are measured
in a view of v1 alone where the host has one."""
import argparse
import json
import os
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT = [os.path.join(HERE, "../build/src/oci/strata-oci"), "crun", "runc"]


def v1_view():
    """Again in a mount namespace without the v2 hierarchy, if there is one beside v1."""
    if os.environ.get("STRATA_BENCH_VIEW") or not os.path.ismount("/sys/fs/cgroup/unified"):
        return
    os.environ["STRATA_BENCH_VIEW"] = "v1"
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", "sh", "-c",
                          'umount /sys/fs/cgroup/unified && exec "$@"', "sh", sys.executable, *sys.argv])


def bundle(directory, seccomp):
    root = os.path.join(directory, "rootfs")
    for d in ("bin", "proc", "sys", "dev"):
        os.makedirs(os.path.join(root, d))
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/true"))
    subprocess.run([DEFAULT[0], "spec", "--bundle", directory], check=True)
    path = os.path.join(directory, "config.json")
    c = json.load(open(path))
    c["ociVersion"] = "1.0.2"  # what Debian's crun and runc know
    c["process"]["terminal"] = False
    c["process"]["args"] = ["/bin/true"]
    if seccomp:
        c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                                 "syscalls": [{"names": seccomp, "action": "SCMP_ACT_ERRNO"}]}
    json.dump(c, open(path, "w"))


def call(*words):
    pid = os.posix_spawnp(words[0], words, os.environ)
    if os.waitpid(pid, 0)[1]:
        sys.exit(f"failed: {' '.join(words)}")


def run(runtime, where, name):
    start = time.perf_counter()
    call(runtime, "run", "--bundle", where, name)
    return {"run": time.perf_counter() - start}


def steps(runtime, where, name):
    pid_file = os.path.join(where, "pid")
    t = [time.perf_counter()]
    call(runtime, "create", "--bundle", where, "--pid-file", pid_file, name)
    t.append(time.perf_counter())
    fd = os.pidfd_open(int(open(pid_file).read()))
    a = time.perf_counter()
    call(runtime, "start", name)
    t.append(time.perf_counter() - (a - t[1]))
    select.select([fd], [], [])
    t.append(time.perf_counter() - (a - t[1]))
    call(runtime, "delete", name)
    t.append(time.perf_counter() - (a - t[1]))
    os.close(fd)
    parts = {k: t[i + 1] - t[i] for i, k in enumerate(("create", "start", "wait", "delete"))}
    return {**parts, "four steps": t[4] - t[0]}


def memory(runtime, where, name):
    """KiB at its peak; started by a small program, since memory before execve counts too."""
    if not os.path.exists("/usr/bin/time"):
        return None
    p = subprocess.run(["/usr/bin/time", "-f", "%M", runtime, "run", "--bundle", where, name], stderr=subprocess.PIPE, text=True)
    return int(p.stderr.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--runtime", action="append", help="a program to measure (default: ours, crun, runc)")
    # After a container's end the kernel takes its network apart for a while yet, and a new one waits for that.
    parser.add_argument("--pause", type=float, default=0, help="seconds between measurements")
    parser.add_argument("--seccomp", action="store_true", help="with a filter of some 300 system calls")
    o = parser.parse_args()
    v1_view()
    runtimes = [r for r in o.runtime or DEFAULT if shutil.which(r)]
    names = []
    if o.seccomp:
        text = open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read()
        names = [n for n in re.findall(r"__NR_(\w+)", text)[60:] if n not in ("exit_group", "execve", "capset")]
        needed = {"arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlinkat", "readlink", "getrandom", "prctl",
                  "getuid", "newfstatat", "chdir", "getcwd", "umask", "seccomp", "setresuid", "setresgid", "setgroups", "capget",
                  "close_range", "openat", "getdents64", "futex", "fchdir", "getppid", "gettid", "tgkill", "epoll_pwait", "clock_gettime",
                  "sigaltstack", "setsid", "fstatfs", "statfs", "getgid", "geteuid", "getegid", "rt_sigreturn", "exit", "getpid", "clone3"}
        names = [n for n in names if n not in needed]
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as where:
        bundle(where, names)
        times, peak = {r: {} for r in runtimes}, {}
        for i in range(o.runs):
            for r in runtimes:
                for what in (run, steps):
                    time.sleep(o.pause)
                    for k, v in what(r, where, f"bench-{os.getpid()}-{i}").items():
                        times[r].setdefault(k, []).append(v * 1000)
        for r in runtimes:
            peak[r] = memory(r, where, f"bench-{os.getpid()}-m")
    view = os.environ.get("STRATA_BENCH_VIEW", "as the host has it")
    print(f"Medians of {o.runs} in turn, ms; {os.cpu_count()} CPUs, Linux {os.uname().release}, cgroups: {view}; "
          f"starting {'true' if not o.seccomp else 'true under a filter'} with posix_spawn")
    columns = list(times[runtimes[0]])
    print(f"{'':12}" + "".join(f"{c:>12}" for c in columns) + f"{'fastest run':>14}{'peak KiB':>10}")
    for r in runtimes:
        print(f"{os.path.basename(r):12}" + "".join(f"{statistics.median(times[r][c]):12.2f}" for c in columns) +
              f"{min(times[r]['run']):14.2f}{peak[r] or '-':>10}")


if __name__ == "__main__":
    main()
