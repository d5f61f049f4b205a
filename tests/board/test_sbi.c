// SPDX-License-Identifier: Apache-2.0
// The SBI calls, as a guest sees them.
#include "guest_run.h"

static void sbi_calls_as_a_guest_sees_them(void)
{
	run_guest(getenv("GUEST_SBI"), 4, 60);
}

int main(void)
{
	if (!getenv("GUEST_SBI")) {
		printf("1..0 # SKIP no compiler for riscv64\n");
		return 0;
	}
	RUN(sbi_calls_as_a_guest_sees_them);
	return tap_done();
}
