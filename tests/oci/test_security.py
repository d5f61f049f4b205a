#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What went wrong in other OCI runtimes, class by class: docs/container-security.md names each. Needs
root and busybox. Prints TAP."""
import ctypes
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

from bundle import BUSYBOX, RUNTIME, Room, Skip, check, finish, run_tests, same

LIBC = ctypes.CDLL(None, use_errno=True)
CAPS = ("bounding", "permitted", "effective")


def volume(room, name):
    path = os.path.join(room.directory, name)
    os.makedirs(path, exist_ok=True)
    return path


def root(room, name):
    path = os.path.join(room.directory, name)
    room.make_root(path)
    return path


def started(room, c):
    name, pid = room.created(c)
    p = room.call("start", name)
    same((p.returncode, p.stderr), (0, ""))
    return name, pid


class Swapping:
    """Somebody who shares a volume changes `path` all the time: a directory, then a link to `target`."""

    def __init__(self, path, target):
        self.path, self.target, self.going = path, target, True
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while self.going:
            try:
                os.makedirs(self.path, exist_ok=True)
                os.rename(self.path, self.path + ".away")
                os.symlink(self.target, self.path)
                os.unlink(self.path)
                shutil.rmtree(self.path + ".away")
            except OSError:
                for path in (self.path, self.path + ".away"):
                    shutil.rmtree(path, ignore_errors=True)
                    if os.path.islink(path):
                        os.unlink(path)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()


def test_runtime_is_hidden_from_those_in_the_pid_namespace(room):
    """CVE-2016-9962, CVE-2019-5736: a container that shares its PID namespace looks at who comes in."""
    everything = {k: [f"CAP_{n}" for n in ("SYS_PTRACE", "DAC_OVERRIDE", "SYS_ADMIN", "KILL")] for k in CAPS}
    look = "while true; do for p in /proc/[0-9]*; do readlink $p/exe; ls -l $p/fd 2>/dev/null | sed -n 's/.*-> //p'; done; done"
    c = room.config(look, capabilities=everything)
    one, pid = started(room, c)
    d = room.config("true")
    d["linux"]["namespaces"] = [{"type": "pid", "path": f"/proc/{pid}/ns/pid"}, {"type": "mount"}]
    d["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "0.2"]}]}
    for _ in range(3):
        room.output(d)
        for _ in range(5):
            same(room.call("exec", one, "true").returncode, 0)
    room.call("delete", "--force", one)
    seen = set(room.log(one).splitlines())
    check(any("memfd:strata-oci" in s for s in seen), "nobody was seen at all")
    same([s for s in seen if "strata-oci" in s and not s.startswith("/memfd:") and "state" not in s and ".log" not in s], [])


def test_descriptors_of_one_who_comes_in_are_closed_to_others(room):
    """CVE-2016-9962: without the capability for it nobody reads the descriptors of a process on its way in."""
    one, pid = started(room, room.config("while true; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/self) ;; *) ls $p/fd/5 2>/dev/null; esac; done; done"))
    d = room.config("true")
    d["linux"]["namespaces"] = [{"type": "pid", "path": f"/proc/{pid}/ns/pid"}, {"type": "mount"}]
    d["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "0.3"]}]}
    room.output(d)
    room.call("delete", "--force", one)
    same(room.log(one), "")


def test_hooks_of_the_image_have_its_rights(room):
    """A startContainer hook is a program of the image."""
    other = root(room, "hooked")
    with open(os.path.join(other, "bin/hook"), "w") as f:
        f.write("#!/bin/sh\nid -u >&2; grep -E 'CapEff|CapBnd|CapInh|Seccomp:|NoNewPrivs' /proc/self/status | tr -d '\\n' >&2\n")
    os.chmod(os.path.join(other, "bin/hook"), 0o755)
    for nnp in (True, False):
        c = room.config("true", capabilities={k: ["CAP_KILL"] for k in CAPS}, noNewPrivileges=nnp)
        c["root"]["path"] = other
        c["hooks"] = {"startContainer": [{"path": "/bin/hook", "env": ["PATH=/bin"]}]}
        c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
        p = room.run(c)
        same((p.returncode, p.stderr.split()), (0, ["0", "CapInh:", "0000000000000000CapEff:", "0000000000000020CapBnd:",
                                                    f"0000000000000020NoNewPrivs:", f"{int(nnp)}Seccomp:", "2Seccomp_filters:", "1"]
                                                if "Seccomp_filters" in p.stderr else
                                                ["0", "CapInh:", "0000000000000000CapEff:", "0000000000000020CapBnd:",
                                                 "0000000000000020NoNewPrivs:", f"{int(nnp)}Seccomp:", "2"]))
        c["process"]["user"] = {"uid": 5, "gid": 5}
        same(room.run(c).stderr.split()[0], "5")


def test_keys_stay_outside(room):
    """The keys of the caller's session, and those of another container's."""
    keyctl, add_key = 250, 248
    if os.uname().machine != "x86_64" or not os.path.exists("/proc/keys"):
        raise Skip("no keys to look at")
    LIBC.syscall(keyctl, 1, b"session-of-the-test")
    key = LIBC.syscall(add_key, b"user", b"secret-of-the-test", b"x", 1, -3)
    if key < 0:
        raise Skip("no keys")
    LIBC.syscall(keyctl, 5, key, 0x3F000000)  # for who possesses it alone
    check("secret-of-the-test" in open("/proc/keys").read(), "the test does not see its own key")
    show = "grep -c secret-of-the-test /proc/keys"
    same(room.run(room.config(show)).stdout, "0\n")
    same(room.run(room.config(show), "--no-new-keyring").stdout, "1\n")
    name, _ = started(room, room.config("sleep 100"))
    same(room.call("exec", name, "sh", "-c", show).stdout, "0\n")
    room.call("delete", "-f", name)


def test_working_directory_cannot_leave(room):
    """CVE-2024-21626."""
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(fd, True)
    name, _ = started(room, room.config("sleep 100"))
    for n in range(3, 16):
        p = room.run(room.config("pwd; ls", cwd=f"/proc/self/fd/{n}"), close_fds=False)
        check(p.returncode == 1 and not p.stdout, f"{n}: {p.stdout}")
        p = room.call("exec", "--cwd", f"/proc/self/fd/{n}", name, "ls", close_fds=False)
        check(p.returncode == 1 and not p.stdout, f"exec {n}: {p.stdout}")
    os.close(fd)
    room.call("delete", "-f", name)


def test_mounts_cannot_be_led_outside(room):
    """CVE-2021-30465, CVE-2024-45310: what a destination goes through changes while it is mounted."""
    shared, outside = volume(room, "shared"), volume(room, "outside")
    c = room.config("true")
    c["mounts"] += [{"destination": "/vol", "source": shared, "options": ["bind"]},
                    {"destination": "/vol/dir/new/file", "source": "/etc/hostname", "options": ["bind", "ro"]},
                    {"destination": "/vol/dir/mount", "type": "tmpfs", "source": "tmpfs"}]
    before = [line for line in open("/proc/self/mountinfo") if room.directory in line]
    outcomes = set()
    with Swapping(os.path.join(shared, "dir"), outside):
        for _ in range(60):
            outcomes.add(room.run(c).returncode)
    same(os.listdir(outside), [])
    same([line for line in open("/proc/self/mountinfo") if room.directory in line], before)
    check(len(outcomes) == 2, f"{outcomes}: the race was not one")


def test_links_to_nothing_stay_inside(room):
    """The same class: what a link of the image leads to is made, in the image."""
    other, outside = root(room, "linked"), volume(room, "linked-outside")
    os.symlink("../run/systemd/resolve/stub.conf", os.path.join(other, "etc/resolv.conf"))
    os.symlink("../../../../../../../../.." + outside + "/made", os.path.join(other, "etc/up"))
    os.symlink(outside + "/made2", os.path.join(other, "etc/absolute"))
    os.symlink("loop2", os.path.join(other, "etc/loop"))
    os.symlink("loop", os.path.join(other, "etc/loop2"))
    c = room.config("cat /etc/resolv.conf /run/systemd/resolve/stub.conf | wc -l; ls -d /etc/up /etc/absolute")
    c["root"]["path"] = other
    source = os.path.join(room.directory, "resolv.conf")
    with open(source, "w") as f:
        f.write("nameserver 10.0.0.1\n")
    c["mounts"] += [{"destination": d, "source": source, "options": ["bind"]} for d in ("/etc/resolv.conf", "/etc/up", "/etc/absolute/x")]
    same(room.output(c).split(), ["2", "/etc/absolute", "/etc/up"])
    same(os.listdir(outside), [])
    c["mounts"][-1]["destination"] = "/etc/loop/x"
    check("Too many levels of symbolic links" in room.run(c).stderr, "a loop")


def test_proc_is_no_link(room):
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642; CVE-2019-18837 of crun."""
    other = root(room, "proc-link")
    os.rmdir(os.path.join(other, "proc"))
    os.makedirs(os.path.join(other, "evil/fs"))
    os.symlink("evil", os.path.join(other, "proc"))
    c = room.config("true")
    c["root"]["path"] = other
    check("/proc: a symbolic link in the image" in room.run(c).stderr, "/proc is a link")
    os.unlink(os.path.join(other, "proc"))
    os.mkdir(os.path.join(other, "proc"))
    os.rmdir(os.path.join(other, "sys"))
    os.symlink("/evil", os.path.join(other, "sys"))
    c["mounts"].append({"destination": "/sys/fs/deep", "type": "sysfs", "source": "sysfs"})
    check("a symbolic link in the image" in room.run(c).stderr, "/sys is a link")


def test_a_volume_on_proc_fools_nobody(room):
    """CVE-2019-16884, CVE-2025-52881: labels and settings go to the kernel, not to a file of the image."""
    fake = volume(room, "fake-proc")
    for d in ("self/attr/apparmor", "thread-self/attr/apparmor", "1/attr", "sys/net/ipv4", "self/fd"):
        os.makedirs(os.path.join(fake, d))
    files = ["self/attr/exec", "self/attr/apparmor/exec", "thread-self/attr/exec", "thread-self/attr/apparmor/exec", "sys/net/ipv4/ip_forward"]
    for f in files:
        open(os.path.join(fake, f), "w").close()
    c = room.config("cat /real/sys/net/ipv4/ip_forward")
    c["mounts"] += [{"destination": "/real", "type": "proc", "source": "proc"}, {"destination": "/proc", "source": fake, "options": ["bind"]}]
    c["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    same(room.output(c), "1\n")
    c["process"]["apparmorProfile"] = "no-such-profile"
    p = room.run(c)
    check(p.returncode == 1 and "AppArmor" in p.stderr, p.stderr)
    same([open(os.path.join(fake, f)).read() for f in files], [""] * len(files))


def test_masks_do_not_come_from_the_image(room):
    """CVE-2025-31133: /dev/null of the container is a link to what is to be masked or changed."""
    dev, secret = volume(room, "fake-dev"), os.path.join(room.directory, "host-secret")
    with open(secret, "w") as f:
        f.write("of the host\n")
    os.chmod(secret, 0o600)
    for target in (secret, "/proc/sysrq-trigger", "/proc/self/fd"):
        if os.path.islink(os.path.join(dev, "null")):
            os.unlink(os.path.join(dev, "null"))
        os.symlink(target, os.path.join(dev, "null"))
        c = room.config("stat -c '%t %T' /etc/masked; cat /etc/masked; : > /etc/masked; chmod 777 /etc/masked 2>/dev/null")
        with open(os.path.join(room.root, "etc/masked"), "w") as f:
            f.write("masked\n")
        c["mounts"] = [c["mounts"][0], {"destination": "/dev", "source": dev, "options": ["bind"]}]
        c["linux"]["maskedPaths"] = ["/etc/masked"]
        same(room.run(c).stdout, "1 3\n")
    same((open(secret).read(), stat.S_IMODE(os.stat(secret).st_mode)), ("of the host\n", 0o600))
    same(stat.S_IMODE(os.stat("/dev/null").st_mode), 0o666)


def test_terminal_is_one(room):
    """CVE-2025-52565: what the image has as /dev/pts/ptmx is no terminal, and /dev/console is ours."""
    other = root(room, "fake-pts")
    os.mkdir(os.path.join(other, "dev/pts"))
    open(os.path.join(other, "dev/pts/ptmx"), "w").close()
    os.mknod(os.path.join(other, "dev/pts/0"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    path = os.path.join(room.directory, "console-socket")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    c = room.config("true", terminal=True)  # the connection is made all the same
    c["root"]["path"] = other
    c["mounts"] = c["mounts"][:1]
    p = room.call("create", "--bundle", room.bundle(c), "--console-socket", path, room.name())
    check(p.returncode == 1 and "/dev/pts is not of type devpts" in p.stderr, p.stderr)
    server.accept()[0].close()
    # Not through the container's /proc, which need not be there.
    d = room.config("test -c /dev/console && echo is console", terminal=True)
    d["mounts"] = d["mounts"][1:]
    name, _ = room.created(d, "--console-socket", path)
    s, _ = server.accept()
    _, anc, _, _ = s.recvmsg(100, 64)
    fd = int.from_bytes(anc[0][2][:4], sys.byteorder)
    room.call("start", name)
    same(os.read(fd, 100).strip(), b"is console")
    room.call("delete", "-f", name)
    os.close(fd)


def test_device_nodes_are_changed_by_nobody_else(room):
    """The class of CVE-2025-52565: modes are set on the node itself, not on what has its name."""
    shared, victim = volume(room, "device-volume"), os.path.join(room.directory, "victim")
    with open(victim, "w") as f:
        f.write("x")
    os.chmod(victim, 0o600)
    c = room.config("true")
    c["mounts"].append({"destination": "/vol", "source": shared, "options": ["bind"]})
    c["linux"]["devices"] = [{"path": "/vol/node", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 7}]
    node = os.path.join(shared, "node")
    os.symlink(victim, node)
    p = room.run(c)
    check(p.returncode == 1 and "device /vol/node" in p.stderr, p.stderr)
    os.unlink(node)
    going = True

    def swap():
        while going:
            try:
                os.rename(node, node + ".real")
                os.symlink(victim, node)
                os.unlink(node)
                os.unlink(node + ".real")
            except OSError:
                pass

    t = threading.Thread(target=swap)
    t.start()
    for _ in range(60):
        room.run(c)
    going = False
    t.join()
    st = os.stat(victim)
    same((stat.S_IMODE(st.st_mode), st.st_uid), (0o600, 0))
    if os.path.lexists(node):
        os.unlink(node)
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # one that is right but for its mode
    same(room.run(c).returncode, 0)
    st = os.stat(node)
    same((stat.S_IMODE(st.st_mode), st.st_uid), (0o666, 7))


def test_no_capability_is_inheritable(room):
    """CVE-2022-24769, CVE-2022-27650, CVE-2022-29162."""
    c = room.config("grep -E 'CapInh|CapAmb' /proc/self/status; sleep 100", capabilities={k: ["CAP_CHOWN"] for k in CAPS})
    name, _ = started(room, c)
    p = room.call("exec", "--cap", "CAP_KILL", name, "grep", "-E", "CapInh|CapAmb", "/proc/self/status")
    same(p.stdout.split(), ["CapInh:", "0" * 16, "CapAmb:", "0" * 16])
    for _ in range(200):
        if "CapAmb" in room.log(name):
            break
        time.sleep(0.01)
    room.call("delete", "-f", name)
    same(room.log(name).split(), ["CapInh:", "0" * 16, "CapAmb:", "0" * 16])


def test_exec_is_confined_as_the_container_is(room):
    """A process of which nothing is said has the container's capabilities and limits, not none of them."""
    c = room.config("sleep 100", capabilities={k: ["CAP_CHOWN"] for k in CAPS}, rlimits=[{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}],
                    oomScoreAdj=123)
    name, _ = started(room, c)
    process = os.path.join(room.directory, "confined.json")
    with open(process, "w") as f:
        json.dump({"args": ["/bin/sh", "-c", "grep CapEff /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj"], "cwd": "/", "env": ["PATH=/bin"]}, f)
    same(room.call("exec", "--process", process, name).stdout.split(), ["CapEff:", "0000000000000001", "77", "123"])
    c["process"]["apparmorProfile"] = "no-such-profile"
    room.call("delete", "-f", name)


def test_control_groups_give_nothing_away(room):
    """CVE-2022-0492 (release_agent), CVE-2023-25809: what is seen is the container's own group."""
    for namespace in (True, False):
        c = room.config("find /sys/fs/cgroup -name release_agent; ls -d /sys/fs/cgroup/*/strata-* /sys/fs/cgroup/strata-* 2>/dev/null")
        c["mounts"] += [{"destination": "/sys", "type": "sysfs", "source": "sysfs"},
                        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]
        if not namespace:
            c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "cgroup"]
        same(room.run(c).stdout, "")


def test_a_group_of_others_is_left_alone(room):
    """What is below a group would be killed and removed with the container."""
    top = "/sys/fs/cgroup/pids" if os.path.isdir("/sys/fs/cgroup/pids") else "/sys/fs/cgroup"
    group = f"{top}/strata-others-{os.getpid()}"
    os.makedirs(group + "/service")
    p = subprocess.Popen(["sleep", "100"])
    try:
        with open(group + "/service/cgroup.procs", "w") as f:
            f.write(str(p.pid))
        c = room.config("true")
        c["linux"]["cgroupsPath"] = "/" + os.path.basename(group)
        got = room.run(c)
        check(got.returncode == 1 and "has processes already" in got.stderr, got.stderr)
        same(p.poll(), None)
        check(os.path.isdir(group + "/service"), "removed")
    finally:
        p.kill()
        p.wait()
        for _ in range(100):
            if not open(group + "/service/cgroup.procs").read():
                break
            time.sleep(0.01)
        os.rmdir(group + "/service")
        os.rmdir(group)
    same(room.left(), [])


def test_settings_of_the_host_cannot_be_named(room):
    """CVE-2022-0811 of CRI-O: kernel.core_pattern by way of another name."""
    before = open("/proc/sys/kernel/core_pattern").read()
    for key in ("kernel.core_pattern", "kernel/core_pattern", "kernel.shm/../core_pattern", "net/../kernel/core_pattern", "net...kernel.core_pattern",
                "kernel.shm_rmid_forced=1+kernel.core_pattern", "/proc/sys/kernel/core_pattern"):
        c = room.config("true")
        c["linux"]["sysctl"] = {key: "|/evil"}
        check(room.run(c).returncode == 1, key)
    same(open("/proc/sys/kernel/core_pattern").read(), before)


def test_too_large_is_an_error(room):
    """CVE-2021-43784: a length that overflows."""
    c = room.config("true")
    c["linux"]["namespaces"].append({"type": "user"})
    c["linux"]["uidMappings"] = [{"containerID": i, "hostID": i, "size": 1} for i in range(5000)]
    c["linux"]["gidMappings"] = c["linux"]["uidMappings"]
    check("more than 340 ranges" in room.run(c).stderr, "ID maps")
    for size in (256, 4096, 65535, 65536, 70000, 1 << 20):
        c = room.config("true")
        c["mounts"].append({"destination": "/" + "d" * size, "type": "tmpfs", "source": "tmpfs"})
        check("File name too long" in room.run(c).stderr, f"a destination of {size}")
        c["mounts"][-1] = {"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["mode=" + "7" * size]}
        check(room.run(c).returncode == 1, f"an option of {size}")
        c["mounts"].pop()
        c["hostname"] = "h" * size
        check("hostname" in room.run(c).stderr, f"a name of {size}")
    names = [f"{i}" for i in range(400)]
    c = room.config("true")
    c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 + int(n) % 3, "args": [{"index": 0, "value": int(n), "op": "SCMP_CMP_EQ"}]}
        for n in names] + [{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": k, "value": (i << 33) + i * k, "op": "SCMP_CMP_EQ"} for k in range(6)]} for i in range(250)]}
    p = room.run(c)
    check(p.returncode == 1 and "seccomp" in p.stderr, p.stderr)
    same(room.left(), [])


def test_state_of_another_user_is_not_trusted(room):
    """It says what is to be killed and removed."""
    for mode, owner in ((0o777, 0), (0o755, 1000), (0o1777, 0)):
        where = volume(room, f"state-{mode:o}-{owner}")
        os.chown(where, owner, owner)
        os.chmod(where, mode)
        for command in (["state", "x"], ["delete", "--force", "x"], ["create", "-b", room.bundle(room.config("true")), "x"]):
            p = subprocess.run([RUNTIME, "--root", where, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            check(p.returncode == 1 and "others may write there" in p.stderr, f"{command} {mode:o}: {p.returncode} {p.stderr}")


def test_nothing_outruns_kill(room):
    """A fork bomb in the host's PID namespace."""
    c = room.config("bomb() { sleep 0.01 & bomb & }; bomb; while true; do bomb; sleep 0.01; done")
    c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "pid"]
    c["mounts"][0] = {"destination": "/proc", "source": "/proc", "options": ["rbind"]}
    c["linux"]["resources"] = {"pids": {"limit": 60}}
    name, _ = started(room, c)
    time.sleep(0.3)
    same(room.call("kill", "--all", name, "KILL").returncode, 0)
    p = room.call("delete", "--force", name)
    same((p.returncode, p.stderr), (0, ""))
    same(room.left(), [])


def main():
    if os.geteuid() != 0 or not os.path.exists(BUSYBOX):
        print("1..0 # SKIP needs root and busybox")
        return 0
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="strata-oci-") as tmp:
        room = Room(tmp)
        run_tests([f for n, f in globals().items() if n.startswith("test_") and (not only or n in only)], room)
        for name in os.listdir(room.state) if os.path.isdir(room.state) else []:
            room.call("delete", "--force", name)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
