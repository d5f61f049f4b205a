// SPDX-License-Identifier: Apache-2.0
#include "device/rtc_goldfish.h"

#include <pthread.h>
#include <time.h>

enum {
	TIME_LOW = 0x00, /* reading it latches the high word */
	TIME_HIGH = 0x04,
	ALARM_LOW = 0x08, /* writing it arms the alarm */
	ALARM_HIGH = 0x0c,
	IRQ_ENABLED = 0x10,
	CLEAR_ALARM = 0x14,
	ALARM_STATUS = 0x18,
	CLEAR_INTERRUPT = 0x1c,
};

struct rtc_goldfish {
	struct bus *bus;
	gpa_t base;
	struct irq_line irq;
	struct loop_timer *timer;
	pthread_mutex_t lock;  /* guards all below */
	uint64_t offset_ns;    /* guest time - host time, modulo 2^64 */
	uint32_t latched_high; /* for reads */
	uint32_t time_high;    /* written, waits for the low word */
	uint32_t alarm_high;
	uint64_t alarm_ns;
	bool alarm_armed, irq_enabled, irq_pending;
};

static uint64_t host_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void update(struct rtc_goldfish *r)
{
	irq_line_set(&r->irq, r->irq_pending && r->irq_enabled);
}

/* Fires the alarm when its time has come, else sets the timer. */
static void schedule(struct rtc_goldfish *r)
{
	if (!r->alarm_armed) {
		loop_timer_disarm(r->timer);
		return;
	}
	uint64_t now = host_ns() + r->offset_ns;
	if (r->alarm_ns <= now) {
		r->alarm_armed = false;
		r->irq_pending = true;
		update(r);
		loop_timer_disarm(r->timer);
		return;
	}
	/* At most a day at a time: the sum cannot overflow, and the host's clock may be set. */
	uint64_t wait_ns = MIN(r->alarm_ns - now, 86400 * NS_PER_SEC);
	loop_timer_arm(r->timer, clock_monotonic_ns() + wait_ns);
}

static void on_timer(void *opaque)
{
	struct rtc_goldfish *r = opaque;
	pthread_mutex_lock(&r->lock);
	schedule(r);
	pthread_mutex_unlock(&r->lock);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned bytes)
{
	struct rtc_goldfish *r = opaque;
	uint32_t v = 0;
	pthread_mutex_lock(&r->lock);
	switch (offset) {
	case TIME_LOW: {
		uint64_t now = host_ns() + r->offset_ns;
		r->latched_high = (uint32_t)(now >> 32);
		v = (uint32_t)now;
		break;
	}
	case TIME_HIGH:
		v = r->latched_high;
		break;
	case ALARM_LOW:
		v = (uint32_t)r->alarm_ns;
		break;
	case ALARM_HIGH:
		v = (uint32_t)(r->alarm_ns >> 32);
		break;
	case IRQ_ENABLED:
		v = r->irq_enabled;
		break;
	case ALARM_STATUS:
		v = r->alarm_armed;
		break;
	}
	pthread_mutex_unlock(&r->lock);
	return v;
}

static void rtc_write(void *opaque, uint64_t offset, unsigned bytes, uint64_t value)
{
	struct rtc_goldfish *r = opaque;
	pthread_mutex_lock(&r->lock);
	switch (offset) {
	case TIME_LOW:
		r->offset_ns = ((uint64_t)r->time_high << 32 | value) - host_ns();
		schedule(r);
		break;
	case TIME_HIGH:
		r->time_high = (uint32_t)value;
		break;
	case ALARM_LOW:
		r->alarm_ns = (uint64_t)r->alarm_high << 32 | value;
		r->alarm_armed = true;
		schedule(r);
		break;
	case ALARM_HIGH:
		r->alarm_high = (uint32_t)value;
		break;
	case IRQ_ENABLED:
		r->irq_enabled = value & 1;
		update(r);
		break;
	case CLEAR_ALARM:
		r->alarm_armed = false;
		schedule(r);
		break;
	case CLEAR_INTERRUPT:
		r->irq_pending = false;
		update(r);
		break;
	}
	pthread_mutex_unlock(&r->lock);
}

static const struct bus_ops rtc_ops = {rtc_read, rtc_write, 4, 4};

int rtc_goldfish_new(struct rtc_goldfish **out, struct bus *bus, gpa_t base, struct irq_line irq,
	struct loop *loop, struct error *err)
{
	struct rtc_goldfish *r = xcalloc(1, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	r->base = base;
	r->irq = irq;
	int rc = loop_timer_new(loop, on_timer, r, &r->timer, err);
	if (rc == 0) {
		rc = bus_add(bus, base, RTC_GOLDFISH_BYTES, &rtc_ops, r, "rtc", err);
		if (rc == 0)
			r->bus = bus;
	}
	if (rc < 0) {
		rtc_goldfish_free(r);
		return rc;
	}
	*out = r;
	return 0;
}

void rtc_goldfish_free(struct rtc_goldfish *r)
{
	if (!r)
		return;
	if (r->bus)
		bus_remove(r->bus, r->base);
	loop_timer_free(r->timer);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void rtc_goldfish_state(struct rtc_goldfish *r, struct state *s)
{
	pthread_mutex_lock(&r->lock);
	if (state_begin(s, "rtc", 1)) {
		state_u64(s, "offset_ns", &r->offset_ns);
		state_u32(s, "latched_high", &r->latched_high);
		state_u32(s, "time_high", &r->time_high);
		state_u32(s, "alarm_high", &r->alarm_high);
		state_u64(s, "alarm_ns", &r->alarm_ns);
		state_bool(s, "alarm_armed", &r->alarm_armed);
		state_bool(s, "irq_enabled", &r->irq_enabled);
		state_bool(s, "irq_pending", &r->irq_pending);
	}
	state_end(s);
	if (!state_saving(s)) {
		schedule(r);
		update(r);
	}
	pthread_mutex_unlock(&r->lock);
}
