#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the include graph with tools/layers.txt. Usage: check_layers.py [ROOT [STAMP]]

Refuses: a folder that includes a higher one, or a sibling that its line does not name; a folder
that has no line; files that include each other in a circle.
"""
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def read_rules(path):
    levels, siblings = {}, {}
    for number, line in enumerate(open(path), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        head, _, tail = line.partition(":")
        try:
            level, folder = head.split()
            levels[folder], siblings[folder] = int(level), set(tail.split())
        except ValueError:
            sys.exit(f"{path}:{number}: expected LEVEL FOLDER [: SIBLING...]")
    for folder, names in siblings.items():
        for name in names:
            if levels.get(name) != levels[folder]:
                sys.exit(f"{path}: {name} is no sibling of {folder}")
    return levels, siblings


def source_files(root):
    """Yields (path, folder): the folder as layers.txt names it."""
    for top, strip in (("src", "src"), ("guest", "")):
        for directory, _, names in os.walk(os.path.join(root, top)):
            folder = os.path.relpath(directory, os.path.join(root, strip))
            for name in sorted(names):
                if name.endswith((".c", ".h", ".inc", ".def")):
                    yield os.path.join(directory, name), folder


def check(root):
    levels, siblings = read_rules(os.path.join(root, "tools/layers.txt"))
    problems, graph, missing = [], {}, set()
    for path, folder in source_files(root):
        where = os.path.relpath(path, root)
        if folder not in levels:
            if folder not in missing and folder not in (".", "guest"):
                problems.append(f"{where}: folder {folder} has no line in tools/layers.txt")
            missing.add(folder)
            continue
        for target in INCLUDE.findall(open(path, errors="replace").read()):
            other = os.path.dirname(target) or folder
            real = os.path.join(root, "src", target)
            if not os.path.dirname(target):
                real = os.path.join(os.path.dirname(path), target)
            if os.path.exists(real):
                graph.setdefault(os.path.normpath(path), set()).add(os.path.normpath(real))
            if other == folder or other in siblings[folder]:
                continue
            if other not in levels:
                problems.append(f'{where}: includes "{target}": folder {other} is not in tools/layers.txt')
            elif levels[other] >= levels[folder]:
                problems.append(
                    f'{where}: includes "{target}": {folder} (level {levels[folder]}) may not use '
                    f"{other} (level {levels[other]})")
    return problems + circles(root, graph)


def circles(root, graph):
    problems, state = [], {}

    def visit(node, trail):
        state[node] = "open"
        for other in sorted(graph.get(node, ())):
            if state.get(other) == "open":
                names = [os.path.relpath(n, root) for n in trail[trail.index(other):] + [other]]
                problems.append("include circle: " + " -> ".join(names))
            elif other not in state:
                visit(other, trail + [other])
        state[node] = "done"

    for node in sorted(graph):
        if node not in state:
            visit(node, [node])
    return problems


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    problems = check(os.path.normpath(root))
    print("\n".join(problems), end="\n" if problems else "")
    if problems:
        return 1
    if len(sys.argv) > 2:
        open(sys.argv[2], "w").close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
