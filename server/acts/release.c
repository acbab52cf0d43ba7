/*
 * release: cut a numbered release of the approved tree as it stands, as an act of the system. Its record says what its
 * signed head says (core/head.h), its log commit anchors it; refs/heads/main gets a commit with the same tree, and a
 * signed tag names it.
 *
 * A release is what was approved at one record of the log: its `as_of`, or its own where nothing was recorded in between. The sums
 * over all files are made before the site is locked; who signs meanwhile waits for none of it, and his files are in the next one.
 */
#include <stdio.h>
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/weaken.h"

/* What production holds must not run out: the same tree again in a new release is news then. */
static bool runs_out(const struct cutting *c, const struct site *s)
{
	return s->conf && c->last.at + s->conf->release_expiry_us / 2 < clock_wall();
}

static bool nothing_new(const struct cutting *c, struct site *s, const struct plan *changes)
{
	/*
	 * The first release is cut as soon as there is a file; a take-down that finds nothing to take leaves it at that. After a change
	 * of the key the same tree again is news: production is to hear of the new key before somebody else has a use for the old one.
	 */
	return !changes->n && (!c->last.number || c->down || (!runs_out(c, s) && site_key_signed(s, &c->last))) && c->caught.seq <= c->last.seq;
}

static enum err newest(struct db *db, struct site *s, struct db_release *out, struct arena *a)
{
	enum err err = db_release_get(db, s->name, 0, out, a);

	if (err != ERR_NOT_FOUND)
		return err;
	*out = (struct db_release){ .number = 0 };
	return ERR_OK;
}

static enum err load_last(struct cutting *c, struct site *s, struct db *db)
{
	enum err err = newest(db, s, &c->last, c->a);

	return err ? err : caught_up(db, s, 0, &c->caught, c->a);
}

enum err cutting_last(struct cutting *c, struct site *s, struct actor_tools *t)
{
	c->moved = false;
	c->head.term = s->turns ? s->term : 1;
	c->head.expires = clock_wall() + (s->conf ? s->conf->release_expiry_us : 0);
	return load_last(c, s, tools_db(t));
}

/* The sums, and the head of the release before. */
enum err cutting_prepare(struct cutting *c, struct site *s, struct actor_tools *t, const struct plan *changes)
{
	struct release_papers papers;
	enum err err = manifest_prepare(s, t, &c->last, changes, c->from.seq ? c->from.seq : UINT64_MAX, &c->head.sums);

	FAILPOINT_OR(err, release_summed);
	plan_digest(changes, &c->changes);
	c->head.previous = (struct sha256){ 0 };
	if (err || !c->last.number)
		return err;
	err = release_papers(s, t, &c->last, &papers, c->a);
	if (err || !papers.has_head)
		return err;
	c->head.previous = papers.digest;
	/* Higher than the ticket where production held a higher one (catch-up), and from then on. */
	if (c->head.term < papers.head.term)
		c->head.term = papers.head.term;
	return ERR_OK;
}

enum err cutting_number(struct cutting *c, struct decision *d)
{
	char id[128], *tree = arena_alloc(c->a, 2 * BLOB_ID_SIZE + 1);
	uint64_t previous = c->last.number;
	json_t *fields;
	enum err err;

	if (c->caught.seq > c->last.seq) {
		c->head.previous = c->caught.head;
		previous = c->caught.number;
	}
	if (c->head.term < c->caught.term)
		c->head.term = c->caught.term;
	snprintf(id, sizeof id, "release/%s", d->s->name);
	err = db_counter_next(d->db, id, &c->head.number);
	FAILPOINT_OR(err, release_numbered);
	if (err)
		return err;
	hex_of(tree, c->prepared.b, sizeof c->prepared.b);
	c->head.tree = tree;
	c->now = (struct db_release){ .number = c->head.number, .node = node_key_id(d->s->key), .files_count = c->head.sums.count };
	fields = head_fields(&c->head, previous);
	if (!fields)
		return err_set(ERR_FAILED, "The record of a release could not be made.");
	if (!d->fields)
		d->fields = json_object();
	json_object_update(d->fields, fields);
	json_decref(fields);
	if (c->from.seq && c->from.seq != d->head.seq)
		json_object_set_new(d->fields, RELEASE_AS_OF, json_integer((json_int_t)c->from.seq));
	return ERR_OK;
}

/* With something held back, the tree is that of the release before and what may change of it. */
static enum err choose_tree(struct cutting *c, struct decision *d, const struct plan *changes)
{
	enum err err = ERR_OK;

	if (!c->sluice.kept)
		return repo_site_tree(d->repo, &c->from.commit, &c->prepared);
	if (!d->pack)
		err = repo_pack_begin(d->repo, &d->rq->op, &d->pack);
	return err ? err : repo_pack_tree(d->pack, release_tree(&c->last), changes, &c->prepared);
}

/* Does it do what was asked for, no less and no more? */
static enum err as_asked(struct cutting *c, struct decision *d, const struct plan *changes)
{
	struct plan_who *who;
	struct sha256 digest;
	enum err err = sluice_shut(&c->sluice) ? sluice_refusal(&c->sluice) : ERR_OK;

	if (err || !c->plan)
		return err;
	who = mem_array(changes->n + 1, sizeof *who);
	err = sluice_who(d->s, d->db, changes, who, c->a);
	sluice_digest(changes, who, &digest);
	free(who);
	if (!err && !sha256_equal(&digest, c->plan) && !WEAK(shown_plan))
		err = err_set(ERR_STALE, "Something was approved or revoked since the plan was shown: nothing was released. Look at it again.");
	return err;
}

static void say_what_was_kept(struct cutting *c, struct decision *d)
{
	json_t *held = json_array();

	if (c->down)
		json_object_set_new(d->fields, "take_down", json_true());
	for (size_t i = 0; i < c->sluice.n_holds; i++)
		json_array_append_new(held, json_stringn(c->sluice.holds[i].path.s, c->sluice.holds[i].path.len));
	json_object_set_new(d->fields, "held", held);
}

/* Has something been revoked since what is to be cut? That does not leave any more if it can be helped. */
static enum err revoked_since(const struct cutting *c, struct decision *d, bool *yes)
{
	struct plan since;
	enum err err = ERR_OK;

	plan_init(&since);
	if (c->from.seq != d->head.seq)
		err = repo_plan(d->repo, &c->from.commit, &d->head.commit, &since);
	*yes = since.removed != 0;
	plan_release(&since);
	return err;
}

/* Under the site's lock: nothing here may cost what the site has, only what changed. */
static enum err release_check(struct decision *d, void *arg)
{
	struct cutting *c = arg;
	const uint64_t prepared_for = c->last.number;
	const bool had_nothing = c->nothing;
	struct sha256 digest;
	struct plan changes;
	enum err err = load_last(c, d->s, d->db);

	plan_init(&changes);
	if (!err)
		err = sluice_plan(d->s, d->t, &c->last, had_nothing ? &d->head.commit : &c->from.commit, &c->sluice, &changes);
	if (err)
		goto out;
	c->nothing = nothing_new(c, d->s, &changes);
	if (c->nothing) {
		err = err_set(ERR_STALE, "Nothing changed since the last release.");
		goto out;
	}
	err = as_asked(c, d, &changes);
	if (err)
		goto out;
	plan_digest(&changes, &digest);
	/* Another release came between, or a hold; or what had been nothing new is something. */
	c->moved = had_nothing || !sha256_equal(&digest, &c->changes) || c->last.number != prepared_for;
	if (!c->moved && !c->last_try)
		err = revoked_since(c, d, &c->moved);
	if (!err && c->moved)
		err = err_set(ERR_STALE, "What is to be released changed while the release was prepared.");
	if (!err)
		err = choose_tree(c, d, &changes);
	if (!err)
		err = cutting_number(c, d);
	if (!err && (c->down || c->sluice.kept))
		say_what_was_kept(c, d);
out:
	plan_release(&changes);
	return err;
}

static void release_words(const struct site *s, uint64_t number, char message[256], char tag[64])
{
	snprintf(message, 256, "Release %llu of %s\n", (unsigned long long)number, s->name);
	if (tag)
		snprintf(tag, 64, "release/%llu", (unsigned long long)number);
}

enum err cutting_build(struct cutting *c, struct decision *d)
{
	char message[256], tag[64];
	enum err err;

	release_words(d->s, c->now.number, message, tag);
	err = repo_pack_release_commit(d->pack, &c->prepared, &c->last.main_commit, message, d->record.at, d->s->key, &c->now.main_commit);
	FAILPOINT_OR(err, release_commit);
	if (!err)
		err = repo_pack_tag(d->pack, tag, &c->now.main_commit, message, d->record.at, d->s->key, NULL, &c->tag);
	return err;
}

enum err cutting_write(struct cutting *c, struct decision *d)
{
	c->now.seq = d->record.seq;
	c->now.at = d->record.at;
	c->now.as_of = c->from.seq && c->from.seq != d->head.seq ? c->from.seq : d->record.seq;
	c->now.log_commit = d->commit;
	enum err err = db_release_put(d->db, d->s->name, &c->now);

	FAILPOINT_OR(err, release_row);
	return err;
}

/* Tags that are no longer kept. The log, whose commits have the same trees, stays. Numbers may have gaps (catch-up). */
static enum err drop_old_tags(struct decision *d)
{
	enum err err = ERR_OK;

	for (unsigned i = d->s->conf ? d->s->conf->release_keep : 0; i && !err; i++) {
		struct blob_id tag;
		uint64_t number;
		char ref[96];

		err = db_release_number(d->db, d->s->name, i, &number);
		if (err)
			return err == ERR_NOT_FOUND ? ERR_OK : err;
		snprintf(ref, sizeof ref, RELEASE_TAG_PREFIX "%llu", (unsigned long long)number);
		if (repo_ref_get(d->repo, ref, &tag))
			break;
		err = repo_ref_remove(d->repo, ref);
		FAILPOINT(release_tag_dropped);
	}
	return err;
}

void cutting_after(struct cutting *c, struct decision *d)
{
	char ref[96];
	enum err err;

	snprintf(ref, sizeof ref, RELEASE_TAG_PREFIX "%llu", (unsigned long long)c->now.number);
	FAILPOINT(release_decided);
	err = carry_ref(d->repo, MAIN_REF, &c->now.main_commit);
	FAILPOINT_OR(err, release_main);
	if (!err)
		err = carry_ref(d->repo, ref, &c->tag);
	FAILPOINT_OR(err, release_tagged);
	if (!err)
		err = drop_old_tags(d);
	if (err) {
		d->s->unsettled = true;
		log_event(LOG_LEVEL_ERROR, "release.refs", "site", d->s->name, "why", err_text(), NULL);
	}
}

void cutting_done(struct cutting *c, struct site *s)
{
	FAILPOINT(release_cut);
	/* Derived: what is missing is made again when it is asked for. */
	if (manifest_adopt(s, c->now.number))
		log_event(LOG_LEVEL_WARN, "release.manifest", "site", s->name, "why", err_text(), NULL);
}

/* The tags of the newest releases that are missing, made again: all in one pack. */
struct retagging {
	struct site *s;
	struct actor_tools *t;
	struct repo *repo;
	struct repo_pack *pack; /* NULL: none was missing yet */
	struct retag {
		uint64_t number;
		struct blob_id tag;
	} *list;
	size_t n, cap;
	struct db_release *releases; /* the newest, of this node */
	size_t n_releases, releases_cap;
	enum err err;
};

enum err release_tag_signature(struct site *s, const struct db_release *rel, struct buf *armored)
{
	char message[256], name[64];

	release_words(s, rel->number, message, name);
	return repo_tag_sign(name, &rel->main_commit, message, rel->at, s->key, armored);
}

static enum err retag_make(struct retagging *x, const struct db_release *r, struct blob_id *tag)
{
	struct buf kept = BUF_INIT(HEAD_LIMIT);
	const bool ours = site_key_signed(x->s, r);
	char message[256], name[64];
	struct uuid op;
	enum err e = ours ? ERR_OK : site_key_kept(x->s, x->t, r, true, &kept);

	uuid_new(&op);
	release_words(x->s, r->number, message, name);
	if (!e && !x->pack)
		e = repo_pack_begin(x->repo, &op, &x->pack);
	if (!e)
		e = repo_pack_tag(x->pack, name, &r->main_commit, message, r->at, x->s->key, ours ? NULL : &kept, tag);
	buf_release(&kept);
	return e;
}

/* The tag is a pure function of release, time and key: made again, it is the same object. */
static void retag_one(struct retagging *x, const struct db_release *r)
{
	struct blob_id tag;
	char ref[96];

	snprintf(ref, sizeof ref, RELEASE_TAG_PREFIX "%llu", (unsigned long long)r->number);
	x->err = repo_ref_get(x->repo, ref, &tag);
	if (x->err != ERR_NOT_FOUND)
		return;
	x->err = retag_make(x, r, &tag);
	if (x->err == ERR_NOT_FOUND) {
		/* Of a key that was replaced, and so old that its signature was not kept: no start fails over that. */
		log_event(LOG_LEVEL_WARN, "recover.tag", "site", x->s->name, "why", err_text(), NULL);
		x->err = ERR_OK;
		return;
	}
	if (x->err)
		return;
	x->list = mem_grow(x->list, &x->cap, x->n + 1, sizeof *x->list);
	x->list[x->n++] = (struct retag){ r->number, tag };
}

static bool see_tagged(void *arg, const struct db_release *r)
{
	struct retagging *x = arg;

	if (strcmp(r->node, node_key_id(x->s->key)) != 0)
		return true;
	x->releases = mem_grow(x->releases, &x->releases_cap, x->n_releases + 1, sizeof *x->releases);
	x->releases[x->n_releases++] = *r;
	return true;
}

static enum err retag(struct site *s, struct actor_tools *t, struct repo *repo)
{
	struct retagging x = { .s = s, .t = t, .repo = repo };
	const unsigned keep = s->conf ? s->conf->release_keep : 1;
	enum err err = db_release_list(tools_db(t), s->name, 0, keep, see_tagged, &x);

	for (size_t i = 0; i < x.n_releases && !err && !x.err; i++)
		retag_one(&x, &x.releases[i]);
	if (!err)
		err = x.err;
	if (!err && x.n)
		err = repo_pack_publish(x.pack, false);
	FAILPOINT_OR(err, recover_tags_made);
	for (size_t i = 0; i < x.n && !err; i++) {
		char ref[96];

		snprintf(ref, sizeof ref, RELEASE_TAG_PREFIX "%llu", (unsigned long long)x.list[i].number);
		err = carry_ref(repo, ref, &x.list[i].tag);
		FAILPOINT_OR(err, recover_tag);
	}
	if (x.n && !err)
		log_event(LOG_LEVEL_WARN, "recover.tags", "site", s->name, "tags", log_u64(x.n), NULL);
	repo_pack_free(x.pack);
	free(x.list);
	free(x.releases);
	return err;
}

enum err release_refs(struct site *s, struct actor_tools *t)
{
	struct arena *a = arena_new();
	struct db_release last;
	struct blob_id main = { 0 };
	struct repo *repo;
	enum err err = tools_repo(t, s, &repo);

	if (!err)
		err = newest(tools_db(t), s, &last, a);
	if (err || !last.number)
		goto out;
	err = repo_ref_get(repo, MAIN_REF, &main);
	if (err || !blob_id_equal(&main, &last.main_commit))
		err = repo_ref_set(repo, MAIN_REF, &last.main_commit);
	FAILPOINT_OR(err, recover_main);
	if (!err)
		err = retag(s, t, repo);
out:
	arena_free(a);
	return err;
}

enum err release_papers(struct site *s, struct actor_tools *t, const struct db_release *rel, struct release_papers *out, struct arena *a)
{
	struct buf bytes = BUF_INIT(HEAD_LIMIT), armored = BUF_INIT(HEAD_LIMIT);
	struct db_record_row row;
	struct record r = { 0 };
	enum err err;

	*out = (struct release_papers){ .has_head = false };
	err = db_record_get(tools_db(t), s->name, rel->node, rel->seq, &row, a);
	if (!err)
		err = record_decode(&r, row.body, row.body_len, a);
	if (err)
		return err_prefix(err, "The record of release %llu", (unsigned long long)rel->number);
	out->actor = row.actor;
	err = head_of_record(&out->head, &r, &row.sha256, &out->has_head);
	if (err || !out->has_head)
		goto out;
	/* The fields go with the record. */
	out->head.tree = arena_dup(a, out->head.tree);
	err = head_encode(&out->head, &bytes);
	if (!err && !strcmp(rel->node, node_key_id(s->key))) {
		err = site_key_signed(s, rel) ? node_key_sign(s->key, HEAD_SPACE, bytes.p, bytes.len, &armored) : site_key_kept(s, t, rel, false, &armored);
		err = err == ERR_NOT_FOUND ? ERR_OK : err;
	}
	if (err)
		goto out;
	sha256_of(&out->digest, bytes.p, bytes.len);
	out->bytes = arena_dupn(a, bytes.p, bytes.len);
	out->len = bytes.len;
	out->signature = armored.len ? arena_dup(a, buf_text(&armored)) : NULL;
out:
	json_decref(r.fields);
	buf_release(&bytes);
	buf_release(&armored);
	return err;
}

#define ATTEMPTS 6

/* Outside of the lock: what the head of the log is, and the sums for it. */
static enum err prepare_outside(struct cutting *c, struct site *s, struct actor_tools *t)
{
	struct plan changes;
	enum err err = cutting_last(c, s, t);

	if (!err)
		err = db_head_get(tools_db(t), s->name, node_key_id(s->key), &c->from);
	if (!err && !c->from.seq)
		return err_set(ERR_FAILED, "The log of %s is empty.", s->name);
	plan_init(&changes);
	if (!err)
		err = sluice_plan(s, t, &c->last, &c->from.commit, &c->sluice, &changes);
	c->nothing = !err && nothing_new(c, s, &changes);
	/* Nothing new is said by the transaction, which sees for sure. */
	if (!err && !c->nothing)
		err = sluice_shut(&c->sluice) ? sluice_refusal(&c->sluice) : cutting_prepare(c, s, t, &changes);
	plan_release(&changes);
	return err;
}

static enum err release_build(struct decision *d, void *arg)
{
	return cutting_build(arg, d);
}

static enum err release_write(struct decision *d, void *arg)
{
	return cutting_write(arg, d);
}

static void release_after(struct decision *d, void *arg)
{
	cutting_after(arg, d);
}

static enum err cut(struct cutting *c, struct site *s, struct actor_tools *t)
{
	struct act_request rq = { .note = "" };
	struct decision d = {
		.s = s, .t = t, .rq = &rq, .act = "release", .shown = "",
		.check = release_check, .build = release_build, .write = release_write, .after = release_after, .arg = c,
	};
	struct act_answer answer;
	struct request r;
	enum err err;

	err = prepare_outside(c, s, t);
	FAILPOINT_OR(err, release_prepared);
	if (err)
		return err;
	uuid_new(&rq.op);
	request_begin(&r, "release");
	request_end(&r, &d.request);
	return decide(&d, &answer);
}

enum err act_release(struct site *s, struct actor_tools *t, struct db_release *out, bool *was_cut)
{
	return act_release_as(s, t, false, NULL, out, was_cut);
}

enum err act_release_as(struct site *s, struct actor_tools *t, bool down, const struct sha256 *plan, struct db_release *out, bool *was_cut)
{
	struct cutting c = { .a = arena_new(), .down = down, .plan = plan, .sluice = { .down = down } };
	enum err err;
	unsigned i = 0;

	c.sluice.a = c.a;
	*was_cut = false;
	(void)pthread_mutex_lock(&s->release_lock);
	do {
		c.last_try = ++i == ATTEMPTS;
		err = cut(&c, s, t);
	} while (err == ERR_STALE && c.moved && i < ATTEMPTS);
	if (!err) {
		*out = c.now;
		*was_cut = true;
		cutting_done(&c, s);
	} else if (c.nothing) {
		/* What stands is what production should have. */
		*out = c.last;
		out->node = node_key_id(s->key);
		err = ERR_OK;
	}
	(void)pthread_mutex_unlock(&s->release_lock);
	arena_free(c.a);
	return err;
}
