#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_boot.sh BOOT GUEST_INIT STRATA: a Linux kernel (the file that STRATA_TEST_KERNEL names, or else
# that of the boot image in the store) boots from a shared directory, in the sandbox, with 1, 2 and 4 CPUs; guest_init.c says what worked there.
set -u
boot=$1 init=$2 strata=$3
kernel=${STRATA_TEST_KERNEL-}
if [ -z "$kernel" ]; then
	digest=$("$strata" image inspect --arch riscv64 debian-boot:trixie 2>/dev/null |
		sed -n '/boot\.kernel\./{n;s/.*sha256:\([0-9a-f]*\)".*/\1/p;}')
	home=${STRATA_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/strata}
	[ -z "$digest" ] || kernel=$home/images/blobs/sha256/$digest
fi
if [ -z "$kernel" ]; then
	echo "1..0 # SKIP STRATA_TEST_KERNEL names no kernel and the store has none"
	exit 0
fi
root=$(mktemp -d) || exit 1
trap 'rm -rf "$root"' EXIT
failed=0
n=0
say() { # status text
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; fi
}
for cpus in 1 2 4; do
	rm -rf "${root:?}"/*
	mkdir "$root/dev" && cp "$init" "$root/init"
	"$boot" -s -c "$cpus" -t 100 -S "$root" \
		-a "console=ttyS0 panic=-1 rootfstype=virtiofs root=root rw init=/init" \
		"$kernel" </dev/null >"$root/console" 2>"$root/errors"
	say $? "$cpus CPUs: boots and switches itself off"
	grep -q "guest says goodbye" "$root/console"
	say $? "$cpus CPUs: console output"
	grep -q "^# CPUs $cpus\$" "$root/report"
	say $? "$cpus CPUs: all are there"
	grep -q "^done" "$root/report" && ! grep "^not ok" "$root/report"
	say $? "$cpus CPUs: $(grep -c "^ok" "$root/report") findings in userland"
	sed 's/^/# /' "$root/errors"
done
# No root file system, and no "panic=": the kernel stops and says so.
"$boot" -s -t 100 -a "console=ttyS0" "$kernel" </dev/null >"$root/console" 2>"$root/errors"
[ $? = 1 ] && grep -q "kernel panicked: VFS: Unable to mount root fs" "$root/errors"
say $? "a panic is reported"
head -c 1000000 "$kernel" >"$root/cut"
"$boot" "$root/cut" </dev/null 2>&1 | grep -q "kernel: truncated Linux Image"
say $? "a truncated kernel is named"
echo "1..$n"
exit $failed
