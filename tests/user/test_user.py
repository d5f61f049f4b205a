#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Process mode: programs compiled here for riscv64, static and dynamically linked, do what they do
under qemu-riscv64 (or print what NAME.expected says, where QEMU is no oracle). Prints TAP."""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
STRATA = os.environ["STRATA"]
CC = "riscv64-linux-gnu-gcc"
LIBRARIES = "/usr/riscv64-linux-gnu"
# A sanitizer's own handlers would undo what a program is started with.
HANDLED = "".join(f":handle_{s}=0" for s in ("segv", "sigbus", "sigfpe", "sigill", "abort"))
ENVIRONMENT = {**os.environ, "LC_ALL": "C", "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + HANDLED}
# The allocator of gcc 12's address sanitizer forgets in no child the locks that other threads had: it waits for ever.
FORKS = [] if b"__asan_init" not in open(STRATA, "rb").read() else ["-DFORKS=0"]
count = failed = 0


def report(name, problem=None, skip=None):
    global count, failed
    count += 1
    failed += problem is not None
    print(f"{'ok' if problem is None else 'not ok'} {count} - {name}" + (f" # SKIP {skip}" if skip else ""))
    for line in (problem or "").splitlines()[:60]:
        print("# " + line)
    sys.stdout.flush()


def run(command, directory, **env):
    """Status and output. A process that hangs is a failure, not the end."""
    os.makedirs(directory)
    try:
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                           env={**ENVIRONMENT, "DIR": directory, **env})
        return p.returncode, p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired as e:
        return "timeout", (e.stdout or b"").decode(errors="replace"), ""


def process(*words):
    return [STRATA, "run", "--level", "process", "--arch", "riscv64", *words]


def differs(got, want):
    if got[:2] == want[:2]:
        return None
    lines = [f"status {got[0]}, expected {want[0]}"]
    a, b = got[1].splitlines(), want[1].splitlines()
    lines += [f"got  {x!r}\nwant {y!r}" for x, y in zip(a + [""] * len(b), b + [""] * len(a)) if x != y]
    return "\n".join(lines + got[2].splitlines()[-5:])


def compile(source, out, *flags):
    subprocess.run([CC, "-O2", "-w", "-pthread", "-o", out, source, *flags, "-lm"], check=True)
    return out


def test_programs(tmp):
    for name in sorted(n[:-2] for n in os.listdir(HERE) if n.endswith(".c")):
        expected = os.path.join(HERE, name + ".expected")
        for kind, flags, options in (("static", ["-static"], []),
                                     ("fixed", ["-no-pie"], ["--root", LIBRARIES]),
                                     ("dynamic", [], ["--root", LIBRARIES])):
            where = os.path.join(tmp, kind)
            os.makedirs(where, exist_ok=True)
            program = compile(os.path.join(HERE, name + ".c"), os.path.join(where, name), *flags, *FORKS)
            got = run(process(*options, program), program + ".strata")
            if os.path.exists(expected):
                want = (0, open(expected).read())
            elif shutil.which("qemu-riscv64"):
                want = run(["qemu-riscv64", "-L", LIBRARIES, program], program + ".qemu")
            else:
                report(f"{name}, {kind}", skip="no qemu-riscv64")
                continue
            report(f"{name}, {kind}", differs(got, want))
    if FORKS:
        report("forks in threads", skip="gcc 12's address sanitizer does not survive them")


def test_command(tmp):
    """The command line: statuses, environment, what cannot run."""
    source = os.path.join(tmp, "say.c")
    with open(source, "w") as f:
        f.write('#include <stdio.h>\n#include <stdlib.h>\nint main(int c, char **v) {'
                ' printf("%s %s\\n", getenv("SAY"), c > 1 ? v[1] : "-"); return 7; }')
    say = compile(source, os.path.join(tmp, "say"), "-static")
    text = os.path.join(tmp, "text")
    with open(text, "w") as f:
        f.write("no program\n")
    os.chmod(text, 0o755)
    cases = [("environment and arguments", ["--env", "SAY=it", say, "now"], (7, "it now\n")),
             ("a program that is not there", ["/nonexistent"], (127, "")),
             ("a file that is no program", [text], (126, "")),
             ("a root that is not there", ["--root", "/nonexistent", say], (125, "")),
             ("options of a machine", ["--memory", "1G", say], (2, "")),
             ("found in PATH", ["--env", "SAY=x", "--env", f"PATH={tmp}", "say", "y"], (7, "x y\n")),
             ("another directory", ["--env", "SAY=x", "--workdir", tmp, "./say", "y"], (7, "x y\n"))]
    for n, (name, words, want) in enumerate(cases):
        report(name, differs(run(process(*words), f"{tmp}/command{n}"), want))
    odd = compile(os.path.join(HERE, "misc.c"), os.path.join(tmp, "odd"), "-static")
    got = run(process(odd), tmp + "/unknown")
    named = [line for line in got[2].splitlines() if "not known" in line]
    report("an unknown system call is named, once",
           None if len(named) == 2 and "400 of riscv64" in named[0] and "1000000" in named[1] else got[2])
    test_strace(tmp)


def test_strace(tmp):
    source = os.path.join(tmp, "traced.c")
    with open(source, "w") as f:
        f.write(r'''
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
static void on(int s) {}
int main(int argc, char **argv)
{
	int fds[2];
	char text[4];
	struct stat st;
	struct sockaddr_in in = {AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}};
	char *words[] = {"none", "a b", NULL};
	chdir(getenv("DIR"));
	pipe2(fds, O_CLOEXEC);
	write(fds[1], "a\n\"\001", 4);
	read(fds[0], text, 4);
	close(open("file", O_RDWR | O_CREAT | O_EXCL, 0600));
	stat("file", &st);
	open("none", O_RDONLY);
	mmap((void *)0x20000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	signal(SIGUSR1, on);
	raise(SIGUSR1);
	connect(99, (struct sockaddr *)&in, sizeof(in));
	syscall(407, 1);
	syscall(444444, 1);
	write(1, (void *)8, 4);
	execv("/nonexistent", words);
	if (!fork())
		_exit(3);
	wait(NULL);
	return 0;
}
''')
    got = run(process("--strace", compile(source, os.path.join(tmp, "traced"), "-static")), tmp + "/strace")
    want = [r'pipe2\(\[\d+, \d+\], O_CLOEXEC\) = 0', r'write\(\d+, "a\\n\\"\\1", 4\) = 4', r'read\(\d+, "a\\n\\"\\1", 4\) = 4',
            r'openat\(AT_FDCWD, "file", O_RDWR\|O_CREAT\|O_EXCL, 0600\) = \d+', r'"file", {mode=0100600, size=0, ...}, 0\) = 0',
            r'openat\(AT_FDCWD, "none", O_RDONLY, 0\) = -1 ENOENT \(No such file or directory\)',
            r'mmap\(0x20000000, 0x1000, PROT_READ\|PROT_WRITE, MAP_PRIVATE\|MAP_ANONYMOUS\|MAP_FIXED_NOREPLACE, -1, 0x0\) = 0x20000000',
            r'rt_sigaction\(SIGUSR1, {0x[0-9a-f]+, \[.*\], SA_RESTART}, ', r'tgkill\(\d+, \d+, SIGUSR1\) = 0',
            r'--- SIGUSR1 {code -6, process \d+} ---', r'rt_sigreturn\(\)',
            r'connect\(99, {AF_INET, 127.0.0.1:9}, 16\) = -1 EBADF', r'syscall_444444\(0x1, .*\) = -1 ENOSYS',
            r'write\(1, 0x8, 4\) = -1 EFAULT', r'execve\("/nonexistent", \["none", "a b"\], \[', r'clone\(.*SIGCHLD',
            r'exit_group\(3\)', r'wait4\(-1, NULL, 0x0, NULL\) = \d+', r'exit_group\(0\)']
    lines = [re.sub(r"^\[\d+\] ", "", line) for line in got[2].splitlines()]
    missing = [w for w in want if not any(re.match(w, line) or re.search(w, line) for line in lines)]
    report("--strace", "\n".join(["missing: " + w for w in missing] + lines) if missing else None)


def test_dump(tmp):
    """What the compiler makes, by stage."""
    source = os.path.join(tmp, "loop.c")
    with open(source, "w") as f:
        f.write("int main(void) { volatile int n = 0; for (int i = 0; i < 1000; i++) n += i; return n != 499500; }")
    program, out = compile(source, os.path.join(tmp, "loop"), "-static"), os.path.join(tmp, "dump.txt")
    if os.environ.get("STRATA_JIT") == "off":
        report("dump of compiled code", skip="STRATA_JIT=off")
        return
    stages = {"lift": "# as lifted", "copy": "# after copy", "fold": "# after fold", "dead": "# after dead",
              "host": "# host code"}
    for wanted in (None, "lift", "dead,host"):
        env = {"STRATA_DUMP": out, **({"STRATA_DUMP_STAGES": wanted} if wanted else {})}
        status, _, err = run(process(program), os.path.join(tmp, f"dump-{wanted}"), **env)
        with open(out) as f:
            text = f.read()
        got = {name for name, line in stages.items() if line in text}
        want = set(wanted.split(",")) if wanted else set(stages)
        report(f"dump of compiled code, {wanted or 'all stages'}",
               None if status == 0 and got == want and "# region at 0x" in text else f"status {status}, {got}\n{err}")


def test_stats(tmp):
    program = os.path.join(tmp, "loop")  # of test_dump()
    status, _, err = run(process("--stats=json", program), os.path.join(tmp, "stats"))
    try:
        stats = json.loads(err)
        good = status == 0 and stats["insns"] > 4000 and stats["blocks_lifted"] > 10
        # A loop of 1,000 rounds is entered a few times, not 1,000: once compiled, or linked, it stays inside.
        good = good and stats["exits_lookup"] < stats["insns"] / 4
    except (ValueError, KeyError):
        good = False
    report("--stats=json", None if good else f"status {status}\n{err}")
    status, _, err = run(process("--stats", program), os.path.join(tmp, "stats-table"))
    good = status == 0 and re.search(r"^ +insns +[0-9]+$", err, re.M)
    report("--stats", None if good else f"status {status}\n{err}")


def test_damaged(tmp):
    """ELF files with a bad word: they end with a status or by a fault of the program's, not of ours."""
    with open(os.path.join(tmp, "say"), "rb") as f:
        good = f.read()
    headers, count = struct.unpack_from("<Q", good, 32)[0], struct.unpack_from("<H", good, 56)[0]
    fields = [("<H", 16), ("<Q", 24), ("<Q", 32), ("<H", 54), ("<H", 56)]
    for n in range(count):
        fields += [(kind, headers + 56 * n + at) for kind, at in
                   (("<I", 0), ("<I", 4), ("<Q", 8), ("<Q", 16), ("<Q", 32), ("<Q", 40), ("<Q", 48))]
    bad, path, runs = [], os.path.join(tmp, "damaged"), 0
    for kind, at in fields:
        for value in (0, 1, 0xfff, 0x8001, 1 << 31, 1 << 38, (1 << 47) + 5, 1 << 63, (1 << 64) - 0x1000):
            value &= (1 << 8 * struct.calcsize(kind)) - 1
            data = bytearray(good)
            struct.pack_into(kind, data, at, value)
            with open(path, "wb") as f:
                f.write(data)
            os.chmod(path, 0o755)
            p = subprocess.run(process("--strace", path), capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
                               env={**ENVIRONMENT, "SAY": "x"})
            runs += 1
            faulted = p.returncode < 0 and b"--- SIG" in p.stderr
            said = p.returncode in (125, 126) and b"strata: " in p.stderr
            if b"Sanitizer" in p.stderr or not (faulted or said or p.returncode in (7, 127)):
                bad.append(f"{kind} at {at} = {value:#x}: status {p.returncode} {p.stderr[-300:]}")
    report(f"damaged programs: {runs}", "\n".join(bad) or None)


def test_root(tmp):
    """--root: what is found where."""
    source = os.path.join(tmp, "cat.c")
    with open(source, "w") as f:
        f.write(r'''
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
static void show(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		printf("%s: %s\n", path, strerror(errno));
	else {
		ssize_t n = read(fd, text, sizeof(text) - 1);
		printf("%s: %.*s", path, (int)(n > 0 ? n : 0), text);
	}
	close(fd);
}
static void kind(const char *path, int flags)
{
	struct stat st;
	if (fstatat(AT_FDCWD, path, &st, flags))
		printf("%s: %s\n", path, strerror(errno));
	else
		printf("%s: type %o\n", path, st.st_mode & S_IFMT);
}
/* What the kernel refuses is refused. */
static void strict(const char *path)
{
	struct { struct open_how how; unsigned long more; } a = {{.flags = O_RDONLY, .mode = 0600}, 0};
	printf("mode %ld", syscall(SYS_openat2, AT_FDCWD, path, &a.how, sizeof(a.how)));
	a.how.mode = 0;
	printf(", longer %d", syscall(SYS_openat2, AT_FDCWD, path, &a, sizeof(a)) > 0);
	a.more = 1;
	printf(", not zero %ld, %d\n", syscall(SYS_openat2, AT_FDCWD, path, &a, sizeof(a)), errno == E2BIG);
}
/* The same name is another file now, or the same file by another way. */
static void size(const char *path, const char *text)
{
	struct stat st = {0};
	if (text) {
		int fd = open(path, O_CREAT | O_WRONLY, 0600);
		write(fd, text, strlen(text));
		close(fd);
	}
	for (int n = 0; n < 2; n++)
		printf("%s: %d, size %d\n", path, stat(path, &st), (int)st.st_size);
}
static void again(void)
{
	mkdir("/swap", 0700);
	size("/swap/file", "five\n");
	rename("/swap", "/moved");
	size("/swap/file", NULL);
	symlink("/moved", "/swap");
	size("/swap/file", NULL);
	unlink("/swap");
	mkdir("/swap", 0700);
	size("/swap/file", "seven.\n");
	rename("/swap", "/aside");
	symlink(getenv("BOTH"), "/swap"); /* is on the host and in the root */
	size("/swap/file", NULL);
	/* In both it is one file, until the root has another. */
	size("/linked/same", NULL);
	char same[4096];
	snprintf(same, sizeof(same), "%s/same", getenv("BOTH"));
	rename("/other", same);
	size("/linked/same", NULL);
}
/* A socket's name is what it was called. */
static void named(const char *path)
{
	struct sockaddr_un un = {AF_UNIX}, got;
	socklen_t n = sizeof(got), few = 5;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), other = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(un.sun_path, path);
	printf("bind %d", bind(fd, (void *)&un, sizeof(un)) || listen(fd, 1));
	printf(", name %d %s %d", getsockname(fd, (void *)&got, &n), got.sun_path, (int)n);
	memset(&got, 0, sizeof(got));
	printf(", short %d %s %d", getsockname(fd, (void *)&got, &few), got.sun_path, (int)few);
	n = sizeof(got);
	printf(", connect %d", connect(other, (void *)&un, sizeof(un)));
	printf(", peer %d %s %d\n", getpeername(other, (void *)&got, &n), got.sun_path, (int)n);
	n = sizeof(got);
	printf("no name %d, %d\n", getsockname(other, (void *)&got, &n), (int)n);
}
int main(int argc, char **argv)
{
	char cwd[4096], link[4096] = "";
	again();
	named("/in/root/socket");
	kind("/tohost", 0);
	kind("/tohost", AT_SYMLINK_NOFOLLOW);
	kind("/todev", 0);
	kind("/in/root/dir/", 0);
	kind("/in/root/file/", 0);
	kind("/absolute", 0);
	kind("/absolute", AT_SYMLINK_NOFOLLOW);
	kind("/loop", 0);
	strict("/in/root/file");
	for (int n = 1; n < argc; n++)
		show(argv[n]);
	printf("chdir %d, %s\n", chdir("/in/root/dir"), getcwd(cwd, sizeof(cwd)));
	show("../file");
	kind("../file", 0);
	kind("up", 0);
	kind("up", AT_SYMLINK_NOFOLLOW);
	kind("none", 0);
	show("../../../absolute");
	show("up");
	int fd = open("made", O_CREAT | O_EXCL | O_WRONLY, 0600);
	write(fd, "made\n", 5);
	snprintf(cwd, sizeof(cwd), "/proc/self/fd/%d", fd);
	readlink(cwd, link, sizeof(link) - 1);
	printf("%s\n", link);
	show("/in/root/dir/made");
	printf("mkdir %d, rename %d\n", mkdir("/in/root/new", 0700), rename("/in/root/dir/made", "/in/root/new/made"));
	show("/in/root/new/made");
	fd = open("/in/root", O_DIRECTORY);
	for (int n = 3; n < 2000; n++)
		if (n != fd)
			close(n);
	close_range(fd + 1, ~0U, 0);
	show("/in/root/file");
	printf("openat %d\n", openat(fd, "../absolute", O_RDONLY) >= 0);
	return 0;
}
''')
    program = compile(source, os.path.join(tmp, "cat"), "-static")
    root, host = os.path.join(tmp, "root"), os.path.join(tmp, "onhost")
    os.makedirs(root + "/in/root/dir")
    os.makedirs(root + "/outside")
    for path, text in ((root + "/in/root/file", "in the root\n"), (host, "on the host\n"),
                       (root + "/top", "top\n")):
        with open(path, "w") as f:
            f.write(text)
    os.symlink("/in/root/file", root + "/absolute")
    os.symlink("../../../../../../../top", root + "/in/root/dir/up")
    os.symlink("/in/root", root + "/through")
    os.symlink(host, root + "/tohost")
    os.symlink("/dev/null", root + "/todev")
    os.symlink("loop", root + "/loop")
    both = os.path.join(tmp, "both")
    for where, text in ((both, "host\n"), (root + both, "the root\n")):
        os.makedirs(where)
        with open(where + "/file", "w") as f:
            f.write(text)
    with open(both + "/same", "w") as f:
        f.write("same\n")
    os.link(both + "/same", root + both + "/same")
    os.symlink(both, root + "/linked")
    with open(root + "/other", "w") as f:
        f.write("other\n")
    got = run(process("--root", root, program, "/absolute", "/through/file", host, "/through/none", "/proc/self/comm",
                      "/tohost"), tmp + "/rootrun", BOTH=both)
    want = (0, f"""/swap/file: 0, size 5
/swap/file: 0, size 5
/swap/file: -1, size 0
/swap/file: -1, size 0
/swap/file: 0, size 5
/swap/file: 0, size 5
/swap/file: 0, size 7
/swap/file: 0, size 7
/swap/file: 0, size 9
/swap/file: 0, size 9
/linked/same: 0, size 5
/linked/same: 0, size 5
/linked/same: 0, size 6
/linked/same: 0, size 6
bind 0, name 0 /in/root/socket 18, short 0 /in 18, connect 0, peer 0 /in/root/socket 18
no name 0, 2
/tohost: type 100000
/tohost: type 120000
/todev: type 20000
/in/root/dir/: type 40000
/in/root/file/: Not a directory
/absolute: type 100000
/absolute: type 120000
/loop: Too many levels of symbolic links
mode -1, longer 1, not zero -1, 1
/absolute: in the root
/through/file: in the root
{host}: on the host
/through/none: No such file or directory
/proc/self/comm: cat
/tohost: on the host
chdir 0, /in/root/dir
../file: in the root
../file: type 100000
up: type 100000
up: type 120000
none: No such file or directory
../../../absolute: in the root
up: top
/in/root/dir/made
/in/root/dir/made: made
mkdir 0, rename 0
/in/root/new/made: made
/in/root/file: in the root
openat 0
""")
    report("--root", differs(got, want))
    report("--root: made in the root",
           None if os.path.exists(root + "/in/root/new/made") else "not there")


def test_full_cache(tmp):
    """Hot code that other code jumps to, and more cold code than the cache holds: what is linked stays."""
    count = 6000
    cold = "".join(f"c{n}: xori t0, a0, {n % 2000}\nadd t1, t0, a0\n" + "mul t0, t1, t0\nxor t1, t1, t0\n" * 16 +
                   "sub t2, t1, t0\nbeqz zero, 1f\n1: ret\n" for n in range(count))
    calls = "".join(f"call c{n}\n" for n in range(count))
    table = "".join(f".dword c{n}\n" for n in range(count))
    source = os.path.join(tmp, "full.S")
    with open(source, "w") as f:
        # The last instruction of `hot` lies in two pages.
        f.write(f"""
.option norelax
.globl cold, warm, hot, tail, other, back, table
{cold}
cold: addi sp, sp, -16
sd ra, 0(sp)
{calls}
ld ra, 0(sp)
addi sp, sp, 16
warm: ret
.option norvc
.p2align 12
.space 4096 - 14
hot: addi a0, a0, 1
addi a0, a0, 1
addi a0, a0, 1
addi a0, a0, 1
tail: addi a0, a0, 1
ret
.p2align 12
other: addi a0, a0, 100
addi a0, a0, 100
addi a0, a0, 100
ret
.p2align 12
.space 4096 - 14
.option norvc
back: li t0, 20
1: addi a0, a0, 1
addi t0, t0, -1
bnez t0, 1b
ret
.data
table: {table}
""")
    with open(os.path.join(tmp, "full.c"), "w") as f:
        f.write("""
#include <stdio.h>
long warm(long), hot(long), tail(long), other(long), back(long);
void cold(long);
extern long (*table[])(long);
__attribute__((noinline)) static long loop(long (*f)(long))
{
	long s = 0;
	for (int n = 0; n < 1000; n++)
		s = f(s);
	return s;
}
int main(int argc, char **argv)
{
	if (argc > 1) {
		/* What is interpreted goes, then what is compiled, several times. */
		long s = 0;
		for (int n = 0; n < COUNT * 20; n++) {
			table[n / 20](n);
			s = back(s);
		}
		printf("%ld\\n", s);
		return 0;
	}
	loop(warm);
	loop(tail);
	printf("%ld\\n", loop(hot));
	for (int n = 0; n < 20; n++)
		cold(n);
	printf("%ld\\n", loop(other));
	printf("%ld\\n", loop(hot));
}
""".replace("COUNT", str(count)).replace("\\\\n", "\\n"))
    program = compile(os.path.join(tmp, "full.c"), os.path.join(tmp, "full"), "-static", source)
    for jit in ("64,1024,256", "2,1024,256"):
        got = run(process(program), f"{tmp}/full-{jit}", STRATA_JIT=jit, MALLOC_PERTURB_="0")
        report(f"more code than the cache holds, {jit}", differs(got, (0, "5000\n300000\n5000\n")))
    # What is freed must not look like what it was.
    got = run(process(program, "back"), f"{tmp}/back", STRATA_JIT="8,1024,256", MALLOC_PERTURB_="165")
    report("a loop's last instruction in two pages", differs(got, (0, f"{count * 400}\n")))


def main():
    if not shutil.which(CC):
        print("1..0 # SKIP no " + CC)
        return 0
    with tempfile.TemporaryDirectory(prefix="strata-user-") as tmp:
        test_programs(tmp)
        test_command(tmp)
        test_dump(tmp)
        test_stats(tmp)
        test_damaged(tmp)
        test_root(tmp)
        test_full_cache(tmp)
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
