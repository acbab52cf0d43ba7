/*
 * jobs: acts on files that are under way, by site, person and the id of the act: so that a page can show how far one has
 * come, can be left, and is found again.
 *
 * What a browser asks for is done by threads of this table, so that long acts never take the workers that make pages.
 * What the API asks for is done by the worker of its request, and is in the table meanwhile. Bounded: JOBS_OWN waiting
 * or running for one person, JOBS_ALL for all, JOBS_BYTES of lists of paths. An act that came to nothing stays, with
 * its reason, for JOBS_KEPT or until room is needed. One that was recorded is found in the database by its id, which is
 * also what tells after a restart whether it was.
 */
#ifndef DRYDOCK_WEB_JOBS_H
#define DRYDOCK_WEB_JOBS_H

#include <time.h>

#include "acts/acts.h"

#define JOBS_OWN 8
#define JOBS_ALL 64
#define JOBS_BYTES (64u << 20)
#define JOBS_KEPT (3600 * CLOCK_SECOND)

/* What is to be done, and how the form said it; copied. */
struct job_ask {
	struct site *site;
	struct act_request rq; /* the actor is a person */
	struct file_act fa; /* without progress */
	bool single; /* asked for on the page of one file, which is dir */
	struct path dir; /* where the form was */
	bool whole; /* all of dir in that state, and not files that were ticked */
	const char *state; /* "": any */
	const char *skipped; /* a sentence about files left out; may be NULL */
};

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_OVER };

/* How it stands; a copy. */
struct job_now {
	enum job_state state;
	char step[16]; /* as act_files says: "select", "read", "record", "export" */
	uint64_t done, total; /* files of that step; total 0: not known */
	uint64_t files; /* of the act; 0: not known yet */
	int64_t since; /* wall clock: when it was asked for */
	uint64_t version; /* another number with each difference */
	/* when it is over: */
	enum err err;
	char why[1024];
	struct act_answer answer;
};

struct jobs;
struct job;

struct jobs *jobs_new(unsigned threads, const struct db_address *database);
/* Nothing new begins. True when nothing runs any more, false if that did not happen by then (CLOCK_MONOTONIC). */
bool jobs_stop(struct jobs *t, const struct timespec *until);
void jobs_free(struct jobs *t); /* after jobs_stop() said true */

/*
 * Begin. The same id and request once more: the job that runs already. ERR_STALE: the id runs with another request;
 * ERR_BUSY: too many. The caller has a reference.
 */
enum err jobs_begin(struct jobs *t, const struct job_ask *ask, struct job **out) MUST_CHECK;
/* Wait until it is over, at most so long: true if it is. */
bool job_wait(struct job *j, int64_t us);

/*
 * An act that its caller does himself: in the table until jobs_leave(). NULL: there is no room, or the id is running
 * already; then it goes on unseen. job_progress and the job are what fa wants.
 */
struct job *jobs_enter(struct jobs *t, const struct job_ask *ask);
void jobs_leave(struct job *j); /* NULL is allowed */
void job_progress(void *job, const char *step, uint64_t done, uint64_t total);

/* The person's own only: referenced, or NULL. */
struct job *jobs_find(struct jobs *t, const struct site *s, const char *actor, const struct uuid *op);
const struct job_ask *job_ask(const struct job *j); /* as long as the reference; of one that was recorded without lists */
void job_look(struct job *j, struct job_now *out);
void job_told(struct job *j); /* its person has been shown how it ended: it is in no list any more */
void job_unref(struct job *j);
/* Those of a person on a site, oldest first: what runs, and what came to nothing and was not told yet. */
size_t jobs_list(struct jobs *t, const struct site *s, const char *actor, struct job **out, size_t most);

#endif
