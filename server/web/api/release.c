/* Releases: their signed papers, their lists, the difference of two, and where a public file comes from. */
#include <string.h>

#include "base/sys.h"
#include "web/api/api.h"
#include "web/spool.h"
#include "web/targets.h"

static enum err load(struct req *r, struct db_release *rel)
{
	uint64_t number;
	enum err e = req_segment_number(r, "number", &number);

	if (!e)
		e = db_release_get(tools_db(r->tools), r->site->name, number, rel, r->arena);
	return e == ERR_NOT_FOUND ? err_set(e, "There is no such release.") : e;
}

static enum err paper(struct req *r, bool signature)
{
	struct buf body = BUF_INIT(HEAD_LIMIT);
	struct release_papers papers;
	struct db_release rel;
	enum err e = load(r, &rel);

	if (!e)
		e = release_papers(r->site, r->tools, &rel, &papers, r->arena);
	if (!e && (!papers.has_head || (signature && !papers.signature)))
		e = err_set(ERR_NOT_FOUND, "Release %llu has no signed head that this server can make.", (unsigned long long)rel.number);
	if (e)
		return reply_error(r, e, NULL);
	if (signature)
		buf_str(&body, papers.signature);
	else
		buf_add(&body, papers.bytes, papers.len);
	return reply_bytes(r, 200, signature ? "text/plain" : "application/json", &body, signature ? "release.sig" : "release");
}

/* GET /api/v1/sites/:site/releases/:number/head : the file `release` */
enum err api_release_head(struct req *r)
{
	return paper(r, false);
}

/* GET /api/v1/sites/:site/releases/:number/signature */
enum err api_release_signature(struct req *r)
{
	return paper(r, true);
}

static enum err write_plain(int fd, const struct manifest_source *src, uint64_t *size)
{
	struct buf text = BUF_INIT(1 << 20);
	struct manifest_line l;
	bool got = true;
	enum err e = ERR_OK;

	while (!e && got) {
		e = src->next(src->arg, &l, &got);
		if (!e && got)
			manifest_plain(&l, &text);
		if (e || (got && text.len < (1 << 18)))
			continue;
		*size += text.len;
		if (sys_write_all(fd, buf_text(&text), text.len))
			e = err_sys(ERR_FAILED, "temporary file");
		buf_reset(&text);
	}
	buf_release(&text);
	return e;
}

/* GET /api/v1/sites/:site/releases/:number/files : what `sha256sum -c` takes */
enum err api_release_files(struct req *r)
{
	struct manifest_reading reading = { .n = 0 };
	struct db_release rel;
	uint64_t size = 0;
	int fd = -1;
	enum err e = load(r, &rel);

	if (!e)
		e = site_manifest(r->site, r->tools, rel.number, &reading);
	if (!e)
		e = spool_open(&fd);
	if (!e)
		e = write_plain(fd, &reading.source, &size);
	manifest_reading_end(&reading);
	if (!e)
		e = spool_rewind(fd);
	if (!e)
		return reply_fd(r, "text/plain", fd, size, "files");
	if (fd >= 0)
		sys_close(fd);
	return reply_error(r, e, NULL);
}

/* GET /api/v1/sites/:site/releases/:number/diff?from= : against the one before, or another; his paths only */
enum err api_release_diff(struct req *r)
{
	struct db_release rel, from = { .number = 0 };
	uint64_t number;
	struct repo *repo;
	struct answer a;
	struct plan plan;
	enum err e = load(r, &rel);

	if (!e)
		e = req_number(r, "from", 0, INT64_MAX, rel.number - 1, &number);
	if (!e && number)
		e = db_release_get(tools_db(r->tools), r->site->name, number, &from, r->arena);
	plan_init(&plan);
	if (!e)
		e = tools_repo(r->tools, r->site, &repo);
	if (!e)
		e = repo_plan(repo, &from.main_commit, &rel.main_commit, &plan);
	if (e) {
		plan_release(&plan);
		return reply_error(r, e, NULL);
	}
	answer_begin(&a);
	json_out_kint(&a.out, "from", (int64_t)from.number);
	json_out_kint(&a.out, "to", (int64_t)rel.number);
	answer_plan(r, &a.out, &plan);
	plan_release(&plan);
	return answer_send(r, &a, 200);
}

static void check_item(void *arg, const char *what, const char *why)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kstr(o, "check", what);
	json_out_kbool(o, "ok", !*why);
	json_out_kstr(o, "why", *why ? why : NULL);
	json_out_end(o, '}');
}

/* What production itself found, where the release is live: a check like the others. */
static void check_live(struct req *r, struct json_out *o, const struct db_release *rel, const struct target_now *t)
{
	const char *why = "";

	if (!t->has_report || t->number != rel->number || t->report_number != rel->number)
		return;
	if (t->rolled_back)
		why = "somebody made the release before it live by hand";
	else if (!t->report_good)
		why = t->report_bad ? arena_printf(r->arena, "%llu live files are not what was signed", (unsigned long long)t->report_bad) : "live files are not what was signed";
	check_item(o, arena_printf(r->arena, "live on %s", t->conf->name), why);
}

/* With the receiver's own signed words, for ssh-keygen -Y verify -n drydock-receipt. */
static void live_item(struct req *r, struct json_out *o, const struct target_now *t)
{
	json_out_begin(o, '{');
	json_out_kstr(o, "name", t->conf->name);
	json_out_kint(o, "release", (int64_t)t->number);
	json_out_kstr(o, "state", t->state);
	json_out_kbool(o, "receiver", *t->conf->receiver_key);
	answer_report(r, o, t);
	if (t->has_report && targets_see_all(r)) {
		json_out_kstr(o, "signed_report", t->report_body);
		json_out_kstr(o, "report_signature", t->report_signature);
	}
	json_out_end(o, '}');
}

/* GET /api/v1/sites/:site/releases/:number/verify */
enum err api_release_verify(struct req *r)
{
	struct target_now *list;
	struct db_release rel;
	struct answer a;
	size_t n = 0;
	enum err e = load(r, &rel);

	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	json_out_kint(&a.out, "number", (int64_t)rel.number);
	json_out_name(&a.out, "items");
	json_out_begin(&a.out, '[');
	e = release_verify(r->site, r->tools, rel.number, check_item, &a.out);
	if (!e)
		e = targets_now(r, &list, &n);
	for (size_t i = 0; i < n && !e; i++)
		check_live(r, &a.out, &rel, &list[i]);
	json_out_end(&a.out, ']');
	json_out_name(&a.out, "targets");
	json_out_begin(&a.out, '[');
	for (size_t i = 0; i < n && !e; i++)
		live_item(r, &a.out, &list[i]);
	json_out_end(&a.out, ']');
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}

/* --- where a public file comes from ------------------------------------------------------------------------------------- */

static enum err reach_item(struct req *r, struct json_out *o, const struct reach *x, const struct target_now *t, int64_t next)
{
	const struct target_difference *differs = target_differs(t, x->path);
	const bool revoked = blob_id_zero(&x->version.blob);
	struct reach_target at;
	enum err e = reach_at(r, x, t, next, &at);

	json_out_begin(o, '{');
	json_out_kstr(o, "name", t->conf->name);
	json_out_kint(o, "release", (int64_t)t->number);
	json_out_kstr(o, "state", at.state);
	answer_time(o, "waits_until", at.waits_until);
	json_out_kbool(o, "has_it", at.has_it && !revoked);
	json_out_kbool(o, "gone", at.has_it && revoked);
	json_out_kint(o, "since", (int64_t)at.since);
	json_out_kbool(o, "confirmed", at.confirmed_at != 0);
	answer_time(o, "confirmed_at", at.confirmed_at);
	json_out_kstr(o, "differs", differs ? differs->what : NULL);
	answer_time(o, "differs_since", differs ? t->report_since : 0);
	json_out_end(o, '}');
	return e;
}

enum err answer_reach(struct req *r, struct json_out *out, const struct reach *x)
{
	struct sync_status st = { .next.due = WINDOW_NEVER };
	struct target_now *list;
	size_t n;
	enum err e = targets_now(r, &list, &n);

	if (r->sync)
		sync_status(r->sync, &st);
	json_out_name(out, "targets");
	json_out_begin(out, '[');
	for (size_t i = 0; i < n && !e; i++)
		e = reach_item(r, out, x, &list[i], st.next.due == WINDOW_NEVER ? 0 : st.next.due);
	json_out_end(out, ']');
	return e;
}

/* The page behind "/docs/" is a file of that directory. */
static enum err find_file(struct req *r, const struct db_release *rel, struct path *path, struct manifest_line *line)
{
	enum err e = req_role_on(r, *path) >= ROLE_VIEW ? site_whence(r->site, r->tools, rel, *path, line, r->arena) : ERR_NOT_FOUND;

	if (e != ERR_NOT_FOUND || path->len + sizeof "/index.html" > PATH_LIMIT)
		return e;
	*path = path_join(*path, "index.html", r->arena);
	e = req_role_on(r, *path) >= ROLE_VIEW ? site_whence(r->site, r->tools, rel, *path, line, r->arena) : ERR_NOT_FOUND;
	return e == ERR_NOT_FOUND ? err_set(e, "The newest release has no such file.") : e;
}

/* GET /api/v1/sites/:site/whence?path= : the newest release's file, who signed it, and which targets have it */
enum err api_whence(struct req *r)
{
	struct path path = r->path;
	struct manifest_line line;
	struct approved_version version;
	struct db_release rel;
	struct reach reach;
	struct answer a;
	enum err e = db_release_get(tools_db(r->tools), r->site->name, 0, &rel, r->arena);

	if (!e)
		e = find_file(r, &rel, &path, &line);
	if (!e)
		e = site_release_version(r->site, r->tools, &rel, path, &version);
	if (!e)
		e = reach_find(r, path, &version, line.seq, &reach);
	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	json_out_kstr(&a.out, "path", path.s);
	json_out_kint(&a.out, "release", (int64_t)rel.number);
	answer_hash(&a.out, "sha256", &line.sha256);
	json_out_kint(&a.out, "size", (int64_t)line.size);
	json_out_kstr(&a.out, "user", line.signer);
	answer_time(&a.out, "at", line.at);
	json_out_kint(&a.out, "seq", (int64_t)line.seq);
	e = answer_reach(r, &a.out, &reach);
	json_out_kint(&a.out, "since", (int64_t)reach.first.number);
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}
