/* The small texts of an archive: each follows from the records, so whoever checks makes it again and compares. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "evidence/inside.h"

#define FORMAT 1

/* Of format 1, for ever: a reader compares it byte by byte. */
const char EVIDENCE_README[] =
    "Evidence of what was approved, made by DryDock. `drydock verify ARCHIVE --key FINGERPRINT` checks all of it; by hand, in here:\n"
    "\n"
    " 1. sha256sum --strict --quiet -c SHA256SUMS && md5sum --strict --quiet -c MD5SUMS         nothing was damaged on the way\n"
    " 2. cut -d' ' -f3- allowed_signers | ssh-keygen -lf -      compare with what somebody of the site tells you by another way\n"
    " 3. git -C repo.git fsck --full                            the chain of commits is whole\n"
    " 4. git -C repo.git -c gpg.ssh.allowedSignersFile=$PWD/allowed_signers log --all --show-signature      each: Good \"git\" signature\n"
    " 5. `versions` has a line for each thing that was done: act, commit, path, sha256, blob. For one of them (COMMIT, PATH, ...):\n"
    "    git -C repo.git show COMMIT:record ; git -C repo.git show COMMIT:files       who, when, why, by which rule, which bytes\n"
    "    git -C repo.git ls-tree COMMIT \"site/PATH\" ; git hash-object --no-filters files/SHA256         both name the same blob\n"
    " 6. git -C repo.git show COMMIT:record | sha256sum      is Record-SHA256 of the commit's message, and \"prev\" of the next record\n"
    " 7. One signature with ssh-keygen alone:\n"
    "    git -C repo.git cat-file commit COMMIT >c; sed '/^gpgsig /,/END SSH SIGNATURE/d' c >signed; sed -n 's/^gpgsig //p; s/^ //p' c >sig\n"
    "    ssh-keygen -Y verify -f allowed_signers -I node@drydock.invalid -n git -s sig <signed\n"
    "\n"
    "files/ has the approved bytes, named by their SHA-256. repo.git has every record of the site, and no bytes of other files.\n";

/* The bytes are beside the repository, those of other files are not here at all: git knows this as a partial clone. */
const char EVIDENCE_CONFIG[] =
    "[core]\n\trepositoryformatversion = 1\n\tfilemode = false\n\tbare = true\n"
    "[extensions]\n\tpartialClone = evidence\n"
    "[remote \"evidence\"]\n\turl = ../there-is-no-such-place\n\tpromisor = true\n";

bool papers_stands(const struct record *rec, const struct record_file *f)
{
	return papers_act(rec) == PAPERS_APPROVES && !blob_id_zero(&f->blob);
}

enum papers_act papers_act(const struct record *rec)
{
	static const struct { const char *act; enum papers_act does; } ACTS[] = { { "sign", PAPERS_APPROVES }, { "pickup", PAPERS_APPROVES },
		{ "reapprove", PAPERS_APPROVES }, { "rollback", PAPERS_APPROVES },
		{ "revoke", PAPERS_REVOKES }, { "review", PAPERS_REVIEWS } };

	for (size_t i = 0; i < sizeof(ACTS) / sizeof(*ACTS); i++)
		if (strcmp(rec->act, ACTS[i].act) == 0)
			return ACTS[i].does;
	return rec->files_count || json_object_get(rec->fields, "superseded") ? PAPERS_UNKNOWN : PAPERS_NOTHING;
}

static void put_hex(struct json_out *o, const char *name, const void *p, size_t n)
{
	char hex[SHA256_HEX];

	hex_of(hex, p, n);
	json_out_kstr(o, name, hex);
}

void papers_version(const struct record *rec, const struct blob_id *commit, struct path path, const struct record_file *f, struct buf *out)
{
	struct json_out o = { .b = out };
	char at[CLOCK_TEXT_SIZE];

	clock_text(rec->at, at);
	json_out_begin(&o, '{');
	json_out_kstr(&o, "act", f ? rec->act : "superseded");
	json_out_kstr(&o, "at", at);
	if (f)
		put_hex(&o, "blob", f->blob.b, sizeof(f->blob.b));
	put_hex(&o, "commit", commit->b, sizeof(commit->b));
	if (f) {
		json_out_kbool(&o, "exec", f->print.exec);
		put_hex(&o, "md5", f->print.md5.b, sizeof(f->print.md5.b));
	}
	json_out_kstr(&o, "node", rec->node);
	json_out_kstr(&o, "note", rec->note);
	json_out_name(&o, "path");
	json_out_strn(&o, path.s, path.len);
	json_out_kint(&o, "seq", (int64_t)rec->seq);
	if (f) {
		put_hex(&o, "sha256", f->print.sha256.b, sizeof(f->print.sha256.b));
		json_out_kint(&o, "size", (int64_t)f->print.size);
	}
	json_out_kstr(&o, "user", rec->actor.user);
	json_out_end(&o, '}');
	buf_char(out, '\n');
}

void papers_signers(const struct keychain *c, size_t first, struct buf *out)
{
	char key[KEY_TEXT];

	for (size_t i = first; i < c->n; i++) {
		key_text(c->keys[i].key, key);
		key_signer_line("git,drydock-release,drydock-receipt", key, c->keys[i].at, i + 1 < c->n ? c->keys[i + 1].at : 0, out);
	}
}

/* --- evidence.json -------------------------------------------------------------------------------------------------- */

enum err papers_about(const struct evidence_about *a, struct buf *out)
{
	json_t *logs = json_array(), *v;
	enum err e;

	for (size_t i = 0; i < a->n_logs; i++) {
		char head[2 * BLOB_ID_SIZE + 1];

		hex_of(head, a->logs[i].head.b, BLOB_ID_SIZE);
		json_array_append_new(logs, json_pack("{s:I, s:s, s:s}", "commits", (json_int_t)a->logs[i].commits, "head", head, "node", a->logs[i].node));
	}
	v = json_pack("{s:b, s:o, s:s%, s:s, s:i}", "current", a->current, "logs", logs, "path", a->path.s, a->path.len, "site", a->site, "v", FORMAT);
	if (!v)
		return err_set(ERR_FAILED, "a name is not UTF-8");
	e = json_canonical(out, v);
	json_decref(v);
	buf_char(out, '\n');
	return e ? e : buf_check(out);
}

static void read_log(struct evidence_about *out, const json_t *item, bool *bad)
{
	struct evidence_log *l = &out->logs[out->n_logs++];
	const char *node = json_get_str(item, "node", bad), *head = json_get_str(item, "head", bad);
	int64_t commits = json_get_int(item, "commits", 0, bad);
	struct sha256 any;

	if (!node || !hex_parse(any.b, sizeof(any.b), node) || !head || !hex_parse(l->head.b, BLOB_ID_SIZE, head) || commits < 1) {
		*bad = true;
		return;
	}
	snprintf(l->node, sizeof(l->node), "%s", node);
	l->commits = (uint64_t)commits;
}

enum err papers_about_read(struct evidence_about *out, const struct buf *text, struct arena *a)
{
	struct buf again = BUF_INIT(text->limit);
	const char *site, *path;
	json_t *v = NULL, *logs, *item;
	bool bad = false;
	size_t i;
	enum err e;

	*out = (struct evidence_about){ .site = "", .path = path_root() };
	e = json_parse(&v, buf_text(text), text->len);
	if (e)
		return err_prefix(ERR_INPUT, "evidence.json");
	site = json_get_str(v, "site", &bad);
	path = json_get_str(v, "path", &bad);
	logs = json_get_list(v, "logs", &bad);
	out->current = json_get_bool(v, "current", false, &bad);
	if (json_get_int(v, "v", 0, &bad) != FORMAT)
		e = err_set(ERR_INPUT, "the archive has a format that this version does not know");
	else if (bad || !site || !path || path_parse(&out->path, path, strlen(path), a) || !site_name_valid(site) || json_array_size(logs) < 1 ||
	    json_array_size(logs) > EVIDENCE_LOGS)
		bad = true;
	if (!e && !bad) {
		out->site = arena_dup(a, site);
		json_array_foreach(logs, i, item)
			read_log(out, item, &bad);
	}
	if (!e && (bad || papers_about(out, &again) || again.len != text->len || memcmp(again.p, text->p, text->len) != 0))
		e = err_set(ERR_INPUT, "evidence.json is not what DryDock writes");
	buf_release(&again);
	json_decref(v);
	return e;
}
