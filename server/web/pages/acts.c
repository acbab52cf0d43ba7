/*
 * Acts on files from any form, and the page of one that takes long: how far it is, then how it ended.
 *
 * A form's act runs on a thread of web/jobs. If it is over within SOON its answer is the reply; otherwise the browser is
 * sent to a page of its own, which can be left, is listed on Home, and leads on to that answer when it is there.
 */
#include <string.h>

#include "base/clock.h"
#include "view/show.h"
#include "web/asked.h"
#include "web/pages/pages.h"
#include "web/pages/pick.h"
#include "web/signing.h"

#define SOON (700 * CLOCK_SECOND / 1000)
#define LISTED 16

/* What a step is called: act_files says which it is. */
static const struct {
	const char *name, *words;
} STEPS[] = {
	{ "", "looking at the list" },
	{ "read", "reading the files and comparing fingerprints" },
	{ "wait", "waiting for another act on this site to end" },
	{ "record", "recording" },
	{ "export", "recorded; bringing the image of production along" },
};

static const char *step_words(struct req *r, const struct job_now *now)
{
	size_t i = 0;

	if (now->state == JOB_WAITING)
		return "Waiting for its turn: other acts come first";
	while (i + 1 < sizeof STEPS / sizeof *STEPS && strcmp(STEPS[i].name, now->step) != 0)
		i++;
	return arena_printf(r->arena, "Step %zu of %zu: %s", i + 1, sizeof STEPS / sizeof *STEPS, STEPS[i].words);
}

/* "3,200 of 10,000 files", where a step goes file by file; NULL elsewhere. */
static const char *count_words(struct req *r, const struct job_now *now)
{
	if (!now->total || strcmp(now->step, "read") != 0)
		return NULL;
	return arena_printf(r->arena, "%s of %s", number_text(r->arena, now->done), count_text(r->arena, now->total, "file"));
}

/* "Signing 10,000 files in /docs" */
static const char *what_words(struct req *r, const struct job_ask *ask, const struct job_now *now)
{
	static const struct {
		const char *act, *words;
	} doing[] = { { "sign", "Signing" }, { "review", "Reviewing" }, { "revoke", "Revoking" } };
	const char *verb = "Acting on";

	for (size_t i = 0; i < sizeof doing / sizeof *doing; i++)
		if (strcmp(doing[i].act, ask->fa.act) == 0)
			verb = doing[i].words;
	if (ask->single)
		return arena_printf(r->arena, "%s %s", verb, ask->dir.s);
	return arena_printf(r->arena, "%s %s in %s", verb, now->files ? count_text(r->arena, now->files, "file") : "files", ask->dir.s);
}

static const char *job_href(struct req *r, const struct job_ask *ask, const char *tail)
{
	char op[UUID_TEXT];

	uuid_text(&ask->rq.op, op);
	return addr(r, arena_printf(r->arena, "/acts/%s%s", op, tail), NULL, NULL);
}

/* The form once more, with what he had typed but the password. */
static enum err again(struct req *r, const struct job_ask *ask, unsigned status, const char *sentence)
{
	return ask->single ? page_file_moved(r, ask, status, sentence) : page_conflict(r, ask, status, sentence);
}

/* How it ended: where a success leads to, or the page of the conflict or refusal. */
static enum err ended(struct req *r, struct job *j, const struct job_now *now)
{
	const struct job_ask *ask = job_ask(j);

	job_told(j);
	if (!now->err)
		return page_done(r, ask->single ? "/file" : "/tree", &ask->dir, NULL, &now->answer);
	if (now->err == ERR_STALE || now->answer.again)
		return again(r, ask, now->answer.again ? 400 : 409, arena_dup(r->arena, now->why));
	/* whose rights there an error page explains */
	r->path = ask->dir;
	r->has_path = true;
	return reply_error(r, err_set(now->err, "%s", now->why), NULL);
}

/* A single file's form says the fingerprint that was shown. */
static enum err one_file(struct req *r, struct file_act *fa)
{
	struct expected_file *one = arena_alloc(r->arena, sizeof *one);
	const char *exec = req_form(r, "exec"), *path = req_form(r, "path");
	enum err e;

	if (!path || !hex_parse(one->sha256.b, sizeof one->sha256.b, req_form(r, "sha256")))
		return err_set(ERR_INPUT, "The form is not complete: it does not say which version you were shown.");
	one->exec = exec && *exec ? *exec == '1' : -1;
	e = path_parse(&one->path, path, strlen(path), r->arena);
	fa->expected = one;
	fa->n_expected = 1;
	return e;
}

static enum err several(struct req *r, struct job_ask *ask)
{
	struct sha256 *digest = arena_alloc(r->arena, sizeof *digest);
	struct pick *p = arena_alloc(r->arena, sizeof *p);
	enum err e = pick_parse(r, ask->fa.act, p);

	if (e)
		return e;
	if (!req_form(r, "selection") || !hex_parse(digest->b, sizeof digest->b, req_form(r, "selection")))
		return err_set(ERR_INPUT, "The form is not complete: it does not say what you were shown.");
	ask->fa.selection = digest;
	ask->fa.paths = p->paths;
	ask->fa.n_paths = p->n;
	ask->fa.recursive = p->recursive;
	ask->dir = p->dir;
	ask->whole = p->whole;
	ask->state = p->state;
	ask->skipped = p->skipped;
	return ERR_OK;
}

/* POST /s/:site/sign, review, revoke: the last segment of the address is the act */
enum err page_act_files(struct req *r)
{
	struct job_ask ask = { .site = r->site, .fa = { .act = strrchr(r->route->address, '/') + 1 }, .single = req_form(r, "sha256") != NULL };
	struct job *j;
	struct job_now now;
	enum err e;

	e = page_act_request(r, &ask.rq);
	if (!e)
		e = ask.single ? one_file(r, &ask.fa) : several(r, &ask);
	if (!e && ask.single)
		ask.dir = ask.fa.expected->path;
	ask.rq.meaning = req_form(r, "meaning");
	ask.fa.take_down = req_form(r, "take_down") != NULL;
	if (!e)
		e = asked_form(r, &ask.fa.fields, &ask.fa.asked);
	if (!e) {
		e = sign_password(r, ask.fa.act, req_form(r, "password"));
		if (e == ERR_DENIED || e == ERR_BUSY || e == ERR_WAIT) {
			e = again(r, &ask, 409, arena_dup(r->arena, err_text()));
			goto out;
		}
		if (e == ERR_RETRY)
			goto out;
	}
	if (!e)
		e = jobs_begin(web_jobs(r->web), &ask, &j);
	if (e) {
		e = reply_error(r, e, NULL);
		goto out;
	}
	if (job_wait(j, SOON)) {
		job_look(j, &now);
		e = ended(r, j, &now);
	} else {
		e = reply_redirect(r, job_href(r, &ask, ""));
	}
	job_unref(j);
out:
	json_decref(ask.fa.fields);
	return e;
}

static enum err running_page(struct req *r, const struct job_ask *ask, const struct job_now *now)
{
	struct view_map *m = view_map_new(r->arena);
	const char *what = what_words(r, ask, now), *count = count_words(r, now);

	view_set(m, VIEW_what, what);
	view_set(m, VIEW_sentence, step_words(r, now));
	view_set(m, VIEW_count_word, count);
	if (count) {
		view_set_int(m, VIEW_value, (int64_t)now->done);
		view_set_int(m, VIEW_max, (int64_t)now->total);
	}
	show_time(m, VIEW_at, now->since, clock_wall());
	view_set(m, VIEW_note, ask->rq.note);
	view_set(m, VIEW_back_href, ask->single ? page_href(r, ask->dir, false) : page_href(r, ask->dir, true));
	view_set(m, VIEW_live_src, job_href(r, ask, "/events"));
	view_set(m, VIEW_refresh, PAGE_REFRESH);
	return reply_page(r, 200, "act", what, m);
}

static enum err op_asked(struct req *r, struct uuid *op)
{
	return uuid_parse(op, req_segment(r, "op")) ? ERR_OK : err_set(ERR_NOT_FOUND, "There is nothing at this address.");
}

/* The record of that id, if there is one; also after a restart. */
static enum err recorded(struct req *r, const struct uuid *op)
{
	struct db_act_id id;
	enum err e = db_act_id_get(tools_db(r->tools), r->site->name, r->person->who.user, op, &id);

	if (!e)
		return reply_redirect(r, page_record_href(r, id.seq));
	if (e == ERR_NOT_FOUND)
		return err_set(e, "Nothing was recorded under this id, and nothing is running under it. If the server was restarted while the act "
		    "ran, it was not recorded: go back to the files and do it again.");
	return e;
}

/* GET /s/:site/acts/:op */
enum err page_act(struct req *r)
{
	struct uuid op;
	struct job_now now;
	struct job *j;
	enum err e = op_asked(r, &op);

	if (e)
		return e;
	j = jobs_find(web_jobs(r->web), r->site, r->person->who.user, &op);
	if (!j)
		return recorded(r, &op);
	job_look(j, &now);
	e = now.state == JOB_OVER ? ended(r, j, &now) : running_page(r, job_ask(j), &now);
	job_unref(j);
	return e;
}

/* --- events: "progress" {step, count, done, total}, then "end" ------------------------------------------------------- */

struct following {
	struct jobs *jobs;
	const struct site *site;
	const char *actor;
	struct uuid op;
};

static bool follow(const struct following *f, struct job_now *now)
{
	struct job *j = jobs_find(f->jobs, f->site, f->actor, &f->op);

	if (!j)
		return false;
	job_look(j, now);
	job_unref(j);
	return true;
}

static uint64_t following_mark(void *state)
{
	struct job_now now;

	return follow(state, &now) ? now.version : 0;
}

static enum err following_next(struct req *r, void *state, struct buf *out, bool *end)
{
	struct job_now now;
	struct json_out o = { .b = out };

	if (!follow(state, &now) || now.state == JOB_OVER) {
		buf_str(out, "event: end\ndata: {}\n\n");
		*end = true;
		return ERR_OK;
	}
	const char *count = count_words(r, &now);
	buf_str(out, "event: progress\ndata: ");
	json_out_begin(&o, '{');
	json_out_kstr(&o, "step", step_words(r, &now));
	json_out_kstr(&o, "count", count ? count : "");
	json_out_kint(&o, "done", count ? (int64_t)now.done : -1);
	json_out_kint(&o, "total", (int64_t)now.total);
	json_out_end(&o, '}');
	buf_str(out, "\n\n");
	return ERR_OK;
}

/* GET /s/:site/acts/:op/events */
enum err page_act_events(struct req *r)
{
	struct following *f = arena_alloc(r->arena, sizeof *f);
	enum err e = op_asked(r, &f->op);

	if (e)
		return e;
	f->jobs = web_jobs(r->web);
	f->site = r->site;
	f->actor = arena_dup(r->arena, r->person->who.user);
	return reply_stream_marked(r, following_next, following_mark, f);
}

/* --- on other pages -------------------------------------------------------------------------------------------------- */

void page_running(struct req *r, struct view_map *m)
{
	struct job *jobs[LISTED];
	const size_t n = jobs_list(web_jobs(r->web), r->site, r->person->who.user, jobs, LISTED);
	struct view_list *running = view_set_list(m, VIEW_acts), *failed = view_set_list(m, VIEW_failed);

	for (size_t i = 0; i < n; i++) {
		const struct job_ask *ask = job_ask(jobs[i]);
		struct view_map *row;
		struct job_now now;

		job_look(jobs[i], &now);
		row = view_list_add(now.state == JOB_OVER ? failed : running);
		view_set(row, VIEW_href, job_href(r, ask, ""));
		view_set(row, VIEW_what, what_words(r, ask, &now));
		view_set(row, VIEW_sentence, now.state == JOB_OVER ? arena_dup(r->arena, now.why) : step_words(r, &now));
		view_set(row, VIEW_count_word, now.state == JOB_OVER ? NULL : count_words(r, &now));
		show_time(row, VIEW_at, now.since, clock_wall());
		job_unref(jobs[i]);
	}
	view_set_bool(m, VIEW_has_acts, view_list_count(running) > 0);
}
