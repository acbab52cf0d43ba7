/* The logs of an archive, from their first record on: everything that follows from a record is made again and compared. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/weaken.h"
#include "evidence/verify.h"
#include "repo/sshsig.h"

#define RECORD_LIMIT ((size_t)2 << 20)

/* --- one record ----------------------------------------------------------------------------------------------------- */

struct place_in_log {
	const struct evidence_log *log;
	size_t n; /* of the log */
	uint64_t seq;
	struct blob_id commit, before; /* before: the commit that should be its parent */
	struct sha256 prev;
	struct blob_id rules;
	struct sha256 rules_digest;
	struct keychain *keys; /* so far */
	size_t first_key; /* that signs this log */
	char subject[128];
};

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
		verify_failed(c, "tree", at->subject, "its approved tree: %s", err_text());
	else if (a->stands && (!found || entry.mode == TREE_MODE_DIR))
		verify_failed(c, "tree", at->subject, "its approved tree lacks %s", path.s);
	else if (a->stands && (!blob_id_equal(&entry.id, &a->blob) || entry.mode != (a->exec ? TREE_MODE_EXEC : TREE_MODE_FILE)))
		verify_failed(c, "tree", at->subject, "its approved tree has other bytes, or another mode, at %s than its record says", path.s);
	else if (!a->stands && found && entry.mode != TREE_MODE_DIR)
		verify_failed(c, "tree", at->subject, "its approved tree still has %s", path.s);
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
			verify_failed(c, "record", at->subject, "its field superseded is not a list of paths");
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
			verify_failed(c, "fingerprint", f->path.s, "records give bytes with one SHA-256 different MD5s, sizes or blobs");
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
		verify_failed(c, "object", at->subject, "its list of files: %s", err_text());
		goto out;
	}
	sha256_of(&digest, buf_text(&c->object), c->object.len);
	if (!sha256_equal(&digest, &rec->files_sha256))
		verify_failed(c, "files", at->subject, "its list of files has another digest than its record says");
	if (act == PAPERS_UNKNOWN)
		verify_failed(c, "act", at->subject, "this version does not know what \"%s\" does to files", rec->act);
	if (act != PAPERS_NOTHING && act != PAPERS_UNKNOWN)
		check_superseded(c, at, rec);
	for (const char *p = buf_text(&c->object), *end = p + c->object.len; p < end; n++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
		struct record_file f;

		arena_reset(arena);
		if (record_file_decode(&f, p, (size_t)(next - p), arena)) {
			verify_failed(c, "files", at->subject, "%s", err_text());
			goto out;
		}
		if (n && path_compare((struct path){ buf_text(&last), last.len }, f.path) >= 0)
			verify_failed(c, "files", at->subject, "its list of files is not in path order");
		buf_reset(&last);
		buf_add(&last, f.path.s, f.path.len);
		if (act != PAPERS_NOTHING && act != PAPERS_UNKNOWN && path_covers(c->about.path, f.path))
			check_file(c, at, rec, &f);
		p = next;
	}
	if (n != rec->files_count)
		verify_failed(c, "files", at->subject, "its list has another number of files than its record says");
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
		verify_failed(c, "object", at->subject, "its tree: %s", err_text());
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
		verify_failed(c, "commit", at->subject, "its tree is not files, record, rules and site");
	buf_release(&tree);
	return ok && s == end;
}

/* Byte by byte what DryDock writes for this record, and signed. */
static bool check_commit(struct check *c, const struct place_in_log *at, const struct buf *raw, const struct parts *parts, const struct record *rec,
    const struct sha256 *digest)
{
	struct buf bytes = BUF_INIT(COMMIT_LIMIT), armored = BUF_INIT(SSHSIG_ARMORED_LIMIT), head = BUF_INIT(COMMIT_LIMIT), body = BUF_INIT(COMMIT_LIMIT);
	uint8_t signer[32];
	bool good;
	enum err e = plain_commit_split(raw->p, raw->len, &bytes, &armored);

	if (!e && !at->keys->n)
		e = err_set(ERR_DENIED, "its log has no key that it could be checked with");
	if (!e && !WEAK(evidence_signature)) {
		e = sshsig_signer(signer, buf_text(&armored), armored.len);
		if (!e)
			e = key_expect(at->keys, at->seq, signer);
		if (!e)
			e = sshsig_verify(signer, "git", buf_text(&bytes), bytes.len, buf_text(&armored), armored.len);
	}
	if (e)
		verify_failed(c, "signature", at->subject, "%s", err_text());
	else
		c->signatures++;
	good = !e;
	e = plain_log_text(rec, digest, &parts->tree, &parts->parent, at->log->node, &head, &body);
	if (e || bytes.len != head.len + 1 + body.len || memcmp(bytes.p, head.p, head.len) != 0 || bytes.p[head.len] != '\n' ||
	    memcmp(bytes.p + head.len + 1, buf_text(&body), body.len) != 0)
		verify_failed(c, "commit", at->subject, "its author, times or message are not those of its record");
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
			verify_failed(c, "commit", at->subject, "it is not written as DryDock writes a commit");
		buf_release(&again);
	}
	buf_release(&bytes);
	buf_release(&armored);
	buf_release(&head);
	buf_release(&body);
	return good;
}

static void check_rules(struct check *c, struct place_in_log *at, const struct parts *parts, const struct record *rec)
{
	if (!blob_id_equal(&parts->rules, &at->rules)) {
		if (pack_in_read(&c->pack, PACK_BLOB, &parts->rules, &c->object)) {
			verify_failed(c, "object", at->subject, "its rules: %s", err_text());
			return;
		}
		at->rules = parts->rules;
		sha256_of(&at->rules_digest, buf_text(&c->object), c->object.len);
	}
	if (!sha256_equal(&at->rules_digest, &rec->policy))
		verify_failed(c, "rules", at->subject, "its rules have another digest than its record says");
}

/* The first record names the key of its log, and a record `key` the next. */
static void take_key(struct check *c, struct place_in_log *at, const struct record *rec)
{
	if (keychain_take(at->keys, rec))
		verify_failed(c, "key", at->subject, "%s", err_text());
	if (at->seq == 1 && at->keys->n)
		at->first_key = at->keys->n - 1;
}

static void check_record(struct check *c, struct place_in_log *at)
{
	struct buf raw = BUF_INIT(COMMIT_LIMIT), text = BUF_INIT(RECORD_LIMIT);
	struct arena *arena = arena_new();
	struct record rec = { .fields = NULL };
	struct sha256 digest;
	struct parts parts;

	if (pack_in_read(&c->pack, PACK_COMMIT, &at->commit, &raw)) {
		verify_failed(c, "object", at->subject, "%s", err_text());
		goto out;
	}
	if (!plain_commit_parse(buf_text(&raw), raw.len, &parts.tree, &parts.parent) || !parts_read(c, at, &parts))
		goto out;
	if (pack_in_read(&c->pack, PACK_BLOB, &parts.record, &text)) {
		verify_failed(c, "object", at->subject, "its record: %s", err_text());
		goto out;
	}
	sha256_of(&digest, buf_text(&text), text.len);
	if (record_decode(&rec, buf_text(&text), text.len, arena)) {
		verify_failed(c, "record", at->subject, "%s", err_text());
		at->prev = digest;
		goto out;
	}
	c->records++;
	if (at->seq == 1)
		take_key(c, at, &rec);
	if (strcmp(rec.site, c->about.site) != 0)
		verify_failed(c, "record", at->subject, "it is of another site");
	if (strcmp(rec.node, at->log->node) != 0)
		verify_failed(c, "record", at->subject, "it is of another node");
	if (rec.seq != at->seq)
		verify_failed(c, "sequence", at->subject, "its record is number %llu and stands at place %llu", (unsigned long long)rec.seq, (unsigned long long)at->seq);
	if (!sha256_equal(&rec.prev, &at->prev))
		verify_failed(c, "chain", at->subject, "its record does not name the one before it");
	if (!blob_id_equal(&parts.parent, &at->before))
		verify_failed(c, "chain", at->subject, "its commit does not follow the one before it");
	/* A change that is itself in doubt changes nothing. */
	if (check_commit(c, at, &raw, &parts, &rec, &digest) && at->seq != 1)
		take_key(c, at, &rec);
	check_rules(c, at, &parts, &rec);
	c->site = parts.site;
	spine_reset(c->spine, &parts.site);
	check_files(c, at, &rec, &parts.files);
	at->prev = digest;
out:
	json_decref(rec.fields);
	buf_release(&raw);
	buf_release(&text);
	arena_free(arena);
}

/* --- one log -------------------------------------------------------------------------------------------------------- */

void verify_log(struct check *c, size_t n)
{
	const struct evidence_log *l = &c->about.logs[n];
	struct place_in_log at = { .log = l, .n = n, .keys = c->keys[n] };
	struct blob_id *ids, id = l->head, tree;
	struct buf raw = BUF_INIT(COMMIT_LIMIT);
	char hex[2 * BLOB_ID_SIZE + 1];
	uint64_t have = 0;

	if (l->commits > c->pack.n) {
		verify_failed(c, "sequence", l->node, "evidence.json says that its log has %llu records, but so many are not here", (unsigned long long)l->commits);
		return;
	}
	ids = mem_array((size_t)l->commits + 1, sizeof(*ids));
	while (have < l->commits && !blob_id_zero(&id)) {
		ids[have++] = id;
		if (pack_in_read(&c->pack, PACK_COMMIT, &id, &raw) || !plain_commit_parse(buf_text(&raw), raw.len, &tree, &id)) {
			hex_of(hex, ids[have - 1].b, BLOB_ID_SIZE);
			verify_failed(c, "object", hex, "a commit of the log cannot be read");
			break;
		}
	}
	if (have < l->commits || !blob_id_zero(&id))
		verify_failed(c, "sequence", l->node, "its log does not lead back to a first record in %llu steps", (unsigned long long)l->commits);
	for (uint64_t i = have; i-- > 0;) {
		at.seq = have - i;
		at.commit = ids[i];
		hex_of(hex, ids[i].b, BLOB_ID_SIZE);
		snprintf(at.subject, sizeof(at.subject), "record %llu, commit %.12s", (unsigned long long)at.seq, hex);
		check_record(c, &at);
		at.before = ids[i];
	}
	papers_signers(at.keys, at.first_key, &c->made_signers);
	c->first_key[n] = at.first_key;
	c->log_length[n] = have;
	free(ids);
	buf_release(&raw);
}
