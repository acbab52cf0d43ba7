/*
 * state: the seven states of a file, and the pure function that tells which one it is in.
 */
#ifndef DRYDOCK_CORE_STATE_H
#define DRYDOCK_CORE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/fingerprint.h"

enum file_state {
	STATE_UNSIGNED,
	STATE_CHANGED,
	STATE_MISSING,
	STATE_REVOKED,
	STATE_PREAPPROVED,
	STATE_SIGNED,
	STATE_UNPUBLISHABLE,
	STATE_COUNT
};

/* How the approved side stands. */
enum approval {
	APPROVAL_NONE, /* never approved */
	APPROVAL_SIGNED,
	APPROVAL_PREAPPROVED, /* approved by rule, by the system */
	APPROVAL_REVOKED, /* was approved; not in the approved tree */
};

/* Why a name in staging cannot be published. PROBLEM_NONE: it can. */
#define PROBLEM_SENTENCE 128
enum problem {
	PROBLEM_NONE,
	PROBLEM_SYMLINK,
	PROBLEM_SPECIAL, /* device, FIFO, socket */
	PROBLEM_HARDLINK, /* more than one link */
	PROBLEM_NAME, /* reserved, badly encoded, control bytes */
	PROBLEM_TOO_LONG, /* path or part over its limit */
	PROBLEM_TOO_BIG, /* over the site's largest file */
	PROBLEM_UNREADABLE, /* no permission, I/O error */
	PROBLEM_BUSY, /* kept changing while it was read */
	PROBLEM_OTHER_FS, /* a mount point */
	PROBLEM_COUNT
};

/* A file that nothing knows (not staged, never approved or revoked and not staged) has no state: returns false. */
bool state_of(enum file_state *out, bool staged, enum problem problem, const struct fingerprint *staged_print,
    enum approval approval, const struct fingerprint *approved_print, bool preapproved_here);

const char *state_name(enum file_state s); /* "unsigned" ... */
bool state_parse(enum file_state *out, const char *name);
const char *problem_name(enum problem p); /* "symlink": for programs */
const char *problem_text(enum problem p); /* "symbolic links are not published": for people */
/* The same, with the limit where there is one: "it is larger than 2 GiB, the most that this site publishes". */
const char *problem_sentence(enum problem p, uint64_t largest_file, char out[PROBLEM_SENTENCE]);

#endif
