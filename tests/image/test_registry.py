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
from room import Failed, Room, contains, run_tests, same

NOISE = random.Random(1).randbytes(3 << 20)


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
    room, ref = Room(TOP, 'gzip'), f'{REGISTRY.host}/team/app:1'
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
    room, ref = Room(TOP, 'mixed'), f'{REGISTRY.host}/team/app:mixed'
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
    room, ref = Room(TOP, 'index'), f'{REGISTRY.host}/both'
    fill(LAYOUT, 'both', 'both:latest')
    room.ok('image', 'pull', '--arch', 'riscv64', ref)
    same(room.inspect(ref, '--arch', 'riscv64')['arch'], 'riscv64', 'arch')
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    same([i['arch'] for i in json.loads(room.ok('image', 'list', '--format', 'json'))], ['amd64', 'riscv64'], 'list')
    contains(room.fails('image', 'pull', '--arch', 'arm64', ref, want='none for linux on arm64'), 'riscv64, amd64')
    digest = LAYOUT.entries[2]['digest']
    room.ok('image', 'pull', '--arch', 'amd64', f'{ref}@{digest}')
    room.fails('image', 'pull', f'{ref}@sha256:{"0" * 64}', want='manifest unknown')


def raw_digest(name, registry=None):
    return sha256(skopeo('inspect', '--raw', '--tls-verify=false', f'docker://{(registry or REGISTRY).host}/{name}').encode())


def push_same():
    """What we push is what we pulled, blob for blob, for skopeo and for Podman."""
    room, ref = Room(TOP, 'push'), f'{REGISTRY.host}/team/app:push'
    fill(LAYOUT, 'mixed', 'team/app:push')
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    digest = LAYOUT.entries[1]['digest']
    same(room.ok('image', 'push', ref, f'{REGISTRY.host}/other/name:2').strip(), digest, 'printed')
    same(raw_digest('other/name:2'), digest, 'digest')
    skopeo('copy', '--preserve-digests', '--src-tls-verify=false', f'docker://{REGISTRY.host}/other/name:2', f'oci:{room.path}/copy:x')
    for name in os.listdir(room.path + '/copy/blobs/sha256'):
        with open(f'{room.path}/copy/blobs/sha256/{name}', 'rb') as f:
            same(LAYOUT.read('sha256:' + name), f.read(), name)
    # Again, into the same place: nothing to send.
    room.ok('image', 'push', ref, f'{REGISTRY.host}/other/name:2')


def push_elsewhere():
    """To a registry that has nothing of it and wants a password."""
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import crypt
    room, name = Room(TOP, 'elsewhere'), 'team/app:1'
    fill(LAYOUT, 'gzip', name)
    room.ok('image', 'pull', '--arch', 'amd64', f'{REGISTRY.host}/{name}')
    other = Registry(TOP + '/private', 'me:' + crypt.crypt('se:cret', crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))
    try:
        to = f'{other.host}/mine/app:1'
        login = ('login', '-u', 'me', '--password-stdin', other.host)
        contains(room.fails('image', 'push', f'{REGISTRY.host}/{name}', to, want='wants a user name'), f'strata login {other.host}')
        room.fails('image', 'pull', to, want='wants a user name')
        room.fails(*login, input='wrong\n', want='status 401')
        same(os.path.exists(room.path + '/config/strata/auth.json'), False, 'kept')
        room.ok(*login, input='se:cret\n')
        same(os.stat(room.path + '/config/strata/auth.json').st_mode & 0o777, 0o600, 'mode')
        same(room.ok('image', 'push', f'{REGISTRY.host}/{name}', to).strip(), LAYOUT.entries[0]['digest'], 'digest')
        room.ok('image', 'pull', '--arch', 'amd64', to)
        room.ok('logout', other.host)
        room.fails('image', 'pull', '--refresh', '--arch', 'amd64', to, want='wants a user name')
        room.fails('logout', other.host, want='nobody is logged in')
        # Podman's file does as well.
        os.makedirs(room.path + '/run/containers')
        skopeo('login', '--tls-verify=false', '-u', 'me', '-p', 'se:cret', '--authfile',
               room.path + '/run/containers/auth.json', other.host)
        room.ok('image', 'pull', '--refresh', '--arch', 'amd64', to)
    finally:
        other.stop()


def push_large():
    """Larger than one chunk."""
    room, name = Room(TOP, 'large'), 'large:1'
    layout = Layout(room.path + '/layout')
    layout.tag(layout.image([(tar({'noise': random.Random(2).randbytes(70 << 20)}), '')]), 'x')
    fill(layout, 'x', name)
    room.ok('image', 'pull', '--arch', 'amd64', f'{REGISTRY.host}/{name}')
    other = Registry(TOP + '/large-other')
    try:
        room.ok('image', 'push', f'{REGISTRY.host}/{name}', f'{other.host}/{name}')
        same(raw_digest(name, other), layout.entries[0]['digest'], 'digest')
    finally:
        other.stop()


def push_index():
    room, ref = Room(TOP, 'pushindex'), f'{REGISTRY.host}/both'
    fill(LAYOUT, 'both', 'both:latest')
    for arch in ('riscv64', 'amd64'):
        room.ok('image', 'pull', '--arch', arch, ref)
    room.ok('image', 'push', ref, f'{REGISTRY.host}/again:1')
    index = json.loads(skopeo('inspect', '--raw', '--tls-verify=false', f'docker://{REGISTRY.host}/again:1'))
    same(sorted(m['digest'] for m in index['manifests']),
         sorted(m['digest'] for m in json.loads(LAYOUT.read(LAYOUT.entries[2]['digest']))['manifests']), 'manifests')
    # All that the index names are here: it goes as it came.
    same(raw_digest('again:1'), LAYOUT.entries[2]['digest'], 'index')
    other = Room(TOP, 'pushindex-all')
    other.ok('image', 'pull', '--arch', 'all', ref)
    same(other.ok('image', 'push', ref, f'{REGISTRY.host}/all:1').strip(), LAYOUT.entries[2]['digest'], 'index')
    other.ok('image', 'remove', '--arch', 'amd64', ref)
    other.ok('image', 'push', ref, f'{REGISTRY.host}/all:one')
    same(raw_digest('all:one') in [m['digest'] for m in index['manifests']], True, 'the only manifest')
    room.ok('image', 'push', '--arch', 'riscv64', ref, f'{REGISTRY.host}/again:riscv64')
    same('manifests' in json.loads(skopeo('inspect', '--raw', '--tls-verify=false', f'docker://{REGISTRY.host}/again:riscv64')), False, 'index')


def podman_pulls():
    if missing('podman'):
        return
    room, ref = Room(TOP, 'podman'), f'{REGISTRY.host}/team/app:pod'
    fill(LAYOUT, 'gzip', 'team/app:pod')
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    to = f'{REGISTRY.host}/from/strata:1'
    room.ok('image', 'push', ref, to)
    storage = room.path + '/storage.conf'
    with open(storage, 'w') as f:
        f.write(f'[storage]\ndriver = "vfs"\nrunroot = "{room.path}/r"\ngraphroot = "{room.path}/g"\n')
    env = {**os.environ, 'CONTAINERS_STORAGE_CONF': storage, 'TMPDIR': room.path}
    words = ['podman', '--tmpdir', room.path + '/tmp', '--events-backend', 'none']
    for more in (['pull', '-q', '--tls-verify=false', to], ['image', 'inspect', '--format', '{{.Digest}}', to]):
        p = subprocess.run(words + more, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100)
        if p.returncode:
            raise Failed(p.stderr)
    same(p.stdout.strip(), LAYOUT.entries[0]['digest'], 'digest')


def names_and_history():
    room, ref = Room(TOP, 'names'), f'{REGISTRY.host}/history:1'
    layout = Layout(room.path + '/layout')
    a, b = tar({'a': b'a'}), tar({'b': b'b'})
    layout.tag(layout.image([(a, '+gzip'), (b, '')], history=[
        {'created': '2023-11-14T22:13:20Z', 'created_by': 'ADD a /'}, {'created_by': 'ENV x=\x1b[31m', 'empty_layer': True},
        {'created_by': 'COPY b /', 'comment': 'last'}]), 'x')
    fill(layout, 'x', 'history:1')
    room.ok('image', 'pull', '--arch', 'amd64', ref)
    lines = json.loads(room.ok('image', 'history', '--format', 'json', ref))
    same([(h['created_by'], h['layer']) for h in lines], [('COPY b /', sha256(b)), ('ENV x=\x1b[31m', ''), (
        'ADD a /', json.loads(layout.read(layout.entries[0]['digest']))['layers'][0]['digest'])], 'history')
    same('\x1b' in room.ok('image', 'history', ref), False, 'escape sequence')
    room.fails('image', 'history', 'nosuch', want='no image nosuch:latest')
    room.ok('image', 'tag', ref, 'mine')
    room.ok('image', 'tag', ref, 'mine')
    room.fails('image', 'tag', 'nosuch', 'mine', want='no image')
    room.fails('image', 'tag', ref, 'A B', want='not an image reference')
    room.ok('image', 'remove', ref)
    same([i['ref'] for i in json.loads(room.ok('image', 'list', '--format', 'json'))], ['mine:latest'], 'images')
    same(room.ok('image', 'push', 'mine', f'{REGISTRY.host}/mine:2').strip(), layout.entries[0]['digest'], 'digest')
    contains(room.fails('image', 'push', 'mine', want='no registry'), 'strata image push mine HOST')
    room.ok('image', 'inspect', '--verify', 'mine')
    for name in ('blobs/sha256/' + '1' * 64, 'layers/' + '2' * 64, 'partial/' + '3' * 64, 'tmp/x'):
        os.makedirs(os.path.dirname(f'{room.images}/{name}'), exist_ok=True)
        with open(f'{room.images}/{name}', 'w') as f:
            f.write('x')
    contains(room.call('image', 'prune').stderr, 'free again')
    same(len(os.listdir(room.images + '/blobs/sha256')), 4, 'blobs')
    same([os.listdir(f'{room.images}/{d}') for d in ('layers', 'partial', 'tmp')], [[sha256(a)[7:]], [], []], 'left')
    room.ok('image', 'prune', '--all')
    same(os.listdir(room.images + '/blobs/sha256'), [], 'blobs')


def refuses():
    room = Room(TOP, 'refuses')
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
    tests = [pull_gzip, pull_mixed, pull_index, push_same, push_elsewhere, push_large, push_index, podman_pulls,
             names_and_history, refuses]
    TOP = tempfile.mkdtemp(prefix='strata-registry-')
    try:
        REGISTRY = Registry(TOP + '/registry')
        LAYOUT = make_layout(TOP + '/layout')
        status = run_tests(tests)
        REGISTRY.stop()
    finally:
        shutil.rmtree(TOP)
    return status


sys.exit(main())
