/*
 * window: the scheduler's rule (DESIGN section 5) as a pure function of times. All times are microseconds of one clock.
 */
#ifndef DRYDOCK_CORE_WINDOW_H
#define DRYDOCK_CORE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_NEVER INT64_MAX

struct window_facts {
	int64_t now;
	int64_t quiet; /* period without a sign or revoke, default 5 min */
	int64_t longest; /* interval between starts of cycles, default 60 min */
	int64_t first_pending; /* the oldest act not yet in a release; WINDOW_NEVER: none */
	int64_t last_approval; /* the newest sign or revoke; WINDOW_NEVER: none */
	int64_t last_start; /* start of the last finished cycle; WINDOW_NEVER: none yet (then due now) */
	bool forced; /* an admin asked for one */
	bool running;
	int64_t retry_at; /* a failed target wants another try then; WINDOW_NEVER: none */
	int64_t held_until; /* no cycle of the site before; 0: not held */
	int64_t hold_end; /* when a path was, or will be, let go that no cycle has looked at since; 0: none */
	bool down; /* a take-down: nothing holds it up */
	bool down_tried; /* but it failed somewhere: then it is tried with those targets, and what is ordinary goes on */
	int64_t down_retry; /* then: when one of them wants another try; WINDOW_NEVER: all have it */
};

enum window_reason { WINDOW_NONE, WINDOW_QUIET, WINDOW_LONGEST, WINDOW_FORCED, WINDOW_RETRY, WINDOW_RELEASED, WINDOW_DOWN };

struct window_answer {
	int64_t due; /* when the next cycle starts: <= now means at once */
	int64_t at_latest; /* whatever is signed in between */
	enum window_reason reason;
};

/* A due time is never taken as later than now + longest (a clock that jumped back). While running, due is never. */
struct window_answer window_next(const struct window_facts *f);
/*
 * A stored act or start (wall clock) as a time of the clock that the facts are in: as long ago as the wall clock says,
 * never later than now. To be done once, when times are loaded. WINDOW_NEVER stays.
 */
int64_t window_stored(int64_t stored_wall, int64_t now_wall, int64_t now);
const char *window_reason_name(enum window_reason r);

#endif
