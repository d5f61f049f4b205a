#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""strata-oci killed at any moment: the next command finds its way, and nothing stays. Needs root and
busybox. Prints TAP."""
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

from bundle import BUSYBOX, RUNTIME, Failed, Room, check, finish, run_tests, same

MARK = f"98765.{os.getpid()}"
ROUNDS = int(os.environ.get("ROUNDS", "25"))


def reap():
    """Orphans are ours: a dead process that nobody waits for counts as one of its group."""
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
            pass
    except ChildProcessError:
        pass


def marked():
    """Processes of the containers of this test."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                line = f.read()
            exe = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        # Those on their way still have the command line of the runtime.
        if MARK in line and (exe.startswith("/memfd:strata-oci") or "busybox" in exe or exe.startswith(RUNTIME)):
            found.append((int(pid), line))
    return found


def mounts(room):
    with open("/proc/self/mountinfo") as f:
        return [line for line in f if room.directory in line]


def clean(room, before):
    end = time.monotonic() + 10
    while marked() and time.monotonic() < end:
        time.sleep(0.01)
    same(marked(), [])
    same(room.left(), [])
    same(mounts(room), before)


class Killer:
    """Starts a command and kills it after up to the time that the last ones took."""

    def __init__(self, room, seed):
        self.room, self.rng, self.longest, self.killed = room, random.Random(seed), 0.01, 0

    def __call__(self, *words):
        begin = time.monotonic()
        p = subprocess.Popen([RUNTIME, "--root", self.room.state, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        try:
            p.wait(self.rng.uniform(0, self.longest))
            self.longest = max(0.004, min(self.longest, 1.5 * (time.monotonic() - begin)))
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            self.killed += 1
            self.longest *= 1.05
            time.sleep(0.005)
        reap()
        return p.returncode


def config(room, **more):
    c = room.config()
    c["process"]["args"] = ["/bin/sleep", MARK]
    c["linux"]["resources"] = {"pids": {"limit": 20}}
    c.update(more)
    return c


def name(room):
    return f"{room.name()}-{MARK}"


def settled(room, n):
    """Its state once the process of one who was killed has noticed."""
    end = time.monotonic() + 5
    time.sleep(0.01)
    while True:
        s = room.call("state", n)
        if s.returncode or json.loads(s.stdout)["status"] != "creating" or time.monotonic() > end:
            return s
        time.sleep(0.005)


def good(p, what):
    check(p.returncode == 0, f"{what}: {p.stderr}")


def quiet(room, *words):
    """A container's process keeps the descriptors of its streams: none of ours."""
    return room.call(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_create(room):
    """Also into a user namespace, with ID-mapped mounts, hooks, and a nested group."""
    before, kill = mounts(room), Killer(room, 1)
    c = config(room)
    nested = f"/strata-crash-{os.getpid()}/a/b"
    c["linux"]["cgroupsPath"] = nested
    c["linux"]["namespaces"].append({"type": "user"})
    c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1000}]
    c["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    for bundle in (room.bundle(config(room)), room.bundle(c)):
        for _ in range(ROUNDS):
            n = name(room)
            kill("create", "-b", bundle, n)
            s = settled(room, n)
            if s.returncode == 0:
                check(json.loads(s.stdout)["status"] in ("created", "stopped"), s.stdout)
            # Either it is there and can be started, or the name is free or can be freed.
            if s.returncode or json.loads(s.stdout)["status"] == "stopped":
                if s.returncode == 0 and quiet(room, "create", "-b", bundle, n).returncode:
                    good(room.call("delete", n), "delete")
                    good(quiet(room, "create", "-b", bundle, n), "create after delete")
                elif s.returncode:
                    good(quiet(room, "create", "-b", bundle, n), "create")
            p = room.call("start", n)
            if p.returncode:
                # Its maker was killed just before the end.
                check(room.status(n) == "stopped", p.stderr)
                good(room.call("delete", n), "delete")
                good(quiet(room, "create", "-b", bundle, n), "create after delete")
                good(room.call("start", n), "start")
            same(room.status(n), "running")
            good(room.call("delete", "--force", n), "delete --force")
            clean(room, before)
    for top, dirs, _ in os.walk("/sys/fs/cgroup"):
        check(nested.split("/")[1] not in dirs, f"{top}{nested}")
    check(kill.killed > ROUNDS // 3, f"{kill.killed} killed")


def test_start(room):
    before, kill = mounts(room), Killer(room, 2)
    b = room.bundle(config(room))
    seen = set()
    for _ in range(ROUNDS):
        n = name(room)
        good(quiet(room, "create", "-b", b, n), "create")
        kill("start", n)
        time.sleep(0.03)
        status = room.status(n)
        with open(f"/proc/{json.loads(room.call('state', n).stdout)['pid']}/comm") as f:
            begun = f.read() == "sleep\n"
        same((status, begun), ("running", True) if begun else ("created", False))
        seen.add(status)
        same(room.call("start", n).returncode, 1 if begun else 0)
        check("not stopped" in room.call("delete", n).stderr, "deleted while it runs")
        good(room.call("kill", n, "KILL"), "kill")
        good(room.call("delete", "--force", n), "delete")
        clean(room, before)
    same(seen, {"created", "running"})


def test_a_start_that_says_no_more_than_start(room):
    """It is gone before it could tidy up: the program runs all the same."""
    n = name(room)
    good(quiet(room, "create", "-b", room.bundle(config(room)), n), "create")
    import socket
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(f"{room.state}/{n}/start.sock")
    same(room.status(n), "created")
    s.send(b"S")
    s.close()
    end = time.monotonic() + 5
    while room.status(n) == "created" and time.monotonic() < end:
        time.sleep(0.01)
    same(room.status(n), "running")
    check("is running, not created" in room.call("start", n).stderr, "started twice")
    check("is running, not stopped" in room.call("delete", n).stderr, "deleted")
    good(room.call("delete", "--force", n), "delete")


def test_exec(room):
    before, kill = mounts(room), Killer(room, 3)
    n = name(room)
    good(quiet(room, "create", "-b", room.bundle(config(room)), n), "create")
    good(room.call("start", n), "start")
    for _ in range(ROUNDS):
        kill("exec", "-d", n, "/bin/true")
        kill("exec", n, "/bin/true")
        same(room.status(n), "running")
        p = room.call("exec", n, "/bin/echo", "x")
        same((p.returncode, p.stdout, p.stderr), (0, "x\n", ""))
    end = time.monotonic() + 5
    while len(json.loads(room.call("ps", "--format", "json", n).stdout)) > 1 and time.monotonic() < end:
        time.sleep(0.01)
    same(len(json.loads(room.call("ps", "--format", "json", n).stdout)), 1)
    reap()  # the end of a PID namespace waits for all that were in it
    good(room.call("delete", "--force", n), "delete")
    clean(room, before)


def test_delete(room):
    before, kill = mounts(room), Killer(room, 4)
    b = room.bundle(config(room))
    for i in range(ROUNDS):
        n = name(room)
        good(quiet(room, "create", "-b", b, n), "create")
        if i % 2:
            good(room.call("start", n), "start")
        kill("delete", "--force", n)
        s = room.call("state", n)
        if s.returncode == 0:
            check(json.loads(s.stdout)["status"] in ("created", "running", "stopped"), s.stdout)
        good(room.call("delete", "--force", n), "delete")
        clean(room, before)


def test_run(room):
    before, kill = mounts(room), Killer(room, 5)
    c = config(room)
    c["process"]["args"] = ["/bin/true", MARK]
    b = room.bundle(c)
    for _ in range(ROUNDS):
        n = name(room)
        kill("run", "-b", b, n)
        good(room.call("delete", "--force", n), "delete")
        clean(room, before)


def test_two_makers_of_one_name(room):
    """One of them wins, and what it made stays."""
    before = mounts(room)
    b = room.bundle(config(room))
    for i in range(ROUNDS):
        n = name(room)
        makers = [subprocess.Popen([RUNTIME, "--root", room.state, "create", "-b", b, n], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(3)]
        watch = subprocess.Popen([RUNTIME, "--root", room.state, "state", n], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        out = watch.communicate()[0]
        check(not out or json.loads(out)["status"] in ("creating", "created"), out)
        same(sorted(p.wait() for p in makers), [0, 1, 1])
        same(room.status(n), "created")
        good(room.call("delete", n), "delete")
        clean(room, before)


def test_makers_and_removers_of_one_name(room):
    """Nobody removes what another has just made; what is made is whole or not there."""
    before, n, b = mounts(room), name(room), room.bundle(config(room))
    end = time.monotonic() + 3
    wrong = []

    def make():
        while time.monotonic() < end:
            log = os.path.join(room.directory, f"log-{threading.get_ident()}")
            p = subprocess.run([RUNTIME, "--root", room.state, "--log", log, "create", "-b", b, n], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)
            text = open(log).read()
            os.unlink(log)
            if p.returncode and "already exists" not in text:
                wrong.append(text)

    def remove():
        while time.monotonic() < end:
            p = room.call("delete", n)
            if p.returncode and "does not exist" not in p.stderr:
                wrong.append(p.stderr)

    threads = [threading.Thread(target=f) for f in (make, make, remove, remove)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    same(wrong, [])
    good(room.call("delete", "--force", n), "delete")
    clean(room, before)


def main():
    if os.geteuid() != 0 or not os.path.exists(BUSYBOX):
        print("1..0 # SKIP needs root and busybox")
        return 0
    only = sys.argv[1:]
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    with tempfile.TemporaryDirectory(prefix="strata-oci-") as tmp:
        room = Room(tmp)
        run_tests([f for n, f in globals().items() if n.startswith("test_") and (not only or n in only)], room)
        for n in os.listdir(room.state) if os.path.isdir(room.state) else []:
            room.call("delete", "--force", n)
        for pid, _ in marked():
            os.kill(pid, signal.SIGKILL)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
