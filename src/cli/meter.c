// SPDX-License-Identifier: Apache-2.0
#include "cli/meter.h"

#include <unistd.h>

#include "cli/units.h"
#include "os/term.h"

enum { REDRAW_NS = 100 * 1000 * 1000, BAR_CELLS = 24 };

static void clear(struct meter *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}

/* One terminal line, cut to its width: a wrapped one could not be overwritten. */
static void draw(struct meter *p, const char *line)
{
	uint32_t rows, cols = 80;
	if (!term_size(STDERR_FILENO, &rows, &cols))
		cols = 80;
	fprintf(stderr, "\r\033[K%.*s", (int)cols - 1, line);
	fflush(stderr);
	p->shown = true;
	p->drawn_ns = clock_monotonic_ns();
}

void meter_stage(struct meter *p, const char *what)
{
	clear(p);
	free(p->stage);
	p->stage = xstrdup(what);
	p->begun_ns = clock_monotonic_ns();
	p->drawn_ns = 0;
	if (p->tty)
		draw(p, what);
	else
		fprintf(stderr, "%s\n", what);
}

void meter_tick(struct meter *p)
{
	uint64_t now = clock_monotonic_ns();
	if (!p->tty || !p->stage || now - p->drawn_ns < REDRAW_NS)
		return;
	char elapsed[32];
	format_duration((now - p->begun_ns) / NS_PER_SEC, elapsed);
	char *line _free_ = xasprintf("%s  %s", p->stage, elapsed);
	draw(p, line);
}

static void fill_bar(char bar[BAR_CELLS + 1], uint64_t done, uint64_t total)
{
	int full = (int)(done * BAR_CELLS / total);
	for (int i = 0; i < BAR_CELLS; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR_CELLS] = 0;
}

void meter_items(struct meter *p, uint64_t done, uint64_t total, const char *what)
{
	if (!done || done > total || !p->stage)
		return;
	char bar[BAR_CELLS + 1];
	fill_bar(bar, done, total);
	char *line _free_ =
		p->tty ? xasprintf("%s  [%s] %llu of %llu %s", p->stage, bar,
				 (unsigned long long)done, (unsigned long long)total, what)
		       : xasprintf("%llu of %llu %s", (unsigned long long)done,
				 (unsigned long long)total, what);
	if (p->tty)
		draw(p, line);
	else if (done == total || done * 10 / total != (done - 1) * 10 / total)
		fprintf(stderr, "%s\n", line);
}

void meter_bytes(struct meter *p, uint64_t done, uint64_t total)
{
	uint64_t now = clock_monotonic_ns();
	if (!p->tty || !p->stage || (now - p->drawn_ns < REDRAW_NS && done != total))
		return;
	char have[24], all[24], rate_text[24], left[32];
	double seconds = (double)(now - p->begun_ns) / (double)NS_PER_SEC;
	uint64_t rate = seconds > 0.2 ? (uint64_t)((double)done / seconds) : 0;
	format_size(done, have);
	format_size(rate, rate_text);
	if (!total || done > total) {
		char *line _free_ = xasprintf("%s  %s  %s/s", p->stage, have, rate_text);
		draw(p, line);
		return;
	}
	format_size(total, all);
	format_duration(rate ? (total - done) / rate : 0, left);
	char bar[BAR_CELLS + 1];
	fill_bar(bar, done, total);
	char *line _free_ = xasprintf("%s  [%s] %3d%%  %s of %s  %s/s%s%s", p->stage, bar,
		(int)(done * 100 / total), have, all, rate_text, rate ? "  " : "",
		rate ? left : "");
	draw(p, line);
}

static void on_stage(void *opaque, const char *what)
{
	meter_stage(opaque, what);
}

static void on_bytes(void *opaque, uint64_t done, uint64_t total)
{
	meter_bytes(opaque, done, total);
}

void meter_init(struct meter *p, const struct cli *cli)
{
	*p = (struct meter){.tty = cli->stderr_tty, .callbacks = {on_stage, on_bytes, p}};
}

void meter_done(struct meter *p)
{
	clear(p);
	free(p->stage);
	p->stage = NULL;
}
