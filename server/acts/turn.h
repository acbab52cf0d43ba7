/*
 * turn: which of the servers on one database writes and publishes a site (DESIGN section 7).
 *
 * Servers that stand in for one another have the same node.key and configuration, a database between them, each its own
 * data directory, and `sites` in it on storage that they share. They queue in publisher/SITE; the head has the turn, and
 * its ticket is the term of the releases that it cuts. Each act asks again in its own transaction. The others are
 * read-only and wait. A holder that was not heard of for TURN_OVERDUE is removed by the next one, as a record ("turn");
 * should it come back, it notices, joins again behind, and has a higher ticket when its turn comes. What it may still be
 * sending has the old term, and receivers refuse that.
 *
 * A server that stops says so: nobody waits for it. If it comes back to the same data directory before anybody took over,
 * its ticket is still its own, also after a crash: the directory's lock says that the one before is gone.
 */
#ifndef DRYDOCK_ACTS_TURN_H
#define DRYDOCK_ACTS_TURN_H

#include "acts/acts.h"

#define TURN_BEAT (5 * CLOCK_SECOND) /* between heartbeats, and between looks at those of others */
#define TURN_OVERDUE (60 * CLOCK_SECOND) /* without a heartbeat */
#define TURN_UNSURE (45 * CLOCK_SECOND) /* without one of its own that worked: a server sends nothing more */

/* What a server knows about itself and the others; thread-safe. */
struct turns;
/* lock: of the data directory, taken. alone: the database is its own, so nobody else can be there. */
enum err turns_new(struct turns **out, int lock, bool alone) MUST_CHECK;
/* For a command that does not stay to watch: the age of a heartbeat alone decides. */
void turns_hurry(struct turns *t);
void turns_free(struct turns *t);
bool turns_alone(const struct turns *t);
/* Heard of now, on all sites, unless it has stopped. Keeps when that worked last. */
enum err turns_beat(struct turns *t, struct db *db) MUST_CHECK;
/* The last one that worked is so long ago that another server may have taken over. */
bool turns_unsure(struct turns *t);
/* For what changes the database without asking for a turn. ERR_BUSY: another server uses it, or was not stopped and may still. */
enum err turns_nobody_else(const struct turns *t, struct db *db) MUST_CHECK;
void turns_hush(struct turns *t); /* no more beats, until it joins again: others hear after TURN_OVERDUE */
void turns_stop(struct turns *t, struct db *db); /* give all turns away, until it joins again */
/* acts/heart.c: a thread with a connection of its own beats, from before the first site joins until after turns_stop. */
struct heart;
enum err heart_start(struct heart **out, struct turns *t, const struct db_address *database) MUST_CHECK;
void heart_stop(struct heart *h); /* NULL: fine */
bool heart_silent(const struct heart *h); /* the last beat failed */

enum turn { TURN_MINE, TURN_WAITS, TURN_DUE /* all before it are overdue */, TURN_LOST /* it is not in the queue any more */ };
/* How it stands; nothing changes but what is known about the others. */
enum err turn_look(struct site *s, struct actor_tools *t, enum turn *out) MUST_CHECK;
/* Opening a site: join, and take the turn if it is free or overdue. Sets server, term, waits, read_only. */
enum err turn_enter(struct site *s, struct actor_tools *t) MUST_CHECK;
/* Of a site that waits: rights as they are now, and what was approved elsewhere, which may be half a minute late. */
enum err turn_follow(struct site *s, struct actor_tools *t) MUST_CHECK;
/* The turn is gone: nothing more is written. The site is to be opened again. */
void turn_lose(struct site *s);
/* In a transaction that writes what a publisher writes: ERR_BUSY if the turn is another's. */
enum err turn_check(struct site *s, struct db *db) MUST_CHECK;

/* Before anything that no transaction guards: asks the database if it has been long. ERR_BUSY. */
enum err turn_sure(struct site *s, struct db *db) MUST_CHECK;

/* Does more than one server take part? Asks nobody. */
bool turn_shared(const struct site *s);
/* For people: who queues, in order. */
struct turn_member { char process[NAMED_PROCESS_LIMIT + 1]; uint64_t ticket; int64_t seen_us; /* ago; < 0: it has stopped */ bool me; };
enum err turn_list(const struct site *s, struct db *db, struct turn_member **out, size_t *n, struct arena *a) MUST_CHECK;

#endif
