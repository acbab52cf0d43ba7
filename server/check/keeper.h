/*
 * keeper: checks beside a running server: every night, and when somebody asks. One thread, one check at a time; acts wait
 * only while the names of an export are compared, while rows are put right and read again, while an export that differs is brought
 * back (each of its bytes is read), and, where acts wrote those rows each time, for one whole check without the bytes. What the last one found is kept for whoever looks.
 *
 * Where servers share a database, each site is checked by the one that has its turn: acts elsewhere wait for no lock here.
 * Beside acts it mends the log's ref, modes, the export and rows of the database.
 */
#ifndef DRYDOCK_CHECK_KEEPER_H
#define DRYDOCK_CHECK_KEEPER_H

#include "check/check.h"

#define KEEPER_FINDINGS 1000 /* kept of one check */

struct keeper;
struct keeper_options {
	const char *data;
	const struct db_address *database;
	const struct check_place *places; /* without their db; copied; what they point to outlives the keeper */
	size_t n_places; /* the installation is one of them: its check has the data directory too */
	const char *const *elsewhere; /* names of those that another server checks; the texts outlive the keeper */
	size_t n_elsewhere;
	unsigned hour; /* of the night, UTC; on Sundays the check is deep. 24: never */
};
enum err keeper_start(struct keeper **out, const struct keeper_options *o) MUST_CHECK;
void keeper_stop(struct keeper *k); /* a check that runs is given up; NULL is allowed */

/* Ask for one: its number. One that waits already and asks for no less is joined. ERR_NOT_FOUND: no such place. ERR_BUSY: elsewhere. */
enum err keeper_ask(struct keeper *k, const char *name, bool deep, bool repair, uint64_t *number) MUST_CHECK;

struct keeper_finding { enum finding_id id; char *subject, *what; bool repaired; };
struct keeper_report {
	uint64_t number; /* of the last one that ended; 0: none since the start */
	bool running; /* another one is */
	int64_t started_at, finished_at;
	bool deep, repair;
	enum err err; /* it could not be checked: why */
	const char *why;
	struct check_result result;
	const struct keeper_finding *findings; /* at most KEEPER_FINDINGS */
	size_t n_findings;
};
/* fn is called with a lock held: it only looks. ERR_NOT_FOUND: no such place. ERR_BUSY: elsewhere. */
enum err keeper_read(struct keeper *k, const char *name, void (*fn)(void *arg, const struct keeper_report *r), void *arg);

#endif
