/* One's own sessions and API tokens. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

static void print_session(const json_t *item)
{
	char made[64], seen[64];

	printf("%.16s  since %s, last seen %s, from ", text_of(item, "id"), print_time(text_of(item, "created_at"), made),
	    print_time(text_of(item, "seen_at"), seen));
	print_text(text_of(item, "address"));
	fputs("  ", stdout);
	print_text(text_of(item, "agent"));
	puts(json_is_true(json_object_get(item, "here")) ? "  (this one)" : "");
}

/* The whole id from its beginning, as the list shows it. NULL after a sentence was printed. */
static const char *whole_id(struct ctl *c, const char *begin, enum ctl_exit *rc)
{
	json_t *root = NULL, *item;
	const char *found = NULL;
	size_t i, n = 0;

	*rc = ctl_get(c, "/sessions", &root);
	if (!*rc) {
		json_array_foreach(json_object_get(root, "items"), i, item)
			if (*begin && strncmp(text_of(item, "id"), begin, strlen(begin)) == 0) {
				found = arena_dup(c->arena, text_of(item, "id"));
				n++;
			}
		if (n != 1) {
			fputs(n ? "drydock: several sessions begin so: write more of the id.\n" : "drydock: you have no such session.\n", stderr);
			*rc = n ? EXIT_USAGE : EXIT_NOT_FOUND;
		}
	}
	json_decref(root);
	return *rc ? NULL : found;
}

enum ctl_exit cmd_session(struct ctl *c)
{
	const struct options *o = c->o;
	const bool end = ctl_is(c, 0, "end");
	const char *id = NULL;
	enum ctl_exit rc;

	if (ctl_is(c, 0, "list") && o->n_args == 1)
		return ctl_list(c, "/sessions", print_session, "You are logged in nowhere.");
	if (!end || (o->n_args == 2) == o->all)
		return ctl_usage("session list | end ID | end --all");
	if (!o->all && !(id = whole_id(c, o->args[1], &rc)))
		return rc;
	rc = ctl_post(c, "/sessions/end", o->all ? json_pack("{s:b}", "all", true) : json_pack("{s:s}", "id", id), NULL);
	if (!rc && !o->json)
		puts(o->all ? "You are logged out everywhere." : "Ended.");
	return rc;
}

static void print_token(const json_t *item)
{
	char until[64], used[64];

	printf("%s  ", text_of(item, "id"));
	print_text(text_of(item, "label"));
	printf("  %s, at most %s on %s", text_of(item, "user"), text_of(item, "role"), *text_of(item, "site") ? text_of(item, "site") : "every site");
	fputs(", ", stdout);
	print_text(text_of(item, "path"));
	printf(", %s %s, ", json_is_true(json_object_get(item, "expired")) ? "expired" : "until", print_time(text_of(item, "expires_at"), until));
	if (*text_of(item, "used_at"))
		printf("last used %s from %s\n", print_time(text_of(item, "used_at"), used), text_of(item, "used_from"));
	else
		puts("never used");
}

static enum ctl_exit token_add(struct ctl *c)
{
	const struct options *o = c->o;
	json_t *done = NULL, *body = json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*}", "label", o->args[1], "role", o->role, "site", o->site,
	    "path", o->path ? ctl_path(c, o->path) : NULL, "expires", o->expires, "id", o->id, "note", o->note);
	enum ctl_exit rc;

	if (!body) {
		fprintf(stderr, "drydock: an argument is not valid UTF-8.\n");
		return EXIT_USAGE;
	}
	rc = ctl_post(c, "/tokens", body, &done);
	if (!rc && o->json)
		ctl_print_answer(c);
	else if (!rc && *text_of(done, "token"))
		/* The text alone on standard output, so that it can go straight into a file. */
		fprintf(stderr, "Token %s; it is shown only now:\n", text_of(done, "token_id")), puts(text_of(done, "token"));
	else if (!rc)
		fprintf(stderr, "drydock: this id made a token before; its text was shown then, and is kept nowhere.\n");
	if (!rc && !*text_of(done, "token") && !o->json)
		rc = EXIT_CONFLICT;
	json_decref(done);
	return rc;
}

enum ctl_exit cmd_token(struct ctl *c)
{
	const struct options *o = c->o;

	if (ctl_is(c, 0, "list") && o->n_args == 1)
		return ctl_list(c, o->all ? "/tokens?all=1" : "/tokens", print_token, "There are no tokens.");
	if (ctl_is(c, 0, "add") && o->n_args == 2)
		return token_add(c);
	if (ctl_is(c, 0, "revoke") && o->n_args == 2)
		return ctl_act(c, "/tokens/revoke", json_pack("{s:s}", "token", o->args[1]), "The token is revoked");
	return ctl_usage("token list [--all] | add LABEL [--role R] [--path P] [--expires T] | revoke ID");
}
