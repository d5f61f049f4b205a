#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The runtime specification's demands, one case each: what config.md, config-linux.md and runtime.md say that
a runtime MUST do and test_oci.py does not look at. Needs root and busybox. Prints TAP."""
import json
import os
import shutil
import sys
import tempfile
import time

from bundle import BUSYBOX, Room, Skip, check, finish, run_tests, same


def script(room, name, text):
    path = os.path.join(room.directory, name)
    with open(path, "w") as f:
        f.write(f"#!{BUSYBOX} sh\n{text}\n")
    os.chmod(path, 0o755)
    return path


def hook(path, *args, **more):
    return {"path": path, "args": [path, *args], **more}


def test_unknown_members_are_ignored(room):
    """config.md, Extensibility."""
    c = room.config("echo ok")
    c["unknown"] = {"a": [1, None]}
    c["process"]["unknown"] = c["linux"]["unknown"] = "x"
    c["linux"]["resources"] = {"unknown": {"limit": 1}}
    same(room.output(c), "ok\n")


def test_annotations(room):
    """config.md, Annotations; runtime.md, State."""
    c = room.config("sleep 100")
    c["annotations"] = {"com.example.key": "", "other": "wört"}
    name, pid = room.created(c)
    s = json.loads(room.call("state", name).stdout)
    same((s["annotations"], s["status"], s["pid"], s["id"], os.path.isabs(s["bundle"]), s["ociVersion"][:2]),
         (c["annotations"], "created", pid, name, True, "1."))
    room.call("delete", "-f", name)
    c["annotations"] = {"a": 1}
    check("annotations.a: must be a string" in room.run(c).stderr, "a number")


def test_a_configuration_is_read_once(room):
    """runtime.md, Lifecycle 2: later changes of config.json do not count."""
    c = room.config("echo first")
    name, pid = room.created(c)
    bundle = json.loads(room.call("state", name).stdout)["bundle"]
    os.unlink(os.path.join(bundle, "config.json"))
    same(room.call("start", name).returncode, 0)
    for _ in range(200):
        if room.status(name) == "stopped":
            break
        time.sleep(0.01)
    same((room.log(name), room.status(name)), ("first\n", "stopped"))
    same(room.call("delete", name).returncode, 0)


def test_operations_in_the_wrong_state(room):
    """runtime.md, Operations: each an error, and without effect."""
    for words in (["state"], ["start"], ["kill"], ["delete"], ["create"]):
        check(room.call(*words).returncode != 0, f"{words} without an ID")
    for command in ("state", "start", "kill", "delete"):
        check(room.call(command, "not-there").returncode != 0, command)
    name, pid = room.created(room.config("sleep 100"))
    b = room.bundle(room.config("true"))
    check(room.call("create", "--bundle", b, name).returncode != 0, "an ID twice")
    same(room.status(name), "created")
    same(room.call("start", name).returncode, 0)
    for command in ("start", "delete"):
        check(room.call(command, name).returncode != 0, command)
        same((room.status(name), json.loads(room.call("state", name).stdout)["pid"]), ("running", pid))
    same(room.call("kill", name, "9").returncode, 0)
    for _ in range(200):
        if room.status(name) == "stopped":
            break
        time.sleep(0.01)
    for command in ("start", "kill"):
        check(room.call(command, name).returncode != 0, f"{command} when stopped")
    check("pid" not in json.loads(room.call("state", name).stdout), "a stopped one has no process")
    same(room.call("delete", name).returncode, 0)
    same(room.left(), [])


def test_a_failing_hook_before_the_program(room):
    """runtime.md, Lifecycle 3-5, 7: an error, the container stops, poststop hooks run."""
    trace = os.path.join(room.directory, "trace-fail")
    note = script(room, "note", f"echo $1 >> {trace}")
    fail = script(room, "fail", "exit 3")
    for kind in ("prestart", "createRuntime", "createContainer"):
        if os.path.exists(trace):
            os.unlink(trace)
        c = room.config(f"echo began")
        c["hooks"] = {kind: [hook(note, "one"), hook(fail), hook(note, "not-this")], "poststop": [hook(note, "stopped")]}
        p = room.run(c)
        check(p.returncode == 1 and f"{kind} hook {fail}: ended with status 3" in p.stderr and p.stdout == "", p)
        same(open(trace).read().split(), ["one", "stopped"])
        same(room.left(), [])
    c = room.config("echo began")
    c["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
    name, pid = room.created(c)
    p = room.call("start", name)
    check(p.returncode == 1 and "startContainer hook /bin/false: ended with status 1" in p.stderr, p.stderr)
    same((room.status(name), room.log(name)), ("stopped", ""))
    same(room.call("delete", name).returncode, 0)


def test_a_failing_hook_after_the_program_began(room):
    """runtime.md, Lifecycle 9, 13: a warning, and the remaining hooks run."""
    trace = os.path.join(room.directory, "trace-after")
    note, fail = script(room, "note2", f"echo $1 >> {trace}"), script(room, "fail2", "exit 4")
    for kind in ("poststart", "poststop"):
        if os.path.exists(trace):
            os.unlink(trace)
        c = room.config("echo began")
        c["hooks"] = {kind: [hook(note, "one"), hook(fail), hook(note, "two")]}
        p = room.run(c)
        same((p.returncode, p.stdout), (0, "began\n"))
        check(f"warning: {kind} hook {fail}: ended with status 4" in p.stderr, p.stderr)
        same(open(trace).read().split(), ["one", "two"])


def test_hooks_have_their_own_arguments_and_environment(room):
    """config.md, POSIX-platform Hooks: execv's meaning, nothing inherited."""
    trace = os.path.join(room.directory, "trace-env")
    look = script(room, "look", f"tr '\\0' ' ' < /proc/self/environ > {trace}; echo \"$0|$1|$#\" >> {trace}")
    c = room.config("true")
    c["hooks"] = {"createRuntime": [{"path": look, "args": ["zero", "a b"], "env": ["PATH=/bin:/usr/bin", "X=1 2"]}]}
    room.output(c)
    text = open(trace).read()
    check("X=1 2" in text and "HOME" not in text and "|a b|1" in text, text)


def test_mounts_in_their_order(room):
    """config.md, Mounts: in the listed order."""
    one, two = (os.path.join(room.directory, n) for n in ("order1", "order2"))
    for path, name in ((one, "first"), (two, "second")):
        os.makedirs(path)
        open(os.path.join(path, name), "w").close()
    c = room.config("ls /m")
    c["mounts"] += [{"destination": "/m", "source": one, "options": ["bind"]}, {"destination": "/m", "source": two, "options": ["bind"]}]
    same(room.output(c), "second\n")
    c["mounts"] += [{"destination": "/m/", "options": ["remount", "ro"]}]
    c["process"]["args"][2] = "touch /m/x || echo ro"
    same(room.output(c), "ro\n")
    same(os.listdir(two), ["second"])


def test_every_option_of_the_table(room):
    """config.md, Linux mount options: "Runtimes MUST support"."""
    table = """async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec
        noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec
        rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave
        rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap"""
    known = json.loads(room.call("features").stdout)["mountOptions"]
    same([w for w in table.split() if w not in known], [])
    c = room.config("true")
    c["mounts"].append({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": [
        w for w in table.split() if w not in ("bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup")]})
    same(room.run(c).stderr, "")


def test_propagation_of_the_root(room):
    """config-linux.md, Rootfs Mount Propagation."""
    for word, want in (("shared", "shared:"), ("slave", ""), ("private", ""), ("unbindable", "unbindable")):
        c = room.config("grep ' / / ' /proc/self/mountinfo || sed -n 's/.* \\/ / /p' /proc/self/mountinfo | head -1; cat /proc/self/mountinfo")
        c["linux"]["rootfsPropagation"] = word
        root = [line for line in room.output(c).splitlines() if len(line.split()) > 5 and line.split()[4] == "/"][0]
        optional = root.split(" - ")[0].split()[6:]
        check(any(o.startswith(want) for o in optional) if want else not any(o.startswith("shared:") or o == "unbindable" for o in optional),
              f"{word}: {root}")


def test_a_namespace_twice(room):
    """config-linux.md, Namespaces: "MUST generate an error"."""
    c = room.config("true")
    c["linux"]["namespaces"].append({"type": "pid"})
    check("the pid namespace is there twice" in room.run(c).stderr, "twice")
    c["linux"]["namespaces"][-1] = {"type": "user", "path": "/not/there"}
    check("No such file or directory" in room.run(c).stderr, "a path that leads nowhere")


def test_time_offsets_in_a_user_namespace(room):
    c = room.config("cut -d. -f1 /proc/uptime")
    c["linux"]["namespaces"] += [{"type": "time"}, {"type": "user"}]
    c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    c["linux"]["timeOffsets"] = {"boottime": {"secs": 5000000}}
    check(int(room.output(c)) > 5000000, "the offset")


def test_devices_of_all_types(room):
    """config-linux.md, Devices."""
    c = room.config("stat -c '%F %a %u %g' /dev/fifo /dev/blk /work/deep/chr")
    c["linux"]["devices"] = [{"path": "/dev/fifo", "type": "p", "fileMode": 0o600, "uid": 1, "gid": 2},
                             {"path": "/dev/blk", "type": "b", "major": 7, "minor": 200, "fileMode": 0o640},
                             {"path": "/work/deep/chr", "type": "u", "major": 1, "minor": 5}]
    same(room.output(c).splitlines(), ["fifo 600 1 2", "block special file 640 0 0", "character special file 666 0 0"])
    same(room.run(c).returncode, 0)  # they are there now
    c["linux"]["devices"] = [{"path": "/work/deep/chr", "type": "b", "major": 1, "minor": 5}]
    check("something else is there" in room.run(c).stderr, "another node")
    shutil.rmtree(os.path.join(room.root, "work/deep"))
    c["linux"]["devices"] = [{"path": "/dev/x", "type": "q"}]
    check("is none of b, c, u and p" in room.run(c).stderr, "a type that is none")


def test_what_cannot_be_done_is_an_error(room):
    """config-linux.md, IntelRdt, Seccomp, Resources."""
    for path, value in ((("intelRdt",), {"closID": "x"}), (("resources",), {"unified": {"no.such.file": "1"}}),
                        (("seccomp",), {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MOON"]}),
                        (("seccomp",), {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]})):
        c = room.config("true")
        c["linux"][path[0]] = value
        check(room.run(c).returncode == 1, path)
    same(room.left(), [])


def test_control_group_paths(room):
    """config-linux.md, Cgroups Path: the same path, the same place; what was made for it goes."""
    top = "/sys/fs/cgroup/pids" if os.path.isdir("/sys/fs/cgroup/pids") else "/sys/fs/cgroup"
    parent = f"strata-nested-{os.getpid()}"
    names = []
    for i in (1, 2):
        c = room.config("sleep 100")
        c["linux"]["cgroupsPath"] = f"/{parent}/in/c{i}"
        names.append(room.created(c))
        same(open(f"{top}/{parent}/in/c{i}/cgroup.procs").read().split(), [str(names[-1][1])])
    for i, (name, _) in enumerate(names):
        same(room.call("delete", "--force", name).returncode, 0)
        same(os.path.isdir(f"{top}/{parent}/in"), i == 0)
    for hierarchy, dirs, _ in os.walk("/sys/fs/cgroup"):
        check(parent not in dirs, f"{hierarchy}/{parent}")
    os.mkdir(f"{top}/{parent}")  # one that was there stays
    c = room.config("true")
    c["linux"]["cgroupsPath"] = f"/{parent}/in/c"
    room.output(c)
    same([d for d in os.listdir(f"{top}/{parent}") if os.path.isdir(f"{top}/{parent}/{d}")], [])
    os.rmdir(f"{top}/{parent}")


def test_exec_in_a_group_below(room):
    if not os.path.isdir("/sys/fs/cgroup/pids"):
        raise Skip("no v1 group of processes")
    name, _ = room.created(room.config("sleep 100"))
    room.call("start", name)
    group = f"/sys/fs/cgroup/pids/strata-{name}/below"
    os.mkdir(group)
    show = "grep pids: /proc/self/cgroup | cut -d: -f3"
    same(room.call("exec", "--cgroup", "below", name, "sh", "-c", show).stdout, "/below\n")
    same(room.call("exec", "--cgroup", "pids:/below", name, "sh", "-c", show).stdout, "/below\n")
    same(room.call("exec", "--cgroup", "cpu:/", name, "sh", "-c", show).stdout, "/\n")
    for bad in ("../x", "not-there", "pids:not-there", "moon:/below"):
        check(room.call("exec", "--cgroup", bad, name, "true").returncode == 1, bad)
    same(room.call("delete", "-f", name).returncode, 0)
    same(room.left(), [])


def test_exec_where_the_group_hands_controllers_down(room):
    """A group of v2 that does takes no processes: the first process's own group is taken."""
    top = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
    name, pid = room.created(room.config("sleep 100"))
    room.call("start", name)
    group = f"{top}/strata-{name}"
    try:
        controllers = open(f"{group}/cgroup.controllers").read().split()
        if not controllers:
            parent = f"{top}/cgroup.subtree_control"
            available = open(f"{top}/cgroup.controllers").read().split()
            if not available:
                raise Skip("no controller of v2")
            with open(parent, "w") as f:
                f.write("+" + available[0])
            controllers = available[:1]
        os.mkdir(f"{group}/leaf")
        with open(f"{group}/leaf/cgroup.procs", "w") as f:
            f.write(str(pid))
        with open(f"{group}/cgroup.subtree_control", "w") as f:
            f.write("+" + controllers[0])
        p = room.call("exec", name, "sh", "-c", "grep ^0: /proc/self/cgroup")
        same((p.stdout, p.stderr), ("0::/leaf\n", ""))
    finally:
        room.call("delete", "-f", name)
    same(room.left(), [])


def test_home_and_working_directory(room):
    """What engines rely on beyond the specification: HOME from the image, a working directory that is made."""
    with open(os.path.join(room.root, "etc/passwd"), "w") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\nbroken\nuser:x:12:34::/home/user:/bin/sh\nevil:x:13:1::relative:/bin/sh\n")
    for uid, want in ((0, "/root"), (12, "/home/user"), (13, "/"), (99, "/")):
        c = room.config("echo $HOME; pwd", cwd="/not/there/yet")
        c["process"]["user"]["uid"] = uid
        same(room.output(c).split(), [want, "/not/there/yet"])
    c["process"]["env"] = ["PATH=/bin", "HOME=/mine"]
    same(room.output(c).split()[0], "/mine")
    os.unlink(os.path.join(room.root, "etc/passwd"))
    os.mkfifo(os.path.join(room.root, "etc/passwd"))
    c["process"]["env"] = ["PATH=/bin"]
    same(room.output(c).split()[0], "/")
    os.unlink(os.path.join(room.root, "etc/passwd"))
    shutil.rmtree(os.path.join(room.root, "not"))


def test_zero_is_no_limit(room):
    """Callers send 0 for what was not given."""
    c = room.config("echo ok")
    c["linux"]["resources"] = {"memory": {"limit": 0, "reservation": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0},
                               "pids": {"limit": 0}}
    same(room.output(c), "ok\n")


def test_commands_while_run_waits(room):
    """`run` in the foreground keeps nobody from its container."""
    import subprocess
    from bundle import RUNTIME
    name = room.name()
    p = subprocess.Popen([RUNTIME, "--root", room.state, "run", "--bundle", room.bundle(room.config("echo began; sleep 100")), name],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    same(p.stdout.readline(), b"began\n")
    for command in ("pause", "resume"):
        q = subprocess.run([RUNTIME, "--root", room.state, command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        same((q.returncode, q.stderr), (0, b""))
    q = subprocess.run([RUNTIME, "--root", room.state, "delete", "--force", name], stderr=subprocess.PIPE, timeout=20)
    same((q.returncode, q.stderr), (0, b""))
    same((p.wait(20), p.stderr.read()), (128 + 9, b""))
    same(room.left(), [])


def test_pausing_what_has_not_begun(room):
    name, _ = room.created(room.config("true"))
    same(room.call("pause", name).returncode, 0)
    same(room.status(name), "paused")
    check("is paused, not created" in room.call("start", name).stderr, "started")
    same(room.call("resume", name).returncode, 0)
    same((room.status(name), room.call("start", name).returncode), ("created", 0))
    room.call("delete", "-f", name)


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
