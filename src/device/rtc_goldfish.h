// SPDX-License-Identifier: Apache-2.0
// The "google,goldfish-rtc" real-time clock: nanoseconds since 1970 UTC in two words, one alarm.
// Registers are for any vCPU thread; new and free for the loop's thread.
#ifndef STRATA_DEVICE_RTC_GOLDFISH_H
#define STRATA_DEVICE_RTC_GOLDFISH_H

#include "device/bus.h"
#include "os/loop.h"
#include "wire/state.h"

struct rtc_goldfish;

enum { RTC_GOLDFISH_BYTES = 0x1000 };

int rtc_goldfish_new(struct rtc_goldfish **out, struct bus *bus, gpa_t base, struct irq_line irq,
	struct loop *loop, struct error *err);
void rtc_goldfish_free(struct rtc_goldfish *r);
/* Saves the guest's clock as its distance from the host's: a restored machine sees time go on. */
void rtc_goldfish_state(struct rtc_goldfish *r, struct state *s);

#endif
