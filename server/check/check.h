/*
 * check: is everything that was recorded still there, and does everything agree with it? The signed log in git is the
 * witness; the database, the approved tree, the export directory and the refs are compared with what its records add up
 * to. The same walk over the log makes a lost database again.
 *
 * A check reads; it writes only what can be derived, and only if it is told to repair. It can run beside acts: the
 * database is asked as it was at one moment, and what acts move meanwhile is looked at again with the writer's lock held.
 */
#ifndef DRYDOCK_CHECK_CHECK_H
#define DRYDOCK_CHECK_CHECK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "db/db.h"
#include "export/export.h"
#include "repo/repo.h"

enum finding_id {
#define FINDING(id, name, repair) FINDING_##id,
#include "check/findings.def"
#undef FINDING
	FINDING_COUNT
};
const char *finding_name(enum finding_id id);
const char *finding_repair(enum finding_id id);

struct check_finding {
	enum finding_id id;
	const char *site;
	const char *subject; /* the commit, the path, the row, the file */
	const char *what; /* a sentence */
	bool repaired;
};

struct check_options {
	bool deep; /* bytes too: of the export, of every version in the repository */
	bool repair;
	/* One call at a time. */
	void (*found)(void *arg, const struct check_finding *f);
	void *arg;
	atomic_int *stop; /* may be NULL: give up soon (ERR_BUSY) when it becomes true */
};

/* What there was to look at, and what came of it. */
struct check_result {
	uint64_t records, files, versions, exported;
	uint64_t findings, repaired;
};

/* A site, or the installation, to be checked. */
struct check_place {
	const char *name;
	const char *dir; /* <data>/sites/<name> */
	const char *repo_dir;
	const struct node_key *key;
	struct db *db;
	struct export_dir *export; /* NULL: none (the installation) */
	bool export_missing; /* there ought to be one */
	/* Beside acts: the site's writer lock is taken for moments. NULL: nothing else runs. */
	pthread_mutex_t *writer;
	const atomic_bool *export_held; /* a sync run holds the export: it stands still at a release, and is compared with that */
	const atomic_bool *export_behind; /* the server knows that it has to follow, and sees to it */
	/*
	 * Beside acts: rows were put right. Called with the writer's lock held, to make anew what is kept of them in memory;
	 * strayed: files whose rows were there and wrong. NULL: nothing else runs.
	 */
	enum err (*reload)(void *arg, struct db *db, const struct path *strayed, size_t n);
	void *reload_arg;
	unsigned release_keep; /* so many releases have their tags; 0: the newest has */
	bool grants; /* the account that asks is the program's: see to its rights */
};

/* ERR_OK: it was checked, whatever was found. Another code: it could not be checked. */
enum err check_site(const struct check_place *p, const struct check_options *o, struct check_result *out) MUST_CHECK;
/* The data directory itself: owners and modes. */
enum err check_data(const char *data, const struct check_options *o, struct check_result *out) MUST_CHECK;

/*
 * Make the tables of a site (or of the installation) again from its log alone. The whole log is verified first: any
 * finding in it refuses (ERR_DENIED), and is told to found. The tables must be empty (ERR_STALE), unless replace: then
 * what is there is taken out, but passwords are kept. Needs the owner's account.
 */
enum err rebuild_site(const struct check_place *p, bool replace, const struct check_options *o, struct check_result *out) MUST_CHECK;

#endif
