#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh BUILD-DIR: boots Debian's own riscv64 kernel and userland on our machine, runs one command
# in it, and exits with that command's status.
set -uo pipefail
strata=$1/src/cli/strata
[ -x "$strata" ] || strata=$1/strata

read -r -d '' script <<'GUEST'
. /etc/os-release
printf 'Hello from %s on %s.\n' "$PRETTY_NAME" "$(uname -m)"
printf 'Kernel:  %s\n' "$(uname -sr)"
printf 'CPUs:    %s, %s\n' "$(nproc)" "$(sed -n 's/^isa[[:space:]]*: //p' /proc/cpuinfo | head -n 1)"
printf 'Memory:  %s MiB\n' "$(($(sed -n 's/^MemTotal:[^0-9]*\([0-9]*\).*/\1/p' /proc/meminfo) / 1024))"
printf 'Sum of 1..100000 in the guest: %s\n' "$(seq 100000 | awk '{ s += $1 } END { print s }')"
GUEST

echo "Booting Debian (riscv64) in a virtual machine on this $(uname -m) host; no KVM, no root." >&2
start=$SECONDS
"$strata" run --vm --arch riscv64 --rm debian -- sh -c "$script"
status=$?
echo "The command in the guest ended with status $status after $((SECONDS - start)) s, boot and download included." >&2
exit $status
