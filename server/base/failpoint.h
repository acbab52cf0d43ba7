/*
 * failpoint: named places between the steps of whatever writes, where a test can stop the process, return an error or wait.
 *
 * base/failpoint.def lists them. In an ordinary build the macros are nothing. Configured with --enable-failpoints, a
 * process that finds DRYDOCK_FAILPOINTS=FILE in its environment maps that file (struct failpoint_control, made by
 * tests/lib/failpoints.py), counts in it what is reached, and does what it says. The file can be written while the process
 * runs, so one start serves many tests. The same file makes the N-th call of base/sys or base/mem fail. Tests in C use
 * failpoint_arm() and failpoint_hook. Never install such a build.
 */
#ifndef DRYDOCK_BASE_FAILPOINT_H
#define DRYDOCK_BASE_FAILPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define FAILPOINT_AT(name, where) FAIL_##name,
enum failpoint {
#include "base/failpoint.def"
	FAIL_COUNT
};
#undef FAILPOINT_AT

#ifdef DRYDOCK_ENABLE_FAILPOINTS

enum failpoint_action {
	FAILPOINT_NOTHING,
	FAILPOINT_STOP, /* SIGKILL to the own process */
	FAILPOINT_ERROR, /* an error, where there is somebody to return it to */
	FAILPOINT_DELAY, /* value: milliseconds */
	FAILPOINT_SYS, /* a call of base/sys fails; value: errno, 0: it writes half of what it should */
	FAILPOINT_MEMORY, /* an allocation fails */
};

/* Both sides are on one machine: numbers as it writes them. */
struct failpoint_control {
	unsigned magic, points; /* FAILPOINT_MAGIC, FAIL_COUNT */
	unsigned action, point;
	int after; /* this many times from now on, 1: the next one */
	int value;
	unsigned happened;
	unsigned sys_calls, allocations;
	unsigned hits[FAIL_COUNT];
};
#define FAILPOINT_MAGIC 0x64726c31u

enum err failpoint_reached(enum failpoint point);
bool failpoint_sys(bool writes, int *error); /* true: fail with *error; 0: write less */
bool failpoint_memory(void);

/* For tests in C, with or without a file. */
void failpoint_arm(enum failpoint_action action, enum failpoint point, int after, int value);
extern void (*_Atomic failpoint_hook)(const char *name); /* on any thread */

/* Here the process may be stopped or wait. */
#define FAILPOINT(name) ((void)failpoint_reached(FAIL_##name))
/* And here, if err says that all is well, it may turn into an error. */
#define FAILPOINT_OR(err, name) ((err) = (err) ? (err) : failpoint_reached(FAIL_##name))

#else

#define FAILPOINT(name) ((void)FAIL_##name)
#define FAILPOINT_OR(err, name) ((void)(err), (void)FAIL_##name)

#endif
#endif
