// SPDX-License-Identifier: Apache-2.0
#include "tap.h"
#include "vm/panic.h"

static struct panic_watch feed(const char *text)
{
	struct panic_watch w = {0};
	/* Byte by byte, as a console writes. */
	for (const char *s = text; *s; s++)
		panic_watch_feed(&w, (const uint8_t *)s, 1);
	return w;
}

static void finds_the_reason(void)
{
	struct panic_watch w =
		feed("[    1.0] Run /init as init process\r\n"
		     "[    2.345678] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n"
		     "[    2.3] CPU: 0 UID: 0 PID: 1\r\n"
		     "[    2.4] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs "
		     "]---\r\n");
	CHECK_STR(w.text, "VFS: Unable to mount root fs");
	CHECK(w.ended);
}

static void other_forms_of_stamps(void)
{
	CHECK_STR(feed("Kernel panic - not syncing: bare\n").text, "bare");
	CHECK_STR(feed("[   12.5][    T1] Kernel panic - not syncing: caller\n").text, "");
	CHECK_STR(feed("[   12.5] [    T1] Kernel panic - not syncing: caller\n").text, "caller");
	CHECK(!feed("Kernel panic - not syncing: bare\n").ended);
}

static void text_about_panics_is_none(void)
{
	CHECK_STR(feed("grep: Kernel panic - not syncing: x\n").text, "");
	CHECK_STR(feed("[text] Kernel panic - not syncing: x\n").text, "");
	CHECK(!feed("---[ end Kernel panic - not syncing: x ]---\n").ended);
	CHECK_STR(feed("Kernel panic - not syncing: no end of line").text, "");
}

static void hostile_output_is_bounded(void)
{
	struct panic_watch w = {0};
	static const char head[] = "Kernel panic - not syncing: ";
	panic_watch_feed(&w, (const uint8_t *)head, sizeof(head) - 1);
	for (int i = 0; i < 100000; i++)
		panic_watch_feed(&w, (const uint8_t *)"\x1b", 1);
	panic_watch_feed(&w, (const uint8_t *)"\n", 1);
	CHECK(strlen(w.text) == sizeof(w.text) - 1);
	CHECK_EQ(w.text[0], '?');
}

int main(void)
{
	RUN(finds_the_reason);
	RUN(other_forms_of_stamps);
	RUN(text_about_panics_is_none);
	RUN(hostile_output_is_bounded);
	return tap_done();
}
