#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The user-mode network of strata-oci's containers (annotations dev.strata.network, .publish), with
servers on this host's loopback. Needs root, busybox and /dev/net/tun. Prints TAP."""
import json
import os
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

SLIRP = os.environ.get("STRATA_SLIRP", "")


def config(room, script, publish=None, **process):
    c = room.config(script, **process)
    c["annotations"] = {"dev.strata.network": "user"}
    if publish is not None:
        c["annotations"]["dev.strata.publish"] = publish
    return c


class Echo:
    """A server on this host's loopback that answers one line with another."""

    def __init__(self, kind=socket.SOCK_STREAM, address="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        self.socket.bind((address, 0))
        self.port = self.socket.getsockname()[1]
        if kind == socket.SOCK_STREAM:
            self.socket.listen(10)
        threading.Thread(target=self.serve_tcp if kind == socket.SOCK_STREAM else self.serve_udp, daemon=True).start()

    def serve_tcp(self):
        while True:
            c = self.socket.accept()[0]
            with c:
                c.sendall(b"heard " + c.recv(1000))

    def serve_udp(self):
        while True:
            text, who = self.socket.recvfrom(1000)
            self.socket.sendto(b"heard " + text, who)


SERVERS = """
import socket, threading
def datagrams():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", 53))
    while True:
        s.sendto(*s.recvfrom(10))
threading.Thread(target=datagrams, daemon=True).start()
s = socket.create_server(("", 80))
while True:
    with s.accept()[0] as c:
        c.sendall(c.recv(100))
"""


def inside(pid, script):
    """What a Python script prints in a container's network."""
    p = subprocess.run(["nsenter", "-t", str(pid), "-n", sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    return p.stdout + p.stderr


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def eventually(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        time.sleep(0.02)
    raise Failed("timed out")


def helper(room, name):
    return json.load(open(os.path.join(room.state, name, "state.json")))["network"]["pid"]


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ask(port, text=b"hello\n"):
    """What a published TCP port answers; None when nobody is there yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(text)
            return s.recv(1000)
    except OSError:
        return None


def started(room, c):
    name, pid = room.created(c)
    p = room.call("start", name)
    same((p.returncode, p.stderr), (0, ""))
    return name, pid


def test_device(room):
    out = room.output(config(room, "ip -o addr show tap0; ip route; ip -6 route; cat /sys/class/net/tap0/mtu; ls /sys/class/net"))
    for words in ("inet 10.0.2.15/24", "inet6 fd00::15/64", "default via 10.0.2.2 dev tap0", "default via fd00::2 dev tap0"):
        check(words in out, out)
    check("tentative" not in out, out)


def test_connections_out(room):
    tcp, six = Echo(), Echo(address="::1")
    same(room.output(config(room, f"echo a | nc 10.0.2.2 {tcp.port}; echo b | nc fd00::2 {six.port}")), "heard a\nheard b\n")
    name, pid = started(room, config(room, "sleep 100"))
    try:
        for host, server in (("10.0.2.2", Echo(socket.SOCK_DGRAM)), ("fd00::2", Echo(socket.SOCK_DGRAM, "::1"))):
            script = (f"import socket; s = socket.create_connection(({host!r}, {tcp.port})).family; s = socket.socket(s, socket.SOCK_DGRAM);"
                      f"s.settimeout(9); s.sendto(b'c', ({host!r}, {server.port})); print(s.recv(10))")
            same(inside(pid, script.replace(str(tcp.port), str((six if ":" in host else tcp).port))), "b'heard c'\n")
    finally:
        room.call("delete", "-f", name)


def test_much_data(room):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener.accept()[0] as c:
            got = sum(iter(lambda: len(c.recv(1 << 20)), 0))
            c.sendall(str(got).encode() + b"\n")

    threading.Thread(target=serve, daemon=True).start()
    size = 64 << 20
    source = listener.getsockname()[1]
    same(room.output(config(room, f"dd if=/dev/zero bs=1M count=64 2>/dev/null | nc 10.0.2.2 {source}")), f"{size}\n")


def test_name_server(room):
    with open("/etc/resolv.conf") as f:
        if "nameserver" not in f.read():
            raise Skip("this host has no name server")
    p = room.run(config(room, "echo nameserver 10.0.2.3 > /etc/resolv.conf; nslookup strata.invalid"))
    check("10.0.2.3" in p.stdout and "timed out" not in p.stdout + p.stderr, p.stdout + p.stderr)


def test_published_ports(room):
    tcp, udp = free_port(), free_port(socket.SOCK_DGRAM)
    name, pid = started(room, config(room, "sleep 100", f"127.0.0.1:{tcp}:80,{udp}:53/udp"))
    try:
        server = subprocess.Popen(["nsenter", "-t", str(pid), "-n", sys.executable, "-c", SERVERS])
        same(eventually(lambda: ask(tcp)), b"hello\n")
        same(ask(tcp, b"again\n"), b"again\n")

        def datagram():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(1)
                s.sendto(b"u", ("127.0.0.1", udp))
                try:
                    return s.recv(10)
                except OSError:
                    return None

        same(eventually(datagram), b"u")
        # A port that is taken is an error with the port's number, and nothing stays.
        p = room.run(config(room, "true", f"127.0.0.1:{tcp}:1"))
        check(p.returncode == 1 and f"TCP port {tcp} of the host is already in use" in p.stderr, p.stderr)
    finally:
        server.kill()
        server.wait()
        room.call("delete", "-f", name)
    same(room.left(), [])
    for _ in range(2):  # the port is free as soon as the container is deleted
        name, pid = started(room, config(room, "sleep 100", f"{tcp}:80"))
        os.kill(helper(room, name), signal.SIGSTOP)  # however slow it is
        same(room.call("delete", "-f", name).returncode, 0)


def test_helper_is_sandboxed(room):
    name, pid = started(room, config(room, "sleep 100"))
    try:
        h = helper(room, name)
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{h}/status").read().splitlines() if ":\t" in line)
        same((int(status["CapEff"], 16), int(status["CapPrm"], 16), status["Seccomp"], status["NoNewPrivs"]), (0, 0, "2", "1"))
        same(os.readlink(f"/proc/{h}/ns/net"), os.readlink("/proc/self/ns/net"))
        same(sorted(os.listdir(f"/proc/{h}/fd"), key=int)[:4], ["0", "1", "2", "3"])
        check("net/tun" in os.readlink(f"/proc/{h}/fd/3"), os.readlink(f"/proc/{h}/fd/3"))
        check("pidfd" in os.readlink(f"/proc/{h}/fd/5"), os.readlink(f"/proc/{h}/fd/5"))
        # The container has none of it.
        same(room.call("exec", name, "/bin/sh", "-c", "ls -l /proc/[0-9]*/fd | grep -c net/tun").stdout, "0\n")
    finally:
        room.call("delete", "-f", name)


def test_ends_with_the_container(room):
    name, pid = started(room, config(room, "sleep 100"))
    h = helper(room, name)
    check(alive(h), "the helper has ended early")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(h))
    same(room.status(name), "stopped")
    same(room.call("delete", name).returncode, 0)
    # A helper that dies takes the network along and nothing else.
    name, pid = started(room, config(room, "while ip link show tap0 2>/dev/null; do sleep 0.05; done; sleep 100"))
    os.kill(helper(room, name), signal.SIGKILL)
    eventually(lambda: room.call("exec", name, "/bin/ip", "link", "show", "tap0").returncode)
    same(room.status(name), "running")
    same(room.call("delete", "-f", name).returncode, 0)


def test_ends_when_the_runtime_is_killed(room):
    """At any moment of `create`: no helper outlives a container that there is not."""
    before = slirps()
    for delay in (0.002, 0.004, 0.006, 0.008, 0.01, 0.012, 0.015, 0.02, 0.03):
        name = room.name()
        p = subprocess.Popen([RUNTIME, "--root", room.state, "create", "--bundle", room.bundle(config(room, "sleep 100")), name],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        p.kill()
        p.wait()
        same(room.call("delete", "--force", name).returncode, 0)
        eventually(lambda: slirps() <= before)
    same(room.left(), [])


def slirps():
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if open(f"/proc/{pid}/comm").read() == "strata-slirp\n" and alive(pid):
                found.add(pid)
        except OSError:
            pass
    return found


def test_device_goes_down_and_away(room):
    tcp = Echo()
    caps = {k: ["CAP_NET_ADMIN"] for k in ("bounding", "effective", "permitted")}
    out = room.output(config(room, f"ip link set tap0 down; sleep 0.1; ip link set tap0 up; ip route add default via 10.0.2.2; "
                                   f"echo a | nc 10.0.2.2 {tcp.port}; ip link del tap0; ls /sys/class/net", capabilities=caps))
    same(out, "heard a\nlo\n")


def test_user_namespace(room):
    tcp = Echo()
    c = config(room, f"echo a | nc 10.0.2.2 {tcp.port}")
    c["linux"]["namespaces"].append({"type": "user"})
    c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    os.chown(room.root, 100000, 100000)
    try:
        same(room.output(c), "heard a\n")
    finally:
        os.chown(room.root, 0, 0)


def test_without_root(room):
    """The host's device may be root's alone: one that users may open, in a mount namespace."""
    home = os.path.join(room.directory, "home")
    os.makedirs(home)
    for program in (RUNTIME, SLIRP):
        shutil.copy(program, home)
    os.rename(home + "/strata-oci", home + "/runtime")
    os.chown(home, 1000, 1000)
    os.chmod(room.directory, 0o755)
    above = os.path.dirname(room.directory)
    if os.stat(above).st_mode & 0o077 == 0:
        os.chmod(above, 0o711)  # the test runner's own
    tcp, port = Echo(), free_port()
    user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--no-new-privs"]
    environment = {"XDG_RUNTIME_DIR": home, "PATH": os.environ["PATH"]}
    subprocess.run([*user, home + "/runtime", "spec", "--rootless"], cwd=home, env=environment, check=True)
    c = json.load(open(home + "/config.json"))
    c["process"].update(terminal=False, args=["/bin/sh", "-c", f"echo a | nc 10.0.2.2 {tcp.port}"], env=["PATH=/bin"])
    c["root"]["path"] = room.root
    c["annotations"] = {"dev.strata.network": "user", "dev.strata.publish": f"{port}:80"}
    if not any(n["type"] == "network" for n in c["linux"]["namespaces"]):
        c["linux"]["namespaces"].append({"type": "network"})
    json.dump(c, open(home + "/config.json", "w"))

    def run(before):
        return subprocess.run(["unshare", "-m", "sh", "-c", before + 'exec "$@"', "sh", *user, home + "/runtime", "run", "rootless"],
                              cwd=home, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    p = run("mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && ")
    if "user namespace" in p.stderr:
        raise Skip(p.stderr.strip())
    same((p.stdout, p.stderr), ("heard a\n", ""))
    p = run("mount -t tmpfs tmpfs /dev/net && mknod -m 600 /dev/net/tun c 10 200 && ")
    check("/dev/net/tun: Permission denied" in p.stderr and "let all users open it" in p.stderr, p.stderr)


def test_bad_annotations(room):
    for network, publish, words in (("bridge", None, '"bridge" is neither "user" nor "none"'), ("user", "x", "dev.strata.publish"),
                                    ("user", "80:80,", "dev.strata.publish"), ("none", "8080:80", "there is no dev.strata.network=user"),
                                    ("user", ",".join(f"{p}:1" for p in range(2000, 2200)), "more than 128 published ports"),
                                    ("user", "8080:80,8080:81", "host port 8080 is published twice")):
        c = room.config("true")
        c["annotations"] = {"dev.strata.network": network, **({"dev.strata.publish": publish} if publish else {})}
        p = room.run(c)
        check(p.returncode == 1 and words in p.stderr, p.stderr)
    c = config(room, "true")
    c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "network"]
    check("needs a new network namespace" in room.run(c).stderr, "the host's own network")
    c = room.config("ls /sys/class/net")
    c["annotations"] = {"dev.strata.network": "none"}
    same(room.output(c), "lo\n")
    same(room.left(), [])


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    if not os.path.exists(BUSYBOX) or not os.path.exists("/dev/net/tun"):
        print("1..0 # SKIP no busybox, or no /dev/net/tun")
        return 0
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="strata-oci-") as tmp:
        room = Room(tmp)
        ordinary = room.config

        def with_sys(*words, **more):
            c = ordinary(*words, **more)
            c["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]})
            return c

        room.config = with_sys
        tests = [f for n, f in globals().items() if n.startswith("test_") and (not only or n in only)]
        run_tests(tests, room)
        for name in os.listdir(room.state) if os.path.isdir(room.state) else []:  # of tests that failed
            room.call("delete", "--force", name)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
