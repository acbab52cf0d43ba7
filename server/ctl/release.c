/* Releases: what they are, whether they are still that, what differs, and which one a public address comes from. */
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "ctl/ctl.h"

static void print_release(const json_t *item)
{
	char at[64];

	printf("release %lld  %s  record %lld", number_of(item, "number"), print_time(text_of(item, "at"), at), number_of(item, "seq"));
	if (json_object_get(item, "files"))
		printf("  %lld file%s", number_of(item, "files"), plural_of(item, "files"));
	printf("  commit %.12s\n", text_of(item, "commit"));
}

static void print_check(const json_t *item)
{
	const bool ok = json_is_true(json_object_get(item, "ok"));

	printf("%-7s %s", ok ? "ok" : "FAILED", text_of(item, "check"));
	if (!ok) {
		fputs(": ", stdout);
		print_text(text_of(item, "why"));
	}
	putchar('\n');
}

/* Receivers say what they found last when they are asked; who cannot be reached is told about by what is known. */
static void ask_receivers(struct ctl *c)
{
	json_t *root = NULL, *item, *said;
	size_t i;

	if (ctl_get(c, ctl_site(c, "/targets"), &root))
		return;
	json_array_foreach(json_object_get(root, "items"), i, item) {
		const char *name = text_of(item, "name");

		if (!json_is_true(json_object_get(item, "receiver")))
			continue;
		said = NULL;
		if (!ctl_post(c, ctl_site(c, arena_printf(c->arena, "/targets/%s/test", name)), json_object(), &said) && *text_of(said, "error")) {
			fprintf(stderr, "drydock: %s could not be asked, and is told of as it was known: ", name);
			fprintf(stderr, "%s\n", text_of(said, "error"));
		}
		json_decref(said);
	}
	json_decref(root);
}

static void print_live(const json_t *item)
{
	printf("%s holds release %lld (%s)", text_of(item, "name"), number_of(item, "release"), text_of(item, "state"));
	if (!json_is_true(json_object_get(item, "receiver")))
		fputs(": no receiver there tells what is live", stdout);
	else if (!json_is_object(json_object_get(item, "report")))
		fputs(": its files were never read since (drydock-receive verify)", stdout);
	putchar('\n');
	ctl_print_report(json_object_get(item, "report"));
}

/* A check that does not hold is a failure of the command. */
static enum ctl_exit release_verified(struct ctl *c, const char *target)
{
	json_t *root = NULL, *item;
	enum ctl_exit rc;
	size_t i;

	ask_receivers(c);
	rc = ctl_get(c, target, &root);
	if (!rc && c->o->json)
		ctl_print_answer(c);
	json_array_foreach(json_object_get(root, "items"), i, item) {
		if (!c->o->json)
			print_check(item);
		if (!rc && !json_is_true(json_object_get(item, "ok")))
			rc = EXIT_BROKEN;
	}
	if (!c->o->json)
		json_array_foreach(json_object_get(root, "targets"), i, item)
			print_live(item);
	json_decref(root);
	return rc;
}

/* The path of a public address: what stands behind the host, without query and fragment, decoded once. */
static const char *path_of_url(struct ctl *c, const char *url)
{
	const char *host = strstr(url, "://"), *slash = host ? strchr(host + 3, '/') : url;
	char *out, *to;

	if (!slash)
		return "/";
	out = to = arena_dupn(c->arena, slash, strcspn(slash, "?#"));
	for (const char *p = out; *p; p++) {
		unsigned char byte;
		char two[3] = { p[0] == '%' ? p[1] : '\0', p[0] == '%' && p[1] ? p[2] : '\0', '\0' };

		for (char *q = two; *q; q++)
			*q = (char)(*q >= 'A' && *q <= 'F' ? *q + 32 : *q);
		if (*p == '%' && hex_parse(&byte, 1, two)) {
			*to++ = (char)byte;
			p += 2;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
	return ctl_path(c, out);
}

static enum ctl_exit release_whence(struct ctl *c, const char *typed)
{
	const char *path = strstr(typed, "://") ? path_of_url(c, typed) : ctl_path(c, typed);
	json_t *root = NULL, *item;
	char at[64];
	size_t i;
	enum ctl_exit rc = ctl_get(c, ctl_query(c, ctl_site(c, "/whence"), "path", path), &root);

	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc) {
		print_text(text_of(root, "path"));
		printf("\n  sha256  %s, %lld bytes\n  signed  by ", text_of(root, "sha256"), number_of(root, "size"));
		print_text(text_of(root, "user"));
		printf(", %s, record %lld\n", print_time(text_of(root, "at"), at), number_of(root, "seq"));
		printf("  release %lld (since release %lld)\n", number_of(root, "release"), number_of(root, "since"));
		json_array_foreach(json_object_get(root, "targets"), i, item)
			printf("  target  %s: %s, release %lld%s\n", text_of(item, "name"), text_of(item, "state"), number_of(item, "release"),
			    json_is_true(json_object_get(item, "has_it")) ? "" : ": it does not have it yet");
	}
	json_decref(root);
	return rc;
}

static enum ctl_exit release_show(struct ctl *c, const char *number)
{
	const char *target = ctl_site(c, arena_printf(c->arena, "/releases/%s", number));
	json_t *root = NULL;
	enum ctl_exit rc;

	if (c->o->paper && strcmp(c->o->paper, "head") && strcmp(c->o->paper, "signature") && strcmp(c->o->paper, "files")) {
		fputs("drydock release show: --paper takes head, signature or files.\n", stderr);
		return EXIT_USAGE;
	}
	if (c->o->paper)
		return ctl_raw(c, arena_printf(c->arena, "%s/%s", target, c->o->paper));
	rc = ctl_get(c, target, &root);
	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc)
		print_release(json_object_get(root, "release"));
	json_decref(root);
	return rc;
}

enum ctl_exit cmd_release(struct ctl *c)
{
	const struct options *o = c->o;
	const char *number = o->n_args > 1 ? o->args[1] : "";
	const char *target = ctl_site(c, arena_printf(c->arena, "/releases/%s", number));

	if (ctl_is(c, 0, "list") && o->n_args == 1)
		return ctl_list(c, ctl_query(c, ctl_site(c, "/releases"), "limit", o->limit), print_release, "There is no release yet.");
	if (ctl_is(c, 0, "show") && o->n_args == 2)
		return release_show(c, number);
	if (ctl_is(c, 0, "rollback") && o->n_args == 2)
		return ctl_rollback(c, number);
	if (ctl_is(c, 0, "verify") && o->n_args == 2)
		return release_verified(c, arena_printf(c->arena, "%s/verify", target));
	if (ctl_is(c, 0, "diff") && (o->n_args == 2 || o->n_args == 3)) {
		/* One number: against the release before. Two: from the first to the second. */
		target = ctl_site(c, arena_printf(c->arena, "/releases/%s/diff", o->args[o->n_args - 1]));
		return ctl_list(c, ctl_query(c, target, "from", o->n_args == 3 ? number : NULL), ctl_print_change, "Nothing differs that you may see.");
	}
	if (ctl_is(c, 0, "whence") && o->n_args == 2)
		return release_whence(c, number);
	return ctl_usage("release list | show N [--paper head|signature|files] | rollback N [-m REASON] [--plan DIGEST] | verify N | diff [FROM] N | whence URL|PATH");
}
