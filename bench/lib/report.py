# SPDX-License-Identifier: Apache-2.0
"""From results to tables: medians, ratios, geometric means, peak RSS, failures."""
import math
import statistics

from lib.workloads import GROUPS, IDLE

PAIRS = [("qemu-user", "strata-user"), ("qemu-system", "strata-vm")]


class Figures:
    """Medians of {mode: {workload: [Result]}}; wrong output is a failure, not a figure."""

    def __init__(self, results, workloads, modes, field="seconds"):
        self.results, self.workloads, self.modes = results, workloads, modes
        self.field = field  # of Result: which time is meant
        self.failures = []
        for w in workloads:
            self.check(w)

    def check(self, w):
        expected, source = None, None
        for mode in self.modes:
            for r in self.results[mode].get(w.name, []):
                if not r.failure and expected is None:
                    expected, source = r.output, mode
                elif not r.failure and r.output != expected:
                    r.failure = f"output differs from that of {source}"
                if r.failure:
                    self.failures.append((w.name, mode, r.failure))

    def runs(self, mode, name):
        runs = self.results.get(mode, {}).get(name, [])
        return [] if any(r.failure for r in runs) else runs

    def median(self, mode, name, field=None):
        runs = self.runs(mode, name)
        return statistics.median(getattr(r, field or self.field) for r in runs) if runs else None

    def ratio(self, above, below, name):
        a, b = self.median(above, name), self.median(below, name)
        return a / b if a and b else None

    def mean(self, above, below, names):
        ratios = [r for n in names if (r := self.ratio(above, below, n))]
        return (math.exp(statistics.fmean(map(math.log, ratios))), len(ratios)) if ratios else (None, 0)


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def row(cells, widths):
    return cells[0].ljust(widths[0]) + "".join(c.rjust(w) for c, w in zip(cells[1:], widths[1:]))


def columns(modes):
    """(heading, function of (figures, names)) for what was run; one name: a median or ratio."""
    def seconds(mode):
        return lambda f, names: number(f.median(mode, names[0])) if len(names) == 1 else ""

    def ratio(above, below):
        return lambda f, names: number(f.mean(above, below, names)[0])

    found = [("native s", seconds("native"))] if "native" in modes else []
    for qemu, strata in PAIRS:
        for mode in (qemu, strata):
            if mode in modes:
                found.append((mode + " s", seconds(mode)))
        if qemu in modes and strata in modes:
            found.append(("faster", ratio(qemu, strata)))
        for mode in (qemu, strata):
            if mode in modes and "native" in modes:
                found.append((mode.split("-")[0] + "/nat", ratio(mode, "native")))
    return found


def speed_table(f):
    found = columns(f.modes)
    widths = [16] + [max(len(h), 7) + 2 for h, _ in found]
    lines = [row(["program"] + [h for h, _ in found], widths)]

    def mean_row(title, names):
        # Always a mean, even of one.
        lines.append(row([title] + [fn(f, names) if len(names) > 1 or not h.endswith(" s") else ""
                                    for h, fn in found], widths))

    for group in GROUPS:
        names = [w.name for w in f.workloads if w.group == group]
        if not names:
            continue
        lines.append(f"-- {group}")
        lines += [row([n] + [fn(f, [n]) for _, fn in found], widths) for n in names]
        mean_row("  geometric mean", names)
    lines.append("-- all, without what has two CPUs")
    mean_row("  geometric mean", [w.name for w in f.workloads if w.cpus == 1 and w.group != IDLE])
    return lines


def rss_table(f):
    machines = [m for m in f.modes if m in ("qemu-system", "strata-vm")]
    processes = [m for m in f.modes if m not in machines]
    heads = processes + machines + [m + " beyond" for m in machines]
    widths = [16] + [len(h) + 2 for h in heads]
    lines = ["peak RSS, MiB; beyond: without the guest's memory",
             row(["program"] + heads, widths)]
    for w in f.workloads:
        kib = [f.median(m, w.name, "rss_kib") for m in processes + machines]
        kib += [f.median(m, w.name, "beyond_kib") for m in machines]
        lines.append(row([w.name] + [number(k and k / 1024, 1) for k in kib], widths))
    return lines


def speedups(f):
    names = [w.name[:-2] for w in f.workloads if w.name.endswith("/1")]
    lines = []
    for n in names:
        found = [(m, f.median(m, n + "/1"), f.median(m, n + "/2")) for m in f.modes]
        lines.append(n.ljust(16) + "".join(f"{m} {a / b:.2f}   " for m, a, b in found if a and b))
    return ["two CPUs against one, times faster"] + lines if lines else []


def idle(f):
    """What an idle machine costs."""
    found = [(m, f.median(m, "idle", "cpu_s"), f.median(m, "idle", "seconds")) for m in f.modes]
    shares = [f"{m} {cpu / s * 100:.1f}%" for m, cpu, s in found if s]
    return ["an idle guest takes of a core: " + "   ".join(shares)] if shares else []


def boots(boot_s):
    """boot_s: {mode: [seconds]}."""
    found = {m: [s for s in v if s] for m, v in boot_s.items()}
    return ["start to userland (kernel, modules, disk), s: " +
            "   ".join(f"{m} {statistics.median(v):.2f}" for m, v in found.items() if v)]


def failures(f):
    lines = []
    for name, mode, why in dict.fromkeys(f.failures):
        lines.append(f"FAILED {name} ({mode}): {why}")
    return lines


def text(f, boot_s, conditions):
    parts = [conditions, speed_table(f), speedups(f), rss_table(f)]
    if any(boot_s.values()):
        parts.append(boots(boot_s) + idle(f))
    parts.append(failures(f))
    return "\n\n".join("\n".join(p) for p in parts if p)


def data(f, boot_s, conditions):
    """The same for --json."""
    return {"conditions": conditions,
            "boot_s": boot_s,
            "failures": [list(x) for x in dict.fromkeys(f.failures)],
            "workloads": [{"name": w.name, "group": w.group, "cpus": w.cpus,
                           "median_s": {m: f.median(m, w.name) for m in f.modes},
                           "runs": {m: [vars(r) for r in f.results[m].get(w.name, [])]
                                    for m in f.modes}} for w in f.workloads]}
