/*
 * sync: the scheduler's thread of each site, cutting a release, running kits, their records.
 *
 * One cycle: pick-up, release (nothing new: counts, sends nothing), the export held still at that release, each target's
 * kit, results recorded. One sync of a site at a time. Times survive a restart; see core/window.h for the rule.
 * The kit's contract is sync-scripts/README.
 */
#ifndef DRYDOCK_SYNC_SYNC_H
#define DRYDOCK_SYNC_SYNC_H

#include "acts/acts.h"
#include "core/progress.h"
#include "core/window.h"

struct sync;

enum err sync_start(struct sync **out, const struct conf *conf, struct site *s, const struct db_address *address) MUST_CHECK;
/* Ask it to end: a running kit is ended and its run recorded as interrupted. Frees. */
void sync_stop(struct sync *y);
void sync_break(struct sync *y); /* end the kits of the run under way: it may not send any more */
void sync_poke(struct sync *y); /* something was approved or forced: think again */

/* The periods of the site as the configuration now has them (SIGHUP). */
void sync_set_periods(struct sync *y, int64_t quiet_us, int64_t longest_us);

struct sync_status {
	struct window_answer next; /* in wall-clock microseconds */
	int64_t now;
	int64_t quiet_us, longest_us;
	bool running;
	bool waits; /* another server has the turn */
	uint64_t run; /* the running one, or the last */
	uint64_t release; /* newest release; 0: none yet */
	int64_t held_until; /* the site is held; 0: it is not */
	int64_t pending_since; /* 0: nothing waits */
	int64_t unconfirmed_since; /* the oldest approval that is not known to be live on every target; 0: none */
	bool export_behind; /* something approved is not in the export directory yet */
	char trouble[256]; /* why no sync can run, "" if all is well */
};
/* The targets of the configuration, as the database had them when it was asked last. In memory: for /metrics. */
struct sync_target {
	const char *name; /* the configuration's */
	char state[16]; /* of the target's row; "": never sent to */
	uint64_t number; /* the release that it holds; 0: not known */
	int64_t report_at, differs_since; /* of its receiver's last report; 0: none, it does not differ */
	uint64_t differences;
};
/* Of a target's state, in its row or in a run: is the release there, as far as anybody can say? active or confirmed. */
bool sync_is_there(const char *state);
void sync_targets(struct sync *y, void (*fn)(void *arg, const struct sync_target *t), void *arg);
void sync_status(struct sync *y, struct sync_status *out);
/*
 * The output of a target's kit in a run, from a byte offset on, as it grows or as it was kept (then db is asked); *end:
 * there will be no more. Valid UTF-8, lines. ERR_NOT_FOUND: that run did not send to that target.
 */
enum err sync_output(struct sync *y, struct db *db, uint64_t run, const char *target, size_t from, struct buf *out, bool *end) MUST_CHECK;
/* How far the kit of a target is in a run that is on. False: it did not say, or has ended. */
bool sync_progress(struct sync *y, uint64_t run, const char *target, struct sync_progress *out);
/*
 * Ask a target's kit whether a sync could go there; nothing is touched. May take as long as its network does (40 s).
 * ERR_NOT_FOUND: no such target; ERR_BUSY: one is being tested. What the kit said is added to text; *ok false: why says it.
 * What the receiver on production found when it read its files comes along, and is kept.
 */
enum err sync_test(struct sync *y, struct actor_tools *t, const char *target, struct buf *text, bool *ok, char why[512]) MUST_CHECK;
/* Wait until anything changed since *seen (a counter), or the timeout. */
void sync_wait(struct sync *y, uint64_t *seen, int64_t timeout_us);

#endif
