#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: deps.sh missing   names the packages of tools/deps.txt that are not installed, one a line
#        deps.sh install   installs them
set -euo pipefail
list=$(dirname "$0")/deps.txt

missing() {
	local name _
	while read -r name _; do
		case $name in '' | '#'*) continue ;; esac
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
	done <"$list"
}

if ! command -v dpkg-query >/dev/null; then
	echo "deps.sh: not a Debian system; install what $list names by hand" >&2
	[ "${1:-}" = missing ] && exit 0
	exit 1
fi
case ${1:-} in
missing)
	missing
	;;
install)
	mapfile -t packages < <(missing)
	[ ${#packages[@]} -gt 0 ] || exit 0
	as_root=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || {
			echo "deps.sh: run as root: apt-get install ${packages[*]}" >&2
			exit 1
		}
		as_root=(sudo)
	fi
	echo "installing: ${packages[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	# Stale package lists are the usual reason for a failure: refresh them only then.
	"${as_root[@]}" apt-get install -y -q --no-install-recommends "${packages[@]}" >&2 || {
		"${as_root[@]}" apt-get update -q >&2
		"${as_root[@]}" apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
	}
	;;
*)
	sed -n 's/^# \(Usage.*\|  *deps.*\)/\1/p' "$0" >&2
	exit 2
	;;
esac
