#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A debugger at a machine's socket: test_gdb.py BOOT GUEST. gdb-multiarch drives guest_gdb.c, which
runs in a sandboxed machine with two CPUs; then a client that speaks for itself."""
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BOOT, GUEST = sys.argv[1:3]
work = tempfile.TemporaryDirectory(prefix="strata-test-")
SOCKET = os.path.join(work.name, "gdb.sock")


class Machine:
    """The guest, with a debugger's socket; `with` ends it."""

    def __init__(self, *options, where="unix:" + SOCKET):
        # A sandboxed process may not look for its own leaks.
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        self.p = subprocess.Popen([BOOT, "-s", "-c", "2", "-m", "64", "-t", "100", "-g", where,
                                   *options, GUEST], stdin=subprocess.DEVNULL,
                                  env={**os.environ, "ASAN_OPTIONS": sanitizer},
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if "-w" not in options:
            assert self.p.stdout.readline() == "ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.p.poll() is None:
            self.p.kill()
        self.p.communicate()

    def ends(self, status=0, said="goodbye\n"):
        out, err = self.p.communicate(timeout=60)
        assert self.p.returncode == status, (self.p.returncode, err)
        assert out == said, out


def start_gdb(*commands):
    args = ["gdb-multiarch", "-batch", "-nx", "-ex", "set pagination off", "-ex",
            "set confirm off", "-ex", "target remote " + SOCKET]
    for c in commands:
        args += ["-ex", c]
    return subprocess.Popen(args + [GUEST], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def gdb(*commands, status=0):
    p = start_gdb(*commands)
    out, _ = p.communicate(timeout=60)
    assert p.returncode == status, out
    return out


def find(pattern, text):
    m = re.search(pattern, text)
    assert m, f"{pattern!r} is not in:\n{text}"
    return m


def test_breakpoints_and_registers():
    with Machine() as m:
        out = gdb("hbreak *store", "continue", "p/x $pc == (long)store",
                  "p $a0 == counters[0]", "break *multiply", "continue", "p (long)$pc == (long)multiply",
                  "p $fa0.double", "p/x $priv", "p $satp == (8ul << 60 | (unsigned long)root >> 12)",
                  "bt", "set $fa0.double = 3", "set $s1 = $s1", "delete", "finish",
                  "p $fa0.double", "set var finish=1", "detach")
        find(r"Breakpoint 1, .*store", out)
        find(r"Breakpoint 2, .*multiply", out)
        find(r"\$1 = 0x1\n", out)
        find(r"\$2 = 1\n", out)
        find(r"\$3 = 1\n\$4 = 1.5\n\$5 = 0x1\n\$6 = 1\n", out)
        find(r"#0 .* multiply .*\n#1 .* main ", out)
        find(r"\$\d+ = 6\n", out)
        m.ends()


def test_a_breakpoint_counts_each_time():
    with Machine() as m:
        out = gdb("break *second_loop", "continue", "set $a = counters[1]", "ignore 1 19",
                  "continue", "p counters[1] - $a", "info breakpoints", "delete",
                  "set var finish=1", "detach")
        find(r"\$1 = 20\n", out)
        find(r"already hit 21 times", out)
        m.ends()


def test_steps():
    with Machine() as m:
        out = gdb("break *known_code", "continue", "stepi", "p $t0", "p (long)$pc - (long)known_code",
                  "stepi", "p $t0", "p (long)$pc - (long)known_code", "stepi",
                  "p $pc == (long)&known_end", "stepi", "p $pc == $ra", "delete",
                  "set var finish=1", "detach")
        find(r"\$1 = 1\n", out)
        find(r"\$2 = 2\n", out)
        find(r"\$3 = 1001\n", out)
        find(r"\$4 = 6\n", out)
        find(r"\$5 = 1\n", out)
        find(r"\$6 = 1\n", out)
        m.ends()


def test_memory():
    with Machine() as m:
        out = gdb("set var watched = 1", "x/2xw known_code", "p/x *(long *)((long)root + 16 + 0x40000000)",
                  "x/b 0x1000", "p *(long *)0xffffffc000000000",
                  "set var *(unsigned char *)((long)&stacks[5] + 0x40000000) = 0xa5", "p/x stacks[5]",
                  "dump binary memory " + work.name + "/dump known_code known_code+4",
                  # the code that runs is what is in memory: another immediate, then as before
                  "set var *(short *)known_code = 0x428d", "break *known_end", "continue",
                  "p $t0", "set var *(short *)known_code = 0x4285", "continue", "p $t0",
                  "monitor translate 0xc0200000", "monitor translate 0", "delete",
                  "set var finish=1", "detach")
        find(r"known_code>:\s+0x82934285", out)
        find(r"\$1 = 0x200000cf\n", out)
        find(r"Cannot access memory at address 0x1000", out)
        find(r"Cannot access memory at address 0xffffffc000000000", out)
        find(r"\$\d+ = 0xa5\n", out)
        find(r"\$\d+ = 1003\n[^$]*\$\d+ = 1001\n", out)
        find(r"0xc0200000 is guest-physical 0x80200000\n", out)
        find(r"0x0 is not mapped\n", out)
        with open(work.name + "/dump", "rb") as f:
            assert f.read() == bytes.fromhex("85429382")
        m.ends()


def test_watchpoints():
    with Machine() as m:
        out = gdb("watch watched", "continue", "p watched == counters[0]", "x/i $pc - 4", "delete",
                  "rwatch watched_too", "continue", "info symbol $pc", "delete",
                  "awatch *(long *)((long)&watched_too + 0x40000000)", "continue",
                  "info symbol $pc", "delete", "set var finish=1", "detach")
        find(r"hit Hardware watchpoint 1: watched\s+Old value = (\d+)\s+New value = (\d+)\n", out)
        find(r"\$1 = 1\n", out)
        find(r"store\+\d+>:\s+sd\s+a0,", out)
        find(r"hit Hardware read watchpoint 2: watched_too\s+Value = \d+\n", out)
        find(r"load.* in section .text", out)
        find(r"hit Hardware access \(read/write\) watchpoint 3", out)
        find(r"main.* in section .text", out)
        m.ends()


def test_threads():
    with Machine() as m:
        out = gdb("info threads", "thread 2", "break second_loop", "continue", "info symbol $pc",
                  "p $_thread", "thread 1", "p counters[0] >= 0", "set scheduler-locking on",
                  "set $b = counters[1]", "set $a = counters[0]", "tbreak store", "continue",
                  "p $_thread", "tbreak store", "continue", "p counters[0] - $a > 0",
                  "p counters[1] == $b", "set scheduler-locking off", "delete",
                  "monitor info cpus", "monitor info registers", "set var finish=1", "detach")
        find(r"Thread 1 \(CPU 0\)", out)
        find(r"Thread 2 \(CPU 1\)", out)
        find(r"Thread 2 hit Breakpoint 1,", out)
        find(r"second_loop.* in section .text", out)
        find(r"\$1 = 2\n", out)
        find(r"Thread 1 hit Temporary breakpoint 2", out)
        find(r"\$4 = 1\n\$5 = 1\n" if "$5" in out else r"\$4 = 1\n", out)
        find(r"CPU 1  pc 0000000080200", out)
        find(r"supervisor mode  pc ", out)
        m.ends()


def test_interrupt():
    with Machine() as m:
        p = start_gdb("echo going\\n", "continue", "p counters[0] > 0", "set $a = counters[1]",
                      "p counters[1] == $a", "set var finish=1", "detach")
        while p.stdout.readline() != "going\n":
            pass
        time.sleep(0.5)
        assert p.poll() is None
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=60)
        find(r"received signal SIGINT", out)
        find(r"\$1 = 1\n\$2 = 1\n", out)
        m.ends()


def test_waiting_for_a_debugger():
    with Machine("-w") as m:
        time.sleep(0.3)
        out = gdb("p $pc == _start", "p counters[0]", "tbreak main", "continue", "p $a0", "p watched",
                  "set var finish=1", "detach")
        find(r"\$1 = 1\n\$2 = 0\n", out)
        find(r"Temporary breakpoint 1, main", out)
        m.ends(said="ready\ngoodbye\n")


def test_a_client_that_goes_away_leaves_no_trace():
    with Machine() as m:
        p = start_gdb("break *store", "continue", "echo stopped\\n", "shell sleep 60")
        while p.stdout.readline() != "stopped\n":
            pass
        p.kill()
        p.communicate()
        out = gdb("set $a = counters[0]", "shell sleep 0.2", "p counters[0] == $a", "detach")
        find(r"\$1 = 1\n", out)
        out = gdb("p counters[0] > $a", "p $pc", "set var finish=1", "detach")
        m.ends()


def test_kill_and_poweroff():
    with Machine() as m:
        gdb("kill")
        m.ends(1, "")
    with Machine() as m:
        find("disconnected|closed", gdb("monitor poweroff", "stepi", status=1))
        m.ends(1, "")
    with Machine() as m:
        find("exited normally", gdb("set var finish=1", "continue"))
        m.ends()


# --- a client of our own ---

def frame(payload):
    body = payload if isinstance(payload, bytes) else payload.encode()
    return b"$" + body + b"#%02x" % (sum(body) & 255)


class Client:
    def __init__(self):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(20)
        self.buffer = b""
        while self.s.connect_ex(SOCKET) == errno.EAGAIN:  # clients that have gone queue up
            time.sleep(.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    def send(self, payload):
        self.s.sendall(frame(payload))

    def answer(self):
        while not (m := re.search(rb"\$([^#]*)#..", self.buffer)):
            data = self.s.recv(65536)
            assert data, "the connection was closed"
            self.buffer += data
        self.buffer = self.buffer[m.end():]
        return m.group(1).decode("latin-1")

    def ask(self, payload):
        self.send(payload)
        return self.answer()


def test_the_protocol_by_hand():
    with Machine() as m, Client() as c:
        assert "PacketSize=4000" in c.ask("qSupported:hwbreak+")
        assert re.match("T05thread:1;core:0;$", c.ask("?"))
        assert c.ask("vMustReplyEmpty") == ""
        assert c.ask("QStartNoAckMode") == "OK"
        assert c.ask("qfThreadInfo") == "m1,2" and c.ask("qsThreadInfo") == "l"
        assert c.ask("T2") == "OK" and c.ask("T3").startswith("E")
        assert c.ask("Hg3").startswith("E") and c.ask("Hg2") == "OK" and c.ask("qC") == "QC2"
        registers = c.ask("g")
        assert len(registers) > 65 * 16
        assert c.ask("p20") == registers[32 * 16:33 * 16]
        assert c.ask("G" + registers) == "OK"
        assert c.ask("pffff").startswith("E") and c.ask("P5=00").startswith("E")
        code = c.ask("m80200000,40")
        assert len(code) == 0x80
        assert c.ask("x80200000,10").startswith("b")
        # only what is there: memory's last bytes; nothing; a write that does not fit
        assert len(c.ask("m83fffff0,40")) == 32
        assert c.ask("m0,1").startswith("E") and c.ask("M83fffffc,8:0011223344556677").startswith("E")
        assert c.ask(b"X80203ff0,3:\x01}\x03\x02") == "OK" and c.ask("m80203ff0,3") == "012302"
        assert c.ask("m80200000,ffffffffffffffff")[:16] == code[:16]
        assert c.ask("Z0,80200001,2").startswith("E") and c.ask("Z2,0,0").startswith("E")
        assert c.ask("Z7,0,1") == ""
        assert c.ask("vCont?") == "vCont;c;C;s;S"
        assert c.ask("vCont;s:9").startswith("E")
        # a step of one thread, the other stays
        before = c.ask("p20")
        assert re.match("T05thread:2;core:1;$", c.ask("vCont;s:2"))
        assert c.ask("p20") != before
        # what comes while it runs is not heard, but for Ctrl-C; a second client is turned away
        c.send("vCont;c")
        c.send("g")
        with Client() as second:
            assert second.s.recv(1) == b""
        c.s.sendall(b"\x03")
        assert c.answer().startswith("T02thread:")
        assert c.ask("D") == "OK"
        assert c.s.recv(1) == b""
    with Machine() as m:
        pass


def test_nonsense_does_no_harm():
    import random
    rng = random.Random(5)
    with Machine() as m:
        words = [b"g", b"m80200000,2000", b"G", b"vCont;c", b"vCont;s", b"Z2,80202000,8", b"z0,0,2",
                 b"qRcmd,68656c70", b"\x03", b"qXfer:features:read:target.xml:0,fff", b"p20", b"?"]
        for _ in range(30):
            with Client() as c:
                if rng.random() < .5:
                    c.send("QStartNoAckMode")
                data = b""
                for _ in range(rng.randrange(200)):
                    w = bytearray(rng.choice(words))
                    for _ in range(rng.randrange(3)):
                        w[rng.randrange(len(w))] = rng.randrange(256)
                    if not w.startswith(b"k"):
                        data += frame(bytes(w)) if rng.random() < .9 else bytes(w)
                try:
                    c.s.sendall(data)
                except (TimeoutError, BrokenPipeError, ConnectionResetError):
                    pass
        # answers that nobody reads are not piled up
        with Client() as c:
            c.s.settimeout(1)
            try:
                for _ in range(100000):
                    c.s.sendall(frame("m80200000,1fff") * 100)
            except TimeoutError:
                pass
            with open(f"/proc/{m.p.pid}/status") as f:
                rss = int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
            assert rss < 100_000, rss
        out = gdb("p counters[0]", "info threads", "detach")
        find("CPU 1", out)


def test_where_it_listens():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with Machine(where=str(port)) as m:
        p = subprocess.run([BOOT, "-g", str(port), GUEST], capture_output=True, text=True)
        assert p.returncode == 2 and f"{port}: Address already in use" in p.stderr, p.stderr
        with open("/proc/net/tcp") as f:
            assert "0100007F:%04X 00000000:0000 0A" % port in f.read()
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(frame("?"))
            assert s.recv(1) == b"+"
    for wrong in ("", "0", "65536", "x", "1:2:3", "unix:", "unix:" + "a" * 200, "[::1", "+5"):
        p = subprocess.run([BOOT, "-g", wrong, GUEST], capture_output=True, text=True, timeout=20)
        assert p.returncode == 2 and p.stderr.startswith(f"boot: {wrong}: "), (wrong, p.stderr)
    open(SOCKET + ".file", "w").close()
    p = subprocess.run([BOOT, "-g", "unix:" + SOCKET + ".file", GUEST], capture_output=True, text=True)
    assert p.returncode == 2 and "Address already in use" in p.stderr, p.stderr
    assert os.path.exists(SOCKET + ".file")


def main():
    names = [n for n in globals() if n.startswith("test_") and (not sys.argv[3:] or n in sys.argv[3:])]
    print(f"1..{len(names)}", flush=True)
    failed = False
    for i, name in enumerate(names, 1):
        try:
            globals()[name]()
            print(f"ok {i} - {name}", flush=True)
        except Exception:  # a test's failure, whatever it is, is a line of the report
            failed = True
            print("\n".join("# " + line for line in traceback.format_exc().splitlines()))
            print(f"not ok {i} - {name}", flush=True)
    sys.exit(failed)


main()
