#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_fuzzer.sh PROGRAM FOUND-DIR SEED-DIR SECONDS
set -eu
mkdir -p "$2"
exec "$1" -max_total_time="$4" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -error_exitcode=1 \
	-artifact_prefix="$2/" "$2" "$3"
