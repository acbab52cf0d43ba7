/*
 * door: the only way to open anything in a staging tree, whose content, names and metadata are hostile.
 *
 * openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV, O_NONBLOCK | O_NOCTTY,
 * then fstat: a regular file with one link. A kernel without openat2 is refused at start. Thread-safe after opening.
 */
#ifndef DRYDOCK_STAGE_DOOR_H
#define DRYDOCK_STAGE_DOOR_H

#include <stdint.h>

#include "base/err.h"
#include "core/fingerprint.h"
#include "core/path.h"
#include "core/state.h"

struct door;

/* ERR_INPUT if dir is not an absolute path of a readable directory (says which of these is wrong). */
enum err door_open(struct door **out, const char *dir, uint64_t largest_file) MUST_CHECK;
void door_close(struct door *d);
const char *door_dir(const struct door *d);

/* What stat tells of an entry; with the racy-clean rule it decides whether a cached fingerprint still stands. */
struct stage_stat {
	uint64_t size, inode;
	int64_t mtime_ns, ctime_ns;
	bool exec; /* any x bit of the mode */
};

/*
 * Read a file once: fingerprint and stat, and, if sink is given, every byte in order (the same bytes that are hashed).
 * A file that changes while it is read is read again (sink is told by a call with p == NULL, "from the start"), and
 * after three times reported: ERR_BUSY. ERR_NOT_FOUND: not there. ERR_INPUT with *problem: cannot be published.
 */
typedef enum err door_sink(void *arg, const void *p, size_t n, uint64_t size);
enum err door_read(struct door *d, struct path path, struct fingerprint *print, struct stage_stat *st, enum problem *problem,
    door_sink *sink, void *arg) MUST_CHECK;
/* Whole file into memory, at most limit bytes (previews, differences). */
enum err door_read_all(struct door *d, struct path path, struct buf *out, struct fingerprint *print) MUST_CHECK;

/* One directory: fn for each entry, unordered, "." and ".." left out. problem is what lstat can tell. */
enum entry_kind { ENTRY_FILE, ENTRY_DIR };
struct door_entry {
	const char *name; /* as it is on disk: bytes, perhaps not a valid part; then problem is PROBLEM_NAME */
	enum entry_kind kind;
	enum problem problem;
	struct stage_stat st;
};
enum err door_list(struct door *d, struct path dir, enum err (*fn)(void *arg, const struct door_entry *e), void *arg) MUST_CHECK;

#endif
