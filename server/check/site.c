/*
 * A site checked: its log is walked once, and everything else is held against what its records add up to.
 */
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/pool.h"
#include "check/internal.h"

struct pass {
	struct check *c;
	struct repo *repo;
	struct log log;
	struct release_chain chain;
	struct rows *rows; /* NULL: the database is not compared */
	struct versions *versions;
	struct db_head head; /* as the database has it */
	uint64_t last; /* the record up to which the database goes */
	bool compare; /* the database has something to be compared */
	size_t n_releases;
	struct blob_id site_before;
	bool incomplete; /* a record could not be taken up: sums are not known */
};

/* --- where the log ends ------------------------------------------------------------------------------------------------ */

/* Is `old` among the commits before `from`, or that one itself? */
static bool comes_before(struct repo *repo, const struct blob_id *old, const struct blob_id *from)
{
	struct blob_id at = *from;

	while (!blob_id_zero(&at)) {
		if (blob_id_equal(&at, old))
			return true;
		if (repo_commit_parent(repo, &at, &at))
			return false;
	}
	return false;
}

/* Ref and head at one moment, with the database standing still from there on. */
static enum err look_at_ends(struct pass *x, struct blob_id *ref, enum err *ref_err)
{
	const struct check_place *p = x->c->p;
	enum err e;

	hold(p);
	e = db_still_begin(p->db);
	if (!e)
		e = db_head_get(p->db, p->name, node_key_id(p->key), &x->head);
	repo_refresh(x->repo);
	*ref_err = repo_ref_get(x->repo, x->c->log_ref, ref);
	if (!e)
		e = releases_open(x->c, x->repo, &x->chain);
	let_go(p);
	return e;
}

static void tell_ref(struct pass *x, const char *what)
{
	const struct check_place *p = x->c->p;

	found(x->c, FINDING_LOG_REF, x->c->log_ref, "%s", what);
	if (!x->c->mend)
		return;
	hold(p);
	x->c->mended |= repo_ref_set(x->repo, x->c->log_ref, &x->head.commit) == ERR_OK;
	FAILPOINT(mend_log_ref);
	let_go(p);
}

static bool has_records(const struct check_place *p)
{
	struct arena *a = arena_new();
	struct db_record_row row;
	bool any = db_record_get(p->db, p->name, node_key_id(p->key), 1, &row, a) == ERR_OK || db_record_get(p->db, p->name, node_key_id(p->key), 2, &row, a) == ERR_OK;

	arena_free(a);
	return any;
}

/* Which commit the walk begins at; zero: there is no log. */
static struct blob_id choose_tip(struct pass *x, const struct blob_id *ref, enum err ref_err)
{
	static const struct blob_id none;
	struct check *c = x->c;
	char hex[COMMIT_HEX], at[COMMIT_HEX];

	x->compare = x->head.seq || has_records(c->p);
	if (!x->head.seq) {
		/* With records and no head, the row of the head is what is missing: it will be named. */
		if (!ref_err && !x->compare)
			found(c, FINDING_DATABASE_EMPTY, c->p->name, "the database knows no record, and the log ends at commit %s", commit_hex(ref, hex));
		return ref_err ? none : *ref;
	}
	if (!repo_has(x->repo, &x->head.commit)) {
		found(c, FINDING_LOG_MISSING, commit_hex(&x->head.commit, hex), "the database has record %llu with this commit, and the repository has not",
		    (unsigned long long)x->head.seq);
		return ref_err ? none : *ref;
	}
	if (ref_err) {
		tell_ref(x, ref_err == ERR_NOT_FOUND ? "it is missing" : "it cannot be read");
	} else if (blob_id_equal(ref, &x->head.commit)) {
		return *ref;
	} else if (comes_before(x->repo, ref, &x->head.commit)) {
		tell_ref(x, "it stands at an earlier record than the database's newest");
	} else if (comes_before(x->repo, &x->head.commit, ref)) {
		return *ref;
	} else {
		found(c, FINDING_LOG_FOREIGN, commit_hex(ref, hex), "%s stands at it, and it does not lead to commit %s, the database's record %llu", c->log_ref,
		    commit_hex(&x->head.commit, at), (unsigned long long)x->head.seq);
	}
	return x->head.commit;
}

/* --- the walk ---------------------------------------------------------------------------------------------------------- */

static enum err take(void *arg, const struct log_entry *e)
{
	struct pass *x = arg;
	struct check *c = x->c;
	char subject[128], hex[COMMIT_HEX];
	enum err err = ERR_OK;

	c->out->records++;
	if (!e->read || (e->damaged && !e->files && e->record.files_count)) {
		x->incomplete = true;
		return ERR_OK;
	}
	/* What comes after the database's newest is only verified. */
	if (e->seq > x->last)
		return ERR_OK;
	if (!x->incomplete && replay_add(c->replay, e)) {
		snprintf(subject, sizeof(subject), "record %llu, commit %s", (unsigned long long)e->seq, commit_hex(&e->commit, hex));
		found(c, FINDING_LOG_ACT, subject, "%s", err_text());
		x->incomplete = true;
	}
	if (x->rows && !x->incomplete)
		replay_rows(c->replay, e, rows_expect, x->rows);
	versions_add(x->versions, x->repo, e);
	if (c->o->deep && !x->incomplete)
		err = check_step(c, x->repo, e, &x->site_before);
	x->site_before = e->parts.site;
	if (record_cuts_release(e->record.act))
		check_release(c, x->repo, &x->chain, x->n_releases++, e);
	return err;
}

/* How far the database goes: to its head's place in the log, whatever number it gives it; the row of the head is compared. */
static uint64_t last_of_database(const struct pass *x)
{
	for (size_t i = x->log.n; i-- > 0;)
		if (blob_id_equal(&x->log.ids[i], &x->head.commit))
			return i + 1;
	return x->log.n;
}

static enum err again(void *arg, const struct log_entry *e)
{
	struct pass *x = arg;

	replay_rows(x->c->replay, e, rows_expect, x->rows);
	return ERR_OK;
}

static enum err compare_database(struct pass *x)
{
	enum err e;

	replay_end(x->c->replay, rows_expect, x->rows);
	e = rows_compare(x->rows, x->c->p->db);
	for (uint64_t seq = 0; !e && (seq = rows_next(x->rows, seq));)
		e = log_one(&x->log, seq - 1, again, x);
	return e ? e : rows_name(x->rows, x->c->p->db);
}

/* With the database still: the log, and the database against it. */
static enum err check_records(struct pass *x)
{
	struct check *c = x->c;
	struct blob_id ref = { { 0 } }, tip, broken = { { 0 } };
	char hex[COMMIT_HEX];
	enum err ref_err, e = look_at_ends(x, &ref, &ref_err);

	if (e)
		return e;
	tip = choose_tip(x, &ref, ref_err);
	if (blob_id_zero(&tip))
		return ERR_OK;
	if (log_open(&x->log, &tip, NULL, &broken)) {
		found(c, FINDING_OBJECT_MISSING, commit_hex(&broken, hex), "the log cannot be read before this commit: %s", err_text());
		x->incomplete = c->log_damaged = true;
		return ERR_OK;
	}
	x->last = last_of_database(x);
	replay_releases(c->replay, x->chain.ids, x->chain.n);
	if (x->compare && !x->incomplete)
		x->rows = rows_new(c, x->last);
	e = log_each(&x->log, take, x);
	if (e)
		return e;
	if (x->chain.n > x->n_releases && x->log.n == x->last && !x->incomplete)
		found(c, FINDING_RELEASE_REF, commit_hex(&x->chain.ids[x->n_releases], hex), "refs/heads/main has this release, and no record cut it");
	/* Commits that are not records were told one by one. */
	if (x->log.n > x->last && !c->log_damaged)
		found(c, FINDING_DATABASE_BEHIND, c->p->name, "the database ends at record %llu, and the log at record %zu", (unsigned long long)x->last, x->log.n);
	if (x->rows && !x->incomplete)
		e = compare_database(x);
	if (!e && !x->incomplete)
		e = check_approved(c, x->repo, &x->log.ids[x->last - 1]);
	if (!e && c->p->export == NULL && strcmp(c->p->name, INSTALLATION) == 0)
		e = check_schema(c);
	return e;
}

struct taken {
	struct rows *rows;
	size_t n;
};

static enum err taken_since(void *arg, const struct log_entry *e)
{
	struct taken *t = arg;

	if (e->damaged)
		return err_set(ERR_FAILED, "record %llu is damaged", (unsigned long long)e->seq);
	rows_overtaken(t->rows, e);
	t->n++;
	return ERR_OK;
}

/* The records that were written since the rows were read, or since this was asked last: each, or nothing is put right. */
static enum err follow(struct pass *x)
{
	const struct check_place *p = x->c->p;
	struct log since = { .repo = x->repo, .site = p->name, .key = p->key, .check = x->c, .before = x->head.seq };
	struct taken taken = { .rows = x->rows };
	struct db_head now;
	struct blob_id broken;
	enum err e = db_head_get(p->db, p->name, node_key_id(p->key), &now);

	if (!e && !x->head.seq && now.seq)
		e = err_set(ERR_STALE, "the head was missing when the rows were read");
	if (e || now.seq == x->head.seq)
		return e;
	repo_refresh(x->repo);
	e = log_open(&since, &now.commit, &x->head.commit, &broken);
	for (size_t i = 0; i < since.n && !e; i++)
		e = log_one(&since, i, taken_since, &taken);
	if (!e && taken.n != since.n)
		e = err_set(ERR_FAILED, "a record that was written since cannot be read");
	log_close(&since);
	x->head = now;
	return e;
}

/*
 * Rows are compared as they were at one moment, and put right in another. Beside acts only those that none of them may have
 * written since (the others' turn comes when check_passes looks once more), and with none until memory knows it.
 */
static enum err mend_rows(struct pass *x)
{
	const struct check_place *p = x->c->p;
	const struct path *strayed;
	size_t n;
	enum err e = ERR_OK;

	if (!x->rows || !x->c->mend || x->c->log_damaged || !rows_mendable(x->rows))
		return ERR_OK;
	FAILPOINT(mend_compared);
	/* Most of it while acts go on. */
	if (p->writer)
		e = follow(x);
	hold(p);
	if (p->writer && !e)
		e = follow(x);
	x->c->overtaken = e || rows_left(x->rows);
	if (e)
		log_event(LOG_LEVEL_WARN, "check.follow", "site", p->name, "why", err_text(), NULL);
	if (e || !rows_mendable(x->rows)) {
		let_go(p);
		return ERR_OK;
	}
	e = rows_mend(x->rows, p->db);
	x->c->mended |= !e;
	FAILPOINT_OR(e, mend_rows);
	if (!e && p->reload) {
		strayed = rows_strayed(x->rows, &n);
		e = p->reload(p->reload_arg, p->db, strayed, n);
	}
	let_go(p);
	return e;
}

static enum err check_open(struct pass *x)
{
	struct check *c = x->c;
	struct exported *export;
	enum err e;

	repo_learn(x->repo);
	e = check_export_begin(&export, c, x->repo);
	if (e)
		return e;
	e = check_records(x);
	db_still_end(c->p->db);
	c->log_damaged |= x->incomplete;
	if (!e)
		e = mend_rows(x);
	if (!e && c->o->deep)
		e = versions_check(x->versions, x->repo);
	if (!e)
		e = check_refs(c, x->repo, &x->chain);
	return check_export_end(export, x->repo, e);
}

/* What git itself has to say, about objects that no record leads to as well: it is asked beside the rest, and told last. */
struct git_says {
	const struct repo *repo;
	atomic_int *stop;
	struct pool_beside beside;
	struct buf lines;
	enum err err;
	char why[512];
};

static void git_line(void *arg, const char *what)
{
	struct git_says *g = arg;

	buf_add(&g->lines, what, strlen(what) + 1);
}

static void git_ask(void *arg)
{
	struct git_says *g = arg;

	g->err = repo_check(g->repo, false, g->stop, git_line, g);
	snprintf(g->why, sizeof(g->why), "%s", g->err ? err_text() : "");
}

/* Only its own findings would be told twice. */
static enum err git_tell(struct git_says *g, struct check *c, enum err e)
{
	const char *line, *end;

	pool_beside_wait(&g->beside);
	line = buf_text(&g->lines);
	end = line + g->lines.len;
	if (!e && !c->out->findings && g->err == ERR_BUSY)
		e = err_set(ERR_BUSY, "%s", g->why);
	else if (!e && !c->out->findings && g->err)
		found(c, FINDING_REPO_UNREADABLE, c->p->repo_dir, "git fsck cannot be run: %s", g->why);
	else if (!e && !c->out->findings)
		for (; line < end; line += strlen(line) + 1)
			found(c, FINDING_OBJECT_DAMAGED, c->p->repo_dir, "git fsck: %s", line);
	buf_release(&g->lines);
	return e;
}

static enum err check_one(struct check *c, const void *arg)
{
	char ref[128];
	struct pass x = { .c = c };
	struct git_says git = { .stop = c->o->stop, .lines = BUF_INIT(1 << 20) };
	enum err e;

	(void)arg;
	snprintf(ref, sizeof(ref), LOG_REF_PREFIX "%s", node_key_id(c->p->key));
	c->log_ref = ref;
	if (repo_open(&x.repo, c->p->repo_dir)) {
		found(c, FINDING_REPO_UNREADABLE, c->p->repo_dir, "%s", err_text());
		return ERR_OK;
	}
	x.log = (struct log){ .repo = x.repo, .site = c->p->name, .key = c->p->key, .check = c };
	x.versions = versions_new(c);
	c->replay = replay_new(c->p->name, c->p->key);
	git.repo = x.repo;
	if (c->o->deep)
		pool_beside_start(&git.beside, git_ask, &git);
	e = check_open(&x);
	if (c->o->deep)
		e = git_tell(&git, c, e);
	replay_free(c->replay);
	c->replay = NULL;
	versions_free(x.versions);
	rows_free(x.rows);
	log_close(&x.log);
	free(x.chain.ids);
	repo_close(x.repo);
	return e;
}

enum err check_site(const struct check_place *p, const struct check_options *o, struct check_result *out)
{
	return check_passes(p, o, out, check_one, NULL);
}
