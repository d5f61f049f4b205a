#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the test programs that Meson knows and counts every test point.

Usage: run_tests.py [-j N] [-k SUBSTRING] [--step NAME=COMMAND]... BUILD-DIR[:SUITE[,SUITE][:REGEX]]...

Steps (builds, checks of the source) come first, in their order; each counts as one result, and what
it prints is shown when it fails. REGEX narrows a build's tests to names that it finds. A program with the TAP protocol counts one result per point; any other counts as one: exit
status 0 passed, 77 skipped. The output of a program that failed is printed whole, the reasons
of skips at the end. The last line is always "N passed, N failed, N skipped".
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

POINT = re.compile(r"^(not )?ok\b\s*\d*\s*-?\s*(.*?)(?:\s*#\s*(SKIP|TODO)\b\s*(.*))?$", re.I)
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP\b\s*(.*))?$", re.I)


class Result:
    def __init__(self, name):
        self.name, self.passed, self.failed = name, 0, 0
        self.skips, self.output, self.why, self.seconds = [], "", "", 0.0


def parse_tap(r, status):
    plan, points = None, 0
    for line in r.output.splitlines():
        if m := PLAN.match(line):
            plan = int(m[1])
            if plan == 0:
                r.skips.append((r.name, m[2] or "no reason given"))
        elif m := POINT.match(line):
            points += 1
            if m[3] and m[3].upper() == "SKIP":
                r.skips.append((f"{r.name}: {m[2]}", m[4] or "no reason given"))
            elif m[1]:
                r.failed += 1
            else:
                r.passed += 1
    if r.why:
        r.failed += 1
    elif plan is None or plan != points:
        r.failed += 1
        r.why = f"{points} results, plan {'missing' if plan is None else plan}, {describe(status)}"
    elif status and not r.failed:
        r.failed, r.why = 1, describe(status)


def describe(status):
    if status < 0:
        return "killed by " + signal.Signals(-status).name
    return f"exit status {status}"


def run(test):
    r = Result(test["label"])
    # A directory of its own for each program, gone afterwards, and no way into the user's store
    # except for system tests, which would take minutes to make an image of their own.
    scratch = tempfile.mkdtemp(prefix="strata-test-")
    env = {**os.environ, **test["env"], "TMPDIR": scratch}
    if not any(s.endswith(":system") or s == "system" for s in test["suite"]):
        env.setdefault("STRATA_HOME", os.path.join(scratch, "home"))
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=1")
    env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    start, status = time.monotonic(), 0
    try:
        with subprocess.Popen(
            test["cmd"], cwd=test["workdir"] or test["build"], env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        ) as p:
            try:
                out, _ = p.communicate(timeout=test["timeout"] or None)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                out, _ = p.communicate()
                r.why = f"no end within {test['timeout']} s"
            status = p.returncode
            try:
                os.killpg(p.pid, signal.SIGKILL)  # what it left behind
            except ProcessLookupError:
                pass
        r.output = out.decode(errors="replace")
    except OSError as e:
        r.why = str(e)
    shutil.rmtree(scratch, ignore_errors=True)
    r.seconds = time.monotonic() - start
    if test["protocol"] == "tap":
        parse_tap(r, status)
    elif r.why or status not in (0, 77):
        r.failed, r.why = 1, r.why or describe(status)
    elif status == 77:
        lines = r.output.strip().splitlines()
        r.skips.append((r.name, lines[-1] if lines else "no reason given"))
    else:
        r.passed = 1
    return r


def collect(spec, substring):
    build, suites, regex = (spec.split(":", 2) + ["", ""])[:3]
    wanted = set(filter(None, suites.split(",")))
    found = json.loads(subprocess.check_output(["meson", "introspect", "--tests", build]))
    for t in found:
        have = {s.rpartition(":")[2] for s in t["suite"]}
        if wanted and not wanted & have or substring not in t["name"]:
            continue
        if not re.search(regex, t["name"]):
            continue
        yield {**t, "build": os.path.abspath(build), "label": f"{build} {t['name']}"}


def run_step(step):
    name, _, command = step.partition("=")
    r, start = Result(name), time.monotonic()
    p = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, text=True, errors="replace",
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    r.output, r.seconds = p.stdout, time.monotonic() - start
    if p.returncode:
        r.failed, r.why = 1, describe(p.returncode)
    else:
        r.passed = 1
    return r


def collect_all(specs, substring):
    """The tests of all builds; a build that is not there counts as one failure."""
    tests, problems = [], []
    for spec in specs:
        try:
            tests += collect(spec, substring)
        except (subprocess.CalledProcessError, json.JSONDecodeError):
            r = Result(spec)
            r.failed, r.why = 1, "its tests cannot be listed"
            problems.append(r)
    return tests, problems


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("Usage: "))
    parser.add_argument("-j", type=int, default=2, help="programs at a time (2)")
    parser.add_argument("-k", default="", help="only tests whose name contains this")
    parser.add_argument("--step", action="append", default=[], metavar="NAME=COMMAND",
                        help="run this first; counts as one result")
    parser.add_argument("builds", nargs="+")
    args = parser.parse_args()

    passed = failed = 0
    skips, bad = [], []
    with concurrent.futures.ThreadPoolExecutor(max(args.j, 1)) as pool:
        def results():
            yield from map(run_step, args.step)
            # Only now: a step may have made the build that is asked for its tests.
            tests, problems = collect_all(args.builds, args.k)
            yield from problems
            if not tests:
                r = Result("tests")
                r.failed, r.why = 1, "none match"
                yield r
            tests.sort(key=lambda t: -(t["timeout"] or 0))  # long ones first: shorter in all
            alone = [t for t in tests if not t.get("is_parallel", True)]
            together = [t for t in tests if t.get("is_parallel", True)]
            yield from (f.result() for f in concurrent.futures.as_completed(
                [pool.submit(run, t) for t in together]))
            yield from map(run, alone)
        for r in results():
            passed, failed = passed + r.passed, failed + r.failed
            skips += r.skips
            word = "FAIL" if r.failed else "ok" if r.passed else "skip"
            print(f"{word:4} {r.name} ({r.passed} passed, {r.seconds:.1f} s)", flush=True)
            if r.failed:
                bad.append(r.name)
                print("".join(f"  | {line}\n" for line in r.output.splitlines()), end="")
                if r.why:
                    print(f"  {r.why}")
    for name, reason in sorted(skips):
        print(f"skipped: {name}: {reason}")
    if bad:
        print("failed: " + ", ".join(sorted(bad)))
    print(f"{passed} passed, {failed} failed, {len(skips)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
