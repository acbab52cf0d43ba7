#include "view/show.h"

#include <inttypes.h>

#include "base/clock.h"
#include "view/model.h"

const char *time_exact(struct arena *a, int64_t wall)
{
	static const char *const month[] = { "January", "February", "March", "April", "May", "June", "July", "August", "September",
		"October", "November", "December" };
	char text[CLOCK_TEXT_SIZE];

	clock_text(wall, text); /* 2026-11-21T06:10:20.123456Z */
	unsigned m = (unsigned)(text[5] - '0') * 10 + (unsigned)(text[6] - '0');
	if (m < 1 || m > 12)
		return arena_dup(a, text);
	return arena_printf(a, "%.*s %s %.4s, %.8s UTC", text[8] == '0' ? 1 : 2, text + (text[8] == '0' ? 9 : 8), month[m - 1], text,
	    text + 11);
}

void show_time(struct view_map *m, enum view_name name, int64_t wall, int64_t now)
{
	struct arena *a = m->of.arena;
	char text[CLOCK_TEXT_SIZE], rel[32];

	if (wall <= 0) {
		view_set(m, name, NULL);
		return;
	}
	struct view_map *t = view_set_map(m, name);
	clock_text(wall, text);
	clock_relative(wall, now, rel);
	view_set(t, VIEW_iso, arena_printf(a, "%.19sZ", text));
	view_set(t, VIEW_exact, time_exact(a, wall));
	view_set(t, VIEW_rel, arena_dup(a, rel));
}

const char *state_word(enum file_state s)
{
	switch (s) {
	case STATE_PREAPPROVED:
		return "pre-approved";
	case STATE_UNPUBLISHABLE:
		return "cannot be published";
	default:
		return state_name(s);
	}
}

void show_badge(struct view_map *m, const char *shape, const char *word)
{
	view_set(m, VIEW_state, shape);
	view_set(m, VIEW_word, word);
}

void show_state(struct view_map *m, enum file_state s)
{
	show_badge(m, state_name(s), state_word(s));
}

void show_hex(struct view_map *m, enum view_name name, const void *bytes, size_t n)
{
	char *hex = arena_alloc(m->of.arena, 2 * n + 1);
	hex_of(hex, bytes, n);
	view_set(m, name, hex);
}

void show_print(struct view_map *m, const struct sha256 *print)
{
	show_hex(m, VIEW_sha256, print->b, sizeof print->b);
	show_hex(m, VIEW_short, print->b, 6);
}

void show_md5(struct view_map *m, enum view_name name, const struct md5 *print)
{
	show_hex(m, name, print->b, sizeof print->b);
}

const char *size_text(struct arena *a, uint64_t bytes)
{
	static const char *const unit[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
	unsigned u = 0;

	if (bytes < 1000)
		return arena_printf(a, "%" PRIu64 " B", bytes);
	/* Tenths of the unit, rounded; what would read 1000 kB is 1.0 MB. */
	uint64_t tenths = (bytes + 50) / 100;
	while (tenths >= 9995 && u < 5) {
		tenths = (tenths + 500) / 1000;
		u++;
	}
	if (tenths < 100)
		return arena_printf(a, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10, unit[u]);
	return arena_printf(a, "%" PRIu64 " %s", (tenths + 5) / 10, unit[u]);
}

const char *number_text(struct arena *a, uint64_t n)
{
	char digits[24], grouped[32];
	int len = snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0 && len > 4)
			grouped[at++] = ',';
		grouped[at++] = digits[i];
	}
	grouped[at] = '\0';
	return arena_dup(a, grouped);
}

const char *count_text(struct arena *a, uint64_t n, const char *one)
{
	return arena_printf(a, "%s %s%s", number_text(a, n), one, n == 1 ? "" : "s");
}

const char *period_text(struct arena *a, int64_t us)
{
	static const struct {
		int64_t s;
		const char *name;
	} units[] = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" } };
	int64_t s = us / CLOCK_SECOND;

	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (s >= units[i].s && s % units[i].s == 0)
			return count_text(a, (uint64_t)(s / units[i].s), units[i].name);
	return count_text(a, s > 0 ? (uint64_t)s : 0, "second");
}

const char *duration_text(struct arena *a, int64_t us)
{
	int64_t s = us / CLOCK_SECOND;

	if (us < 0)
		us = s = 0;
	if (s < 10)
		return arena_printf(a, "%" PRId64 ".%" PRId64 " s", s, us / (CLOCK_SECOND / 10) % 10);
	if (s < 60)
		return arena_printf(a, "%" PRId64 " s", s);
	if (s < 3600 && s % 60 == 0)
		return arena_printf(a, "%" PRId64 " min", s / 60);
	if (s < 3600)
		return arena_printf(a, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
	if (s / 60 % 60 == 0)
		return arena_printf(a, "%" PRId64 " h", s / 3600);
	return arena_printf(a, "%" PRId64 " h %" PRId64 " min", s / 3600, s / 60 % 60);
}
