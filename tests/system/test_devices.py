#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Network, disks and shared folders of a machine, checked byte for byte against the host."""
import hashlib
import http.server
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading

import machine
from machine import STRATA, ARCH, contains, equal, run, sh, strata

ROOT = pathlib.Path(__file__).resolve().parents[2]

FETCH = r"""
use IO::Socket::INET;
my $s = IO::Socket::INET->new(PeerAddr => "10.0.2.2:$ARGV[0]") or die "connect: $!";
binmode $s; binmode STDOUT; print $s "GET /data HTTP/1.0\r\n\r\n";
{ local $/ = "\r\n"; while (<$s>) { last if $_ eq "\r\n" } }
while (read $s, my $b, 65536) { print $b }
"""


def test_a_download_from_the_hosts_loopback():
    data = os.urandom(20_000_000)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    got = run("perl", "-e", FETCH, str(server.server_port), options=["--net", "user"])
    server.shutdown()
    equal((got.returncode, got.stderr, len(got.stdout)), (0, b"", len(data)))
    equal(got.stdout == data, True)


SERVE = r"""
use IO::Socket::INET; $| = 1;
my $l = IO::Socket::INET->new(LocalAddr => "0.0.0.0:80", Listen => 5, ReuseAddr => 1) or die "listen: $!";
print "ready\n"; my $c = $l->accept; binmode $c; my $n = 0;
while (sysread $c, my $b, 65536) { my $o = 0; while ($o < length $b) { $o += syswrite $c, $b, length($b) - $o, $o } }
"""


def test_a_published_port_is_reached_from_the_host():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    p = subprocess.Popen([STRATA, "run", *ARCH, "--rm", "--net", "user", "--publish",
                          f"127.0.0.1:{port}:80", "debian", "--", "perl", "-e", SERVE],
                         stdout=subprocess.PIPE)
    equal(p.stdout.readline(), b"ready\n")
    data = os.urandom(5_000_000)
    got = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=120) as s:
        def send():
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        while chunk := s.recv(1 << 16):
            got += chunk
        sender.join()
    equal(bytes(got) == data, True)
    equal(p.wait(timeout=60), 0)


def test_no_network_means_none():
    text = sh("cat /proc/net/dev", options=["--net", "none"])
    assert "eth0" not in text and "lo:" in text, text


def test_a_disk_survives_load_and_a_kill():
    """Writes with fsync from several processes, then kill -9 of everything: e2fsck must be content
    and every file whose fsync was reported must be whole."""
    with machine.temporary_directory() as d:
        disk = os.path.join(d, "disk.img")
        with open(disk, "wb") as f:
            f.truncate(256 << 20)
        subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", disk], check=True)
        script = r"""
mkdir /mnt/d && mount /dev/vda /mnt/d
cd /mnt/d
for w in 1 2 3; do perl -e '
  use IO::Handle; $| = 1; srand $ARGV[0];
  for (my $i = 0; ; $i++) {
    my $name = "w$ARGV[0].$i"; my $data = pack("N*", map { int rand 2**32 } 1 .. 100 + int rand 9000);
    open my $f, ">", $name or die; binmode $f; print $f $data; $f->flush; $f->sync or die; close $f;
    print "$name ", unpack("%32N*", $data), " ", length($data), "\n";
    unlink "w$ARGV[0]." . ($i - 40) if $i % 3 == 0;
  }' $w & done; wait
"""
        p = subprocess.Popen([STRATA, "run", *ARCH, "--rm", "--cpus", "2", "--disk", disk, "debian",
                              "--", "sh", "-c", script], stdout=subprocess.PIPE,
                             start_new_session=True)
        lines = []
        while len(lines) < 150:
            lines.append(p.stdout.readline())
            assert lines[-1], "the machine ended before the kill"
        os.killpg(p.pid, signal.SIGKILL)
        lines += p.stdout.read().splitlines(keepends=True)  # until every writer is gone
        p.wait()
        done = dict((line.split()[0].decode(), [int(n) for n in line.split()[1:]])
                    for line in lines if line.endswith(b"\n"))
        # The journal is replayed, as a mount would; then a full check finds nothing to mend.
        subprocess.run(["/sbin/e2fsck", "-p", disk], capture_output=True)
        check = subprocess.run(["/sbin/e2fsck", "-fn", disk], capture_output=True, text=True)
        equal(check.returncode, 0)
        whole = 0
        for name, expected in done.items():
            out = os.path.join(d, "out")
            subprocess.run(["/sbin/debugfs", "-R", f"dump /{name} {out}", disk], capture_output=True)
            if os.path.exists(out):
                data = pathlib.Path(out).read_bytes()
                total = sum(int.from_bytes(data[i:i + 4], "big") for i in range(0, len(data), 4))
                equal((name, total & 0xffffffff, len(data)), (name, *expected))
                os.unlink(out)
                whole += 1
        assert whole > 50, whole


def test_a_disk_in_use_is_refused():
    with machine.temporary_directory() as d:
        disk = os.path.join(d, "disk.img")
        with open(disk, "wb") as f:
            f.truncate(16 << 20)
        p = subprocess.Popen([STRATA, "run", *ARCH, "--rm", "--disk", disk, "debian", "--", "sh", "-c",
                              "echo ready; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        equal(p.stdout.readline(), b"ready\n")
        second = strata("run", *ARCH, "--rm", "--disk", disk, "debian", "--", "true")
        equal(second.returncode, 125)
        contains(second.stderr.decode(), disk)
        p.stdin.close()
        equal(p.wait(timeout=60), 0)


def tree_digest(top):
    """Names, types, modes' execute bits, link targets and contents of a tree, as one digest."""
    h = hashlib.sha256()
    for path in sorted(pathlib.Path(top).rglob("*")):
        rel = str(path.relative_to(top))
        if path.is_symlink():
            h.update(f"l {rel} {os.readlink(path)}\n".encode())
        elif path.is_dir():
            h.update(f"d {rel}\n".encode())
        else:
            h.update(f"f {rel} {bool(path.stat().st_mode & 0o100)}\n".encode())
            h.update(path.read_bytes())
    return h.hexdigest()


def test_a_shared_folder_is_byte_exact_both_ways():
    with machine.temporary_directory() as d:
        source = pathlib.Path(d, "src")
        shutil.copytree(ROOT / "src", source, symlinks=True)
        os.symlink("base/base.h", source / "link")
        text = sh("cp -a /share/src /share/copy && cd /share/copy && "
                  "find . -type f | wc -l && rm base/README.md && mv ir ri && ln -s x y",
                  options=["--share", f"{d}:/share"])
        equal(int(text), sum(1 for p in source.rglob("*") if p.is_file() and not p.is_symlink()))
        os.unlink(source / "base/README.md")
        os.rename(source / "ir", source / "ri")
        os.symlink("x", source / "y")
        equal(tree_digest(os.path.join(d, "copy")), tree_digest(source))


def test_a_read_only_folder_stays_as_it_is():
    with machine.temporary_directory() as d:
        pathlib.Path(d, "a").write_text("a")
        p = run("sh", "-c", "cat /share/a; echo b > /share/a; rm /share/a; touch /share/n",
                options=["--share", f"{d}:/share:ro"])
        equal(p.stdout, b"a")
        contains(p.stderr.decode(), "Read-only")
        equal((os.listdir(d), pathlib.Path(d, "a").read_text()), (["a"], "a"))


if __name__ == "__main__":
    machine.main()
