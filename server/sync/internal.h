/* internal: what the files of sync/ share. */
#ifndef DRYDOCK_SYNC_INTERNAL_H
#define DRYDOCK_SYNC_INTERNAL_H

#include <pthread.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/confine.h"
#include "base/spawn.h"
#include "sync/sync.h"

#define OUTPUT_LIMIT (256 * 1024) /* bytes of a kit's output that are kept */

/* What a kit prints while it runs: written by its thread, read by pages. */
struct live {
	char target[80];
	pthread_mutex_t lock;
	struct buf text;
	bool counts; /* it has said how far it is */
	struct sync_progress far;
	bool ended;
};

/* A wall-clock time of the database and the same moment on the boot clock, converted once. */
struct moment {
	int64_t wall, boot;
};

struct sync {
	const struct conf *conf;
	struct site *s;
	struct db_address address;
	struct actor_tools *tools; /* of the scheduler's thread */
	pthread_t thread;
	pthread_mutex_t lock; /* around everything below */
	pthread_cond_t changed; /* poked, status, output */
	atomic_int stop; /* ends whatever runs */
	atomic_int cancel; /* ends the run under way, and what it asks */
	atomic_int hurry; /* the next cycle is due: the run under way does not wait for kits that say nothing */
	const char *cancel_why; /* set before it */
	bool testing; /* a target is being tested */
	bool reload; /* the database may know something new */
	bool carry; /* an act may have left the export to us */
	bool load_failed; /* the last time it was asked */
	uint64_t news; /* rises with every change that sync_wait tells */
	int64_t quiet_us, longest_us;
	struct moment first_pending, last_approval, last_start, retry_at, down_retry;
	int64_t held_until, hold_end; /* wall clock */
	struct {
		int64_t down, forced;
	} stopped; /* the take-down that too many files kept from being tried, and the force of that time. Wall clock, 0: none */
	int64_t down, down_tried; /* the newest take-down that not all targets have; the newest that was tried. Wall clock, 0: none */
	uint64_t down_release; /* the first that has that one; 0: none was cut */
	bool downing; /* the run under way is a take-down */
	int64_t unconfirmed; /* wall clock */
	bool unconfirmed_unknown; /* how much of it is live, the last time: it was logged */
	struct { uint64_t release; int64_t since; } kept; /* of the scheduler's thread: what site_kept_since() said last; release 0: nothing */
	struct sync_target *targets; /* one for each of the configuration's */
	int64_t forced; /* when, wall clock; 0: not */
	bool running;
	uint64_t run, release;
	char trouble[256];
	int64_t hold_off; /* boot clock: nothing starts before; 0: none */
	unsigned failures; /* in a row, of cycles that could not do their work */
	struct live *live; /* of the running run; n_live */
	size_t n_live;
};

/* --- cycle.c ------------------------------------------------------------------------------------------------------- */

/* One cycle, from pick-up to the records of the run. An error: it could not do its work and is to be tried again. */
enum err cycle_run(struct sync *y, enum window_reason why) MUST_CHECK;

/* --- rows.c -------------------------------------------------------------------------------------------------------- */

/* Where each configured target stands, in their order; number 0 without log_commit: nothing was sent there yet. */
enum err rows_get(struct sync *y, struct db *db, struct db_target **out, struct arena *a) MUST_CHECK;
/* When the next try is wanted (wall clock; 0: none). Targets that never were sent to are due, if there is a release. */
int64_t rows_retry_at(const struct db_target *rows, size_t n, uint64_t newest, bool running); /* running: "sending" is true */
/* The same for those that hold an older one than `least`. */
int64_t rows_older_retry_at(const struct db_target *rows, size_t n, uint64_t least, bool running);
/* The oldest approval that is not live on every target; 0: none. newest: number 0 if there is no release. pending: something waits for a sync. */
enum err rows_unconfirmed(struct sync *y, struct db *db, const struct db_target *rows, const struct db_release *newest, bool pending, int64_t *since, struct arena *a) MUST_CHECK;

/* --- kit.c --------------------------------------------------------------------------------------------------------- */

/* What is known when the release is there. */
struct kit_facts {
	uint64_t release, previous; /* previous: what the target holds; 0: not known */
	const struct plan *changes; /* NULL: the target's state is not known */
	uint64_t list_from; /* the release that the list is a difference from; 0: it is whole */
	struct sha256 head; /* what a receipt has to name; zero: the release is of before there were heads */
	struct live *live;
};
struct kit_run {
	bool test; /* only asked whether a sync could go there: what it says is shown, and nothing at the place is written */
	const struct conf *conf;
	const char *site;
	const struct conf_target *target;
	const char *export_dir;
	const char *work_dir; /* a directory of its own, emptied before */
	const char *papers; /* directory with heads and list; NULL: none */
	const struct node_key *key; /* DryDock's own: it signs for a place that it has read again */
	struct sync *y; /* told when output comes */
	atomic_int *cancel, *hurry; /* hurry: may be NULL */
	bool failed; /* the last time: it is not waited for, whatever it says */
	const struct kit_facts *_Atomic facts; /* NULL: it is started early, and what it says before it is told them is dropped */
	const int *facts_from; /* then: where it reads them */
};
/* What a run of a kit came to; the words that the database, pages and programs have for it. */
enum kit_outcome {
	KIT_FAILED, /* production is as it was, as far as is known */
	KIT_SENT, /* all was handed over, and no answer came */
	KIT_UNCONFIRMED, /* the kit says that it is there, and who had to confirm it did not */
	KIT_ACTIVE, /* the kit says so, and there is nobody to confirm it */
	KIT_CONFIRMED,
};
const char *kit_outcome_name(enum kit_outcome o);
struct kit_result {
	enum kit_outcome outcome;
	bool ok; /* active or confirmed */
	int status; /* of the kit; -1: it did not run */
	bool sent; /* it said that all was handed over */
	char message[512]; /* why not, for people; "" if ok */
	int64_t receipt_at;
	char *receipt, *signature; /* for exactly this release, checked; NULL: none. The caller frees */
	struct receiver_report {
		int64_t at;
		uint64_t number, bad;
		struct sha256 head; /* of the release that it is about */
		bool rolled_back;
		char *text, *signature; /* checked; NULL: none. The caller frees */
	} report;
	struct receiver_holds {
		int64_t at;
		uint64_t number, term;
		struct sha256 head;
		bool unknown; /* by report_settle: none of this server's releases */
		char *receipt, *signature; /* checked: what the receiver held before; NULL: it did not say. The caller frees */
	} held;
};
void kit_run(const struct kit_run *k, struct kit_result *out);
void kit_result_release(struct kit_result *r);
/* Is its kit one that can be started early? */
bool kit_waits(const struct kit_run *k);
/* For one that was: the lines that tell it. */
void kit_facts_text(const struct kit_run *k, const struct kit_facts *f, struct buf *out);

/* --- early.c ------------------------------------------------------------------------------------------------------- */

#define EARLY_MOST (10 * CLOCK_SECOND) /* that it waits; its deadline is for what comes then */
struct early;
/* Starts the kit, without facts, if it is one that waits: NULL, it is not, or it cannot be now. k is copied. */
struct early *early_begin(const struct kit_run *k);
/* Tells it the facts and waits for its end. False: it cannot be told any more, or had ended; nothing was sent. x is gone. */
bool early_go(struct early *x, const struct kit_facts *facts, struct kit_result *out);
void early_drop(struct early *x); /* nothing is sent; may be NULL */

/* --- place.c ------------------------------------------------------------------------------------------------------- */

/* Is the place what `list` in papers says? ERR_STALE names the first that is not. */
enum err place_check(const char *place, const char *papers, atomic_int *cancel) MUST_CHECK;

/* --- report.c ------------------------------------------------------------------------------------------------------ */

/*
 * What the receiver says that it found: about a release that this server cut, and not from the future? Else it is dropped,
 * and the kit's output says why. ERR_BUSY and the like: it could not be asked.
 */
enum err report_settle(struct site *s, struct actor_tools *t, struct kit_result *r, struct live *live) MUST_CHECK;
/* Keeps it, unless a later one is kept. *news: it is the first that says that production differs, or is well again. */
enum err report_put(struct db *db, const char *site, const char *target, const struct kit_result *r, bool *news) MUST_CHECK;

/* What the receiver held before: none of ours? Kept then, until it holds one of ours. In a transaction. */
enum err held_put(struct db *db, const char *site, const char *target, const struct kit_result *r) MUST_CHECK;
/* Both at once, for a kit that was only asked: sync.c. So is sync_ask, which is sync_test() until *cancel. */
enum err sync_keep_report(struct sync *y, struct actor_tools *t, const char *target, struct kit_result *r, struct live *live) MUST_CHECK;
enum err sync_ask(struct sync *y, struct actor_tools *t, const char *target, atomic_int *cancel, struct buf *text, bool *ok, char why[512]) MUST_CHECK;

/* --- papers.c ------------------------------------------------------------------------------------------------------ */

/*
 * What a receiver wants to see of a release, into a directory of its own: N and N.sig for each head after the release `after`, and
 * `list`. *from becomes 0 if the list is whole. from: what the list is to be a difference from. head: the digest of the release's.
 */
enum err papers_begin(const char *dir) MUST_CHECK; /* it is there, and empty */
enum err papers_write(struct site *s, struct actor_tools *t, const char *dir, const struct db_release *rel, uint64_t after, uint64_t *from, struct sha256 *head) MUST_CHECK;

/* --- sync.c -------------------------------------------------------------------------------------------------------- */

void sync_news(struct sync *y); /* something that pages show has changed */

#endif
