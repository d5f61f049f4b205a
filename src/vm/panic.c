// SPDX-License-Identifier: Apache-2.0
#include "vm/panic.h"

/* Linux, kernel/panic.c. Both stand at a line's start, but for a time stamp and caller's id. */
static const char begins[] = "Kernel panic - not syncing: ";
static const char ends[] = "---[ end Kernel panic - not syncing: ";

/* Behind "[    1.234567] " and "[    T1] ", which the console may put before each line. */
static const char *skip_stamps(const char *s)
{
	while (*s == '[') {
		const char *close = strchr(s, ']');
		if (!close || close[1] != ' ' ||
			strspn(s + 1, " .0123456789TC") < (size_t)(close - s - 1))
			break;
		s = close + 2;
	}
	return s;
}

static void line_done(struct panic_watch *w)
{
	w->line[w->len] = '\0';
	const char *s = skip_stamps(w->line);
	if (!strncmp(s, begins, sizeof(begins) - 1) && !w->text[0]) {
		s += sizeof(begins) - 1;
		size_t n = 0;
		for (; *s && n < sizeof(w->text) - 1; s++)
			w->text[n++] = *s >= ' ' && *s < 0x7f ? *s : '?';
		w->text[n] = '\0';
	} else if (!strncmp(s, ends, sizeof(ends) - 1) && w->text[0]) {
		w->ended = true;
	}
}

void panic_watch_feed(struct panic_watch *w, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = (char)bytes[i];
		if (c == '\n') {
			line_done(w);
			w->len = 0;
		} else if (c != '\r' && c != '\0' && w->len < sizeof(w->line) - 1) {
			w->line[w->len++] = c;
		}
	}
}
