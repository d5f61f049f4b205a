// SPDX-License-Identifier: Apache-2.0
// The SBI calls, as a guest sees them.
#include "guest_run.h"

static void sbi_calls_as_a_guest_sees_them(void)
{
	run_guest(guest_file("GUEST_SBI"), 4, 60);
}

int main(void)
{
	RUN(sbi_calls_as_a_guest_sees_them);
	return tap_done();
}
