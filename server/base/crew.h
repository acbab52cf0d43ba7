/*
 * crew: a process that does what may hang, in children that may be killed.
 *
 * The crew is forked before there are threads, and waits on one end of a socket pair. Whoever holds the other end makes
 * a connection (crew_call): the crew forks a child for it, which runs work() on its end and ends. A child that does not
 * come to its end is killed by the kernel's own timer (crew_deadline), with all that it started; nothing in it can hold
 * that up. So a caller waits at most as long as it wants to, and at most `most` children hang at once.
 *
 * Messages on a connection are a length (32 bits, little endian) and that many bytes.
 */
#ifndef DRYDOCK_BASE_CREW_H
#define DRYDOCK_BASE_CREW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define CREW_MESSAGE (16u << 20) /* bytes of a message at most */

struct crew {
	const char *name; /* for the log: "pam" */
	unsigned most; /* children at once; the others wait in the socket's queue */
	void (*work)(int fd, void *arg); /* in the child */
	void *arg;
};

/* A pair of control sockets: [0] is the caller's, [1] the crew's. Both may be kept to start a crew again. */
enum err crew_pair(int control[2]) MUST_CHECK;
/* In a process forked for it: serve until control is closed or SIGTERM comes. Ends with the process that forked it. */
_Noreturn void crew_run(const struct crew *c, int control);
/* Fork a process that runs a crew; as user (NULL: as who we are). */
enum err crew_fork(const struct crew *c, const int control[2], enum err (*become)(const char *user), const char *user, pid_t *pid) MUST_CHECK;

/* In a child: from now on it has so long; 0: as long as it likes. */
void crew_deadline(int64_t us);

/* From any thread: a connection of one's own to a fresh child. ERR_BUSY: there is no crew, or it is behind. */
enum err crew_call(int control, int *fd) MUST_CHECK;
/* Whole messages. until: boot clock, 0 for ever. ERR_BUSY: not within that time; ERR_FAILED: the other side is gone. */
enum err crew_send(int fd, const void *p, size_t n, int64_t until) MUST_CHECK;
enum err crew_receive(int fd, struct buf *out, int64_t until) MUST_CHECK; /* replaces; the buffer's ceiling counts */

#endif
