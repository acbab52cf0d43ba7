/* Who is told when a target fails. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

/* "a *": the star is the sync itself. */
static void print_targets(const json_t *item, const char *name, const char *words)
{
	const char *told = text_of(item, name), *between = "";

	if (*told)
		printf("  %s: ", words);
	for (size_t n; *told; told += n + (told[n] == ' '), between = ", ") {
		char target[128];

		n = strcspn(told, " ");
		snprintf(target, sizeof(target), "%.*s", (int)n, told);
		fputs(between, stdout);
		print_text(strcmp(target, "*") ? target : "the sync itself");
	}
}

static void print_channel(const json_t *item)
{
	char at[64];

	print_text(text_of(item, "channel"));
	if (*text_of(item, "told_at"))
		printf("  last told %s", print_time(text_of(item, "told_at"), at));
	print_targets(item, "failing", "failing");
	print_targets(item, "differing", "something else is live on");
	if (*text_of(item, "error")) {
		fputs("  COULD NOT BE TOLD: ", stdout);
		print_text(text_of(item, "error"));
	}
	putchar('\n');
}

static void print_test(const json_t *item)
{
	const bool ok = json_is_true(json_object_get(item, "ok"));

	printf("%-7s ", ok ? "taken" : "FAILED");
	print_text(text_of(item, "channel"));
	if (!ok) {
		fputs(": ", stdout);
		print_text(text_of(item, "error"));
	}
	putchar('\n');
}

/* A channel that did not take it is a failure of the command. */
static enum ctl_exit notice_test(struct ctl *c)
{
	json_t *root = NULL, *item;
	enum ctl_exit rc = ctl_post(c, ctl_site(c, "/notices/test"), json_object(), &root);
	size_t i;

	if (!rc && c->o->json)
		ctl_print_answer(c);
	json_array_foreach(json_object_get(root, "items"), i, item) {
		if (!c->o->json)
			print_test(item);
		if (!rc && !json_is_true(json_object_get(item, "ok")))
			rc = EXIT_BROKEN;
	}
	if (!rc && !c->o->json && !json_array_size(json_object_get(root, "items")))
		puts("Nobody is told: the site has neither mail_to nor webhook in the configuration file.");
	json_decref(root);
	return rc;
}

enum ctl_exit cmd_notice(struct ctl *c)
{
	if (ctl_is(c, 0, "list") && c->o->n_args == 1)
		return ctl_list(c, ctl_site(c, "/notices"), print_channel, "Nobody is told: the site has neither mail_to nor webhook in the configuration file.");
	if (ctl_is(c, 0, "test") && c->o->n_args == 1)
		return notice_test(c);
	return ctl_usage("notice list | test");
}
