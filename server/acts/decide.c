/*
 * decide: the one transaction that every act goes through, and what surrounds it.
 *
 * Lock the site's row; look the act id up; ask the role again; build trees and log commit; make them durable; insert the
 * record and the new states; advance the head; COMMIT. The COMMIT is the decision.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/utf8.h"
#include "base/weaken.h"

#define BODY_LIMIT (2u << 20) /* core/record.c refuses more than 1 MiB */
#define FILES_LIMIT (256u << 20) /* the list of files of one act */
#define SETTLE_TRIES 30 /* half a second apart: the database needs a moment to come back after a crash */
#define SETTLE_PAUSE (CLOCK_SECOND / 2)

pthread_mutex_t act_rights_lock = PTHREAD_MUTEX_INITIALIZER;

const struct identity act_system = { .user = "system:drydock", .name = "drydock", .provider = "system" };

const struct identity *request_identity(const struct act_request *rq)
{
	return rq->actor ? &rq->actor->who : &act_system;
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

void request_number(struct request *r, int64_t n)
{
	uint8_t b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)((uint64_t)n >> (8 * i));
	sha256_stream_add(r->s, b, sizeof b);
}

void request_bytes(struct request *r, const void *p, size_t n)
{
	request_number(r, (int64_t)n);
	if (n)
		sha256_stream_add(r->s, p, n);
}

void request_text(struct request *r, const char *text)
{
	if (text)
		request_bytes(r, text, strlen(text));
	else
		request_number(r, -1);
}

void request_begin(struct request *r, const char *act)
{
	r->s = sha256_stream_new();
	request_text(r, act);
}

void request_end(struct request *r, struct sha256 *out)
{
	sha256_stream_end_free(r->s, out);
	r->s = NULL;
}

enum err request_check(const struct act_request *rq)
{
	static const struct uuid none;
	size_t n = strlen(rq->note);

	if (memcmp(&rq->op, &none, sizeof none) == 0)
		return err_set(ERR_INPUT, "An act needs an id of its own.");
	if (n > RECORD_NOTE_LIMIT)
		return err_set(ERR_TOO_BIG, "The note is too long: at most %d bytes.", RECORD_NOTE_LIMIT);
	if (!utf8_clean(rq->note, n, true))
		return err_set(ERR_INPUT, "The note must be text (UTF-8) without control characters.");
	return ERR_OK;
}

enum err act_role(const struct rules *rules, const struct identity *who, struct path path, enum role need, struct rule *rule)
{
	struct role_answer a = role_resolve(rules, who, path);

	if (a.role < need && !WEAK(role_act)) {
		if (a.role < ROLE_VIEW)
			return err_set(ERR_NOT_FOUND, "There is no %s.", path.s);
		return err_set(ERR_DENIED, "You need the right to %s on %s; you have %s.", role_name(need), path.s, role_name(a.role));
	}
	if (rule && a.rule)
		*rule = *a.rule;
	return ERR_OK;
}

enum err act_refused(struct site *s, struct actor_tools *t, const struct act_request *rq, const char *act, const char *path, enum err code)
{
	struct arena *a = arena_new();
	char *why = arena_dup(a, err_text());
	struct db_event e = {
		.site = s->name,
		.at = clock_wall(),
		.kind = "refused",
		.principal = request_identity(rq)->user,
		.address = rq->address,
		.path = path,
		.detail = arena_printf(a, "%s: %s", act, why),
	};

	if (code == ERR_DENIED && db_event_add(tools_db(t), &e))
		log_event(LOG_LEVEL_WARN, "act.event", "site", s->name, "why", err_text(), NULL);
	err_set(code, "%s", why);
	arena_free(a);
	return code;
}

/* --- the answer to a repeated request ------------------------------------------------------------------------------ */

static enum err answer_again(struct site *s, struct db *db, const struct db_act_id *id, const struct uuid *op,
    const struct sha256 *request, struct act_answer *out)
{
	struct arena *a;
	struct db_record_row row;
	enum err err;

	if (!sha256_equal(&id->request, request))
		return err_set(ERR_STALE, "This id was used before, for another request.");
	a = arena_new();
	err = db_record_get(db, s->name, id->node, id->seq, &row, a);
	if (!err)
		*out = (struct act_answer){ .seq = id->seq, .op = *op, .at = row.at, .files = row.files_count, .repeated = true };
	else if (err == ERR_NOT_FOUND)
		err = err_set(ERR_FAILED, "The record of this id is missing in the database.");
	arena_free(a);
	return err;
}

enum err act_seen(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct sha256 *request, struct act_answer *out)
{
	struct db_act_id id;
	enum err err;

	if (rq->op_is_new)
		return ERR_NOT_FOUND;
	err = db_act_id_get(tools_db(t), s->name, request_identity(rq)->user, &rq->op, &id);
	return err ? err : answer_again(s, tools_db(t), &id, &rq->op, request, out);
}

/* --- building the commit ------------------------------------------------------------------------------------------- */

/* Never before the key that signs it: git and ssh-keygen judge a signature by the commit's time. */
static int64_t when(const struct site *s)
{
	const struct keychain *c = site_keychain(s);
	const int64_t now = clock_wall(), since = c && c->n ? keychain_last(c)->at : 0;

	return now > since ? now : since;
}

static void record_fill(struct decision *d)
{
	const struct identity *who = request_identity(d->rq);

	d->record = (struct record){
		.site = d->s->name,
		.node = node_key_id(d->s->key),
		.seq = d->head.seq + 1,
		.op = d->rq->op,
		.act = d->act,
		.at = d->at ? d->at : when(d->s),
		.actor = *who,
		.rule = d->rule,
		.shown = d->shown,
		.meaning = d->rq->meaning ? d->rq->meaning : "",
		.note = d->rq->note,
		.fields = d->fields,
		.files_count = d->n_files,
		.prev = d->head.record,
	};
}

static enum err build(struct decision *d)
{
	struct rules *rules = d->rules_after ? d->rules_after : d->rules;
	struct repo_commit c = { .parent = d->head.commit };
	enum err err;

	/* Run again on the same ground (a lost deadlock): what was built stands, and may be published already. */
	if (d->built && blob_id_equal(&d->built_on, &d->head.commit) && d->built_rules == d->rules_version) {
		d->record.rule = d->rule;
		d->record.fields = d->fields;
		return ERR_OK;
	}
	/* Otherwise more objects are added to the pack, and published again. */
	d->published = false;
	d->built = false;
	if (!d->pack && (err = repo_pack_begin(d->repo, &d->rq->op, &d->pack)))
		return err;

	buf_reset(&d->body);
	buf_reset(&d->files_text);
	buf_reset(&d->rules_text);
	for (size_t i = 0; i < d->n_files; i++)
		record_file_encode(&d->files[i], &d->files_text);
	if (buf_check(&d->files_text))
		return err_set(ERR_TOO_BIG, "The list of files is too long for one act: name fewer.");
	rules_encode(rules, &d->rules_text);
	if ((err = buf_check(&d->rules_text)))
		return err;

	record_fill(d);
	sha256_of(&d->record.policy, buf_text(&d->rules_text), d->rules_text.len);
	sha256_of(&d->record.files_sha256, buf_text(&d->files_text), d->files_text.len);
	err = record_encode(&d->record, &d->body);
	if (!err)
		err = buf_check(&d->body);
	FAILPOINT_OR(err, act_encoded);
	if (err)
		return err;
	sha256_of(&d->record_digest, buf_text(&d->body), d->body.len);

	if (d->changes && d->changes->n)
		err = repo_pack_tree(d->pack, &d->head.commit, d->changes, &d->site_tree);
	else if (blob_id_zero(&d->head.commit))
		d->site_tree = (struct blob_id){ 0 };
	else
		err = repo_site_tree(d->repo, &d->head.commit, &d->site_tree);
	FAILPOINT_OR(err, act_trees);
	if (err)
		return err;

	c.record = &d->record;
	c.record_bytes = buf_text(&d->body);
	c.record_len = d->body.len;
	c.record_digest = d->record_digest;
	c.files = buf_text(&d->files_text);
	c.files_len = d->files_text.len;
	c.rules = buf_text(&d->rules_text);
	c.rules_len = d->rules_text.len;
	c.site_tree = d->site_tree;
	err = repo_pack_commit(d->pack, &c, d->s->key, &d->commit);
	FAILPOINT_OR(err, act_commit);
	if (!err && d->build)
		err = d->build(d, d->arg);
	if (err)
		return err;
	d->built = true;
	d->built_on = d->head.commit;
	d->built_rules = d->rules_version;
	return ERR_OK;
}

/*
 * Making the objects durable waits for the disk, and the rows wait for the database: both go on at the same time. The
 * COMMIT comes after both.
 */
struct publishing {
	struct repo_pack *pack;
	bool bulk;
	enum err err;
	char why[1024];
};

static void publish(void *arg)
{
	struct publishing *p = arg;
	size_t n;

	p->err = repo_pack_publish(p->pack, p->bulk);
	n = p->err ? strnlen(err_text(), sizeof p->why - 1) : 0;
	memcpy(p->why, err_text(), n);
	p->why[n] = '\0';
}

/* The rows of the record itself, and the act's own; the head, the act id and the scheduler's times. */
static enum err write_rows(struct db *db, struct decision *d)
{
	const char *site = d->s->name, *node = node_key_id(d->s->key);
	const struct db_head head = { .seq = d->record.seq, .record = d->record_digest, .commit = d->commit };
	struct db_act_id id = { .request = d->request, .seq = d->record.seq };
	enum err err = db_record_insert(db, &d->record, buf_text(&d->body), d->body.len, &d->record_digest, &d->commit, d->files, d->n_files);

	/* Ids belong to a person, but a record's id is the log's too. */
	if (err == ERR_STALE)
		return err_set(ERR_STALE, "This id has been used already, by somebody else: make a new one.");
	FAILPOINT_OR(err, act_record_row);
	if (!err && d->write)
		err = d->write(d, d->arg);
	if (!err && d->rules_after)
		err = db_site_bump_rules(db, site);
	FAILPOINT_OR(err, act_rules_version);
	if (!err)
		err = db_head_set(db, site, node, &head);
	FAILPOINT_OR(err, act_head);
	memcpy(id.node, node, sizeof id.node);
	if (!err)
		err = db_act_id_put(db, site, request_identity(d->rq)->user, &d->rq->op, &id, d->record.at);
	FAILPOINT_OR(err, act_id);
	if (!err && d->approval)
		err = db_schedule_approval(db, site, d->record.at);
	return err;
}

static enum err publish_and_write(struct db *db, struct decision *d)
{
	struct publishing p = { .pack = d->pack, .bulk = d->bulk };
	struct pool_beside beside;
	enum err err;

	if (d->published)
		return write_rows(db, d);
	pool_beside_start(&beside, publish, &p);
	err = write_rows(db, d);
	FAILPOINT_OR(err, act_rows);
	pool_beside_wait(&beside);
	d->published = !p.err;
	if (p.err)
		return err_set(p.err, "%s", p.why);
	FAILPOINT_OR(err, act_published);
	return err;
}

/* --- the transaction ----------------------------------------------------------------------------------------------- */

/* What check made in a run before. */
static void forget_check(struct decision *d)
{
	if (d->fields)
		json_decref(d->fields);
	rules_unref(d->rules_after);
	rules_unref(d->rules);
	d->fields = NULL;
	d->rules_after = NULL;
	d->rules = NULL;
	d->rule = (struct rule){ 0 };
	d->changes = NULL;
	d->files = NULL;
	d->n_files = 0;
	d->approval = false;
}

/* The log has everything that the database has: a rebuilt one knows a repeated request from another with its id. */
static void note_request(struct decision *d)
{
	char hex[SHA256_HEX];

	hex_of(hex, d->request.b, sizeof d->request.b);
	json_object_set_new(d->fields, RECORD_FIELD_REQUEST, json_string(hex));
}

/* The row of the queue is locked with the site's: who has the turn now keeps it until COMMIT. */
static enum err check_turn(const struct decision *d, const struct db_site *row)
{
	struct site *s = d->s;

	if (!s->turns || d->takes_turn || !strcmp(row->publisher, s->server) || WEAK(turn_act))
		return ERR_OK;
	atomic_store(&s->turn_lost, true);
	return err_set(ERR_BUSY, "The server %s has taken over %s, since this one was not heard of for too long: nothing was recorded. Ask there, or try again in a moment.",
	    *row->publisher ? row->publisher : "(none)", s->name);
}

static enum err transact(struct db *db, void *arg)
{
	struct decision *d = arg;
	struct site *s = d->s;
	const struct identity *who = request_identity(d->rq);
	const char *node = node_key_id(s->key);
	struct db_act_id id;
	struct db_site row;
	enum err err;

	forget_check(d);
	d->db = db;
	d->repeated = false;
	err = db_site_lock(db, s->name, node, &row);
	if (!err)
		err = check_turn(d, &row);
	FAILPOINT_OR(err, act_locked);
	if (err)
		return err;
	err = db_act_id_get(db, s->name, who->user, &d->rq->op, &id);
	if (err != ERR_NOT_FOUND) {
		d->repeated = !err;
		return err ? err : answer_again(s, db, &id, &d->rq->op, &d->request, &d->answer);
	}
	err = db_head_get(db, s->name, node, &d->head);
	FAILPOINT_OR(err, act_looked_up);
	if (err)
		return err;
	d->rules_version = row.rules_version;
	err = site_rules_at(s, db, d->repo, row.rules_version, &d->rules);
	if (err)
		return err;
	err = d->check(d, d->arg);
	FAILPOINT_OR(err, act_checked);
	if (err)
		return err;
	if (!d->fields)
		d->fields = json_object();
	/* The act is his, but it was not he who sat there. */
	if (who->limit)
		json_object_set_new(d->fields, "token", json_string(who->limit->token));
	note_request(d);
	err = build(d);
	FAILPOINT_OR(err, act_built);
	if (!err)
		err = publish_and_write(db, d);
	FAILPOINT_OR(err, act_recorded);
	return err;
}

struct settling {
	struct decision *d;
	bool found;
};

static enum err settle(struct db *db, void *arg)
{
	struct settling *x = arg;
	struct decision *d = x->d;
	struct db_site row;
	struct db_act_id id;
	enum err err;

	/* The lock waits until the server is through with the connection that was lost. */
	x->found = false;
	err = db_site_lock(db, d->s->name, node_key_id(d->s->key), &row);
	if (!err)
		err = db_act_id_get(db, d->s->name, request_identity(d->rq)->user, &d->rq->op, &id);
	if (err == ERR_NOT_FOUND)
		return ERR_OK;
	x->found = !err;
	return err;
}

/* The connection was lost in COMMIT: did it happen? */
static enum err settle_unknown(struct decision *d)
{
	struct settling x = { .d = d };
	enum err err = ERR_FAILED;
	char op[UUID_TEXT];

	log_event(LOG_LEVEL_WARN, "act.unknown", "site", d->s->name, "act", d->act, NULL);
	for (int i = 0; i < SETTLE_TRIES && err; i++) {
		if (i)
			clock_sleep(SETTLE_PAUSE);
		err = tx_run(d->db, settle, &x, NULL);
	}
	if (err) {
		d->s->unsettled = true;
		uuid_text(&d->rq->op, op);
		return err_set(ERR_BUSY,
		    "The database went away while the act was being recorded, and is not back: it is not known whether it "
		    "stands. Ask again with the same id, %s.", op);
	}
	if (!x.found)
		return err_set(ERR_BUSY, "The database went away: nothing was recorded. Try again.");
	return ERR_OK;
}

static void tell(const struct decision *d, const char *step)
{
	if (d->progress)
		d->progress(d->progress_arg, step, 0, d->total);
}

enum err decide(struct decision *d, struct act_answer *out)
{
	struct site *s = d->s;
	bool unknown = false, locked = false;
	enum err err;

	d->body = BUF_INIT(BODY_LIMIT);
	d->files_text = BUF_INIT(FILES_LIMIT);
	d->rules_text = BUF_INIT(RULES_LIMIT);
	d->db = tools_db(d->t);
	*out = (struct act_answer){ 0 };
	err = request_check(d->rq);
	if (!err)
		err = tools_repo(d->t, s, &d->repo);
	FAILPOINT_OR(err, act_begun);
	if (err)
		goto out;

	tell(d, "wait");
	pthread_mutex_lock(&s->writer);
	locked = true;
	FAILPOINT_OR(err, act_writer);
	if (err)
		goto out;
	tell(d, "record");
	if (!s->read_only && s->unsettled && (err = recover_locked(s, d->t, false)))
		goto out;
	if (s->read_only) {
		err = err_set(ERR_BUSY, "Nothing can be written: %s", s->read_only_reason);
		goto out;
	}
	if (!site_key_signs(s)) {
		err = err_set(ERR_BUSY, "Nothing can be written: the key of this log was changed, and that is not done everywhere. Start the server again.");
		goto out;
	}
	/* Its records have the date of its note: none that is newer comes before them. */
	if (node_key_next(s->key) && strcmp(d->act, KEY_ACT) != 0) {
		err = err_set(ERR_BUSY, "Nothing can be written: the node's key is being changed, which is done as soon as this server has the turn of every site.");
		goto out;
	}
	err = tx_run(d->db, transact, d, &unknown);
	if (err && unknown)
		err = settle_unknown(d);
	if (err)
		goto out;
	if (d->repeated) {
		*out = d->answer;
		goto out;
	}
	FAILPOINT(act_committed);
	*out = (struct act_answer){ .seq = d->record.seq, .op = d->rq->op, .at = d->record.at, .files = d->n_files };
	if (d->rules_after) {
		site_rules_put(s, d->rules_after, d->rules_version + 1);
		d->rules_after = NULL;
	}
	if (d->after)
		d->after(d, d->arg);
	FAILPOINT(act_kept);
	tell(d, "export");
	carry_act(s, d->t, &d->head.commit, &d->commit, d->changes, d->record.at, out->pending);
	FAILPOINT(act_done);
	atomic_fetch_add(&s->generation, 1);
	if (s->changed)
		s->changed(s->changed_arg, "act");
	FAILPOINT(act_told);
out:
	if (locked)
		pthread_mutex_unlock(&s->writer);
	if (err == ERR_DENIED)
		act_refused(s, d->t, d->rq, d->act, NULL, err);
	repo_pack_free(d->pack);
	d->pack = NULL;
	forget_check(d);
	buf_release(&d->body);
	buf_release(&d->files_text);
	buf_release(&d->rules_text);
	return err;
}
