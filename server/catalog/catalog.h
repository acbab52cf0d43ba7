/*
 * catalog: one site as it stands, in memory: what staging holds beside what is approved, state by state, with counts
 * kept for each directory. Listings, status, selections and plans are answered from here and cost what they show.
 *
 * Staged side: filled by a scan (on a few threads) and kept current by a watcher (inotify; overflow means rescan), or, with
 * the watcher off, by a scan before each question that asks for it. Fingerprints are cached by (size, mtime, ctime,
 * inode) with git's racy-clean rule, and kept in a cache file across restarts (derived: a damaged one is dropped).
 * Approved side: loaded from the database at start and moved by acts after COMMIT.
 * Thread-safe: a reader-writer lock inside; answers are copies or are given to a callback under the read lock.
 */
#ifndef DRYDOCK_CATALOG_CATALOG_H
#define DRYDOCK_CATALOG_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/path.h"
#include "core/preapproved.h"
#include "core/record.h"
#include "core/role.h"
#include "core/state.h"
#include "stage/door.h"

struct catalog;

struct catalog_options {
	const char *staging; /* directory */
	const char *cache_file; /* stat cache; NULL: none */
	uint64_t largest_file;
	bool watch;
	unsigned threads; /* for scans */
};
enum err catalog_open(struct catalog **out, const struct catalog_options *o) MUST_CHECK;
void catalog_close(struct catalog *c); /* writes the cache file */

/*
 * Opening reads the cache file, and starts the watcher if asked for, which begins with a scan of everything. Until one
 * scan was finished nothing is known to be missing: an approved file that the cache does not know counts as staged.
 */

/* The approved side of one file, as the database has it (file_state). */
struct approved {
	enum approval approval;
	struct fingerprint print; /* of the approved (or revoked) version */
	struct blob_id blob;
	uint64_t seq; /* the record that put or took it */
	int64_t at; /* its time */
	const char *by; /* its user: "own:alice" */
	uint64_t review_seq; /* newest review of the approved or the staged version; 0: none */
	struct sha256 reviewed; /* the version it was of */
};
void catalog_set_approved(struct catalog *c, struct path path, const struct approved *a);
/* Between these the write lock is held once (load at start; a batch act after its COMMIT), by the calling thread. */
void catalog_batch_begin(struct catalog *c);
void catalog_batch_end(struct catalog *c);
/* What is pre-approved now, sorted by path. */
void catalog_set_preapproved(struct catalog *c, const struct preapproved *list, size_t n);

/* Bring the staged side up to date: full scan, or only below dir; no-op when the watcher is running and quiet. */
enum err catalog_refresh(struct catalog *c, struct path dir) MUST_CHECK;
/* The same even if the watcher says that nothing happened. */
enum err catalog_scan(struct catalog *c, struct path dir) MUST_CHECK;
/* Make one path current by looking at it (before it is shown for signing). */
enum err catalog_refresh_file(struct catalog *c, struct path path) MUST_CHECK;
/* "" if staging is fine, otherwise why not (missing, unreadable, empty although files are approved): shown to admins;
 * while it is not fine no file becomes `missing` by it, and pick-up does nothing. Copy into out. */
void catalog_trouble(struct catalog *c, char out[256]);
bool catalog_watching(struct catalog *c);
/* True if nothing has been reported that was not looked at yet: then what is known is what is there. Does not wait. */
bool catalog_current(struct catalog *c);
/* Rises with every change of anything below dir that a listing shows; for ETag and page caching. */
uint64_t catalog_generation(struct catalog *c, struct path dir);
/* Wait until the whole generation differs from seen or timeout_us passed (live events). */
uint64_t catalog_wait(struct catalog *c, uint64_t seen, int64_t timeout_us);

struct catalog_counts { uint64_t n[STATE_COUNT]; uint64_t bytes; /* of what is staged */ };

/* One file or directory as a listing shows it. Pointers live as long as the callback or the arena it was copied to. */
struct catalog_entry {
	struct path path; /* for PROBLEM_NAME entries: made visible, not a usable path */
	const char *name;
	bool is_dir;
	/* files */
	enum file_state state;
	enum problem problem;
	bool staged; /* st and print are of the staged file */
	struct stage_stat st;
	struct fingerprint print; /* staged */
	bool has_approved;
	struct approved approved;
	/* directories */
	struct catalog_counts counts; /* of all files below */
};

/*
 * ERR_NOT_FOUND if nothing (staged or approved) is there. Copies into the arena. Where a directory has taken the name
 * of an approved file, or a file that of a directory, this is the one that is staged; catalog_get_file is the file.
 */
enum err catalog_get(struct catalog *c, struct path path, struct catalog_entry *out, struct arena *a) MUST_CHECK;
enum err catalog_get_file(struct catalog *c, struct path path, struct catalog_entry *out, struct arena *a) MUST_CHECK;

enum catalog_order { ORDER_NAME, ORDER_STATE, ORDER_SIZE, ORDER_TIME };
struct catalog_query {
	struct path dir;
	bool recursive; /* files only, in path order; otherwise files and directories of dir, directories first */
	unsigned states; /* bit (1u << state); 0: all. A directory is shown if it holds any */
	enum catalog_order order; /* recursive: ORDER_NAME only */
	bool descending;
	/*
	 * Cursor (ORDER_NAME): of the last entry of the page before, recursive: its path; otherwise its name, with a '/'
	 * behind if it is a directory. NULL: from the start.
	 */
	const char *after;
	size_t offset; /* for the other orders */
	const char *match; /* part of the path below dir, ASCII letters in either case; NULL: none (search) */
};
/*
 * Directories are in the order of what is in them: bytewise by name with a '/' behind.
 * fn is called under the read lock: it must not call the catalog, and should not wait for anybody.
 */
/* fn for each until it returns false. Visible: called for rights, NULL: everything; skipped subtrees cost nothing. */
struct catalog_view { const struct rules *rules; const struct identity *who; };
enum err catalog_list(struct catalog *c, const struct catalog_query *q, const struct catalog_view *view,
    bool (*fn)(void *arg, const struct catalog_entry *e), void *arg) MUST_CHECK;
/* Counts below dir of what the viewer sees (kept numbers where his rights are uniform below dir, else added up). */
enum err catalog_count(struct catalog *c, struct path dir, const struct catalog_view *view, struct catalog_counts *out) MUST_CHECK;

/* The selection that an act on these paths takes up (core/selection.h), sorted, of what the viewer sees. */
struct selection_item {
	struct path path;
	enum file_state state;
	struct fingerprint print; /* of the staged bytes; approved ones for missing and for revoke */
	struct blob_id blob; /* approved blob if there is one, else zero */
	bool named; /* the caller named this path itself */
	struct stage_stat st; /* staged, if it is */
};
struct selection {
	struct arena *arena;
	struct selection_item *items;
	size_t n;
	struct sha256 digest;
	uint64_t bytes;
};
void selection_release(struct selection *s);
/*
 * paths: files or directories. Directories need recursive (ERR_INPUT otherwise). Refreshes what it covers first.
 * ERR_NOT_FOUND names the path that is not there; ERR_STALE/ERR_INPUT with the sentence of selection_refusal for a named
 * file on which the act makes no sense; ERR_TOO_BIG past RECORD_FILES_LIMIT. role: what the actor needs on each visible
 * file; one that lacks it fails the whole with ERR_DENIED and its name.
 */
enum err catalog_select(struct catalog *c, const char *act, const struct path *paths, size_t n, bool recursive,
    const struct catalog_view *view, enum role role, struct selection *out) MUST_CHECK;
/* The same of what is known, without looking at staging: for a caller that has just refreshed it. */
enum err catalog_select_known(struct catalog *c, const char *act, const struct path *paths, size_t n, bool recursive,
    const struct catalog_view *view, enum role role, struct selection *out) MUST_CHECK;

struct door *catalog_door(struct catalog *c);

#endif
