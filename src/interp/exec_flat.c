// SPDX-License-Identifier: Apache-2.0
// The handlers for CPUs with cpu_head.flat.
#define INTERP_FLAT 1
#include "interp/exec.c"
