#include "web/holds.h"

#include "base/clock.h"
#include "conf/conf.h"

enum err hold_until(const char *text, int64_t *until)
{
	int64_t us;

	*until = 0;
	if (text && *text && conf_duration(&us, text) == ERR_OK)
		*until = clock_wall() + us;
	else if (!text || !*text || clock_parse_loose(until, text))
		return err_set(ERR_INPUT, "When does the hold end? A time from now such as 2h or 3d, or a date such as 2027-01-31.");
	return ERR_OK;
}

enum err holds_seen(struct req *r, struct db_hold **list, size_t *n)
{
	const int64_t now = clock_wall();
	size_t all, kept = 0;
	enum err e = db_hold_list(tools_db(r->tools), r->site->name, list, &all, r->arena);

	for (size_t i = 0; i < all && !e; i++)
		if ((*list)[i].until > now && req_role_on(r, (*list)[i].path) >= ROLE_VIEW)
			(*list)[kept++] = (*list)[i];
	*n = kept;
	return e;
}
