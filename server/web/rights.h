/*
 * rights: what pages and API tell alike about rules: what a change would do to whom, which rules do nothing, and what
 * signing files would need beside the role. Nothing that the person may not see is told.
 */
#ifndef DRYDOCK_WEB_RIGHTS_H
#define DRYDOCK_WEB_RIGHTS_H

#include "web/web.h"

struct rule_wish {
	const char *principal;
	struct path path;
	int role; /* < 0: remove */
};
struct rule_effect {
	const char *user;
	bool enabled; /* he can log in */
	struct path path; /* there and below, until another one of his */
	enum role before, after;
};
/*
 * Everybody whose role becomes another one, at the path or below it; members of groups one by one. fn for at most limit
 * of them after the first `from`; *more: there are others. *refused: why the change cannot be saved, in the request's
 * arena; NULL: it can.
 */
enum err rights_preview(struct req *r, const struct rule_wish *w, uint64_t from, uint64_t limit,
    void (*fn)(void *arg, const struct rule_effect *e), void *arg, bool *more, const char **refused) MUST_CHECK;

/* Rules that do nothing, on paths of which he is admin: from an index of the rule set on; *next: where to go on, 0: the end. */
enum err rights_lint(struct req *r, uint64_t from, uint64_t limit,
    void (*fn)(void *arg, const struct rule *rule, enum rule_doubt doubt, const struct rule *above), void *arg, uint64_t *next) MUST_CHECK;

/* Signing these files, one for each item of the selection. open: how many lack something; any: something is asked for. */
struct needs {
	struct sign_need *list;
	size_t n, open;
	bool any;
};
enum err rights_needs(struct req *r, const struct selection *s, struct needs *out) MUST_CHECK;
enum err rights_needs_one(struct req *r, struct path path, const struct fingerprint *print, struct sign_need *out) MUST_CHECK;

#endif
