/* Durations and sizes with units. */
#include <string.h>

#include "base/clock.h"
#include "conf/conf.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit DURATIONS[] = {
	{ "w", UINT64_C(604800000000) },
	{ "d", UINT64_C(86400000000) },
	{ "h", UINT64_C(3600000000) },
	{ "min", UINT64_C(60000000) },
	{ "s", UINT64_C(1000000) },
	{ "ms", 1000 },
	{ "us", 1 },
	{ NULL, 0 },
};

static const struct unit SIZES[] = {
	{ "TiB", UINT64_C(1) << 40 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "GB", 1000000000 },
	{ "MB", 1000000 },
	{ "kB", 1000 },
	{ "B", 1 },
	{ NULL, 0 },
};

/* A sum of numbers with units: "1h 30min". limit is the largest result. */
static enum err parse_sum(uint64_t *out, const char *text, const struct unit *units, uint64_t limit, const char *example)
{
	uint64_t sum = 0;
	const char *p = text;

	if (!strcmp(text, "0")) {
		*out = 0;
		return ERR_OK;
	}
	do {
		uint64_t n = 0;
		size_t len = 0;
		const struct unit *u;

		if (*p < '0' || *p > '9')
			return err_set(ERR_INPUT, "\"%s\" is not a number with a unit, such as %s", text, example);
		for (; *p >= '0' && *p <= '9'; p++)
			if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
				return err_set(ERR_INPUT, "\"%s\" is too large", text);
		while (*p == ' ')
			p++;
		while ((p[len] >= 'a' && p[len] <= 'z') || (p[len] >= 'A' && p[len] <= 'Z'))
			len++;
		if (!len)
			return err_set(ERR_INPUT, "\"%s\" has no unit: write something like %s", text, example);
		for (u = units; u->name; u++)
			if (strlen(u->name) == len && !strncmp(u->name, p, len))
				break;
		if (!u->name)
			return err_set(ERR_INPUT, "\"%s\" has an unknown unit \"%.*s\": write something like %s", text, (int)len, p, example);
		if (__builtin_mul_overflow(n, u->factor, &n) || __builtin_add_overflow(sum, n, &sum) || sum > limit)
			return err_set(ERR_INPUT, "\"%s\" is too large", text);
		p += len;
		while (*p == ' ')
			p++;
	} while (*p);
	*out = sum;
	return ERR_OK;
}

enum err conf_duration(int64_t *us, const char *text)
{
	uint64_t v;
	enum err e = parse_sum(&v, text, DURATIONS, INT64_MAX / 4, "\"5min\", \"90s\" or \"1h 30min\"");

	if (!e)
		*us = (int64_t)v;
	return e;
}

enum err conf_size(uint64_t *bytes, const char *text)
{
	return parse_sum(bytes, text, SIZES, INT64_MAX, "\"2GiB\", \"500kB\" or \"100B\"");
}

/* In the largest unit that divides it. */
static void unit_text(uint64_t v, const struct unit *units, struct buf *out)
{
	const struct unit *u;

	if (!v) {
		buf_char(out, '0');
		return;
	}
	for (u = units; u[1].name && v % u->factor; u++)
		;
	buf_u64(out, v / u->factor);
	buf_str(out, u->name);
}

void conf_duration_text(int64_t us, struct buf *out)
{
	/* Weeks and days are left to people: "36h" would otherwise come back as something else than was written. */
	unit_text((uint64_t)us, DURATIONS + 1, out);
}

void conf_size_text(uint64_t bytes, struct buf *out)
{
	unit_text(bytes, SIZES, out);
}
