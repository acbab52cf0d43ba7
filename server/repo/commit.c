/*
 * Commits and tags, written and signed by the node, and the check of a signature. The bytes are a pure function of
 * record, tree and key, so an act that is tried again makes the same objects.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "repo/internal.h"
#include "repo/plain.h"
#include "repo/sshsig.h"

#define SIGN_SPACE "git"

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* head: the header lines; body: the message. The signature covers both as they would stand without it. */
static enum err write_signed(struct repo_pack *p, const struct buf *head, const struct buf *body, const struct node_key *k,
    struct blob_id *id)
{
	struct buf all = BUF_INIT(COMMIT_LIMIT), armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	const char *line;
	enum err e;

	buf_add(&all, head->p, head->len);
	buf_char(&all, '\n');
	buf_add(&all, buf_text(body), body->len);
	e = buf_check(&all);
	if (!e)
		e = node_key_sign(k, SIGN_SPACE, all.p, all.len, &armored);
	if (e)
		goto out;
	buf_reset(&all);
	buf_add(&all, head->p, head->len);
	buf_str(&all, "gpgsig");
	/* further lines of a header field begin with a blank */
	for (line = armored.p; *line; line = strchr(line, '\n') + 1) {
		buf_char(&all, ' ');
		buf_add(&all, line, strcspn(line, "\n"));
		buf_char(&all, '\n');
	}
	buf_char(&all, '\n');
	buf_add(&all, buf_text(body), body->len);
	e = buf_check(&all);
	if (!e)
		e = pack_object(p, GIT_OBJECT_COMMIT, all.p, all.len, id);
out:
	buf_release(&all);
	buf_release(&armored);
	return e;
}

/* The files list of a very large act passes the size of a packed blob. */
static enum err write_part(struct repo_pack *p, const char *bytes, size_t n, struct blob_id *id)
{
	struct repo_stream *s;
	enum err e;

	if (n <= REPO_LOOSE_ABOVE)
		return repo_pack_blob(p, bytes, n, id);
	e = repo_stream_begin(p, n, &s);
	if (e)
		return e;
	e = repo_stream_add(s, bytes, n);
	if (e) {
		repo_stream_cancel(s);
		return e;
	}
	return repo_stream_end(s, id);
}

static void put_entry(struct buf *out, unsigned mode, const char *name, const struct blob_id *id)
{
	buf_fmt(out, "%o %s", mode, name);
	buf_char(out, '\0');
	buf_add(out, id->b, BLOB_ID_SIZE);
}

enum err repo_pack_commit(struct repo_pack *p, const struct repo_commit *c, const struct node_key *k, struct blob_id *commit)
{
	struct buf head = BUF_INIT(COMMIT_LIMIT), body = BUF_INIT(COMMIT_LIMIT), tree = BUF_INIT(1024);
	struct blob_id record, files, rules, site = c->site_tree, top;
	enum err e;

	e = write_part(p, c->record_bytes, c->record_len, &record);
	if (!e)
		e = write_part(p, c->files, c->files_len, &files);
	if (!e)
		e = write_part(p, c->rules, c->rules_len, &rules);
	if (!e && blob_id_zero(&site))
		e = pack_object(p, GIT_OBJECT_TREE, "", 0, &site);
	if (e)
		goto out;
	put_entry(&tree, TREE_MODE_FILE, "files", &files);
	put_entry(&tree, TREE_MODE_FILE, "record", &record);
	put_entry(&tree, TREE_MODE_FILE, "rules", &rules);
	put_entry(&tree, TREE_MODE_DIR, "site", &site);
	e = buf_check(&tree);
	if (!e)
		e = pack_object(p, GIT_OBJECT_TREE, tree.p, tree.len, &top);
	if (e)
		goto out;
	e = plain_log_text(c->record, &c->record_digest, &top, &c->parent, node_key_id(k), &head, &body);
	if (!e)
		e = write_signed(p, &head, &body, k, commit);
out:
	buf_release(&head);
	buf_release(&body);
	buf_release(&tree);
	return e;
}

enum err repo_pack_release_commit(struct repo_pack *p, const struct blob_id *site_tree, const struct blob_id *parent,
    const char *message, int64_t at, const struct node_key *k, struct blob_id *commit)
{
	struct buf head = BUF_INIT(COMMIT_LIMIT), body = BUF_INIT(COMMIT_LIMIT);
	struct blob_id tree = *site_tree;
	enum err e = ERR_OK;

	if (blob_id_zero(&tree))
		e = pack_object(p, GIT_OBJECT_TREE, "", 0, &tree);
	plain_put_id(&head, "tree", &tree);
	if (parent && !blob_id_zero(parent))
		plain_put_id(&head, "parent", parent);
	plain_put_node(&head, "author", node_key_id(k), at);
	plain_put_node(&head, "committer", node_key_id(k), at);
	buf_str(&body, message);
	if (body.len == 0 || body.p[body.len - 1] != '\n')
		buf_char(&body, '\n');
	if (!e)
		e = buf_check(&head);
	if (!e)
		e = buf_check(&body);
	if (!e)
		e = write_signed(p, &head, &body, k, commit);
	buf_release(&head);
	buf_release(&body);
	return e;
}

static enum err tag_text(const char *name, const struct blob_id *commit, const char *message, int64_t at, const struct node_key *k, struct buf *all)
{
	char *ref = mem_printf("refs/tags/%s", name);
	int valid = 0;
	enum err e = ERR_OK;

	if (git_reference_name_is_valid(&valid, ref) != 0 || !valid)
		e = err_set(ERR_INPUT, "%s is not a name for a tag", name);
	plain_put_id(all, "object", commit);
	buf_fmt(all, "type commit\ntag %s\n", name);
	plain_put_node(all, "tagger", node_key_id(k), at);
	buf_char(all, '\n');
	buf_str(all, message);
	if (*message == '\0' || message[strlen(message) - 1] != '\n')
		buf_char(all, '\n');
	free(ref);
	return e ? e : buf_check(all);
}

enum err repo_tag_sign(const char *name, const struct blob_id *commit, const char *message, int64_t at, const struct node_key *k, struct buf *armored)
{
	struct buf all = BUF_INIT(COMMIT_LIMIT);
	enum err e = tag_text(name, commit, message, at, k, &all);

	if (!e)
		e = node_key_sign(k, SIGN_SPACE, all.p, all.len, armored);
	buf_release(&all);
	return e;
}

enum err repo_pack_tag(struct repo_pack *p, const char *name, const struct blob_id *commit, const char *message, int64_t at,
    const struct node_key *k, const struct buf *kept, struct blob_id *tag)
{
	struct buf all = BUF_INIT(COMMIT_LIMIT), armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	enum err e = tag_text(name, commit, message, at, k, &all);

	if (!e && kept)
		buf_add(&armored, kept->p, kept->len);
	else if (!e)
		e = node_key_sign(k, SIGN_SPACE, all.p, all.len, &armored);
	if (!e) {
		/* a tag has its signature at the end of the message */
		buf_add(&all, armored.p, armored.len);
		e = buf_check(&all);
	}
	if (!e)
		e = pack_object(p, GIT_OBJECT_TAG, all.p, all.len, tag);
	buf_release(&all);
	buf_release(&armored);
	return e;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

enum err commit_parse(const struct object *o, struct blob_id *tree, struct blob_id *parent)
{
	struct blob_id first;

	if (!plain_commit_parse(o->p, o->n, tree, parent ? parent : &first))
		return err_set(ERR_FAILED, "a commit in the repository is not one that DryDock wrote");
	return ERR_OK;
}

/* By the trailer that every log commit has, and no release's: the message of that is DryDock's own words. */
bool commit_is_log(const struct object *o)
{
	static const char trailer[] = "\nRecord-SHA256: ";

	return memmem(o->p, o->n, trailer, sizeof(trailer) - 1) != NULL;
}

/* *bytes: what was signed, if the signature is good, and by the key that it names. */
static enum err verify(struct repo *r, const struct blob_id *commit, uint8_t signer[32], struct buf *bytes)
{
	struct object o;
	struct buf armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	enum err e = object_read(r, commit, GIT_OBJECT_COMMIT, &o);

	if (e)
		return e;
	e = plain_commit_split(o.p, o.n, bytes, &armored);
	if (!e)
		e = sshsig_signer(signer, armored.p, armored.len);
	if (!e)
		e = sshsig_verify(signer, SIGN_SPACE, bytes->p, bytes->len, armored.p, armored.len);
	object_release(&o);
	buf_release(&armored);
	return e;
}

enum err repo_commit_verify(struct repo *r, const struct blob_id *commit, uint8_t signer[32])
{
	struct buf bytes = BUF_INIT(COMMIT_LIMIT);
	enum err e = verify(r, commit, signer, &bytes);

	buf_release(&bytes);
	return e;
}

/* --- the log, looked at by who trusts nothing ----------------------------------------------------------------------- */

static enum err not_of_log(const char *why)
{
	return err_set(ERR_INPUT, "it is not a commit that DryDock writes: %s", why);
}

enum err repo_log_read(struct repo *r, const struct blob_id *commit, struct repo_log_commit *out)
{
	const struct { const char *name; unsigned mode; struct blob_id *to; } parts[] = {
		{ "files", TREE_MODE_FILE, &out->files },
		{ "record", TREE_MODE_FILE, &out->record },
		{ "rules", TREE_MODE_FILE, &out->rules },
		{ "site", TREE_MODE_DIR, &out->site },
	};
	struct object o;
	struct tree t;
	enum err e = object_read(r, commit, GIT_OBJECT_COMMIT, &o);

	memset(out, 0, sizeof(*out));
	if (e)
		return e;
	e = commit_parse(&o, &out->tree, &out->parent);
	object_release(&o);
	if (e)
		return not_of_log("its header is not tree, one parent, author");
	e = repo_tree_read(r, &out->tree, &t);
	if (e)
		return e;
	for (size_t i = 0; i < 4 && !e; i++) {
		const struct tree_entry *entry = i < t.n ? &t.entries[i] : NULL;

		if (t.n != 4 || entry->len != strlen(parts[i].name) || memcmp(entry->name, parts[i].name, entry->len) != 0 || entry->mode != parts[i].mode)
			e = not_of_log("its tree is not files, record, rules and site");
		else
			*parts[i].to = entry->id;
	}
	tree_release(&t);
	return e;
}

enum err repo_log_verify(struct repo *r, const struct blob_id *commit, const struct repo_log_commit *c, const struct record *record,
    const struct sha256 *digest, uint8_t signer[32])
{
	struct buf head = BUF_INIT(COMMIT_LIMIT), body = BUF_INIT(COMMIT_LIMIT), bytes = BUF_INIT(COMMIT_LIMIT);
	enum err e = verify(r, commit, signer, &bytes);

	if (!e)
		e = plain_log_text(record, digest, &c->tree, &c->parent, record->node, &head, &body);
	if (!e && (bytes.len != head.len + 1 + body.len || memcmp(bytes.p, head.p, head.len) != 0 || bytes.p[head.len] != '\n' ||
	    memcmp(bytes.p + head.len + 1, buf_text(&body), body.len) != 0))
		e = err_set(ERR_DENIED, "its author, times or message are not those of its record");
	buf_release(&head);
	buf_release(&body);
	buf_release(&bytes);
	return e;
}

enum err repo_tag_target(struct repo *r, const struct blob_id *tag, struct blob_id *commit)
{
	struct object o;
	const char *p;
	enum err e = object_read(r, tag, GIT_OBJECT_TAG, &o);

	if (e)
		return e;
	p = o.p;
	if (!plain_id_line(&p, o.p + o.n, "object ", commit))
		e = err_set(ERR_FAILED, "a tag in the repository is not one that DryDock wrote");
	object_release(&o);
	return e;
}
