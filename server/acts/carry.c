/*
 * carry: the third step of an act: the log ref, the export directory. If it fails the act stands all the same, and what
 * is pending is tried again.
 */
#include <stdio.h>
#include <string.h>

#include "acts/internal.h"
#include "acts/turn.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"

enum err carry_ref(struct repo *repo, const char *ref, const struct blob_id *now)
{
	struct blob_id at;
	enum err err = repo_ref_get(repo, ref, &at);

	if (err == ERR_NOT_FOUND)
		return repo_ref_move(repo, ref, NULL, now);
	if (err || blob_id_equal(&at, now))
		return err;
	return repo_ref_move(repo, ref, &at, now);
}

/* --- the time of each exported file -------------------------------------------------------------------------------- */

struct when {
	struct site *s;
	struct db *db;
	int64_t at; /* of the act whose plan it is; 0: ask for each path */
};

static int64_t when_put(void *arg, struct path path)
{
	struct when *w = arg;
	struct arena *a;
	struct catalog_entry e;
	struct db_state_row row;
	int64_t at = 0;

	if (w->at)
		return w->at;
	a = arena_new();
	if (!catalog_get_file(w->s->catalog, path, &e, a) && e.has_approved)
		at = e.approved.at;
	else if (!db_state_get(w->db, w->s->name, path, &row, a))
		at = row.at;
	arena_free(a);
	return at ? at : clock_wall();
}

/* Up to here the answer waits for the export: few files are quickly there, and who signs one sees it there. */
#define CARRY_AT_ONCE 1000

enum err carry_export(struct site *s, struct actor_tools *t, const struct blob_id *to, const struct plan *plan, int64_t at)
{
	struct when w = { s, tools_db(t), plan ? at : 0 };
	struct blob_id held;
	struct repo *repo;
	enum err err = turn_sure(s, tools_db(t));

	if (!err)
		err = tools_repo(t, s, &repo);
	if (err)
		return err;
	export_at(s->export, &held);
	if (!blob_id_equal(&held, to))
		err = export_bring(s->export, repo, to, plan, when_put, &w);
	FAILPOINT_OR(err, carry_exported);
	s->export_seen = err ? (struct blob_id){ 0 } : *to;
	/* what a large act took was for once */
	if (!plan || plan->n > CARRY_AT_ONCE)
		mem_give_back();
	return err;
}

/* --- after an act -------------------------------------------------------------------------------------------------- */

static void note_pending(struct site *s, char pending[256], const char *what)
{
	snprintf(pending, 256, "%s: %s", what, err_text());
	log_event(LOG_LEVEL_ERROR, "act.pending", "site", s->name, "what", what, "why", err_text(), NULL);
}

bool carry_later(const struct site *s, size_t files)
{
	return s->carrier && files > CARRY_AT_ONCE;
}

void carry_act(struct site *s, struct actor_tools *t, const struct blob_id *old, const struct blob_id *now, const struct plan *plan, int64_t at, char pending[256])
{
	struct repo *repo;
	char ref[128];
	bool same_ground;
	enum err err = tools_repo(t, s, &repo);

	FAILPOINT_OR(err, carry_begun);
	if (!err)
		err = carry_ref(repo, site_log_ref(s, ref), now);
	if (err) {
		s->unsettled = true;
		note_pending(s, pending, "the log's ref does not stand at the new record yet");
	}
	FAILPOINT(carry_ref_moved);
	if (!s->export)
		return;
	same_ground = !blob_id_zero(&s->export_seen) && blob_id_equal(&s->export_seen, old);
	if (!plan || !plan->n) {
		if (same_ground)
			s->export_seen = *now;
		return;
	}
	if (s->export_held)
		return;
	if (carry_later(s, plan->n)) {
		s->export_behind = true;
		snprintf(pending, 256, "the export directory follows now, with %zu files", plan->n);
		return;
	}
	if (carry_export(s, t, now, same_ground ? plan : NULL, at)) {
		s->export_behind = true;
		note_pending(s, pending, "the export directory does not have it yet");
	} else {
		s->export_behind = false;
	}
}

/* --- later --------------------------------------------------------------------------------------------------------- */

static enum err carry_locked(struct site *s, struct actor_tools *t)
{
	struct db_head head;
	enum err err;

	if (s->read_only)
		return err_set(ERR_BUSY, "Nothing can be written: %s", s->read_only_reason);
	if (s->unsettled)
		return recover_locked(s, t, false);
	if (s->preapproval_ends && clock_wall() >= s->preapproval_ends) {
		err = site_load_preapprovals(s, tools_db(t));
		if (err)
			return err;
	}
	if (!s->export || s->export_held)
		return ERR_OK;
	err = db_head_get(tools_db(t), s->name, node_key_id(s->key), &head);
	if (err)
		return err;
	FAILPOINT_OR(err, carry_again);
	if (err || (!s->export_behind && blob_id_equal(&s->export_seen, &head.commit)))
		return err;
	err = carry_export(s, t, &head.commit, NULL, 0);
	s->export_behind = err != ERR_OK;
	return err;
}

enum err site_carry(struct site *s, struct actor_tools *t)
{
	enum err err;

	pthread_mutex_lock(&s->writer);
	err = carry_locked(s, t);
	pthread_mutex_unlock(&s->writer);
	return err;
}

/* Each act leaves a pack, and a look-up asks each of them. */
#define PACKS_LIMIT 500

enum err site_maintain(struct site *s, struct actor_tools *t)
{
	struct repo *repo;
	bool done;
	enum err err = s->waits ? ERR_OK : tools_repo(t, s, &repo);

	return err || s->waits ? err : repo_maintain(repo, PACKS_LIMIT, &done);
}

enum err site_export_hold(struct site *s, struct actor_tools *t, const struct blob_id *commit)
{
	enum err err;

	pthread_mutex_lock(&s->writer);
	if (s->export_held)
		err = err_set(ERR_BUSY, "Another run holds the export of %s.", s->name);
	else
		err = blob_id_equal(&s->export_seen, commit) ? ERR_OK : carry_export(s, t, commit, NULL, 0);
	FAILPOINT_OR(err, hold_brought);
	if (!err)
		s->export_held = true;
	else if (!s->export_held)
		s->export_behind = true;
	pthread_mutex_unlock(&s->writer);
	return err;
}

enum err site_export_release(struct site *s, struct actor_tools *t)
{
	enum err err;

	pthread_mutex_lock(&s->writer);
	s->export_held = false;
	err = carry_locked(s, t);
	FAILPOINT_OR(err, hold_ended);
	if (err)
		s->export_behind = true;
	pthread_mutex_unlock(&s->writer);
	return err;
}
