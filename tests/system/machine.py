# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: they drive the `strata` command as a user does and print TAP.

A test is a function whose name starts with test_; main() runs those of a module in order.
The store is the user's own (STRATA_HOME), so that an image is made once; run `strata image pull --arch riscv64 debian`
first, or let the first test do it.
"""
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback

STRATA = os.environ.get("STRATA", "build/strata")
ARCH = ["--vm", "--arch", "riscv64"]


class Skip(Exception):
    """Raised by a test that cannot run here; the message is the reason."""


def strata(*args, stdin=None, timeout=600, check=False, env=None):
    """Runs strata; returns the completed process with bytes in stdout and stderr."""
    p = subprocess.run([STRATA, *args], input=stdin, capture_output=True, timeout=timeout,
                       stdin=subprocess.DEVNULL if stdin is None else None,
                       env={**os.environ, **(env or {})})
    if check and p.returncode != 0:
        raise AssertionError(f"strata {' '.join(args)}: status {p.returncode}\n"
                             f"{p.stderr.decode(errors='replace')}")
    return p


def run(*command, options=(), stdin=None, timeout=600):
    """One command in a new machine that is removed afterwards."""
    return strata("run", *ARCH, "--rm", *options, "debian", "--", *command, stdin=stdin,
                  timeout=timeout)


def sh(script, options=(), stdin=None, timeout=600):
    """A shell script in a new machine; fails unless it succeeds. Returns its output as text."""
    p = run("sh", "-ec", script, options=options, stdin=stdin, timeout=timeout)
    if p.returncode != 0:
        raise AssertionError(f"status {p.returncode}\n--- stdout\n"
                             f"{p.stdout.decode(errors='replace')[-2000:]}\n--- stderr\n"
                             f"{p.stderr.decode(errors='replace')[-2000:]}")
    return p.stdout.decode()


def equal(got, want):
    if got != want:
        raise AssertionError(f"got {got!r}, expected {want!r}")


def contains(got, want):
    if want not in got:
        raise AssertionError(f"{want!r} is not in {got!r}")


def temporary_directory():
    return tempfile.TemporaryDirectory(prefix="strata-test-")


class PeakMemory:
    """Watches the monitor that a `strata run` started: the largest memory of its own that was seen
    while the block ran, in bytes. The guest's memory is a shared memfd, which RssShmem counts."""

    def __init__(self, run_pid):
        self.run_pid, self.bytes = run_pid, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def monitor(self):
        with open(f"/proc/{self.run_pid}/task/{self.run_pid}/children") as f:
            for pid in f.read().split():
                with open(f"/proc/{pid}/cmdline", "rb") as c:
                    if c.read().split(b"\0")[1:2] == [b"monitor"]:
                        return pid
        return None

    def watch(self):
        while not self.stop.wait(0.05):
            try:
                if pid := self.monitor():
                    with open(f"/proc/{pid}/status") as f:
                        kib = dict(re.findall(r"^(\w+):\s+(\d+) kB$", f.read(), re.M))
                    self.bytes = max(self.bytes, 1024 * (int(kib["RssAnon"]) + int(kib["RssFile"])))
            except (OSError, KeyError):  # not yet, or no longer there
                pass

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.stop.set()
        self.thread.join()


def have_image():
    """Makes sure of the image. False: the archive cannot be reached, and the reason was printed."""
    have = strata("image", "inspect", "--arch", "riscv64", "debian")
    if have.returncode == 0 and b'"kind": "image"' in have.stdout:
        return True
    print("# fetching the image: minutes, once", flush=True)
    p = strata("image", "pull", "--arch", "riscv64", "debian", timeout=2000)
    text = p.stderr.decode(errors="replace").strip()
    if p.returncode == 0:
        return True
    unreachable = ("resolve", "connect", "unreachable", "timed out")
    if any(word in text.lower() for word in unreachable):
        why = [line for line in text.splitlines() if line.startswith("strata:")]
        print(f"1..0 # SKIP no image, and the archive cannot be reached: {why}")
    else:
        print("1..1\nnot ok 1 - image pull")
        print("\n".join("# " + line for line in text.splitlines()))
    return False


def main():
    module = sys.modules["__main__"]
    only = sys.argv[1:]
    names = [n for n in dir(module) if n.startswith("test_") and (not only or n in only)]
    names.sort(key=lambda n: getattr(module, n).__code__.co_firstlineno)
    failed = False
    if not have_image():
        sys.exit(0)
    print(f"1..{len(names)}", flush=True)
    for i, name in enumerate(names, 1):
        start = time.monotonic()
        try:
            getattr(module, name)()
            print(f"ok {i} - {name} # {time.monotonic() - start:.1f} s", flush=True)
        except Skip as why:
            print(f"ok {i} - {name} # SKIP {why}", flush=True)
        except Exception:  # a test's failure, whatever it is, is a line of the report
            failed = True
            for line in traceback.format_exc().splitlines():
                print("#", line)
            print(f"not ok {i} - {name}", flush=True)
    sys.exit(1 if failed else 0)
