#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: test_cli.py PROGRAM. Needs no network and no image."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

program = sys.argv[1]
work = pathlib.Path(tempfile.mkdtemp())
env = {**os.environ, "STRATA_HOME": str(work / "home"), "STRATA_CACHE": str(work / "cache")}
count = failed = 0


def strata(*args, **kw):
    return subprocess.run([program, *args], env={**env, **kw.pop("env", {})}, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60, **kw)


def check(name, p, status, out="", err=""):
    """out and err: words that must stand there; None: must be empty."""
    global count, failed
    count += 1
    problems = []
    if p.returncode != status:
        problems.append(f"status {p.returncode}, expected {status}")
    for what, text, want in (("stdout", p.stdout, out), ("stderr", p.stderr, err)):
        if want is None and text:
            problems.append(f"{what} should be empty")
        elif want and want not in text:
            problems.append(f"{what} lacks {want!r}")
    failed += bool(problems)
    print(f"{'not ' if problems else ''}ok {count} - {name}")
    for line in problems + (p.stdout + p.stderr).splitlines() if problems else []:
        print("#", line)


def commands():
    """The commands that the overview names."""
    text = strata("help").stdout.split("Commands:\n")[1]
    return [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2] != " "]


check("no command", strata(), 2, None, "Usage: strata COMMAND")
check("help", strata("help"), 0, "Commands:", None)
check("--help", strata("--help"), 0, "Commands:", None)
check("--version", strata("--version"), 0, "strata 0", None)
check("hidden commands stay hidden", strata("help"), 0, "doctor", None)
for name in commands():
    check(f"help {name}", strata("help", name), 0, f"Usage: strata {name}", None)
    check(f"{name} --help", strata(name, "--help"), 0, f"Usage: strata {name}", None)
    check(f"{name} refuses unknown options", strata(name, "--no-such-option"), 2, None, name)

check("unknown command", strata("dcotor"), 2, None, 'did you mean "strata doctor"?')
check("unknown sub-command", strata("image", "lits"), 2, None, 'did you mean "strata image list"?')
check("unknown option", strata("run", "--memroy=1"), 2, None, "did you mean --memory?")
check("option without value", strata("run", "--memory"), 2, None, "--memory needs a value: SIZE")
check("optional value", strata("run", "--vm", "--stats=x", "y"), 2, None, "must be one of table, json")
check("a debugger to wait for", strata("run", "--vm", "--gdb-wait", "y"), 2, None, "--gdb-wait without --gdb")
check("no debugger of a process", strata("run", "--level", "process", "--gdb=1234", "/bin/true"), 2, None,
      "takes no options of a machine")
check("no address", strata("run", "--vm", "--gdb=70000", "y"), 2, None, "--gdb: 70000: the port is not a number")
check("flag with value", strata("run", "--rm=yes", "x"), 2, None, "takes no value")
check("bad choice", strata("list", "--format", "jsno"), 2, None, "did you mean --format json?")
check("missing operand", strata("rm"), 2, None, "INSTANCE... is missing")
check("too many operands", strata("version", "x"), 2, None, "one argument too many")
check("group alone", strata("image"), 2, None, "Usage: strata image COMMAND")

p = strata("list", "--format", "json")
check("empty listing as JSON", p, 0, "[]", None)
check("empty listing", strata("list"), 0, "NAME", None)
check("image list", strata("image", "list"), 0, "IMAGE", None)
p = strata("doctor", "--format=json")
check("doctor", p, p.returncode, '"what"', None)
assert {f["state"] for f in json.loads(p.stdout)} <= {"ok", "warn", "no"}
check("rm of nothing", strata("rm", "no-such"), 1, None, "there is no instance no-such")
check("rm of a path", strata("rm", "../home"), 1, None, "cannot be the name")
check("relative home", strata("list", env={"STRATA_HOME": "here"}), 1, None, "not an absolute path")

(work / "file").write_text("x")
(work / "empty").touch()
(work / "disk").write_bytes(b"\0" * 512)
locked = open(work / "disk", "r+b")
import fcntl  # noqa: E402
fcntl.flock(locked, fcntl.LOCK_EX)
vm = ("run", "--vm")
for name, args, status, err in [
    ("an option of machines", ("run", "--gdb", "1", "debian"), 2, "say --vm"),
    ("memory beyond the host", (*vm, "--memory", "9000T", "x"), 125, "more than this host has"),
    ("tiny memory", (*vm, "-m1M", "x"), 2, "at least 96M"),
    ("not a size", (*vm, "-m", "lots", "x"), 2, "not a size"),
    ("too many CPUs", (*vm, "--cpus=1000", "x"), 2, "--cpus"),
    ("option after the image", (*vm, "debian", "--rm"), 2, "put it before the image"),
    ("no kernel", (*vm, "--kernel", "/no/such", "x"), 125, "--kernel /no/such: No such file"),
    ("no CPU", (*vm, "--cpus", "0", "x"), 2, "--cpus 0: not a number from 1 up"),
    ("empty kernel", (*vm, "--kernel", str(work / "empty"), "x"), 125, "the file is empty"),
    ("no disk", (*vm, "--disk", "/no/such", "x"), 125, "truncate -s 8G /no/such"),
    ("disk in use", (*vm, "--disk", str(work / "disk"), "x"), 125, "in use by another machine"),
    ("share without guest", (*vm, "--share", "/tmp", "x"), 2, "HOST:GUEST[:ro]"),
    ("share of nothing", (*vm, "--share", "/no/such:/x", "x"), 125, "mkdir -p /no/such"),
    ("bad port", (*vm, "--publish", "http", "x"), 2, "--publish http"),
    ("port without network", (*vm, "--net", "none", "-p", "1:1", "x"), 2, "needs a network"),
    ("bad variable", (*vm, "--env", "X", "x"), 2, "NAME=value"),
    ("bad name", (*vm, "--name", "A_b", "x"), 2, "cannot be the name"),
]:
    check(name, strata(*args), status, None, err)

p = strata("help", "--man")
check("manual page", p, 0, ".SH COMMANDS", None)
for shell in ("bash", "zsh", "fish"):
    check(f"completion {shell}", strata("completion", shell), 0, "strata", None)
script = strata("completion", "bash").stdout + """
COMP_WORDS=(strata image l); COMP_CWORD=2; _strata; echo "${COMPREPLY[*]}"
COMP_WORDS=(strata list --format ''); COMP_CWORD=3; _strata; echo "${COMPREPLY[*]}"
"""
p = subprocess.run(["bash", "-c", script], text=True, capture_output=True, env=env)
check("bash completes", p, 0, "list\ntable json\n", None)
check("unknown shell", strata("completion", "tcsh"), 2, None, "bash, zsh and fish")
check("monitor by hand", strata("monitor"), 2)
p = subprocess.run(f"'{program}' help >/dev/full", shell=True, text=True, capture_output=True, env=env)
check("full disk", p, 1, None, "No space left")
print(f"1..{count}")
sys.exit(1 if failed else 0)
