#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs of another architecture in a container of strata-oci: nothing of the host's tree is
needed, and nothing of the host's is within reach. Needs root, busybox, a compiler for riscv64.
Prints TAP."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from bundle import BUSYBOX, RUNTIME, Failed, Room, Skip, check, finish, run_tests, same

CC = "riscv64-linux-gnu-gcc"
HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARIES = "/usr/riscv64-linux-gnu/lib"
PROFILE = "/usr/share/containers/seccomp.json"
ARCH = {"dev.strata.arch": "riscv64"}


def config(room, *args, **process):
    c = room.config(**process)
    c["process"]["args"] = ["/bin/probe", *args]
    return c


def show(path="/bin/probe", name="probe", uid=0, args=None):
    return f"riscv64 {path} /bin/{os.path.basename(path) if args is None else 'probe'} {name} {path} {uid}\n"


def test_by_annotation_and_as_found(room):
    for annotations in (ARCH, {}):
        c = config(room)
        c["annotations"] = annotations
        same(room.output(c), show())
        c["process"]["args"] = ["probe", "exit"]
        same(room.run(c).returncode, 42)
    c["process"].update(args=["./probe"], cwd="/bin")
    same(room.output(c), show("./probe").replace("/bin/./", "/bin/"))


def test_dynamic_program(room):
    same(room.output(config(room, "spawn", "/bin/dynamic")), show("/bin/dynamic", "dynamic"))
    c = config(room)
    c["process"]["args"] = ["dynamic"]
    same(room.output(c), show("dynamic", "dynamic"))
    os.rename(room.root + "/lib", room.root + "/elsewhere")
    try:
        p = room.run(c)
        check(p.returncode == 127 and "ld-linux-riscv64" in p.stderr, (p.returncode, p.stderr))
    finally:
        os.rename(room.root + "/elsewhere", room.root + "/lib")


def test_scripts(room):
    for name, line in (("script", "#!/bin/probe show"), ("outer", "#!/bin/script")):
        with open(f"{room.root}/bin/{name}", "w") as f:
            f.write(line + "\n")
        os.chmod(f"{room.root}/bin/{name}", 0o755)
        for c in (config(room, "spawn", f"/bin/{name}"), config(room)):
            if c["process"]["args"] == ["/bin/probe"]:
                c["process"]["args"] = [name]
            same(room.output(c), f"riscv64 /bin/probe /bin/probe {name} /bin/probe 0\n")


def test_programs_of_the_host(room):
    same(room.output(config(room, "spawn", "/bin/echo", "native")), "native\n")
    c = room.config()
    c["annotations"] = ARCH
    same(room.output({**c, "process": {**c["process"], "args": ["/bin/echo", "x"]}}), "x\n")


def test_without_proc(room):
    c = config(room, "spawn", "/bin/probe", "spawn", "/bin/probe")
    c["mounts"] = []
    same(room.output(c), show())
    # What it changes its root to has none either.
    os.makedirs(room.root + "/work/bin", exist_ok=True)
    shutil.copy(room.root + "/bin/probe", room.root + "/work/bin/probe")
    caps = {k: ["CAP_SYS_CHROOT"] for k in ("bounding", "effective", "permitted")}
    c = config(room, "root", "/work", "/bin/probe", "spawn", "/bin/probe", capabilities=caps)
    same(room.output(c), show())


def test_its_own_descriptor_stays(room):
    same(room.output(config(room, "descriptors", "/bin/probe", "descriptors", "/bin/probe")), show())
    # A program of the host does not get it.
    same(room.output(config(room, "exec", "/bin/sh", "-c", "ls /proc/self/fd | wc -l")), "4\n")
    p = room.run(config(room, "spawn", "/bin/ls", "/proc/self/fd/"))
    check(not [n for n in p.stdout.split() if int(n) > 100], p.stdout)


def test_exec(room):
    c = config(room, "sleep")
    c["process"]["args"][0] = "probe"
    name, pid = room.created(c)
    same(room.call("start", name).returncode, 0)
    try:
        same(room.call("exec", name, "/bin/probe", "spawn", "/bin/probe").stdout, show())
        same(room.call("exec", name, "probe", "exit").returncode, 42)
        same(room.call("exec", name, "/bin/echo", "x").stdout, "x\n")
        same(open(f"/proc/{pid}/comm").read(), "probe\n")
        same(open(f"/proc/{pid}/cmdline").read().split("\0")[:2], ["probe", "sleep"])
    finally:
        room.call("delete", "-f", name)
    same(room.left(), [])


def test_translator_cannot_be_changed(room):
    """Root of the container may write wherever the host's root may: not through these links."""
    name, pid = room.created(config(room, "sleep"))
    room.call("start", name)
    try:
        for path in ("/proc/1/exe", "/proc/1/fd/9*"):
            p = room.call("exec", name, "/bin/sh", "-c",
                          f"for f in {path}; do [ -f $f ] && [ ! -c $f ] && (echo x >> $f; true > $f; chmod 0 $f; chown 1 $f; touch $f; echo tried $f); done 2>&1")
            check("tried" in p.stdout, p.stdout)
            same(p.stdout.count("Read-only file system") + p.stdout.count("Text file busy"), 5 * p.stdout.count("tried"))
    finally:
        room.call("delete", "-f", name)


def test_rights(room):
    c = config(room, "spawn", "/bin/probe", capabilities={k: [] for k in ("bounding", "effective", "permitted")}, noNewPrivileges=True,
               user={"uid": 1000, "gid": 1000}, rlimits=[{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}])
    c["root"]["readonly"] = True
    c["annotations"] = ARCH
    same(room.output(c), show(uid=1000))


def test_user_namespace(room):
    c = config(room, "spawn", "/bin/probe")
    c["linux"]["namespaces"].append({"type": "user"})
    c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    os.chown(room.root, 100000, 100000)
    try:
        same(room.output(c), show())
    finally:
        os.chown(room.root, 0, 0)


def test_without_root(room):
    home = os.path.join(room.directory, "home")
    os.makedirs(home)
    shutil.copy(RUNTIME, home + "/runtime")
    shutil.copy(os.environ["STRATA_PROCESS"], home)
    os.chown(home, 1000, 1000)
    os.chmod(room.directory, 0o755)
    above = os.path.dirname(room.directory)
    if os.stat(above).st_mode & 0o077 == 0:
        os.chmod(above, 0o711)  # the test runner's own

    def call(*words, **more):
        return subprocess.run([os.path.join(home, "runtime"), *words], cwd=home, env={"XDG_RUNTIME_DIR": home, "PATH": os.environ["PATH"]},
                              user=1000, group=1000, extra_groups=[], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60, **more)

    same(call("spec", "--rootless").returncode, 0)
    c = json.load(open(home + "/config.json"))
    c["process"].update(terminal=False, args=["/bin/probe", "spawn", "/bin/probe"])
    c["root"]["path"] = room.root
    with open(home + "/config.json", "w") as f:
        json.dump(c, f)
    p = call("run", "rootless")
    if "user namespace" in p.stderr:
        raise Skip(p.stderr.strip())
    same((p.stdout, p.stderr), (show(), ""))
    c["process"]["args"] = ["probe", "sleep"]
    with open(home + "/config.json", "w") as f:
        json.dump(c, f)
    log = open(home + "/log", "w")
    p = subprocess.run([os.path.join(home, "runtime"), "run", "-d", "two"], cwd=home, env={"XDG_RUNTIME_DIR": home}, user=1000, group=1000,
                       extra_groups=[], stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60)
    same((p.returncode, open(home + "/log").read().replace("up\n", "")), (0, ""))
    try:
        p = call("exec", "two", "/bin/probe")
        same((p.stdout, p.stderr), (show(), ""))
    finally:
        call("delete", "-f", "two")


def podman_profile():
    """Podman's own, as it arrives in config.json for a container without more capabilities."""
    profile = json.load(open(PROFILE))
    ours = lambda g: "caps" not in g.get("includes", {}) and "amd64" in g.get("includes", {}).get("arches", ["amd64"])
    groups = [g for g in profile["syscalls"] if ours(g) and "amd64" not in g.get("excludes", {}).get("arches", [])]
    keep = ("names", "action", "args", "errnoRet")
    return {"defaultAction": profile["defaultAction"], "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{k: v for k, v in g.items() if k in keep and v not in (None, [])} for g in groups]}


def test_usual_seccomp_profile(room):
    if not os.path.exists(PROFILE):
        raise Skip("no profile of Podman's")
    c = config(room, "spawn", "/bin/dynamic")
    c["linux"]["seccomp"] = podman_profile()
    same(room.output(c), show("/bin/dynamic", "dynamic"))
    # The filter counts for what the program calls.
    for group in c["linux"]["seccomp"]["syscalls"]:
        group["names"] = [n for n in group["names"] if n != "uname"]
    c["linux"]["seccomp"]["syscalls"].append({"names": ["uname"], "action": "SCMP_ACT_KILL_PROCESS"})
    c["process"]["args"] = ["dynamic"]
    same(room.run(c).returncode, 128 + signal.SIGSYS)


def test_bad_annotations(room):
    for value, words in (("mips", 'programs for "mips" cannot be run'), ("", 'programs for ""')):
        c = config(room)
        c["annotations"] = {"dev.strata.arch": value}
        p = room.run(c)
        check(p.returncode == 1 and words in p.stderr and "annotations.dev.strata.arch" in p.stderr, p.stderr)
    c["annotations"] = {"dev.strata.arch": "amd64"}
    p = room.run(c)  # the kernel decides; with binfmt_misc it may know how
    check(p.returncode == 0 or "Exec format error" in p.stderr, p.stderr)
    c["annotations"] = ARCH
    for args, words in ((["nonsense"], "not found in $PATH: No such file or directory"), (["/etc"], "Permission denied")):
        c["process"]["args"] = args
        p = room.run(c)
        check(p.returncode == 1 and words in p.stderr, p.stderr)
    c["process"]["args"] = ["/etc/text"]
    with open(room.root + "/etc/text", "w") as f:
        f.write("text")
    os.chmod(room.root + "/etc/text", 0o755)
    p = room.run(c)
    check(p.returncode == 126 and "Exec format error" in p.stderr, (p.returncode, p.stderr))
    same(room.left(), [])


def test_translator_is_missing(room):
    lonely = os.path.join(room.directory, "lonely")
    os.makedirs(lonely)
    shutil.copy(RUNTIME, lonely)
    p = subprocess.run([lonely + "/strata-oci", "--root", room.state, "run", "--bundle", room.bundle(config(room)), room.name()],
                       env={"STRATA_LIBEXEC": "/nowhere"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if p.returncode == 0:
        raise Skip("it is installed on this host")
    check("strata-process is not installed" in p.stderr, p.stderr)
    same(room.left(), [])


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    if os.environ.get("SANITIZED"):
        print("1..0 # SKIP a sanitized strata-process is not static")
        return 0
    if not os.path.exists(BUSYBOX) or not shutil.which(CC):
        print("1..0 # SKIP no busybox, or no compiler for riscv64")
        return 0
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="strata-oci-") as tmp:
        room = Room(tmp)
        source = os.path.join(HERE, "foreign_probe.c")
        subprocess.run([CC, "-O1", "-static", "-o", room.root + "/bin/probe", source], check=True)
        subprocess.run([CC, "-O1", "-o", room.root + "/bin/dynamic", source], check=True)
        os.makedirs(room.root + "/lib")
        for name in ("ld-linux-riscv64-lp64d.so.1", "libc.so.6"):
            shutil.copy(os.path.join(LIBRARIES, name), room.root + "/lib")
        tests = [f for n, f in globals().items() if n.startswith("test_") and (not only or n in only)]
        run_tests(tests, room)
        for name in os.listdir(room.state) if os.path.isdir(room.state) else []:  # of tests that failed
            room.call("delete", "--force", name)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
