/*
 * events: what a page that stays open is told, as server-sent events. static/drydock.js listens.
 *
 *   changed            something that this viewer can see is different: load the page again
 *   output             {"target", "from", "text"}: output of a running kit; from 0: it begins anew
 *   end                the run is over
 */
#include <string.h>

#include "web/pages/pages.h"

#define OUTPUT_AT_ONCE (64 * 1024)

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

static enum err site_events(struct req *r, void *state, struct buf *out, bool *end)
{
	struct seen *seen = state, now;

	(void)end;
	look(r, &now);
	if (memcmp(&now, seen, sizeof(now)) != 0) {
		memcpy(seen, &now, sizeof(now));
		buf_str(out, "event: changed\ndata: {}\n\n");
	}
	return ERR_OK;
}

/* GET /s/:site/events?run=&running= : what the page shows of the run, so that what came before the stream is not missed */
enum err page_site_events(struct req *r)
{
	struct seen *seen = arena_alloc(r->arena, sizeof(*seen));
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
	return reply_stream(r, site_events, seen);
}

struct run_state {
	uint64_t run;
	size_t *at; /* of each target: bytes sent */
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
	return reply_stream(r, run_events, s);
}
