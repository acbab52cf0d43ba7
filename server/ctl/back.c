/* Going back: `release rollback` and `reapprove`. What would change is shown first, and its digest goes along. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"

void ctl_print_change(const json_t *item)
{
	printf("%-7s ", text_of(item, "change"));
	print_text(text_of(item, "path"));
	if (*text_of(item, "user")) {
		fputs("  ", stdout);
		print_text(text_of(item, "user"));
	}
	putchar('\n');
}

void ctl_print_plan(const json_t *plan, const char *empty)
{
	const json_t *items = json_object_get(plan, "items"), *item;
	size_t i;

	if (json_array_size(items) == 0)
		puts(empty);
	json_array_foreach(items, i, item)
		ctl_print_change(item);
}

void ctl_print_now(struct ctl *c, const char *digest_text)
{
	json_t *root = NULL;
	const json_t *now;

	if (c->o->json || !c->answer.len || json_parse(&root, c->answer.p, c->answer.len))
		return;
	now = json_object_get(root, "now");
	if (now) {
		puts("Now it is:");
		ctl_print_plan(now, "Nothing that you may see.");
		if (*text_of(now, "digest"))
			printf(digest_text, text_of(now, "digest"));
	}
	json_decref(root);
}

#define NOTHING "Nothing that you may see differs."
#define TO_DO "To do exactly this: the same command with -m REASON --plan %s\n"

/* Show what would change, and go on if that is wanted: -m says so, a terminal is asked. *digest: of what was shown. */
static enum ctl_exit show(struct ctl *c, const char *target, bool go_on, const char **digest, bool *done)
{
	json_t *root = NULL;
	enum ctl_exit rc = ctl_get(c, target, &root);

	*done = true;
	if (rc)
		return rc;
	*digest = arena_dup(c->arena, text_of(root, "digest"));
	if (c->o->json && !go_on) {
		ctl_print_answer(c);
	} else {
		if (!c->o->json)
			ctl_print_plan(root, NOTHING);
		if (!go_on)
			printf(TO_DO, *digest);
		else if (isatty(STDIN_FILENO) && !ask_yes("Do this?"))
			rc = EXIT_REFUSED;
		else
			*done = false;
	}
	json_decref(root);
	return rc;
}

static enum ctl_exit go_back(struct ctl *c, const char *preview, const char *target, json_t *body, bool go_on, const char *done_text)
{
	const char *digest = c->o->plan;
	bool done = false;
	enum ctl_exit rc = EXIT_DONE;

	if (!digest)
		rc = show(c, preview, go_on, &digest, &done);
	if (rc || done) {
		json_decref(body);
		return rc;
	}
	json_object_set_new(body, "shown", json_string(digest));
	rc = ctl_act(c, target, body, done_text);
	if (rc == EXIT_CONFLICT)
		ctl_print_now(c, TO_DO);
	return rc;
}

enum ctl_exit ctl_rollback(struct ctl *c, const char *number)
{
	const char *target = ctl_site(c, arena_printf(c->arena, "/releases/%s/rollback", number));
	const bool reason = c->o->note && *c->o->note;

	if (c->o->plan && !reason) {
		fprintf(stderr, "drydock: say why with -m: the reason is recorded.\n");
		return EXIT_USAGE;
	}
	return go_back(c, target, target, json_pack("{s:s}", "reason", reason ? c->o->note : ""), reason,
	    "Rolled back, and a sync is asked for; `drydock sync status` tells how it goes");
}

enum ctl_exit cmd_reapprove(struct ctl *c)
{
	char *typed = arena_dup(c->arena, c->o->args[0]), *at = c->o->release ? NULL : strrchr(typed, '@');
	const char *target = ctl_site(c, "/reapprove"), *path, *preview, *number = c->o->release ? c->o->release : at ? at + 1 : "";
	const char *which = c->o->release ? "release" : "record";
	long long n;
	json_t *body;

	if (!*number || strspn(number, "0123456789") != strlen(number) || strlen(number) > 18)
		return ctl_usage("reapprove PATH@RECORD | --release N PATH [-m NOTE] [--plan DIGEST]");
	if (at)
		*at = '\0';
	path = ctl_path(c, typed);
	sscanf(number, "%lld", &n);
	preview = ctl_query(c, ctl_query(c, target, "path", path), which, number);
	body = json_pack("{s:s, s:I}", "path", path, which, (json_int_t)n);
	if (c->o->password_file) {
		const char *password = ctl_password(c, false);

		if (!password) {
			json_decref(body);
			return EXIT_USAGE;
		}
		json_object_set_new(body, "password", json_string(password));
	}
	return go_back(c, preview, target, body, true, "Approved again");
}
