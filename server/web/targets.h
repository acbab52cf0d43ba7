/*
 * targets: where each configured target stands, for pages and API alike: its state in a word, what it is known to hold
 * and by whose signature, and what its receiver found when it last read what is live, as far as this viewer may see it.
 *
 * The words: waiting (until the next sync, or the next try), sending, sent (all was handed over, and no answer came),
 * failed, unconfirmed (said to be there, and not confirmed), active (said to be there, and nobody can confirm it),
 * confirmed (by a signed receipt).
 */
#ifndef DRYDOCK_WEB_TARGETS_H
#define DRYDOCK_WEB_TARGETS_H

#include "catalog/catalog.h"
#include "web/web.h"

struct target_difference {
	const char *what, *path; /* "altered", "missing", ...; the path as people read it */
	const char *signer; /* NULL: nobody signed such a file */
};

struct target_now {
	const struct conf_target *conf;
	const char *state; /* one of the words above */
	uint64_t number; /* the last release that it is known to hold; 0: none */
	int64_t changed_at, retry_at; /* 0: none */
	unsigned tries;
	struct db_receipt receipt; /* for that release; number 0: none */
	struct db_held held; /* a release that it holds and this server does not know; number 0: none, or not for this viewer */
	const char *held_refused; /* why this server cannot go on from there; NULL: it can */
	bool has_report;
	int64_t report_at;
	uint64_t report_number; /* the release that was read */
	bool report_good; /* nothing differed; told to those who see the whole site, and to those who see a difference */
	int64_t report_since; /* the first report in a row that was not good; 0: it is good */
	bool rolled_back; /* the release before was made live there by hand */
	bool report_old; /* it is about a release that the target holds no longer */
	uint64_t report_bad; /* all differences: for those who see the whole site only */
	const char *report_body, *report_signature; /* as they were signed: for who may see all of it */
	struct target_difference *differences; /* those that this viewer may see */
	size_t n_differences;
};
/* In the order of the configuration; in the request's arena. */
enum err targets_now(struct req *r, struct target_now **out, size_t *n) MUST_CHECK;

/* Where what is approved at a path has got to, by what is in the trees of releases (acts/reach.c). */
struct reach {
	struct path path;
	struct approved_version version;
	struct db_release first; /* the first that has it; number 0: the newest does not */
	int64_t held_until; /* of one that the newest does not have: a hold keeps it back so long; 0: none does */
};
/* seq: of the record that approved or revoked it. */
enum err reach_find(struct req *r, struct path path, const struct approved_version *v, uint64_t seq, struct reach *out) MUST_CHECK;
/* The version that an entry has approved, or that nothing is: for reach_find. */
struct approved_version reach_version(const struct catalog_entry *e);
struct reach_target {
	bool has_it; /* what the target holds has it: exactly these bytes or, where it was revoked, nothing */
	uint64_t since; /* the first release that brought it there, or that was confirmed with it; 0: it does not have it */
	int64_t confirmed_at; /* 0: nobody there has confirmed it */
	const char *state; /* the target's, seen from this file: waiting, until what it does not have is sent there */
	int64_t waits_until; /* 0: it waits for nothing, or nobody knows */
};
/* next: of the next sync; 0: none is due. */
enum err reach_at(struct req *r, const struct reach *x, const struct target_now *t, int64_t next, struct reach_target *out) MUST_CHECK;
/* What production found at this path, in what it holds now; NULL: nothing that is known. */
const struct target_difference *target_differs(const struct target_now *t, struct path path);
/* It is configured, or was and has had runs; ERR_NOT_FOUND with a sentence. */
enum err target_known(struct req *r, const char *name) MUST_CHECK;
/* sync_progress() for this viewer. */
bool targets_progress(struct req *r, uint64_t run, const char *target, struct sync_progress *out);
bool targets_see_all(struct req *r); /* may this viewer be told numbers of files? */

#endif
