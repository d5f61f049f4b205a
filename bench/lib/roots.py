# SPDX-License-Identifier: Apache-2.0
"""Two Debian roots with the same programs, riscv64 and amd64, unpacked below the cache directory.

Packages come from the Debian archive that apt knows, in apt's own directories below the cache, so
that apt resolves and verifies them and no right of root is needed. Each root gets /bench: bin (our
programs and links to Debian's), data, and wrap (see modes.QemuUser).
"""
import fcntl
import glob
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUITE = "trixie"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = ["python3.13-minimal", "perl-base", "lua5.4", "sqlite3", "xz-utils", "zstd", "gzip",
            "bzip2", "openssl", "busybox", "grep", "coreutils", "mawk"]
# cc1 for riscv64 on both: the same work, the same output.
COMPILER = {"riscv64": "cpp-14", "amd64": "cpp-14-riscv64-linux-gnu"}
CC = {"riscv64": "riscv64-linux-gnu-gcc", "amd64": "gcc"}
FLAGS = ["-O2", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wno-unused-parameter",
         "-pthread", "-s"]
# command: Debian package
NEEDED = {"gcc": "gcc", "riscv64-linux-gnu-gcc": "gcc-riscv64-linux-gnu", "apt-get": "apt",
          "dpkg-deb": "dpkg", "/sbin/mke2fs": "e2fsprogs"}
# Not needed to run anything, and the guest holds its root in memory.
PRUNED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian",
          "usr/share/bug", "usr/lib/*/gconv", "usr/lib/*/perl-base/unicore", "etc", "usr/share/zoneinfo",
          "usr/lib/*/ossl-modules", "usr/lib/*/engines-3"]


class Failed(Exception):
    """The message says what is missing and what to do."""


def check_host():
    missing = sorted({p for c, p in NEEDED.items() if not shutil.which(c)})
    if not os.path.exists(KEYRING):
        missing.append("debian-archive-keyring")
    if shutil.which("riscv64-linux-gnu-gcc") and not glob.glob("/usr/riscv64-linux-gnu/lib/libc.a"):
        missing.append("libc6-dev-riscv64-cross")
    if missing:
        raise Failed("not installed: " + " ".join(missing) + "\n  apt-get install " + " ".join(missing))


def cache_directory():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "strata-bench")


def lock():
    """Holds the cache for this process: its data fit one scale, and figures want a quiet machine."""
    os.makedirs(cache_directory(), exist_ok=True)
    f = open(os.path.join(cache_directory(), "lock"), "w")
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failed("another suite.py is running (another XDG_CACHE_HOME is another cache)") from None
    return f


def mirror():
    """The Debian archive of the host's apt; the official one when there is none."""
    out = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)",
                          "Created-By: Packages", "Label: Debian"], capture_output=True, text=True)
    found = out.stdout.split()
    return found[0] if found else "http://deb.debian.org/debian/"


def run(command, **options):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if p.returncode:
        raise Failed(f"{' '.join(command[:4])} … failed:\n{p.stdout[-2000:]}")
    return p.stdout


def apt_directory(directory, arch):
    """apt.conf and the directories that it names."""
    for d in ("lists/partial", "archives/partial", "etc"):
        os.makedirs(os.path.join(directory, d), exist_ok=True)
    with open(os.path.join(directory, "etc", "sources.list"), "w") as f:
        f.write(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
    open(os.path.join(directory, "status"), "w").close()
    conf = os.path.join(directory, "apt.conf")
    with open(conf, "w") as f:
        f.write(f'''Dir::Etc "{directory}/etc"; Dir::Etc::parts "none"; Dir::Etc::main "none";
Dir::Etc::sourceparts "none"; Dir::Etc::preferencesparts "none"; Dir::Etc::trustedparts "none";
Dir::State "{directory}"; Dir::State::status "{directory}/status"; Dir::Cache "{directory}";
Dir::Log "{directory}"; APT::Architecture "{arch}"; #clear APT::Architectures;
APT::Architectures {{ "{arch}"; }}; Acquire::Languages "none"; APT::Sandbox::User "";
APT::Install-Recommends "false"; Debug::NoLocking "true";
#clear APT::Update::Post-Invoke-Success; #clear APT::Update::Post-Invoke; #clear DPkg::Post-Invoke;
''')
    return conf


def fetch(directory, arch):
    """Paths of all packages of the root."""
    env = {**os.environ, "APT_CONFIG": apt_directory(directory, arch), "LC_ALL": "C"}
    run(["apt-get", "-q", "update"], env=env)
    run(["apt-get", "-q", "-y", "--download-only", "install", *PACKAGES, COMPILER[arch]], env=env)
    return sorted(glob.glob(os.path.join(directory, "archives", "*.deb")))


def debian_root(arch, say):
    """The directory with Debian's part of the root; made when it is not there."""
    cache = cache_directory()
    root = os.path.join(cache, f"{SUITE}-{arch}")
    done = os.path.join(cache, f"{SUITE}-{arch}.versions")
    wanted = " ".join([*PACKAGES, COMPILER[arch]])
    if os.path.exists(done) and open(done).readline().strip() == wanted:
        return root
    say(f"fetching and unpacking Debian {SUITE} for {arch} (once)")
    os.makedirs(cache, exist_ok=True)
    debs = fetch(os.path.join(cache, f"apt-{arch}"), arch)
    shutil.rmtree(root, ignore_errors=True)
    for d in ("bin", "lib", "sbin", "lib64"):
        os.makedirs(os.path.join(root, "usr", d))
        os.symlink(f"usr/{d}", os.path.join(root, d))
    for deb in debs:
        run(["dpkg-deb", "--extract", deb, root])
    for pattern in PRUNED:
        for path in glob.glob(os.path.join(root, pattern)):
            shutil.rmtree(path)
    for d in ("dev", "proc", "sys", "tmp", "etc"):
        os.makedirs(os.path.join(root, d), exist_ok=True)
    with open(done, "w") as f:
        f.write(wanted + "\n" + "".join(os.path.basename(d) + "\n" for d in debs))
    return root


def versions(arch):
    """{package: version} of the root."""
    with open(os.path.join(cache_directory(), f"{SUITE}-{arch}.versions")) as f:
        return dict(os.path.basename(n).split("_")[:2] for n in f.read().split("\n")[1:] if n)


def compile_program(arch, source, out, static=True):
    headers = glob.glob(os.path.join(HERE, "programs", "*.h"))
    newest = max(os.path.getmtime(p) for p in [source, __file__, *headers])
    if os.path.exists(out) and os.path.getmtime(out) > newest:
        return
    run([CC[arch], *FLAGS, *(["-static"] if static else []), "-o", out, source, "-lm"])


def prepare(arch, say):
    """The root with our programs in it, but for the data; returns its directory."""
    root = debian_root(arch, say)
    binaries = os.path.join(root, "bench", "bin")
    os.makedirs(binaries, exist_ok=True)
    for source in glob.glob(os.path.join(HERE, "programs", "*.c")):
        name = os.path.basename(source)[:-2]
        compile_program(arch, source, os.path.join(binaries, name))
    compile_program(arch, os.path.join(HERE, "programs", "nothing.c"),
                    os.path.join(binaries, "nothing_dynamic"), static=False)
    compile_program(arch, os.path.join(HERE, "runner.c"), os.path.join(root, "bench", "runner"))
    cc1 = glob.glob(os.path.join(root, "usr/libexec/gcc*/riscv64-linux-gnu/14/cc1"))[0]
    link = os.path.join(binaries, "cc1")
    if not os.path.islink(link):
        os.symlink(os.path.relpath(cc1, binaries), link)
    return root
