/*
 * export: the export directory, the image of production beside the repository: the approved tree as files.
 *
 * Beside it: `export.at` and `export.tmp/`. export.at names, durably before the first step of a change, every log commit
 * that the directory may hold parts of, until all of it is known to be on disk. The way forward is always the tree
 * difference from there to the wanted commit, replayable: removals, then emptied directories, then additions (temporary
 * file, or a new directory as a whole, rename; one syncfs after many). After a machine failed, what is in doubt is compared byte by byte before it
 * counts. At no instant does it hold a byte that was not approved. Exported files carry the time of the record that put
 * this version at this path, never earlier than the path's previous one plus a second. Foreign things found in the way
 * are moved to export.foreign/, never used.
 */
#ifndef DRYDOCK_EXPORT_EXPORT_H
#define DRYDOCK_EXPORT_EXPORT_H

#include <stdatomic.h>

#include "base/err.h"
#include "repo/repo.h"

struct export_dir;

/* base: the site's directory: it gets export/, export.at, export.tmp/. Creates what is missing. */
enum err export_open(struct export_dir **out, const char *base) MUST_CHECK;
void export_close(struct export_dir *e);
const char *export_path(const struct export_dir *e); /* the export directory itself */
/* The commit it holds; zero: nothing yet, or what it holds is in doubt (then export_bring() sees to it). */
void export_at(const struct export_dir *e, struct blob_id *commit);

/*
 * Bytes that are already at hand while an act reads them: written to export.tmp/ as <blob id>; a later export_bring()
 * renames instead of reading git. They need not be durable yet: export_bring() sees to it.
 */
/* Thread-safe. */
enum err export_prepare(struct export_dir *e, const struct blob_id *id, const void *p, size_t n) MUST_CHECK;
/* Remove what was prepared and not used (an act that came to nothing; those of other acts are read from git then). */
void export_discard(struct export_dir *e);

/*
 * Directories that an act makes, if it is decided, filled in export.tmp/ by a thread of their own meanwhile: a later
 * export_bring() makes what is left, and renames each if exactly those files belong into it. Takes over both: files, sorted,
 * and where their bytes are (may be NULL); bytes: of all files together. False: nothing is made, since there are fewer than
 * EXPORT_AHEAD files, another act's are there, or the disk is too full.
 */
#define EXPORT_AHEAD 1000
bool export_ahead(struct export_dir *e, struct repo_shelf *shelf, struct plan *files, uint64_t bytes);
/* To be called after true: the act is decided, and what is left after the next export_bring() goes; or it came to nothing. */
void export_ahead_end(struct export_dir *e, bool decided);

/* When the version at a path was put there (microseconds): asked for each file that is written. */
typedef int64_t export_time_fn(void *arg, struct path path);

/*
 * Bring the directory from export.at to `to`. Replayable after a crash at any point. Many changes use one syncfs, few
 * of them one fdatasync of export.at. plan may be NULL (then it is computed); given, it must be the
 * difference export.at → to. If export.at was lost, everything is compared byte by byte and foreign things are moved out.
 */
enum err export_bring(struct export_dir *e, struct repo *r, const struct blob_id *to, const struct plan *plan,
    export_time_fn *when, void *arg) MUST_CHECK;
/* The same as if export.at had been lost: what export_compare() found is put right. */
enum err export_repair(struct export_dir *e, struct repo *r, const struct blob_id *to, export_time_fn *when, void *arg) MUST_CHECK;
/*
 * Compare names, types, sizes, modes (and bytes if deep) with the tree of export.at; fn for each difference, in words, from
 * the calling thread. Changes wait while names are compared (about a second for 100,000 files), and not while bytes are.
 * stop may be NULL; when it becomes true the bytes are not compared to the end.
 */
enum export_difference {
	EXPORT_OTHER, /* a path of the approved tree is missing or not as it should be */
	EXPORT_ALIEN, /* something that is not in the approved tree */
	EXPORT_IN_DOUBT, /* what it holds has to be brought along first */
};
typedef void export_differs_fn(void *arg, enum export_difference kind, const char *path, const char *what);
enum err export_compare(struct export_dir *e, struct repo *r, bool deep, atomic_int *stop, export_differs_fn *fn, void *arg) MUST_CHECK;
/* At start: empty export.tmp/. */
enum err export_clean(struct export_dir *e) MUST_CHECK;

#endif
