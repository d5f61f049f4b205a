# SPDX-License-Identifier: Apache-2.0
"""Pure Python: objects, dictionaries, strings, generators, big and small integers."""
import sys


class Vector:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def turned(self):
        return Vector(-self.y, self.x)


def walk(n):
    at, step = Vector(0, 0), Vector(1, 0)
    for i in range(n):
        at = at + step
        if i % 7 in (2, 3):
            step = step.turned()
    return at.x * 31 + at.y


def words(n):
    count = {}
    for i in range(n):
        w = "w" + str(i * 7919 % 503)
        count[w] = count.get(w, 0) + len(w)
    return sum(v * i for i, (k, v) in enumerate(sorted(count.items())))


def primes(n):
    found = []
    for c in range(2, n):
        for p in found:
            if p * p > c:
                found.append(c)
                break
            if c % p == 0:
                break
        else:
            found.append(c)
    return sum(found)


def permutations(items):
    if len(items) < 2:
        yield items
        return
    for i, first in enumerate(items):
        for rest in permutations(items[:i] + items[i + 1:]):
            yield [first] + rest


def power(n):
    a = 3
    for i in range(n):
        a = a * a % (1 << 521) - i
    return a % 1000003


total = 0
for turn in range(int(sys.argv[1])):
    total += walk(9000) + words(6000) + primes(4000) + power(1200)
    total += sum(p[0] * p[-1] for p in permutations(list(range(6))))
    total += sum(len(line.split(",")) for line in ["a,b,c" * (i % 9) for i in range(800)])
    total += int(sum(1.0 / (i + 1) for i in range(3000)) * 1000)
print(total)
