/*
 * spawn: an outside program as a value. Argument vector, environment built from nothing, closed descriptors, its own
 * process group, a deadline, capped output. No shell line of ours anywhere.
 */
#ifndef DRYDOCK_BASE_SPAWN_H
#define DRYDOCK_BASE_SPAWN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct spawn {
	const char *const *argv; /* argv[0] is a path, or a name to be found in /usr/sbin:/usr/bin:/sbin:/bin */
	const char *const *env; /* NULL: only PATH and LANG=C.UTF-8 */
	const char *cwd; /* NULL: / */
	const void *input; /* NULL: /dev/null */
	size_t input_len;
	const int *input_fd; /* a pipe's end instead; it stays the caller's. NULL: none */
	int64_t deadline_us; /* from start; 0: none. Then SIGTERM to the group, SIGKILL two seconds later */
	struct buf *out; /* standard output; NULL: dropped. Past its ceiling the rest is read and dropped */
	struct buf *err_out; /* standard error; NULL: the same as out */
	/* Called with each piece of standard output as it comes; may be NULL. Returning false ends the program. */
	bool (*progress)(void *arg, const char *piece, size_t n);
	void *progress_arg;
	atomic_int *cancel; /* set to non-zero by another thread: end the program; may be NULL */
	int64_t silence_us; /* with hurry: as long as this it may print nothing, on neither output */
	bool unheard; /* then what it prints does not count: so long after its start */
	atomic_int *hurry; /* set to non-zero by another thread: end it once it was silent for so long; may be NULL. Not without cancel */
	/*
	 * A session of its own, of which nothing is left when this returns, where before_exec sees to it that no process leaves
	 * it (confine_kit). Needs before_exec.
	 */
	bool session;
	/* In the child, which shares our memory until exec: system calls only, nothing written (landlock); may be NULL. */
	void (*before_exec)(void *arg);
	void *before_arg;
	/*
	 * What before_exec arranged for the program to ask us while it runs: watch is called once, with before_arg, and gives a
	 * descriptor (-1: none), which is closed in the end; answer, whenever that can be read. Both may be NULL.
	 */
	int (*watch)(void *arg);
	void (*answer)(void *arg, int fd, pid_t pid);
};

struct spawn_result {
	int status; /* exit status; 128+n for signal n */
	bool timed_out, cancelled, silent; /* why it was ended */
};

/* Run to its end. ERR_NOT_FOUND if there is no such program; a non-zero status is not an error here. */
enum err spawn_run(const struct spawn *s, struct spawn_result *r) MUST_CHECK;
/* A long-lived child in its own session (mariadbd): returns its pid; output goes to log_fd. */
enum err spawn_daemon(const char *const *argv, const char *const *env, const char *cwd, int log_fd, pid_t *pid) MUST_CHECK;

#endif
