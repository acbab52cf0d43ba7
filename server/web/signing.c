#include "web/signing.h"

#include <string.h>

#include "base/weaken.h"

/* Why his password cannot be asked for at all; NULL: it can. */
static const char *no_password(const struct req *r)
{
	if (r->by_token && !WEAK(sign_token))
		return "This site asks for a password with each signature, and a token has none: sign yourself.";
	if (strcmp(r->person->who.provider, "proxy") == 0)
		return "This site asks for a password with each signature, and DryDock cannot check that of people who come through the proxy. "
		       "Sign with an account of DryDock's own or of the machine.";
	return NULL;
}

enum err sign_password(struct req *r, const char *act, const char *password)
{
	const char *why;
	enum err e;

	if (strcmp(act, "sign") != 0 || !r->site->conf->sign_password || WEAK(sign_password))
		return ERR_OK;
	why = no_password(r);
	if (why)
		return err_set(ERR_DENIED, "%s", why);
	if (!password || !*password)
		return err_set(ERR_DENIED, "This site asks for your password again before it takes a signature. Nothing was recorded.");
	if (!req_patient(r))
		return ERR_RETRY;
	e = WEAK(sign_right) ? ERR_OK : auth_password_again(web_auth(r->web), tools_db(r->tools), r->person, password, r->address);
	req_wipe(r, password);
	return e;
}

void sign_model(struct req *r, struct view_map *m, const char *chosen)
{
	const struct conf_site *conf = r->site->conf;
	struct view_list *list = view_set_list(m, VIEW_meanings);
	const char *why = conf->sign_password ? no_password(r) : NULL;

	for (size_t i = 0; i < conf->n_meanings; i++) {
		struct view_map *o = view_list_add(list);

		view_set(o, VIEW_value, conf->meanings[i]);
		view_set_bool(o, VIEW_here, conf->n_meanings == 1 || (chosen && strcmp(chosen, conf->meanings[i]) == 0));
	}
	view_set_bool(m, VIEW_ask_meaning, conf->n_meanings > 0);
	view_set_bool(m, VIEW_ask_password, conf->sign_password && !why);
	view_set(m, VIEW_cannot_sign, why);
}
