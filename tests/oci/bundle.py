# SPDX-License-Identifier: Apache-2.0
"""Bundles for tests of the OCI runtime, TAP, and a look at what is left behind."""
import copy
import json
import os
import shutil
import subprocess
import sys
import traceback

RUNTIME = os.environ.get("STRATA_OCI", "strata-oci")
BUSYBOX = shutil.which("busybox") or "/bin/busybox"
PATH = "PATH=/bin"
count = failed = 0

CONFIG = {
    "ociVersion": "1.2.0",
    "process": {"args": ["/bin/true"], "env": [PATH], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=1m"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
    ],
    "linux": {"namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "cgroup", "mount")]},
}


class Failed(Exception):
    pass


def check(value, what):
    if not value:
        raise Failed(str(what))


def same(got, want):
    if got != want:
        raise Failed(f"got  {got!r}\nwant {want!r}")


class Skip(Exception):
    pass


def run_tests(tests, *args):
    global count, failed
    for test in tests:
        count += 1
        name = test.__name__.removeprefix("test_").replace("_", " ")
        try:
            test(*args)
            print(f"ok {count} - {name}")
        except Skip as e:
            print(f"ok {count} - {name} # SKIP {e}")
        except Exception as e:  # the next test runs all the same
            failed += 1
            print(f"not ok {count} - {name}")
            text = str(e) if isinstance(e, Failed) else traceback.format_exc()
            for line in text.splitlines()[:40]:
                print("# " + line[:300])
        sys.stdout.flush()


def finish():
    print(f"1..{count}")
    return 1 if failed else 0


class Room:
    """A directory with a root file system, a state directory, and bundles."""

    def __init__(self, directory):
        self.directory = directory
        self.root = os.path.join(directory, "rootfs")
        self.state = os.path.join(directory, "state")
        self.n = 0
        self.make_root(self.root)

    def make_root(self, root):
        for d in ("bin", "proc", "dev", "sys", "tmp", "etc", "work"):
            os.makedirs(os.path.join(root, d))
        shutil.copy(BUSYBOX, os.path.join(root, "bin/busybox"))
        for name in subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split():
            if name != "busybox":
                os.symlink("busybox", os.path.join(root, "bin", name))

    def config(self, script=None, **process):
        c = copy.deepcopy(CONFIG)
        c["root"]["path"] = self.root
        if script is not None:
            c["process"]["args"] = ["/bin/sh", "-c", script]
        c["process"].update(process)
        return c

    def name(self):
        self.n += 1
        return f"test-{os.getpid()}-{self.n}"

    def bundle(self, config):
        b = os.path.join(self.directory, f"bundle-{self.n}-{os.urandom(4).hex()}")
        os.mkdir(b)
        with open(os.path.join(b, "config.json"), "w") as f:
            f.write(config if isinstance(config, str) else json.dumps(config))
        return b

    def call(self, *words, input=None, **more):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        streams.update({"input": input} if input is not None else {"stdin": subprocess.DEVNULL})
        return subprocess.run([RUNTIME, "--root", self.state, *words], text=True, timeout=60, **{**streams, **more})

    def run(self, config, *options, **more):
        return self.call("run", "--bundle", self.bundle(config), *options, self.name(), **more)

    def output(self, config, *options, **more):
        p = self.run(config, *options, **more)
        if p.returncode:
            raise Failed(f"status {p.returncode}: {p.stdout}{p.stderr}")
        return p.stdout

    def created(self, config, *options, **more):
        """A created container: its name and process."""
        name, pid_file = self.name(), os.path.join(self.directory, "pid")
        log = open(os.path.join(self.directory, name + ".log"), "w+")
        p = subprocess.run([RUNTIME, "--root", self.state, "create", "--bundle", self.bundle(config), "--pid-file", pid_file,
                            *options, name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60, **more)
        if p.returncode:
            log.seek(0)
            raise Failed(f"create: status {p.returncode}: {log.read()}")
        return name, int(open(pid_file).read())

    def log(self, name):
        return open(os.path.join(self.directory, name + ".log")).read()

    def status(self, name):
        return json.loads(self.call("state", name).stdout)["status"]

    def left(self):
        """What the containers of this test left behind."""
        found = [n for n in os.listdir(self.state) if n != ".filters"] if os.path.isdir(self.state) else []
        for top, names, _ in os.walk("/sys/fs/cgroup"):
            found += [os.path.join(top, n) for n in names if n.startswith(f"strata-test-{os.getpid()}-")]
        return found
