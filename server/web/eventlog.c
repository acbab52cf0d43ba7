#include "web/eventlog.h"

#include <string.h>

#define PIECE 1000u /* rows that are looked at in one statement */

struct listing {
	struct req *r;
	unsigned limit, told, looked;
	uint64_t last; /* looked at */
	bool more;
	void (*fn)(void *arg, const struct db_event *e);
	void *arg;
};

/* What he may know of it, in *e; false: nothing. */
static bool visible(struct req *r, struct db_event *e)
{
	const struct web_site *s = *e->site ? web_site(r->web, e->site) : NULL;
	const struct identity *who = &r->person->who;

	if (!*e->site)
		return true;
	if (!s || !req_site_open(r, s->site))
		return false;
	struct rules *rules = site_rules(s->site);
	bool ok = role_on(rules, who, path_root()) == ROLE_ADMIN;
	if (ok && !role_uniform_below(rules, who, path_root())) {
		struct path path = { e->path, strlen(e->path) };

		ok = path.len && role_on(rules, who, path) >= ROLE_VIEW;
		e->detail = "";
	}
	rules_unref(rules);
	return ok;
}

static bool look(void *arg, const struct db_event *row)
{
	struct listing *l = arg;
	struct db_event e = *row;

	if (l->told == l->limit) {
		l->more = true;
		return false;
	}
	l->looked++;
	l->last = e.id;
	if (visible(l->r, &e)) {
		l->told++;
		l->fn(l->arg, &e);
	}
	return true;
}

enum err eventlog_list(struct req *r, uint64_t before, unsigned limit, void (*fn)(void *arg, const struct db_event *e), void *arg,
    uint64_t *next)
{
	struct listing l = { .r = r, .limit = limit, .last = before, .fn = fn, .arg = arg };
	enum err e;

	do {
		l.looked = 0;
		e = db_event_list(tools_db(r->tools), l.last, PIECE, look, &l);
	} while (!e && !l.more && l.looked == PIECE);
	*next = l.more ? l.last : 0;
	return e;
}
