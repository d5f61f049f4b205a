#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`strata binfmt`, in a user namespace with a binfmt_misc of its own (Linux 6.7): the host's is not
touched, and nothing needs root. Prints TAP."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

STRATA = os.environ["STRATA"]
CC = "riscv64-linux-gnu-gcc"
MOUNT = "/proc/sys/fs/binfmt_misc"
SOURCE = r"""
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
int main(int argc, char **argv, char **envp)
{
	if (argc > 1 && !strcmp(argv[1], "again")) {
		argv[1] = "once";
		execve(argv[2], argv, envp);
		return 1;
	}
	if (argc > 1 && !strcmp(argv[1], "descriptors")) {
		int open = 0;
		for (int fd = 3; fd < 64; fd++)
			open += dup2(fd, 100) >= 0;
		printf("%d open\n", open);
		return 0;
	}
	printf("%s %s %d %d %lu\n", argv[0], argc > 1 ? argv[1] : "-", getuid() == geteuid(),
		strcmp((char *)getauxval(AT_EXECFN), "/proc/self/exe") != 0, getauxval(AT_SECURE));
	return 7;
}
"""
count = failed = 0


def strata(*words):
    return subprocess.run([STRATA, *words], text=True, capture_output=True, timeout=60)


def report(name, good, *what):
    global count, failed
    count += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {count} - {name}")
    for w in [] if good else what:
        for line in str(w).splitlines():
            print("# " + line)


def check(name, p, status, out="", err=""):
    report(name, p.returncode == status and out in p.stdout and err in p.stderr,
           f"status {p.returncode}, expected {status}", p.stdout, p.stderr)


def run(*words, **kw):
    return subprocess.run(words, text=True, capture_output=True, timeout=60, **kw)



def outside():
    check("not mounted: install", strata("binfmt", "install"), 1, err="is not mounted on")
    check("not mounted: remove", strata("binfmt", "remove"), 1, err="mount -t binfmt_misc")
    check("not mounted: status", strata("binfmt", "status"), 1, out="not mounted")


def inside(program, tree):
    check("remove of nothing", strata("binfmt", "remove"), 1, err="there is none")
    check("status before", strata("binfmt", "status"), 1, out="not installed")
    check("install", strata("binfmt", "install"), 0)
    check("status", strata("binfmt", "status"), 0, out="strata-process")
    for name, path, usual in (("install", "/register", 0o200), ("remove", "/strata-riscv64", 0o644)):
        os.chmod(MOUNT + path, 0o444)
        p = run("setpriv", "--inh-caps=-all", "--bounding-set=-all", STRATA, "binfmt", name)
        check(f"{name} without the right to", p, 1, err="only root may")
        os.chmod(MOUNT + path, usual)
    check("it runs", run(program, "word"), 7, out=f"{program} word 1 1 0\n")
    check("with another argv[0]", run("other", "word", executable=program), 7, out="other word 1 1 0\n")
    check("no descriptor of ours", run(program, "descriptors"), 0, out="0 open\n")
    check("and executes itself", run(program, "again", program), 7, out=f"{program} once")
    script = os.path.join(os.path.dirname(program), "script")
    with open(script, "w") as f:
        f.write(f"#!{program} word\n")
    os.chmod(script, 0o755)
    check("as a script's interpreter", run(script), 7, out=f"{program} word")
    # In another root there is neither Strata nor /proc; nor what a program that is not static needs.
    if not os.environ.get("SANITIZED"):
        check("in another root", run("chroot", tree, "/program", "word"), 7, out="/program word")
        check("twice in another root", run("chroot", tree, "/program", "again", "/program"), 7, out="/program once")
    check("install again", strata("binfmt", "install", "--credentials"), 0, err="")
    check("with credentials", strata("binfmt", "status"), 0, out="program's")
    check("it runs with credentials", run(program, "word"), 7, out=f"{program} word 1 1 0\n")
    check("no descriptor of ours with credentials", run(program, "descriptors"), 0, out="0 open\n")
    with open(MOUNT + "/status", "w") as f:
        f.write("0")
    check("switched off", strata("binfmt", "status"), 1, out="switched off")
    with open(MOUNT + "/status", "w") as f:
        f.write("1")
    with open(MOUNT + "/register", "w") as f:
        f.write(r":other:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00:"
                r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/bin/true:")
    p = strata("binfmt", "status", "--format=json")
    got = json.loads(p.stdout)[0]
    report("another interpreter is shown", got["other"] == "other" and got["credentials"] is True, got)
    check("and told of", strata("binfmt", "install"), 0, err="other is registered")
    check("ours goes first", run(program, "word"), 7)
    check("remove", strata("binfmt", "remove"), 0)
    check("gone", strata("binfmt", "status"), 1, out="not installed")


def main():
    if len(sys.argv) > 1:
        subprocess.run(["mount", "-t", "tmpfs", "none", MOUNT], check=True)
        outside()
        subprocess.run(["umount", MOUNT], check=True)
        if subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", MOUNT], capture_output=True).returncode:
            print("1..0 # SKIP no binfmt_misc in user namespaces")
            return 0
        inside(*sys.argv[1:])
        print(f"1..{count}")
        return 1 if failed else 0
    if not shutil.which(CC):
        print("1..0 # SKIP no " + CC)
        return 0
    with tempfile.TemporaryDirectory(prefix="strata-binfmt-") as tmp:
        os.chmod(tmp, 0o755)
        with open(tmp + "/say.c", "w") as f:
            f.write(SOURCE)
        tree = tmp + "/tree"
        os.mkdir(tree)
        subprocess.run([CC, "-O2", "-w", "-static", "-o", tmp + "/say", tmp + "/say.c"], check=True)
        shutil.copy(tmp + "/say", tree + "/program")
        return subprocess.run(["unshare", "-Urm", sys.executable, os.path.abspath(__file__), tmp + "/say", tree]).returncode


if __name__ == "__main__":
    sys.exit(main())
