// SPDX-License-Identifier: Apache-2.0
// Harts that share memory, code and page tables while all of them run hot code; timers and
// interrupts that stop it.
#include "guest_run.h"

static void two_harts(void)
{
	run_guest(guest_file("GUEST_SMP"), 2, 15);
}
static void four_harts(void)
{
	run_guest(guest_file("GUEST_SMP"), 4, 15);
}

int main(void)
{
	RUN(two_harts);
	RUN(four_harts);
	return tap_done();
}
