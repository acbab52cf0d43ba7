/*
 * release: cut a numbered release of the approved tree as it stands, as an act of the system. Its record's log commit
 * anchors it; refs/heads/main gets a commit with the same tree, and a signed tag names it.
 */
#include <stdio.h>
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/log.h"

struct cutting {
	struct arena *a;
	struct db_release last; /* number 0: none yet */
	struct db_release now;
	struct blob_id tag;
	bool nothing;
};

/* ERR_OK with *same set if both log commits have one tree. */
static enum err same_tree(struct repo *repo, const struct blob_id *x, const struct blob_id *y, bool *same)
{
	struct blob_id tx = { 0 }, ty = { 0 };
	enum err err = ERR_OK;

	if (!blob_id_zero(x))
		err = repo_site_tree(repo, x, &tx);
	if (!err && !blob_id_zero(y))
		err = repo_site_tree(repo, y, &ty);
	*same = !err && blob_id_equal(&tx, &ty);
	return err;
}

static enum err nothing_new(struct site *s, struct repo *repo, const struct db_release *last, const struct blob_id *head, bool *nothing)
{
	if (last->number)
		return same_tree(repo, &last->log_commit, head, nothing);
	/* The first release is cut as soon as there is a file. */
	*nothing = !s->approved_files;
	return ERR_OK;
}

static enum err newest(struct db *db, struct site *s, struct db_release *out, struct arena *a)
{
	enum err err = db_release_get(db, s->name, 0, out, a);

	if (err != ERR_NOT_FOUND)
		return err;
	*out = (struct db_release){ .number = 0 };
	return ERR_OK;
}

static enum err release_check(struct decision *d, void *arg)
{
	struct cutting *c = arg;
	char id[128];
	uint64_t number;
	enum err err = newest(d->db, d->s, &c->last, c->a);

	if (!err)
		err = nothing_new(d->s, d->repo, &c->last, &d->head.commit, &c->nothing);
	if (err)
		return err;
	if (c->nothing)
		return err_set(ERR_STALE, "Nothing changed since the last release.");
	snprintf(id, sizeof id, "release/%s", d->s->name);
	err = db_counter_next(d->db, id, &number);
	if (err)
		return err;
	c->now = (struct db_release){ .number = number, .node = node_key_id(d->s->key), .files_count = d->s->approved_files };
	d->fields = json_object();
	json_object_set_new(d->fields, "number", json_integer((json_int_t)number));
	json_object_set_new(d->fields, "files", json_integer((json_int_t)d->s->approved_files));
	if (c->last.number)
		json_object_set_new(d->fields, "previous", json_integer((json_int_t)c->last.number));
	return ERR_OK;
}

static void release_words(const struct site *s, uint64_t number, char message[256], char tag[64])
{
	snprintf(message, 256, "Release %llu of %s\n", (unsigned long long)number, s->name);
	if (tag)
		snprintf(tag, 64, "release/%llu", (unsigned long long)number);
}

static enum err release_build(struct decision *d, void *arg)
{
	struct cutting *c = arg;
	char message[256], tag[64];
	enum err err;

	release_words(d->s, c->now.number, message, tag);
	err = repo_pack_release_commit(d->pack, &d->site_tree, &c->last.main_commit, message, d->record.at, d->s->key, &c->now.main_commit);
	if (!err)
		err = repo_pack_tag(d->pack, tag, &c->now.main_commit, message, d->record.at, d->s->key, &c->tag);
	return err;
}

static enum err release_write(struct decision *d, void *arg)
{
	struct cutting *c = arg;

	c->now.seq = d->record.seq;
	c->now.at = d->record.at;
	c->now.log_commit = d->commit;
	return db_release_put(d->db, d->s->name, &c->now);
}

static void release_after(struct decision *d, void *arg)
{
	struct cutting *c = arg;
	char ref[96];
	enum err err;

	snprintf(ref, sizeof ref, RELEASE_TAG_PREFIX "%llu", (unsigned long long)c->now.number);
	err = carry_ref(d->repo, MAIN_REF, &c->now.main_commit);
	if (!err)
		err = carry_ref(d->repo, ref, &c->tag);
	if (err) {
		d->s->unsettled = true;
		log_event(LOG_LEVEL_ERROR, "release.refs", "site", d->s->name, "why", err_text(), NULL);
	}
}

enum err release_refs(struct site *s, struct actor_tools *t)
{
	struct arena *a = arena_new();
	struct repo_pack *pack = NULL;
	struct db_release last;
	struct blob_id main = { 0 }, tag;
	struct repo *repo;
	char ref[96], message[256], name[64];
	struct uuid op;
	enum err err = tools_repo(t, s, &repo);

	if (!err)
		err = newest(tools_db(t), s, &last, a);
	if (err || !last.number)
		goto out;
	err = repo_ref_get(repo, MAIN_REF, &main);
	if (err || !blob_id_equal(&main, &last.main_commit))
		err = repo_ref_set(repo, MAIN_REF, &last.main_commit);
	if (err)
		goto out;
	snprintf(ref, sizeof ref, RELEASE_TAG_PREFIX "%llu", (unsigned long long)last.number);
	err = repo_ref_get(repo, ref, &tag);
	if (err != ERR_NOT_FOUND)
		goto out;
	/* The tag is a pure function of release, time and key: made again, it is the same object. */
	uuid_new(&op);
	release_words(s, last.number, message, name);
	err = repo_pack_begin(repo, &op, &pack);
	if (!err)
		err = repo_pack_tag(pack, name, &last.main_commit, message, last.at, s->key, &tag);
	if (!err)
		err = repo_pack_publish(pack, false);
	if (!err)
		err = carry_ref(repo, ref, &tag);
out:
	repo_pack_free(pack);
	arena_free(a);
	return err;
}

enum err act_release(struct site *s, struct actor_tools *t, struct db_release *out, bool *cut)
{
	struct act_request rq = { .note = "" };
	struct cutting c = { .a = arena_new() };
	struct decision d = {
		.s = s, .t = t, .rq = &rq, .act = "release", .shown = "",
		.check = release_check, .build = release_build, .write = release_write, .after = release_after, .arg = &c,
	};
	struct act_answer answer;
	struct request r;
	enum err err;

	*cut = false;
	uuid_new(&rq.op);
	request_begin(&r, "release");
	request_end(&r, &d.request);
	err = decide(&d, &answer);
	if (!err) {
		*out = c.now;
		*cut = true;
	} else if (c.nothing) {
		/* What stands is what production should have. */
		*out = c.last;
		out->node = node_key_id(s->key);
		err = ERR_OK;
	}
	arena_free(c.a);
	return err;
}
