/*
 * door: the only way to open anything in a staging tree, whose content, names and metadata are hostile.
 *
 * openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV, O_NONBLOCK | O_NOCTTY,
 * then fstat: a regular file with one link. A kernel without openat2 is refused at start. Thread-safe after opening.
 *
 * The directory is held open. If another directory takes its name (a deployment by rename, a mount), the door notices
 * at its next use and moves over; if there is nothing under the name any more, nothing is read (ERR_BUSY), rather
 * than the old directory under its new name.
 */
#ifndef DRYDOCK_STAGE_DOOR_H
#define DRYDOCK_STAGE_DOOR_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "core/fingerprint.h"
#include "core/path.h"
#include "core/state.h"

struct buf;
struct door;

/* ERR_INPUT if dir is not an absolute path of a readable directory (says which of these is wrong). */
enum err door_open(struct door **out, const char *dir, uint64_t largest_file) MUST_CHECK;
uint64_t door_largest_file(const struct door *d);
void door_close(struct door *d);
const char *door_dir(const struct door *d);

/*
 * Is the directory still the one that is open? Moves over to a new one (*moved, may be NULL, counts: it is another
 * number after each move). ERR_BUSY with the reason if there is none.
 */
enum err door_check(struct door *d, unsigned *moved) MUST_CHECK;

/* What stat tells of an entry; with the racy-clean rule it decides whether a cached fingerprint still stands. */
struct stage_stat {
	uint64_t size, inode;
	int64_t mtime_ns, ctime_ns;
	bool exec; /* any x bit of the mode */
	uid_t owner; /* by door_read only; no part of what makes two of them equal */
};
bool stage_stat_equal(const struct stage_stat *a, const struct stage_stat *b);

/*
 * Read a file once: fingerprint and stat, and, if sink is given, every byte in order (the same bytes that are hashed).
 * A file that changes while it is read is read again (sink is told by a call with p == NULL, "from the start"), and
 * after three times reported: ERR_BUSY. ERR_NOT_FOUND: not there. ERR_INPUT with *problem: cannot be published.
 * An error of sink ends the reading and is returned. print, st and problem may be NULL.
 */
typedef enum err door_sink(void *arg, const void *p, size_t n, uint64_t size);
enum err door_read(struct door *d, struct path path, struct fingerprint *print, struct stage_stat *st, enum problem *problem,
    door_sink *sink, void *arg) MUST_CHECK;
/* Whole file into memory, at most out->limit bytes (previews, differences): ERR_TOO_BIG past it. print may be NULL. */
enum err door_read_all(struct door *d, struct path path, struct buf *out, struct fingerprint *print) MUST_CHECK;

/* The UNIX user that a file belongs to. ERR_NOT_FOUND, ERR_INPUT. */
enum err door_owner(struct door *d, struct path path, uid_t *out) MUST_CHECK;

/* An entry of a directory. problem is what lstat can tell. */
enum entry_kind { ENTRY_FILE, ENTRY_DIR };
struct door_entry {
	const char *name; /* as it is on disk: bytes, perhaps not a valid part */
	size_t name_len;
	enum entry_kind kind;
	enum problem problem;
	struct stage_stat st; /* of a directory: the inode only */
};

/* Descriptors of directories, and memory that is used again: one reader a thread. */
struct door_reader;
struct door_reader *door_reader_new(void);
void door_reader_free(struct door_reader *r);
/* ERR_NOT_FOUND: no such directory. ERR_INPUT with *problem: there is something that is not to be entered. */
enum err door_dir_open(struct door *d, struct path dir, int *fd, enum problem *problem) MUST_CHECK;
/* Each entry, unordered, "." and ".." left out; names are not checked. Good until the reader's next list. */
enum err door_dir_list(struct door *d, struct door_reader *r, int dirfd, const struct door_entry **list, size_t *n) MUST_CHECK;
/* One entry, by its name in the open directory; e->name is name. ERR_NOT_FOUND. */
enum err door_dir_entry(struct door *d, int dirfd, const char *name, struct door_entry *e) MUST_CHECK;
/* The same for many, which is much faster for small files: their MD5s are made side by side. */
struct door_result {
	enum err err;
	enum problem problem;
	struct fingerprint print;
	struct stage_stat st;
};
void door_dir_read_many(struct door *d, struct door_reader *r, int dirfd, const char *const *names, size_t n, struct door_result *results);
/*
 * When names last came or went in a directory. On file systems that keep these times (door_dir_times), an equal stamp
 * that was not fresh when it was taken says that the names are the same.
 */
struct dir_stamp {
	uint64_t inode;
	int64_t mtime_ns, ctime_ns;
};
enum err door_dir_stamp(struct door *d, int dirfd, struct dir_stamp *out) MUST_CHECK;
bool door_dir_times(struct door *d);
/* door_read of a name in the open directory. */
enum err door_dir_read(struct door *d, struct door_reader *r, int dirfd, const char *name, struct fingerprint *print,
    struct stage_stat *st, enum problem *problem, door_sink *sink, void *arg) MUST_CHECK;

#endif
