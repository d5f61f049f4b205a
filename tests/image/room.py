# SPDX-License-Identifier: Apache-2.0
"""A user of the command with a store and a configuration of his own; and the loop of a test."""
import json
import os
import subprocess
import sys
import time

STRATA = os.path.abspath(sys.argv[1])


class Failed(Exception):
    pass


def same(got, want, what='value'):
    if got != want:
        raise Failed(f'{what}: got {got!r}, want {want!r}')


def contains(got, want):
    if want not in got:
        raise Failed(f'{want!r} is not in {got!r}')


class Room:
    def __init__(self, top, name):
        self.path = os.path.join(top, name)
        for part in ('home', 'cache', 'config', 'run'):
            os.makedirs(os.path.join(self.path, part))
        self.env = {'PATH': os.environ['PATH'], 'HOME': self.path, 'STRATA_HOME': self.path + '/home',
                    'STRATA_CACHE': self.path + '/cache', 'XDG_CONFIG_HOME': self.path + '/config',
                    'XDG_RUNTIME_DIR': self.path + '/run'}
        self.images = self.path + '/home/images'

    def call(self, *words, input=None):
        return subprocess.run([STRATA, *words], env=self.env, input=input, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=100)

    def ok(self, *words, **more):
        p = self.call(*words, **more)
        if p.returncode:
            raise Failed(f"strata {' '.join(words)}: status {p.returncode}: {p.stderr}")
        return p.stdout

    def fails(self, *words, want, **more):
        p = self.call(*words, **more)
        if p.returncode != 1:
            raise Failed(f"strata {' '.join(words)}: status {p.returncode}: {p.stderr}")
        contains(p.stderr, want)
        return p.stderr

    def inspect(self, ref, *options):
        return json.loads(self.ok('image', 'inspect', *options, ref))


def run_tests(tests):
    """Those named on the command line, or all."""
    tests = [t for t in tests if len(sys.argv) < 3 or t.__name__ in sys.argv[2:]]
    failed = 0
    for i, test in enumerate(tests):
        begun = time.monotonic()
        try:
            test()
            print(f'ok {i + 1} - {test.__name__} # {time.monotonic() - begun:.1f} s', flush=True)
        except Exception as e:
            failed += 1
            print(f'not ok {i + 1} - {test.__name__}')
            print('# ' + f'{type(e).__name__}: {e}'.replace('\n', '\n# '), flush=True)
    print(f'1..{len(tests)}')
    return 1 if failed else 0
