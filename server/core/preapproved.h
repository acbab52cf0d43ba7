/*
 * preapproved: what is published without a signature: at or below a path, by the pattern of its name and its size,
 * until a time. Pure; who may say so and what happens then is for others.
 *
 * A pattern is one of the shell (fnmatch): * any bytes, ? one, [a-z] one of these, matched with the last part of the
 * path. A revoked file is never meant: a person took it away.
 */
#ifndef DRYDOCK_CORE_PREAPPROVED_H
#define DRYDOCK_CORE_PREAPPROVED_H

#include "core/path.h"

#define PREAPPROVED_PATTERN_LIMIT 255 /* bytes */
#define PREAPPROVED_STARS 4 /* in one pattern: each multiplies the time that a name takes */
#define PREAPPROVED_MOST 1000 /* pre-approvals of a site */

struct preapproved {
	struct path path;
	const char *pattern; /* "": every name */
	uint64_t largest; /* bytes; 0: what the site takes */
	int64_t until; /* wall clock; 0: for ever */
};

/* ERR_INPUT with the reason. */
enum err preapproved_check(const struct preapproved *p) MUST_CHECK;
bool preapproved_whole(const struct preapproved *p); /* everything at or below its path */
/* A file of that size; size 0 for one whose size does not matter. The end is the caller's to ask. */
bool preapproved_takes(const struct preapproved *p, struct path path, uint64_t size);
bool preapproved_ended(const struct preapproved *p, int64_t now);

#endif
