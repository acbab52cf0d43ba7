#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DAY (86400 * CLOCK_SECOND)
/* 9999-12-31T23:59:59.999999Z */
#define WALL_LAST (INT64_C(253402300800) * CLOCK_SECOND - 1)

struct offsets {
	_Atomic int64_t wall, boot;
};
static struct offsets own, *offsets = &own;

#ifdef DRYDOCK_ENABLE_FAILPOINTS
#define TEST_PATIENCE (CLOCK_SECOND / 20) /* the clock may be moved at any time */

/* Before main(): no thread runs yet. */
static void __attribute__((constructor)) clock_map(void)
{
	const char *file = getenv("DRYDOCK_CLOCK");
	struct stat st;
	void *p = MAP_FAILED;
	int fd;

	if (!file || !*file)
		return;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !fstat(fd, &st) && st.st_size >= (off_t)sizeof(*offsets))
		p = mmap(NULL, sizeof(*offsets), PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		fprintf(stderr, "DRYDOCK_CLOCK: %s is not a file of tests/lib/clock.py\n", file);
		abort();
	}
	(void)close(fd);
	offsets = p;
}
#endif

static int64_t now(clockid_t id)
{
	struct timespec ts;

	/* Cannot fail: both clocks exist on every kernel that has openat2. */
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * CLOCK_SECOND + ts.tv_nsec / 1000;
}

int64_t clock_wall(void)
{
	return now(CLOCK_REALTIME) + atomic_load_explicit(&offsets->wall, memory_order_relaxed);
}

int64_t clock_boot(void)
{
	return now(CLOCK_BOOTTIME) + atomic_load_explicit(&offsets->boot, memory_order_relaxed);
}

void clock_test_offset(int64_t wall_us, int64_t boot_us)
{
	atomic_store(&offsets->wall, wall_us);
	atomic_store(&offsets->boot, boot_us);
}

void clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void clock_deadline(int64_t us, struct timespec *out)
{
#ifdef DRYDOCK_ENABLE_FAILPOINTS
	if (offsets != &own && us > TEST_PATIENCE)
		us = TEST_PATIENCE;
#endif
	(void)clock_gettime(CLOCK_MONOTONIC, out);
	out->tv_sec += us / CLOCK_SECOND;
	out->tv_nsec += us % CLOCK_SECOND * 1000;
	if (out->tv_nsec >= 1000000000) {
		out->tv_sec++;
		out->tv_nsec -= 1000000000;
	}
}

void clock_sleep(int64_t us)
{
	struct timespec left = { .tv_sec = us / CLOCK_SECOND, .tv_nsec = (us % CLOCK_SECOND) * 1000 };

	if (us <= 0)
		return;
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

static bool is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int month_days(int year, int month)
{
	static const char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 1970-01-01 to the first of January of that year (1970 or later). */
static int64_t days_before_year(int year)
{
	int64_t y = year - 1;

	return y * 365 + y / 4 - y / 100 + y / 400 - 719162;
}

void clock_text(int64_t wall, char out[CLOCK_TEXT_SIZE])
{
	if (wall < 0)
		wall = 0;
	if (wall > WALL_LAST)
		wall = WALL_LAST;
	int64_t days = wall / DAY, rest = wall % DAY;
	int year = (int)(1970 + days / 366), month = 1;
	while (days_before_year(year + 1) <= days)
		year++;
	days -= days_before_year(year);
	while (days >= month_days(year, month))
		days -= month_days(year, month++);
	int64_t seconds = rest / CLOCK_SECOND;
	snprintf(out, CLOCK_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", (unsigned)year % 10000, (unsigned)month % 100,
	    (unsigned)(days + 1) % 100, (unsigned)(seconds / 3600) % 100, (unsigned)(seconds / 60 % 60),
	    (unsigned)(seconds % 60), (unsigned)(rest % CLOCK_SECOND));
}

/* Exactly n digits. */
static bool digits(const char **s, int n, int *out)
{
	int v = 0;

	for (int i = 0; i < n; i++) {
		char c = (*s)[i];
		if (c < '0' || c > '9')
			return false;
		v = v * 10 + (c - '0');
	}
	*s += n;
	*out = v;
	return true;
}

static bool literal(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

static bool parse_date(const char **s, int64_t *wall)
{
	int year, month, day;

	if (!digits(s, 4, &year) || !literal(s, '-') || !digits(s, 2, &month) || !literal(s, '-') || !digits(s, 2, &day))
		return false;
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days(year, month))
		return false;
	int64_t days = days_before_year(year) + day - 1;
	for (int m = 1; m < month; m++)
		days += month_days(year, m);
	*wall = days * DAY;
	return true;
}

enum err clock_parse(int64_t *wall, const char *text)
{
	const char *s = text;
	int hour, minute, second, micro;
	int64_t t;

	if (!parse_date(&s, &t) || !literal(&s, 'T') || !digits(&s, 2, &hour) || !literal(&s, ':') ||
	    !digits(&s, 2, &minute) || !literal(&s, ':') || !digits(&s, 2, &second) || !literal(&s, '.') ||
	    !digits(&s, 6, &micro) || !literal(&s, 'Z') || *s || hour > 23 || minute > 59 || second > 59)
		return err_set(ERR_INPUT, "not a time of the form 2026-11-21T06:10:20.123456Z");
	*wall = t + (hour * INT64_C(3600) + minute * 60 + second) * CLOCK_SECOND + micro;
	return ERR_OK;
}

/* Any number of digits behind the point; what is finer than a microsecond is dropped. */
static bool parse_fraction(const char **s, int64_t *t)
{
	int64_t unit = CLOCK_SECOND / 10;
	const char *p = *s;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++, unit /= 10)
		*t += (*p - '0') * unit;
	*s = p;
	return true;
}

static bool parse_zone(const char **s, int64_t *t)
{
	int hour, minute;
	char sign = **s;

	if (sign == '\0' || literal(s, 'Z'))
		return true;
	if (sign != '+' && sign != '-')
		return false;
	(*s)++;
	if (!digits(s, 2, &hour) || !literal(s, ':') || !digits(s, 2, &minute) || hour > 23 || minute > 59)
		return false;
	int64_t offset = (hour * INT64_C(60) + minute) * 60 * CLOCK_SECOND;
	*t += sign == '+' ? -offset : offset;
	return true;
}

static bool parse_absolute(const char *s, int64_t *t)
{
	int hour, minute, second;

	if (!parse_date(&s, t))
		return false;
	if (*s == '\0')
		return true;
	if (!literal(&s, 'T') && !literal(&s, ' '))
		return false;
	if (!digits(&s, 2, &hour) || !literal(&s, ':') || !digits(&s, 2, &minute) || hour > 23 || minute > 59)
		return false;
	*t += (hour * INT64_C(60) + minute) * 60 * CLOCK_SECOND;
	if (literal(&s, ':')) {
		if (!digits(&s, 2, &second) || second > 59)
			return false;
		*t += second * CLOCK_SECOND;
		if (literal(&s, '.') && !parse_fraction(&s, t))
			return false;
	}
	return parse_zone(&s, t) && *s == '\0' && *t >= 0 && *t <= WALL_LAST;
}

/* "3h": that long before now. */
static bool parse_ago(const char *s, int64_t *t)
{
	int64_t n = 0, unit;

	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		n = n * 10 + (*s - '0');
		if (n > 1000000)
			return false;
	}
	switch (*s) {
	case 's':
		unit = 1;
		break;
	case 'm':
		unit = 60;
		break;
	case 'h':
		unit = 3600;
		break;
	case 'd':
		unit = 86400;
		break;
	case 'w':
		unit = 7 * 86400;
		break;
	default:
		return false;
	}
	if (s[1])
		return false;
	*t = clock_wall() - n * unit * CLOCK_SECOND;
	if (*t < 0)
		*t = 0;
	return true;
}

enum err clock_parse_loose(int64_t *wall, const char *text)
{
	int64_t t = 0;

	if (!parse_absolute(text, &t) && !parse_ago(text, &t))
		return err_set(ERR_INPUT, "not a time: write 2026-11-21, 2026-11-21T06:10, or 3h, 2d, 1w for so long ago");
	*wall = t;
	return ERR_OK;
}

void clock_relative(int64_t t, int64_t now_us, char out[32])
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = {
		{ 365 * 86400, "year" },
		{ 30 * 86400, "month" },
		{ 86400, "day" },
		{ 3600, "hour" },
		{ 60, "minute" },
	};
	/* Unsigned: the difference of any two times fits. */
	uint64_t away = t > now_us ? (uint64_t)t - (uint64_t)now_us : (uint64_t)now_us - (uint64_t)t;
	uint64_t seconds = away / (uint64_t)CLOCK_SECOND;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		unsigned n = (unsigned)(seconds / (uint64_t)units[i].seconds);
		if (n == 0)
			continue;
		snprintf(out, 32, "%s%u %s%s%s", t > now_us ? "in " : "", n, units[i].name, n == 1 ? "" : "s",
		    t > now_us ? "" : " ago");
		return;
	}
	snprintf(out, 32, "just now");
}
