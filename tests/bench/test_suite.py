# SPDX-License-Identifier: Apache-2.0
"""The benchmark suite: its list, its runner, its figures, and that its programs print the same on
both architectures. Needs no root file system and no network. Prints TAP."""
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
sys.dont_write_bytecode = True
sys.path.insert(0, BENCH)

from lib import modes, report, roots, workloads  # noqa: E402

PROGRAMS = {"fib": "2", "bytecode": "1000", "convert": "2000", "raytrace": "20", "signals": "40"}


class Skip(Exception):
    """The reason why a test cannot run here."""


def suite(*args):
    return subprocess.run([sys.executable, "-B", os.path.join(BENCH, "suite.py"), *args],
                          capture_output=True, text=True)


def build(arch, name, directory):
    out = os.path.join(directory, f"{name}-{arch}")
    source = os.path.join(BENCH, name if "." in name else f"programs/{name}.c")
    roots.compile_program(arch, source, out)
    return out


def test_list(directory):
    p = suite("--list")
    assert p.returncode == 0, p.stderr
    listed = {line.split()[0] for line in p.stdout.splitlines()}
    assert listed == {w.name for w in workloads.WORKLOADS} and len(listed) == len(workloads.WORKLOADS)
    assert {w.group for w in workloads.WORKLOADS} == {*workloads.GROUPS, workloads.IDLE}
    for w in workloads.WORKLOADS:
        program = w.argv[0].removeprefix("/bench/bin/")
        if program != w.argv[0] and program != "cc1":
            assert os.path.exists(os.path.join(BENCH, "programs", program + ".c")), program


def test_wrong_words(directory):
    for args in (["--only", "nonsense"], ["--modes", "nonsense"], ["--runs", "0"]):
        p = suite("--list", *args)
        assert p.returncode == 2, (args, p.stderr)


def test_runner(directory):
    runner = build("amd64", "runner.c", directory)

    def result(*command):
        lines = subprocess.run([runner, *command], capture_output=True, text=True).stdout.splitlines()
        return modes.parse(lines[0], [s[5:] for s in lines[1:]])

    r = result("sh", "-c", "printf abc")
    assert r.failure == "" and r.output == "3:e71fa2190541574b", r
    assert result("sh", "-c", "printf abd").output != r.output
    assert result("sh", "-c", "echo why >&2; exit 3").failure == "status 3; why"
    assert result("sh", "-c", "kill -9 $$").failure == "signal 9"
    r = result("-l", "1", "sleep", "20")
    assert r.failure == "over its time" and 0.9 < r.seconds < 10, r
    assert result("/not/there").failure.startswith("status 126; runner: /not/there")


def test_figures(directory):
    def run(seconds, output="1:1", failure=""):
        return modes.Result(seconds, output=output, failure=failure)

    a, b, c = workloads.WORKLOADS[:3]
    results = {"native": {a.name: [run(1)], b.name: [run(2)], c.name: [run(1)]},
               "qemu-user": {a.name: [run(9), run(8), run(70)], b.name: [run(8)], c.name: [run(5)]},
               "strata-user": {a.name: [run(1), run(3), run(2)], b.name: [run(8)],
                               c.name: [run(0.1), run(0.1, "1:2")]}}
    f = report.Figures(results, [a, b, c], ["native", "qemu-user", "strata-user"])
    assert f.median("qemu-user", a.name) == 9 and f.ratio("qemu-user", "strata-user", a.name) == 4.5
    mean, n = f.mean("qemu-user", "strata-user", [a.name, b.name, c.name])
    assert n == 2 and abs(mean - 4.5 ** 0.5) < 1e-9, (mean, n)
    assert f.median("strata-user", c.name) is None
    assert f.failures == [(c.name, "strata-user", "output differs from that of native")]
    text = report.text(f, {}, ["here"])
    assert "FAILED" in text and "4.50" in text and "2.12" in text, text


def test_programs_agree(directory):
    if not shutil.which("qemu-riscv64") or not shutil.which(roots.CC["riscv64"]):
        raise Skip("no qemu-riscv64 or no riscv64 compiler")
    for name, n in PROGRAMS.items():
        out = [subprocess.run([*prefix, build(arch, name, directory), n], capture_output=True, text=True,
                              check=True).stdout for arch, prefix in (("amd64", []),
                                                                      ("riscv64", ["qemu-riscv64"]))]
        assert out[0] == out[1] and out[0], (name, out)


def main():
    tests = [(n, t) for n, t in globals().items() if n.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = False
    for i, (name, test) in enumerate(tests, 1):
        said = io.StringIO()
        try:
            with tempfile.TemporaryDirectory(prefix="strata-test-") as d, contextlib.redirect_stdout(said):
                test(d)
            print(f"ok {i} - {name}")
        except Skip as why:
            print(f"ok {i} - {name} # SKIP {why}")
        except Exception:  # a test's failure, whatever it is, is a line of the report
            failed = True
            print("\n".join("# " + s for s in traceback.format_exc().splitlines()))
            print(f"not ok {i} - {name}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
