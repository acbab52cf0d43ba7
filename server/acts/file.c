/*
 * file: the acts on files: sign, review, revoke. Each is a row of a table; what they share is approve.c and decide.c.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/weaken.h"

#define ACT_FIELDS_LIMIT (1u << 20)

struct file_kind {
	const char *name;
	enum role need;
	enum approval approval; /* what a file is after it; NONE: as before (a review) */
	bool keep; /* its bytes go into git and export */
	bool staged; /* it is about the staged bytes: they are looked at again */
};

static const struct file_kind kinds[] = {
	{ "sign", ROLE_SIGN, APPROVAL_SIGNED, true, true },
	{ "review", ROLE_REVIEW, APPROVAL_NONE, false, true },
	{ "revoke", ROLE_SIGN, APPROVAL_REVOKED, false, false },
};

static const struct file_kind *kind_find(const char *act)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(kinds[i].name, act) == 0)
			return &kinds[i];
	return NULL;
}

/* What one call of act_files works with. */
struct job {
	struct site *s;
	struct actor_tools *t;
	const struct act_request *rq;
	const struct file_act *fa;
	const struct file_kind *kind;
	struct rules *rules;
	struct catalog_view view;
	const struct path *paths; /* fa's, or those of the expected list */
	size_t n_paths;
	bool recursive;
	const struct expected_file **expected; /* sorted by path */
	struct path *expected_paths;
	struct selection sel;
	struct selection *conflict;
	struct repo *repo;
	struct repo_pack *pack;
	struct read_item *items; /* of the staged files, in the order of sel */
	size_t *item_of; /* index in sel for each of items */
	size_t n_items;
	struct approve_file *files; /* one for each of sel */
	bool ahead; /* what it adds to the export is being made */
};

/* Only if there are any: what was asked before there were fields has the digest that it had. */
static void digest_fields(struct request *r, const json_t *fields)
{
	struct buf text = BUF_INIT(ACT_FIELDS_LIMIT);

	/* What cannot be written so is refused by its type. */
	if (json_object_size(fields) && json_canonical(&text, fields) == ERR_OK && buf_check(&text) == ERR_OK)
		request_bytes(r, buf_text(&text), text.len);
	buf_release(&text);
}

static void digest_request(const struct job *j, struct sha256 *out)
{
	const struct file_act *fa = j->fa;
	struct request r;

	request_begin(&r, j->kind->name);
	request_number(&r, fa->expected ? 0 : fa->recursive);
	request_number(&r, (int64_t)j->n_paths);
	for (size_t i = 0; i < j->n_paths; i++)
		request_bytes(&r, j->paths[i].s, j->paths[i].len);
	request_number(&r, fa->selection ? 1 : fa->expected ? 2 : 3);
	if (fa->selection)
		request_bytes(&r, fa->selection->b, sizeof fa->selection->b);
	for (size_t i = 0; fa->expected && i < fa->n_expected; i++) {
		request_bytes(&r, j->expected[i]->sha256.b, sizeof j->expected[i]->sha256.b);
		request_number(&r, j->expected[i]->exec);
	}
	request_text(&r, j->rq->note);
	if (j->rq->meaning && *j->rq->meaning)
		request_text(&r, j->rq->meaning);
	digest_fields(&r, fa->fields);
	if (fa->take_down)
		request_text(&r, "take-down");
	request_end(&r, out);
}

static int by_expected(const void *a, const void *b)
{
	return path_compare((*(const struct expected_file *const *)a)->path, (*(const struct expected_file *const *)b)->path);
}

static enum err take_arguments(struct job *j)
{
	const struct file_act *fa = j->fa;

	if (!j->rq->actor)
		return err_set(ERR_INPUT, "Only a person can %s files.", j->kind->name);
	if (fa->take_down && strcmp(fa->act, "revoke") != 0)
		return err_set(ERR_INPUT, "Only a revoke takes files down.");
	if (fa->take_down && !j->rq->note[0])
		return err_set(ERR_INPUT, "Say why they are taken down at once.");
	if ((fa->selection != NULL) + (fa->expected != NULL) + fa->as_staged != 1)
		return err_set(ERR_INPUT, "Say exactly one: the digest of the selection that was shown, the fingerprints expected, or as staged.");
	if (!fa->expected) {
		if (!fa->n_paths)
			return err_set(ERR_INPUT, "No path was named.");
		j->paths = fa->paths;
		j->n_paths = fa->n_paths;
		j->recursive = fa->recursive;
		return ERR_OK;
	}
	if (!fa->n_expected)
		return err_set(ERR_INPUT, "The list of expected files is empty.");
	if (fa->n_expected > RECORD_FILES_LIMIT)
		return err_set(ERR_TOO_BIG, "At most %d files in one act.", RECORD_FILES_LIMIT);
	j->expected = mem_array(fa->n_expected, sizeof *j->expected);
	j->expected_paths = mem_array(fa->n_expected, sizeof *j->expected_paths);
	for (size_t i = 0; i < fa->n_expected; i++)
		j->expected[i] = &fa->expected[i];
	qsort(j->expected, fa->n_expected, sizeof *j->expected, by_expected);
	for (size_t i = 0; i < fa->n_expected; i++) {
		j->expected_paths[i] = j->expected[i]->path;
		if (i && path_equal(j->expected_paths[i], j->expected_paths[i - 1]))
			return err_set(ERR_INPUT, "%s is named twice.", j->expected_paths[i].s);
	}
	j->paths = j->expected_paths;
	j->n_paths = fa->n_expected;
	return ERR_OK;
}

static enum err select_now(struct job *j, struct selection *out)
{
	*out = (struct selection){ 0 };
	return catalog_select(j->s->catalog, j->kind->name, j->paths, j->n_paths, j->recursive, &j->view, j->kind->need, out);
}

/* Give the caller the selection as it is now, keeping the sentence that says what is wrong. */
static enum err stale(struct job *j)
{
	char *why = mem_dup(err_text());

	if (j->conflict && !j->conflict->arena) {
		struct selection now;

		for (size_t i = 0; i < j->n_items; i++)
			if (j->items[i].err)
				(void)!catalog_refresh_file(j->s->catalog, j->items[i].path);
		if (select_now(j, &now))
			selection_release(&now);
		else
			*j->conflict = now;
	}
	err_set(ERR_STALE, "%s", why);
	free(why);
	return ERR_STALE;
}

/* Hand over the selection itself as the conflict: it is what is there now. */
static enum err stale_selection(struct job *j, const char *why)
{
	if (j->conflict) {
		*j->conflict = j->sel;
		j->sel = (struct selection){ 0 };
	}
	return err_set(ERR_STALE, "%s", why);
}

/* A review may be of the approved version although other bytes are staged. */
static bool reviews_approved(struct job *j, struct selection_item *item, const struct expected_file *e)
{
	struct arena *a = arena_new();
	struct catalog_entry entry;
	bool yes = false;

	if (!catalog_get_file(j->s->catalog, item->path, &entry, a) && entry.has_approved && approval_stands(entry.approved.approval) &&
	    sha256_equal(&entry.approved.print.sha256, &e->sha256)) {
		item->print = entry.approved.print;
		item->blob = entry.approved.blob;
		/* Not to be looked for in staging. */
		item->state = STATE_MISSING;
		yes = true;
	}
	arena_free(a);
	return yes;
}

static enum err compare_shown(struct job *j)
{
	const struct file_act *fa = j->fa;

	if (fa->selection && !sha256_equal(fa->selection, &j->sel.digest) && !WEAK(shown_selection))
		return stale_selection(j, "The files are not as they were shown any more: look at them again.");
	if (!fa->expected)
		return ERR_OK;
	if (j->sel.n != fa->n_expected)
		return stale_selection(j, "Not all files of the list can be taken: look at them again.");
	for (size_t i = 0; i < j->sel.n; i++) {
		struct selection_item *item = &j->sel.items[i];
		const struct expected_file *e = j->expected[i];
		bool same = path_equal(item->path, e->path) && sha256_equal(&item->print.sha256, &e->sha256) &&
		            (e->exec < 0 || item->print.exec == (e->exec != 0));

		if (!same && !j->kind->keep && j->kind->staged && path_equal(item->path, e->path))
			same = reviews_approved(j, item, e);
		if (!same && !WEAK(shown_expected)) {
			char *why = mem_printf("%s is not what was shown any more: look at it again.", e->path.s);

			stale_selection(j, why);
			free(why);
			return ERR_STALE;
		}
	}
	return ERR_OK;
}

/* Read what has to be read, and make the list for the transaction. */
static enum err read_files(struct job *j)
{
	struct reading r = { .s = j->s, .progress = j->fa->progress, .progress_arg = j->fa->progress_arg };
	enum err err;

	j->files = mem_array(j->sel.n, sizeof *j->files);
	j->items = mem_array(j->sel.n, sizeof *j->items);
	j->item_of = mem_array(j->sel.n, sizeof *j->item_of);
	for (size_t i = 0; i < j->sel.n; i++) {
		const struct selection_item *item = &j->sel.items[i];

		j->files[i] = (struct approve_file){ .path = item->path, .print = item->print, .blob = item->blob };
		/* What was taken away was not shown as approved. */
		if (item->state != STATE_UNSIGNED && item->state != STATE_REVOKED)
			j->files[i].was = item->blob;
		if (!j->kind->staged || item->state == STATE_MISSING)
			continue;
		j->items[j->n_items] = (struct read_item){ .path = item->path, .want = j->fa->as_staged ? NULL : &item->print };
		j->item_of[j->n_items++] = i;
	}
	if (!j->n_items)
		return ERR_OK;
	if (r.progress)
		r.progress(r.progress_arg, "read", 0, j->n_items);
	if (j->kind->keep) {
		err = tools_repo(j->t, j->s, &j->repo);
		if (!err)
			err = repo_pack_begin(j->repo, &j->rq->op, &j->pack);
		if (err)
			return err;
		r.pack = j->pack;
	}
	r.items = j->items;
	r.n = j->n_items;
	r.later = carry_later(j->s, j->n_items);
	err = reading_run(&r, NULL);
	if (err == ERR_STALE)
		return stale(j);
	if (err)
		return err;
	for (size_t i = 0; i < j->n_items; i++) {
		struct approve_file *f = &j->files[j->item_of[i]];
		const struct selection_item *item = &j->sel.items[j->item_of[i]];

		f->print = j->items[i].print;
		f->mtime = j->items[i].mtime;
		f->owner = j->items[i].owner;
		if (j->kind->keep)
			f->blob = j->items[i].blob;
		else if (item->state != STATE_SIGNED && item->state != STATE_PREAPPROVED)
			/* A review of bytes that nobody signed: git does not keep them. */
			f->blob = (struct blob_id){ 0 };
	}
	if (r.later)
		j->ahead = reading_ahead(&r);
	return ERR_OK;
}

/* --- a take-down --------------------------------------------------------------------------------------------------- */

static enum err down_check(struct decision *d, void *arg)
{
	enum err err = approve_check(d, arg);

	if (!err)
		json_object_set_new(d->fields, "take_down", json_true());
	return err;
}

static enum err down_write(struct decision *d, void *arg)
{
	const struct db_force down = { .at = d->record.at, .by = request_identity(d->rq)->user, .reason = d->rq->note };
	enum err err = approve_write(d, arg);

	if (!err)
		err = db_schedule_down(d->db, d->s->name, &down);
	FAILPOINT_OR(err, down_row);
	return err;
}

static enum err decide_files(struct job *j, const struct sha256 *request, struct act_answer *out)
{
	char shown[SHA256_HEX] = "as-staged";
	struct approve x = { .approval = j->kind->approval, .files = j->files, .n = j->sel.n, .need = j->kind->need, .given = j->fa };
	struct decision d = {
		.s = j->s,
		.t = j->t,
		.rq = j->rq,
		.act = j->kind->name,
		.request = *request,
		.shown = shown,
		.pack = j->pack,
		.bulk = j->n_items > 1,
		.progress = j->fa->progress,
		.progress_arg = j->fa->progress_arg,
		.total = j->sel.n,
		.check = approve_check,
		.write = approve_write,
		.after = approve_after,
		.arg = &x,
	};
	uid_t signer;
	enum err err;

	if (j->fa->take_down) {
		d.check = down_check;
		d.write = down_write;
	}
	/* Before the transaction: NSS may wait for a network. */
	if (rules_requirements(j->rules) && auth_uid(j->s->auth, j->rq->actor->who.user, &signer) == ERR_OK)
		x.signer = &signer;
	if (j->fa->expected && j->sel.n == 1)
		hex_of(shown, j->files[0].print.sha256.b, sizeof j->files[0].print.sha256.b);
	else if (!j->fa->as_staged)
		hex_of(shown, j->sel.digest.b, sizeof j->sel.digest.b);
	j->pack = NULL;
	approve_init(&x);
	err = decide(&d, out);
	FAILPOINT(down_decided);
	/* Kits that run send what is to go. */
	if (!err && j->fa->take_down && j->s->changed)
		j->s->changed(j->s->changed_arg, "take-down");
	/* Bytes that the approved tree had already do not wait for anything beside the export. */
	if (!err && x.changes.n < j->n_items && !j->s->export_held)
		export_discard(j->s->export);
	approve_release(&x);
	out->again = err && x.again;
	return err == ERR_STALE ? stale(j) : err;
}

/* Where a site says what signatures can mean, each says which it is; nowhere else does one. */
static enum err meaning_check(const struct job *j)
{
	const struct conf_site *conf = j->s->conf;
	const char *meaning = j->rq->meaning ? j->rq->meaning : "";
	const bool asked = strcmp(j->kind->name, "sign") == 0 && conf->n_meanings && !WEAK(sign_meaning);

	for (size_t i = 0; asked && i < conf->n_meanings; i++)
		if (strcmp(conf->meanings[i], meaning) == 0)
			return ERR_OK;
	if (asked)
		return err_set(ERR_INPUT, *meaning ? "A signature on this site does not mean “%s”: choose one of those that it lists."
		    : "Say what your signature means%s: this site asks for it.", *meaning ? meaning : "");
	return *meaning ? err_set(ERR_INPUT, "Nobody asks here what this means: leave the meaning out.") : ERR_OK;
}

/* Before files are read, perhaps for a long time: would what was filled in be taken? */
static enum err fields_early(struct job *j, struct act_answer *out)
{
	struct path *paths = mem_array(j->sel.n + 1, sizeof *paths);
	json_t *into = json_object();
	enum err err;

	for (size_t i = 0; i < j->sel.n; i++)
		paths[i] = j->sel.items[i].path;
	err = field_check(j->rules, j->kind->name, paths, j->sel.n, j->fa, node_key_id(j->s->key), into, &out->again);
	json_decref(into);
	free(paths);
	return err == ERR_STALE ? stale(j) : err;
}

enum err act_files(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct file_act *fa,
    struct act_answer *out, struct selection *conflict)
{
	struct job j = { .s = s, .t = t, .rq = rq, .fa = fa, .conflict = conflict };
	struct sha256 request;
	enum err err;

	*out = (struct act_answer){ 0 };
	if (conflict)
		*conflict = (struct selection){ 0 };
	j.kind = kind_find(fa->act);
	if (!j.kind || !s->catalog)
		return err_set(ERR_INPUT, "There is no such act on files: %s.", fa->act);
	err = request_check(rq);
	if (!err)
		err = take_arguments(&j);
	if (err)
		goto out;
	digest_request(&j, &request);
	err = act_seen(s, t, rq, &request, out);
	if (err != ERR_NOT_FOUND || (err = meaning_check(&j)))
		goto out;
	FAILPOINT(files_new);
	j.rules = site_rules(s);
	j.view = (struct catalog_view){ j.rules, &rq->actor->who };
	err = select_now(&j, &j.sel);
	if (err == ERR_DENIED)
		act_refused(s, t, rq, j.kind->name, j.paths[0].s, err);
	if (!err)
		err = compare_shown(&j);
	if (!err && !j.sel.n)
		err = err_set(ERR_INPUT, "There is nothing here to %s.", j.kind->name);
	if (!err)
		err = fields_early(&j, out);
	FAILPOINT_OR(err, files_selected);
	if (!err)
		err = read_files(&j);
	FAILPOINT_OR(err, files_read);
	if (!err)
		err = decide_files(&j, &request, out);
	/* Of an act that came to nothing, nothing is kept. */
	if ((err || out->repeated) && j.kind->keep && j.n_items)
		export_discard(s->export);
	if (j.ahead)
		export_ahead_end(s->export, !err && !out->repeated);
out:
	repo_pack_free(j.pack);
	selection_release(&j.sel);
	rules_unref(j.rules);
	free(j.files);
	free(j.items);
	free(j.item_of);
	free(j.expected);
	free(j.expected_paths);
	return err;
}
