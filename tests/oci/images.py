# SPDX-License-Identifier: Apache-2.0
"""Images made by hand: a store (an OCI layout) in a directory, out of layers that a test writes."""
import gzip
import hashlib
import io
import json
import os
import tarfile

ARCH = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}[os.uname().machine]


class Layer:
    """A tar archive; entries are added in the order in which they are to be unpacked."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, kind=tarfile.REGTYPE, data=b"", mode=0o644, link="", xattrs=None, **more):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname, info.size = kind, mode, link, len(data)
        for key, value in more.items():
            setattr(info, key, value)
        info.pax_headers = {"SCHILY.xattr." + k: v for k, v in (xattrs or {}).items()}
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def dir(self, name, mode=0o755, **more):
        return self.add(name, tarfile.DIRTYPE, mode=mode, **more)

    def link(self, name, target, **more):
        return self.add(name, tarfile.SYMTYPE, link=target, mode=0o777, **more)

    def hard(self, name, target):
        return self.add(name, tarfile.LNKTYPE, link=target)

    def take(self):
        self.tar.close()
        return self.bytes.getvalue()


class Store:
    def __init__(self, home):
        self.images = os.path.join(home, "images")
        self.blobs = os.path.join(self.images, "blobs", "sha256")
        self.manifests = []
        os.makedirs(self.blobs, exist_ok=True)
        with open(os.path.join(self.images, "oci-layout"), "w") as f:
            f.write('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.blobs, digest), "wb") as f:
            f.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def add(self, ref, layers, config=None, compress=False):
        """layers: of bytes, lowest first. The reference is then known to `strata`."""
        diff_ids = ["sha256:" + hashlib.sha256(l).hexdigest() for l in layers]
        kind = "application/vnd.oci.image."
        tar = kind + "layer.v1.tar" + ("+gzip" if compress else "")
        blobs = [self.blob(gzip.compress(l) if compress else l, tar) for l in layers]
        document = {"architecture": ARCH, "os": "linux", "config": config or {},
                    "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
                    "config": self.blob(json.dumps(document).encode(), kind + "config.v1+json"),
                    "layers": blobs}
        d = self.blob(json.dumps(manifest).encode(), kind + "manifest.v1+json")
        d["platform"] = {"architecture": ARCH, "os": "linux"}
        d["annotations"] = {"org.opencontainers.image.ref.name": ref}
        self.manifests.append(d)
        index = {"schemaVersion": 2, "mediaType": kind + "index.v1+json", "manifests": self.manifests}
        with open(os.path.join(self.images, "index.json"), "w") as f:
            json.dump(index, f)


def busybox_layer(program):
    layer = Layer()
    for name in ("bin", "dev", "proc", "sys", "etc", "tmp", "root", "usr"):
        layer.dir(name, 0o1777 if name == "tmp" else 0o755)
    with open(program, "rb") as f:
        layer.add("bin/busybox", data=f.read(), mode=0o755)
    for name in ("sh", "cat", "echo", "id", "ls", "sleep", "true", "hostname", "mount", "stat", "env",
                 "touch", "kill", "tty", "grep", "dd", "unshare", "head", "wc", "nproc", "rm", "mkdir", "sync", "nc", "stty"):
        layer.link("bin/" + name, "busybox")
    layer.add("etc/passwd", data=b"root:x:0:0::/root:/bin/sh\nanna:x:1000:1001::/tmp:/bin/sh\n")
    layer.add("etc/group", data=b"root:x:0:\nstaff:x:1001:\nusers:x:50:anna\n")
    return layer
