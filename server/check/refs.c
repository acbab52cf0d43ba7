/* The refs of a repository: the releases' commits and tags, and whatever DryDock did not make. */
#include <stdlib.h>
#include <string.h>

#include "check/internal.h"
#include "core/head.h"

struct newest {
	uint64_t number;
	struct blob_id tag;
};

static bool tag_number(const char *name, uint64_t *number)
{
	char *end;

	if (strncmp(name, TAG_PREFIX, sizeof(TAG_PREFIX) - 1) != 0 || name[sizeof(TAG_PREFIX) - 1] < '1' || name[sizeof(TAG_PREFIX) - 1] > '9')
		return false;
	*number = strtoull(name + sizeof(TAG_PREFIX) - 1, &end, 10);
	return *end == '\0';
}

static enum err see_tag(void *arg, const char *name, const struct blob_id *at)
{
	struct newest *n = arg;
	uint64_t number;

	if (tag_number(name, &number) && number > n->number)
		*n = (struct newest){ number, *at };
	return ERR_OK;
}

enum err releases_open(struct check *c, struct repo *repo, struct release_chain *out)
{
	struct newest newest = { .number = 0 };
	struct blob_id tip = { { 0 } };
	char hex[COMMIT_HEX];
	size_t cap = 0;
	enum err e = repo_ref_get(repo, MAIN_REF, &tip);

	memset(out, 0, sizeof(*out));
	if (e) {
		e = repo_ref_each(repo, TAG_PREFIX, see_tag, &newest);
		if (e)
			return e;
		if (newest.number && repo_tag_target(repo, &newest.tag, &tip))
			tip = (struct blob_id){ { 0 } };
	}
	while (!blob_id_zero(&tip)) {
		if (out->n == cap)
			out->ids = mem_grow(out->ids, &cap, out->n + 1, sizeof(*out->ids));
		out->ids[out->n++] = tip;
		if (repo_commit_parent(repo, &tip, &tip)) {
			found(c, FINDING_RELEASE_COMMIT, commit_hex(&out->ids[out->n - 1], hex), "it cannot be read: %s", err_text());
			break;
		}
	}
	for (size_t i = 0; i < out->n / 2; i++) {
		struct blob_id x = out->ids[i];

		out->ids[i] = out->ids[out->n - 1 - i];
		out->ids[out->n - 1 - i] = x;
	}
	return ERR_OK;
}

/* --- every ref --------------------------------------------------------------------------------------------------------- */

struct refs {
	struct check *c;
	struct repo *repo;
	const struct release_chain *chain;
};

static enum err see_ref(void *arg, const char *name, const struct blob_id *at)
{
	struct refs *r = arg;
	struct blob_id commit;
	uint64_t number;
	bool known = false;

	if (strcmp(name, MAIN_REF) == 0 || (strncmp(name, LOG_REF_PREFIX, sizeof(LOG_REF_PREFIX) - 1) == 0 &&
	    strcmp(name + sizeof(LOG_REF_PREFIX) - 1, node_key_id(r->c->p->key)) == 0))
		return ERR_OK;
	if (!tag_number(name, &number)) {
		found(r->c, FINDING_REF_FOREIGN, name, "DryDock did not make this ref");
		return ERR_OK;
	}
	if (repo_tag_target(r->repo, at, &commit)) {
		found(r->c, FINDING_RELEASE_REF, name, "it is not a tag that DryDock made: %s", err_text());
		return ERR_OK;
	}
	for (size_t i = 0; i < r->chain->n && !known; i++)
		known = blob_id_equal(&r->chain->ids[i], &commit);
	if (!known)
		found(r->c, FINDING_RELEASE_REF, name, "the commit that it tags is not in refs/heads/main");
	return ERR_OK;
}

enum err check_refs(struct check *c, struct repo *repo, const struct release_chain *chain)
{
	struct refs r = { c, repo, chain };
	struct blob_id tip;
	enum err e = repo_ref_get(repo, MAIN_REF, &tip);

	if (e && e != ERR_NOT_FOUND)
		found(c, FINDING_RELEASE_REF, MAIN_REF, "it cannot be read: %s", err_text());
	if (e == ERR_NOT_FOUND && chain->n)
		found(c, FINDING_RELEASE_REF, MAIN_REF, "it is missing, and there are tags of releases");
	return repo_ref_each(repo, "", see_ref, &r);
}

/* The approved tree that a release has to have; zero: nobody can say. */
static struct blob_id release_site(struct repo *repo, const struct log_entry *e)
{
	const json_t *held = json_object_get(e->record.fields, "held"), *as_of = json_object_get(e->record.fields, RELEASE_AS_OF);
	struct blob_id want = e->parts.site, at = e->commit;
	uint64_t seq = e->seq;

	/* Something was held back: then it is another tree than any approved one, and the record says which. */
	if (held && hex_parse(want.b, sizeof(want.b), json_string_value(json_object_get(e->record.fields, "tree"))))
		return want;
	if (held)
		return (struct blob_id){ { 0 } };
	if (!as_of)
		return want;
	/* Acts were recorded while it was cut: it is what was approved before them. */
	for (; seq > (uint64_t)json_integer_value(as_of) && !repo_commit_parent(repo, &at, &at); seq--)
		;
	return seq != (uint64_t)json_integer_value(as_of) || repo_site_tree(repo, &at, &want) ? (struct blob_id){ { 0 } } : want;
}

/* The nth release: its commit is the tree of the record that cut it, signed, on top of the one before. */
void check_release(struct check *c, struct repo *repo, const struct release_chain *chain, size_t nth, const struct log_entry *e)
{
	json_int_t number = json_integer_value(json_object_get(e->record.fields, "number"));
	const size_t keep = c->p->release_keep ? c->p->release_keep : 1;
	char ref[96], hex[COMMIT_HEX];
	const struct blob_id want = release_site(repo, e);
	struct blob_id tag, commit, tree;
	uint8_t signer[32];

	snprintf(ref, sizeof(ref), TAG_PREFIX "%lld", (long long)number);
	if (nth >= chain->n) {
		found(c, FINDING_RELEASE_REF, MAIN_REF, "it does not have release %lld, which record %llu cut", (long long)number, (unsigned long long)e->seq);
		return;
	}
	commit = chain->ids[nth];
	if (repo_commit_verify(repo, &commit, signer) || key_expect(&c->keys, e->seq, signer))
		found(c, FINDING_RELEASE_COMMIT, commit_hex(&commit, hex), "release %lld: %s", (long long)number, err_text());
	else if (repo_commit_tree(repo, &commit, &tree) || !blob_id_equal(&tree, &want))
		found(c, FINDING_RELEASE_COMMIT, commit_hex(&commit, hex), "release %lld has not the tree that record %llu names", (long long)number, (unsigned long long)e->seq);
	if (repo_ref_get(repo, ref, &tag) == ERR_NOT_FOUND && nth + keep < chain->n)
		return; /* an old one, dropped when a newer release was cut */
	if (repo_ref_get(repo, ref, &tag) || repo_tag_target(repo, &tag, &tree))
		found(c, FINDING_RELEASE_REF, ref, "the tag of the release that record %llu cut is missing", (unsigned long long)e->seq);
	else if (!blob_id_equal(&tree, &commit))
		found(c, FINDING_RELEASE_REF, ref, "it tags another commit than refs/heads/main has for this release");
}
