/* The archive, from a site's repository. Nothing is judged here: what the repository has is written down. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/json.h"
#include "base/sys.h"
#include "evidence/inside.h"
#include "repo/repo.h"

#define RECORD_LIMIT ((size_t)2 << 20)
#define PIECE ((size_t)256 * 1024)

struct make {
	struct repo *repo;
	struct evidence_about about;
	struct pack_out *pack;
	struct spine *spine;
	struct state *state;
	struct archive_out *archive;
	struct buf signers, index;
	int versions; /* temporary file: the lines of `versions` */
	uint64_t versions_size;
	struct buf lines; /* of the record at hand */
	struct buf bytes;
	struct blob_id site; /* of the newest commit */
	bool (*stop)(void *arg);
	void *stop_arg;
};

static enum err temporary(const char *work, int *fd)
{
	*fd = sys_open(AT_FDCWD, work, O_TMPFILE | O_RDWR, 0600);
	return *fd < 0 ? err_sys(ERR_FAILED, "cannot make a temporary file in %s", work) : ERR_OK;
}

static enum err take(struct make *m, enum pack_type type, const struct blob_id *id, struct buf *out)
{
	enum err e;

	buf_reset(out);
	e = repo_object(m->repo, id, type == PACK_COMMIT ? "commit" : type == PACK_TREE ? "tree" : "blob", out);
	return e ? e : pack_out_add(m->pack, type, id, buf_text(out), out->len);
}

static enum err take_tree(void *arg, const struct blob_id *id, struct buf *out)
{
	return take(arg, PACK_TREE, id, out);
}

/* --- one record ----------------------------------------------------------------------------------------------------- */

static enum err flush_lines(struct make *m)
{
	enum err e = buf_check(&m->lines);

	if (!e && sys_write_all(m->versions, buf_text(&m->lines), m->lines.len))
		e = err_sys(ERR_FAILED, "cannot write a temporary file");
	m->versions_size += m->lines.len;
	buf_reset(&m->lines);
	return e;
}

static enum err take_superseded(struct make *m, const struct record *rec, const struct blob_id *commit, bool *touched)
{
	const json_t *paths = json_object_get(rec->fields, "superseded");
	const json_t *item;
	size_t i;

	json_array_foreach(paths, i, item) {
		struct approved *a;
		struct path path;

		if (!json_is_string(item) || path_check(&path, json_string_value(item)))
			return err_set(ERR_FAILED, "a record's field superseded is not a list of paths");
		if (!path_covers(m->about.path, path))
			continue;
		a = state_file(m->state, path, false);
		if (a)
			a->stands = false;
		papers_version(rec, commit, path, NULL, &m->lines);
		*touched = true;
	}
	return ERR_OK;
}

static enum err take_file(struct make *m, const struct record *rec, const struct blob_id *commit, const struct record_file *f, bool *touched)
{
	const enum papers_act act = papers_act(rec);
	struct tree_entry entry;
	struct approved *a;
	bool same, found;

	papers_version(rec, commit, f->path, f, &m->lines);
	if (act == PAPERS_REVIEWS)
		return m->lines.len > PIECE ? flush_lines(m) : ERR_OK;
	*touched = true;
	a = state_file(m->state, f->path, true);
	a->stands = papers_stands(rec, f);
	a->exec = f->print.exec;
	a->blob = f->blob;
	a->sha256 = f->print.sha256;
	if (a->stands)
		(void)state_version(m->state, f, &same);
	if (m->lines.len > PIECE) {
		enum err e = flush_lines(m);
		if (e)
			return e;
	}
	/* the trees on the way to it go into the pack as they are read */
	return spine_find(m->spine, f->path, &entry, &found);
}

static enum err take_files(struct make *m, const struct record *rec, const struct blob_id *commit, struct arena *a)
{
	const char *p = buf_text(&m->bytes), *end = p + m->bytes.len;
	const enum papers_act act = papers_act(rec);
	bool touched = false;
	enum err e = ERR_OK;

	if (act == PAPERS_NOTHING)
		return ERR_OK;
	if (act == PAPERS_UNKNOWN)
		return err_set(ERR_FAILED, "the act \"%s\" on files is not known to this version", rec->act);
	e = take_superseded(m, rec, commit, &touched);
	while (!e && p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
		struct record_file f;

		arena_reset(a);
		e = record_file_decode(&f, p, (size_t)(next - p), a);
		if (!e && path_covers(m->about.path, f.path))
			e = take_file(m, rec, commit, &f, &touched);
		p = next;
	}
	return e ? e : flush_lines(m);
}

static enum err take_commit(struct make *m, const struct blob_id *commit, struct keychain *keys)
{
	struct repo_log_commit parts;
	struct buf record = BUF_INIT(RECORD_LIMIT);
	struct record rec = { .fields = NULL };
	struct arena *a = arena_new(), *keep = arena_new();
	enum err e = repo_log_read(m->repo, commit, &parts);

	if (!e)
		e = take(m, PACK_COMMIT, commit, &m->bytes);
	if (!e)
		e = take(m, PACK_TREE, &parts.tree, &m->bytes);
	if (!e && !pack_out_has(m->pack, &parts.rules))
		e = take(m, PACK_BLOB, &parts.rules, &m->bytes);
	if (!e)
		e = take(m, PACK_BLOB, &parts.record, &record);
	if (!e)
		e = record_decode(&rec, buf_text(&record), record.len, keep);
	if (!e)
		e = take(m, PACK_BLOB, &parts.files, &m->bytes);
	if (!e) {
		m->site = parts.site;
		spine_reset(m->spine, &parts.site);
		e = take_files(m, &rec, commit, a);
	}
	/* A change that is not right is the auditor's to find. */
	if (!e && keychain_take(keys, &rec) && rec.seq == 1)
		e = err_prefix(ERR_FAILED, "the log's first record");
	json_decref(rec.fields);
	buf_release(&record);
	arena_free(a);
	arena_free(keep);
	return e;
}

static enum err take_log(struct make *m, struct evidence_log *l)
{
	struct blob_id at = l->head, *ids = NULL;
	struct keychain *keys = mem_alloc(sizeof(*keys));
	size_t cap = 0, first = 0;
	enum err e = ERR_OK;

	while (!e && !blob_id_zero(&at)) {
		if (l->commits == cap)
			ids = mem_grow(ids, &cap, (size_t)l->commits + 1, sizeof(*ids));
		ids[l->commits++] = at;
		e = repo_commit_parent(m->repo, &ids[l->commits - 1], &at);
	}
	for (size_t i = (size_t)l->commits; !e && i-- > 0;) {
		if (m->stop && m->stop(m->stop_arg))
			e = err_set(ERR_BUSY, "The server is stopping.");
		if (!e)
			e = take_commit(m, &ids[i], keys);
		/* Keys from before this log are vouched for in its first record, and signed nothing of it. */
		if (!e && i + 1 == l->commits)
			first = keys->n - 1;
	}
	if (!e)
		papers_signers(keys, first, &m->signers);
	free(ids);
	free(keys);
	return e;
}

/* --- all logs ------------------------------------------------------------------------------------------------------- */

static enum err add_log(void *arg, const char *name, const struct blob_id *at)
{
	struct make *m = arg;
	struct evidence_log *l = &m->about.logs[m->about.n_logs];

	if (m->about.n_logs == EVIDENCE_LOGS || strlen(name + strlen(LOG_REF_PREFIX)) != 64)
		return err_set(ERR_FAILED, "the repository has refs of logs that DryDock did not make, or of more than one node");
	snprintf(l->node, sizeof(l->node), "%s", name + strlen(LOG_REF_PREFIX));
	l->head = *at;
	m->about.n_logs++;
	return ERR_OK;
}

static enum err nothing(void *arg, struct path path, const struct tree_entry *entry)
{
	(void)arg;
	(void)path;
	(void)entry;
	return ERR_OK;
}

static enum err take_logs(struct make *m)
{
	struct tree_entry entry;
	bool found;
	enum err e = repo_ref_each(m->repo, LOG_REF_PREFIX, add_log, m);

	if (!e && m->about.n_logs == 0)
		e = err_set(ERR_NOT_FOUND, "There is no history yet.");
	for (size_t i = 0; i < m->about.n_logs && !e; i++)
		e = take_log(m, &m->about.logs[i]);
	/* and all that is approved there now */
	if (!e)
		spine_reset(m->spine, &m->site);
	if (!e)
		e = spine_find(m->spine, m->about.path, &entry, &found);
	if (!e && found)
		e = spine_walk(m->spine, m->about.path, &entry, nothing, NULL);
	if (!e && m->versions_size == 0)
		e = err_set(ERR_NOT_FOUND, "Nothing was ever signed, revoked or reviewed at %s.", m->about.path.s);
	return e;
}

/* --- the archive ---------------------------------------------------------------------------------------------------- */

static enum err feed(void *arg, const void *p, size_t n)
{
	return archive_add(arg, p, n);
}

static enum err put_fd(struct make *m, const char *name, int fd, uint64_t size)
{
	char *piece = mem_alloc(PIECE);
	enum err e = archive_begin(m->archive, name, size);

	for (uint64_t at = 0; !e && at < size;) {
		ssize_t got = pread(fd, piece, size - at < PIECE ? (size_t)(size - at) : PIECE, (off_t)at);

		if (got <= 0)
			e = err_sys(ERR_FAILED, "cannot read a temporary file");
		else
			e = archive_add(m->archive, piece, (size_t)got);
		at += got > 0 ? (uint64_t)got : 0;
	}
	free(piece);
	return e ? e : archive_end(m->archive);
}

/* No history of a path is worth a server whose disk is full: half of what is free stays so. */
static enum err has_room(int fd, struct version **list, size_t n, uint64_t pack)
{
	struct statvfs fs;
	uint64_t all = pack;

	for (size_t i = 0; i < n; i++)
		all += list[i]->size;
	if (fstatvfs(fd, &fs))
		return err_sys(ERR_FAILED, "fstatvfs");
	if (all > (uint64_t)fs.f_bavail * fs.f_frsize / 2)
		return err_set(ERR_TOO_BIG, "This history has %llu MB, more than the server's disk can spare. Ask for less: a path below, or what is approved now only.",
		    (unsigned long long)(all >> 20));
	return ERR_OK;
}

static enum err put_versions(struct make *m, struct version **list, size_t n)
{
	enum err e = ERR_OK;

	for (size_t i = 0; i < n && !e; i++) {
		char name[ARCHIVE_NAME + 1], hex[SHA256_HEX];

		if (m->stop && m->stop(m->stop_arg))
			return err_set(ERR_BUSY, "The server is stopping.");
		hex_of(hex, list[i]->sha256.b, sizeof(list[i]->sha256.b));
		snprintf(name, sizeof(name), EVIDENCE_PLACE "files/%s", hex);
		e = archive_begin(m->archive, name, list[i]->size);
		if (!e)
			e = repo_blob_feed(m->repo, &list[i]->blob, feed, m->archive);
		if (!e)
			e = archive_end(m->archive);
	}
	return e;
}

static enum err put_md5(struct make *m, struct version **list, size_t n)
{
	struct buf text = BUF_INIT((size_t)512 << 20);
	enum err e;

	for (size_t i = 0; i < n; i++) {
		buf_hex(&text, list[i]->md5.b, sizeof(list[i]->md5.b));
		buf_str(&text, "  files/");
		buf_hex(&text, list[i]->sha256.b, sizeof(list[i]->sha256.b));
		buf_char(&text, '\n');
	}
	e = buf_check(&text);
	if (!e)
		e = archive_put(m->archive, EVIDENCE_PLACE "MD5SUMS", buf_text(&text), text.len);
	buf_release(&text);
	return e;
}

static enum err put_repo(struct make *m, int pack, uint64_t pack_size, const char *name)
{
	struct archive_out *a = m->archive;
	char text[2 * BLOB_ID_SIZE + 2], member[ARCHIVE_NAME + 1];
	enum err e;

	hex_of(text, m->about.logs[m->about.n_logs - 1].head.b, BLOB_ID_SIZE);
	memcpy(text + 2 * BLOB_ID_SIZE, "\n", 2);
	e = archive_put(a, EVIDENCE_REPO "HEAD", text, strlen(text));
	if (!e)
		e = archive_put(a, EVIDENCE_REPO "config", EVIDENCE_CONFIG, strlen(EVIDENCE_CONFIG));
	snprintf(member, sizeof(member), EVIDENCE_REPO "objects/pack/pack-%s.pack", name);
	if (!e)
		e = put_fd(m, member, pack, pack_size);
	snprintf(member, sizeof(member), EVIDENCE_REPO "objects/pack/pack-%s.idx", name);
	if (!e)
		e = archive_put(a, member, m->index.p, m->index.len);
	snprintf(member, sizeof(member), EVIDENCE_REPO "objects/pack/pack-%s.promisor", name);
	if (!e)
		e = archive_put(a, member, "", 0);
	for (size_t i = 0; i < m->about.n_logs && !e; i++) {
		hex_of(text, m->about.logs[i].head.b, BLOB_ID_SIZE);
		memcpy(text + 2 * BLOB_ID_SIZE, "\n", 2);
		snprintf(member, sizeof(member), EVIDENCE_REPO LOG_REF_PREFIX "%s", m->about.logs[i].node);
		e = archive_put(a, member, text, strlen(text));
	}
	return e;
}

static enum err put_all(struct make *m, int pack, int fd)
{
	char name[2 * BLOB_ID_SIZE + 1];
	struct buf about = BUF_INIT(1 << 20);
	struct version **list;
	uint64_t pack_size;
	size_t n;
	enum err e = pack_out_finish(m->pack, &pack_size, name, &m->index);

	if (e)
		return e;
	list = state_versions(m->state, m->about.current, &n);
	e = has_room(pack, list, n, pack_size);
	if (!e)
		e = papers_about(&m->about, &about);
	if (!e)
		e = buf_check(&m->signers);
	m->archive = archive_out_new(fd);
	if (!e)
		e = archive_put(m->archive, EVIDENCE_PLACE "README", EVIDENCE_README, strlen(EVIDENCE_README));
	if (!e)
		e = archive_put(m->archive, EVIDENCE_PLACE "evidence.json", about.p, about.len);
	if (!e)
		e = archive_put(m->archive, EVIDENCE_PLACE "allowed_signers", m->signers.p, m->signers.len);
	if (!e)
		e = put_fd(m, EVIDENCE_PLACE "versions", m->versions, m->versions_size);
	if (!e)
		e = put_md5(m, list, n);
	if (!e)
		e = put_repo(m, pack, pack_size, name);
	if (!e)
		e = put_versions(m, list, n);
	if (!e)
		e = archive_finish(m->archive);
	archive_out_free(m->archive);
	buf_release(&about);
	free(list);
	return e;
}

enum err evidence_make(struct repo *r, const char *site, struct path path, bool current, const char *work, int fd, bool (*stop)(void *arg), void *stop_arg)
{
	struct make *m = mem_alloc(sizeof(*m));
	int pack = -1;
	enum err e;

	m->repo = r;
	m->about = (struct evidence_about){ .site = site, .path = path, .current = current };
	m->signers = BUF_INIT(1 << 20);
	m->index = BUF_INIT((size_t)1 << 30);
	m->lines = BUF_INIT((size_t)64 << 20);
	m->bytes = BUF_INIT(EVIDENCE_BLOB_LIMIT);
	m->stop = stop;
	m->stop_arg = stop_arg;
	m->versions = -1;
	e = temporary(work, &pack);
	if (!e)
		e = temporary(work, &m->versions);
	if (!e) {
		m->pack = pack_out_new(pack);
		m->spine = spine_new(take_tree, m);
		m->state = state_new();
		e = take_logs(m);
	}
	if (!e)
		e = put_all(m, pack, fd);
	pack_out_free(m->pack);
	spine_free(m->spine);
	state_free(m->state);
	if (pack >= 0)
		sys_close(pack);
	if (m->versions >= 0)
		sys_close(m->versions);
	buf_release(&m->signers);
	buf_release(&m->index);
	buf_release(&m->lines);
	buf_release(&m->bytes);
	free(m);
	return e;
}
