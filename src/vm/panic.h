// SPDX-License-Identifier: Apache-2.0
// Finds a Linux kernel's last words in what the guest writes to its console: RISC-V machines have
// no other way of telling, and a kernel without "panic=" on its command line stops and says nothing
// more.
//
// A guest that prints such lines itself is believed: it only ends its own machine. What it prints
// is bounded here. Owned by whoever serialises panic_watch_feed().
#ifndef STRATA_VM_PANIC_H
#define STRATA_VM_PANIC_H

#include "base/base.h"

enum { PANIC_LINE_MAX = 256, PANIC_TEXT_MAX = 160 };

struct panic_watch {
	char line[PANIC_LINE_MAX]; /* the line so far */
	unsigned len;
	char text[PANIC_TEXT_MAX]; /* why it panicked, printable; "" when it has not */
	bool ended;		   /* the kernel has said that it stops here */
};

void panic_watch_feed(struct panic_watch *w, const uint8_t *bytes, size_t len);

#endif
