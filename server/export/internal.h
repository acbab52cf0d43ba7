/*
 * internal: what the files of this room share. Nothing outside export/ includes it.
 */
#ifndef DRYDOCK_EXPORT_INTERNAL_H
#define DRYDOCK_EXPORT_INTERNAL_H

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "export/export.h"

/* --- bring: a change under way ------------------------------------------------------------------------------------------- */

struct ahead;
struct bring {
	struct export_dir *e;
	struct repo *r;
	struct repo_shelf_hand *shelf; /* where bytes are looked for first; NULL: nowhere but in r */
	const struct blob_id *to;
	const struct plan *plan;
	export_time_fn *when;
	void *arg;
	/* Around when(), and around place_make_parent(), which may move what the other thread has just made. NULL: there is one thread. */
	pthread_mutex_t *asking;
	bool replay; /* what is there may be of this very change, half made */
	struct ahead *ahead; /* stopped; NULL: nothing was made before, or the change is small */
	struct aside *aside; /* what the next two are of; NULL: of the export */
	char parent[PATH_LIMIT + 1]; /* of the descriptor below; a run of files has mostly one */
	int parent_fd;
	bool parent_made; /* by place_make_parent */
	struct arena *arena;
};
void bring_parent_close(struct bring *b);
enum err bring_parent(struct bring *b, struct path path, bool make) MUST_CHECK;
enum err additions(struct bring *b) MUST_CHECK;
#define NO_TIME INT64_MIN
/* A new file in b->parent_fd; NO_TIME: whatever the clock says. */
enum err additions_make(struct bring *b, const struct plan_item *item, int64_t mtime_s) MUST_CHECK;
/* Bytes of the path before its last slash. */
static inline size_t path_above(struct path path)
{
	return (size_t)(strrchr(path.s, '/') - path.s);
}

/* --- state: export.at --------------------------------------------------------------------------------------------- */

/*
 * Which commits the directory may hold parts of, on disk. One: it holds exactly that one. Several: changes whose end is
 * not known to be on disk; each path stands as one of them has it, or is torn. None: nothing is known.
 *
 * Written in place into one of two slots, each with a number and a checksum, so that a torn write leaves the other one.
 * Before a change the new set is made durable with one fdatasync; that it became smaller is not synced,
 * since the larger set only costs a comparison.
 */
#define STATE_COMMITS 64
struct state {
	int fd;
	uint64_t number; /* of the newest slot */
	struct blob_id commits[STATE_COMMITS];
	size_t n;
	bool durable; /* this very set was written and synced */
	unsigned safe_slot; /* of the two, the one with the newest set that was synced */
};

/* empty: what a missing file means: the directory has nothing (true), or nobody knows. */
enum err state_open(struct state *s, int base, bool empty) MUST_CHECK;
void state_close(struct state *s);
/* A change towards `to` begins: durable when it returns. */
enum err state_begin(struct state *s, const struct blob_id *to) MUST_CHECK;
/* No place for one more. */
bool state_full(const struct state *s, const struct blob_id *to);
/* Everything of it is durable. */
enum err state_settle(struct state *s, const struct blob_id *to) MUST_CHECK;

/* --- prepared: files in export.tmp/ that wait for their act --------------------------------------------------------- */

struct prepared; /* one file */
struct prepared_set {
	pthread_mutex_t lock;
	struct prepared *buckets[1024];
	size_t n;
	uint64_t bytes;
};

/* --- aside: directories that are filled in export.tmp/ and become part of the export as a whole -------------------------- */

#define ASIDE_NAME 32
struct aside {
	struct aside *next;
	char *dir; /* "/a/new": it is not there, and what is above it is */
	size_t len;
	size_t from, to; /* of the plan: all that is below it */
	char name[ASIDE_NAME]; /* in export.tmp/; "": nowhere */
	struct sha256 sum; /* of paths, ids and modes below it */
	bool made; /* by ahead.c, or part of it: the files that are there lack their times */
};
struct bring;
/* The one that the plan's i-th path lies in, if it has enough files; last: one that was looked at before (i: none). NULL. */
struct aside *aside_find(const struct export_dir *e, const struct plan *plan, size_t i, size_t last, struct arena *a);
void aside_sum(struct aside *x, const struct plan *plan);
enum err aside_begin(struct export_dir *e, struct aside *x) MUST_CHECK; /* an empty one, of a name that nothing there has */
/* b->parent_fd becomes the directory in it that a path belongs in, made where it is missing. */
enum err aside_parent(struct bring *b, const struct aside *x, struct path path) MUST_CHECK;
enum err aside_place(struct bring *b, struct aside *x) MUST_CHECK; /* where it belongs; then it is nowhere beside */
void aside_drop(struct export_dir *e, struct aside *x);

/* --- ahead: such directories made while their act is not decided yet ------------------------------------------------------ */

/* With e->lock held, and good as long as it is: it makes no further file. NULL: none was there (one may begin right afterwards). */
struct ahead *ahead_stop(struct export_dir *e);
/* Has the stopped one made this, with these very files? Then x takes it over. */
void ahead_match(struct ahead *h, const struct plan *plan, struct aside *x);
struct repo_shelf_hand *ahead_hand(const struct ahead *h); /* on the bytes that it has; NULL: none */
void ahead_drop(struct export_dir *e, bool decided_only);

/* --- the directory ------------------------------------------------------------------------------------------------ */

struct export_dir {
	char *path; /* of export/ */
	int base, root, tmp; /* descriptors: the site's directory, export/, export.tmp/ */
	pthread_mutex_t lock; /* one change at a time */
	struct state state;
	bool known; /* this process knows that the directory holds exactly... */
	struct blob_id held; /* ...the tree of this commit */
	bool distrust; /* a call failed in this process: what looks right may not be on disk, so write it again */
	struct prepared_set prepared;
	pthread_mutex_t ahead_lock; /* of the pointer; who takes it away holds lock too, or is alone */
	struct ahead *ahead; /* NULL: nothing is made before its act is decided */
	unsigned counter; /* atomic: names in export.tmp/ and export.foreign/ */
};

/* Everything of export/ on disk. */
enum err bring_sync(struct export_dir *e) MUST_CHECK;

#define PREPARED_NAME 56 /* "<blob id>.<number>" */
/* A new file in export.tmp/, open for writing; -1 and errno. */
int temporary_create(struct export_dir *e, const struct blob_id *id, char name[PREPARED_NAME]);
/* A file prepared with that id leaves the set; it has that name in export.tmp/. False if there is none. */
bool prepared_claim(struct export_dir *e, const struct blob_id *id, char name[PREPARED_NAME]);
bool prepared_has(struct export_dir *e, const struct blob_id *id);
/* Forget and remove those that were prepared before that time (clock_boot). */
void prepared_drop(struct export_dir *e, int64_t before);

/* --- place: beneath export/, never through a link or out of it ------------------------------------------------------ */

/* A directory of dir ("" for itself), export/ or export.tmp/. -1 and errno. */
int place_open_at(int dir, const char *path);
/* The directory above path, opened; ERR_NOT_FOUND if it is not there as a directory. */
enum err place_parent(const struct export_dir *e, struct path path, int *fd) MUST_CHECK;
/* The same, made where it is missing; what stands in the way goes to export.foreign/. One thread at a time. */
enum err place_make_parent(struct export_dir *e, struct path path, int *fd) MUST_CHECK;
/* Out of the way. */
enum err place_move_foreign(struct export_dir *e, int dir, const char *name, const char *path) MUST_CHECK;
/* Regular, one link, and these very bytes? */
enum err place_same(struct repo *r, int dir, const char *name, const struct blob_id *id, bool *same) MUST_CHECK;
/* The first item whose path is not before that text. */
size_t place_lower_bound(const struct plan *plan, const char *path);
/* fn for everything below export/, directories before what is in them; it says whether to go into a directory. */
enum err place_walk(struct export_dir *e,
    enum err (*fn)(void *arg, int dir, const char *name, const char *path, const struct stat *st, bool *enter), void *arg) MUST_CHECK;

#endif
