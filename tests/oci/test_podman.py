#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Podman with strata-oci as its runtime: what users do with containers. Needs root, podman, conmon
and busybox; has a storage of its own. Prints TAP."""
import json
import os
import pty
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from bundle import BUSYBOX, RUNTIME, Failed, Room, Skip, check, finish, run_tests, same

COMPILER = "riscv64-linux-gnu-gcc"
LOOP = "trap 'exit 3' TERM; echo up; while true; do sleep 0.1; done"


class Podman:
    def __init__(self, directory):
        self.directory = directory
        storage, containers = (os.path.join(directory, n) for n in ("storage.conf", "containers.conf"))
        with open(storage, "w") as f:
            f.write(f'[storage]\ndriver = "overlay"\nrunroot = "{directory}/run"\ngraphroot = "{directory}/graph"\n')
        # Limits that a host without CAP_SYS_RESOURCE can set.
        with open(containers, "w") as f:
            f.write('[containers]\ndefault_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]\nlog_driver = "k8s-file"\n'
                    '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "strata"\n'
                    f'image_copy_tmp_dir = "{directory}"\n[engine.runtimes]\nstrata = ["{os.path.abspath(RUNTIME)}"]\n')
        self.env = {**os.environ, "CONTAINERS_CONF": containers, "CONTAINERS_STORAGE_CONF": storage}
        room = Room(os.path.join(directory, "room"))
        archive = os.path.join(directory, "image.tar")
        with open(os.path.join(room.root, "etc/passwd"), "w") as f:
            f.write("root:x:0:0::/:/bin/sh\nuser:x:7:8::/work:/bin/sh\n")
        subprocess.run(["tar", "-C", room.root, "-cf", archive, "."], check=True)
        self.output("import", archive, "busybox")

    def words(self, *words):
        return ["podman", "--tmpdir", os.path.join(self.directory, "tmp"), *words]

    def call(self, *words, input=None):
        return subprocess.run(self.words(*words), env=self.env, input=input, stdin=subprocess.DEVNULL if input is None else None,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100)

    def output(self, *words, **more):
        p = self.call(*words, **more)
        if p.returncode:
            raise Failed(f"podman {' '.join(words)}: status {p.returncode}: {p.stdout}{p.stderr}")
        return p.stdout

    def run(self, *words, options=(), **more):
        return self.output("run", "--rm", "--network", "none", *options, "busybox", *words, **more)

    def start(self, name, script=LOOP, *options):
        self.output("run", "-d", "--name", name, "--network", "none", *options, "busybox", "sh", "-c", script)
        if "echo up" in script:
            for _ in range(100):
                if "up" in self.output("logs", name):
                    return
                time.sleep(0.05)
            raise Failed("it does not begin")

    def in_terminal(self, *words, typed=b""):
        master, slave = pty.openpty()
        p = subprocess.Popen(self.words(*words), env=self.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        os.write(master, typed)
        out = b""
        try:
            while True:
                out += os.read(master, 1000)
        except OSError:
            pass
        return p.wait(60), out.decode()

    def close(self):
        self.call("rm", "-fa")
        self.call("pod", "rm", "-fa")
        for line in reversed(open("/proc/mounts").read().splitlines()):
            if line.split()[1].startswith(self.directory + "/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)


def test_run(podman):
    same(podman.run("cat", options=["-i"], input="through\n"), "through\n")
    for status, words in ((5, ["sh", "-c", "exit 5"]), (127, ["nonsense"]), (126, ["/etc"])):
        same(podman.call("run", "--rm", "--network", "none", "busybox", *words).returncode, status)


def test_run_in_a_terminal(podman):
    status, out = podman.in_terminal("run", "--rm", "-it", "--network", "none", "busybox", "sh", "-c", "tty; read x; echo got $x; exit 4", typed=b"word\r")
    same(status, 4)
    check("/dev/pts/0" in out and "got word" in out, out)


def test_detached_with_logs_exec_stop_start_kill(podman):
    podman.start("life")
    same(podman.output("exec", "-e", "A=b", "-w", "/work", "-u", "user", "life", "sh", "-c", "echo $A $PWD $(id -u)"), "b /work 7\n")
    same(podman.call("exec", "life", "sh", "-c", "exit 6").returncode, 6)
    same(podman.call("exec", "life", "nonsense").returncode, 127)
    same(podman.output("exec", "-i", "life", "tr", "a-z", "A-Z", input="abc"), "ABC")
    podman.output("exec", "-d", "life", "touch", "/tmp/made")
    for _ in range(50):
        if "made" in podman.output("exec", "life", "ls", "/tmp"):
            break
        time.sleep(0.05)
    else:
        raise Failed("a detached exec does nothing")
    status, out = podman.in_terminal("exec", "-it", "life", "sh", "-c", "tty; exit 8")
    same((status, "/dev/pts/" in out), (8, True))
    check("sh -c trap" in podman.output("top", "life"), "top")
    podman.output("stop", "-t", "10", "life")
    same(podman.output("inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", "life"), "3 exited\n")
    podman.output("start", "life")
    podman.output("kill", "-s", "KILL", "life")
    same(podman.output("wait", "life"), "137\n")
    podman.output("rm", "life")


def test_pause_and_update(podman):
    podman.start("held")
    podman.output("pause", "held")
    same(podman.output("inspect", "-f", "{{.State.Status}}", "held"), "paused\n")
    podman.output("unpause", "held")
    podman.output("update", "--memory", "64m", "held")
    file = "/sys/fs/cgroup/memory/memory.limit_in_bytes" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup/memory.max"
    same(podman.output("exec", "held", "cat", file), f"{64 << 20}\n")
    check(json.loads(podman.output("stats", "--no-stream", "--format", "json", "held"))[0]["pids"] != "0", "stats")
    podman.output("rm", "-f", "-t", "0", "held")


def test_init(podman):
    if not any(os.path.exists(os.path.join(d, "catatonit")) for d in ("/usr/libexec/podman", "/usr/bin", "/usr/local/bin")):
        raise Skip("no catatonit")
    check("init" in podman.run("cat", "/proc/1/cmdline", options=["--init"]), "init is not the first process")


def test_read_only(podman):
    same(podman.run("sh", "-c", "touch /x 2>/dev/null || echo denied; touch /tmp/y && echo made", options=["--read-only"]), "denied\nmade\n")


def test_capabilities(podman):
    show = ["grep", "CapEff", "/proc/self/status"]
    same(podman.run(*show, options=["--cap-drop", "ALL", "--cap-add", "CHOWN"]).split()[1], "0000000000000001")
    check(int(podman.run(*show, options=["--privileged"]).split()[1], 16) > 1 << 36, "--privileged")


def test_limits(podman):
    same(podman.run("sh", "-c", "ulimit -n; ulimit -Hn", options=["--ulimit", "nofile=100:200", "--ulimit", "nproc=500:500"]), "100\n200\n")
    v1 = os.path.isdir("/sys/fs/cgroup/memory")
    files = ["memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.cfs_quota_us"] if v1 else ["memory.max", "pids.max", "cpu.max"]
    out = podman.run("sh", "-c", "cd /sys/fs/cgroup; cat " + " ".join(files), options=["--memory", "32m", "--pids-limit", "20", "--cpus", "0.5"])
    same(out.split()[:3], [str(32 << 20), "20", "50000"])


def test_security_options(podman):
    show = ["grep", "-E", "^(NoNewPrivs|Seccomp):", "/proc/self/status"]
    same(podman.run(*show, options=["--security-opt", "no-new-privileges"]).split()[1::2], ["1", "2"])
    same(podman.run(*show, options=["--security-opt", "seccomp=unconfined"]).split()[1::2], ["0", "0"])


def test_mounts(podman):
    there = os.path.join(podman.directory, "shared")
    os.makedirs(there)
    same(podman.run("sh", "-c", "echo x > /v/file; touch /r/file 2>/dev/null || echo denied; df -k /t | tail -1",
                    options=["-v", there + ":/v", "-v", there + ":/r:ro", "--tmpfs", "/t:size=1m"]).split()[:3], ["denied", "tmpfs", "1024"])
    same(open(os.path.join(there, "file")).read(), "x\n")


def test_namespaces(podman):
    same(podman.run("cat", "/proc/self/uid_map", options=["--uidmap", "0:100000:1000"]).split(), ["0", "100000", "1000"])
    same(podman.run("sh", "-c", "hostname; test $$ != 1 && echo host", options=["--pid", "host", "--hostname", "name"]), "name\nhost\n")
    podman.start("owner")
    out = podman.run("readlink", "/proc/self/ns/ipc", options=["--ipc", "container:owner", "--pid", "container:owner"])
    same(out, podman.output("exec", "owner", "readlink", "/proc/self/ns/ipc"))
    podman.output("rm", "-f", "-t", "0", "owner")


def test_healthcheck(podman):
    podman.start("well", LOOP, "--health-cmd", "test -e /tmp/well", "--health-interval", "disable")
    same(podman.call("healthcheck", "run", "well").returncode, 1)
    podman.output("exec", "well", "touch", "/tmp/well")
    same(podman.call("healthcheck", "run", "well").returncode, 0)
    podman.output("rm", "-f", "-t", "0", "well")


def test_pod(podman):
    if not any(os.path.exists(os.path.join(d, "catatonit")) for d in ("/usr/libexec/podman", "/usr/bin", "/usr/local/bin")):
        raise Skip("no catatonit")
    podman.output("pod", "create", "--name", "together", "--network", "none", "--share", "ipc,uts,pid")
    out = podman.output("run", "--rm", "--pod", "together", "busybox", "sh", "-c", "echo $$; tr '\\0' ' ' < /proc/1/cmdline")
    check("catatonit" in out and not out.startswith("1\n"), out)
    podman.output("pod", "rm", "-f", "together")


def test_user_mode_network(podman):
    if not shutil.which("slirp4netns"):
        raise Skip("no slirp4netns")
    out = podman.output("run", "--rm", "--network", "slirp4netns", "busybox", "ip", "addr", "show", "tap0")
    check("10.0.2." in out, out)


def test_other_options(podman):
    for options, words, want in (
            (["--sysctl", "kernel.msgmax=5000"], ["cat", "/proc/sys/kernel/msgmax"], "5000"),
            (["--device", "/dev/fuse"], ["sh", "-c", ": < /dev/fuse && echo open"], "open"),
            (["--user", "7:8", "-w", "/tmp"], ["sh", "-c", "id -u; id -g; pwd"], "7\n8\n/tmp"),
            (["--oom-score-adj", "100"], ["cat", "/proc/self/oom_score_adj"], "100"),
            (["--security-opt", "mask=/etc/passwd"], ["cat", "/etc/passwd"], ""),
            (["--umask", "0027"], ["sh", "-c", "umask"], "0027"),
            (["--shm-size", "128k"], ["sh", "-c", "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"], "128"),
            (["--restart", "on-failure:2"], ["true"], "")):
        if "--restart" in options:
            podman.start("again", "exit 3", *options)
            for _ in range(600):
                if podman.output("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "again") == "2 exited\n":
                    break
                time.sleep(0.05)
            else:
                raise Failed("not started again twice")
            podman.output("rm", "-f", "again")
        else:
            same(podman.run(*words, options=options).strip(), want)


def test_without_root(podman):
    """As an ordinary user who has a range of subordinate IDs."""
    ranged = {line.split(":")[0] for line in open("/etc/subuid")} if os.path.exists("/etc/subuid") else set()
    user = next((u for u in pwd.getpwall() if u.pw_name in ranged and u.pw_uid), None)
    if not user or not shutil.which("newuidmap"):
        raise Skip("no user with a range in /etc/subuid, or no newuidmap")
    home = os.path.join(podman.directory, "home")
    os.makedirs(home + "/run", 0o700)
    os.chmod(podman.directory, 0o755)
    above = os.path.dirname(podman.directory)
    if os.stat(above).st_mode & 0o077 == 0:
        os.chmod(above, 0o711)  # the test runner's own
    for name in ("containers.conf", "image.tar", RUNTIME):
        shutil.copy(os.path.join(podman.directory, name) if name != RUNTIME else RUNTIME, home)
    containers = os.path.join(home, "containers.conf")
    text = open(containers).read().replace(os.path.abspath(RUNTIME), os.path.join(home, os.path.basename(RUNTIME)))
    with open(containers, "w") as f:
        f.write(text.replace(f'image_copy_tmp_dir = "{podman.directory}"', f'image_copy_tmp_dir = "{home}"'))
    for at in [home] + [os.path.join(home, n) for n in os.listdir(home)]:
        os.chown(at, user.pw_uid, user.pw_gid)
    env = {"HOME": home, "XDG_RUNTIME_DIR": home + "/run", "CONTAINERS_CONF": containers, "PATH": os.environ["PATH"], "USER": user.pw_name}

    def call(*words):
        p = subprocess.run(["podman", *words], cwd=home, env=env, user=user.pw_uid, group=user.pw_gid, extra_groups=[], text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100)
        if p.returncode:
            raise Failed(f"podman {' '.join(words)}: status {p.returncode}: {p.stdout}{p.stderr}")
        return p.stdout

    try:
        call("import", "image.tar", "busybox")
        same(call("run", "--rm", "--network", "none", "busybox", "sh", "-c", "id -u; head -1 /proc/self/uid_map").split(), ["0", "0", str(user.pw_uid), "1"])
        call("run", "-d", "--name", "mine", "--network", "none", "busybox", "sleep", "100")
        same(call("exec", "mine", "id", "-u"), "0\n")
        call("rm", "-f", "-t", "0", "mine")
    finally:
        subprocess.run(["podman", "unshare", "rm", "-rf", os.path.join(home, ".local")], cwd=home, env=env, user=user.pw_uid, group=user.pw_gid,
                       extra_groups=[], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        call("system", "migrate")  # ends the process that keeps the user's namespaces


def test_build(podman):
    where = os.path.join(podman.directory, "build")
    os.makedirs(where)
    with open(os.path.join(where, "Containerfile"), "w") as f:
        f.write("FROM busybox\nRUN echo made > /made\nCMD cat /made\n")
    p = podman.call("build", "--network", "none", "--isolation", "oci", "--runtime", os.path.abspath(RUNTIME), "-t", "built", where)
    if p.returncode:
        raise Failed(p.stdout + p.stderr)
    same(podman.output("run", "--rm", "--network", "none", "built"), "made\n")


def test_image_for_riscv64(podman):
    """Found out by the program's file: Podman passes no architecture on."""
    if not shutil.which(COMPILER):
        raise Skip("no compiler for riscv64")
    where = os.path.join(podman.directory, "riscv")
    os.makedirs(where + "/bin")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "foreign_probe.c")
    subprocess.run([COMPILER, "-O1", "-static", "-o", where + "/bin/probe", source], check=True)
    subprocess.run(["tar", "-C", where, "-cf", where + ".tar", "."], check=True)
    podman.output("import", "--arch", "riscv64", "--os", "linux", where + ".tar", "probe")
    for options in ([], ["--annotation", "dev.strata.arch=riscv64"], ["--user", "7", "--read-only", "--cap-drop", "all"]):
        out = podman.output("run", "--rm", "--arch", "riscv64", "--network", "none", *options, "probe", "probe", "spawn", "/bin/probe")
        same(out.split()[:5], ["riscv64", "/bin/probe", "/bin/probe", "probe", "/bin/probe"])
    podman.output("run", "-d", "--name", "foreign", "--arch", "riscv64", "--network", "none", "probe", "probe", "sleep")
    same(podman.output("exec", "foreign", "probe", "spawn", "/bin/probe").split()[0], "riscv64")
    check("probe sleep" in podman.output("top", "foreign"), podman.output("top", "foreign"))
    podman.output("rm", "-ft", "0", "foreign")


def test_user_network_by_annotation(podman):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"reached\n"))
        thread.start()
        same(podman.run("sh", "-c", f"nc 10.0.2.2 {server.getsockname()[1]} < /dev/null",
                        options=["--annotation", "dev.strata.network=user"]), "reached\n")
        thread.join()


def main():
    for program in ("podman", "conmon"):
        if not shutil.which(program) and not os.path.exists(f"/usr/libexec/podman/{program}"):
            print(f"1..0 # SKIP no {program}")
            return 0
    if os.geteuid() != 0 or not os.path.exists(BUSYBOX):
        print("1..0 # SKIP needs root and busybox")
        return 0
    only = sys.argv[1:]
    # Short: where podman's directory has more than 50 characters, it waits 20 s for the end of each container.
    with tempfile.TemporaryDirectory(prefix="p-", ignore_cleanup_errors=True) as tmp:
        podman = Podman(tmp)
        try:
            run_tests([f for n, f in globals().items() if n.startswith("test_") and (not only or n in only)], podman)
        finally:
            podman.close()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
