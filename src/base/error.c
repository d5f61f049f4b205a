// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static char *format(const char *fmt, va_list ap)
{
	char *s = NULL;
	return vasprintf(&s, fmt, ap) < 0 ? xstrdup("(no memory for the message)") : s;
}

void error_done(struct error *err)
{
	if (!err)
		return;
	free(err->message);
	free(err->remedy);
	*err = ERROR_INIT;
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	if (err) {
		error_done(err);
		va_list ap;
		va_start(ap, fmt);
		err->message = format(fmt, ap);
		va_end(ap);
		err->code = code;
	}
	return -code;
}

int error_errno(struct error *err, int code, const char *fmt, ...)
{
	if (err) {
		error_done(err);
		va_list ap;
		va_start(ap, fmt);
		char *what _free_ = format(fmt, ap);
		va_end(ap);
		err->message = xasprintf("%s: %s", what, strerror(code));
		err->code = code;
	}
	return -code;
}

int error_wrap(struct error *err, int code, const char *fmt, ...)
{
	if (!err || !err->code)
		return code;
	va_list ap;
	va_start(ap, fmt);
	char *what _free_ = format(fmt, ap);
	va_end(ap);
	char *inner _free_ = err->message;
	err->message = xasprintf("%s: %s", what, inner);
	return code;
}

void error_remedy(struct error *err, const char *fmt, ...)
{
	if (!err || !err->code || err->remedy)
		return;
	va_list ap;
	va_start(ap, fmt);
	err->remedy = format(fmt, ap);
	va_end(ap);
}
