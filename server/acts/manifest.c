/*
 * manifest: the list of files of the newest release, with who approved each, kept beside the repository so that the
 * next release costs what changed and a pass over the list, and not a question to the database for each file.
 *
 * <site>/releases/ holds `at` ("NUMBER BASE LINES"), base.BASE (a whole manifest), net.NUMBER (the difference from there to the
 * newest) and delta.N (what release N changed, for the last DELTAS_KEPT). All of it is derived: it is checked against the
 * release's record at first use, and made again from repository and records where it is missing, torn or behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acts/internal.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"

#define DELTAS_KEPT 400
#define NET_SMALLEST 2000 /* lines; the net difference grows to that, or to a 32nd of the base, before there is a new base */
#define ALL_ROWS_ABOVE 5000 /* from so many changes on the whole table is read instead of asked for each */

/* --- reading -------------------------------------------------------------------------------------------------------------- */

static int open_dir(struct site *s)
{
	char *dir = mem_printf("%s/releases", s->dir);
	int fd = -1;

	if (!file_mkdirs(dir, 0700))
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	return fd;
}

struct kept {
	uint64_t number; /* the release; 0: nothing was released yet */
	uint64_t base; /* the one that base.BASE is of */
	uint64_t lines; /* of the base */
};

static enum err at_read(int dir, struct kept *k)
{
	struct buf text = BUF_INIT(128);
	unsigned long long n = 0, b = 0, l = 0;
	enum err e = file_read(dir, "at", &text);

	if (!e && sscanf(buf_text(&text), "%llu %llu %llu", &n, &b, &l) != 3)
		e = err_set(ERR_FAILED, "releases/at is not readable");
	buf_release(&text);
	*k = (struct kept){ n, b, l };
	return e;
}

/* The manifest that is kept; next: with that file on top. raw: it was checked in this process, or made by it. */
static enum err reading_begin(struct manifest_reading *r, int dir, const char *next, bool raw)
{
	struct kept k;
	char name[64];
	enum err e = at_read(dir, &k);

	*r = (struct manifest_reading){ .raw = raw };
	if (e)
		return e;
	snprintf(name, sizeof name, "base.%llu", (unsigned long long)k.base);
	e = manifest_reading_add(r, dir, name);
	snprintf(name, sizeof name, "net.%llu", (unsigned long long)k.number);
	if (!e)
		e = manifest_reading_add(r, dir, name);
	if (!e && next)
		e = manifest_reading_add(r, dir, next);
	if (e)
		manifest_reading_end(r);
	return e;
}

/* --- who approved what a release changes ---------------------------------------------------------------------------------- */

struct finding {
	const struct plan *plan;
	struct manifest_line *lines; /* plan->n; signer NULL: not found yet */
	struct fingerprint *prints; /* the same with the MD5; NULL: not asked for */
	struct arena *a;
	uint64_t seq; /* of the release */
	size_t i; /* the item that is looked for in the records */
};

static bool from_state(void *arg, const struct db_state_row *row)
{
	struct finding *f = arg;
	size_t i;

	if (!plan_find(f->plan, row->path, &i) || f->plan->items[i].kind == PLAN_REMOVE)
		return true;
	if (!approval_stands(row->approval) || !blob_id_equal(&row->blob, &f->plan->items[i].blob) || row->print.exec != f->plan->items[i].exec ||
	    row->seq > f->seq)
		return true;
	f->lines[i] = (struct manifest_line){ .sha256 = row->print.sha256, .size = row->print.size, .exec = row->print.exec, .at = row->at,
		.seq = row->seq, .signer = arena_dup(f->a, row->actor), .path = f->plan->items[i].path };
	if (f->prints)
		f->prints[i] = row->print;
	return true;
}

static bool from_record(void *arg, const struct db_record_row *row)
{
	struct finding *f = arg;
	const struct plan_item *item = &f->plan->items[f->i];

	if (!strcmp(row->act, "review") || !strcmp(row->act, "revoke") || !row->file || !blob_id_equal(&row->file->blob, &item->blob) ||
	    row->file->print.exec != item->exec)
		return true;
	f->lines[f->i] = (struct manifest_line){ .sha256 = row->file->print.sha256, .size = row->file->print.size, .exec = item->exec, .at = row->at,
		.seq = row->seq, .signer = arena_dup(f->a, row->actor), .path = item->path };
	if (f->prints)
		f->prints[f->i] = row->file->print;
	return false;
}

/* The records of a path, newest first, a page at a time. */
struct records {
	struct finding *f;
	uint64_t seq;
	char node[65];
	unsigned n;
};

static bool record_page(void *arg, const struct db_record_row *row)
{
	struct records *r = arg;

	r->n++;
	r->seq = row->seq;
	snprintf(r->node, sizeof r->node, "%s", row->node);
	return from_record(r->f, row);
}

static enum err search_records(struct site *s, struct db *db, struct finding *f)
{
	const struct plan_item *item = &f->plan->items[f->i];
	struct records r = { .f = f, .seq = f->seq == UINT64_MAX ? 0 : f->seq + 1 };
	enum err e;

	do {
		struct db_record_query q = { .site = s->name, .path = &item->path, .before_seq = r.seq, .limit = 100 };

		if (*r.node)
			q.before_node = r.node;
		r.n = 0;
		e = db_record_list(db, &q, record_page, &r);
	} while (!e && r.n == 100 && !f->lines[f->i].signer);
	if (!e && !f->lines[f->i].signer)
		e = err_set(ERR_FAILED, "No record approved %s as it is in the approved tree. See drydockd fsck.", item->path.s);
	return e;
}

static enum err find_lines(struct site *s, struct db *db, struct finding *f)
{
	struct path *paths = mem_array(f->plan->n, sizeof *paths);
	size_t n = 0;
	enum err e;

	for (size_t i = 0; i < f->plan->n; i++)
		if (f->plan->items[i].kind != PLAN_REMOVE)
			paths[n++] = f->plan->items[i].path;
	e = n > ALL_ROWS_ABOVE ? db_state_all(db, s->name, from_state, f) : db_state_get_many(db, s->name, paths, n, from_state, f);
	free(paths);
	for (f->i = 0; f->i < f->plan->n && !e; f->i++) {
		if (f->plan->items[f->i].kind == PLAN_REMOVE)
			f->lines[f->i] = (struct manifest_line){ .gone = true, .signer = "", .path = f->plan->items[f->i].path };
		else if (!f->lines[f->i].signer)
			e = search_records(s, db, f);
	}
	return e;
}

enum err manifest_find(struct site *s, struct db *db, const struct plan *plan, struct manifest_line *lines, struct fingerprint *prints, struct arena *a)
{
	struct finding f = { .plan = plan, .lines = lines, .prints = prints, .a = a, .seq = UINT64_MAX };

	return find_lines(s, db, &f);
}

/*
 * Up to which record the approvals of a release are looked for. A rollback approves what it brings back and is cut by the
 * same record: its list tells who had approved those files before.
 */
static enum err seq_of(struct site *s, struct db *db, const struct db_release *rel, uint64_t *seq)
{
	struct arena *a = arena_new();
	struct db_record_row row;
	enum err e = db_record_get(db, s->name, rel->node, rel->seq, &row, a);

	if (!e)
		*seq = strcmp(row.act, "rollback") == 0 ? rel->seq - 1 : rel->as_of;
	arena_free(a);
	return e;
}

/* A difference of two trees of releases, as lines, into the file `name`. */
static enum err write_plan(struct site *s, struct actor_tools *t, int dir, const char *name, const struct plan *plan, uint64_t seq)
{
	struct finding f = { .plan = plan, .a = arena_new(), .seq = seq };
	struct manifest_writing w = { .fd = -1 };
	enum err e;

	f.lines = mem_array(plan->n + 1, sizeof *f.lines);
	e = find_lines(s, tools_db(t), &f);
	if (!e)
		e = manifest_writing_begin(&w, dir, name);
	for (size_t i = 0; i < plan->n && !e; i++)
		e = manifest_writing_add(&w, &f.lines[i]);
	FAILPOINT_OR(e, manifest_lines);
	e = manifest_writing_end(&w, name, e);
	FAILPOINT_OR(e, manifest_delta);
	free(f.lines);
	arena_free(f.a);
	return e;
}

static enum err write_delta(struct site *s, struct actor_tools *t, int dir, const char *name, const struct blob_id *from, const struct blob_id *to, uint64_t seq)
{
	struct plan plan;
	struct repo *repo;
	enum err e = tools_repo(t, s, &repo);

	plan_init(&plan);
	if (!e)
		e = repo_plan(repo, from, to, &plan);
	if (!e)
		e = write_plan(s, t, dir, name, &plan, seq);
	plan_release(&plan);
	return e;
}

/* --- from one release to the next ------------------------------------------------------------------------------------------- */

static enum err forget(struct site *s, int *dir)
{
	char *path = mem_printf("%s/releases", s->dir);
	enum err e = file_remove_tree(AT_FDCWD, path);

	free(path);
	(void)close(*dir);
	*dir = -1;
	if (e)
		return e;
	FAILPOINT(manifest_forgotten);
	*dir = open_dir(s);
	return *dir < 0 ? err_sys(ERR_FAILED, "%s/releases", s->dir) : ERR_OK;
}

static enum err at_write(int dir, const struct kept *k)
{
	char text[128];
	int n = snprintf(text, sizeof text, "%llu %llu %llu\n", (unsigned long long)k->number, (unsigned long long)k->base, (unsigned long long)k->lines);

	return file_write_fast(dir, "at", text, (size_t)n, 0600);
}

/* Nothing was released yet: an empty base. */
static enum err begin_empty(int dir)
{
	enum err e = file_write_fast(dir, "base.0", "", 0, 0600);

	if (!e)
		e = file_write_fast(dir, "net.0", "", 0, 0600);
	FAILPOINT_OR(e, manifest_empty);
	return e ? e : at_write(dir, &(struct kept){ 0 });
}

static const char *numbered(char out[64], const char *what, uint64_t number)
{
	snprintf(out, 64, "%s.%llu", what, (unsigned long long)number);
	return out;
}

/* net.NUMBER from the one before and the delta; a new base when it has grown. */
static enum err advance(int dir, uint64_t number)
{
	char net_was[64], net[64], delta[64], base_was[64], base[64];
	struct kept was, now;
	uint64_t lines = 0;
	bool fresh;
	enum err e = at_read(dir, &was);

	if (e)
		return e;
	now = (struct kept){ number, was.base, was.lines };
	numbered(net, "net", number);
	numbered(net_was, "net", was.number);
	numbered(delta, "delta", number);
	e = manifest_file_merge(dir, net, net_was, delta, true, &lines);
	FAILPOINT_OR(e, manifest_net);
	fresh = lines > NET_SMALLEST && lines > was.lines / 32;
	if (!e && fresh) {
		now.base = number;
		e = manifest_file_merge(dir, numbered(base, "base", number), numbered(base_was, "base", was.base), net, false, &now.lines);
		if (!e)
			e = file_write_fast(dir, net, "", 0, 0600);
	}
	if (!e)
		e = at_write(dir, &now);
	FAILPOINT_OR(e, manifest_at);
	if (e)
		return e;
	if (fresh)
		(void)sys_unlink(dir, base_was, 0);
	(void)sys_unlink(dir, net_was, 0);
	if (number > DELTAS_KEPT)
		(void)sys_unlink(dir, numbered(delta, "delta", number - DELTAS_KEPT), 0);
	return ERR_OK;
}

/* Is what is kept what the record of that release says? Releases of before there were signed heads cannot tell. */
static enum err check_kept(struct site *s, struct actor_tools *t, int dir, bool *good)
{
	struct arena *a = arena_new();
	struct manifest_reading r = { 0 };
	struct manifest_sums sums;
	struct db_release rel;
	struct release_papers papers;
	struct kept k;
	enum err e = at_read(dir, &k);

	*good = !e;
	if (e == ERR_FAILED || e == ERR_NOT_FOUND) {
		e = ERR_OK;
		goto out;
	}
	if (e || !k.number)
		goto out;
	e = db_release_get(tools_db(t), s->name, k.number, &rel, a);
	if (!e)
		e = release_papers(s, t, &rel, &papers, a);
	if (e == ERR_NOT_FOUND) {
		*good = false;
		e = ERR_OK;
		goto out;
	}
	if (e)
		goto out;
	*good = papers.has_head && !reading_begin(&r, dir, NULL, false) && !manifest_sum(&r.source, &sums) &&
	    sha256_equal(&sums.manifest, &papers.head.sums.manifest);
	manifest_reading_end(&r);
out:
	arena_free(a);
	return e;
}

/* Bring what is kept to a release; with the lock. */
static enum err catch_up(struct site *s, struct actor_tools *t, int *dir, uint64_t number)
{
	struct arena *a = arena_new();
	struct blob_id from = { 0 };
	struct db_release rel;
	struct kept k = { 0 };
	bool good = true;
	uint64_t seq;
	char delta[64];
	enum err e = s->manifest_checked ? ERR_OK : check_kept(s, t, *dir, &good);

	if (!e && (!good || at_read(*dir, &k) || k.number > number)) {
		k.number = 0;
		e = forget(s, dir);
		if (!e)
			e = begin_empty(*dir);
	}
	if (!e && k.number) {
		e = db_release_get(tools_db(t), s->name, k.number, &rel, a);
		from = *release_tree(&rel);
	}
	while (!e && k.number < number) {
		e = db_release_after(tools_db(t), s->name, k.number, &rel, a);
		if (e)
			break;
		snprintf(delta, sizeof delta, "delta.%llu", (unsigned long long)rel.number);
		e = seq_of(s, tools_db(t), &rel, &seq);
		if (!e)
			e = write_delta(s, t, *dir, delta, &from, release_tree(&rel), seq);
		if (!e)
			e = advance(*dir, rel.number);
		k.number = rel.number;
		from = *release_tree(&rel);
	}
	s->manifest_checked = !e;
	arena_free(a);
	return e;
}

/* --- what others use --------------------------------------------------------------------------------------------------------- */

#define NEXT "next"

enum err manifest_prepare(struct site *s, struct actor_tools *t, const struct db_release *before, const struct plan *changes, uint64_t seq, struct manifest_sums *out)
{
	struct manifest_reading r = { 0 };
	int dir;
	enum err e;

	(void)pthread_mutex_lock(&s->manifest_lock);
	dir = open_dir(s);
	e = dir < 0 ? err_sys(ERR_FAILED, "%s/releases", s->dir) : catch_up(s, t, &dir, before->number);
	if (!e)
		e = write_plan(s, t, dir, NEXT, changes, seq);
	if (!e)
		e = reading_begin(&r, dir, NEXT, true);
	if (!e)
		e = manifest_sum(&r.source, out);
	manifest_reading_end(&r);
	s->manifest_checked &= !e;
	if (dir >= 0)
		(void)close(dir);
	(void)pthread_mutex_unlock(&s->manifest_lock);
	return e;
}

enum err manifest_adopt(struct site *s, uint64_t number)
{
	struct kept k;
	char delta[64];
	int dir;
	enum err e = ERR_OK;

	snprintf(delta, sizeof delta, "delta.%llu", (unsigned long long)number);
	(void)pthread_mutex_lock(&s->manifest_lock);
	dir = open_dir(s);
	/* The release stands since it was decided: whoever asked for its list in between has brought it there already. */
	if (dir >= 0 && at_read(dir, &k) == ERR_OK && k.number >= number) {
		(void)sys_unlink(dir, NEXT, 0);
		goto out;
	}
	if (dir < 0 || sys_rename(dir, NEXT, dir, delta))
		e = err_sys(ERR_FAILED, "%s/releases", s->dir);
	FAILPOINT_OR(e, manifest_named);
	if (!e)
		e = advance(dir, number);
out:
	s->manifest_checked &= !e;
	if (dir >= 0)
		(void)close(dir);
	(void)pthread_mutex_unlock(&s->manifest_lock);
	return e;
}

enum err site_manifest(struct site *s, struct actor_tools *t, uint64_t number, struct manifest_reading *out)
{
	struct arena *a = arena_new();
	struct db_release newest, rel;
	char name[64];
	int dir = -1;
	enum err e;

	*out = (struct manifest_reading){ .n = 0 };
	(void)pthread_mutex_lock(&s->manifest_lock);
	e = db_release_get(tools_db(t), s->name, 0, &newest, a);
	if (!e)
		e = db_release_get(tools_db(t), s->name, number, &rel, a);
	if (!e)
		e = (dir = open_dir(s)) < 0 ? err_sys(ERR_FAILED, "%s/releases", s->dir) : catch_up(s, t, &dir, newest.number);
	/* An older release is the newest with the way back on top. */
	if (!e && rel.number != newest.number) {
		uint64_t seq;

		snprintf(name, sizeof name, "back.%llu", (unsigned long long)rel.number);
		e = seq_of(s, tools_db(t), &rel, &seq);
		if (!e)
			e = write_delta(s, t, dir, name, release_tree(&newest), release_tree(&rel), seq);
	}
	if (!e)
		e = reading_begin(out, dir, rel.number == newest.number ? NULL : name, false);
	if (!e && rel.number != newest.number)
		(void)sys_unlink(dir, name, 0); /* it is open */
	s->manifest_checked &= !e;
	if (dir >= 0)
		(void)close(dir);
	(void)pthread_mutex_unlock(&s->manifest_lock);
	arena_free(a);
	return e;
}

enum err site_manifest_difference(struct site *s, struct actor_tools *t, uint64_t from, uint64_t to, int work, const char *name, bool *whole)
{
	struct manifest_reading r = { 0 };
	struct arena *a = arena_new();
	struct db_release rel = { .number = from };
	uint64_t lines;
	char delta[64];
	int dir;
	enum err e = ERR_OK;

	*whole = !from;
	(void)pthread_mutex_lock(&s->manifest_lock);
	dir = open_dir(s);
	if (dir < 0)
		e = err_sys(ERR_FAILED, "%s/releases", s->dir);
	else
		e = catch_up(s, t, &dir, to);
	/* One delta on the other: each adds a file to the merge, which is why a receiver that is far behind gets the whole list. */
	for (bool first = true; !e && !*whole && rel.number < to; first = false) {
		e = db_release_after(tools_db(t), s->name, rel.number, &rel, a);
		if (e)
			break;
		snprintf(delta, sizeof delta, "delta.%llu", (unsigned long long)rel.number);
		if (r.n == MANIFEST_FILES_MOST || manifest_reading_add(&r, dir, delta))
			*whole = true;
		else if (!first)
			r.merges[r.n - 1].keep_gone = true;
	}
	if (!e && *whole) {
		manifest_reading_end(&r);
		e = reading_begin(&r, dir, NULL, false);
	}
	if (!e && !r.n)
		e = file_write_fast(work, name, "", 0, 0600);
	else if (!e)
		e = manifest_file_write(work, name, &r.source, &lines);
	manifest_reading_end(&r);
	s->manifest_checked &= !e;
	if (dir >= 0)
		(void)close(dir);
	(void)pthread_mutex_unlock(&s->manifest_lock);
	arena_free(a);
	return e;
}

enum err site_whence(struct site *s, struct actor_tools *t, const struct db_release *rel, struct path path, struct manifest_line *out, struct arena *a)
{
	struct plan_item item = { .kind = PLAN_ADD, .path = path };
	struct plan plan = { .items = &item, .n = 1 };
	struct finding f = { .plan = &plan, .lines = out, .a = a };
	struct repo *repo;
	enum err e = tools_repo(t, s, &repo);

	if (!e)
		e = seq_of(s, tools_db(t), rel, &f.seq);

	*out = (struct manifest_line){ .gone = false };
	if (!e)
		e = repo_find(repo, release_tree(rel), path, &item.blob, &item.exec);
	return e ? e : find_lines(s, tools_db(t), &f);
}
