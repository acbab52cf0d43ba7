/* cycle: one cycle under way, for the files that carry it out: cycle.c, rows.c, send.c; and sync.c, which starts it. */
#ifndef DRYDOCK_SYNC_CYCLE_H
#define DRYDOCK_SYNC_CYCLE_H

#include "sync/internal.h"

struct target_run {
	struct cycle *c;
	const struct conf_target *conf;
	struct db_target row; /* before the run; number 0: never sent to */
	struct plan plan; /* from what it holds to the release */
	bool planned, started;
	char refused[256]; /* why nothing can be sent there; "": nothing */
	struct kit_run kit;
	struct kit_facts facts;
	struct early *early; /* NULL: its kit starts with the run */
	pthread_t thread;
	int64_t started_at, finished_at;
	struct kit_result result;
	bool over; /* with the cycle's lock */
	bool recorded; /* while others were still sent to */
	bool news; /* of what production found */
};

struct cycle {
	struct sync *y;
	struct arena *a;
	enum window_reason why;
	struct db_schedule schedule; /* as it was when the cycle began */
	int64_t start;
	int64_t seen; /* when the newest approval before the cut was: later than start where the wall clock went back */
	struct db_release release, before; /* number 0: none */
	bool cut;
	struct db_run run;
	struct target_run *targets;
	size_t n;
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a target's kit */
	struct early **early; /* one for each target of the configuration, until a target_run has it; NULL: none */
	bool begun; /* the run has a row */
	bool failed, interrupted;
	bool stopped; /* before anything was cut */
	char message[512];
};

/* --- cycle.c ------------------------------------------------------------------------------------------------------- */

bool cycle_opens_window(const struct cycle *c); /* one of the window's or a force, for all targets: it begins the periods anew */
bool cycle_serves_force(const struct cycle *c); /* what somebody forced is done by it */
uint64_t cycle_down_release(const struct cycle *c); /* the first that has the take-down of its schedule; 0: none yet */

/* --- rows.c: what the database has of targets and runs ------------------------------------------------------------- */

bool rows_hold(const struct db_target *t, uint64_t release); /* it is known to hold exactly that one */
/* In transactions, with the cycle, and one of its target_runs: the run begins; one target has ended; the run has ended. */
enum err rows_begin(struct db *db, void *cycle) MUST_CHECK;
enum err rows_end_target(struct db *db, void *target_run) MUST_CHECK;
enum err rows_end(struct db *db, void *cycle) MUST_CHECK;

/* --- send.c: the targets and their kits ------------------------------------------------------------------------------ */

enum err send_early(struct cycle *c) MUST_CHECK; /* before the release is cut: kits that may wait for it */
void send_drop_early(struct cycle *c); /* those that have nothing to send after all */
enum err send_choose(struct cycle *c) MUST_CHECK; /* c->targets: who does not hold the release, and what each of them lacks */
enum err send_all(struct cycle *c) MUST_CHECK; /* to all of them; the export stands still meanwhile */
void send_release(struct cycle *c); /* of what belongs to the targets */

/* --- sync.c -------------------------------------------------------------------------------------------------------- */

/* Would another cycle start now, if this one were over? The database is asked; if it does not answer, none. */
bool sync_next_due(const struct cycle *c);

#endif
