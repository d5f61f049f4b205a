// SPDX-License-Identifier: Apache-2.0
// Load-reserved and store-conditional are not deceived by a value that is back again.
#include "guest_run.h"

static void two_harts(void)
{
	run_guest(guest_file("GUEST_RESERVED"), 2, 13);
}
static void four_harts(void)
{
	run_guest(guest_file("GUEST_RESERVED"), 4, 15);
}

int main(void)
{
	RUN(two_harts);
	RUN(four_harts);
	return tap_done();
}
