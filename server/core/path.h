/*
 * path: the name of a file or directory of a site, already safe.
 *
 * Absolute, '/'-separated, valid UTF-8, no control byte, no empty, "." or ".." part, no part that git reserves (".git"
 * in the spellings that git refuses on any file system: case, trailing dots and blanks, "git~1", ignorable code points,
 * ":$"), at most PATH_LIMIT bytes, PATH_PART_LIMIT a part. "/" is the root. No trailing slash otherwise.
 * path_parse() is the only way to get one from outside. Names that are not paths exist in staging: they are listed as
 * unpublishable with a reason, and never become a struct path.
 */
#ifndef DRYDOCK_CORE_PATH_H
#define DRYDOCK_CORE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/mem.h"

#define PATH_LIMIT 4096
#define PATH_PART_LIMIT 255
#define SITE_NAME_LIMIT 64

/* A borrowed, terminated string and its length. Copy the string if you keep it. */
struct path {
	const char *s;
	size_t len;
};

/* bytes need not be terminated; the result points to a copy in the arena. ERR_INPUT, saying which rule is broken. */
enum err path_parse(struct path *out, const char *bytes, size_t len, struct arena *a) MUST_CHECK;
/* The same check in place, for a terminated string that outlives out. A single trailing slash is not accepted. */
enum err path_check(struct path *out, const char *s) MUST_CHECK;
/* One part: NULL if fine, otherwise the reason as a fixed sentence ("reserved by git", "not valid UTF-8", ...). */
const char *path_part_problem(const char *part, size_t len);

struct path path_root(void);
bool path_is_root(struct path p);
bool path_equal(struct path a, struct path b);
/* dir itself or anything below it ("/ab" is not below "/a"). */
bool path_covers(struct path dir, struct path p);
/* The directory above; false for the root. The result is a copy in the arena. */
bool path_parent(struct path p, struct path *parent, struct arena *a);
/* The last part ("" for the root), pointing into p. */
const char *path_name(struct path p);
struct path path_join(struct path dir, const char *name, struct arena *a); /* name already checked; limits: see path_parse */
struct path path_copy(struct path p, struct arena *a);
/* The order of all lists: bytewise on the whole path. */
int path_compare(struct path a, struct path b);
/* SHA-256 of the bytes. */
void path_hash(struct path p, struct sha256 *out);
/*
 * The key of a file in the tables that have a row for each: SHA-256 of its path, and before it 4 bytes of that of the
 * directory at the top and 4 of that of its directory. So what one act names mostly lies together in the database.
 */
#define PATH_KEY_SIZE 40
struct path_key { uint8_t b[PATH_KEY_SIZE]; };
void path_key(struct path p, struct path_key *out);

/* DESIGN section 1: site names. */
bool site_name_valid(const char *name);

#endif
