#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small Debian archive on loopback for test_pull.c.

usage: archive.py DIR   makes DIR/keyring.gpg, prints the port, serves until stdin ends.
The first path component is a mode: what goes wrong on the way.
"""
import gzip, hashlib, http.server, io, lzma, os, struct, subprocess, sys, tarfile, threading
import random, socketserver

TIME = 1700000000
seen = set()
ranges = [0]
lock = threading.Lock()


def tar(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.GNU_FORMAT) as t:
        for name, kind, value, mode in entries:
            i = tarfile.TarInfo(name)
            i.mode, i.mtime = mode, TIME
            if kind == 'f':
                i.size = len(value)
                t.addfile(i, io.BytesIO(value))
                continue
            i.type = {'d': tarfile.DIRTYPE, 'l': tarfile.SYMTYPE, 'h': tarfile.LNKTYPE}[kind]
            i.linkname = value or ''
            t.addfile(i)
    return out.getvalue()


def ar(members):
    out = b'!<arch>\n'
    for name, data in members:
        out += b'%-16s%-12d%-6d%-6d%-8s%-10d`\n' % (name.encode(), TIME, 0, 0, b'100644', len(data))
        out += data + (b'\n' if len(data) % 2 else b'')
    return out


def deb(control, files, extra=(), xz=True):
    c = [('./control', 'f', control.encode(), 0o644)]
    c += [('./' + n, 'f', v.encode(), 0o755 if n.endswith('inst') else 0o644) for n, v in extra]
    pack, suffix = (lzma.compress, 'xz') if xz else (lambda d: gzip.compress(d, mtime=0), 'gz')
    return ar([('debian-binary', b'2.0\n'), ('control.tar.' + suffix, pack(tar(c))),
               ('data.tar.' + suffix, pack(tar(files)))])


def module(**info):
    """A 64-bit ELF file with nothing but .modinfo."""
    text = b''.join(f'{k}={v}'.encode() + b'\0' for k, v in info.items())
    names = b'\0.modinfo\0.shstrtab\0'
    at = 64
    sections = [bytes(64)]
    sections.append(struct.pack('<IIQQQQIIQQ', 1, 1, 0, 0, at, len(text), 0, 0, 1, 0))
    sections.append(struct.pack('<IIQQQQIIQQ', 10, 3, 0, 0, at + len(text), len(names), 0, 0, 1, 0))
    head = b'\x7fELF\2\1\1' + bytes(9) + struct.pack(
        '<HHIQQQIHHHHHH', 1, 243, 1, 0, 0, at + len(text) + len(names), 0, 64, 0, 0, 64, 3, 2)
    return head + text + names + b''.join(sections)


class Archive:
    def __init__(self):
        self.pool, self.stanzas = {}, []

    def add(self, name, version, files, fields='', extra=(), arch='riscv64', xz=True):
        control = (f'Package: {name}\nVersion: {version}\nArchitecture: {arch}\n'
                   f'Maintainer: Nobody <nobody@example.org>\n{fields}Description: {name}\n'
                   f' A package for\n .\n tests.\n')
        body = deb(control, files, extra, xz)
        path = f'pool/main/{name}_{version.replace(":", "%3a")}_{arch}.deb'
        self.pool[path] = body
        self.stanzas.append(control + f'Filename: {path}\nSize: {len(body)}\n'
                            f'SHA256: {hashlib.sha256(body).hexdigest()}\n')


def dirs(*names):
    return [('./' + n, 'd', None, 0o755) for n in names]


def make_archive():
    a = Archive()
    noise = random.Random(1).randbytes(2 << 20)
    a.add('base-files', '13', dirs('', 'etc', 'usr/', 'usr/bin', 'usr/lib') +
          [('./tmp', 'd', None, 0o1777), ('./bin', 'l', 'usr/bin', 0o777),
           ('./lib', 'l', 'usr/lib', 0o777), ('./etc/issue', 'f', b'hello\n', 0o644)],
          'Essential: yes\nPre-Depends: awk\n', [('conffiles', '/etc/issue\n')])
    a.add('tool', '1:2.0-1', dirs('', 'bin', 'usr', 'usr/bin') +
          [('./bin/tool', 'f', b'#!tool\n', 0o4755), ('./usr/bin/tool2', 'h', './bin/tool', 0o4755),
           ('./usr/bin/noise', 'f', noise, 0o644)],
          'Essential: yes\nDepends: missing | libfoo (>= 1.0~), virt (= 1)\n',
          [('postinst', '#!/bin/sh\n'), ('triggers', 'interest-noawait /usr/lib\ninterest ldconfig\n')])
    a.add('libfoo', '1.0', dirs('', 'lib', 'lib/riscv64-linux-gnu') +
          [('./lib/riscv64-linux-gnu/libfoo.so.1', 'f', b'ELF', 0o644),
           ('./lib/riscv64-linux-gnu/libfoo.so', 'l', 'libfoo.so.1', 0o777)],
          'Multi-Arch: same\n', [('md5sums', 'x  lib/x\n')], xz=False)
    a.add('libfoo', '0.9', dirs(''), 'Multi-Arch: same\n')
    a.add('prov', '5', dirs('', 'usr', 'usr/share'), 'Provides: virt (= 1)\n', arch='all')
    a.add('mawk', '1.3', dirs(''), 'Priority: required\nProvides: awk\n')
    a.add('gawk', '1.3', dirs(''), 'Provides: awk\n')
    a.add('build-essential', '1', dirs(''), 'Build-Essential: yes\nDepends: nowhere\n')
    v = '6.1.0-riscv64'
    m = f'./usr/lib/modules/{v}/'
    x = lzma.compress
    a.add('linux-image-riscv64', '6.1', dirs(''), f'Depends: linux-image-{v} (= 6.1)\n')
    a.add('linux-image-' + v, '6.1', dirs('', 'boot') + [
        ('./boot/vmlinux-' + v, 'f', b'MZkernel', 0o644),
        ('./boot/config-' + v, 'f', b'CONFIG', 0o644),
        (m + 'modules.builtin', 'f', b'kernel/fs/fuse/fuse.ko\nkernel/lib/crc16.ko\n', 0o644),
        (m + 'modules.builtin.modinfo', 'f', b'fuse.license=GPL\0fuse.alias=fs-fuse\0cut.alias=x', 0o644),
        (m + 'modules.order', 'f', b'kernel/fs/jbd2.ko\nkernel/fs/ext4.ko\n', 0o644),
        (m + 'modules.dep', 'f', b'not ours\n', 0o644),
        (m + 'kernel/fs/ext4.ko.xz', 'f', x(module(depends='jbd2,crc16', softdep='pre: crc32c', alias='fs-[a-z]-x')), 0o644),
        (m + 'kernel/fs/jbd2.ko.xz', 'f', x(module(depends='')), 0o644),
        (m + 'kernel/crypto/crc32c_generic.ko.xz', 'f', x(module(depends='')), 0o644),
        (m + 'kernel/drivers/virtio-rng.ko', 'f', module(depends='loop-a'), 0o644),
        (m + 'kernel/drivers/loop-a.ko', 'f', module(depends='virtio_rng'), 0o644),
        (m + 'kernel/drivers/unwanted.ko', 'f', module(depends='ext4', alias='fs-\xe9'), 0o644)],
        'Depends: kmod, linux-base (>= 4.3~)\n')
    a.add('busybox-static', '1', dirs('', 'usr/bin') + [('./usr/bin/busybox', 'f', b'BUSYBOX', 0o755)])
    return a


def gpg(home, *args, data=None):
    return subprocess.run(['gpg', '--homedir', home, '--batch', '--quiet', '--yes', '--passphrase',
                           '', '--pinentry-mode', 'loopback', *args], input=data, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def make_files(top):
    a = make_archive()
    packages = '\n'.join(a.stanzas).encode()
    packed = lzma.compress(packages)
    files = dict(a.pool)
    path = 'main/binary-riscv64/Packages.xz'
    files['dists/trixie/' + path] = packed
    digest = hashlib.sha256(packed).hexdigest()
    files[f'dists/trixie/main/binary-riscv64/by-hash/SHA256/{digest}'] = packed

    def release(codename='trixie', until=''):
        return (f'Origin: Test\nSuite: stable\nCodename: {codename}\n'
                f'Date: Sat, 12 Sep 2020 07:55:41 UTC\n{until}Acquire-By-Hash: yes\n'
                f'Architectures: all riscv64\nComponents: main\nSHA256:\n'
                f' {digest} {len(packed)} {path}\n').encode()
    homes = []
    for name in ('gpg', 'other'):
        home = os.path.join(top, name)
        os.mkdir(home, 0o700)
        gpg(home, '--quick-gen-key', name + '@example.org', 'ed25519', 'sign', 'never')
        homes.append(home)
    with open(os.path.join(top, 'keyring.gpg'), 'wb') as f:
        f.write(gpg(homes[0], '--export'))
    signed = gpg(homes[0], '--clearsign', data=release())
    files['dists/trixie/InRelease'] = signed
    special = {
        'badsig': signed.replace(b'Origin: Test', b'Origin: Toast'),
        'otherkey': gpg(homes[1], '--clearsign', data=release()),
        'unsigned': release(),
        'wrongsuite': gpg(homes[0], '--clearsign', data=release('bookworm')),
        'expired': gpg(homes[0], '--clearsign',
                       data=release(until='Valid-Until: Sat, 19 Sep 2020 07:55:41 UTC\n')),
        'prefixed': b'Codename: trixie\nSHA256:\n\n' + signed,
    }
    for home in homes:
        subprocess.run(['gpgconf', '--homedir', home, '--kill', 'all'], check=False)
    return files, special


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def reply(self, status, body, promised=None, extra=None):
        self.send_response(status)
        self.send_header('Content-Length', str(len(body) if promised is None else promised))
        for k, v in (extra or {}).items():
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        _, mode, path = self.path.split('/', 2)
        if mode == 'stats':
            return self.reply(200, str(ranges[0]).encode())
        body = self.server.files.get(path)
        if path.endswith('InRelease') and mode in self.server.special:
            body = self.server.special[mode]
        if body is None:
            return self.reply(404, b'no')
        is_tool = '/tool_' in path
        if mode == 'badhash' and is_tool:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if mode == 'toolong' and is_tool:
            body += b'x'
        if mode == 'short' and 'by-hash' in path:
            body = body[:len(body) // 2]
        if mode == 'error' and is_tool:
            return self.reply(403, b'no')
        start = 0
        if mode != 'norange' and self.headers.get('Range'):
            start = int(self.headers['Range'].split('=')[1].rstrip('-'))
            with lock:
                ranges[0] += 1
        if start and start >= len(body):
            return self.reply(416, b'')
        part = body[start:]
        extra = {'Content-Range': f'bytes {start}-{len(body) - 1}/{len(body)}'} if start else None
        status = 206 if start else 200
        if mode in ('drop', 'norange') and is_tool and path not in seen:
            seen.add(path)
            self.reply(status, part[:len(part) // 2], len(part), extra)
            self.wfile.flush()
            self.close_connection = True
            return None
        return self.reply(status, part, None, extra)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients are killed on purpose


def main():
    server = Server(('127.0.0.1', 0), Handler)
    server.files, server.special = make_files(sys.argv[1])
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


main()
