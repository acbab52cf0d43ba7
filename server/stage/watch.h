/*
 * watch: inotify on directories of a staging tree.
 *
 * A watch follows the directory, not its name: a renamed one goes on reporting under the same number, and watching it
 * again gives that number again. Who keeps a map from numbers to names has to expect both.
 * Not thread-safe: the caller holds a lock of his own.
 */
#ifndef DRYDOCK_STAGE_WATCH_H
#define DRYDOCK_STAGE_WATCH_H

#include <stdbool.h>

#include "base/err.h"

struct watch;

/* ERR_FAILED with the reason (too many instances, no inotify). */
enum err watch_open(struct watch **out) MUST_CHECK;
void watch_close(struct watch *w);
int watch_fd(const struct watch *w); /* to poll */

/* ERR_TOO_BIG: the kernel gives this user no more watches (fs.inotify.max_user_watches). ERR_NOT_FOUND: it is gone. */
enum err watch_add(struct watch *w, int dirfd, int *id) MUST_CHECK;
void watch_remove(struct watch *w, int id);

enum watch_what {
	WATCH_CHANGED, /* a name in the directory came, went or was written and closed */
	WATCH_WRITTEN, /* a file in it is being written, and may be written on */
	WATCH_MOVED, /* the directory itself has another name now, perhaps outside */
	WATCH_ENDED, /* the kernel took the watch away: the directory is gone */
	WATCH_LOST, /* events were lost (id is 0): look everywhere */
};
/* What has happened until now; does not wait. False if nothing had. */
bool watch_collect(struct watch *w, void (*fn)(void *arg, int id, enum watch_what what), void *arg);
/* Is anything waiting to be collected? */
bool watch_pending(const struct watch *w);

#endif
