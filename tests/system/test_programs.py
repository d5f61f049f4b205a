#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's own programs, installed in the machine by apt-get, give right results, on the machine's
own disk and in a shared folder; the monitor stays small meanwhile."""
import functools
import os
import pathlib
import re
import subprocess

import machine
import source_tree
from machine import STRATA, ARCH, Skip, contains, equal

NAME = f"strata-test-programs-{os.getpid()}"
PACKAGES = "python3-minimal gcc libc6-dev sqlite3 openssl kmod"

SCRIPT = r"""
set -e
exec 2>&1
# A mirror that is being updated may miss an index of the small suites: installing tells.
echo 'Acquire::Languages "none";' > /etc/apt/apt.conf.d/10languages
apt-get -qq update || apt-get -qq update || true
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends """ + PACKAGES + r""" >/tmp/apt.log 2>&1 ||
    { tail -20 /tmp/apt.log; exit 1; }
echo "== python3"
python3 -c 'import math, json; print(sum(i*i for i in range(10000)), json.dumps({"pi": math.pi}), 2**521-1, 0.1+0.2)'
echo "== perl"
perl -e 'my %h; $h{$_ % 97} += $_ for 1..20000; my $s = 0; $s = ($s * 31 + $h{$_}) % 1000003 for sort { $a <=> $b } keys %h; print "$s\n"; printf "%.17g\n", atan2(1,1)*4; print join(",", map { ucfirst } split / /, "a quick fox"), "\n"'
echo "== gcc"
cat > /tmp/t.c <<'C'
#include <stdio.h>
#include <math.h>
#include <pthread.h>
static long long sum; static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static void *work(void *p) { for (int i = 0; i < 10000; i++) { pthread_mutex_lock(&m); sum += (long)p * i; pthread_mutex_unlock(&m); } return 0; }
int main(void) { pthread_t t[4]; for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, work, (void *)(i + 1));
 for (int i = 0; i < 4; i++) pthread_join(t[i], 0); printf("%lld %.17g %a\n", sum, exp(1), sqrt(2)); return 0; }
C
gcc -O2 -o /tmp/t /tmp/t.c -lm -pthread && /tmp/t
echo "== sqlite3"
sqlite3 :memory: 'create table t(a integer, b text); with recursive n(i) as (select 1 union all select i+1 from n where i<5000) insert into t select i, hex(i*i) from n; select count(*), sum(a), max(length(b)), group_concat(b) from t where a%1000=0; pragma integrity_check;'
echo "== openssl"
printf 'abc' | openssl dgst -sha256 -r
printf 'abc' | openssl enc -aes-256-cbc -K $(printf '0%.0s' $(seq 64)) -iv $(printf '0%.0s' $(seq 32)) | od -An -tx1
openssl genpkey -algorithm ed25519 -out /tmp/k && printf hello > /tmp/m && openssl pkeyutl -sign -inkey /tmp/k -rawin -in /tmp/m -out /tmp/s && openssl pkey -in /tmp/k -pubout -out /tmp/p && openssl pkeyutl -verify -pubin -inkey /tmp/p -rawin -in /tmp/m -sigfile /tmp/s
echo "== modprobe"
if [ -e /lib/modules/$(uname -r)/modules.dep.bin ]; then
    modprobe dummy && modprobe fs-btrfs && modprobe -D virtio # a name, an alias with dependencies, built in
    grep -oE '^(dummy|btrfs|xor) ' /proc/modules | sort
else
    echo "no indexes"
fi
"""



@functools.cache
def guest():
    """Installs and runs everything in one machine: apt-get takes most of the time. What the tests look
    at: status, stdout and stderr, the shared tree before and after, the monitor's peak of its own memory."""
    with machine.temporary_directory() as d:
        top = pathlib.Path(d, "project")
        source_tree.make(top)
        before = source_tree.manifest(top)
        p = subprocess.Popen([STRATA, "run", *ARCH, "--rm", "--name", NAME, "--net", "user",
                              "--memory", "1G", "--share", f"{d}:/src", "debian", "--",
                              "sh", "-c", SCRIPT + source_tree.SCRIPT],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with machine.PeakMemory(p.pid) as peak:
            out, err = p.communicate(timeout=2000)
        return (p.returncode, out.decode(errors="replace"), err.decode(errors="replace"), before,
                source_tree.manifest(top), source_tree.outputs(top) if p.returncode == 0 else None,
                peak.bytes)


def parts():
    status, out, err, *_ = guest()
    if status != 0:
        raise AssertionError(f"status {status}: {out[-3000:]}\n{err[-1000:]}")
    return dict(re.findall(r"^== (\w+)\n((?:(?!== ).*\n?)*)", out, re.M))


def test_apt_get_and_five_programs():
    part = parts()
    equal(part["python3"], '333283335000 {"pi": 3.141592653589793} ' + str(2**521 - 1) +
          " 0.30000000000000004\n")
    total, sums = 0, [sum(range(n or 97, 20001, 97)) for n in range(97)]
    for n in sums:
        total = (total * 31 + n) % 1000003
    equal(part["perl"].split(), [str(total), "3.1415926535897931", "A,Quick,Fox"])
    equal(part["gcc"], "499950000 2.7182818284590451 0x1.6a09e667f3bcdp+0\n")
    equal(part["sqlite3"], "5|15000|16|31303030303030,34303030303030,39303030303030,"
          "3136303030303030,3235303030303030\nok\n")
    contains(part["openssl"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    contains(part["openssl"], "Signature Verified Successfully")


def test_modprobe_finds_modules():
    text = parts()["modprobe"]
    if text == "no indexes\n":
        raise Skip("an older strata made the boot image: strata image pull --refresh")
    equal(text.split(), ["builtin", "virtio", "btrfs", "dummy", "xor"])


def test_a_source_tree_is_built_in_a_shared_folder():
    part = parts()
    before, after, outputs = guest()[3:6]
    equal(set(part["before"].splitlines()) ^ set(before), set())
    equal(part["program"], source_tree.EXPECTED)
    equal(set(part["after"].splitlines()) ^ set(after), set())
    equal(outputs, source_tree.expected_outputs())
    print("# in the guest, seconds:", part["took"].strip())


def test_the_monitor_needs_less_than_64_mib_of_its_own():
    parts()
    peak = guest()[6]
    print(f"# peak beyond the guest's memory: {peak / 2**20:.1f} MiB")
    assert 4 << 20 < peak < 64 << 20, peak


if __name__ == "__main__":
    machine.main()
