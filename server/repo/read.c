/*
 * Reading: blobs, files of an approved tree, parts of a log commit, and the walk over all files.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

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
	enum err e;

	if (packs_blob(r, id, out))
		return ERR_OK;
	e = repo_blob_size(r, id, &size);
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

uint64_t repo_place(struct repo *r, const struct blob_id *id)
{
	return packs_place(r, id);
}

/* A loose object in pieces, as they are inflated: libgit2's own stream maps the whole file. */
struct loose {
	int fd;
	z_stream z;
	bool begun, ended;
	uint8_t in[64 * 1024];
};

static void loose_close(struct loose *l)
{
	if (l->begun)
		inflateEnd(&l->z);
	if (l->fd >= 0)
		sys_close(l->fd);
	free(l);
}

/* NULL: it is not loose. */
static struct loose *loose_open(const struct repo *r, const struct blob_id *id)
{
	struct loose *l = mem_alloc(sizeof(*l));
	char hex[2 * BLOB_ID_SIZE + 1], *file;

	hex_of(hex, id->b, BLOB_ID_SIZE);
	file = mem_printf("%s/objects/%.2s/%s", r->dir, hex, hex + 2);
	l->fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	free(file);
	l->begun = l->fd >= 0 && inflateInit(&l->z) == Z_OK;
	if (l->begun)
		return l;
	loose_close(l);
	return NULL;
}

/* At most n bytes; *got 0 at the end of a whole stream only. */
static enum err loose_read(struct repo *r, struct loose *l, void *p, size_t n, size_t *got)
{
	l->z.next_out = p;
	l->z.avail_out = (uInt)n;
	while (l->z.avail_out && !l->ended) {
		int code;

		if (!l->z.avail_in) {
			ssize_t more = read(l->fd, l->in, sizeof(l->in));

			if (more < 0 && errno == EINTR)
				continue;
			if (more <= 0)
				return err_set(ERR_FAILED, "a large object of %s is damaged: it is cut off", r->dir);
			l->z.next_in = l->in;
			l->z.avail_in = (uInt)more;
		}
		code = inflate(&l->z, Z_NO_FLUSH);
		if (code == Z_STREAM_END)
			l->ended = true;
		else if (code != Z_OK)
			return err_set(ERR_FAILED, "a large object of %s is damaged", r->dir);
	}
	*got = n - l->z.avail_out;
	return ERR_OK;
}

/* Nobody else checks its id. */
static enum err feed_loose(struct repo *r, struct loose *l, uint64_t size, const struct blob_id *id,
    enum err (*fn)(void *arg, const void *p, size_t n), void *arg)
{
	const size_t piece = 256 * 1024;
	struct object_hash *hash = object_hash_new("blob", size);
	char head[64], *bytes = mem_alloc(piece);
	const size_t want = (size_t)snprintf(head, sizeof(head), "blob %llu", (unsigned long long)size) + 1;
	struct blob_id found;
	uint64_t left = size;
	size_t got = 0;
	enum err e = loose_read(r, l, bytes, want, &got);

	if (!e && (got != want || memcmp(bytes, head, want) != 0))
		e = err_set(ERR_FAILED, "a large object of %s is damaged", r->dir);
	while (!e && !(e = loose_read(r, l, bytes, piece, &got)) && got) {
		object_hash_add(hash, bytes, got);
		e = got > left ? err_set(ERR_FAILED, "a large object of %s is damaged", r->dir) : fn(arg, bytes, got);
		left -= got;
	}
	object_hash_end_free(hash, &found);
	if (!e && !blob_id_equal(&found, id))
		e = err_set(ERR_FAILED, "a large object of %s is damaged", r->dir);
	free(bytes);
	return e;
}

enum err repo_blob_feed(struct repo *r, const struct blob_id *id, enum err (*fn)(void *arg, const void *p, size_t n), void *arg)
{
	struct loose *loose;
	struct object o;
	uint64_t size;
	enum err e = repo_blob_size(r, id, &size);

	if (e)
		return e;
	/* only loose objects can be streamed, and only they are too large to be held in memory */
	if (size > REPO_LOOSE_ABOVE && (loose = loose_open(r, id))) {
		e = feed_loose(r, loose, size, id, fn, arg);
		loose_close(loose);
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
	struct object_hash *hash = object_hash_new("blob", size);
	char bytes[32 * 1024];
	enum err e = ERR_OK;

	while (!e && size > 0) {
		ssize_t got = read(fd, bytes, size < sizeof(bytes) ? (size_t)size : sizeof(bytes));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			e = got < 0 ? err_sys(ERR_FAILED, "cannot read a file") : err_set(ERR_FAILED, "a file shrank while it was read");
		} else {
			object_hash_add(hash, bytes, (size_t)got);
			size -= (uint64_t)got;
		}
	}
	object_hash_end_free(hash, id);
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
	struct object o;
	bool log;
	enum err e = object_read(r, commit, GIT_OBJECT_COMMIT, &o);

	if (e)
		return e;
	log = commit_is_log(&o);
	if (!log)
		e = commit_parse(&o, tree, NULL);
	object_release(&o);
	return log ? commit_entry(r, commit, "site", true, tree) : e;
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
