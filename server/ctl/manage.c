/* Commands about people, rights and history: log, role, access, preapprove, user, group, site, ... */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/file.h"
#include "ctl/ctl.h"

/* Get, and print it as it came or item by item; `empty` is the sentence for an empty list. */
enum ctl_exit ctl_list(struct ctl *c, const char *target, void (*item_print)(const json_t *item), const char *empty)
{
	json_t *root = NULL, *item;
	enum ctl_exit rc = ctl_get(c, target, &root);
	size_t i;

	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc) {
		if (json_array_size(json_object_get(root, "items")) == 0)
			puts(empty);
		json_array_foreach(json_object_get(root, "items"), i, item)
			item_print(item);
		if (json_object_get(root, "next"))
			puts("There are more: raise --limit.");
	}
	json_decref(root);
	return rc;
}

/* An act on anything but files: adds id and note, prints its record. */
enum ctl_exit ctl_act(struct ctl *c, const char *target, json_t *body, const char *done_text)
{
	json_t *done = NULL;
	enum ctl_exit rc;

	if (c->o->id)
		json_object_set_new(body, "id", json_string(c->o->id));
	if (c->o->note && !json_object_get(body, "reason"))
		json_object_set_new(body, "note", json_string(c->o->note));
	rc = ctl_post(c, target, body, &done);
	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc)
		printf("%s (record %lld).\n", done_text, number_of(done, "seq"));
	json_decref(done);
	return rc;
}

enum ctl_exit ctl_usage(const char *text)
{
	fprintf(stderr, "Usage: drydock %s\n", text);
	return EXIT_USAGE;
}

bool ctl_is(const struct ctl *c, int arg, const char *word)
{
	return arg < c->o->n_args && strcmp(c->o->args[arg], word) == 0;
}

/* --- history --------------------------------------------------------------------------------------------------------- */

static void print_record(const json_t *item)
{
	const json_t *files = json_object_get(item, "files"), *file;
	char at[64];
	size_t i;

	printf("%6lld  %s  %-10s ", number_of(item, "seq"), print_time(text_of(item, "at"), at), text_of(item, "act"));
	print_text(text_of(item, "user"));
	if (*text_of(item, "note")) {
		fputs("  ", stdout);
		print_text(text_of(item, "note"));
	}
	putchar('\n');
	print_filled(item);
	json_array_foreach(files, i, file) {
		printf("        %.12s  ", text_of(file, "sha256"));
		print_text(text_of(file, "path"));
		putchar('\n');
	}
	if (json_is_true(json_object_get(item, "more_files")))
		printf("        ... and more: drydock show PATH@%lld\n", number_of(item, "seq"));
}

enum ctl_exit cmd_log(struct ctl *c)
{
	const struct options *o = c->o;
	const char *target = ctl_site(c, "/log");
	const char *typed = o->n_args ? o->args[0] : NULL;
	const size_t len = typed ? strlen(typed) : 0;

	target = ctl_query(c, target, "path", typed ? ctl_path(c, typed) : NULL);
	target = ctl_query(c, target, "below", len > 1 && typed[len - 1] == '/' ? "1" : NULL);
	target = ctl_query(c, target, "user", o->user);
	target = ctl_query(c, target, "act", o->act);
	target = ctl_query(c, target, "since", o->since);
	target = ctl_query(c, target, "until", o->until);
	target = ctl_query(c, target, "limit", o->limit);
	return ctl_list(c, target, print_record, "Nothing is recorded that fits.");
}

/* --- rights ---------------------------------------------------------------------------------------------------------- */

static void print_rule(const json_t *item)
{
	printf("%-7s ", text_of(item, "role"));
	print_text(text_of(item, "principal"));
	fputs("  ", stdout);
	print_text(text_of(item, "path"));
	putchar('\n');
}

static void print_doubt(const json_t *item)
{
	print_rule(item);
	printf("        it %s", text_of(item, "text"));
	if (*text_of(item, "above")) {
		fputs(": see ", stdout);
		print_text(text_of(item, "above"));
	}
	putchar('\n');
}

static void print_requirement(const json_t *item)
{
	print_text(text_of(item, "path"));
	if (number_of(item, "reviews"))
		printf("  %lld review%s by others", number_of(item, "reviews"), number_of(item, "reviews") == 1 ? "" : "s");
	puts(json_is_true(json_object_get(item, "not_alone")) ? "  nobody signs his own files alone" : "");
}

/* Who gains and who loses, before a rule is set or removed. */
static enum ctl_exit role_preview(struct ctl *c)
{
	const struct options *o = c->o;
	const bool remove = strcmp(o->args[3], "remove") == 0;
	const char *target = ctl_query(c, ctl_site(c, "/roles/preview"), "limit", o->limit);
	json_t *root = NULL, *item;
	enum ctl_exit rc = ctl_post(c, target, json_pack("{s:s, s:s, s:s?}", "principal", o->args[1], "path", ctl_path(c, o->args[2]),
	    "role", remove ? NULL : o->args[3]), &root);
	size_t i;

	if (!rc && o->json)
		ctl_print_answer(c);
	else if (!rc) {
		json_array_foreach(json_object_get(root, "items"), i, item) {
			printf("%-7s -> %-7s ", text_of(item, "before"), text_of(item, "after"));
			print_text(text_of(item, "user"));
			fputs("  ", stdout);
			print_text(text_of(item, "path"));
			puts(json_is_false(json_object_get(item, "enabled")) ? "  (may not log in)" : "");
		}
		if (json_array_size(json_object_get(root, "items")) == 0)
			puts("Nobody's role changes.");
		if (json_object_get(root, "next"))
			puts("There are more: raise --limit.");
		if (*text_of(root, "refused"))
			printf("It would be refused: %s\n", text_of(root, "refused"));
	}
	json_decref(root);
	return rc;
}

/* What signatures need: set, taken back by --reviews 0, or listed. */
static enum ctl_exit role_require(struct ctl *c)
{
	const struct options *o = c->o;
	char *end;
	long reviews;

	if (!o->reviews && !o->not_alone) {
		const char *target = ctl_site(c, "/requirements");

		return ctl_list(c, ctl_query(c, target, "path", o->n_args == 2 ? ctl_path(c, o->args[1]) : NULL), print_requirement,
		    "Signatures need nothing beside the role.");
	}
	reviews = o->reviews ? strtol(o->reviews, &end, 10) : 0;
	if (o->n_args != 2 || (o->reviews && (*end || !*o->reviews || reviews < 0 || reviews > 9)))
		return ctl_usage("role require [PATH] | require PATH [--reviews 0..9] [--not-alone]");
	return ctl_act(c, ctl_site(c, "/requirements"), json_pack("{s:s, s:i, s:b}", "path", ctl_path(c, o->args[1]), "reviews", (int)reviews,
	    "not_alone", o->not_alone), reviews || o->not_alone ? "Signatures need that now" : "Nothing is asked for there any more");
}

enum ctl_exit cmd_role(struct ctl *c)
{
	const struct options *o = c->o;
	const bool set = ctl_is(c, 0, "set") && o->n_args == 4, remove = ctl_is(c, 0, "remove") && o->n_args == 3;
	const bool lint = ctl_is(c, 0, "lint");

	if ((ctl_is(c, 0, "list") || lint) && o->n_args <= 2) {
		const char *target = ctl_query(c, ctl_site(c, lint ? "/roles/lint" : "/roles"), "limit", lint ? o->limit : NULL);

		if (o->n_args == 2)
			target = ctl_query(c, target, "path", ctl_path(c, o->args[1]));
		return ctl_list(c, target, lint ? print_doubt : print_rule, lint ? "Every rule does something." : "There are no rules that you may see.");
	}
	if (ctl_is(c, 0, "preview") && o->n_args == 4)
		return role_preview(c);
	if (ctl_is(c, 0, "require") && o->n_args <= 2)
		return role_require(c);
	if (!set && !remove)
		return ctl_usage("role list [PATH] | set PRINCIPAL PATH ROLE | remove PRINCIPAL PATH | preview PRINCIPAL PATH ROLE|remove | lint [PATH] |\n"
		    "                    require [PATH] [--reviews N] [--not-alone]");
	return ctl_act(c, ctl_site(c, "/roles"), json_pack("{s:s, s:s, s:s?}", "principal", o->args[1], "path", ctl_path(c, o->args[2]),
	    "role", set ? o->args[3] : NULL), set ? "The rule is set" : "The rule is removed");
}

enum ctl_exit cmd_access(struct ctl *c)
{
	const struct options *o = c->o;
	const char *target;
	json_t *root = NULL;
	enum ctl_exit rc;

	if (!ctl_is(c, 0, "explain"))
		return ctl_usage("access explain [USER] PATH");
	target = ctl_site(c, "/access");
	target = ctl_query(c, target, "user", o->n_args == 3 ? o->args[1] : NULL);
	rc = ctl_get(c, ctl_query(c, target, "path", ctl_path(c, o->args[o->n_args - 1])), &root);
	if (!rc && o->json)
		ctl_print_answer(c);
	else if (!rc) {
		printf("%s has the role %s on %s.%s\n", text_of(root, "user"), text_of(root, "role"), text_of(root, "path"),
		    json_is_false(json_object_get(root, "enabled")) ? " The account is disabled: he cannot act." : "");
		fputs(text_of(root, "explanation"), stdout);
	}
	json_decref(root);
	return rc;
}

static void print_preapproval(const json_t *item)
{
	char at[64];

	print_text(text_of(item, "path"));
	if (*text_of(item, "pattern")) {
		fputs("  ", stdout);
		print_text(text_of(item, "pattern"));
	}
	if (number_of(item, "largest") > 0)
		printf("  at most %lld bytes", number_of(item, "largest"));
	if (*text_of(item, "until"))
		printf("  %s %s", json_is_true(json_object_get(item, "ended")) ? "ended" : "until", print_time(text_of(item, "until"), at));
	printf("  by %s, %s", text_of(item, "user"), print_time(text_of(item, "at"), at));
	if (*text_of(item, "note")) {
		fputs("  ", stdout);
		print_text(text_of(item, "note"));
	}
	putchar('\n');
}

enum ctl_exit cmd_preapprove(struct ctl *c)
{
	const struct options *o = c->o;
	const bool add = ctl_is(c, 0, "add"), remove = ctl_is(c, 0, "remove");

	if (ctl_is(c, 0, "list") && o->n_args == 1)
		return ctl_list(c, ctl_site(c, "/preapprovals"), print_preapproval, "No path is pre-approved.");
	if ((!add && !remove) || o->n_args != 2)
		return ctl_usage("preapprove add PATH | remove PATH | list");
	return ctl_act(c, ctl_site(c, "/preapprovals"), json_pack("{s:s, s:b, s:s*, s:s*, s:s*}", "path", ctl_path(c, o->args[1]),
	    "remove", remove, "pattern", o->pattern, "largest", o->largest, "until", o->until),
	    add ? "Pre-approved: picked up at each sync" : "The pre-approval is taken back; what it let out stays approved until revoked");
}

/* --- people ---------------------------------------------------------------------------------------------------------- */

/* From the file, or from the terminal without echo. The result lives in the arena. */
const char *ctl_password(struct ctl *c, bool twice)
{
	struct termios old, quiet;
	char first[512] = "", second[512] = "";
	struct buf b = BUF_INIT(sizeof first);

	if (c->o->password_file) {
		if (file_read(AT_FDCWD, c->o->password_file, &b)) {
			fprintf(stderr, "drydock: %s\n", err_text());
			return NULL;
		}
		memcpy(first, buf_text(&b), b.len < sizeof first ? b.len : sizeof first - 1);
		first[strcspn(first, "\r\n")] = '\0';
		buf_release(&b);
		return arena_dup(c->arena, first);
	}
	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &old)) {
		fprintf(stderr, "drydock: there is no terminal to ask for the password: give --password-file.\n");
		return NULL;
	}
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	fputs("Password: ", stderr);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	if (!fgets(first, sizeof first, stdin))
		*first = '\0';
	if (twice) {
		fputs("\nAgain: ", stderr);
		if (!fgets(second, sizeof second, stdin))
			*second = '\0';
	}
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
	fputc('\n', stderr);
	if (twice && strcmp(first, second) != 0) {
		fprintf(stderr, "drydock: the two are not the same. Nothing was changed.\n");
		return NULL;
	}
	first[strcspn(first, "\n")] = '\0';
	return arena_dup(c->arena, first);
}

static void print_user(const json_t *item)
{
	printf("%-20s %-8s ", text_of(item, "name"), json_is_true(json_object_get(item, "enabled")) ? "enabled" : "disabled");
	print_text(text_of(item, "display"));
	putchar('\n');
}

/* The API makes an account or changes it; who types a command means one of the two. */
static enum ctl_exit expect_user(struct ctl *c, const char *name, bool wanted)
{
	json_t *root = NULL, *item;
	enum ctl_exit rc = ctl_get(c, "/users", &root);
	bool there = false;
	size_t i;

	json_array_foreach(json_object_get(root, "items"), i, item)
		there |= strcmp(text_of(item, "name"), name) == 0;
	json_decref(root);
	if (rc || there == wanted)
		return rc;
	fputs(there ? "drydock: there is an account of that name already. `drydock user password` sets a new password.\n"
	            : "drydock: there is no account of that name.\n", stderr);
	return there ? EXIT_CONFLICT : EXIT_NOT_FOUND;
}

enum ctl_exit cmd_user(struct ctl *c)
{
	const struct options *o = c->o;
	const bool add = ctl_is(c, 0, "add"), password = ctl_is(c, 0, "password"), enable = ctl_is(c, 0, "enable"), disable = ctl_is(c, 0, "disable");
	enum ctl_exit rc;
	json_t *body;

	if (ctl_is(c, 0, "list") && o->n_args == 1)
		return ctl_list(c, "/users", print_user, "There are no accounts.");
	if ((!add && !password && !enable && !disable) || o->n_args != 2)
		return ctl_usage("user list | add NAME | password NAME | enable NAME | disable NAME");
	rc = expect_user(c, o->args[1], !add);
	if (rc)
		return rc;
	body = json_pack("{s:s, s:b}", "name", o->args[1], "enabled", !disable);
	if (add || password) {
		const char *text = ctl_password(c, true);

		if (!text) {
			json_decref(body);
			return EXIT_USAGE;
		}
		json_object_set_new(body, "password", json_string(text));
	}
	if (o->display)
		json_object_set_new(body, "display", json_string(o->display));
	return ctl_act(c, "/users", body, add ? "The account is there" : password ? "The password is changed" : enable ? "Enabled" : "Disabled");
}

static void print_group(const json_t *item)
{
	if (json_is_string(item)) {
		print_text(json_string_value(item));
		putchar('\n');
		return;
	}
	printf("%-20s %lld members\n", text_of(item, "name"), number_of(item, "members"));
}

enum ctl_exit cmd_group(struct ctl *c)
{
	const struct options *o = c->o;
	const bool add = ctl_is(c, 0, "add"), remove = ctl_is(c, 0, "remove"), join = ctl_is(c, 0, "join"), leave = ctl_is(c, 0, "leave");

	if (ctl_is(c, 0, "list") && o->n_args <= 2)
		return ctl_list(c, o->n_args == 2 ? arena_printf(c->arena, "/groups/%s", o->args[1]) : "/groups", print_group, "There are none.");
	if ((add || remove) && o->n_args == 2)
		return ctl_act(c, "/groups", json_pack("{s:s, s:b}", "name", o->args[1], "remove", remove), add ? "The group is there" : "The group is removed");
	if ((join || leave) && o->n_args == 3)
		return ctl_act(c, arena_printf(c->arena, "/groups/%s/members", o->args[1]), json_pack("{s:s, s:b}", "principal", o->args[2], "remove", leave),
		    join ? "Joined" : "Left");
	return ctl_usage("group list [GROUP] | add GROUP | remove GROUP | join GROUP PRINCIPAL | leave GROUP PRINCIPAL");
}

static void print_site(const json_t *item)
{
	printf("%-20s %-7s ", text_of(item, "name"), text_of(item, "role"));
	print_text(text_of(item, "title"));
	putchar('\n');
}

enum ctl_exit cmd_site(struct ctl *c)
{
	if (ctl_is(c, 0, "hold"))
		return ctl_hold(c, "/");
	if (ctl_is(c, 0, "lift"))
		return ctl_lift(c, "/");
	return ctl_is(c, 0, "list") ? ctl_list(c, "/sites", print_site, "There is no site that you may see.") : ctl_usage("site list | hold --until T -m REASON | lift");
}

enum ctl_exit cmd_whoami(struct ctl *c)
{
	json_t *root = NULL, *group;
	enum ctl_exit rc = ctl_get(c, "/whoami", &root);
	size_t i;

	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc) {
		printf("%s (%s)\n", text_of(root, "user"), text_of(root, "display"));
		json_array_foreach(json_object_get(root, "groups"), i, group)
			printf("  %s\n", json_string_value(group));
	}
	json_decref(root);
	return rc;
}

enum ctl_exit cmd_login(struct ctl *c)
{
	const char *password;
	json_t *root = NULL;
	enum ctl_exit rc;

	if (c->transport != &transport_curl) {
		fprintf(stderr, "drydock: on the local socket you are your UNIX user: there is nothing to log in to. Use --server http://... or https://...\n");
		return EXIT_USAGE;
	}
	password = ctl_password(c, false);
	if (!password)
		return EXIT_USAGE;
	*c->cookie = *c->csrf = '\0';
	rc = ctl_post(c, "/login", json_pack("{s:s, s:s}", "name", c->o->args[0], "password", password), &root);
	if (!rc) {
		snprintf(c->csrf, sizeof c->csrf, "%s", text_of(root, "csrf"));
		rc = session_save(c);
	}
	if (!rc)
		printf("Logged in as %s.\n", text_of(root, "user"));
	json_decref(root);
	return rc;
}

enum ctl_exit cmd_logout(struct ctl *c)
{
	const enum ctl_exit rc = ctl_post(c, "/logout", json_object(), NULL);

	session_drop(c);
	return rc;
}
