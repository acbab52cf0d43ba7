/* Holds: stop the syncs of a site or of a path. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

static void print_hold(const json_t *item)
{
	char until[64];

	print_text(text_of(item, "path"));
	printf("  until %s  by ", print_time(text_of(item, "until"), until));
	print_text(text_of(item, "user"));
	fputs("  ", stdout);
	print_text(text_of(item, "reason"));
	putchar('\n');
}

enum ctl_exit ctl_hold(struct ctl *c, const char *path)
{
	json_t *body;

	if (!c->o->note || !*c->o->note || !c->o->until) {
		fprintf(stderr, "drydock: say until when (--until 2h, or a date), and why (-m).\n");
		return EXIT_USAGE;
	}
	body = json_pack("{s:s, s:s, s:s}", "path", path, "until", c->o->until, "reason", c->o->note);
	return ctl_act(c, ctl_site(c, "/holds"), body, "Held");
}

enum ctl_exit ctl_lift(struct ctl *c, const char *path)
{
	return ctl_act(c, ctl_site(c, "/holds"), json_pack("{s:s, s:b}", "path", path, "remove", 1), "Let go: what was held leaves with the next sync");
}

enum ctl_exit cmd_hold(struct ctl *c)
{
	const struct options *o = c->o;

	if (ctl_is(c, 0, "list") && o->n_args == 1)
		return ctl_list(c, ctl_site(c, "/holds"), print_hold, "Nothing is held.");
	if (ctl_is(c, 0, "add") && o->n_args == 2)
		return ctl_hold(c, ctl_path(c, o->args[1]));
	if (ctl_is(c, 0, "lift") && o->n_args == 2)
		return ctl_lift(c, ctl_path(c, o->args[1]));
	return ctl_usage("hold list | add PATH --until T -m REASON | lift PATH");
}
