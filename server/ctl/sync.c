/* Commands about what is sent to production: sync, target. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

void ctl_print_report(const json_t *report)
{
	char at[64];
	json_t *item;
	size_t i;

	if (!json_is_object(report))
		return;
	if (!*text_of(report, "since")) {
		printf("  every live file read at %s: as release %lld has it\n", print_time(text_of(report, "at"), at), number_of(report, "release"));
		return;
	}
	printf("  every live file read at %s: not what was signed in release %lld", print_time(text_of(report, "at"), at), number_of(report, "release"));
	printf(", since %s\n", print_time(text_of(report, "since"), at));
	if (json_is_true(json_object_get(report, "rolled_back")))
		puts("    somebody made the release before it live by hand");
	json_array_foreach(json_object_get(report, "items"), i, item) {
		printf("    %s: ", text_of(item, "what"));
		print_text(text_of(item, "path"));
		if (*text_of(item, "user"))
			printf(" (signed by %s)", text_of(item, "user"));
		putchar('\n');
	}
}

static void print_target(const json_t *item)
{
	char at[64];

	printf("%-16s %-11s release %lld", text_of(item, "name"), text_of(item, "state"), number_of(item, "release"));
	if (json_is_integer(json_object_get(item, "done")))
		printf("  %s", ctl_far(item, at));
	if (*text_of(item, "confirmed_at"))
		printf("  confirmed %s", print_time(text_of(item, "confirmed_at"), at));
	if (*text_of(item, "waits_until"))
		printf("  waits until %s", print_time(text_of(item, "waits_until"), at));
	putchar('\n');
	if (json_is_object(json_object_get(item, "unknown")))
		printf("  holds release %lld, which this server does not know: drydock target catch-up %s\n", number_of(json_object_get(item, "unknown"), "release"),
		    text_of(item, "name"));
	ctl_print_report(json_object_get(item, "report"));
}

static enum ctl_exit sync_status(struct ctl *c)
{
	const char *target = ctl_site(c, "/sync");
	json_t *root = NULL, *item;
	enum ctl_exit rc = c->o->follow ? ctl_follow_sync(c, target, &root) : ctl_get(c, target, &root);
	char at[64];
	size_t i;

	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc) {
		if (json_is_true(json_object_get(root, "running")))
			printf("Running: run %lld.\n", number_of(root, "run"));
		else
			printf("Next: %s (%s).\n", print_time(text_of(root, "next"), at), text_of(root, "because"));
		printf("At the latest: %s.\n", print_time(text_of(root, "at_latest"), at));
		json_array_foreach(json_object_get(root, "servers"), i, item)
			printf("Server %s %s%s%s.\n", text_of(item, "server"), json_is_true(json_object_get(item, "turn")) ? "publishes this site" : "waits for its turn",
			    json_is_true(json_object_get(item, "here")) ? " (this one)" : "", json_is_true(json_object_get(item, "stopped")) ? ", and has stopped" : "");
		if (*text_of(root, "held_until"))
			printf("The site is held until %s: see `drydock hold list`.\n", print_time(text_of(root, "held_until"), at));
		if (*text_of(root, "pending_since"))
			printf("Waiting since %s.\n", print_time(text_of(root, "pending_since"), at));
		else
			puts("Nothing waits for the next release.");
		if (*text_of(root, "unconfirmed_since"))
			printf("Not confirmed live on every target since %s.\n", print_time(text_of(root, "unconfirmed_since"), at));
		if (json_is_true(json_object_get(root, "export_behind")))
			puts("The export directory does not have all of it yet: it is being brought along.");
		printf("Newest release: %lld.\n", number_of(root, "release"));
		json_array_foreach(json_object_get(root, "targets"), i, item)
			print_target(item);
		if (*text_of(root, "trouble"))
			printf("Trouble: %s\n", text_of(root, "trouble"));
	}
	json_decref(root);
	return rc;
}

#define FORCE "To send exactly this: drydock sync force --plan %s -m REASON\n"

static enum ctl_exit sync_plan(struct ctl *c)
{
	const char *target = ctl_site(c, "/sync/plan");
	json_t *root = NULL;
	enum ctl_exit rc = ctl_get(c, target, &root);

	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc) {
		ctl_print_plan(root, "A sync would send nothing.");
		if (number_of(root, "held_back"))
			printf("%lld more changes are held back: see `drydock hold list`.\n", number_of(root, "held_back"));
		if (*text_of(root, "removal") && !json_is_true(json_object_get(root, "removal_confirmed")))
			printf("%lld files would leave production at once: nothing is released until an admin has confirmed that:\n"
			       "  drydock sync confirm %s -m REASON\n", number_of(root, "removed"), text_of(root, "removal"));
		else if (*text_of(root, "digest") && json_array_size(json_object_get(root, "items")))
			printf(FORCE, text_of(root, "digest"));
	}
	json_decref(root);
	return rc;
}

static void print_run(const json_t *item)
{
	char at[64];

	printf("run %lld  %s  %-11s release %lld  %s", number_of(item, "run"), print_time(text_of(item, "started_at"), at), text_of(item, "state"),
	    number_of(item, "release"), text_of(item, "trigger"));
	if (json_object_get(item, "added"))
		printf("  +%lld ~%lld -%lld", number_of(item, "added"), number_of(item, "changed"), number_of(item, "removed"));
	if (*text_of(item, "user"))
		printf("  by %s", text_of(item, "user"));
	if (*text_of(item, "message")) {
		fputs("  ", stdout);
		print_text(text_of(item, "message"));
	}
	putchar('\n');
}

/* The run, with what became of it on the target. Its message names each one that failed: where this did not, it is not about it. */
static void print_target_run(const json_t *item)
{
	const json_t *target = json_object_get(item, "target");
	const char *state = text_of(target, "state"), *begun = text_of(target, "started_at");
	char at[64];

	printf("run %lld  %s  %-11s release %lld  %s", number_of(item, "run"), print_time(*begun ? begun : text_of(item, "started_at"), at), state, number_of(item, "release"),
	    text_of(item, "trigger"));
	if (*text_of(item, "user"))
		printf("  by %s", text_of(item, "user"));
	if (*text_of(item, "message") && strcmp(state, "active") && strcmp(state, "confirmed")) {
		fputs("  ", stdout);
		print_text(text_of(item, "message"));
	}
	putchar('\n');
}

static enum ctl_exit sync_log(struct ctl *c)
{
	const struct options *o = c->o;
	const char *runs = ctl_query(c, ctl_site(c, "/sync/runs"), "limit", o->limit);

	if (!o->target)
		return ctl_list(c, runs, print_run, "There was no run yet.");
	return ctl_list(c, ctl_query(c, runs, "target", o->target), print_target_run, arena_printf(c->arena, "No run has sent anything to %s yet.", o->target));
}

static enum ctl_exit sync_run(struct ctl *c)
{
	const char *target = ctl_site(c, arena_printf(c->arena, "/sync/runs/%s", c->o->args[1]));
	json_t *root = NULL, *item;
	enum ctl_exit rc = ctl_get(c, target, &root);
	size_t i;

	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc) {
		print_run(root);
		json_array_foreach(json_object_get(root, "targets"), i, item)
			printf("--- %s: %s, exit status %lld\n%s\n", text_of(item, "name"), text_of(item, "state"), number_of(item, "exit_status"),
			    text_of(item, "output"));
	}
	json_decref(root);
	return rc;
}

enum ctl_exit cmd_sync(struct ctl *c)
{
	const struct options *o = c->o;
	enum ctl_exit rc;
	json_t *body;

	if (ctl_is(c, 0, "status") && o->n_args == 1 && !o->target)
		return sync_status(c);
	if (ctl_is(c, 0, "plan") && o->n_args == 1 && !o->target)
		return sync_plan(c);
	if (ctl_is(c, 0, "log") && !(o->target && o->n_args == 2))
		return o->n_args == 2 ? sync_run(c) : sync_log(c);
	if (o->target || (!(ctl_is(c, 0, "force") && o->n_args == 1) && !(ctl_is(c, 0, "confirm") && o->n_args == 2)))
		return ctl_usage("sync status [--follow] | plan | force -m REASON | confirm DIGEST -m REASON | log [--target NAME | RUN]");
	if (!o->note || !*o->note) {
		fprintf(stderr, "drydock: say why with -m: the reason is recorded.\n");
		return EXIT_USAGE;
	}
	body = json_pack("{s:s}", "reason", o->note);
	if (o->n_args == 2) {
		json_object_set_new(body, "list", json_string(o->args[1]));
		return ctl_act(c, ctl_site(c, "/sync/removal"), body, "Confirmed, and a sync is asked for; `drydock sync status` tells how it goes");
	}
	if (o->plan)
		json_object_set_new(body, "plan", json_string(o->plan));
	rc = ctl_act(c, ctl_site(c, "/sync/force"), body, "A sync is asked for; `drydock sync status --follow` tells how it goes");
	if (rc == EXIT_CONFLICT)
		ctl_print_now(c, FORCE);
	return rc;
}

/* A target that would not take a sync is a failure of the command. */
static enum ctl_exit target_test(struct ctl *c)
{
	json_t *root = NULL;
	enum ctl_exit rc = ctl_post(c, ctl_site(c, arena_printf(c->arena, "/targets/%s/test", c->o->args[1])), json_object(), &root);

	if (!rc && c->o->json) {
		ctl_print_answer(c);
	} else if (!rc) {
		for (const char *p = text_of(root, "output"); *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] != '\0')) {
			print_text(arena_dupn(c->arena, p, strcspn(p, "\n")));
			putchar('\n');
		}
		if (*text_of(root, "error")) {
			fputs("FAILED: ", stdout);
			print_text(text_of(root, "error"));
			putchar('\n');
		}
	}
	if (!rc && !json_is_true(json_object_get(root, "ok")))
		rc = EXIT_BROKEN;
	json_decref(root);
	return rc;
}

/* What production holds is shown, and with -m gone on from. */
static enum ctl_exit target_catch_up(struct ctl *c)
{
	const char *name = c->o->args[1];
	const json_t *held = NULL;
	json_t *root = NULL, *item;
	size_t i;
	enum ctl_exit rc = ctl_get(c, ctl_site(c, "/targets"), &root);

	json_array_foreach(json_object_get(root, "items"), i, item)
		if (!strcmp(text_of(item, "name"), name))
			held = json_object_get(item, "unknown");
	if (!rc && !held) {
		fprintf(stderr, "drydock: there is no target %s.\n", name);
		rc = EXIT_NOT_FOUND;
	} else if (!rc && !json_is_object(held)) {
		printf("As far as is known to you %s holds no release that this server does not know; admins of the whole site are told.\n"
		       "`drydock target test %s` asks it.\n", name, name);
		rc = c->o->note && *c->o->note ? EXIT_CONFLICT : EXIT_DONE;
	} else if (!rc && (!c->o->note || !*c->o->note)) {
		printf("%s holds release %lld, which this server does not know: it is an older copy of itself.\n", name, number_of(held, "release"));
		if (*text_of(held, "refused"))
			printf("It cannot go on from there: %s\n", text_of(held, "refused"));
		else
			puts("Compare the two first. To go on from there: the same command with -m REASON");
	} else if (!rc) {
		rc = ctl_act(c, ctl_site(c, arena_printf(c->arena, "/targets/%s/catch-up", name)), json_pack("{s:s, s:s}", "reason", c->o->note, "head", text_of(held, "head")),
		    "The next release goes on from there, and a sync is asked for");
	}
	json_decref(root);
	return rc;
}

enum ctl_exit cmd_target(struct ctl *c)
{
	if (ctl_is(c, 0, "list") && c->o->n_args == 1)
		return ctl_list(c, ctl_site(c, "/targets"), print_target, "No target is configured: releases are cut, and go nowhere.");
	if (ctl_is(c, 0, "test") && c->o->n_args == 2 && !strchr(c->o->args[1], '/'))
		return target_test(c);
	if (ctl_is(c, 0, "catch-up") && c->o->n_args == 2 && !strchr(c->o->args[1], '/'))
		return target_catch_up(c);
	return ctl_usage("target list | test NAME | catch-up NAME [-m REASON]");
}
