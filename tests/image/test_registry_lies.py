#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A registry on loopback that lies, drops connections and leads elsewhere. Prints TAP.
usage: test_registry_lies.py STRATA"""
import base64
import gzip
import http.server
import json
import os
import random
import shutil
import socketserver
import sys
import tempfile
import threading
import urllib.parse

from layout import MEDIA, sha256, tar
from room import Failed, Room, contains, run_tests, same

NOISE = random.Random(3).randbytes(1 << 20)
LAYER = tar({'etc': None, 'noise': NOISE})
BLOB = gzip.compress(LAYER, mtime=0)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A repository a behaviour: the first part of its name says what goes wrong."""
    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.host = f'127.0.0.1:{self.server_address[1]}'
        self.seen, self.count, self.uploads = [], {}, {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass

    def first(self, key):
        """True once for each key."""
        self.count[key] = self.count.get(key, 0) + 1
        return self.count[key] == 1


class Image:
    def __init__(self, mode):
        diff = sha256(b'other' if mode == 'diffid' else LAYER)
        ids = [diff, diff] if mode == 'twoids' else [diff]
        self.config = json.dumps({'architecture': 'amd64', 'os': 'windows' if mode == 'windows' else 'linux', 'mode': mode,
                                  'rootfs': {'type': 'layers', 'diff_ids': ids}}).encode()
        self.layer = BLOB + (b'junk' if mode == 'garbage' else b'')
        if mode == 'notgzip':
            self.layer = BLOB[:5000] + b'x' * 5000
        size = len(self.layer) + {'longer': 1000, 'sizelies': -1000}.get(mode, 0)
        kind = 'application/x-thing' if mode == 'oddlayer' else MEDIA + 'layer.v1.tar+gzip'
        document = {'schemaVersion': 2, 'mediaType': MEDIA + 'manifest.v1+json',
                    'config': {'mediaType': MEDIA + 'config.v1+json', 'digest': sha256(self.config), 'size': len(self.config)},
                    'layers': [{'mediaType': kind, 'digest': sha256(self.layer), 'size': size}]}
        if mode == 'both':
            document['manifests'] = []
        if mode == 'artifact':
            document['config']['mediaType'] = 'application/vnd.cncf.helm.config.v1+json'
        self.manifest = json.dumps(document).encode()
        if mode == 'loopindex':
            self.index = json.dumps({'schemaVersion': 2, 'mediaType': MEDIA + 'index.v1+json', 'manifests': []}).encode()
            self.manifest = json.dumps({'schemaVersion': 2, 'mediaType': MEDIA + 'index.v1+json', 'manifests': [
                {'mediaType': MEDIA + 'index.v1+json', 'digest': sha256(self.index), 'size': len(self.index),
                 'platform': {'architecture': 'amd64', 'os': 'linux'}}]}).encode()
        if mode == 'schema1':
            self.manifest = b'{"schemaVersion": 1, "name": "x", "fsLayers": []}'
        if mode == 'notjson':
            self.manifest = b'<html>'
        if mode == 'huge':
            self.manifest = b'{"schemaVersion": 2, "x": "' + b'x' * (5 << 20) + b'"}'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def reply(self, status, body=b'', promised=None, **headers):
        self.send_response(status)
        self.send_header('Content-Length', str(len(body) if promised is None else promised))
        for k, v in headers.items():
            self.send_header(k.replace('_', '-'), v)
        self.end_headers()
        self.wfile.write(body)
        if promised is not None and promised != len(body):
            self.wfile.flush()
            self.close_connection = True

    def challenge(self, text):
        self.reply(401, b'{"errors": [{"message": "who are you?"}]}', WWW_Authenticate=text)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        authorization = self.headers.get('Authorization')
        self.server.seen.append((url.path, authorization))
        if url.path == '/v2/':
            return self.reply(200, b'{}')
        if url.path.startswith('/token/'):
            return self.token(url)
        if url.path.startswith('/away/'):
            self.server.away = authorization
            return self.reply(200, BLOB)
        parts = url.path.split('/')
        mode, kind, name = parts[2], parts[-2], parts[-1]
        if kind == 'uploads':
            return self.reply(204, Range=f'0-{max(len(self.server.uploads[mode]["open"]) - 1, 0)}')
        guard = self.guarded(mode, authorization)
        if guard:
            return guard()
        image = Image(mode)
        if kind == 'manifests':
            return self.manifest(mode, image, name)
        if name == sha256(image.config):
            return self.reply(200, image.config[:-1] + b' ' if mode == 'badconfig' else image.config)
        return self.layer(mode, image)

    def body(self, limit=None):
        """The request's body; limit: closes the connection after so many bytes of it."""
        length = int(self.headers.get('Content-Length', 0))
        data = self.rfile.read(length if limit is None else min(limit, length))
        if limit is not None:
            self.close_connection = True
            self.connection.shutdown(2)
        return data

    def upload(self):
        """The other direction: /v2/MODE/x/… keeps blobs by digest and one upload at a time."""
        url = urllib.parse.urlsplit(self.path)
        mode, parts = url.path.split('/')[2], url.path.split('/')
        state = self.server.uploads.setdefault(mode, {'blobs': {}, 'open': b'', 'manifests': {}})
        place = f'/v2/{mode}/x/blobs/uploads/1?state=a%2Fb'
        method = self.command
        self.server.count[method + mode] = self.server.count.get(method + mode, 0) + 1
        if 'manifests' in parts:
            data = self.body()
            state['manifests'][parts[-1]] = data
            digest = sha256(b'') if mode == 'pushlies' else sha256(data)
            return self.reply(201, Docker_Content_Digest=digest)
        if method == 'HEAD':
            return self.reply(200 if parts[-1] in state['blobs'] else 404)
        if method == 'POST':
            state['open'] = b''
            if mode == 'pushdenied':
                return self.reply(403, b'{"errors": [{"message": "not you"}]}')
            return self.reply(202, **({} if mode == 'pushnowhere' else {'Location': place}))
        if method == 'PATCH':
            if mode == 'pushdrops' and self.server.first(mode):
                state['open'] += self.body(30 << 20)
                return None
            start = int(self.headers['Content-Range'].split('-')[0])
            data = self.body()
            if start != len(state['open']):
                return self.reply(416)
            state['open'] += data
            return self.reply(202, Location=place, Range=f'0-{len(state["open"]) - 1}')
        data = self.body()
        if mode == 'pushfails' or (mode == 'pushfailsonce' and self.server.first(mode)):
            return self.reply(500)
        digest = urllib.parse.parse_qs(url.query)['digest'][0]
        if sha256(state['open'] + data) != digest:
            return self.reply(400, b'{"errors": [{"message": "digest invalid"}]}')
        state['blobs'][digest] = state['open'] + data
        return self.reply(201)

    do_HEAD = do_POST = do_PATCH = do_PUT = upload

    def token(self, url):
        q = urllib.parse.parse_qs(url.query)
        mode = url.path.split('/')[2]
        if mode == 'badtoken':
            return self.reply(200, b'{"token": "a\\r\\nX-Evil: 1"}')
        if mode == 'notoken':
            return self.reply(200, b'[]')
        if mode == 'denied':
            return self.reply(403, b'{"details": "no account"}')
        return self.reply(200, json.dumps({'token': 'T-' + q.get('scope', [''])[0]}).encode())

    def guarded(self, mode, authorization):
        realm = f'http://{self.server.host}/token/{mode}'
        if mode == 'loop401':
            return lambda: self.challenge(f'Bearer realm="{realm}",service="x"')
        if mode in ('token', 'badtoken', 'notoken', 'denied') and authorization != 'Bearer T-repository:token:pull':
            return lambda: self.challenge(f'Negotiate, Basic realm="a, b=\\"c\\"", Bearer realm="{realm}", service="x"')
        if mode == 'strange':
            return lambda: self.challenge('Bearer realm=')
        if mode == 'ftprealm':
            return lambda: self.challenge('Bearer realm="ftp://example/x"')
        want = 'Basic ' + base64.b64encode(b'me:secret').decode()
        if mode in ('basic', 'awaybasic') and authorization != want:
            return lambda: self.challenge('Basic realm="x"')
        return None

    def manifest(self, mode, image, name):
        kind = MEDIA + 'manifest.v1+json'
        if mode == 'loopindex':
            kind = MEDIA + 'index.v1+json'
            if name.startswith('sha256:'):
                return self.reply(200, image.index, Content_Type=kind)
        if mode == 'wrongtype':
            kind = MEDIA + 'index.v1+json'
        if mode == 'broken':
            return self.reply(404, b'{"errors": [{"code": "X", "message": "a\\u001b[31mb"}]}')
        if mode == 'busy' and self.server.first('busy'):
            return self.reply(503, b'')
        return self.reply(200, image.manifest, Content_Type=kind)

    def layer(self, mode, image):
        data, start = image.layer, 0
        span = self.headers.get('Range')
        if span and mode != 'norange':
            start = int(span.split('=')[1].rstrip('-'))
            self.server.count['ranges'] = self.server.count.get('ranges', 0) + 1
        if mode == 'badlayer' or (mode == 'badonce' and self.server.first('badonce')):
            data = data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]
        if mode == 'badheader':  # which decompresses to the same
            data = data[:4] + b'\1' + data[5:]
        if mode == 'toolong':
            data += b'x'
        if mode == 'short':
            data = data[:1000]
        if mode == 'gone':
            return self.reply(404, b'')
        if mode.startswith('away'):
            return self.reply(307, b'', Location=f'http://{self.server.other.host}/away/x')
        if mode == 'forever':
            return self.reply(307, b'', Location=self.path)
        if mode == 'elsewhere401':
            return self.reply(307, b'', Location=f'http://{self.server.other.host}/v2/loop401/x/blobs/sha256:1')
        if mode == 'file':
            return self.reply(307, b'', Location='file:///etc/passwd')
        if mode in ('drop', 'norange') and self.server.first(mode):
            return self.reply(200, data[:len(data) // 2], len(data))
        if mode == 'interrupted' and self.server.count.get('allow') is None:
            if start:
                return self.reply(206, b'', len(data) - start, Content_Range=f'bytes {start}-{len(data) - 1}/{len(data)}')
            return self.reply(200, data[:len(data) // 2], len(data))
        if start >= len(data) > 0 and start:
            return self.reply(416)
        if start:
            return self.reply(206, data[start:], Content_Range=f'bytes {start}-{len(data) - 1}/{len(data)}')
        return self.reply(200, data)


def new_room(name):
    room = Room(TOP, name)
    room.ref = lambda mode: f'{SERVER.host}/{mode}'
    room.pull = lambda mode: room.ok('image', 'pull', '--arch', 'amd64', room.ref(mode))
    room.refuse = lambda mode, want: room.fails('image', 'pull', '--arch', 'amd64', room.ref(mode), want=want)
    return room


def nothing_stays(room):
    for part in ('blobs/sha256', 'layers', 'partial', 'tmp'):
        path = f'{room.images}/{part}'
        same(os.listdir(path) if os.path.isdir(path) else [], [], part)
    same(json.loads(room.ok('image', 'list', '--format', 'json')), [], 'images')


def wrong_bytes():
    for mode, want in (('badlayer', 'damaged'), ('badheader', 'damaged'), ('badconfig', 'not what the manifest says'), ('diffid', 'should be'),
                       ('notgzip', 'damaged'), ('garbage', 'damaged'), ('toolong', 'more than'), ('short', 'bytes, but the manifest says'),
                       ('longer', 'bytes, but the manifest says'), ('sizelies', 'more than')):
        room = new_room('wrong-' + mode)
        contains(room.refuse(mode, want), SERVER.host)
        for part in ('blobs/sha256', 'layers', 'tmp'):
            path = f'{room.images}/{part}'
            same(os.listdir(path) if os.path.isdir(path) else [], [], f'{mode}: {part}')


def wrong_documents():
    room = new_room('documents')
    for mode, want in (('both', 'neither an index nor a manifest'), ('wrongtype', 'differ'), ('loopindex', 'neither'),
                       ('schema1', 'schema 1'), ('notjson', 'line 1'), ('huge', 'more than'), ('artifact', 'is no image but an artifact'),
                       ('oddlayer', 'unknown type'), ('twoids', 'diff_ids'), ('windows', 'is an image for windows')):
        if mode == 'loopindex':
            want = 'index'
        room.refuse(mode, want)
    room.fails('image', 'pull', '--arch', 'amd64', room.ref('good') + '@sha256:' + '1' * 64, want='has the digest')
    nothing_stays(room)
    # What a registry says goes to a terminal.
    same('\x1b' in room.refuse('broken', 'a?[31mb'), False, 'escape sequence')


def dropped_connections():
    room = new_room('dropped')
    for mode in ('drop', 'norange', 'busy', 'good'):
        room.pull(mode)
    room = new_room('resumed')
    SERVER.count.pop('allow', None)
    room.refuse('interrupted', SERVER.host)
    name = f'{room.images}/partial/{sha256(BLOB)[7:]}'
    same(os.path.getsize(name), len(BLOB) // 2, 'partial file')
    SERVER.count['allow'] = 1
    before = SERVER.count.get('ranges', 0)
    room.pull('interrupted')
    same(SERVER.count['ranges'], before + 1, 'ranges')
    # What somebody left there costs time, and is no error.
    for content in (b'x' * 1000, b'x' * len(BLOB), b'x' * (len(BLOB) + 5)):
        room = new_room(f'leftover{len(content)}')
        os.makedirs(room.images + '/partial')
        with open(f'{room.images}/partial/{sha256(BLOB)[7:]}', 'wb') as f:
            f.write(content)
        room.pull('good')
        same(os.listdir(room.images + '/partial'), [], 'partial')
    # A bad download is not kept.
    room = new_room('once')
    room.refuse('badonce', 'damaged')
    same(os.listdir(room.images + '/partial'), [], 'partial')
    room.pull('badonce')


def redirects():
    room = new_room('redirects')
    room.pull('away')
    same(OTHER.away, None, 'credentials')
    for mode in ('forever', 'file'):
        room = new_room('redirect-' + mode)
        room.refuse(mode, SERVER.host)
    # Credentials are for the host that they were given for.
    room = new_room('redirect-secret')
    os.makedirs(room.path + '/config/strata')
    with open(room.path + '/config/strata/auth.json', 'w') as f:
        json.dump({'auths': {SERVER.host: {'auth': base64.b64encode(b'me:secret').decode()}}}, f)
    room.pull('awaybasic')
    same(OTHER.away, None, 'credentials')
    OTHER.seen.clear()
    new_room('redirect-401').refuse('elsewhere401', 'status 403')
    same([s for s in OTHER.seen if s[1] or s[0].startswith('/token')], [], 'what the other host got')


def challenges():
    room = new_room('challenges')
    room.pull('token')
    before = len(SERVER.seen)
    room.refuse('loop401', 'who are you?')
    same(len(SERVER.seen) - before < 8, True, 'requests')
    room.refuse('badtoken', 'no token')
    room.refuse('notoken', 'no token')
    room.refuse('denied', 'no account')
    room.refuse('strange', 'user name')
    room.refuse('ftprealm', 'can be trusted')
    room.refuse('basic', 'user name')
    contains(new_room('gone').refuse('gone', 'status 404'), 'layer sha256:')


def uploads():
    room = new_room('uploads')
    path = room.path + '/tree.tar'
    with open(path, 'wb') as f:
        f.write(tar({'large': bytes(100 << 20)}))
    room.ok('image', 'import', path, 'large')
    room.ok('image', 'push', 'large', room.ref('pushdrops/x'))
    state = SERVER.uploads['pushdrops']
    same([sha256(data) for data in state['blobs'].values()], list(state['blobs']), 'blobs')
    same(sha256(state['manifests']['latest']), room.inspect('large')['digest'], 'manifest')
    # What had arrived when the connection broke was not sent again.
    same((SERVER.count['POSTpushdrops'], SERVER.count['PATCHpushdrops']), (2, 3), 'requests')
    with open(path, 'wb') as f:
        f.write(LAYER)
    room.ok('image', 'import', path, 'small')
    room.ok('image', 'push', 'small', room.ref('pushfailsonce/x'))
    for mode, want in (('pushfails', 'status 500'), ('pushdenied', 'not you'), ('pushnowhere', 'without a place'), ('pushlies', 'instead of')):
        room.fails('image', 'push', 'small', room.ref(mode + '/x'), want=want)


def mirrors():
    room = new_room('mirrors')
    os.makedirs(room.path + '/config/strata')
    path = room.path + '/config/strata/registries.json'
    with open(path, 'w') as f:
        json.dump({'registries': {'registry.invalid': {'mirrors': ['127.0.0.1:1', f'{SERVER.host}/badlayer', f'{OTHER.host}/good'],
                                                       'http': True}}}, f)
    room.ok('image', 'pull', '--arch', 'amd64', 'registry.invalid/x')
    same(room.inspect('registry.invalid/x')['ref'], 'registry.invalid/x:latest', 'name')
    for bad in ('{', '[]', '{"registries": {"registry.invalid": {"mirrors": ["a b"]}}}', '{"registries": {"registry.invalid": {"http": 1}}}'):
        with open(path, 'w') as f:
            f.write(bad)
        room.fails('image', 'pull', '--arch', 'amd64', 'registry.invalid/y', want='registries.json')


def main():
    global TOP, SERVER, OTHER
    TOP = tempfile.mkdtemp(prefix='strata-lies-')
    try:
        SERVER, OTHER = Server(), Server()
        SERVER.other = OTHER
        return run_tests([wrong_bytes, wrong_documents, dropped_connections, redirects, challenges, uploads, mirrors])
    finally:
        shutil.rmtree(TOP)


sys.exit(main())
