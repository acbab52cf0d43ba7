/*
 * datadir: the data directory of an installation: made once, marked with a format, locked while a drydockd uses it.
 *
 *   drydock.conf      configuration, unless it is kept elsewhere     node.key, node.pub  this node's key
 *   format            which layout this is                          allowed_signers     for git and ssh-keygen
 *   lock              locked while in use; holds the process id     db/, db.sock, ...   the private database
 *   sites/NAME/       repository, export directory of a site        drydock.sock        the local socket
 *
 * Mode 0711: other users of the machine may connect to the socket, and read nothing.
 */
#ifndef DRYDOCK_DAEMON_DATADIR_H
#define DRYDOCK_DAEMON_DATADIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

#define DATADIR_SOCKET "drydock.sock"

/*
 * Make one: the directory and its key, what else is put in by fill, and the format, which makes it one. An empty directory, or
 * one that does not exist, or what an attempt left that was cut short, becomes one; anything else is refused (ERR_STALE if it
 * is a data directory already).
 */
enum err datadir_init(const char *dir, enum err (*fill)(void *arg, int dir), void *arg) MUST_CHECK;
/*
 * Check and lock it, for as long as the process lives. ERR_NOT_FOUND: not a data directory; ERR_STALE: of another
 * format; ERR_BUSY: in use, naming the process.
 */
enum err datadir_lock(const char *dir, int *lock) MUST_CHECK;
/* Does another process have it locked? */
bool datadir_in_use(const char *dir);
void datadir_unlock(int lock);

#endif
