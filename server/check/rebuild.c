/* The tables of a site made again from its log: one walk, one transaction, nothing if anything of the log is wrong. */
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "check/internal.h"

struct password { char *name, *hash; };

struct rebuild {
	struct check c;
	struct repo *repo;
	struct log log;
	struct release_chain chain;
	bool replace;
	struct db *db;
	struct db_fill *fills[TABLE_COUNT];
	bool any; /* a row was there */
	/* What a database that is replaced knows and no log says. */
	struct password *passwords;
	size_t n_passwords, cap_passwords;
	uint64_t counter, counter_version; /* of the releases */
	size_t n_releases;
};

static bool of_place(const struct rebuild *r, int id)
{
	return db_tables[id].kind <= TABLE_DERIVED && (db_tables[id].of_site || strcmp(r->c.p->name, INSTALLATION) == 0);
}

/* --- what is there ----------------------------------------------------------------------------------------------------- */

static bool see_any(void *arg, const struct db_value *row)
{
	struct rebuild *r = arg;

	(void)row;
	r->any = true;
	return false;
}

static bool see_password(void *arg, const struct db_value *row)
{
	const unsigned password = db_table_columns(TABLE_account) - 1;
	struct rebuild *r = arg;

	r->passwords = mem_grow(r->passwords, &r->cap_passwords, r->n_passwords + 1, sizeof(*r->passwords));
	r->passwords[r->n_passwords++] = (struct password){ mem_dupn(row[0].p, row[0].n), mem_dupn(row[password].p, row[password].n) };
	return true;
}

static bool see_counter(void *arg, const struct db_value *row)
{
	struct rebuild *r = arg;

	r->counter = row[1].u;
	r->counter_version = row[2].u;
	return true;
}

static void passwords_forget(struct rebuild *r)
{
	for (size_t i = 0; i < r->n_passwords; i++) {
		explicit_bzero(r->passwords[i].hash, strlen(r->passwords[i].hash));
		free(r->passwords[i].hash);
		free(r->passwords[i].name);
	}
	r->n_passwords = 0;
}

static enum err look(struct rebuild *r)
{
	const char *site = r->c.p->name;
	enum err e = ERR_OK;

	passwords_forget(r);
	r->any = false;
	r->counter = r->counter_version = 0;
	for (int id = 0; id < TABLE_COUNT && !e; id++)
		if (of_place(r, id) && id != TABLE_counter)
			e = db_table_rows(r->db, (enum db_table_id)id, site, see_any, r);
	if (!e && r->any && !r->replace)
		return err_set(ERR_STALE, "the database has rows of %s: --replace takes them out and makes them again from the log; passwords are kept", site);
	if (!e && strcmp(site, INSTALLATION) == 0)
		e = db_table_rows(r->db, TABLE_account, site, see_password, r);
	else if (!e)
		e = db_table_rows(r->db, TABLE_counter, site, see_counter, r);
	for (int id = 0; id < TABLE_COUNT && !e; id++)
		if (of_place(r, id))
			e = db_table_clear(r->db, (enum db_table_id)id, site);
	return e;
}

/* --- rows in ----------------------------------------------------------------------------------------------------------- */

static void fill(void *arg, enum db_table_id id, uint64_t seq, const struct db_value *row)
{
	struct rebuild *r = arg;
	struct db_value mine[TABLE_MOST_COLUMNS];
	const unsigned n = db_table_columns(id);

	(void)seq;
	memcpy(mine, row, n * sizeof(*mine));
	if (id == TABLE_account)
		for (size_t i = 0; i < r->n_passwords; i++)
			if (strlen(r->passwords[i].name) == row[0].n && memcmp(r->passwords[i].name, row[0].p, row[0].n) == 0)
				mine[n - 1] = (struct db_value){ .p = r->passwords[i].hash, .n = strlen(r->passwords[i].hash) };
	/* A number that was given is never given again. */
	if (id == TABLE_counter) {
		mine[1].u = r->counter > mine[1].u ? r->counter : mine[1].u;
		mine[2].u = r->counter_version > mine[2].u ? r->counter_version : mine[2].u;
	}
	if (!r->fills[id])
		r->fills[id] = db_fill_open(r->db, id);
	db_fill_row(r->fills[id], mine);
}

static enum err take(void *arg, const struct log_entry *e)
{
	struct rebuild *r = arg;
	char hex[COMMIT_HEX];

	r->c.out->records++;
	if (e->damaged)
		return err_set(ERR_DENIED, "record %llu of %s is not what DryDock wrote (commit %s): nothing was made from this log", (unsigned long long)e->seq,
		    r->c.p->name, commit_hex(&e->commit, hex));
	if (replay_add(r->c.replay, e)) {
		found(&r->c, FINDING_LOG_ACT, commit_hex(&e->commit, hex), "record %llu: %s", (unsigned long long)e->seq, err_text());
		return err_set(ERR_DENIED, "record %llu of %s cannot be taken up: nothing was made from this log", (unsigned long long)e->seq, r->c.p->name);
	}
	if (record_cuts_release(e->record.act)) {
		check_release(&r->c, r->repo, &r->chain, r->n_releases++, e);
		if (r->c.of_kind[FINDING_RELEASE_COMMIT] || r->n_releases > r->chain.n)
			return err_set(ERR_DENIED, "the commit of the release that record %llu of %s cut is missing or not what was cut", (unsigned long long)e->seq, r->c.p->name);
	}
	replay_rows(r->c.replay, e, fill, r);
	return ERR_OK;
}

static enum err make(struct db *db, void *arg)
{
	struct rebuild *r = arg;
	enum err e, closed;

	r->db = db;
	memset(r->fills, 0, sizeof(r->fills));
	memset(r->c.out, 0, sizeof(*r->c.out));
	r->n_releases = 0;
	replay_free(r->c.replay);
	r->c.replay = replay_new(r->c.p->name, r->c.p->key);
	replay_releases(r->c.replay, r->chain.ids, r->chain.n);
	e = look(r);
	FAILPOINT_OR(e, rebuild_cleared);
	if (!e)
		e = log_each(&r->log, take, r);
	if (!e && r->c.log_damaged)
		e = err_set(ERR_DENIED, "the log of %s does not end with the node's key: nothing was made from it", r->c.p->name);
	if (!e)
		replay_end(r->c.replay, fill, r);
	for (int id = 0; id < TABLE_COUNT; id++) {
		if (!r->fills[id])
			continue;
		closed = db_fill_close(r->fills[id]);
		e = e ? e : closed;
	}
	FAILPOINT_OR(e, rebuild_filled);
	if (!e)
		e = check_approved(&r->c, r->repo, &r->log.ids[r->log.n - 1]);
	if (!e && r->c.of_kind[FINDING_APPROVED_TREE])
		e = err_set(ERR_DENIED, "the approved tree of %s is not what its records add up to: nothing was made from this log", r->c.p->name);
	return e;
}

static enum err rebuild_open(struct rebuild *r)
{
	const struct check_place *p = r->c.p;
	struct blob_id tip, broken;
	char hex[COMMIT_HEX];
	enum err e = repo_ref_get(r->repo, r->c.log_ref, &tip);

	/* A site whose log has not begun has nothing to be made. */
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	if (log_open(&r->log, &tip, NULL, &broken)) {
		found(&r->c, FINDING_OBJECT_MISSING, commit_hex(&broken, hex), "the log cannot be read before this commit: %s", err_text());
		return err_set(ERR_DENIED, "the log of %s is broken at commit %s: nothing was made from it", p->name, hex);
	}
	e = releases_open(&r->c, r->repo, &r->chain);
	if (!e)
		e = tx_run(p->db, make, r, NULL);
	FAILPOINT_OR(e, rebuild_done);
	return e;
}

enum err rebuild_site(const struct check_place *p, bool replace, const struct check_options *o, struct check_result *out)
{
	char ref[128];
	struct rebuild r = { .c = { .p = p, .o = o, .out = out, .log_ref = ref }, .replace = replace };
	enum err e;

	memset(out, 0, sizeof(*out));
	snprintf(ref, sizeof(ref), LOG_REF_PREFIX "%s", node_key_id(p->key));
	e = repo_open(&r.repo, p->repo_dir);
	if (e)
		return e;
	repo_learn(r.repo);
	r.log = (struct log){ .repo = r.repo, .site = p->name, .key = p->key, .check = &r.c };
	e = rebuild_open(&r);
	found_end(&r.c);
	replay_free(r.c.replay);
	passwords_forget(&r);
	free(r.passwords);
	log_close(&r.log);
	free(r.chain.ids);
	repo_close(r.repo);
	return e;
}
