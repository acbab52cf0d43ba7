/*
 * recover: after a crash between any two steps of an act. The database's head is the truth, since its COMMIT is the
 * decision: the log ref and the export are brought to it. A log that knows more than the database means that the
 * database is an old copy: then nothing is written until somebody has looked.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "acts/internal.h"
#include "base/failpoint.h"
#include "base/log.h"

#define ANCESTRY_LIMIT 1000000 /* records walked back before giving up */

void site_make_read_only(struct site *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->read_only_reason, sizeof s->read_only_reason, fmt, ap);
	va_end(ap);
	s->read_only = true;
	log_event(LOG_LEVEL_ERROR, "site.read-only", "site", s->name, "why", s->read_only_reason, NULL);
}

/* Is `old` in the chain of parents of `from`? */
static enum err is_ancestor(struct repo *repo, const struct blob_id *old, const struct blob_id *from, bool *answer)
{
	struct blob_id at = *from;
	enum err err = ERR_OK;

	*answer = false;
	for (unsigned i = 0; i < ANCESTRY_LIMIT && !blob_id_zero(&at); i++) {
		if (blob_id_equal(&at, old)) {
			*answer = true;
			return ERR_OK;
		}
		err = repo_commit_parent(repo, &at, &at);
		if (err)
			return err == ERR_NOT_FOUND ? ERR_OK : err;
	}
	return ERR_OK;
}

static enum err recover_log(struct site *s, struct repo *repo, const struct db_head *head)
{
	struct blob_id ref = { 0 };
	char name[128];
	bool behind, ahead;
	enum err err = repo_ref_get(repo, site_log_ref(s, name), &ref);
	bool torn = err && err != ERR_NOT_FOUND;

	FAILPOINT(recover_ref_read);
	if (!head->seq && torn)
		return err;
	if (!head->seq) {
		if (err != ERR_NOT_FOUND)
			site_make_read_only(s, "the database knows nothing of the log of %s. Was it restored or replaced? See drydockd rebuild.", s->name);
		return ERR_OK;
	}
	repo_refresh(repo);
	if (!repo_has(repo, &head->commit)) {
		site_make_read_only(s, "record %llu is in the database but not in the repository of %s. See drydockd fsck.", (unsigned long long)head->seq, s->name);
		return ERR_OK;
	}
	/* Refs are not synced: after a power cut one can be missing or torn. The database says where it stood. */
	if (err) {
		log_event(LOG_LEVEL_WARN, "recover.ref", "site", s->name, "seq", log_u64(head->seq), "torn", torn ? "yes" : "no", NULL);
		return repo_ref_set(repo, name, &head->commit);
	}
	if (blob_id_equal(&ref, &head->commit))
		return ERR_OK;
	err = is_ancestor(repo, &ref, &head->commit, &behind);
	if (!err && behind) {
		log_event(LOG_LEVEL_WARN, "recover.ref", "site", s->name, "seq", log_u64(head->seq), NULL);
		return carry_ref(repo, name, &head->commit);
	}
	if (!err)
		err = is_ancestor(repo, &head->commit, &ref, &ahead);
	if (err)
		return err;
	if (ahead)
		site_make_read_only(s, "the database is behind the log of %s: it ends at record %llu. Was an old copy restored? See drydockd rebuild.",
		    s->name, (unsigned long long)head->seq);
	else
		site_make_read_only(s, "the database and the log of %s disagree. See drydockd fsck.", s->name);
	return ERR_OK;
}

enum err recover_locked(struct site *s, struct actor_tools *t, bool at_start)
{
	struct repo *repo;
	struct db_site row;
	struct db_head head;
	struct rules *rules;
	enum err err = tools_repo(t, s, &repo);

	FAILPOINT_OR(err, recover_begun);
	if (!err && at_start) {
		err = repo_clean_temporary(repo);
		FAILPOINT_OR(err, recover_repo_cleaned);
		if (!err && s->export)
			err = export_clean(s->export);
	}
	FAILPOINT_OR(err, recover_cleaned);
	if (!err)
		err = db_head_get(tools_db(t), s->name, node_key_id(s->key), &head);
	if (!err)
		err = recover_log(s, repo, &head);
	FAILPOINT_OR(err, recover_log_right);
	if (err || s->read_only)
		return err;
	/* Read again, now that the repository is whole: to be held against the log's. */
	site_rules_stale(s);
	err = db_site_get(tools_db(t), s->name, &row);
	if (!err)
		err = site_rules_at(s, tools_db(t), repo, row.rules_version, &rules);
	if (err)
		return err;
	rules_unref(rules);
	if (s->catalog && !at_start) {
		err = site_load_states(s, tools_db(t));
		if (!err)
			err = site_load_preapprovals(s, tools_db(t));
	}
	FAILPOINT_OR(err, recover_loaded);
	if (!err && s->catalog)
		err = release_refs(s, t);
	FAILPOINT_OR(err, recover_refs_right);
	if (err)
		return err;
	s->unsettled = false;
	if (!s->export || s->export_held || !head.seq)
		return ERR_OK;
	/* The export cannot be the reason not to serve: it is tried again, and no sync runs before. */
	if (carry_export(s, t, &head.commit, NULL, 0)) {
		s->export_behind = true;
		log_event(LOG_LEVEL_ERROR, "recover.export", "site", s->name, "why", err_text(), NULL);
	} else {
		s->export_behind = false;
	}
	FAILPOINT(recover_done);
	return ERR_OK;
}

enum err site_recover(struct site *s, struct actor_tools *t)
{
	enum err err;

	pthread_mutex_lock(&s->writer);
	err = recover_locked(s, t, true);
	pthread_mutex_unlock(&s->writer);
	return err;
}

enum err site_reload(struct site *s, struct db *db, const struct path *strayed, size_t n)
{
	static const struct approved none;
	struct repo *repo;
	enum err err;

	/* Whatever becomes of this: nothing that was kept counts any more. */
	s->unsettled = true;
	site_rules_stale(s);
	for (size_t i = 0; s->catalog && i < n; i++)
		catalog_set_approved(s->catalog, strayed[i], &none);
	/* Held against the log's: somebody may have written into the table since the check has read it. */
	err = repo_open(&repo, s->repo_dir);
	if (!err) {
		err = site_load(s, db, repo);
		repo_close(repo);
	}
	if (s->auth)
		auth_forget(s->auth);
	atomic_fetch_add(&s->generation, 1);
	if (s->changed)
		s->changed(s->changed_arg, "act");
	s->unsettled = err != ERR_OK;
	return err;
}
