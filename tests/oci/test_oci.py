#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""strata-oci by itself: each member of config.json has the effect that the runtime specification
gives it, seen from inside the container. Needs root and busybox. Prints TAP."""
import array
import fcntl
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from bundle import BUSYBOX, RUNTIME, Failed, Room, Skip, check, finish, run_tests, same


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise Failed("timed out")
        time.sleep(0.01)


def wait_end(pid):
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    check(select.select([fd], [], [], 20)[0], f"process {pid} does not end")
    os.close(fd)


def test_status_of_the_program(room):
    for status in (0, 7, 255):
        same(room.run(room.config(f"exit {status}")).returncode, status)


def test_arguments_environment_directory(room):
    c = room.config(args=["/bin/sh", "-c", 'echo "$0|$1|$A|$PWD"; env | wc -l', "x y", ""], env=["A=1 2", "PATH=/bin"], cwd="/work")
    same(room.output(c).splitlines()[0], "x y||1 2|/work")


def test_input_and_output(room):
    same(room.run(room.config("tr a-z A-Z; echo bad >&2"), input="hello").stdout, "HELLO")


def test_program_is_found_on_path(room):
    same(room.output(room.config(args=["hostname"], env=["PATH=/nowhere:/bin"])).strip() != "", True)


def test_errors_have_the_words_that_engines_look_for(room):
    p = room.run(room.config(args=["nonsense"]))
    check(p.returncode == 1 and "not found in $PATH: No such file or directory" in p.stderr, p.stderr)
    p = room.run(room.config(args=["/bin/nonsense"]))
    check("No such file or directory" in p.stderr, p.stderr)
    p = room.run(room.config(args=["/etc"]))
    check("Permission denied" in p.stderr, p.stderr)
    with open(os.path.join(room.root, "etc/text"), "w") as f:
        f.write("text")
    os.chmod(os.path.join(room.root, "etc/text"), 0o755)
    p = room.run(room.config(args=["/etc/text"]))
    check("Exec format error" in p.stderr, p.stderr)
    same(room.left(), [])


def test_namespaces_are_new(room):
    kinds = ("pid", "net", "ipc", "uts", "cgroup", "mnt")
    out = room.output(room.config("for n in pid net ipc uts cgroup mnt user; do readlink /proc/self/ns/$n; done")).split()
    for kind, inside in zip(kinds, out):
        check(os.readlink(f"/proc/self/ns/{kind}") != inside, f"{kind} is the host's")
    same(out[-1], os.readlink("/proc/self/ns/user"))
    same(room.output(room.config("echo $$; cut -d: -f3 /proc/self/cgroup | sort -u")).split(), ["1", "/"])


def test_namespaces_are_joined(room):
    p = subprocess.Popen(["unshare", "-n", "-i", "-u", "-p", "--fork", "sleep", "100"])
    try:
        wait_for(lambda: os.readlink(f"/proc/{p.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        c = room.config("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts; readlink /proc/self/ns/pid")
        child = f"/proc/{p.pid}/ns/"
        c["linux"]["namespaces"] = [{"type": "network", "path": child + "net"}, {"type": "ipc", "path": child + "ipc"},
                                    {"type": "uts", "path": child + "uts"}, {"type": "pid", "path": child + "pid_for_children"},
                                    {"type": "mount"}]
        c["mounts"] = c["mounts"][:1]
        same(room.output(c).split(), [os.readlink(child + n) for n in ("net", "ipc", "uts", "pid_for_children")])
        seen = os.path.join(room.directory, "seen")
        c["hooks"] = {"createRuntime": [{"path": BUSYBOX, "args": ["sh", "-c", f"for n in net ipc uts pid; do readlink /proc/self/ns/$n; done > {seen}"],
                                         "env": ["PATH=/bin:/usr/bin"]}]}
        room.output(c)
        same(open(seen).read().split(), [os.readlink(f"/proc/self/ns/{n}") for n in ("net", "ipc", "uts", "pid")])
        c["linux"]["namespaces"][0]["path"] = child + "ipc"
        check("is not a network namespace" in room.run(c).stderr, "a wrong kind of namespace")
    finally:
        for child in open(f"/proc/{p.pid}/task/{p.pid}/children").read().split():
            os.kill(int(child), signal.SIGKILL)
        p.kill()
        p.wait()


def test_time_namespace(room):
    c = room.config("cut -d. -f1 /proc/uptime")
    c["linux"]["namespaces"].append({"type": "time"})
    c["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 0}}
    inside, outside = int(room.output(c)), float(open("/proc/uptime").read().split()[0])
    check(999000 < inside - outside < 1001000, f"{inside} {outside}")


def test_user_namespace(room):
    os.chown(room.root, 100000, 100000)
    c = room.config("cat /proc/self/uid_map; id -u; touch /tmp/new; echo x > /dev/null; ls -ln /dev/null")
    c["linux"]["namespaces"].append({"type": "user"})
    c["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    c["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    out = room.output(c).split()
    os.chown(room.root, 0, 0)
    same(out[:4], ["0", "100000", "1000", "0"])
    same(out[4][0], "c")


def test_user_and_groups(room):
    c = room.config("id -u; id -g; id -G; umask; grep ^Uid /proc/self/status")
    c["process"]["user"] = {"uid": 12, "gid": 34, "additionalGids": [56, 78], "umask": 0o27}
    same(room.output(c).split(), ["12", "34", "34", "56", "78", "0027", "Uid:", "12", "12", "12", "12"])


def test_capabilities(room):
    caps = lambda **sets: {k: ["CAP_" + n for n in v] for k, v in sets.items()}
    show = "grep -E '^Cap' /proc/self/status | cut -f2"
    c = room.config(show, capabilities=caps(bounding=["KILL", "CHOWN"], permitted=["KILL", "CHOWN"], effective=["KILL", "CHOWN"]))
    same([int(x, 16) for x in room.output(c).split()], [0, 0x21, 0x21, 0x21, 0])
    all_five = dict.fromkeys(("bounding", "permitted", "effective", "inheritable", "ambient"), ["NET_RAW"])
    c = room.config(show, capabilities=caps(**all_five))
    c["process"]["user"] = {"uid": 5, "gid": 5}
    same([int(x, 16) for x in room.output(c).split()], [0x2000] * 5)
    same([int(x, 16) for x in room.output(room.config(show)).split()], [0] * 5)


def test_no_new_privileges_and_limits(room):
    c = room.config("grep NoNewPrivs /proc/self/status; ulimit -n; ulimit -H -n", noNewPrivileges=True,
                    rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}])
    same(room.output(c).split(), ["NoNewPrivs:", "1", "100", "200"])
    c["process"]["rlimits"].append({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200})
    check("process.rlimits[1].type: RLIMIT_NOFILE is there twice" in room.run(c).stderr, "a limit twice")


def test_oom_score_scheduler_io_priority(room):
    same(room.output(room.config("cat /proc/self/oom_score_adj", oomScoreAdj=77)).strip(), "77")
    c = room.config("cat /proc/self/stat; ionice -p $$", scheduler={"policy": "SCHED_BATCH", "nice": 5},
                    ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0})
    out = room.output(c).splitlines()
    same(out[0].split()[18], "5")
    check("idle" in out[1], out)


def test_personality(room):
    c = room.config("uname -m")
    c["linux"]["personality"] = {"domain": "LINUX32"}
    same(room.output(c).strip(), "i686" if os.uname().machine == "x86_64" else os.uname().machine)


def test_names_and_sysctl(room):
    c = room.config("hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax")
    c["hostname"], c["domainname"] = "inside", "example"
    c["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}
    same(room.output(c).split(), ["inside", "example", "1", "4096"])
    c["linux"]["sysctl"] = {"kernel.panic": "1"}
    check("is not a setting of a namespace" in room.run(c).stderr, "the host's sysctl")
    c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "network"]
    c["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    check("would be the host's" in room.run(c).stderr, "the host's network")


def rest_of(fd):
    """What comes from a terminal until it is closed."""
    out = b""
    try:
        while True:
            out += os.read(fd, 65536)
    except OSError:
        return out


def mounts_of(text):
    found = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        words = left.split()
        found[words[4]] = (set(words[5].split(",")), words[6:], right.split()[0], set(right.split()[2].split(",")))
    return found


def test_mount_options(room):
    source = os.path.join(room.directory, "source")
    os.makedirs(source, exist_ok=True)
    c = room.config("cat /proc/self/mountinfo; cat /dir/file; echo 2>/dev/null >/dir/file || echo denied")
    with open(os.path.join(source, "file"), "w") as f:
        f.write("content\n")
    c["mounts"] += [
        {"destination": "/dir", "type": "bind", "source": source, "options": ["bind", "ro", "nosuid", "nodev", "noexec", "noatime"]},
        {"destination": "/new/deep/file", "source": os.path.join(source, "file"), "options": ["rbind", "nosymfollow"]},
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "mode=1711", "ro", "shared"]},
    ]
    out = room.output(c)
    m = mounts_of(out[:out.index("content\n")])
    check({"ro", "nosuid", "nodev", "noexec", "noatime"} <= m["/dir"][0], m["/dir"])
    check("nosymfollow" in m["/new/deep/file"][0], m["/new/deep/file"])
    check(m["/t"][2] == "tmpfs" and "ro" in m["/t"][0] and "size=64k" in m["/t"][3] and "mode=1711" in m["/t"][3], m["/t"])
    check(any(x.startswith("shared:") for x in m["/t"][1]), m["/t"])
    check(not any(x.startswith("shared:") for x in m["/"][1]), m["/"])
    same(out.splitlines()[-2:], ["content", "denied"])
    c["mounts"][-1]["options"] = ["size=64k", "nonsense=1"]
    p = room.run(c)
    check("mount /t: mount tmpfs:" in p.stderr and "nonsense" in p.stderr, p.stderr)
    same(room.left(), [])


def test_an_early_error_is_told(room):
    """The process fails while the runtime still has things to tell it."""
    for kind in ("hostname", "type"):
        c = room.config("true")
        if kind == "hostname":
            c["hostname"] = "x" * 100
        else:
            c["mounts"][0]["type"] = "nonsense"
        want = "hostname x" if kind == "hostname" else "mount /proc: mount nonsense: this kernel has no such file system"
        for _ in range(30):
            p = room.run(c)
            check(p.returncode == 1 and want in p.stderr, p.stderr)


def test_recursive_read_only(room):
    source = os.path.join(room.directory, "deep")
    os.makedirs(source + "/below")
    subprocess.run(["mount", "-t", "tmpfs", "none", source + "/below"], check=True)
    try:
        c = room.config("touch /d/x 2>/dev/null || echo 1; touch /d/below/x 2>/dev/null || echo 2")
        c["mounts"].append({"destination": "/d", "source": source, "options": ["rbind", "ro"]})
        same(room.output(c).split(), ["1"])
        c["mounts"][-1]["options"] = ["rbind", "rro"]
        same(room.output(c).split(), ["1", "2"])
    finally:
        subprocess.run(["umount", source + "/below"], check=True)


def test_tmpfs_begins_with_what_is_there(room):
    os.makedirs(os.path.join(room.root, "filled/dir"), exist_ok=True)
    with open(os.path.join(room.root, "filled/dir/file"), "w") as f:
        f.write("abc")
    os.chown(os.path.join(room.root, "filled/dir/file"), 3, 4)
    os.symlink("dir/file", os.path.join(room.root, "filled/link"))
    c = room.config("cat /filled/link; stat -c ' %u %g' /filled/dir/file; echo new > /filled/new")
    c["mounts"].append({"destination": "/filled", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]})
    same(room.output(c), "abc 3 4\n")
    same(sorted(os.listdir(os.path.join(room.root, "filled"))), ["dir", "link"])


def test_idmapped_mount(room):
    source = os.path.join(room.directory, "mapped")
    os.makedirs(source)
    os.chown(source, 1000, 1000)
    c = room.config("stat -c '%u %g' /m")
    maps = [{"containerID": 1000, "hostID": 2000, "size": 1}]
    c["mounts"].append({"destination": "/m", "source": source, "options": ["bind", "idmap"], "uidMappings": maps, "gidMappings": maps})
    p = room.run(c)
    if "map the IDs" in p.stderr:
        raise Skip(p.stderr.strip())
    same(p.stdout.split(), ["2000", "2000"])


def test_links_in_the_image_lead_nowhere(room):
    """A destination that goes through links stays in the root; /proc may not be one."""
    outside = os.path.join(room.directory, "outside")
    os.makedirs(outside)
    other = os.path.join(room.directory, "evil")
    room.make_root(other)
    os.symlink(outside, os.path.join(other, "way"))
    os.symlink("../../../../../../.." + outside, os.path.join(other, "way2"))
    c = room.config("true")
    c["root"]["path"] = other
    for where in ("/way", "/way2"):
        c["mounts"] = c["mounts"][:3] + [{"destination": where + "/made", "type": "tmpfs", "source": "tmpfs"}]
        room.run(c)
        same(os.listdir(outside), [])
    os.rmdir(os.path.join(other, "proc"))
    os.symlink("tmp", os.path.join(other, "proc"))
    p = room.run(c)
    check("/proc: a symbolic link in the image" in p.stderr, p.stderr)


def test_devices(room):
    c = room.config("for d in null zero full random urandom tty; do stat -c '%n %t %T %a' /dev/$d; done; stat -c '%F %t %T %a %u' /dev/mine;"
                    "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done")
    c["linux"]["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7}]
    same(room.output(c).splitlines(), [
        "/dev/null 1 3 666", "/dev/zero 1 5 666", "/dev/full 1 7 666", "/dev/random 1 8 666", "/dev/urandom 1 9 666", "/dev/tty 5 0 666",
        "character special file 1 3 640 7", "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"])


def test_device_rules(room):
    if not os.path.isdir("/sys/fs/cgroup/devices") and not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        raise Skip("no devices cgroup")
    c = room.config("(: < /dev/mine) 2>/dev/null && echo open || echo denied; head -c1 /dev/zero | wc -c")
    c["linux"]["devices"] = [{"path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    deny = {"allow": False, "access": "rwm"}
    for rules, want in (([deny], "denied"), ([deny, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}], "open"),
                        ([{"allow": True, "access": "rwm"}], "open"), ([], "denied"),
                        ([{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rw"}], "denied")):
        c["linux"]["resources"] = {"devices": rules}
        same(room.output(c).split(), [want, "1"])


def test_masked_and_read_only(room):
    with open(os.path.join(room.root, "etc/secret"), "w") as f:
        f.write("secret")
    c = room.config("cat /etc/secret; ls /work; ls -A /masked; echo x 2>/dev/null >/ro/f || echo ro; touch /x 2>/dev/null || echo rootro")
    for d in ("masked/inner", "ro"):
        os.makedirs(os.path.join(room.root, d), exist_ok=True)
    c["root"]["readonly"] = True
    c["linux"]["maskedPaths"] = ["/etc/secret", "/masked", "/not/there", "/work"]
    c["linux"]["readonlyPaths"] = ["/ro", "/not/there"]
    same(room.output(c).split(), ["ro", "rootro"])


def test_cgroup_limits(room):
    v1 = os.path.isdir("/sys/fs/cgroup/memory")
    files = ("memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.shares", "cpu/cpu.cfs_quota_us") if v1 else \
        ("memory.max", "pids.max", "cpu.weight", "cpu.max")
    c = room.config(" ; ".join(f"cat /sys/fs/cgroup/{f}" for f in files))
    c["mounts"] += [{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
                    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]
    c["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 42}, "cpu": {"shares": 512, "quota": 50000, "period": 100000}}
    p = room.run(c)
    if "is not available" in p.stderr:
        raise Skip(p.stderr.strip())
    want = [str(64 << 20), "42", "512", "50000"] if v1 else [str(64 << 20), "42", "20", "50000 100000"]
    same(p.stdout.split("\n")[:4], want)
    c = room.config("for i in 1 2 3 4 5 6; do sleep 1 & done; wait; true")
    c["linux"]["resources"] = {"pids": {"limit": 4}}
    check("fork" in room.run(c).stderr, "the limit of processes")
    c["linux"]["resources"] = {"unified": {"../x": "1"}}
    check("is no file of a cgroup" in room.run(c).stderr, "a path")
    same(room.left(), [])


def test_a_cgroup_in_use_is_left_alone(room):
    """Its processes would be killed with the container."""
    top = "/sys/fs/cgroup/pids" if os.path.isdir("/sys/fs/cgroup/pids") else "/sys/fs/cgroup"
    group = f"strata-used-{os.getpid()}"
    os.mkdir(f"{top}/{group}")
    p = subprocess.Popen(["sleep", "100"])
    try:
        with open(f"{top}/{group}/cgroup.procs", "w") as f:
            f.write(str(p.pid))
        c = room.config("true")
        c["linux"]["cgroupsPath"] = "/" + group
        got = room.run(c)
        check(got.returncode == 1 and "has processes already" in got.stderr, got.stderr)
        same(p.poll(), None)
        same(room.left(), [])
    finally:
        p.kill()
        p.wait()
        wait_for(lambda: not open(f"{top}/{group}/cgroup.procs").read())
        os.rmdir(f"{top}/{group}")
    c["linux"]["cgroupsPath"] = f"/{group}/deep/er"
    same(room.output(c), "")
    same([d for d in os.listdir(top) if d == group and os.listdir(f"{top}/{d}") and os.path.isdir(f"{top}/{d}/deep/er")], [])
    for hierarchy in os.listdir("/sys/fs/cgroup"):
        for d in (f"/sys/fs/cgroup/{hierarchy}/{group}/deep", f"/sys/fs/cgroup/{hierarchy}/{group}"):
            if os.path.isdir(d):
                os.rmdir(d)
    for d in (f"{top}/{group}/deep", f"{top}/{group}"):
        if os.path.isdir(d):
            os.rmdir(d)


def test_seccomp(room):
    c = room.config("mkdir /tmp/x; echo $?; uname >/dev/null; echo $?; grep ^Seccomp: /proc/self/status")
    c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [
        {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
    for nnp in (False, True):
        c["process"]["noNewPrivileges"] = nnp
        p = room.run(c)
        check("No space left" in p.stderr, p.stderr)
        same(p.stdout.split(), ["1", "0", "Seccomp:", "2"])
    c["linux"]["seccomp"]["syscalls"].append({"names": ["capset", "uname"], "action": "SCMP_ACT_KILL_PROCESS"})
    c["process"]["args"] = ["/bin/uname"]
    c["process"]["noNewPrivileges"] = True
    same(room.run(c).returncode, 128 + signal.SIGSYS)
    c["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_MAYBE"
    check('linux.seccomp.syscalls[0].action: there is no action "SCMP_ACT_MAYBE"' in room.run(c).stderr, "an unknown action")


def test_compiled_filters_are_kept(room):
    where = os.path.join(room.state, ".filters")
    c = room.config("mkdir /tmp/x; rmdir /tmp/y", noNewPrivileges=True)

    def rule(call, error):
        c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": error}]}
        return room.run(c).stderr

    check("No space" in rule("mkdir", 28), "compiled")
    before = {n: os.stat(os.path.join(where, n)).st_ino for n in os.listdir(where)}
    check("No space" in rule("mkdir", 28), "kept")
    same({n: os.stat(os.path.join(where, n)).st_ino for n in os.listdir(where)}, before)
    check("Read-only" in rule("mkdir", 30), "another error")
    check("mkdir" not in rule("rmdir", 30), "another call")
    same(len(os.listdir(where)), len(before) + 2)
    # A file with the wrong name is not taken for another.
    files = {n: open(os.path.join(where, n), "rb").read() for n in os.listdir(where)}
    for n in files:
        with open(os.path.join(where, n), "wb") as f:
            f.write(next(text for other, text in files.items() if other != n))
    check("No space" in rule("mkdir", 28), "another's")
    # A file that is another's, or damaged, does not count.
    for n in os.listdir(where):
        with open(os.path.join(where, n), "r+b") as f:
            f.seek(20)
            f.write(b"\xff" * 8)
    check("No space" in rule("mkdir", 28), "damaged")
    for n in os.listdir(where):
        os.truncate(os.path.join(where, n), 10)
    check("No space" in rule("mkdir", 28), "cut off")
    for i in range(70):
        open(os.path.join(where, f"{i}"), "w").close()
    rule("mkdir", 1)
    check(len(os.listdir(where)) < 5, "too many")


def test_seccomp_agent(room):
    path = os.path.join(room.directory, "agent")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    got = {}

    def serve():
        s, _ = server.accept()
        data, anc, _, _ = s.recvmsg(65536, 64)
        got["state"] = json.loads(data)
        got["fd"] = array.array("i", anc[0][2])[0]
        select.select([got["fd"]], [], [], 10)
        os.close(got["fd"])  # the call fails with ENOSYS

    t = threading.Thread(target=serve)
    t.start()
    c = room.config("mkdir /tmp/x; exit 3", noNewPrivileges=True)
    c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "hello",
                             "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}
    p = room.run(c)
    t.join(10)
    same(p.returncode, 3)
    check("Function not implemented" in p.stderr, p.stderr)
    same((got["state"]["metadata"], got["state"]["fds"], got["state"]["state"]["status"]), ("hello", ["seccompFd"], "creating"))


def test_life(room):
    name, pid = room.created(room.config("echo begun; trap 'exit 5' TERM; while true; do sleep 0.05; done"))
    s = json.loads(room.call("state", name).stdout)
    same((s["status"], s["pid"], s["id"]), ("created", pid, name))
    same(os.readlink(f"/proc/{pid}/exe").startswith("/memfd:strata-oci"), True)
    same(room.log(name), "")
    p = room.call("create", "--bundle", s["bundle"], name)
    check(p.returncode == 1 and "already exists" in p.stderr, p.stderr)
    same(room.call("start", name).returncode, 0)
    same(room.status(name), "running")
    check("not created" in room.call("start", name).stderr, "started twice")
    check("is running, not stopped" in room.call("delete", name).stderr, "deleted while it runs")
    wait_for(lambda: room.log(name) == "begun\n")
    same(room.call("kill", name, "SIGTERM").returncode, 0)
    wait_end(pid)
    same(room.status(name), "stopped")
    p = room.call("kill", name, "KILL")
    check(p.returncode == 1 and "not running" in p.stderr, p.stderr)
    same(room.call("delete", name).returncode, 0)
    for command in (("state", name), ("kill", name), ("delete", name), ("start", name)):
        p = room.call(*command)
        check(p.returncode == 1 and "does not exist" in p.stderr, p.stderr)
    same(room.call("delete", "--force", name).returncode, 0)
    same(room.left(), [])


def test_delete_created_and_forced(room):
    name, pid = room.created(room.config("true"))
    same(room.call("delete", name).returncode, 0)
    wait_end(pid)
    name, pid = room.created(room.config("sleep 100"))
    room.call("start", name)
    same(room.call("delete", "--force", name).returncode, 0)
    wait_end(pid)
    same(room.left(), [])


def test_without_a_pid_namespace_nothing_stays(room):
    c = room.config("sleep 1000 & sleep 1000 & wait")
    c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "pid"]
    c["mounts"][0] = {"destination": "/proc", "source": "/proc", "options": ["rbind"]}
    name, pid = room.created(c)
    room.call("start", name)
    wait_for(lambda: len(open(f"/proc/{pid}/task/{pid}/children").read().split()) == 2)
    children = [int(x) for x in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    same(room.call("kill", "--all", name, "9").returncode, 0)
    wait_end(pid)
    for child in children:
        wait_for(lambda: not os.path.exists(f"/proc/{child}") or open(f"/proc/{child}/stat").read().split()[2] == "Z")
    same(room.call("delete", name).returncode, 0)
    same(room.left(), [])


def test_descriptors(room):
    r, w = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in os.pipe())
    os.dup2(w, 3)
    os.set_inheritable(3, True)
    show = "ls /proc/self/fd | tr '\\n' ' '"
    # 3 (or 4) is ls's own.
    same(room.output(room.config(show), close_fds=False).split(), ["0", "1", "2", "3"])
    same(room.output(room.config(show), "--preserve-fds", "1", close_fds=False).split(), ["0", "1", "2", "3", "4"])
    p = room.run(room.config("echo through >&3"), "--preserve-fds", "1", close_fds=False)
    same((p.returncode, os.read(r, 100)), (0, b"through\n"))
    check("descriptor 4 is not open" in room.run(room.config(show), "--preserve-fds", "2", pass_fds=[3]).stderr, "a descriptor that is not open")
    for fd in {r, w, 3}:
        os.close(fd)


def test_environment_of_the_runtime_stays_outside(room):
    out = room.output(room.config("env; cat /proc/1/environ"), env={**os.environ, "_OCI_SYNCPIPE": "9", "_OCI_STARTPIPE": "8"})
    check("_OCI" not in out, out)


def test_working_directory_cannot_leave(room):
    """CVE-2024-21626: a descriptor of the host as the working directory."""
    for fd in range(3, 20):
        p = room.run(room.config("pwd", cwd=f"/proc/self/fd/{fd}"))
        check(p.returncode != 0, f"fd {fd}: {p.stdout}")


def test_runtime_is_hidden(room):
    """CVE-2019-5736: no path leads to the runtime's own program."""
    p = room.run(room.config(args=["/proc/self/exe"]))
    check(p.returncode == 1 and ("Permission denied" in p.stderr or "Exec format error" in p.stderr), p.stderr)
    with open(os.path.join(room.root, "bin/self"), "w") as f:
        f.write("#!/proc/self/exe\n")
    os.chmod(os.path.join(room.root, "bin/self"), 0o755)
    p = room.run(room.config(args=["/bin/self"]))
    check(p.returncode == 1 and "strata-oci version" not in p.stdout and "usage" not in p.stderr, p.stderr)


def test_hooks(room):
    trace = os.path.join(room.directory, "trace")
    script = os.path.join(room.directory, "hook")
    with open(script, "w") as f:
        f.write(f"#!/bin/sh\nexec {BUSYBOX} sh -c 'echo \"$1 $(cat)\" >> {trace}' x \"$1\"\n")
    os.chmod(script, 0o755)
    with open(os.path.join(room.root, "bin/hook"), "w") as f:
        f.write("#!/bin/sh\necho \"$1 $(cat)\" >&2\n")
    os.chmod(os.path.join(room.root, "bin/hook"), 0o755)
    hook = lambda kind: [{"path": script, "args": ["hook", kind], "env": ["A=b"]}]
    c = room.config("echo program >&2")
    c["annotations"] = {"key": "value"}
    c["hooks"] = {k: hook(k) for k in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")}
    c["hooks"]["startContainer"] = [{"path": "/bin/hook", "args": ["hook", "startContainer"], "env": ["PATH=/bin"]}]
    p = room.run(c)
    same(p.returncode, 0)
    seen = [(line.split()[0], json.loads(line.split(" ", 1)[1])) for line in open(trace).read().splitlines()]
    same([k for k, _ in seen], ["prestart", "createRuntime", "createContainer", "poststart", "poststop"])
    same([s["status"] for _, s in seen], ["creating", "creating", "creating", "running", "stopped"])
    check(all(s["annotations"] == {"key": "value"} for _, s in seen), seen)
    check(seen[0][1]["pid"] == seen[2][1]["pid"] > 1, seen)
    lines = p.stderr.splitlines()
    check(lines[0].startswith("startContainer {") and lines[1] == "program", p.stderr)
    c["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    p = room.run(c)
    check(p.returncode == 1 and "createRuntime hook /bin/false: ended with status 1" in p.stderr, p.stderr)
    c["hooks"] = {"prestart": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]}
    check("not finished after 1 s" in room.run(c).stderr, "a time-out")
    c["hooks"] = {"prestart": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/false"}]}
    for _ in range(5):  # nobody reads stdin
        same(room.run(c).returncode, 0)
    same(room.left(), [])


def test_terminal(room):
    path = os.path.join(room.directory, "console")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    c = room.config("tty; stty size; ls -l /dev/console | cut -c1; read x; echo got $x", terminal=True,
                    consoleSize={"height": 31, "width": 97})
    check("--console-socket is needed" in room.call("create", "--bundle", room.bundle(c), room.name()).stderr, "no socket")
    name, pid = room.created(c, "--console-socket", path)
    s, _ = server.accept()
    _, anc, _, _ = s.recvmsg(100, 64)
    fd = array.array("i", anc[0][2])[0]
    room.call("start", name)
    os.write(fd, b"line\n")
    out = rest_of(fd).decode().replace("\r", "").split("\n")
    check("/dev/pts/0" in out and "31 97" in out and "c" in out and "got line" in out, out)
    wait_end(pid)
    same(room.call("delete", name).returncode, 0)


def test_run_in_a_terminal(room):
    import pty
    master, slave = pty.openpty()
    c = room.config("tty; read x; echo got $x; exit 4", terminal=True)
    p = subprocess.Popen([RUNTIME, "--root", room.state, "run", "--bundle", room.bundle(c), room.name()], stdin=slave, stdout=slave,
                         stderr=slave, start_new_session=True)
    os.close(slave)
    os.write(master, b"hello\r")
    out = rest_of(master)
    same(p.wait(20), 4)
    check(b"/dev/pts/0" in out and b"got hello" in out, out)


def test_a_full_terminal_blocks_nobody(room):
    """The program writes much and reads nothing, while much is typed."""
    import pty
    master, slave = pty.openpty()
    c = room.config("stty raw -echo; echo ready; head -c 300000 /dev/zero | tr '\\0' x; sleep 1; head -c 60000 | wc -c", terminal=True)
    p = subprocess.Popen([RUNTIME, "--root", room.state, "run", "--bundle", room.bundle(c), room.name()], stdin=slave, stdout=slave,
                         stderr=slave, start_new_session=True)
    os.close(slave)
    out = b""
    while b"ready" not in out:
        out += os.read(master, 1000)
    typed = threading.Thread(target=lambda: [os.write(master, b"y" * 1000) for _ in range(60)])
    typed.start()
    time.sleep(0.3)  # the typing is ahead
    try:
        while True:
            check(select.select([master], [], [], 20)[0], f"stuck after {len(out)} bytes")
            out += os.read(master, 65536)
    except OSError:
        pass
    typed.join(20)
    same(p.wait(20), 0)
    check(out.count(b"x") == 300000 and b"60000" in out, f"{out.count(b'x')} {out[-100:]}")


def test_signals_reach_the_program(room):
    c = room.config("trap 'echo usr; exit 6' USR1; echo ready; while true; do sleep 0.05; done")
    p = subprocess.Popen([RUNTIME, "--root", room.state, "run", "--bundle", room.bundle(c), room.name()], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE)
    same(p.stdout.readline(), b"ready\n")
    p.send_signal(signal.SIGUSR1)
    try:
        same((p.wait(20), p.stdout.read()), (6, b"usr\n"))
    finally:
        for left in room.left():
            room.call("delete", "--force", left)


def test_log(room):
    log = os.path.join(room.directory, "log")
    p = room.call("--log", log, "--log-format", "json", "state", "nothing")
    same(p.returncode, 1)
    entry = json.loads(open(log).read())
    check(entry["level"] == "error" and 'container "nothing" does not exist' in entry["msg"] and entry["time"].endswith("Z"), entry)
    check("does not exist" in p.stderr, p.stderr)


def test_bad_configurations(room):
    """Each names the member."""
    def change(path, value):
        c = room.config("true")
        at = c
        for key in path[:-1]:
            at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
        at[path[-1]] = value
        return c

    for config, want in (
            ("{", "config.json: line 1"), ("[]", "not a JSON object"), ("{}", "ociVersion: is required"),
            (change(["ociVersion"], "2.0.0"), 'ociVersion: version "2.0.0" is not 1.x'),
            (change(["process", "args"], []), "process.args: a command is required"),
            (change(["process", "args"], ["a", 1]), "process.args[1]: must be a string"),
            (change(["process", "cwd"], "here"), "process.cwd: \"here\" must be an absolute path"),
            (change(["process", "user", "uid"], -1), "process.user.uid: -1 is not within"),
            (change(["process", "env"], ["x"]), 'process.env: "x" is not NAME=VALUE'),
            (change(["root"], None), "root: is required"),
            (change(["linux", "namespaces"], [{"type": "moon"}]), 'linux.namespaces[0].type: there is no namespace type "moon"'),
            (change(["linux", "namespaces"], [{"type": "pid"}]), "a mount namespace is required"),
            (change(["linux", "resources"], {"memory": {"limit": "1"}}), "linux.resources.memory.limit: must be a whole number"),
            (change(["linux", "rootfsPropagation"], "x"), 'linux.rootfsPropagation: there is no propagation "x"'),
            (change(["linux", "uidMappings"], [{"containerID": 0, "hostID": 0, "size": 1}]), "ID mappings need a user namespace"),
            (change(["mounts"], [{"destination": "/x"}]), "mounts[0]: a mount needs a type"),
            (change(["hooks"], {"prestart": [{"path": "x"}]}), "hooks.prestart[0].path"),
            (change(["linux", "cgroupsPath"], "/../x"), "not a path below the top")):
        p = room.run(config)
        check(p.returncode == 1 and want in p.stderr, f"want {want!r} in {p.stderr!r}")
    for name in ("..", "a/b", "", "a b", "x" * 300):
        check("is no container ID" in room.call("run", "--bundle", room.bundle(room.config("true")), name).stderr, name)
    check("No such file or directory" in room.call("run", "--bundle", "/nowhere", "x").stderr, "no bundle")
    same(room.left(), [])


def test_killed_at_any_moment(room):
    """kill -9 of `create`: the next command finds its way, and nothing stays."""
    rng = random.Random(7)
    c = room.config("sleep 100")
    c["linux"]["resources"] = {"pids": {"limit": 10}}
    b = room.bundle(c)
    outcomes = set()
    for i in range(60):
        name = room.name()
        p = subprocess.Popen([RUNTIME, "--root", room.state, "create", "--bundle", b, name], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, 0.008))
        p.kill()
        p.wait()
        s = room.call("state", name)
        outcomes.add(json.loads(s.stdout)["status"] if s.returncode == 0 else "none")
        r = room.call("delete", "--force", name)
        same((r.returncode, r.stderr), (0, ""))
        same(room.left(), [])
    check(len(outcomes) >= 2, outcomes)


def running(room, script="while true; do sleep 0.05; done", **more):
    c = room.config(script)
    c.update(more)
    name, pid = room.created(c)
    same(room.call("start", name).returncode, 0)
    return name, pid


def test_exec(room):
    name, pid = running(room)
    p = room.call("exec", "-e", "A=b", "--cwd", "/work", "-u", "5:6", name, "sh", "-c", "echo $A $PWD $(id -u) $(id -g); tr a-z A-Z; exit 9", input="abc")
    same((p.returncode, p.stdout, p.stderr), (9, "b /work 5 6\nABC", ""))
    show = "for n in pid net ipc uts cgroup mnt user; do readlink /proc/self/ns/$n; done"
    same(room.call("exec", name, "sh", "-c", show).stdout.split(),
         [os.readlink(f"/proc/{pid}/ns/{n}") for n in ("pid", "net", "ipc", "uts", "cgroup", "mnt", "user")])
    same(room.call("exec", name, "sh", "-c", "cut -d: -f3 /proc/self/cgroup | sort -u; ls /proc/self/fd | wc -l").stdout.split(), ["/", "4"])
    p = room.call("exec", name, "nonsense")
    check(p.returncode == 1 and "not found in $PATH: No such file or directory" in p.stderr, p.stderr)
    process = os.path.join(room.directory, "process.json")
    with open(process, "w") as f:
        json.dump({"args": ["/bin/sh", "-c", "sleep 100"], "cwd": "/", "env": ["PATH=/bin"]}, f)
    pid_file = os.path.join(room.directory, "exec-pid")
    same(room.call("exec", "--detach", "--pid-file", pid_file, "--process", process, name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode, 0)
    inside = int(open(pid_file).read())
    same(sorted(json.loads(room.call("ps", "--format", "json", name).stdout))[:1], [pid])
    check(str(inside) in room.call("ps", name).stdout.split(), "ps")
    for words in (["--user", "x"], ["--env", "x"], ["--cap", "CAP_X"], ["--cwd", "x"]):
        same(room.call("exec", *words, name, "true").returncode, 1)
    same(room.call("delete", "-f", name).returncode, 0)
    wait_end(inside)
    p = room.call("exec", name, "true")
    check("does not exist" in p.stderr, p.stderr)
    same(room.left(), [])


def test_exec_has_the_filter_and_the_rights(room):
    c = room.config("sleep 100", capabilities={k: ["CAP_KILL"] for k in ("bounding", "permitted", "effective")})
    c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
    name, _ = room.created(c)
    room.call("start", name)
    p = room.call("exec", name, "sh", "-c", "mkdir /tmp/x; grep CapEff /proc/self/status")
    check("No space left" in p.stderr and p.stdout.split()[1] == "0000000000000020", p)
    p = room.call("exec", "-c", "CAP_CHOWN", name, "grep", "CapEff", "/proc/self/status")
    same(p.stdout.split()[1], "0000000000000021")
    room.call("delete", "-f", name)


def test_exec_in_a_user_namespace(room):
    c = room.config("sleep 100")
    c["linux"]["namespaces"].append({"type": "user"})
    c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    name, _ = room.created(c)
    room.call("start", name)
    p = room.call("exec", name, "sh", "-c", "id -u; cat /proc/self/uid_map")
    same(p.stdout.split(), ["0", "0", "100000", "1000"])
    room.call("delete", "-f", name)


def test_exec_hides_the_runtime(room):
    """CVE-2019-5736, through exec."""
    name, _ = running(room)
    p = room.call("exec", name, "/proc/self/exe", "--version")
    check(p.returncode == 1 and "strata-oci version" not in p.stdout, p)
    p = room.call("exec", "--cwd", "/proc/self/fd/7", name, "pwd")
    check(p.returncode == 1, p)
    room.call("delete", "-f", name)


def test_exec_in_a_terminal(room):
    import pty
    name, _ = running(room)
    master, slave = pty.openpty()
    p = subprocess.Popen([RUNTIME, "--root", room.state, "exec", "--tty", name, "sh", "-c", "tty; read x; echo got $x; exit 4"],
                         stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    os.write(master, b"hello\r")
    out = rest_of(master)
    same(p.wait(20), 4)
    check(b"/dev/pts/0" in out and b"got hello" in out, out)
    room.call("delete", "-f", name)


def test_pause_and_resume(room):
    name, pid = running(room, "i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done")
    same(room.call("pause", name).returncode, 0)
    same(room.status(name), "paused")
    size = len(room.log(name))
    check("is paused, not running" in room.call("exec", name, "true").stderr, "exec while paused")
    check("is paused, not running" in room.call("pause", name).stderr, "paused twice")
    time.sleep(0.1)
    same(len(room.log(name)), size)
    same(room.call("resume", name).returncode, 0)
    same(room.status(name), "running")
    wait_for(lambda: len(room.log(name)) > size)
    same(room.call("pause", name).returncode, 0)
    same(room.call("delete", "--force", name).returncode, 0)
    wait_end(pid)
    name, pid = running(room)
    room.call("pause", name)
    same(room.call("kill", name, "KILL").returncode, 0)
    wait_end(pid)
    same(room.call("delete", name).returncode, 0)
    name, pid = running(room)
    room.call("pause", name)
    same(room.call("kill", "--all", name, "KILL").returncode, 0)
    wait_end(pid)
    same(room.call("delete", name).returncode, 0)
    same(room.left(), [])


def test_update(room):
    if not os.path.isdir("/sys/fs/cgroup/memory"):
        raise Skip("the files looked at are those of cgroup v1")
    name, _ = running(room)
    group = f"strata-{name}"
    read = lambda f: open(f"/sys/fs/cgroup/{f.split('.')[0]}/{group}/{f}").read().strip()
    same(room.call("update", "--memory", str(32 << 20), "--pids-limit", "33", "--cpu-share", "200", name).returncode, 0)
    same((read("memory.limit_in_bytes"), read("pids.max"), read("cpu.shares")), (str(32 << 20), "33", "200"))
    p = room.call("update", "--resources", "-", name, input=json.dumps({"memory": {"limit": 64 << 20}, "cpu": {"quota": 20000, "period": 50000}}))
    same((p.returncode, p.stderr), (0, ""))
    same((read("memory.limit_in_bytes"), read("cpu.cfs_quota_us"), read("cpu.cfs_period_us"), read("pids.max")), (str(64 << 20), "20000", "50000", "33"))
    p = room.call("update", "--cpuset-cpus", "999", name)
    check(p.returncode == 1 and "cpuset.cpus" in p.stderr, p.stderr)
    room.call("delete", "-f", name)


def test_events(room):
    name, pid = running(room)
    e = json.loads(room.call("events", "--stats", name).stdout)
    same((e["type"], e["id"]), ("stats", name))
    if os.path.isdir("/sys/fs/cgroup/memory"):
        check(e["data"]["pids"]["current"] >= 1 and e["data"]["memory"]["usage"]["usage"] > 0 and e["data"]["cpu"]["usage"]["total"] > 0, e)
    p = subprocess.Popen([RUNTIME, "--root", room.state, "events", "--interval", "50ms", name], stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        same(json.loads(p.stdout.readline())["id"], name)
    room.call("kill", name, "KILL")
    same(p.wait(10), 0)
    check("is stopped" in room.call("events", name).stderr, "a stopped container")
    check("--interval x" in room.call("events", "--interval", "x", name).stderr, "no interval")
    room.call("delete", name)


def test_spec_and_features(room):
    where = os.path.join(room.directory, "written")
    os.makedirs(where + "/rootless")
    same(room.call("spec", "--bundle", where).returncode, 0)
    check("File exists" in room.call("spec", "-b", where).stderr, "overwritten")
    c = json.load(open(os.path.join(where, "config.json")))
    c["process"].update(terminal=False, args=["/bin/hostname"], env=["PATH=/bin"])
    c["root"]["path"] = room.root
    same(room.output(c), "strata\n")
    same(room.call("spec", "--rootless", "-b", where + "/rootless").returncode, 0)
    json.load(open(os.path.join(where, "rootless/config.json")))
    f = json.loads(room.call("features").stdout)
    same(f["potentiallyUnsafeConfigAnnotations"], ["dev.strata."])
    same((f["ociVersionMax"], sorted(f["linux"]["namespaces"])), ("1.2.0", ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]))
    for option in f["mountOptions"]:  # each that is named is known
        if option in ("idmap", "ridmap", "bind", "rbind", "tmpcopyup", "remount"):
            continue
        c["process"]["args"] = ["/bin/true"]
        c["mounts"][1]["options"] = [option]
        p = room.run(c)
        check(p.returncode == 0, f"{option}: {p.stderr}")
    c["process"]["args"] = ["/bin/sh", "-c", "echo > /dev/null; touch /dev/x"]
    c["mounts"][1]["options"] = ["ro"]
    check("Read-only file system" in room.run(c).stderr, "a read-only /dev")


def test_command_line(room):
    check("strata-oci version" in subprocess.run([os.environ["STRATA"], "oci", "--", "--version"], stdout=subprocess.PIPE, text=True).stdout
          if "STRATA" in os.environ else True, "strata oci")
    for words, want in ((["nonsense"], 'there is no command "nonsense"'), (["run"], "usage: strata-oci run"),
                        (["state", "a", "b"], "usage: strata-oci state"), (["run", "--nonsense", "x"], "run: there is no option --nonsense here"),
                        (["kill", "x", "NOSIG"], 'there is no signal "NOSIG"'), (["--systemd-cgroup", "list"], "not through systemd"),
                        (["--log-format", "x", "list"], "--log-format is text or json"),
                        (["create", "--preserve-fds", "x", "y"], '--preserve-fds: "x" is no number')):
        p = room.call(*words)
        check(p.returncode == 1 and want in p.stderr, f"{words}: {p.stderr}")
    help = room.call("--help").stdout
    for line in help.splitlines():
        if line.startswith("  ") and line[2] not in " -":
            p = room.call(line.split()[0], "--help")
            check(p.returncode == 0 and "usage: strata-oci" in p.stdout, line)


def test_without_root(room):
    """An ordinary user: a user namespace with one ID, no control group."""
    home = os.path.join(room.directory, "home")
    runtime = os.path.join(home, "runtime")
    os.makedirs(home)
    shutil.copy(RUNTIME, runtime)
    os.chown(home, 1000, 1000)
    os.chmod(room.directory, 0o755)
    above = os.path.dirname(room.directory)
    if os.stat(above).st_mode & 0o077 == 0:
        os.chmod(above, 0o711)  # the test runner's own

    def call(*words):
        return subprocess.run([runtime, *words], cwd=home, env={"XDG_RUNTIME_DIR": home, "PATH": os.environ["PATH"]}, user=1000, group=1000,
                              extra_groups=[], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)

    p = call("spec", "--rootless")
    same((p.returncode, p.stderr), (0, ""))
    c = json.load(open(home + "/config.json"))
    c["process"].update(terminal=False, args=["/bin/sh", "-c", "id -u; cat /proc/self/uid_map; echo > /dev/null; readlink /proc/1/exe"], env=["PATH=/bin"])
    c["root"]["path"] = room.root

    def run():
        with open(home + "/config.json", "w") as f:
            json.dump(c, f)
        return call("run", "rootless")

    p = run()
    if "user namespace" in p.stderr:
        raise Skip(p.stderr.strip())
    same((p.stdout.split(), p.stderr), (["0", "0", "1000", "1", "/bin/busybox"], ""))
    c["linux"]["resources"] = {"pids": {"limit": 5}}
    p = run()
    check("we may not make a group there" in p.stderr and "delegate a cgroup to this user" in p.stderr, p.stderr)
    same(call("list", "-q").stdout, "")


def test_list(room):
    same(json.loads(room.call("list", "--format", "json").stdout), [])
    name, pid = running(room)
    (one,) = json.loads(room.call("list", "-f", "json").stdout)
    same((one["id"], one["pid"], one["status"], one["owner"]), (name, pid, "running", 0))
    same(room.call("list", "-q").stdout, name + "\n")
    check(name in room.call("list").stdout.splitlines()[1], "table")
    for words in (["list"], ["ps", name]):
        check("--format is table or json" in room.call(words[0], "--format", "x", *words[1:]).stderr, words)
    room.call("delete", "-f", name)


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    if not os.path.exists(BUSYBOX):
        print("1..0 # SKIP no busybox")
        return 0
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="strata-oci-") as tmp:
        tests = [f for n, f in globals().items() if n.startswith("test_") and (not only or n in only)]
        room = Room(tmp)
        run_tests(tests, room)
        for name in os.listdir(room.state) if os.path.isdir(room.state) else []:  # of tests that failed
            room.call("delete", "--force", name)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
