#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pulls from and pushes to Debian's docker-registry on loopback, with skopeo on the other side.
Prints TAP. usage: test_registry.py STRATA"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

from layout import Layout, Registry, missing, sha256, tar

STRATA = os.path.abspath(sys.argv[1])
NOISE = random.Random(1).randbytes(3 << 20)


class Failed(Exception):
    pass


def same(got, want, what='value'):
    if got != want:
        raise Failed(f'{what}: got {got!r}, want {want!r}')


def contains(got, want):
    if want not in got:
        raise Failed(f'{want!r} is not in {got!r}')


class Room:
    """A store and a configuration directory of their own."""

    def __init__(self, name):
        self.path = os.path.join(TOP, name)
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
        same(p.returncode, 1, 'status')
        contains(p.stderr, want)
        return p.stderr

    def inspect(self, ref, *options):
        return json.loads(self.ok('image', 'inspect', *options, ref))


def skopeo(*words, check=True):
    p = subprocess.run(['skopeo', *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env={**os.environ, 'TMPDIR': TOP, 'XDG_RUNTIME_DIR': TOP, 'HOME': TOP}, timeout=100)
    if check and p.returncode:
        raise Failed(f"skopeo {' '.join(words)}: {p.stderr}")
    return p.stdout


def fill(layout, tag, name):
    skopeo('copy', '--all', '--preserve-digests', '--dest-tls-verify=false', f'oci:{layout.path}:{tag}',
           f'docker://{REGISTRY.host}/{name}')


def make_layout(path):
    a = tar({'etc': None, 'etc/issue': b'hello\n', 'noise': NOISE})
    b = tar({'etc': None, 'etc/motd': b'two\n', 'link': 'etc/motd'})
    c = tar({'etc': None, 'etc/.wh.issue': b''})
    layout = Layout(path)
    layout.tag(layout.image([(a, '+gzip'), (b, '+gzip'), (c, '+gzip')]), 'gzip')
    layout.tag(layout.image([(a, '+zstd'), (b, ''), (c, '+gzip'), (b, '')]), 'mixed')
    layout.tag(layout.several([layout.image([(a, '+gzip')], 'riscv64'), layout.image([(b, '+gzip')], 'amd64')]), 'both')
    layout.layers = [sha256(x) for x in (a, b, c)]
    return layout


def pull_gzip():
    room, ref = Room('gzip'), f'{REGISTRY.host}/team/app:1'
    fill(LAYOUT, 'gzip', 'team/app:1')
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    info = room.inspect(ref)
    same(info['digest'], LAYOUT.entries[0]['digest'], 'digest')
    same(sorted(os.listdir(room.images + '/layers')), sorted(x[7:] for x in LAYOUT.layers), 'layers')
    for name in LAYOUT.layers:
        with open(f'{room.images}/layers/{name[7:]}', 'rb') as f:
            same(sha256(f.read()), name, 'layer')
    same(os.listdir(room.images + '/partial'), [], 'partial files')
    # Again: nothing to ask for.
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    room.ok('image', 'inspect', '--verify', '--arch', 'amd64', ref)
    room.ok('image', 'remove', ref)
    same(os.listdir(room.images + '/layers') + os.listdir(room.images + '/blobs/sha256'), [], 'left')


def pull_mixed():
    room, ref = Room('mixed'), f'{REGISTRY.host}/team/app:mixed'
    fill(LAYOUT, 'mixed', 'team/app:mixed')
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    same(room.inspect(ref)['digest'], LAYOUT.entries[1]['digest'], 'digest')
    same(len(os.listdir(room.images + '/layers')), 2, 'layers')
    # A layer that was lost or changed is made again from its blob.
    path = f'{room.images}/layers/{LAYOUT.layers[0][7:]}'
    os.unlink(path)
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    same(os.path.getsize(path) > len(NOISE), True, 'made again')


def pull_index():
    room, ref = Room('index'), f'{REGISTRY.host}/both'
    fill(LAYOUT, 'both', 'both:latest')
    room.ok('image', 'pull', '--arch', 'riscv64', ref)
    same(room.inspect(ref, '--arch', 'riscv64')['arch'], 'riscv64', 'arch')
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    same([i['arch'] for i in json.loads(room.ok('image', 'list', '--format', 'json'))], ['amd64', 'riscv64'], 'list')
    contains(room.fails('image', 'pull', '--arch', 'arm64', ref, want='none for linux on arm64'), 'riscv64, amd64')
    digest = LAYOUT.entries[2]['digest']
    room.ok('image', 'pull', '--arch', 'amd64', f'{ref}@{digest}')
    room.fails('image', 'pull', f'{ref}@sha256:{"0" * 64}', want='manifest unknown')


def refuses():
    room = Room('refuses')
    room.fails('image', 'pull', f'{REGISTRY.host}/nobody/nothing', want='manifest unknown')
    room.fails('image', 'pull', '127.0.0.1:1/x', want='127.0.0.1:1')
    room.fails('image', 'pull', f'{REGISTRY.host}/UPPER', want='is not an image reference')
    room.fails('image', 'pull', 'nosuch', want='no source for it')


def main():
    global TOP, REGISTRY, LAYOUT
    lacking = missing('docker-registry', 'skopeo', 'curl', 'zstd')
    if lacking:
        print(f'1..0 # SKIP there is no {", ".join(lacking)}')
        return 0
    tests = [pull_gzip, pull_mixed, pull_index, refuses]
    wanted = sys.argv[2:]
    tests = [t for t in tests if not wanted or t.__name__ in wanted]
    failed = 0
    TOP = tempfile.mkdtemp(prefix='strata-registry-')
    try:
        REGISTRY = Registry(TOP + '/registry')
        LAYOUT = make_layout(TOP + '/layout')
        for i, test in enumerate(tests):
            try:
                test()
                print(f'ok {i + 1} - {test.__name__}', flush=True)
            except Exception as e:
                failed += 1
                print(f'not ok {i + 1} - {test.__name__}')
                print('# ' + f'{type(e).__name__}: {e}'.replace('\n', '\n# '), flush=True)
        print(f'1..{len(tests)}')
        REGISTRY.stop()
    finally:
        shutil.rmtree(TOP)
    return 1 if failed else 0


sys.exit(main())
