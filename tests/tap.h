// SPDX-License-Identifier: Apache-2.0
// Test harness: a test program prints TAP, one line per named test, and exits 1 when one failed.
//
//     static void adds(void) { CHECK_EQ(1 + 1, 2); }
//     int main(void) { RUN(adds); return tap_done(); }
//
// CHECK* record a failure with file and line and go on; REQUIRE* leave the test function.
#ifndef STRATA_TESTS_TAP_H
#define STRATA_TESTS_TAP_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failed_tests, tap_failed;
static const char *tap_skip_reason;

#define TAP_UNUSED __attribute__((unused))

TAP_UNUSED static void tap_run(const char *name, void (*fn)(void))
{
	tap_failed = 0;
	tap_skip_reason = NULL;
	fn();
	tap_count++;
	if (tap_failed)
		tap_failed_tests++;
	printf("%s %d - %s", tap_failed ? "not ok" : "ok", tap_count, name);
	if (tap_skip_reason)
		printf(" # SKIP %s", tap_skip_reason);
	printf("\n");
	fflush(stdout);
}

TAP_UNUSED static int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed_tests ? 1 : 0;
}

#define RUN(fn) tap_run(#fn, fn)
#define SKIP(reason)                                                                               \
	do {                                                                                       \
		tap_skip_reason = (reason);                                                        \
		return;                                                                            \
	} while (0)

#define TAP_FAIL_(...)                                                                             \
	do {                                                                                       \
		printf("# %s:%d: ", __FILE__, __LINE__);                                           \
		printf(__VA_ARGS__);                                                               \
		printf("\n");                                                                      \
		tap_failed = 1;                                                                    \
	} while (0)

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			TAP_FAIL_("%s is false", #cond);                                           \
	} while (0)
#define CHECK_EQ(got, want)                                                                        \
	do {                                                                                       \
		__auto_type got_ = (got);                                                          \
		__typeof__(got_) want_ = (want);                                                   \
		if (got_ != want_)                                                                 \
			TAP_FAIL_("%s is %" PRIdMAX " (0x%" PRIxMAX "), expected %" PRIdMAX        \
				  " (0x%" PRIxMAX ")",                                             \
				#got, (intmax_t)got_, (uintmax_t)got_, (intmax_t)want_,            \
				(uintmax_t)want_);                                                 \
	} while (0)
#define CHECK_STR(got, want)                                                                       \
	do {                                                                                       \
		const char *got_ = (got), *want_ = (want);                                         \
		if (!got_ || strcmp(got_, want_))                                                  \
			TAP_FAIL_("%s is \"%s\", expected \"%s\"", #got, got_ ? got_ : "(null)",   \
				want_);                                                            \
	} while (0)
#define CHECK_CONTAINS(got, want)                                                                  \
	do {                                                                                       \
		const char *got_ = (got), *want_ = (want);                                         \
		if (!got_ || !strstr(got_, want_))                                                 \
			TAP_FAIL_("%s is \"%s\", expected it to contain \"%s\"", #got,             \
				got_ ? got_ : "(null)", want_);                                    \
	} while (0)
#define REQUIRE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			TAP_FAIL_("%s is false", #cond);                                           \
			return;                                                                    \
		}                                                                                  \
	} while (0)

#endif
