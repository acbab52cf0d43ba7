#include "web/tokens.h"

#include <string.h>

#include "base/clock.h"

struct looking {
	struct req *r;
	bool (*fn)(void *arg, const struct db_token *t);
	void *arg;
};

static bool admin_of(struct req *r, const char *site)
{
	const struct web_site *sites;
	const size_t n = web_sites(r->web, &sites);
	bool admin = false;

	for (size_t i = 0; i < n && !admin; i++) {
		if (*site && strcmp(site, sites[i].site->name) != 0)
			continue;
		struct rules *rules = site_rules(sites[i].site);
		admin = role_on(rules, &r->person->who, path_root()) == ROLE_ADMIN;
		rules_unref(rules);
	}
	return admin;
}

static bool look(void *arg, const struct db_token *t)
{
	struct looking *l = arg;

	if (strcmp(t->principal, l->r->person->who.user) == 0 || !admin_of(l->r, t->site))
		return true;
	return l->fn(l->arg, t);
}

enum err tokens_each(struct req *r, bool others, bool (*fn)(void *arg, const struct db_token *t), void *arg)
{
	struct looking l = { r, fn, arg };

	if (!others)
		return db_token_list(tools_db(r->tools), r->person->who.user, fn, arg);
	return admin_of(r, "") ? db_token_list(tools_db(r->tools), NULL, look, &l) : ERR_OK;
}

enum err token_wish(struct req *r, const char *label, const char *role, const char *site, const char *expires, struct token_wish *out)
{
	int64_t us;

	*out = (struct token_wish){ .label = label ? label : "", .role = ROLE_VIEW, .site = site ? site : "", .path = r->path,
		.expires = expires && *expires ? expires : TOKEN_EXPIRES };
	if (role && *role && !role_parse(&out->role, role))
		return err_set(ERR_INPUT, "The role of a token is view, review, sign or admin.");
	if (conf_duration(&us, out->expires) == ERR_OK)
		out->expires_at = clock_wall() + us;
	else if (clock_parse_loose(&out->expires_at, out->expires))
		return err_set(ERR_INPUT, "When does the token end? A time from now such as 90d or 12h, or a date such as 2027-01-31.");
	return ERR_OK;
}
