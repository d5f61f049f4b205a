#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Names the C files that .clang-format would change. `make format` mends them; what is aligned by
# hand stands between `// clang-format off` and `// clang-format on`.
set -euo pipefail
cd "$(dirname "$0")/.."
files=$(git ls-files '*.c' '*.h' 2>/dev/null || true)
# Not a checkout: a released tree was checked before.
[ -n "$files" ] || exit 0
bad=$(xargs -P "$(nproc)" -I{} sh -c \
	'clang-format-14 --dry-run -Werror "$1" >/dev/null 2>&1 || echo "$1"' sh {} <<<"$files")
[ -z "$bad" ] || {
	printf 'not formatted (make format):\n%s\n' "$bad"
	exit 1
}
