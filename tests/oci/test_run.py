#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`strata run` at container level, with images that are made here."""
import fcntl
import glob
import json
import os
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

from bundle import BUSYBOX, Skip, check, finish, run_tests, same
from images import Layer, Store, busybox_layer

STRATA = os.environ.get("STRATA", "build/strata")
HOME = tempfile.mkdtemp(prefix="strata-run-")
ENV = {**os.environ, "STRATA_HOME": HOME, "STRATA_CACHE": HOME + "/cache", "LC_ALL": "C"}


def strata(*args, **more):
    more.setdefault("timeout", 60)
    if "input" not in more:
        more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([STRATA, *args], capture_output=True, text=True, env=ENV, **more)


def run(*command, options=(), image="box", status=0, **more):
    p = strata("run", "--rm", *options, image, "--", *command, **more)
    if p.returncode != status:
        raise AssertionError(f"status {p.returncode}, not {status}: {p.stdout}{p.stderr}")
    return p.stdout


def sh(script, **more):
    return run("/bin/sh", "-ec", script, **more).strip()


def leftovers():
    """Instances have names of our own where their groups are looked for."""
    groups = [g for n in ("left", "killed", "user") for g in glob.glob(f"/sys/fs/cgroup/*/strata-{n}")]
    return groups + [c for c in os.listdir(HOME + "/containers") if c != ".filters"] + os.listdir(HOME + "/instances")


def test_a_command_and_its_status():
    same(sh("echo hello"), "hello")
    run("/bin/sh", "-c", "exit 7", status=7)
    run("/bin/sh", "-c", "kill -9 $$; exit 1", status=1)  # no signal of its own reaches the first process
    check(not leftovers(), leftovers())


def test_what_cannot_be_run():
    run("nosuch", status=127)
    run("/nosuch", status=127)
    run("/etc/passwd", status=126)
    run("true", options=["-u", "nosuch"], status=125)
    run("true", options=["-v", "/nosuch/dir:/x"], status=125)
    run("true", options=["--cap-add", "nosuch"], status=2)
    run("true", options=["--kernel", "x"], status=2)
    check(not leftovers(), leftovers())


def test_streams():
    same(run("cat", input="in\n" * 10000), "in\n" * 10000)
    p = strata("run", "--rm", "box", "--", "sh", "-c", "echo out; echo err >&2")
    same((p.stdout, p.stderr), ("out\n", "err\n"))


def test_user_and_environment():
    same(sh("id -u; id -g; id -G; echo $HOME", options=["-u", "anna"]).split("\n"), ["1000", "1001", "1001 50", "/tmp"])
    same(sh("id -u; id -g", options=["-u", "5:7"]).split(), ["5", "7"])
    ENV["FROM_OUTSIDE"] = "yes"
    same(sh("echo $A $B $FROM_OUTSIDE", options=["-e", "A=1", "-e", "A=2", "-e", "B=x y", "-e", "FROM_OUTSIDE"]), "2 x y yes")
    same(sh("pwd", options=["-w", "/usr"]), "/usr")
    same(sh("hostname; cat /etc/hostname", options=["--hostname", "web"]).split(), ["web", "web"])


def test_what_the_image_says():
    p = strata("run", "--rm", "configured")
    same(p.stdout, "entry default\n/usr\n1000\n")
    same(run("mine", image="configured"), "entry mine\n/usr\n1000\n")
    same(run("own", image="configured", options=["--entrypoint", "/bin/echo"]), "own\n")


def test_layers():
    """Whiteouts, opaque directories and replaced things, as they look from inside."""
    same(sh("cd /l; ls; ls opaque dir; cat changed", image="layers").split(),
         ["changed", "dir", "kind", "opaque", "dir:", "kept", "new", "opaque:", "fresh", "two"])
    same(sh("stat -c %F /l/kind", image="layers"), "directory")
    same(sh("ls /l/kind", image="layers"), "")


def test_compressed_layers():
    same(sh("cat /l/changed", image="gzip"), "two")


def test_the_image_stays():
    sh("echo x >/etc/passwd; rm /bin/id; mkdir /new")
    same(sh("head -c4 /etc/passwd; ls /new 2>&1 | wc -l"), "root1")


def test_volumes():
    d = tempfile.mkdtemp(dir=HOME)
    with open(d + "/file", "w") as f:
        f.write("host\n")
    same(sh("cat /v/file; echo c >/v/made", options=["-v", d + ":/v"]), "host")
    same(open(d + "/made").read(), "c\n")
    run("touch", "/v/x", options=["-v", d + ":/v:ro"], status=1)
    same(sh("cat /etc/one", options=["-v", d + "/file:/etc/one"]), "host")
    sh("echo kept >/data/x", options=["-v", "mine:/data"])
    same(sh("cat /data/x", options=["-v", "mine:/data:ro"]), "kept")
    same(sh("grep ' /t ' /proc/mounts | head -c5", options=["--tmpfs", "/t:size=1m"]), "tmpfs")


def test_read_only():
    run("touch", "/x", options=["--read-only"], status=1)
    sh("touch /tmp/x", options=["--read-only", "--tmpfs", "/tmp"])


def test_rights():
    caps = "grep -E '^(CapBnd|CapEff|CapPrm|CapInh|CapAmb|Seccomp|NoNewPrivs):' /proc/self/status"
    got = dict(l.split(":\t") for l in sh(caps).split("\n"))
    same(got, {"CapInh": "0" * 16, "CapPrm": "00000000800405fb", "CapEff": "00000000800405fb", "CapBnd": "00000000800405fb",
               "CapAmb": "0" * 16, "NoNewPrivs": "0", "Seccomp": "2"})
    got = dict(l.split(":\t") for l in sh(caps, options=["-u", "anna", "--cap-drop", "ALL", "--cap-add", "net_raw",
                                                        "--security-opt", "no-new-privileges"]).split("\n"))
    same((got["CapEff"], got["CapBnd"], got["CapAmb"], got["NoNewPrivs"]), ("0000000000002000",) * 3 + ("1",))
    got = dict(l.split(":\t") for l in sh(caps, options=["--security-opt", "seccomp=unconfined"]).split("\n"))
    same(got["Seccomp"], "0")
    run("unshare", "-m", "true", status=1)
    run("mount", "-t", "tmpfs", "x", "/tmp", status=1)
    same(sh("cat /proc/keys | wc -c"), "0")
    run("/bin/sh", "-c", "echo 0 >/proc/sys/kernel/randomize_va_space", status=1)


def test_limits():
    if os.geteuid() != 0:
        raise Skip("control groups are not delegated to us")
    got = sh("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us "
             "/sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/memory.max",
             options=["-m", "64M", "--cpus", "0.5", "--pids-limit", "50"])
    check("67108864" in got, got)


def test_names_and_listing():
    p = strata("run", "--name", "left", "box", "--", "sh", "-c", "echo x >/x")
    same(p.returncode, 0)
    p = strata("run", "--name", "left", "box", "--", "true")
    same(p.returncode, 125)
    listed = json.loads(strata("list", "--format", "json").stdout)
    same([(i["name"], i["state"], i["level"], i["image"]) for i in listed],
         [("left", "stopped", "container", "box:latest")])
    same(strata("rm", "left").returncode, 0)
    check(not leftovers(), leftovers())


def begin(*options, command=("sleep", "100")):
    p = subprocess.Popen([STRATA, "run", *options, "box", "--", *command], env=ENV, stdout=subprocess.PIPE)
    return p


def wait_running(name):
    """The number of its first process."""
    for _ in range(200):
        try:
            with open(f"{HOME}/containers/{name}/state.json") as f:
                pid = json.load(f)["pid"]
            with open(f"/proc/{pid}/cmdline") as f:
                if pid and f.read().startswith("sleep"):
                    return pid
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError("it does not start")


def test_signals():
    p = begin("--rm", command=("sh", "-c", "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done"))
    same(p.stdout.readline(), b"ready\n")
    p.send_signal(signal.SIGTERM)
    same(p.communicate(timeout=20)[0], b"got\n")
    same(p.returncode, 3)


def test_kill_9():
    p = begin("--name", "killed")
    pid = wait_running("killed")
    same(strata("rm", "killed").returncode, 1)  # it runs
    p.kill()
    p.wait()
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the container lives on")
    same([(i["name"], i["state"]) for i in json.loads(strata("list", "--format", "json").stdout)], [("killed", "stopped")])
    same(strata("rm", "killed").returncode, 0)
    check(not leftovers(), leftovers())
    with open("/proc/mounts") as f:
        check(HOME not in f.read(), "a mount is left")


def test_the_image_in_use_stays():
    p = begin("--rm", "--name", "user")
    wait_running("user")
    same(strata("image", "remove", "box").returncode, 1)
    p.kill()
    p.wait()
    strata("list")
    check(not leftovers(), leftovers())


def test_a_terminal():
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    before = termios.tcgetattr(theirs)
    p = subprocess.Popen([STRATA, "run", "--rm", "box", "--", "sh"], env=ENV, stdin=theirs, stdout=theirs, stderr=theirs)
    os.write(ours, b"stty size; tty; echo $TERM; exit 5\n")
    text, end = b"", time.time() + 20
    while time.time() < end and p.poll() is None:
        while select.select([ours], [], [], 0.1)[0]:
            text += os.read(ours, 4096)
    p.kill()
    check(p.wait() == 5, text)
    for want in (b"33 77", b"/dev/pts/0"):
        check(want in text, text)
    same(termios.tcgetattr(theirs), before)
    os.close(ours)
    os.close(theirs)
    run("true", options=["-t"], status=125)  # no terminal here


def test_networks():
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise Skip("no /dev/net/tun")
    same(sh("ls /sys/class/net", options=["--network", "none"]), "lo")
    same(sh("ls /sys/class/net; cat /etc/resolv.conf; grep $(hostname) /etc/hosts; grep more /etc/hosts",
            options=["--hostname", "web", "--add-host", "more:10.1.2.3"]).split(),
         ["lo", "tap0", "nameserver", "10.0.2.3", "10.0.2.15", "web", "10.1.2.3", "more"])
    same(sh("cat /etc/resolv.conf", options=["--dns", "192.0.2.1"]), "nameserver 192.0.2.1")
    same(sh("ls /proc/self/ns/net -l | head -c0; ls /sys/class/net", options=["--network", "host"]).split(),
         sorted(os.listdir("/sys/class/net")))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    p = begin("--rm", "-p", f"127.0.0.1:{port}:80", command=("sh", "-c", "echo ready; echo served | nc -l -p 80"))
    same(p.stdout.readline(), b"ready\n")
    text = b""
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as c:
                text = c.recv(100)
        except OSError:
            pass
        if text:
            break
        time.sleep(0.1)
    same(text, b"served\n")
    p.kill()
    p.wait()
    run("true", options=["-p", "80:80", "--network", "none"], status=2)
    strata("list")


def as_user(home, ranges, *args):
    """As user 1000, to whom /etc/subuid gives a range or none."""
    with open(home + "/ranges", "w") as f:
        f.write("1000:300000:65536\n" if ranges else "")
    bind = f"mount --bind {home}/ranges /etc/subuid && mount --bind {home}/ranges /etc/subgid && exec \"$@\""
    user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
    env = {**ENV, "STRATA_HOME": home + "/store", "STRATA_LIBEXEC": home, "HOME": home}
    return subprocess.run(["unshare", "-m", "sh", "-c", bind, "sh", *user, home + "/strata", *args], env=env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def test_without_root():
    for f in ("/etc/subuid", "/etc/subgid"):
        if not os.path.exists(f):
            raise Skip("no " + f)
    if not shutil.which("newuidmap"):
        raise Skip("no newuidmap")
    # Not in $TMPDIR, which may be closed to other users.
    home = tempfile.mkdtemp(prefix="strata-user-", dir="/tmp")
    shutil.copy(STRATA, home + "/strata")
    shutil.copy(os.environ["STRATA_OCI"], home + "/strata-oci")
    store = Store(home + "/store")
    layer = busybox_layer(BUSYBOX).add("anna", uid=1000, gid=1001, mode=0o600)
    # What hides a lower file, and who owns one, are what a user cannot write by himself.
    store.add("box:latest", [layer.take(), Layer().add("etc/.wh.group").take()])
    subprocess.run(["chown", "-R", "1000:1000", home], check=True)
    os.chmod(home, 0o755)
    script = "id -u; cat /proc/self/uid_map; stat -c %u /anna; ls /etc; touch /made; stat -c %u /made; rm /anna"
    try:
        p = as_user(home, True, "run", "--network", "none", "--name", "one", "box", "--", "sh", "-ec", script)
        same((p.returncode, p.stderr), (0, ""))
        same(p.stdout.split(), "0 0 1000 1 1 300000 65536 1000 hostname hosts passwd resolv.conf 0".split())
        p = as_user(home, True, "rm", "one")
        same((p.returncode, p.stderr, os.listdir(home + "/store/instances")), (0, "", []))
        p = as_user(home, True, "run", "--network", "none", "--rm", "-u", "anna", "box", "--", "cat", "/anna")
        same((p.returncode, p.stdout, p.stderr), (0, "", ""))
        p = as_user(home, False, "run", "--network", "none", "--rm", "box", "--", "sh", "-ec", script)
        same((p.returncode, p.stdout.split()), (0, "0 0 1000 1 0 hostname hosts passwd resolv.conf 0".split()))
        check("give" in p.stderr and "no range" in p.stderr, p.stderr)
        same(as_user(home, True, "image", "remove", "box").returncode, 0)
        # Those with the other owners stay until their user removes an image himself.
        same(len(os.listdir(home + "/store/images/trees")), 1 + 2)
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", home])


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return
    store = Store(HOME)
    box = busybox_layer(BUSYBOX).take()
    store.add("box:latest", [box])
    store.add("configured:latest", [box], {"Entrypoint": ["/bin/sh", "-c", 'echo entry $0; pwd; id -u'], "Cmd": ["default"],
                                           "WorkingDir": "/usr", "User": "anna", "Env": ["A=image"]})
    one = Layer().dir("l").add("l/gone", data=b"x").add("l/changed", data=b"one\n").dir("l/opaque").add("l/opaque/old")
    one.dir("l/dir").add("l/dir/kept").add("l/dir/gone").add("l/kind")
    two = Layer().dir("l").add("l/.wh.gone").add("l/changed", data=b"two\n").dir("l/opaque").add("l/opaque/.wh..wh..opq")
    two.add("l/opaque/fresh").add("l/dir/.wh.gone").add("l/dir/new").dir("l/kind")
    layers = [box, one.take(), two.take()]
    store.add("layers:latest", layers)
    store.add("gzip:latest", layers, compress=True)
    tests = [t for name, t in globals().items() if name.startswith("test_")]
    run_tests(tests)
    subprocess.run(["rm", "-rf", "--one-file-system", HOME])
    sys.exit(finish())


main()
