/*
 * events: what a page that stays open is told, as server-sent events. static/drydock.js listens.
 *
 *   changed            something that this viewer can see is different: load the page again
 *   output             {"target", "from", "text"}: output of a running kit; from 0: it begins anew
 *   progress           {"target", "count", "done", "total"}: how far a running kit is; done -1: of nobody knows how many
 *   end                the run is over
 */
#include <string.h>

#include "view/show.h"
#include "web/pages/pages.h"
#include "web/targets.h"

#define OUTPUT_AT_ONCE (64 * 1024)

const char *page_far(struct req *r, const struct sync_progress *far)
{
	const char *done = number_text(r->arena, (uint64_t)far->done);

	return far->total ? arena_printf(r->arena, "%s of %s", done, number_text(r->arena, (uint64_t)far->total)) : arena_printf(r->arena, "%s done", done);
}

/* One for each target; done -1: nothing was told. */
static struct sync_progress *far_new(struct req *r)
{
	const size_t n = r->site->conf->n_targets;
	struct sync_progress *list = arena_alloc(r->arena, (n + 1) * sizeof(*list));

	for (size_t i = 0; i < n; i++)
		list[i].done = -1;
	return list;
}

/* How far the kits are, where that is not what was told last. */
static void tell_progress(struct req *r, uint64_t run, struct sync_progress *told, struct buf *out)
{
	struct json_out o = { .b = out };
	struct sync_progress now;

	for (size_t i = 0; i < r->site->conf->n_targets; i++) {
		const char *target = r->site->conf->targets[i].name;

		if (!targets_progress(r, run, target, &now) || (now.done == told[i].done && now.total == told[i].total))
			continue;
		told[i] = now;
		buf_str(out, "event: progress\ndata: ");
		json_out_begin(&o, '{');
		json_out_kstr(&o, "target", target);
		json_out_kstr(&o, "count", page_far(r, &now));
		json_out_kint(&o, "done", now.total ? now.done : -1);
		json_out_kint(&o, "total", now.total);
		json_out_end(&o, '}');
		buf_str(out, "\n\n");
	}
}

/* What counts as different. Only what he may see goes in: events must not tell more than listings do. */
struct seen {
	struct catalog_counts counts;
	uint64_t run, release;
	int64_t due;
	bool running;
};

static void look(struct req *r, struct seen *s)
{
	const struct catalog_view view = req_view(r);
	struct sync_status status = { 0 };

	memset(s, 0, sizeof(*s));
	if (catalog_count(r->site->catalog, path_root(), &view, &s->counts))
		memset(&s->counts, 0, sizeof(s->counts));
	if (!r->sync)
		return;
	sync_status(r->sync, &status);
	s->run = status.run;
	s->release = status.release;
	s->due = status.next.due / 1000000;
	s->running = status.running;
}

struct site_state {
	struct seen seen;
	struct sync_progress *far; /* of each target, as it was told last */
};

static enum err site_events(struct req *r, void *state, struct buf *out, bool *end)
{
	struct site_state *s = state;
	struct seen now;

	(void)end;
	look(r, &now);
	if (memcmp(&now, &s->seen, sizeof(now)) != 0) {
		memcpy(&s->seen, &now, sizeof(now));
		buf_str(out, "event: changed\ndata: {}\n\n");
	}
	if (now.running)
		tell_progress(r, now.run, s->far, out);
	return ERR_OK;
}

/* GET /s/:site/events?run=&running= : what the page shows of the run, so that what came before the stream is not missed */
enum err page_site_events(struct req *r)
{
	struct site_state *s = arena_alloc(r->arena, sizeof(*s));
	struct seen *seen = &s->seen;
	uint64_t run, running;
	enum err e = req_number(r, "running", 0, 1, 0, &running);

	if (!r->site->catalog)
		return err_set(ERR_NOT_FOUND, "There is nothing at this address.");
	look(r, seen);
	if (!e)
		e = req_number(r, "run", 0, INT64_MAX, seen->run, &run);
	if (e)
		return e;
	if (req_query(r, "run")) {
		seen->run = run;
		seen->running = running;
	}
	s->far = far_new(r);
	return reply_stream(r, site_events, s);
}

struct run_state {
	uint64_t run;
	size_t *at; /* of each target: bytes sent */
	struct sync_progress *far; /* of each target, as it was told last */
	bool admin;
};

static enum err run_output(struct req *r, struct run_state *s, size_t i, struct buf *out)
{
	const char *target = r->site->conf->targets[i].name;
	struct buf text = BUF_INIT(OUTPUT_AT_ONCE);
	struct json_out o = { .b = out };
	bool end;
	enum err e = sync_output(r->sync, tools_db(r->tools), s->run, target, s->at[i], &text, &end);

	/* Not sent there yet, or more than fits: the rest comes with the next look. */
	if (e == ERR_NOT_FOUND || e == ERR_TOO_BIG)
		e = ERR_OK;
	if (!e && text.len) {
		buf_str(out, "event: output\ndata: ");
		json_out_begin(&o, '{');
		json_out_kstr(&o, "target", target);
		json_out_kint(&o, "from", (int64_t)s->at[i]);
		json_out_name(&o, "text");
		json_out_strn(&o, text.p, text.len);
		json_out_end(&o, '}');
		buf_str(out, "\n\n");
		s->at[i] += text.len;
	}
	buf_release(&text);
	return e;
}

static enum err run_events(struct req *r, void *state, struct buf *out, bool *end)
{
	struct run_state *s = state;
	struct sync_status status;
	enum err e = ERR_OK;

	/* First whether it is over, then what it said: so that the last words are not missed. */
	sync_status(r->sync, &status);
	const bool over = !status.running || status.run != s->run;
	for (size_t i = 0; !e && s->admin && i < r->site->conf->n_targets; i++)
		e = run_output(r, s, i, out);
	if (!e && !over)
		tell_progress(r, s->run, s->far, out);
	if (!e && over) {
		buf_str(out, "event: end\ndata: {}\n\n");
		*end = true;
	}
	return e;
}

/* GET /s/:site/sync/:run/events */
enum err page_run_events(struct req *r)
{
	struct run_state *s = arena_alloc(r->arena, sizeof(*s));
	enum err e = req_segment_number(r, "run", &s->run);

	if (e)
		return e;
	if (!r->sync)
		return err_set(ERR_NOT_FOUND, "There is nothing at this address.");
	s->admin = req_role_on(r, path_root()) == ROLE_ADMIN;
	s->at = arena_alloc(r->arena, (r->site->conf->n_targets + 1) * sizeof(*s->at));
	s->far = far_new(r);
	return reply_stream(r, run_events, s);
}
