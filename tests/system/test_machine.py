#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An unmodified Debian on a machine of ours: boot, stdio, status, processors, memory."""
import json
import os
import signal
import subprocess
import time

import machine
from machine import STRATA, ARCH, contains, equal, run, sh, strata


def test_a_command_runs_and_its_output_is_exact():
    p = run("echo", "hello  world")
    equal((p.returncode, p.stdout), (0, b"hello  world\n"))


def test_one_two_and_four_processors():
    for n in (1, 2, 4):
        equal(sh("nproc", options=["--cpus", str(n)]).strip(), str(n))


def test_cpuinfo_names_what_is_implemented():
    info = sh("cat /proc/cpuinfo")
    for extension in ("rv64imafdc", "zicbom", "zicboz", "zawrs", "zba", "zbb", "zbs", "sstc",
                      "svnapot", "svpbmt"):
        contains(info, extension)
    contains(info, "sv48")


def test_it_is_debian_on_a_stock_kernel():
    text = sh("cat /etc/os-release; uname -rm; cat /proc/sys/kernel/tainted")
    contains(text, "Debian GNU/Linux 13")
    contains(text, "-riscv64 riscv64")
    equal(text.split()[-1], "0")


def test_the_root_is_one_file_system():
    equal(sh("touch /new; mkdir /dir; stat -c %d / /new /dir /etc /etc/passwd /usr/bin/env | sort -u | wc -l"), "1\n")
    # What a directory says of its entries is what they say.
    equal(sh("cp /etc/passwd /etc/new; for f in new passwd; do find /etc -maxdepth 1 -name $f -printf '%i '; "
             "stat -c %i /etc/$f; done | awk '{ print $1 == $2 }'"), "1\n1\n")


def test_streams_are_the_users_own():
    data = os.urandom(3_000_000)
    p = run("cat", stdin=data)
    equal((p.returncode, p.stdout == data), (0, True))
    p = run("sh", "-c", "echo out; echo err >&2; exit 7")
    equal((p.returncode, p.stdout, p.stderr), (7, b"out\n", b"err\n"))


def test_exit_status():
    equal(run("sh", "-c", "kill -9 $$").returncode, 137)
    equal(run("no-such-command").returncode, 127)
    equal(run("/etc/passwd").returncode, 126)


def test_counters_at_the_end():
    p = run("sh", "-c", "exit 3", options=["--cpus", "2", "--stats"])
    equal((p.returncode, p.stdout), (3, b""))
    rows = {line.rsplit(None, 3)[0]: line.split()[-3:] for line in p.stderr.decode().splitlines()}
    cpu0, cpu1, total = (int(n.replace(",", "")) for n in rows["insns"])
    equal(cpu0 + cpu1, total)
    assert total > 100_000_000, total
    p = run("true", options=["--stats=json"])
    stats = json.loads(p.stderr)
    equal((len(stats["cpus"]), stats["cpus"][0]), (1, stats["total"]))
    assert stats["total"]["interrupts"] > 0 and stats["total"]["exceptions"] > 0, stats


def test_environment_directory_and_name():
    text = sh("echo $GREETING; pwd; hostname",
              options=["--env", "GREETING=hi there", "--workdir", "/var", "--hostname", "pear"])
    equal(text, "hi there\n/var\npear\n")


def test_memory_is_what_was_asked_for():
    kib = int(sh("grep MemTotal /proc/meminfo", options=["--memory", "768M"]).split()[1])
    assert 640 * 1024 < kib < 768 * 1024, kib


def test_a_signal_reaches_the_command():
    p = subprocess.Popen([STRATA, "run", *ARCH, "--rm", "debian", "--", "sh", "-c",
                          "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 1; done"],
                         stdout=subprocess.PIPE)
    equal(p.stdout.readline(), b"ready\n")
    p.send_signal(signal.SIGTERM)
    out, _ = p.communicate(timeout=60)
    equal((p.returncode, out), (5, b"got it\n"))


def test_a_killed_monitor_leaves_nothing():
    name = f"killed-{os.getpid()}"
    p = subprocess.Popen([STRATA, "run", *ARCH, "--rm", "--name", name, "debian", "--", "sh", "-c",
                          "echo ready; sleep 600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    equal(p.stdout.readline(), b"ready\n")
    p.kill()
    p.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        running = subprocess.run(["pgrep", "-f", name], capture_output=True).stdout
        listed = strata("list").stdout.decode()
        if not running and name not in listed:
            return
        time.sleep(0.2)
    raise AssertionError(f"still there: processes {running!r}, list {listed!r}")


def test_a_panic_is_reported_as_what_it_is():
    p = run("sh", "-c", "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")
    assert p.returncode == 125, p.returncode
    contains(p.stderr.decode(), "panic")


def test_a_guest_that_switches_itself_off_is_reported():
    p = run("sh", "-c", "echo 1 > /proc/sys/kernel/sysrq; echo o > /proc/sysrq-trigger; sleep 60")
    assert p.returncode == 125, p.returncode
    contains(p.stderr.decode(), "off")


if __name__ == "__main__":
    machine.main()
