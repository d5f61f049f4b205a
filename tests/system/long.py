#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""By hand, for hours: programs that test a CPU and its kernel run in a machine. Meson does not know
this file. Usage: [STRATA=build/strata] long.py [--cpus N] [--seconds N] [--jit off|N] [test_…]

stress-ng verifies what it computes; python3 runs its own tests, whose failures are printed, to be
compared with another emulator's; gcc builds programs that have tests of their own. All need the Debian mirror.
"""
import argparse
import os
import re
import subprocess
import sys
import time

import machine
from machine import STRATA, ARCH

INSTALL = r"""
echo 'Acquire::Languages "none";' > /etc/apt/apt.conf.d/10languages
apt-get -qq update || apt-get -qq update || true
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends PACKAGES >/tmp/apt.log 2>&1 ||
    { tail -20 /tmp/apt.log; exit 1; }
"""
STRESSORS = "cpu vm atomic futex signal matrix mutex sem mmap fork switch clock hash longjmp"
# Those that know no display, no network beyond the machine and need less than the machine has.
PYTHON_EXCLUDED = "test_ssl test_urllib2net test_urllibnet test_httplib test_smtpnet test_tkinter test_idle"
options = None


def guest(packages, script, timeout):
    """Runs a script in a machine; what it prints appears as it comes, and is returned."""
    command = [STRATA, "run", *ARCH, "--rm", "--cpus", str(options.cpus), "--memory", "2G", "debian", "--",
               "sh", "-c", "exec 2>&1\n" + INSTALL.replace("PACKAGES", packages) + script]
    env = {**os.environ, **({"STRATA_JIT": options.jit} if options.jit else {})}
    out = []
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace", env=env) as p:
        for line in p.stdout:
            print("# " + line, end="", flush=True)
            out.append(line)
            if time.monotonic() - start > timeout:
                p.kill()
                raise AssertionError(f"no end within {timeout} s")
    return "".join(out)


def test_stress_ng():
    script = "".join(f"stress-ng --verify --{s} {options.cpus} --timeout {options.seconds}s --temp-path /tmp || "
                     f"echo BAD {s}\n" for s in STRESSORS.split())
    out = guest("stress-ng", script, 600 + 4 * options.seconds * len(STRESSORS.split()))
    bad = re.findall(r"^BAD (\S+)", out, re.M)
    good = len(re.findall(r"successful run completed", out))
    machine.equal((bad, good), ([], len(STRESSORS.split())))


def test_python():
    script = (f"cd /tmp && useradd -m tester; runuser -u tester -- "
              f"python3 -m test -j{options.cpus} --timeout 1200 -x {PYTHON_EXCLUDED}\n")
    if options.python:
        script = (f"cd /tmp && useradd -m tester; runuser -u tester -- "
                  f"python3 -m test -j{options.cpus} --timeout 1200 {options.python}\n")
    tests = "$(apt-cache search --names-only '^libpython3[.][0-9]*-testsuite$' | cut -d' ' -f1)"
    out = guest("python3 gcc libc6-dev " + tests, script, 6 * 3600)
    failed = re.search(r"^\d+ tests? failed:\n((?: +\S.*\n)+)", out, re.M)
    machine.equal(failed.group(1).split() if failed else [], [])
    machine.contains(out, "Result: SUCCESS")


def test_build():
    script = r"""
sed -i 's/^Types: deb$/Types: deb deb-src/; s/^deb \(.*\)/&\ndeb-src \1/' /etc/apt/sources.list.d/*
apt-get -qq update
useradd -m tester; cd /home/tester
# Debian's patches are newer than what autoconf made: in its order.
export NEWER='for f in aclocal.m4 configure lib/config.hin doc/stamp-vti doc/version.texi doc/gzip.info; do [ ! -e $f ] || touch $f; sleep 0.1; done;
              find . -name Makefile.in -exec touch {} +'
for p in zlib gzip; do
    apt-get -qq source $p >/tmp/source.log 2>&1 || tail /tmp/source.log
    chown -R tester: $p-*/
    (cd $p-*/ && runuser -u tester -- sh -c "$NEWER; ./configure && make && make -k check") >/tmp/$p.log 2>&1 && echo GOOD $p
    grep -E '^# (TOTAL|PASS|FAIL|ERROR|SKIP)|zlib .*test OK' /tmp/$p.log || tail -20 /tmp/$p.log
done
"""
    out = guest("gcc libc6-dev make dpkg-dev less", script, 3600)
    machine.equal(re.findall(r"^GOOD (\S+)", out, re.M), ["zlib", "gzip"])


def main():
    global options
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=60, help="of each stressor (60)")
    parser.add_argument("--jit", help="STRATA_JIT for the machine")
    parser.add_argument("--python", help="these of python3's tests, not all", default="")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    sys.argv = sys.argv[:1] + options.tests
    machine.main()


if __name__ == "__main__":
    main()
