/*
 * The check of an archive: without a server, a database or a git library, believing nothing that is in it. One pass over the
 * archive (the bytes of files are hashed as they come, the pack goes to a temporary file without a name), then the logs from their
 * first record on. Everything that follows from the records is made again and compared byte by byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/utf8.h"
#include "base/weaken.h"
#include "evidence/inside.h"
#include "repo/sshsig.h"

#define RECORD_LIMIT ((size_t)2 << 20)
#define PAPER_LIMIT ((size_t)1 << 20)
#define PIECE ((size_t)256 * 1024)
#define FAILURES_TOLD 100
#define EXIT_BAD 6
#define EXIT_ABSENT 2
#define FINGERPRINT 72 /* "SHA256:" and 43 letters */

struct byte_file { struct sha256 sha256; struct md5 md5; struct blob_id blob; uint64_t size; };

struct check {
	const struct evidence_options *o;
	uint64_t failures, records, signatures, events, bytes;
	json_t *items; /* with --json */
	struct arena *arena;
	/* from the archive */
	struct buf about_text, signers_text, md5_text, index_text, head_text;
	struct buf refs[EVIDENCE_LOGS];
	size_t n_refs;
	struct evidence_about about;
	struct sha256 versions; /* digest of the member */
	char pack_name[ARCHIVE_NAME + 1];
	int pack_fd;
	uint64_t pack_size;
	const uint8_t *map;
	struct byte_file *files; /* by SHA-256, as they came */
	size_t n_files, files_cap;
	/* of the records */
	struct pack_in pack;
	struct spine *spine;
	struct state *state;
	struct sha256_stream *made_versions;
	struct buf made_signers, lines, object;
	uint8_t keys[EVIDENCE_LOGS][32];
	bool has_key[EVIDENCE_LOGS];
	struct blob_id site;
	uint64_t mark, walked;
};

/* --- what is said --------------------------------------------------------------------------------------------------- */

static void failed(struct check *c, const char *name, const char *subject, const char *fmt, ...) PRINTF_LIKE(4, 5);

static void failed(struct check *c, const char *name, const char *subject, const char *fmt, ...)
{
	struct buf clean = BUF_INIT(1 << 14);
	char text[2048];
	va_list args;

	if (++c->failures > FAILURES_TOLD)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (c->items) {
		json_t *v = json_pack("{s:s, s:s?, s:s?}", "name", name, "subject", subject, "what", text);

		json_array_append_new(c->items, v ? v : json_pack("{s:s}", "name", name));
		return;
	}
	/* what is in a hostile archive is not for the terminal as it is */
	utf8_visible(&clean, subject, strlen(subject), false);
	printf("FAILED  %-14s %s: ", name, buf_text(&clean));
	buf_reset(&clean);
	utf8_visible(&clean, text, strlen(text), false);
	puts(buf_text(&clean));
	buf_release(&clean);
}

static void fingerprint(const uint8_t key[32], char node[SHA256_HEX], char out[FINGERPRINT])
{
	uint8_t blob[SSHSIG_BLOB_SIZE];
	struct sha256 digest;
	char b64[64];

	sshsig_blob(blob, key);
	sha256_of(&digest, blob, sizeof(blob));
	hex_of(node, digest.b, sizeof(digest.b));
	base64_of(b64, digest.b, sizeof(digest.b));
	b64[strcspn(b64, "=")] = '\0';
	snprintf(out, FINGERPRINT, "SHA256:%s", b64);
}

/* --- the members, in their order ------------------------------------------------------------------------------------ */

static enum err read_paper(struct archive_in *a, const char *name, uint64_t size, struct buf *out)
{
	char *p;
	enum err e;

	if (size > out->limit)
		return err_set(ERR_INPUT, "%s is larger than it can be", name);
	p = mem_alloc((size_t)size + 1);
	e = archive_read(a, p, (size_t)size);
	if (!e)
		buf_add(out, p, (size_t)size);
	free(p);
	return e;
}

/* Bytes in pieces: to a digest, to a temporary file, or to all of what a version's bytes have to be. */
struct sink { struct sha256_stream *sum; int fd; struct digest_stream *both; struct object_hash *hash; };

static enum err read_into(struct archive_in *a, uint64_t size, const struct sink *to)
{
	char *piece = mem_alloc(PIECE);
	enum err e = ERR_OK;

	while (!e && size) {
		size_t n = size < PIECE ? (size_t)size : PIECE;

		e = archive_read(a, piece, n);
		size -= n;
		if (e)
			break;
		if (to->sum)
			sha256_stream_add(to->sum, piece, n);
		if (to->both)
			digest_stream_add(to->both, piece, n);
		if (to->hash)
			object_hash_add(to->hash, piece, n);
		if (to->fd >= 0 && sys_write_all(to->fd, piece, n))
			e = err_sys(ERR_FAILED, "cannot write a temporary file");
	}
	free(piece);
	return e;
}

static enum err read_bytes(struct check *c, struct archive_in *a, const char *name, uint64_t size)
{
	struct sink to = { .fd = -1, .both = digest_stream_new(), .hash = object_hash_new("blob", size) };
	struct byte_file f = { .size = size };
	struct sha256 named;
	enum err e = read_into(a, size, &to);

	digest_stream_end(to.both, &f.md5, &f.sha256);
	digest_stream_free(to.both);
	object_hash_end_free(to.hash, &f.blob);
	if (e)
		return e;
	if (!hex_parse(named.b, sizeof(named.b), name) || !sha256_equal(&named, &f.sha256)) {
		failed(c, "bytes", name, "its bytes have another SHA-256 than its name says");
		return ERR_OK;
	}
	if (c->n_files && memcmp(c->files[c->n_files - 1].sha256.b, f.sha256.b, sizeof(f.sha256.b)) >= 0)
		return err_set(ERR_INPUT, "files/ is not in order");
	if (c->n_files == c->files_cap)
		c->files = mem_grow(c->files, &c->files_cap, c->n_files + 1, sizeof(*c->files));
	c->files[c->n_files++] = f;
	c->bytes += size;
	return ERR_OK;
}

static enum err read_readme(struct check *c, struct archive_in *a, uint64_t size)
{
	struct buf text = BUF_INIT(PAPER_LIMIT);
	enum err e = read_paper(a, "README", size, &text);

	if (!e && (text.len != strlen(EVIDENCE_README) || memcmp(text.p, EVIDENCE_README, text.len) != 0))
		failed(c, "readme", "README", "it is not the one that DryDock writes: do not do what it says");
	buf_release(&text);
	return e;
}

static enum err read_config(struct check *c, struct archive_in *a, uint64_t size)
{
	struct buf text = BUF_INIT(PAPER_LIMIT);
	enum err e = read_paper(a, "config", size, &text);

	if (!e && (text.len != strlen(EVIDENCE_CONFIG) || memcmp(text.p, EVIDENCE_CONFIG, text.len) != 0))
		failed(c, "config", "repo.git/config", "it is not the one that DryDock writes: do not run git in it");
	buf_release(&text);
	return e;
}

static enum err read_pack(struct check *c, struct archive_in *a, const char *name, uint64_t size)
{
	const char *tmp = getenv("TMPDIR");
	struct sink to = { .fd = -1 };
	enum err e;

	if (size > EVIDENCE_PACK_LIMIT)
		return err_set(ERR_INPUT, "the pack is larger than it can be");
	snprintf(c->pack_name, sizeof(c->pack_name), "%s", name);
	/* a file without a name, which nobody else can open */
	to.fd = c->pack_fd = sys_open(AT_FDCWD, tmp && *tmp == '/' ? tmp : "/tmp", O_TMPFILE | O_RDWR, 0600);
	if (to.fd < 0)
		return err_sys(ERR_FAILED, "cannot make a temporary file in %s", tmp && *tmp == '/' ? tmp : "/tmp");
	e = read_into(a, size, &to);
	c->pack_size = size;
	return e;
}

/* What stands at a place of the archive. Some members come once, files/ and refs as often as they do. */
enum place { AT_README, AT_ABOUT, AT_SIGNERS, AT_VERSIONS, AT_MD5, AT_HEAD, AT_CONFIG, AT_PACK, AT_INDEX, AT_PROMISOR, AT_REFS, AT_FILES, AT_SUMS, AT_END };

static bool named(const char *name, const char *begin, const char *end)
{
	size_t n = strlen(name), b = strlen(begin), e = strlen(end);

	return n >= b + e && memcmp(name, begin, b) == 0 && strcmp(name + n - e, end) == 0;
}

/* The place of this member; AT_END: it has none here. */
static enum place place_of(const char *name, enum place last)
{
	static const char *const ONCE[] = { "README", "evidence.json", "allowed_signers", "versions", "MD5SUMS", "repo.git/HEAD", "repo.git/config" };
	const enum place next = last + 1;

	if (last == AT_REFS && named(name, "files/", ""))
		return AT_FILES;
	if (last >= AT_PROMISOR && last <= AT_REFS && named(name, "repo.git/" LOG_REF_PREFIX, ""))
		return AT_REFS;
	if (last == AT_FILES && named(name, "files/", ""))
		return AT_FILES;
	if (last >= AT_REFS && strcmp(name, "SHA256SUMS") == 0)
		return AT_SUMS;
	if (next == AT_PACK && named(name, "repo.git/objects/pack/pack-", ".pack"))
		return AT_PACK;
	if (next == AT_INDEX && named(name, "repo.git/objects/pack/pack-", ".idx"))
		return AT_INDEX;
	if (next == AT_PROMISOR && named(name, "repo.git/objects/pack/pack-", ".promisor"))
		return AT_PROMISOR;
	return next <= AT_CONFIG && strcmp(name, ONCE[next]) == 0 ? next : AT_END;
}

static enum err read_sums(struct check *c, struct archive_in *a, uint64_t size)
{
	const struct buf *want = archive_sums(a);
	struct buf text = BUF_INIT(want->limit);
	enum err e = buf_check(want);

	if (!e)
		e = read_paper(a, "SHA256SUMS", size, &text);
	if (!e && (text.len != want->len || memcmp(buf_text(&text), buf_text(want), text.len) != 0))
		failed(c, "sums", "SHA256SUMS", "it is not of these files");
	buf_release(&text);
	return e;
}

static enum err read_member(struct check *c, struct archive_in *a, enum place at, const char *name, uint64_t size)
{
	struct sink to = { .fd = -1 };
	enum err e;

	switch (at) {
	case AT_README: return read_readme(c, a, size);
	case AT_ABOUT:
		e = read_paper(a, name, size, &c->about_text);
		return e ? e : papers_about_read(&c->about, &c->about_text, c->arena);
	case AT_SIGNERS: return read_paper(a, name, size, &c->signers_text);
	case AT_VERSIONS:
		to.sum = sha256_stream_new();
		e = read_into(a, size, &to);
		sha256_stream_end_free(to.sum, &c->versions);
		return e;
	case AT_MD5: return read_paper(a, name, size, &c->md5_text);
	case AT_HEAD: return read_paper(a, name, size, &c->head_text);
	case AT_CONFIG: return read_config(c, a, size);
	case AT_PACK: return read_pack(c, a, name, size);
	case AT_INDEX:
	case AT_PROMISOR:
		/* the same name as the pack's */
		if (strncmp(name, c->pack_name, strlen(c->pack_name) - strlen("pack")) != 0)
			return err_set(ERR_INPUT, "pack and index have different names");
		if (at == AT_PROMISOR)
			return size ? err_set(ERR_INPUT, "a member of the archive is not empty") : ERR_OK;
		return read_paper(a, name, size, &c->index_text);
	case AT_REFS:
		if (c->n_refs == c->about.n_logs || strcmp(name + strlen("repo.git/" LOG_REF_PREFIX), c->about.logs[c->n_refs].node) != 0)
			return err_set(ERR_INPUT, "the archive has a ref that evidence.json does not name");
		return read_paper(a, name, size, &c->refs[c->n_refs++]);
	case AT_FILES: return read_bytes(c, a, name + strlen("files/"), size);
	case AT_SUMS: return read_sums(c, a, size);
	case AT_END: break;
	}
	return err_set(ERR_INPUT, "a member of the archive does not belong there: %.100s", name);
}

static enum err read_archive(struct check *c, int fd)
{
	struct archive_in *a;
	char name[ARCHIVE_NAME + 1];
	int last = -1;
	uint64_t size;
	bool got;
	enum err e = archive_in_new(&a, fd);

	if (e)
		return e;
	while (!(e = archive_next(a, name, &size, &got)) && got) {
		const char *inside = name + strlen(EVIDENCE_PLACE);
		const enum place at = last < 0 ? (strcmp(inside, "README") ? AT_END : AT_README) : last == AT_SUMS ? AT_END : place_of(inside, (enum place)last);

		e = read_member(c, a, at, inside, size);
		if (e)
			break;
		last = (int)at;
	}
	if (!e && last != AT_SUMS)
		e = err_set(ERR_INPUT, "the archive is not complete");
	archive_in_free(a);
	return e;
}

/* --- one record ----------------------------------------------------------------------------------------------------- */

struct place_in_log {
	const struct evidence_log *log;
	size_t n; /* of the log */
	uint64_t seq;
	struct blob_id commit, before; /* before: the commit that should be its parent */
	struct sha256 prev;
	struct blob_id rules;
	struct sha256 rules_digest;
	const char *key; /* of the first record */
	int64_t first_at, last_at;
	char subject[128];
};

static enum err read_tree(void *arg, const struct blob_id *tree, struct buf *out)
{
	struct check *c = arg;
	return pack_in_read(&c->pack, PACK_TREE, tree, out);
}

static void flush_lines(struct check *c)
{
	sha256_stream_add(c->made_versions, buf_text(&c->lines), c->lines.len);
	buf_reset(&c->lines);
}

/* The approved tree of the commit has these bytes at that path, or nothing. */
static void check_tree(struct check *c, const struct place_in_log *at, struct path path, const struct approved *a)
{
	struct tree_entry entry;
	bool found;
	enum err e = spine_find(c->spine, path, &entry, &found);

	if (e)
		failed(c, "tree", at->subject, "its approved tree: %s", err_text());
	else if (a->stands && (!found || entry.mode == TREE_MODE_DIR))
		failed(c, "tree", at->subject, "its approved tree lacks %s", path.s);
	else if (a->stands && (!blob_id_equal(&entry.id, &a->blob) || entry.mode != (a->exec ? TREE_MODE_EXEC : TREE_MODE_FILE)))
		failed(c, "tree", at->subject, "its approved tree has other bytes, or another mode, at %s than its record says", path.s);
	else if (!a->stands && found && entry.mode != TREE_MODE_DIR)
		failed(c, "tree", at->subject, "its approved tree still has %s", path.s);
}

static void check_superseded(struct check *c, const struct place_in_log *at, const struct record *rec)
{
	const json_t *paths = json_object_get(rec->fields, "superseded");
	const json_t *item;
	size_t i;

	json_array_foreach(paths, i, item) {
		struct approved *a;
		struct path path;

		if (!json_is_string(item) || path_check(&path, json_string_value(item))) {
			failed(c, "record", at->subject, "its field superseded is not a list of paths");
			return;
		}
		if (!path_covers(c->about.path, path))
			continue;
		a = state_file(c->state, path, true);
		a->stands = false;
		papers_version(rec, &at->commit, path, NULL, &c->lines);
		c->events++;
		check_tree(c, at, path, a);
	}
	flush_lines(c);
}

static void check_file(struct check *c, const struct place_in_log *at, const struct record *rec, const struct record_file *f)
{
	const enum papers_act act = papers_act(rec);
	struct approved *a;
	struct version *v;
	bool same;

	papers_version(rec, &at->commit, f->path, f, &c->lines);
	c->events++;
	flush_lines(c);
	if (act == PAPERS_REVIEWS)
		return;
	a = state_file(c->state, f->path, true);
	a->stands = papers_stands(rec, f);
	a->exec = f->print.exec;
	a->blob = f->blob;
	a->sha256 = f->print.sha256;
	if (a->stands) {
		v = state_version(c->state, f, &same);
		if (!same && !v->bad) {
			v->bad = true;
			failed(c, "fingerprint", f->path.s, "records give bytes with one SHA-256 different MD5s, sizes or blobs");
		}
	}
	check_tree(c, at, f->path, a);
}

static void check_files(struct check *c, const struct place_in_log *at, const struct record *rec, const struct blob_id *id)
{
	struct arena *arena = arena_new();
	struct buf last = BUF_INIT(PATH_LIMIT + 1);
	const enum papers_act act = papers_act(rec);
	struct sha256 digest;
	uint64_t n = 0;

	if (pack_in_read(&c->pack, PACK_BLOB, id, &c->object)) {
		failed(c, "object", at->subject, "its list of files: %s", err_text());
		goto out;
	}
	sha256_of(&digest, buf_text(&c->object), c->object.len);
	if (!sha256_equal(&digest, &rec->files_sha256))
		failed(c, "files", at->subject, "its list of files has another digest than its record says");
	if (act == PAPERS_UNKNOWN)
		failed(c, "act", at->subject, "this version does not know what \"%s\" does to files", rec->act);
	if (act != PAPERS_NOTHING && act != PAPERS_UNKNOWN)
		check_superseded(c, at, rec);
	for (const char *p = buf_text(&c->object), *end = p + c->object.len; p < end; n++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
		struct record_file f;

		arena_reset(arena);
		if (record_file_decode(&f, p, (size_t)(next - p), arena)) {
			failed(c, "files", at->subject, "%s", err_text());
			goto out;
		}
		if (n && path_compare((struct path){ buf_text(&last), last.len }, f.path) >= 0)
			failed(c, "files", at->subject, "its list of files is not in path order");
		buf_reset(&last);
		buf_add(&last, f.path.s, f.path.len);
		if (act != PAPERS_NOTHING && act != PAPERS_UNKNOWN && path_covers(c->about.path, f.path))
			check_file(c, at, rec, &f);
		p = next;
	}
	if (n != rec->files_count)
		failed(c, "files", at->subject, "its list has another number of files than its record says");
out:
	buf_release(&last);
	arena_free(arena);
}

struct parts { struct blob_id tree, parent, files, record, rules, site; };

/* files, record, rules, site and nothing else. */
static bool parts_read(struct check *c, const struct place_in_log *at, struct parts *p)
{
	const struct { const char *name; unsigned mode; struct blob_id *to; } WANT[] = { { "files", TREE_MODE_FILE, &p->files },
		{ "record", TREE_MODE_FILE, &p->record }, { "rules", TREE_MODE_FILE, &p->rules }, { "site", TREE_MODE_DIR, &p->site } };
	struct buf tree = BUF_INIT(1024);
	struct tree_entry entry;
	const char *s, *end;
	bool ok = !pack_in_read(&c->pack, PACK_TREE, &p->tree, &tree);

	if (!ok) {
		failed(c, "object", at->subject, "its tree: %s", err_text());
		buf_release(&tree);
		return false;
	}
	s = buf_text(&tree);
	end = s + tree.len;
	for (size_t i = 0; i < 4 && ok; i++) {
		ok = s < end && tree_entry_parse(&entry, &s, end) && entry.mode == WANT[i].mode && entry.len == strlen(WANT[i].name) &&
		    memcmp(entry.name, WANT[i].name, entry.len) == 0;
		if (ok)
			*WANT[i].to = entry.id;
	}
	if (!ok || s != end)
		failed(c, "commit", at->subject, "its tree is not files, record, rules and site");
	buf_release(&tree);
	return ok && s == end;
}

/* Byte by byte what DryDock writes for this record, and signed. */
static void check_commit(struct check *c, const struct place_in_log *at, const struct buf *raw, const struct parts *parts, const struct record *rec,
    const struct sha256 *digest)
{
	struct buf bytes = BUF_INIT(COMMIT_LIMIT), armored = BUF_INIT(SSHSIG_ARMORED_LIMIT), head = BUF_INIT(COMMIT_LIMIT), body = BUF_INIT(COMMIT_LIMIT);
	enum err e = plain_commit_split(raw->p, raw->len, &bytes, &armored);

	if (!e && !c->has_key[at->n])
		e = err_set(ERR_DENIED, "its log has no key that it could be checked with");
	if (!e && !WEAK(evidence_signature))
		e = sshsig_verify(c->keys[at->n], "git", buf_text(&bytes), bytes.len, buf_text(&armored), armored.len);
	if (e)
		failed(c, "signature", at->subject, "%s", err_text());
	else
		c->signatures++;
	e = plain_log_text(rec, digest, &parts->tree, &parts->parent, at->log->node, &head, &body);
	if (e || bytes.len != head.len + 1 + body.len || memcmp(bytes.p, head.p, head.len) != 0 || bytes.p[head.len] != '\n' ||
	    memcmp(bytes.p + head.len + 1, buf_text(&body), body.len) != 0)
		failed(c, "commit", at->subject, "its author, times or message are not those of its record");
	/* and written with no more than one way to write a signature */
	if (!e && !armored.over) {
		struct buf again = BUF_INIT(COMMIT_LIMIT);

		buf_add(&again, head.p, head.len);
		buf_str(&again, "gpgsig");
		for (const char *line = buf_text(&armored); *line; line += strcspn(line, "\n"), line += *line == '\n') {
			buf_char(&again, ' ');
			buf_add(&again, line, strcspn(line, "\n"));
			buf_char(&again, '\n');
		}
		buf_char(&again, '\n');
		buf_add(&again, buf_text(&body), body.len);
		if (again.len != raw->len || memcmp(again.p, raw->p, raw->len) != 0)
			failed(c, "commit", at->subject, "it is not written as DryDock writes a commit");
		buf_release(&again);
	}
	buf_release(&bytes);
	buf_release(&armored);
	buf_release(&head);
	buf_release(&body);
}

static void check_rules(struct check *c, struct place_in_log *at, const struct parts *parts, const struct record *rec)
{
	if (!blob_id_equal(&parts->rules, &at->rules)) {
		if (pack_in_read(&c->pack, PACK_BLOB, &parts->rules, &c->object)) {
			failed(c, "object", at->subject, "its rules: %s", err_text());
			return;
		}
		at->rules = parts->rules;
		sha256_of(&at->rules_digest, buf_text(&c->object), c->object.len);
	}
	if (!sha256_equal(&at->rules_digest, &rec->policy))
		failed(c, "rules", at->subject, "its rules have another digest than its record says");
}

/* The first record names the key of its log. */
static void take_key(struct check *c, struct place_in_log *at, const struct record *rec)
{
	const char *key = json_string_value(json_object_get(rec->fields, "key"));
	char node[SHA256_HEX], print[FINGERPRINT];

	at->first_at = rec->at;
	if (strcmp(rec->act, "genesis") != 0 || !key || sshsig_parse_public(c->keys[at->n], key)) {
		failed(c, "key", at->subject, "the first record of the log does not name its key");
		return;
	}
	fingerprint(c->keys[at->n], node, print);
	if (strcmp(node, at->log->node) != 0)
		failed(c, "key", at->subject, "the key that the first record names is not that of its node");
	else
		c->has_key[at->n] = true;
	at->key = arena_dup(c->arena, key);
}

static void check_record(struct check *c, struct place_in_log *at)
{
	struct buf raw = BUF_INIT(COMMIT_LIMIT), text = BUF_INIT(RECORD_LIMIT);
	struct arena *arena = arena_new();
	struct record rec = { .fields = NULL };
	struct sha256 digest;
	struct parts parts;

	if (pack_in_read(&c->pack, PACK_COMMIT, &at->commit, &raw)) {
		failed(c, "object", at->subject, "%s", err_text());
		goto out;
	}
	if (!plain_commit_parse(buf_text(&raw), raw.len, &parts.tree, &parts.parent) || !parts_read(c, at, &parts))
		goto out;
	if (pack_in_read(&c->pack, PACK_BLOB, &parts.record, &text)) {
		failed(c, "object", at->subject, "its record: %s", err_text());
		goto out;
	}
	sha256_of(&digest, buf_text(&text), text.len);
	if (record_decode(&rec, buf_text(&text), text.len, arena)) {
		failed(c, "record", at->subject, "%s", err_text());
		at->prev = digest;
		goto out;
	}
	c->records++;
	if (at->seq == 1)
		take_key(c, at, &rec);
	if (strcmp(rec.site, c->about.site) != 0)
		failed(c, "record", at->subject, "it is of another site");
	if (strcmp(rec.node, at->log->node) != 0)
		failed(c, "record", at->subject, "it is of another node");
	if (rec.seq != at->seq)
		failed(c, "sequence", at->subject, "its record is number %llu and stands at place %llu", (unsigned long long)rec.seq, (unsigned long long)at->seq);
	if (!sha256_equal(&rec.prev, &at->prev))
		failed(c, "chain", at->subject, "its record does not name the one before it");
	if (!blob_id_equal(&parts.parent, &at->before))
		failed(c, "chain", at->subject, "its commit does not follow the one before it");
	check_commit(c, at, &raw, &parts, &rec, &digest);
	check_rules(c, at, &parts, &rec);
	c->site = parts.site;
	spine_reset(c->spine, &parts.site);
	check_files(c, at, &rec, &parts.files);
	at->prev = digest;
	at->last_at = rec.at;
out:
	json_decref(rec.fields);
	buf_release(&raw);
	buf_release(&text);
	arena_free(arena);
}

/* --- one log -------------------------------------------------------------------------------------------------------- */

static void check_log(struct check *c, size_t n)
{
	const struct evidence_log *l = &c->about.logs[n];
	struct place_in_log at = { .log = l, .n = n };
	struct blob_id *ids, id = l->head, tree;
	struct buf raw = BUF_INIT(COMMIT_LIMIT);
	char hex[2 * BLOB_ID_SIZE + 1];
	uint64_t have = 0;

	if (l->commits > c->pack.n) {
		failed(c, "sequence", l->node, "evidence.json says that its log has %llu records, but so many are not here", (unsigned long long)l->commits);
		return;
	}
	ids = mem_array((size_t)l->commits + 1, sizeof(*ids));
	while (have < l->commits && !blob_id_zero(&id)) {
		ids[have++] = id;
		if (pack_in_read(&c->pack, PACK_COMMIT, &id, &raw) || !plain_commit_parse(buf_text(&raw), raw.len, &tree, &id)) {
			hex_of(hex, ids[have - 1].b, BLOB_ID_SIZE);
			failed(c, "object", hex, "a commit of the log cannot be read");
			break;
		}
	}
	if (have < l->commits || !blob_id_zero(&id))
		failed(c, "sequence", l->node, "its log does not lead back to a first record in %llu steps", (unsigned long long)l->commits);
	for (uint64_t i = have; i-- > 0;) {
		at.seq = have - i;
		at.commit = ids[i];
		hex_of(hex, ids[i].b, BLOB_ID_SIZE);
		snprintf(at.subject, sizeof(at.subject), "record %llu, commit %.12s", (unsigned long long)at.seq, hex);
		check_record(c, &at);
		at.before = ids[i];
	}
	papers_signer(at.key ? at.key : "", at.first_at, n + 1 < c->about.n_logs ? at.last_at : 0, &c->made_signers);
	free(ids);
	buf_release(&raw);
}

/* --- what is left when all records were read ------------------------------------------------------------------------- */

static enum err head_file(void *arg, struct path path, const struct tree_entry *entry)
{
	struct check *c = arg;
	struct approved *a = state_file(c->state, path, false);

	c->walked++;
	if (!a || !a->stands)
		failed(c, "tree", path.s, "it is in the newest approved tree, and no record says so");
	else if (!blob_id_equal(&a->blob, &entry->id) || entry->mode != (a->exec ? TREE_MODE_EXEC : TREE_MODE_FILE))
		failed(c, "tree", path.s, "the newest approved tree has other bytes, or another mode, than its last record says");
	return ERR_OK;
}

static void check_head(struct check *c)
{
	struct tree_entry entry;
	bool found = false;
	enum err e;

	spine_reset(c->spine, &c->site);
	e = spine_find(c->spine, c->about.path, &entry, &found);
	if (!e && found)
		e = spine_walk(c->spine, c->about.path, &entry, head_file, c);
	if (e)
		failed(c, "tree", c->about.path.s, "the newest approved tree: %s", err_text());
	else if (c->walked != state_standing(c->state))
		failed(c, "tree", c->about.path.s, "the newest approved tree has %llu files there, its records %llu", (unsigned long long)c->walked,
		    (unsigned long long)state_standing(c->state));
}

/* The bytes that came are those that were approved, no fewer and no more. */
static void check_bytes(struct check *c)
{
	struct buf md5 = BUF_INIT((size_t)512 << 20);
	size_t n, at = 0;
	struct version **want = state_versions(c->state, c->about.current, &n);
	char hex[SHA256_HEX];

	for (size_t i = 0; i < n; i++) {
		const struct version *v = want[i];
		const struct byte_file *f;

		hex_of(hex, v->sha256.b, sizeof(v->sha256.b));
		buf_hex(&md5, v->md5.b, sizeof(v->md5.b));
		buf_fmt(&md5, "  files/%s\n", hex);
		while (at < c->n_files && memcmp(c->files[at].sha256.b, v->sha256.b, sizeof(v->sha256.b)) < 0)
			at++;
		f = at < c->n_files && sha256_equal(&c->files[at].sha256, &v->sha256) ? &c->files[at] : NULL;
		if (!f)
			failed(c, "bytes", hex, "the bytes of an approved version are missing");
		else if (f->size != v->size || memcmp(f->md5.b, v->md5.b, sizeof(f->md5.b)) != 0 || !blob_id_equal(&f->blob, &v->blob))
			failed(c, "fingerprint", hex, "its MD5, size or blob is not what its record says");
	}
	for (size_t i = 0, k = 0; i < c->n_files; i++) {
		while (k < n && memcmp(want[k]->sha256.b, c->files[i].sha256.b, sizeof(struct sha256)) < 0)
			k++;
		if (k == n || !sha256_equal(&want[k]->sha256, &c->files[i].sha256)) {
			hex_of(hex, c->files[i].sha256.b, sizeof(struct sha256));
			failed(c, "bytes", hex, "no record approved these bytes there");
		}
	}
	if (md5.len != c->md5_text.len || memcmp(buf_text(&md5), buf_text(&c->md5_text), md5.len) != 0)
		failed(c, "md5", "MD5SUMS", "it is not what the records say");
	buf_release(&md5);
	free(want);
}

static void check_ref(struct check *c, const char *name, const struct buf *text, const struct blob_id *want)
{
	char line[2 * BLOB_ID_SIZE + 2];

	hex_of(line, want->b, BLOB_ID_SIZE);
	memcpy(line + 2 * BLOB_ID_SIZE, "\n", 2);
	if (text->len != strlen(line) || memcmp(buf_text(text), line, text->len) != 0)
		failed(c, "ref", name, "it stands elsewhere than at the newest record");
}

static void check_papers(struct check *c)
{
	struct sha256 versions;

	sha256_stream_end_free(c->made_versions, &versions);
	c->made_versions = NULL;
	if (!sha256_equal(&versions, &c->versions))
		failed(c, "versions", "versions", "it is not what the records say");
	if (c->made_signers.len != c->signers_text.len || memcmp(buf_text(&c->made_signers), buf_text(&c->signers_text), c->made_signers.len) != 0)
		failed(c, "signers", "allowed_signers", "it is not what the records say");
	check_ref(c, "repo.git/HEAD", &c->head_text, &c->about.logs[c->about.n_logs - 1].head);
	if (c->n_refs != c->about.n_logs)
		failed(c, "ref", "repo.git", "a log has no ref");
	for (size_t i = 0; i < c->n_refs; i++)
		check_ref(c, c->about.logs[i].node, &c->refs[i], &c->about.logs[i].head);
	for (size_t i = 0; i < c->pack.n; i++)
		if (!c->pack.entries[i].used) {
			char hex[2 * BLOB_ID_SIZE + 1];

			hex_of(hex, c->pack.entries[i].id.b, BLOB_ID_SIZE);
			failed(c, "object", hex, "nothing leads to this object of the pack");
		}
}

/* --- whom the auditor believes ---------------------------------------------------------------------------------------- */

/* A fingerprint as ssh-keygen -l prints it, a node's name, or a file with a public key; what it says: its node. */
static bool trusted_node(const char *text, char node[SHA256_HEX])
{
	struct buf file = BUF_INIT(1 << 16);
	char print[FINGERPRINT];
	uint8_t key[32];
	struct sha256 raw;
	size_t n = 0;
	const char *at;
	bool ok = false;

	if (hex_parse(raw.b, sizeof(raw.b), text)) {
		memcpy(node, text, SHA256_HEX);
		return true;
	}
	if (strncmp(text, "SHA256:", 7) == 0) {
		char padded[64];

		snprintf(padded, sizeof(padded), "%.50s=", text + 7);
		if (!base64_parse(raw.b, sizeof(raw.b), &n, padded) || n != sizeof(raw.b))
			return false;
		hex_of(node, raw.b, sizeof(raw.b));
		return true;
	}
	if (!file_read(AT_FDCWD, text, &file) && (at = strstr(buf_text(&file), "ssh-ed25519 ")) && !sshsig_parse_public(key, at)) {
		fingerprint(key, node, print);
		ok = true;
	}
	buf_release(&file);
	return ok;
}

/* Did one of those keys sign it? */
static bool check_trust(struct check *c)
{
	bool vouched = false;

	for (size_t i = 0; i < c->o->n_trusted; i++) {
		char node[SHA256_HEX];

		if (!trusted_node(c->o->trusted[i], node))
			continue;
		for (size_t k = 0; k < c->about.n_logs; k++)
			vouched |= c->has_key[k] && strcmp(node, c->about.logs[k].node) == 0;
	}
	if (c->o->n_trusted && !vouched)
		failed(c, "key", c->o->trusted[0], "the history is signed by another key than the one that you trust");
	return vouched;
}

/* --- the whole ---------------------------------------------------------------------------------------------------------- */

static enum err check_all(struct check *c, int fd)
{
	struct buf index = BUF_INIT((size_t)1 << 30);
	enum err e = read_archive(c, fd);

	if (!e && c->pack_size) {
		void *map = mmap(NULL, c->pack_size, PROT_READ, MAP_PRIVATE, c->pack_fd, 0);

		if (map == MAP_FAILED)
			e = err_sys(ERR_FAILED, "cannot map a temporary file");
		else
			c->map = map;
	}
	if (!e)
		e = pack_in_open(&c->pack, c->map, c->pack_size, &index);
	if (!e) {
		char name[ARCHIVE_NAME + 1];

		snprintf(name, sizeof(name), "repo.git/objects/pack/pack-%s.pack", c->pack.name);
		if (strcmp(name, c->pack_name) != 0)
			failed(c, "pack", c->pack_name, "its name is not its checksum");
		if (index.len != c->index_text.len || memcmp(index.p, buf_text(&c->index_text), index.len) != 0)
			failed(c, "index", c->pack_name, "the index is not that of the pack");
		for (size_t i = 0; i < c->about.n_logs; i++)
			check_log(c, i);
		check_head(c);
		check_bytes(c);
		check_papers(c);
	}
	buf_release(&index);
	return e;
}

static void say(const struct check *c, bool vouched)
{
	char node[SHA256_HEX], print[FINGERPRINT];
	struct buf path = BUF_INIT(1 << 14);

	utf8_visible(&path, c->about.path.s, c->about.path.len, false);
	printf("site %s, path %s%s\n", c->about.site, buf_text(&path), c->about.current ? " (bytes of what is approved now only)" : "");
	buf_release(&path);
	printf("%llu records, %llu good signatures, %llu things done to files there, bytes of %zu versions (%llu bytes)\n", (unsigned long long)c->records,
	    (unsigned long long)c->signatures, (unsigned long long)c->events, c->n_files, (unsigned long long)c->bytes);
	for (size_t i = 0; i < c->about.n_logs; i++)
		if (c->has_key[i]) {
			fingerprint(c->keys[i], node, print);
			printf("key %s\n", print);
		}
	if (!c->o->n_trusted)
		puts("The key came with the archive and was BELIEVED: this shows that the history is whole, not whose it is. Ask somebody of the\n"
		     "site for the key's fingerprint by another way, and give it with --key.");
	else if (vouched)
		puts("The key is the one that you trust.");
	if (c->failures > FAILURES_TOLD)
		printf("... and %llu more\n", (unsigned long long)(c->failures - FAILURES_TOLD));
	puts(c->failures ? "NOT GOOD: this archive does not prove what it says." : "good: every commit is signed, and records, trees and bytes agree.");
}

static void say_json(const struct check *c, bool vouched)
{
	json_t *keys = json_array(), *v;
	char node[SHA256_HEX], print[FINGERPRINT];

	for (size_t i = 0; i < c->about.n_logs; i++)
		if (c->has_key[i]) {
			fingerprint(c->keys[i], node, print);
			json_array_append_new(keys, json_string(print));
		}
	v = json_pack("{s:b, s:b, s:s, s:s%, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O}", "good", !c->failures, "key_trusted", vouched, "site", c->about.site,
	    "path", c->about.path.s, c->about.path.len, "current", c->about.current, "records", (json_int_t)c->records, "signatures", (json_int_t)c->signatures,
	    "events", (json_int_t)c->events, "versions", (json_int_t)c->n_files, "bytes", (json_int_t)c->bytes, "failures", (json_int_t)c->failures, "keys", keys,
	    "items", c->items);
	if (v) {
		char *text = json_dumps(v, JSON_COMPACT);

		puts(text ? text : "{}");
		free(text);
	}
	json_decref(v);
}

static void check_release(struct check *c)
{
	if (c->map)
		munmap((void *)(uintptr_t)c->map, c->pack_size);
	if (c->pack_fd >= 0)
		sys_close(c->pack_fd);
	if (c->made_versions)
		sha256_stream_end_free(c->made_versions, NULL);
	pack_in_release(&c->pack);
	spine_free(c->spine);
	state_free(c->state);
	for (size_t i = 0; i < EVIDENCE_LOGS; i++)
		buf_release(&c->refs[i]);
	buf_release(&c->about_text);
	buf_release(&c->signers_text);
	buf_release(&c->md5_text);
	buf_release(&c->index_text);
	buf_release(&c->head_text);
	buf_release(&c->made_signers);
	buf_release(&c->lines);
	buf_release(&c->object);
	free(c->files);
	json_decref(c->items);
	arena_free(c->arena);
	free(c);
}

int evidence_verify(const char *file, const struct evidence_options *o)
{
	struct check *c;
	bool vouched;
	int rc, fd;
	enum err e;

	for (size_t i = 0; i < o->n_trusted; i++) {
		char node[SHA256_HEX];

		if (!trusted_node(o->trusted[i], node)) {
			fprintf(stderr, "drydock: --key %s is neither a file with an ssh-ed25519 public key nor a fingerprint (SHA256:...).\n", o->trusted[i]);
			return 1;
		}
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "drydock: cannot open %s: %s\n", file, strerror(errno));
		return EXIT_ABSENT;
	}
	c = mem_alloc(sizeof(*c));
	c->o = o;
	c->arena = arena_new();
	c->pack_fd = -1;
	c->about = (struct evidence_about){ .site = "", .path = path_root() };
	c->about_text = c->signers_text = c->head_text = c->made_signers = BUF_INIT(PAPER_LIMIT);
	c->md5_text = BUF_INIT((size_t)512 << 20);
	c->index_text = BUF_INIT((size_t)1 << 30);
	c->lines = BUF_INIT((size_t)64 << 20);
	c->object = BUF_INIT(EVIDENCE_BLOB_LIMIT);
	for (size_t i = 0; i < EVIDENCE_LOGS; i++)
		c->refs[i] = BUF_INIT(256);
	c->items = o->json ? json_array() : NULL;
	c->made_versions = sha256_stream_new();
	c->state = state_new();
	c->spine = spine_new(read_tree, c);
	e = check_all(c, fd);
	sys_close(fd);
	if (e)
		failed(c, "archive", file, "%s", err_text());
	vouched = !e && check_trust(c);
	if (o->json)
		say_json(c, vouched);
	else
		say(c, vouched);
	rc = c->failures ? EXIT_BAD : 0;
	check_release(c);
	return rc;
}
