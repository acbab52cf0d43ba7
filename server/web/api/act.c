/* Sign, review, revoke: one file, a list, or a directory with everything below it. */
#include <string.h>

#include "web/api/api.h"
#include "web/jobs.h"
#include "web/signing.h"

static enum err expected_one(struct req *r, const json_t *v, struct expected_file *out)
{
	bool bad = false;
	const char *path = json_get_str(v, "path", &bad), *sha = json_get_str(v, "sha256", &bad);
	const bool exec = json_get_bool(v, "exec", false, &bad);
	enum err e;

	if (bad || !path || !sha || !hex_parse(out->sha256.b, sizeof out->sha256.b, sha))
		return err_set(ERR_INPUT, "Each of \"files\" needs a \"path\" and a \"sha256\" of 64 lower-case hex digits.");
	out->exec = json_object_get(v, "exec") ? exec : -1;
	e = path_parse(&out->path, path, strlen(path), r->arena);
	return e ? e : api_visible(r, out->path);
}

static enum err expected_list(struct req *r, const json_t *list, struct file_act *fa)
{
	struct expected_file *files;

	fa->n_expected = json_array_size(list);
	if (fa->n_expected == 0)
		return err_set(ERR_INPUT, "\"files\" is empty.");
	if (fa->n_expected > RECORD_FILES_LIMIT)
		return err_set(ERR_TOO_BIG, "At most %d files in one act.", RECORD_FILES_LIMIT);
	files = arena_alloc(r->arena, fa->n_expected * sizeof *files);
	for (size_t i = 0; i < fa->n_expected; i++) {
		enum err e = expected_one(r, json_array_get(list, i), &files[i]);

		if (e)
			return e;
	}
	fa->expected = files;
	return ERR_OK;
}

/* What the person was shown: exactly one of "files", "selection", "as_staged". */
static enum err shown_parse(struct req *r, struct file_act *fa)
{
	bool bad = false;
	const json_t *files = json_get_list(r->body, "files", &bad);
	const char *selection;
	struct sha256 *digest = arena_alloc(r->arena, sizeof *digest);
	enum err e;

	if (bad)
		return err_set(ERR_INPUT, "\"files\" must be a list.");
	e = api_text(r, "selection", false, &selection);
	if (!e)
		e = api_bool(r, "as_staged", false, &fa->as_staged);
	if (e)
		return e;
	if ((files != NULL) + (selection != NULL) + fa->as_staged != 1)
		return err_set(ERR_INPUT, "Say what was shown by exactly one of: \"files\" (a list of path and sha256), \"selection\" "
		    "(the digest that status or selection gave), or \"as_staged\": true.");
	if (files)
		return expected_list(r, files, fa);
	if (selection) {
		if (!hex_parse(digest->b, sizeof digest->b, selection))
			return err_set(ERR_INPUT, "\"selection\" is a digest of 64 lower-case hex digits.");
		fa->selection = digest;
	}
	e = api_bool(r, "recursive", false, &fa->recursive);
	if (!e) {
		struct path *paths;

		e = api_paths(r, &paths, &fa->n_paths);
		fa->paths = paths;
	}
	return e;
}

/* What was filled in, and the digest of what was shown as asked for. */
static enum err fields_parse_body(struct req *r, struct file_act *fa)
{
	bool bad = false;
	const char *asked;
	struct sha256 *digest = arena_alloc(r->arena, sizeof *digest);
	enum err e = api_text(r, "asked", false, &asked);

	fa->fields = json_get_obj(r->body, "fields", &bad);
	if (!e && bad)
		e = err_set(ERR_INPUT, "\"fields\" must be an object: a value for each name.");
	if (!e && asked && !hex_parse(digest->b, sizeof digest->b, asked))
		e = err_set(ERR_INPUT, "\"asked\" is a digest of 64 lower-case hex digits, as selection gave it.");
	fa->asked = asked ? digest : NULL;
	return e;
}

/* The difference that a refused act met: the selection as it is now. */
static json_t *conflict_json(const struct selection *s)
{
	struct buf b = BUF_INIT(API_ANSWER_LIMIT);
	struct json_out o = { .b = &b };
	json_t *root = NULL, *extra = json_object();

	json_out_begin(&o, '{');
	answer_selection(&o, s, true);
	json_out_end(&o, '}');
	if (buf_check(&b) == ERR_OK && json_parse(&root, b.p, b.len) == ERR_OK)
		json_object_set_new(extra, "selection", root);
	buf_release(&b);
	return extra;
}

/* What was recorded under an id of his: the same answer as when it was done. */
static enum err recorded(struct req *r, const struct uuid *op)
{
	struct db_act_id id;
	struct db_record_row row;
	struct act_answer done;
	struct answer a;
	enum err e = db_act_id_get(tools_db(r->tools), r->site->name, r->person->who.user, op, &id);

	if (!e)
		e = db_record_get(tools_db(r->tools), r->site->name, id.node, id.seq, &row, r->arena);
	if (e == ERR_NOT_FOUND)
		return err_set(e, "No act of yours with this id is running, and none was recorded.");
	if (e)
		return e;
	done = (struct act_answer){ .seq = id.seq, .op = *op, .at = row.at, .files = row.files_count, .repeated = true };
	answer_begin(&a);
	json_out_kstr(&a.out, "state", "recorded");
	json_out_kstr(&a.out, "act", row.act);
	answer_act(&a.out, &done);
	return answer_send(r, &a, 200);
}

/* GET /api/v1/sites/:site/acts/:id */
enum err api_act_state(struct req *r)
{
	static const char *const states[] = { [JOB_WAITING] = "waiting", [JOB_RUNNING] = "running", [JOB_OVER] = "refused" };
	struct job_now now;
	struct answer a;
	struct uuid op;
	struct job *j;

	if (!uuid_parse(&op, req_segment(r, "id")))
		return err_set(ERR_NOT_FOUND, "There is nothing at this address.");
	j = jobs_find(web_jobs(r->web), r->site, r->person->who.user, &op);
	if (!j)
		return recorded(r, &op);
	job_look(j, &now);
	answer_begin(&a);
	json_out_kstr(&a.out, "state", states[now.state]);
	json_out_kstr(&a.out, "act", job_ask(j)->fa.act);
	json_out_kstr(&a.out, "id", req_segment(r, "id"));
	answer_time(&a.out, "since", now.since);
	json_out_kstr(&a.out, "step", now.state == JOB_RUNNING ? (*now.step ? now.step : "select") : NULL);
	json_out_kint(&a.out, "done", (int64_t)now.done);
	json_out_kint(&a.out, "total", (int64_t)now.total);
	json_out_kstr(&a.out, "detail", now.state == JOB_OVER ? now.why : NULL);
	job_unref(j);
	/* What a browser's act recorded is told like any other. */
	if (now.state == JOB_OVER && !now.err) {
		buf_release(&a.buf);
		return recorded(r, &op);
	}
	return answer_send(r, &a, 200);
}

/* POST /api/v1/sites/:site/sign | review | revoke; the last segment of the address is the act */
enum err api_act(struct req *r)
{
	struct act_request rq;
	struct file_act fa = { .act = strrchr(r->route->address, '/') + 1 };
	struct act_answer done;
	struct selection conflict = { 0 };
	const char *password = NULL;
	enum err e;

	e = api_act_request(r, &rq);
	if (!e)
		e = api_text(r, "meaning", false, &rq.meaning);
	if (!e)
		e = api_text(r, "password", false, &password);
	if (!e)
		e = shown_parse(r, &fa);
	if (!e)
		e = fields_parse_body(r, &fa);
	if (!e)
		e = api_bool(r, "take_down", false, &fa.take_down);
	if (!e)
		e = sign_password(r, fa.act, password);
	if (e == ERR_RETRY)
		return e;
	if (!e) {
		struct job *j = jobs_enter(web_jobs(r->web), &(struct job_ask){ .site = r->site, .rq = rq, .fa = { .act = fa.act },
		    .dir = fa.n_paths == 1 ? fa.paths[0] : path_root() });

		if (j) {
			fa.progress = job_progress;
			fa.progress_arg = j;
		}
		e = act_files(r->site, r->tools, &rq, &fa, &done, &conflict);
		jobs_leave(j);
	}
	if (e) {
		json_t *extra = e == ERR_STALE && conflict.arena ? conflict_json(&conflict) : NULL;

		selection_release(&conflict);
		return reply_error(r, e, extra);
	}
	return answer_act_send(r, ERR_OK, &done, 200);
}
