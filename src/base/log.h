// SPDX-License-Identifier: Apache-2.0
// Diagnostics of long-running parts (a monitor, a device). A library has no stdout and no stderr:
// it calls log_*(), and the sink that main() installed decides. Thread-safe.
#ifndef STRATA_BASE_LOG_H
#define STRATA_BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

typedef void log_sink_fn(void *opaque, enum log_level level, const char *message);

/* Called once by main(), before threads. With no sink, messages are dropped. */
void log_set_sink(log_sink_fn *sink, void *opaque, enum log_level max_level);
bool log_enabled(enum log_level level);
void log_at(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_enabled(LOG_DEBUG))                                                        \
			log_at(LOG_DEBUG, __VA_ARGS__);                                            \
	} while (0)

#endif
