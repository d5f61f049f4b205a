# SPDX-License-Identifier: Apache-2.0
"""OCI image layouts made from nothing, and what a registry test needs beside them."""
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time

TIME = 1700000000
MEDIA = 'application/vnd.oci.image.'


def sha256(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def tar(files):
    """{name: bytes, or None for a directory, or a string for a symbolic link}"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as t:
        for name, value in files.items():
            i = tarfile.TarInfo(name)
            i.mtime, i.mode = TIME, 0o755
            if value is None:
                i.type = tarfile.DIRTYPE
            elif isinstance(value, str):
                i.type, i.linkname = tarfile.SYMTYPE, value
            else:
                i.size = len(value)
            t.addfile(i, io.BytesIO(value) if isinstance(value, bytes) else None)
    return out.getvalue()


def zstd(data):
    return subprocess.run(['zstd', '-q', '-c'], input=data, stdout=subprocess.PIPE, check=True).stdout


PACK = {'': lambda d: d, '+gzip': lambda d: gzip.compress(d, mtime=0), '+zstd': zstd}


class Layout:
    """A directory with blobs; what is added to the index is one reference each."""

    def __init__(self, path):
        self.path, self.entries = path, []
        os.makedirs(os.path.join(path, 'blobs/sha256'))
        with open(os.path.join(path, 'oci-layout'), 'w') as f:
            f.write('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data, media_type, **more):
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
        digest = sha256(data)
        with open(os.path.join(self.path, 'blobs/sha256', digest[7:]), 'wb') as f:
            f.write(data)
        return {'mediaType': media_type, 'digest': digest, 'size': len(data), **more}

    def image(self, layers, arch='amd64', config=None, history=None, diff_ids=None):
        """layers: [(tar bytes, '' or '+gzip' or '+zstd')]; returns the manifest's descriptor."""
        blobs = [self.blob(PACK[kind](data), MEDIA + 'layer.v1.tar' + kind) for data, kind in layers]
        document = {'architecture': arch, 'os': 'linux', 'created': '2023-11-14T22:13:20Z',
                    'config': config or {'Cmd': ['/bin/true'], 'Env': ['PATH=/bin']},
                    'rootfs': {'type': 'layers', 'diff_ids': diff_ids or [sha256(d) for d, _ in layers]}}
        if history:
            document['history'] = history
        return self.blob({'schemaVersion': 2, 'mediaType': MEDIA + 'manifest.v1+json',
                          'config': self.blob(document, MEDIA + 'config.v1+json'), 'layers': blobs},
                         MEDIA + 'manifest.v1+json', platform={'architecture': arch, 'os': 'linux'})

    def several(self, manifests):
        return self.blob({'schemaVersion': 2, 'mediaType': MEDIA + 'index.v1+json', 'manifests': manifests},
                         MEDIA + 'index.v1+json')

    def tag(self, descriptor, name):
        self.entries.append({**descriptor, 'annotations': {'org.opencontainers.image.ref.name': name}})
        with open(os.path.join(self.path, 'index.json'), 'w') as f:
            json.dump({'schemaVersion': 2, 'manifests': self.entries}, f)

    def read(self, digest):
        with open(os.path.join(self.path, 'blobs/sha256', digest[7:]), 'rb') as f:
            return f.read()


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Registry:
    """Debian's docker-registry on loopback, in a directory of its own."""

    def __init__(self, directory, users=None):
        self.host = f'127.0.0.1:{free_port()}'
        os.makedirs(directory)
        auth = ''
        if users:
            path = os.path.join(directory, 'htpasswd')
            with open(path, 'w') as f:
                f.write(users + '\n')
            auth = f'auth: {{htpasswd: {{realm: test, path: {path}}}}}\n'
        config = os.path.join(directory, 'config.yml')
        with open(config, 'w') as f:
            f.write(f'version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n{auth}'
                    f'storage: {{filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}}}\n'
                    f'http: {{addr: "{self.host}"}}\n')
        self.log = open(os.path.join(directory, 'log'), 'w')
        self.process = subprocess.Popen(['docker-registry', 'serve', config], stdout=self.log, stderr=self.log)
        for _ in range(100):
            if subprocess.run(['curl', '-s', '-o', '/dev/null', f'http://{self.host}/v2/'], check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError('docker-registry does not answer')

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def missing(*programs):
    return [p for p in programs if not shutil.which(p)]
