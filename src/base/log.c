// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

/* The one process-wide variable of the libraries: set by main() before any thread exists. */
static struct {
	log_sink_fn *sink;
	void *opaque;
	enum log_level max_level;
} log_state;

void log_set_sink(log_sink_fn *sink, void *opaque, enum log_level max_level)
{
	log_state.sink = sink;
	log_state.opaque = opaque;
	log_state.max_level = max_level;
}

bool log_enabled(enum log_level level)
{
	return log_state.sink && level <= log_state.max_level;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	if (!log_enabled(level))
		return;
	char message[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	log_state.sink(log_state.opaque, level, message);
}
