/*
 * Reading: blobs, files of an approved tree, parts of a log commit, and the walk over all files.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "repo/internal.h"

struct look_header {
	git_oid oid;
	git_object_t type;
	size_t n;
};

static int look_header(git_odb *odb, void *arg)
{
	struct look_header *l = arg;
	return git_odb_read_header(&l->n, &l->type, odb, &l->oid);
}

static int look_exists(git_odb *odb, void *arg)
{
	return git_odb_exists(odb, arg) == 1 ? 0 : GIT_ENOTFOUND;
}

bool repo_has(struct repo *r, const struct blob_id *id)
{
	git_oid oid;

	memcpy(oid.id, id->b, BLOB_ID_SIZE);
	return repo_look(r, look_exists, &oid) == 0;
}

enum err repo_blob_size(struct repo *r, const struct blob_id *id, uint64_t *size)
{
	char hex[2 * BLOB_ID_SIZE + 1];
	struct recent *o = recent_find(&r->tag, id);
	struct look_header look = { 0 };
	uint64_t whole;
	int got;

	if (o) {
		look.n = o->n;
		look.type = o->type;
		recent_unref(o);
	} else if (packs_size(r, id, &look.type, &whole)) {
		look.n = (size_t)whole;
	} else {
		memcpy(look.oid.id, id->b, BLOB_ID_SIZE);
		got = repo_look(r, look_header, &look);
		if (got != 0) {
			hex_of(hex, id->b, BLOB_ID_SIZE);
			return git_failed(got == GIT_ENOTFOUND ? ERR_NOT_FOUND : ERR_FAILED, "cannot read object %s of %s", hex,
			    r->dir);
		}
	}
	if (look.type != GIT_OBJECT_BLOB)
		return err_set(ERR_FAILED, "an object of %s is not a blob", r->dir);
	*size = look.n;
	return ERR_OK;
}

enum err repo_blob_read(struct repo *r, const struct blob_id *id, struct buf *out)
{
	struct object o;
	uint64_t size;
	enum err e = repo_blob_size(r, id, &size);

	if (e)
		return e;
	if (size > out->limit - out->len)
		return err_set(ERR_TOO_BIG, "a version of %llu bytes is too big here", (unsigned long long)size);
	e = object_read(r, id, GIT_OBJECT_BLOB, &o);
	if (e)
		return e;
	buf_add(out, o.p, o.n);
	object_release(&o);
	return buf_check(out);
}

/* Loose, in pieces. libgit2 checks the id of an object that it reads whole, but not of a stream: that is done here. */
static enum err feed_stream(struct repo *r, git_odb_stream *stream, uint64_t size, const struct blob_id *id,
    enum err (*fn)(void *arg, const void *p, size_t n), void *arg)
{
	const size_t piece = 256 * 1024;
	uint8_t sum[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	char *bytes = mem_alloc(piece);
	int n = snprintf(bytes, piece, "blob %llu", (unsigned long long)size);
	enum err e = ERR_OK;

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) != 1 || EVP_DigestUpdate(ctx, bytes, (size_t)n + 1) != 1)
		e = err_set(ERR_FAILED, "SHA-1 failed");
	while (!e && size > 0) {
		int got = git_odb_stream_read(stream, bytes, piece);
		if (got <= 0 || (uint64_t)got > size)
			e = git_failed(ERR_FAILED, "a large object of %s is damaged", r->dir);
		else if (EVP_DigestUpdate(ctx, bytes, (size_t)got) != 1)
			e = err_set(ERR_FAILED, "SHA-1 failed");
		else if (!(e = fn(arg, bytes, (size_t)got)))
			size -= (uint64_t)got;
	}
	if (!e && (EVP_DigestFinal_ex(ctx, sum, NULL) != 1 || memcmp(sum, id->b, BLOB_ID_SIZE) != 0))
		e = err_set(ERR_FAILED, "a large object of %s is damaged", r->dir);
	EVP_MD_CTX_free(ctx);
	free(bytes);
	return e;
}

enum err repo_blob_feed(struct repo *r, const struct blob_id *id, enum err (*fn)(void *arg, const void *p, size_t n), void *arg)
{
	git_odb_stream *stream = NULL;
	git_object_t type;
	git_oid oid;
	struct object o;
	uint64_t size;
	size_t n;
	enum err e = repo_blob_size(r, id, &size);

	if (e)
		return e;
	memcpy(oid.id, id->b, BLOB_ID_SIZE);
	/* only loose objects can be streamed, and only they are too large to be held in memory */
	if (size > REPO_LOOSE_ABOVE && git_odb_open_rstream(&stream, &n, &type, r->odb, &oid) == 0) {
		e = feed_stream(r, stream, size, id, fn, arg);
		git_odb_stream_free(stream);
		return e;
	}
	e = object_read(r, id, GIT_OBJECT_BLOB, &o);
	if (e)
		return e;
	e = fn(arg, o.p, o.n);
	object_release(&o);
	return e;
}

static enum err write_copy(void *fd, const void *p, size_t n)
{
	return sys_write_all(*(int *)fd, p, n) ? err_sys(ERR_FAILED, "cannot write a copy") : ERR_OK;
}

enum err repo_blob_copy(struct repo *r, const struct blob_id *id, int fd)
{
	return repo_blob_feed(r, id, write_copy, &fd);
}

enum err repo_object(struct repo *r, const struct blob_id *id, const char *type, struct buf *out)
{
	struct object o;
	enum err e = object_read(r, id, git_object_string2type(type), &o);

	if (e)
		return e;
	buf_add(out, o.p, o.n);
	object_release(&o);
	return buf_check(out);
}

/*
 * Plain SHA-1: what it is compared with is an id that was made with collision detection, and to pass for that one takes
 * a second pre-image, not a collision.
 */
enum err repo_blob_id_of(int fd, uint64_t size, struct blob_id *id)
{
	const size_t piece = 256 * 1024;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	char *bytes = mem_alloc(piece);
	enum err e = ERR_OK;
	int n = snprintf(bytes, piece, "blob %llu", (unsigned long long)size);

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) != 1 || EVP_DigestUpdate(ctx, bytes, (size_t)n + 1) != 1)
		e = err_set(ERR_FAILED, "SHA-1 failed");
	while (!e && size > 0) {
		ssize_t got = read(fd, bytes, size < piece ? (size_t)size : piece);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			e = got < 0 ? err_sys(ERR_FAILED, "cannot read a file") : err_set(ERR_FAILED, "a file shrank while it was read");
		else if (EVP_DigestUpdate(ctx, bytes, (size_t)got) != 1)
			e = err_set(ERR_FAILED, "SHA-1 failed");
		else
			size -= (uint64_t)got;
	}
	if (!e && EVP_DigestFinal_ex(ctx, id->b, NULL) != 1)
		e = err_set(ERR_FAILED, "SHA-1 failed");
	EVP_MD_CTX_free(ctx);
	free(bytes);
	return e;
}

/* --- log commits -------------------------------------------------------------------------------------------------- */

enum err commit_entry(struct repo *r, const struct blob_id *commit, const char *name, bool dir, struct blob_id *out)
{
	struct object o;
	struct blob_id top;
	struct tree t;
	const struct tree_entry *found;
	enum err e = object_read(r, commit, GIT_OBJECT_COMMIT, &o);

	if (e)
		return e;
	e = commit_parse(&o, &top, NULL);
	object_release(&o);
	if (!e)
		e = repo_tree_read(r, &top, &t);
	if (e)
		return e;
	found = tree_find(&t, name, strlen(name), dir);
	if (found)
		*out = found->id;
	else
		e = err_set(ERR_FAILED, "a log commit of %s has no %s", r->dir, name);
	tree_release(&t);
	return e;
}

enum err repo_commit_parent(struct repo *r, const struct blob_id *commit, struct blob_id *parent)
{
	struct object o;
	struct blob_id tree;
	enum err e = object_read(r, commit, GIT_OBJECT_COMMIT, &o);

	if (e)
		return e;
	e = commit_parse(&o, &tree, parent);
	object_release(&o);
	return e;
}

enum err repo_commit_tree(struct repo *r, const struct blob_id *commit, struct blob_id *tree)
{
	struct object o;
	enum err e = object_read(r, commit, GIT_OBJECT_COMMIT, &o);

	if (e)
		return e;
	e = commit_parse(&o, tree, NULL);
	object_release(&o);
	return e;
}

enum err repo_site_tree(struct repo *r, const struct blob_id *commit, struct blob_id *tree)
{
	return commit_entry(r, commit, "site", true, tree);
}

/* Down the tree, a part of the path at a time; dir: the last part is to be a directory. */
static enum err find(struct repo *r, const struct blob_id *commit, struct path path, bool dir, struct tree_entry *out)
{
	const char *part = path.s + 1;
	struct blob_id at;
	enum err e = repo_site_tree(r, commit, &at);

	while (!e) {
		size_t len = strcspn(part, "/");
		bool last = part[len] == '\0';
		const struct tree_entry *found;
		struct tree t;

		e = repo_tree_read(r, &at, &t);
		if (e)
			break;
		found = tree_find(&t, part, len, last ? dir : true);
		if (found) {
			*out = *found;
			at = found->id;
		}
		tree_release(&t);
		if (!found)
			return err_set(ERR_NOT_FOUND, "%s is not in that version", path.s);
		if (last)
			return ERR_OK;
		part += len + 1;
	}
	return e;
}

enum err repo_find(struct repo *r, const struct blob_id *commit, struct path path, struct blob_id *blob, bool *exec)
{
	struct tree_entry found;
	enum err e = find(r, commit, path, false, &found);

	if (e)
		return e;
	*blob = found.id;
	if (exec)
		*exec = found.mode == TREE_MODE_EXEC;
	return ERR_OK;
}

enum err repo_has_directory(struct repo *r, const struct blob_id *commit, struct path path, bool *answer)
{
	struct tree_entry found;
	enum err e;

	*answer = false;
	if (blob_id_zero(commit))
		return ERR_OK;
	*answer = true;
	if (path_is_root(path))
		return ERR_OK;
	e = find(r, commit, path, true, &found);
	if (e == ERR_NOT_FOUND)
		*answer = false;
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* --- the walk ----------------------------------------------------------------------------------------------------- */

struct walk {
	struct repo *r;
	enum err (*fn)(void *arg, struct path path, const struct blob_id *blob, bool exec);
	void *arg;
	char text[PATH_LIMIT + 1];
};

static enum err walk_tree(struct walk *w, const struct blob_id *id, size_t len)
{
	struct tree t;
	enum err e = repo_tree_read(w->r, id, &t);

	for (size_t i = 0; i < t.n && !e; i++) {
		const struct tree_entry *entry = &t.entries[i];
		size_t now = len + 1 + entry->len;
		if (now > PATH_LIMIT) {
			e = err_set(ERR_FAILED, "a path in the repository is too long");
			break;
		}
		w->text[len] = '/';
		memcpy(w->text + len + 1, entry->name, entry->len);
		w->text[now] = '\0';
		if (entry->mode == TREE_MODE_DIR)
			e = walk_tree(w, &entry->id, now);
		else
			e = w->fn(w->arg, (struct path){ .s = w->text, .len = now }, &entry->id, entry->mode == TREE_MODE_EXEC);
	}
	tree_release(&t);
	return e;
}

enum err repo_walk(struct repo *r, const struct blob_id *commit,
    enum err (*fn)(void *arg, struct path path, const struct blob_id *blob, bool exec), void *arg)
{
	struct walk w = { .r = r, .fn = fn, .arg = arg };
	struct blob_id tree;
	enum err e;

	if (blob_id_zero(commit))
		return ERR_OK;
	e = repo_site_tree(r, commit, &tree);
	return e ? e : walk_tree(&w, &tree, 0);
}
