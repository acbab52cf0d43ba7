#include "core/window.h"

static int64_t plus(int64_t t, int64_t period)
{
	int64_t sum;

	if (t == WINDOW_NEVER || __builtin_add_overflow(t, period, &sum))
		return WINDOW_NEVER;
	return sum;
}

/* A stored time counts at most as now + longest: a clock that jumped back must not stop the syncs for a year. */
static int64_t capped(int64_t due, const struct window_facts *f)
{
	int64_t most = plus(f->now, f->longest);

	return due != WINDOW_NEVER && due > most ? most : due;
}

static void take_earlier(struct window_answer *a, int64_t due, enum window_reason reason)
{
	if (due < a->due) {
		a->due = due;
		a->reason = reason;
	}
}

static struct window_answer take_down(const struct window_facts *f)
{
	const int64_t due = f->down_tried && f->down_retry != WINDOW_NEVER ? capped(f->down_retry, f) : f->now;

	return (struct window_answer){ due, due, WINDOW_DOWN };
}

static struct window_answer earlier(struct window_answer a, struct window_answer b)
{
	const int64_t at_latest = a.at_latest < b.at_latest ? a.at_latest : b.at_latest;

	if (b.due < a.due)
		a = b;
	a.at_latest = at_latest;
	return a;
}

/* Without holds and take-downs. */
static struct window_answer ordinary(const struct window_facts *f)
{
	struct window_answer a = { WINDOW_NEVER, WINDOW_NEVER, WINDOW_NONE };

	if (f->forced)
		return (struct window_answer){ f->now, f->now, WINDOW_FORCED };
	int64_t longest = f->last_start == WINDOW_NEVER ? f->now : capped(plus(f->last_start, f->longest), f);
	int64_t retry = capped(f->retry_at, f);
	if (f->first_pending != WINDOW_NEVER) {
		int64_t approval = f->last_approval == WINDOW_NEVER ? f->first_pending : f->last_approval;
		take_earlier(&a, capped(plus(approval, f->quiet), f), WINDOW_QUIET);
	}
	take_earlier(&a, longest, WINDOW_LONGEST);
	take_earlier(&a, retry, WINDOW_RETRY);
	if (f->hold_end)
		take_earlier(&a, f->hold_end, WINDOW_RELEASED);
	/* The quiet period alone is moved by what people sign. */
	a.at_latest = retry < longest ? retry : longest;
	if (f->hold_end && f->hold_end < a.at_latest)
		a.at_latest = f->hold_end;
	return a;
}

struct window_answer window_next(const struct window_facts *f)
{
	struct window_answer a = { WINDOW_NEVER, WINDOW_NEVER, WINDOW_NONE };

	if (f->running)
		return a;
	if (f->down && !f->down_tried)
		return take_down(f);
	a = ordinary(f);
	if (f->held_until > a.due)
		a.due = f->held_until;
	if (f->held_until > a.at_latest)
		a.at_latest = f->held_until;
	/* The targets that have it do not wait for those that fail. */
	return f->down ? earlier(take_down(f), a) : a;
}

int64_t window_stored(int64_t stored_wall, int64_t now_wall, int64_t now)
{
	int64_t age;

	if (stored_wall == WINDOW_NEVER)
		return WINDOW_NEVER;
	if (stored_wall >= now_wall || __builtin_sub_overflow(now_wall, stored_wall, &age))
		return now;
	return now - age;
}

const char *window_reason_name(enum window_reason r)
{
	static const char *const names[] = {
		[WINDOW_NONE] = "none",
		[WINDOW_QUIET] = "quiet",
		[WINDOW_LONGEST] = "longest",
		[WINDOW_FORCED] = "forced",
		[WINDOW_RETRY] = "retry",
		[WINDOW_RELEASED] = "released",
		[WINDOW_DOWN] = "take-down",
	};

	return names[r];
}
