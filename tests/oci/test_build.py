#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`strata image build`: Containerfiles on images that are made here; what comes out is run."""
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

from bundle import BUSYBOX, check, finish, run_tests, same
from images import Store, busybox_layer

STRATA = os.environ.get("STRATA", "build/strata")
HOME = tempfile.mkdtemp(prefix="strata-build-")
ENV = {**os.environ, "STRATA_HOME": HOME, "STRATA_CACHE": HOME + "/cache", "LC_ALL": "C"}
ENV.pop("SOURCE_DATE_EPOCH", None)
CACHED = "from an earlier build"


def strata(*args):
    return subprocess.run([STRATA, *args], capture_output=True, text=True, env=ENV, timeout=60, stdin=subprocess.DEVNULL)


class Context:
    def __init__(self, text, files=None, links=None):
        self.dir = tempfile.mkdtemp(dir=HOME)
        self.write({"Containerfile": text, **(files or {})})
        for name, target in (links or {}).items():
            os.symlink(target, os.path.join(self.dir, name))

    def write(self, files):
        for name, data in files.items():
            path = os.path.join(self.dir, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(data if isinstance(data, bytes) else data.encode())

    def build(self, *options, tag="made", fails=None):
        """What was said, and the digest."""
        p = strata("image", "build", "--network", "host", *(["-t", tag] if tag else []), *options, self.dir)
        if fails is not None:
            check(p.returncode == 1 and fails in p.stderr, p.stderr)
            return p.stderr
        check(p.returncode == 0, p.stderr)
        check(not os.listdir(HOME + "/instances"), "an instance is left")
        return p.stderr, p.stdout.strip()


def made(script, image="made"):
    p = strata("run", "--rm", "--user", "0:0", "--entrypoint", "", image, "--", "/bin/sh", "-ec", script)
    check(p.returncode == 0, p.stderr)
    return p.stdout


def config(image="made"):
    p = strata("image", "inspect", image)
    check(p.returncode == 0, p.stderr)
    return json.loads(p.stdout)["config"]


def test_instructions():
    c = Context("ARG BASE=box\nFROM ${BASE}\nARG WHO=nobody\nENV A=1 B=\"two words\"\nENV C $A-$WHO\n"
                "LABEL one=1 two=\"$A 2\"\nWORKDIR /srv/app\nWORKDIR sub\nCOPY . .\n"
                "RUN echo $C $WHO > out; pwd >> out; id -u >> out\nUSER anna\nRUN id -u > /tmp/user\n"
                "EXPOSE 80 5000-5001/udp\nVOLUME /data [\"/x\"]\nSTOPSIGNAL SIGINT\nENTRYPOINT [\"/bin/sh\", \"-c\"]\n"
                "CMD echo from the command\nHEALTHCHECK --interval=1m30s --retries=3 CMD true\n",
                {"file": "text", "dir/inner": "more", ".containerignore": "Containerfile\n.containerignore\n"})
    c.build("--build-arg", "WHO=me")
    same(made("cat out; cat /tmp/user; cat file dir/inner; ls /srv/app/sub"), "1-me me\n/srv/app/sub\n0\n1000\ntextmoredir\nfile\nout\n")
    got = config()
    section = got["config"]
    same(section["Env"][-3:], ["A=1", "B=two words", "C=1-me"])
    same(section["Labels"], {"one": "1", "two": "1 2"})
    same((section["WorkingDir"], section["User"], section["StopSignal"]), ("/srv/app/sub", "anna", "SIGINT"))
    same(sorted(section["ExposedPorts"]), ["5000/udp", "5001/udp", "80/tcp"])
    same(section["Entrypoint"], ["/bin/sh", "-c"])
    same(section["Cmd"], ["/bin/sh", "-c", "echo from the command"])
    same(section["Healthcheck"], {"Test": ["CMD-SHELL", "true"], "Interval": 90 * 10**9, "Retries": 3})
    same(len([h for h in got["history"] if not h.get("empty_layer")]), len(got["rootfs"]["diff_ids"]) - 1)


def test_stages():
    c = Context("FROM box AS one\nRUN mkdir /out && echo built > /out/program && chmod 4711 /out/program\n"
                "FROM box AS unused\nRUN exit 1\n", {})
    c.build("--target", "one")
    c.write({"Containerfile": "FROM box AS one\nRUN mkdir /out && echo built > /out/program && chmod 4711 /out/program\n"
             "FROM one AS two\nRUN echo more >> /out/program\nFROM scratch\nCOPY --from=one /out/program /a\n"
             "COPY --from=1 /out/ /dir/\nCOPY --from=box bin/busybox /bin/sh\n"})
    said, _ = c.build()
    same(said.count(CACHED), 1)
    same(made("read x < /a; echo $x; while read x; do echo $x; done < /dir/program"), "built\nbuilt\nmore\n")
    same(len(config()["rootfs"]["diff_ids"]), 3)
    c.build("--target", "nowhere", fails="no stage nowhere")


def test_what_is_kept():
    text = "FROM box\nCOPY a /a\nRUN cat /a > /b; echo -n $RANDOM > /c\nENV X=1\nCOPY d /d\n"
    c = Context(text, {"a": "1", "d": "2"})
    _, first = c.build()
    said, second = c.build()
    same((said.count(CACHED), second), (3, first))
    os.utime(c.dir + "/a")
    same(c.build()[0].count(CACHED), 3)
    c.write({"d": "3"})
    same(c.build()[0].count(CACHED), 2)
    c.write({"a": "4"})
    said, third = c.build()
    check(CACHED not in said and third != first, said)
    same(made("cat /b"), "4")
    os.chmod(c.dir + "/d", 0o755)
    same(c.build()[0].count(CACHED), 2)
    check(strata("image", "prune").returncode == 0, "prune")
    check(CACHED not in c.build()[0], "pruned")


def test_the_same_digest():
    c = Context("FROM box\nCOPY dir /dir\nRUN mkdir /x && touch /x/y && echo z > /z && rm /bin/id\n", {"dir/a": "1", "dir/b": "2"})
    _, first = c.build()
    os.utime(c.dir + "/dir/a")
    _, second = c.build("--no-cache")
    same(second, first)
    _, third = c.build("--no-cache", "--timestamp", "1000")
    check(third != first, "the time is not in it")
    same(config()["created"], "1970-01-01T00:16:40Z")
    same(made("stat -c %Y /x/y /z"), "1000\n1000\n")


def test_what_is_removed():
    Context("FROM box\nRUN mkdir -p /d/e && echo 1 > /d/e/f && echo 2 > /d/g && ln /d/g /d/h\n").build(tag="lower")
    c = Context("FROM lower\nRUN rm /d/g; rm -r /d/e; mkdir /d/e; echo 3 > /d/e/n; rm /etc/passwd\n")
    c.build()
    same(made("cat /d/h; cat /d/e/n; ls /d /d/e; ls /etc"), "2\n3\n/d:\ne\nh\n\n/d/e:\nn\ngroup\nhostname\nhosts\nresolv.conf\n")
    check("etc/.wh.passwd" in layer_names(), layer_names())
    check(not [n for n in layer_names() if n.split("/")[0] in ("dev", "proc", "sys")], layer_names())


def layer_names(image="made"):
    """Of the newest layer."""
    manifest = json.loads(strata("image", "inspect", image).stdout)["manifest"]
    with tarfile.open(f"{HOME}/images/blobs/sha256/{manifest['layers'][-1]['digest'][7:]}") as t:
        return t.getnames()


def test_owners_and_modes():
    c = Context("FROM box\nCOPY --chown=anna:users --chmod=0640 a /x/\nCOPY b /y\nCOPY --chown=5:6 dir /dir\n",
                {"a": "1", "b": "2", "dir/c": "3"}, {"dir/link": "nowhere"})
    os.chmod(c.dir + "/b", 0o751)
    c.build()
    same(made("stat -c '%u:%g %a' /x /x/a /y /dir /dir/c; stat -c '%u:%g %N' /dir/link"),
         "0:0 755\n1000:50 640\n0:0 751\n0:0 755\n5:6 644\n5:6 '/dir/link' -> 'nowhere'\n")


def test_patterns_and_what_is_left_out():
    files = {n: n for n in ("a.c", "b.c", "sub/c.c", "sub/deep/d.c", "sub/deep/e.h", "keep/x", "keep/y")}
    c = Context("FROM box\nCOPY *.c /c/\nCOPY . /all\n",
                {**files, ".dockerignore": "# none\n**/*.h\nkeep\n!keep/y\n/b.c\nContainerfile\n.dockerignore\n"})
    c.build()
    same(made("ls /c; cd /all; ls * sub/deep"), "a.c\na.c\n\nkeep:\ny\n\nsub:\nc.c\ndeep\n\nsub/deep:\nd.c\n")
    c.write({"Containerfile": "FROM box\nCOPY *.none /c/\n"})
    c.build(fails="line 2: COPY: *.none: nothing there fits")


def tar_of(name):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as t:
        t.addfile(tarfile.TarInfo(name))
    return data.getvalue()


def test_archives_and_here_documents():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as t:
        info = tarfile.TarInfo("in/side")
        info.size, info.uid = 4, 7
        t.addfile(info, io.BytesIO(b"text"))
    c = Context("FROM box\nADD a.tar.gz /to\nCOPY a.tar.gz /as-it-is/\nARG V=1\n"
                "RUN <<EOF\nset -e\necho $V > /v\necho 'second line' >> /v\nEOF\n"
                "COPY <<one <<-\"two\" /here/\n$V\none\n\t$V\ntwo\n", {"a.tar.gz": data.getvalue()})
    c.build()
    same(made("cat /to/in/side; stat -c ' %u' /to/in/side; ls /as-it-is; cat /v /here/one /here/two"),
         "text 7\na.tar.gz\n1\nsecond line\n1\n$V\n")


def test_no_way_out():
    secret = os.path.join(HOME, "secret")
    with open(secret, "w") as f:
        f.write("secret")
    c = Context("FROM box\nCOPY ../secret /\n")
    c.build(fails="leads out of its tree")
    Context("FROM box\nCOPY link /x\n", {}, {"link": secret}).build(fails="No such file")
    Context("FROM box\nCOPY up/secret /x\n", {}, {"up": ".."}).build(fails="nothing there fits")
    with open(os.path.join(HOME, "secret.tar"), "wb") as f:
        f.write(tar_of("secret"))
    c = Context("FROM box\nADD up/secret.tar /x/\n", {HOME[1:] + "/secret.tar": tar_of("own")}, {"up": HOME})
    c.build()
    same(made("ls /x"), "own\n")
    # The image's own links lead to places in the image.
    victim = tempfile.mkdtemp(dir=HOME)
    c = Context(f"FROM box\nRUN ln -s {victim} /trap && ln -s /trap/file /tmp/file\nCOPY a /trap/\nCOPY a /tmp/file\n", {"a": "1"})
    c.build(fails="")
    same(os.listdir(victim), [])
    c = Context(f"FROM box\nRUN mkdir -p {victim} && ln -s {victim} /trap\nCOPY a /trap/\n", {"a": "1"})
    c.build()
    same((os.listdir(victim), made(f"cat {victim}/a")), ([], "1"))


def test_what_fails():
    for text, words in (("FROM box\nRUN exit 3\n", "line 2: RUN: it ended with status 3"), ("RUN x\n", "the first instruction is FROM"),
                        ("FROM box\nBAKE\n", "line 2: there is no instruction BAKE"), ("FROM box\nEXPOSE many\n", "not a port"),
                        ("FROM box\nRUN --mount=type=cache,target=/x true\n", "--network"), ("FROM box\nENV A\n", "NAME=VALUE"),
                        ("FROM --platform=linux/s390x box\n", "one architecture"), ("FROM scratch\nRUN x\n", "empty image"),
                        ("FROM box\nCOPY --from=nosuch a /\n", "--from=nosuch"), ("FROM box\nCOPY --chown=nosuch a /\n", "nosuch"),
                        ("FROM box\nARG A\nENV B=\"${A:?must be given}\"\n", "A: must be given")):
        Context(text, {"a": ""}).build(fails=words)
    check(not os.listdir(HOME + "/instances"), "an instance is left")


def test_on_build():
    Context("FROM box\nONBUILD RUN echo triggered > /t\n").build(tag="parent")
    c = Context("FROM parent\nRUN cat /t > /u\n")
    c.build()
    same(made("cat /u"), "triggered\n")
    check("OnBuild" not in config()["config"], config())


def main():
    if not BUSYBOX or not os.path.exists(BUSYBOX):
        print("1..0 # SKIP no static busybox")
        return 0
    Store(HOME).add("box:latest", [busybox_layer(BUSYBOX).take()], {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]})
    only = sys.argv[1:]
    run_tests([f for n, f in globals().items() if n.startswith("test_") and (not only or n in only)])
    subprocess.run(["rm", "-rf", HOME], check=False)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
