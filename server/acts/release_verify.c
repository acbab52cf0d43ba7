/* release_verify: is a release what its record says, all of it, as it lies in the repository today? */
#include <stdio.h>
#include <string.h>

#include "acts/internal.h"
#include "repo/sshsig.h"

struct checking {
	struct site *s;
	struct actor_tools *t;
	struct repo *repo;
	struct db_release rel;
	struct release_papers papers;
	struct arena *a;
};

typedef enum err check_fn(struct checking *c);

static enum err check_record(struct checking *c)
{
	enum err e = release_papers(c->s, c->t, &c->rel, &c->papers, c->a);

	if (!e && !c->papers.has_head)
		e = err_set(ERR_FAILED, "it was cut before releases had signed heads");
	if (!e && (c->papers.head.number != c->rel.number || strcmp(c->papers.head.site, c->s->name)))
		e = err_set(ERR_FAILED, "its record is of another release");
	return e;
}

/* Signed by the key that was the node's then? */
static enum err check_commit(struct checking *c, const struct blob_id *commit)
{
	uint8_t signer[32];
	enum err e = repo_commit_verify(c->repo, commit, signer);

	return e ? e : key_expect(site_keychain(c->s), c->rel.seq, signer);
}

static enum err check_signature(struct checking *c)
{
	const struct keychain *keys;

	if (!c->papers.has_head)
		return ERR_OK;
	if (!c->papers.signature)
		return err_set(ERR_FAILED, "it was cut by node %.12s, whose key is not here, or was replaced", c->rel.node);
	if (!(keys = site_keychain(c->s)) || !keys->n)
		return err_set(ERR_FAILED, "the keys of the log are not known");
	return sshsig_verify(keychain_at(keys, c->rel.seq)->key, HEAD_SPACE, c->papers.bytes, c->papers.len, c->papers.signature, strlen(c->papers.signature));
}

static enum err check_log(struct checking *c)
{
	return check_commit(c, &c->rel.log_commit);
}

static enum err check_tree(struct checking *c)
{
	struct blob_id tree, head;
	enum err e = repo_site_tree(c->repo, release_tree(&c->rel), &tree);

	if (e || !c->papers.has_head)
		return e;
	if (!hex_parse(head.b, sizeof head.b, c->papers.head.tree) || !blob_id_equal(&tree, &head))
		e = err_set(ERR_FAILED, "its tree is not the one that the head names");
	return e;
}

static enum err check_main(struct checking *c)
{
	return check_commit(c, &c->rel.main_commit);
}

struct before {
	struct db_release r; /* number 0: none */
	struct arena *a;
};

static bool take_before(void *arg, const struct db_release *r)
{
	struct before *b = arg;

	b->r = *r;
	b->r.node = arena_dup(b->a, r->node);
	return false;
}

static enum err check_chain(struct checking *c)
{
	struct release_papers before = { .has_head = false };
	struct before rel = { .a = c->a };
	struct caught caught;
	enum err e = db_release_list(tools_db(c->t), c->s->name, c->rel.number, 1, take_before, &rel);

	if (!e)
		e = caught_up(tools_db(c->t), c->s, c->rel.seq, &caught, c->a);
	if (!e && rel.r.number)
		e = release_papers(c->s, c->t, &rel.r, &before, c->a);
	if (e || !c->papers.has_head)
		return e;
	/* What production held when this server had been restored from an older copy. */
	if (caught.seq > rel.r.seq)
		before.digest = caught.head;
	if (!sha256_equal(&before.digest, &c->papers.head.previous))
		e = err_set(ERR_FAILED, "its head does not name the head of release %llu", (unsigned long long)rel.r.number);
	return e;
}

static enum err check_files(struct checking *c)
{
	struct manifest_reading r;
	struct manifest_sums sums;
	enum err e = site_manifest(c->s, c->t, c->rel.number, &r);

	if (!e)
		e = manifest_sum(&r.source, &sums);
	manifest_reading_end(&r);
	if (!e && c->papers.has_head && (!sha256_equal(&sums.files, &c->papers.head.sums.files) || sums.count != c->papers.head.sums.count))
		e = err_set(ERR_FAILED, "the list of files is not the one that the head names");
	return e;
}

enum err release_verify(struct site *s, struct actor_tools *t, uint64_t number, void (*fn)(void *arg, const char *what, const char *why), void *arg)
{
	static const struct {
		const char *what;
		check_fn *check;
	} checks[] = { { "record", check_record }, { "signature", check_signature }, { "log", check_log }, { "tree", check_tree },
		{ "main", check_main }, { "chain", check_chain }, { "files", check_files } };
	struct checking c = { .s = s, .t = t, .a = arena_new() };
	enum err e = tools_repo(t, s, &c.repo);

	if (!e)
		e = db_release_get(tools_db(t), s->name, number, &c.rel, c.a);
	for (size_t i = 0; i < sizeof checks / sizeof *checks && !e; i++) {
		const enum err bad = checks[i].check(&c);

		if (bad == ERR_BUSY)
			e = bad;
		else
			fn(arg, checks[i].what, bad ? err_text() : "");
	}
	arena_free(c.a);
	return e;
}
