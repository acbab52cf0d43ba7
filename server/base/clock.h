/*
 * clock: the only source of time. Wall time in microseconds since 1970 UTC; durations from CLOCK_BOOTTIME.
 * Tests set an offset; nothing else in the program calls time functions. A program built with --enable-failpoints that
 * finds DRYDOCK_CLOCK=FILE in its environment adds what that file says at each moment: two int64, microseconds, for the
 * wall clock and the boot clock.
 */
#ifndef DRYDOCK_BASE_CLOCK_H
#define DRYDOCK_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

#include "base/err.h"

#define CLOCK_SECOND INT64_C(1000000)
#define CLOCK_TEXT_SIZE 28 /* "2026-11-21T06:10:20.123456Z" and NUL */

int64_t clock_wall(void); /* microseconds since 1970, UTC */
int64_t clock_boot(void); /* microseconds since boot, suspend included; never jumps */
/* RFC 3339 in UTC with six digits; the form of records. Years 1970 to 9999. */
void clock_text(int64_t wall, char out[CLOCK_TEXT_SIZE]);
/* Accepts only the form that clock_text writes (a record decoder needs that). */
enum err clock_parse(int64_t *wall, const char *text) MUST_CHECK;
/* Accepts what people type: 2026-11-21, 2026-11-21T06:10[:20[.frac]][Z|+hh:mm], and 3h, 2d, 1w ("ago"). */
enum err clock_parse_loose(int64_t *wall, const char *text) MUST_CHECK;
/* "3 minutes ago", "in 2 hours", "just now"; now and t in microseconds. out of 32 bytes. */
void clock_relative(int64_t t, int64_t now, char out[32]);
void clock_test_offset(int64_t wall_us, int64_t boot_us); /* tests only: added to both clocks */
void clock_sleep(int64_t us);
/*
 * For pthread_cond_timedwait with a condition of clock_cond_init: so long from now. Who waits for a time of clock_boot or
 * clock_wall looks at that again afterwards: it may be early, and a machine that slept makes it late.
 */
void clock_deadline(int64_t us, struct timespec *out);
/* Its waits with a deadline go by CLOCK_MONOTONIC: a wall clock that is set changes none of them. */
void clock_cond_init(pthread_cond_t *cond);

#endif
