/* Logins and refusals, for admins. */
#include <stdio.h>

#include "ctl/ctl.h"

static void print_part(const char *before, const char *text)
{
	if (!*text)
		return;
	fputs(before, stdout);
	print_text(text);
}

static void print_event(const json_t *item)
{
	char at[64];

	printf("%s  %s", print_time(text_of(item, "at"), at), text_of(item, "kind"));
	print_part("  ", text_of(item, "user"));
	print_part("  from ", text_of(item, "address"));
	print_part("  ", text_of(item, "site"));
	print_part(" ", text_of(item, "path"));
	print_part("  ", text_of(item, "why"));
	putchar('\n');
}

enum ctl_exit cmd_event(struct ctl *c)
{
	if (ctl_is(c, 0, "list"))
		return ctl_list(c, ctl_query(c, "/events", "limit", c->o->limit), print_event, "No login failed, and nothing was refused.");
	return ctl_usage("event list [--limit N]");
}
