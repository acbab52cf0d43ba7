/*
 * internal: what the files of this room share. Nothing outside export/ includes it.
 */
#ifndef DRYDOCK_EXPORT_INTERNAL_H
#define DRYDOCK_EXPORT_INTERNAL_H

#include <pthread.h>
#include <sys/stat.h>

#include "export/export.h"

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
	unsigned counter; /* atomic: names in export.tmp/ and export.foreign/ */
};

/* Everything of export/ on disk. */
enum err bring_sync(struct export_dir *e) MUST_CHECK;

#define PREPARED_NAME 56 /* "<blob id>.<number>" */
/* A new file in export.tmp/, open for writing; -1 and errno. */
int temporary_create(struct export_dir *e, const struct blob_id *id, char name[PREPARED_NAME]);
/* A file prepared with that id leaves the set; it has that name in export.tmp/. False if there is none. */
bool prepared_claim(struct export_dir *e, const struct blob_id *id, char name[PREPARED_NAME]);
/* Forget and remove those that were prepared before that time (clock_boot). */
void prepared_drop(struct export_dir *e, int64_t before);

/* --- place: beneath export/, never through a link or out of it ------------------------------------------------------ */

/* A directory of export/ ("" for itself). -1 and errno. */
int place_open(const struct export_dir *e, const char *path);
/* The directory above path, opened; ERR_NOT_FOUND if it is not there as a directory. */
enum err place_parent(const struct export_dir *e, struct path path, int *fd) MUST_CHECK;
/* The same, made where it is missing; what stands in the way goes to export.foreign/. */
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
