/*
 * named: counters and queues (DESIGN section 7) over any store that can load, store if nobody changed it since, and
 * remove. Servers that share a database agree through them: release numbers come from a counter, and who may publish
 * stands at the head of a queue.
 *
 * Each name has a version that rises with every write and never falls, not even after its removal; it is the fencing
 * token of a queue. The token alone does not say who stands at the head: a waiter reads the same one. A ticket's number
 * is never given twice under one name, also not after a removal. A name is a counter or a queue, never both at once.
 *
 * Who loses a race tries again, NAMED_TRIES times at most: then ERR_BUSY.
 */
#ifndef DRYDOCK_CORE_NAMED_H
#define DRYDOCK_CORE_NAMED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define NAMED_ID_LIMIT 128 /* bytes of a name: letters, digits and . _ - / : @ */
#define NAMED_PROCESS_LIMIT 128 /* of a member's process id, the same characters */
#define NAMED_MEMBERS 1000 /* of one queue */
#define NAMED_TRIES 32

enum named_kind { NAMED_NONE, NAMED_COUNTER, NAMED_QUEUE };

struct named_member {
	uint64_t ticket;
	char process[NAMED_PROCESS_LIMIT + 1];
};

/* What a name holds. Release with named_release(). */
struct named {
	enum named_kind kind; /* NAMED_NONE: not there, or removed */
	uint64_t version;
	uint64_t value; /* of a counter; of a queue: the last ticket given, kept beyond its removal */
	struct named_member *members; /* in order: [0] is the head */
	size_t n, cap;
};
void named_release(struct named *v);

struct named_store {
	/* A name that never was: NAMED_NONE, version 0. */
	enum err (*load)(void *arg, const char *id, struct named *out);
	/* Replace what has that version, which rises by one; ERR_STALE if somebody was first. */
	enum err (*store)(void *arg, const char *id, const struct named *value, uint64_t version);
	void (*pause)(void *arg, unsigned tries); /* before the next try; NULL: none */
	void *arg;
};

bool named_id_valid(const char *id);
const char *named_kind_name(enum named_kind kind);

/* ERR_INPUT: the name cannot be one. ERR_NOT_FOUND: there is none. ERR_STALE: it is of the other kind. */
enum err named_get(const struct named_store *s, enum named_kind kind, const char *id, struct named *out) MUST_CHECK;
enum err named_remove(const struct named_store *s, enum named_kind kind, const char *id) MUST_CHECK;
/* Add one (the first is 1). */
enum err named_next(const struct named_store *s, const char *id, uint64_t *value) MUST_CHECK;
/* Join at the end (again: nothing changes), or leave (ERR_NOT_FOUND if not a member). *out is the queue afterwards. */
enum err named_join(const struct named_store *s, const char *id, const char *process, struct named *out) MUST_CHECK;
/* The same with a new ticket above that number: where tickets up to it are known to have been given. */
enum err named_join_above(const struct named_store *s, const char *id, const char *process, uint64_t above, struct named *out) MUST_CHECK;
enum err named_leave(const struct named_store *s, const char *id, const char *process, struct named *out) MUST_CHECK;
/* The member's place, from 1 for the head; 0: not a member. */
size_t named_position(const struct named *queue, const char *process);

/* The members as a store keeps them: a line each, "TICKET PROCESS". ERR_FAILED: not what named_members_write made. */
void named_members_write(const struct named *v, struct buf *out);
enum err named_members_parse(struct named *v, const char *text, size_t len) MUST_CHECK;

#endif
