#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""strata image import and export: archives of ours, of skopeo, and of nobody's good will.
Prints TAP. usage: test_files.py STRATA"""
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

from layout import Layout, missing, sha256, tar, zstd
from room import STRATA, Failed, Room, contains, run_tests, same

A = tar({'etc': None, 'etc/passwd': b'root:x:0:0::/:/bin/sh\n', 'noise': os.urandom(1 << 20)})
B = tar({'b': b'b', 'link': 'b'})


def skopeo(*words):
    if missing('skopeo'):
        return None
    p = subprocess.run(['skopeo', *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env={**os.environ, 'TMPDIR': TOP, 'XDG_RUNTIME_DIR': TOP, 'HOME': TOP}, timeout=100)
    if p.returncode:
        raise Failed(f"skopeo {' '.join(words)}: {p.stderr}")
    return p.stdout


def archive_of(directory):
    """A tar of what is in a directory."""
    path = directory + '.tar'
    with tarfile.open(path, 'w') as t:
        for name in sorted(os.listdir(directory)):
            t.add(os.path.join(directory, name), name)
    return path


def images(room):
    return [(i['ref'], i['arch'], i['digest']) for i in json.loads(room.ok('image', 'list', '--format', 'json'))]


def layouts():
    room = Room(TOP, 'layouts')
    path = archive_of(LAYOUT.path)
    same(room.ok('image', 'import', '--arch', 'amd64', LAYOUT.path), 'team/one:1\nteam/both:2\n', 'names')
    same(images(room)[1], ('team/one:1', 'amd64', LAYOUT.entries[0]['digest']), 'image')
    room.ok('image', 'inspect', '--verify', 'team/one:1')
    packed = path + '.gz'
    with open(path, 'rb') as f, open(packed, 'wb') as g:
        g.write(gzip.compress(f.read()))
    for source in (path, packed):
        other = Room(TOP, 'layouts-' + os.path.basename(source))
        other.ok('image', 'import', source)
        same([i[:2] for i in images(other)], [('team/both:2', 'amd64'), ('team/both:2', 'riscv64'), ('team/one:1', 'amd64')], 'images')
        contains(other.fails('image', 'import', source, 'x:1', want='several images'), 'keep their names')


def round_trips():
    room = Room(TOP, 'trips')
    room.ok('image', 'import', LAYOUT.path)
    before = images(room)
    for name in ('team/one:1', 'team/both:2'):
        for form in ('oci', 'oci-dir'):
            file = f'{room.path}/{form}-{name[5:8]}'
            room.ok('image', 'export', '--format', form, name, file)
            room.fails('image', 'export', '--format', form, name, file, want='')
            other = Room(TOP, f'trips-{form}-{name[5:8]}')
            same(other.ok('image', 'import', file).split()[0], name, 'name')
            same(images(other), [i for i in before if i[0] == name], 'images')
    if not missing('skopeo'):
        same('sha256:' + json.loads(skopeo('inspect', f'oci-archive:{room.path}/oci-one'))['Digest'][7:], LAYOUT.entries[0]['digest'], 'digest')
    out = subprocess.run([STRATA, 'image', 'export', 'team/one:1', '-'], env=room.env, stdout=subprocess.PIPE, check=True).stdout
    with open(f'{room.path}/oci-one', 'rb') as f:
        same(f.read() == out, True, 'the same bytes')
    room.fails('image', 'export', 'nosuch', f'{room.path}/nosuch', want='no image nosuch')
    same(os.path.exists(f'{room.path}/nosuch'), False, 'file')


def docker_archives():
    room = Room(TOP, 'docker')
    room.ok('image', 'import', LAYOUT.path)
    file = room.path + '/docker.tar'
    room.ok('image', 'export', '--format', 'docker', 'team/one:1', file)
    room.fails('image', 'export', '--format', 'docker', '--arch', 'arm64', 'team/both:2', file + '2', want='no image')
    with tarfile.open(file) as t:
        manifest = json.load(t.extractfile('manifest.json'))
        same([sha256(t.extractfile(n).read()) for n in manifest[0]['Layers']], [sha256(A), sha256(B)], 'layers')
    other = Room(TOP, 'docker-back')
    same(other.ok('image', 'import', file), 'team/one:1\n', 'name')
    same(other.ok('image', 'import', file, 'mine'), 'mine:latest\n', 'name')
    same(other.inspect('mine')['config'], room.inspect('team/one:1')['config'], 'configuration')
    if missing('skopeo'):
        return
    skopeo('copy', f'docker-archive:{file}', f'docker-archive:{room.path}/again.tar:host.example/x/y:3')
    other = Room(TOP, 'docker-skopeo')
    same(other.ok('image', 'import', room.path + '/again.tar'), 'host.example/x/y:3\n', 'name')
    other.ok('image', 'inspect', '--verify', 'host.example/x/y:3')
    # Old archives have a symbolic link where a layer appears twice.
    with tarfile.open(room.path + '/old.tar', 'w') as t:
        config = json.dumps({'architecture': 'amd64', 'os': 'linux', 'rootfs': {'type': 'layers', 'diff_ids': [sha256(B), sha256(B)]}}).encode()
        for name, data in (('c.json', config), ('one/layer.tar', B), ('manifest.json', json.dumps(
                [{'Config': 'c.json', 'RepoTags': None, 'Layers': ['one/layer.tar', 'two/layer.tar']}]).encode())):
            i = tarfile.TarInfo(name)
            i.size = len(data)
            t.addfile(i, io.BytesIO(data))
        i = tarfile.TarInfo('two/layer.tar')
        i.type, i.linkname = tarfile.SYMTYPE, '../one/layer.tar'
        t.addfile(i)
    other.fails('image', 'import', room.path + '/old.tar', want='has no name')
    same(other.ok('image', 'import', room.path + '/old.tar', 'old:1'), 'old:1\n', 'name')


def trees():
    room = Room(TOP, 'trees')
    for i, pack in enumerate((lambda d: d, gzip.compress, zstd)):
        p = subprocess.run([STRATA, 'image', 'import', '--arch', 'riscv64', '-', f'tree:{i}'], env=room.env, input=pack(A),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        same((p.returncode, p.stdout), (0, f'tree:{i}\n'.encode()), p.stderr.decode())
        same(room.inspect(f'tree:{i}')['manifest']['layers'][0]['digest'], sha256(A), 'layer')
    same(len(os.listdir(room.images + '/blobs/sha256')), 3, 'blobs')
    same(os.listdir(room.images + '/tmp'), [], 'temporary files')
    path = room.path + '/a.tar'
    with open(path, 'wb') as f:
        f.write(A)
    room.fails('image', 'import', path, want='has no name')
    contains(room.fails('image', 'import', room.path, 'x', want='neither an OCI layout'), 'tar -C')


def damaged():
    room = Room(TOP, 'damaged')

    def refuse(data, want, name='x:1'):
        path = room.path + '/file'
        with open(path, 'wb') as f:
            f.write(data)
        room.fails('image', 'import', path, name, want=want)
        same(images(room), [], 'images')

    refuse(b'', 'file')
    refuse(b'no tar at all' * 100, 'file')
    refuse(A[:700000], 'file')
    refuse(gzip.compress(A)[:-100], 'compressed data are damaged')
    refuse(tar({}), 'empty')
    refuse(tar({'oci-layout': b'{}', 'index.json': b'{'}), 'line 1')
    refuse(tar({'manifest.json': b'[{"Config": "../../etc/passwd", "Layers": []}]'}), 'etc/passwd')
    refuse(tar({'manifest.json': b'[{"Config": "a", "Layers": []}]', 'a': 'b', 'b': 'a'}), 'a: No such file')
    refuse(tar({'manifest.json': b'{}'}), 'not that of a docker archive')
    for victim in range(4):
        room = Room(TOP, f'damaged{victim}')  # what is here already is not read again
        copy = Layout(f'{room.path}/copy{victim}')
        copy.tag(copy.image([(A, '+gzip'), (B, '')]), 'a/b:1')
        names = sorted(os.listdir(copy.path + '/blobs/sha256'))
        path = f'{copy.path}/blobs/sha256/{names[victim]}'
        with open(path, 'r+b') as f:
            f.seek(20)
            f.write(b'\x01')
        room.fails('image', 'import', copy.path, want=copy.path)
        os.unlink(path)
        room.fails('image', 'import', copy.path, want='No such file')
        os.symlink('/etc/passwd', path)
        room.fails('image', 'import', copy.path, want=copy.path)
        same(images(room), [], 'images')


def main():
    global TOP, LAYOUT
    if missing('zstd'):
        print('1..0 # SKIP there is no zstd')
        return 0
    TOP = tempfile.mkdtemp(prefix='strata-files-')
    try:
        LAYOUT = Layout(TOP + '/layout')
        LAYOUT.tag(LAYOUT.image([(A, '+gzip'), (B, '')]), 'team/one:1')
        LAYOUT.tag(LAYOUT.several([LAYOUT.image([(A, '+zstd')], 'riscv64'), LAYOUT.image([(B, '+gzip')], 'amd64')]), 'team/both:2')
        return run_tests([layouts, round_trips, docker_archives, trees, damaged])
    finally:
        shutil.rmtree(TOP)


sys.exit(main())
