/* Commands about files: status, sign, review, revoke, diff, show. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"

#define PAGE "250000"

static void print_counts(const json_t *counts)
{
	static const char *const order[] = { "signed", "changed", "unsigned", "missing", "revoked", "preapproved", "unpublishable" };
	bool first = true;

	for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
		const json_int_t n = json_integer_value(json_object_get(counts, order[i]));

		if (n == 0)
			continue;
		printf("%s%lld %s", first ? "" : ", ", (long long)n, order[i]);
		first = false;
	}
	puts(first ? "no files" : "");
}

static void print_entry(const json_t *item)
{
	const char *reason = text_of(item, "reason");

	if (strcmp(text_of(item, "type"), "directory") == 0) {
		const json_t *counts = json_object_get(item, "counts");

		printf("  %-13s ", "");
		print_text(text_of(item, "path"));
		printf("/  (");
		print_counts(counts);
		return;
	}
	print_state(text_of(item, "state"));
	print_text(text_of(item, "path"));
	if (*reason)
		printf("  (%s)", reason);
	putchar('\n');
}

/* Follow `next` and give one answer that holds all items. */
static enum ctl_exit status_all(struct ctl *c, const char *target, json_t **root)
{
	enum ctl_exit rc = ctl_get(c, target, root);
	const char *next;

	while (!rc && (next = json_string_value(json_object_get(*root, "next"))) && !c->o->limit) {
		json_t *more = NULL;

		rc = ctl_get(c, ctl_query(c, target, "after", next), &more);
		if (rc)
			break;
		json_array_extend(json_object_get(*root, "items"), json_object_get(more, "items"));
		json_object_del(*root, "next");
		if (json_object_get(more, "next"))
			json_object_set(*root, "next", json_object_get(more, "next"));
		if (json_object_get(more, "selection"))
			json_object_set(*root, "selection", json_object_get(more, "selection"));
		json_decref(more);
	}
	return rc;
}

/* Of one file: is its approved version live, or is it gone where it was revoked, and who says so? */
static void print_reach(const json_t *item, bool revoked)
{
	const bool gone = json_is_true(json_object_get(item, "gone"));
	const char *state = text_of(item, "state"), *waits = strcmp(state, "waiting") ? "" : text_of(item, "waits_until");
	char at[64];

	printf("  %s: ", text_of(item, "name"));
	if (*text_of(item, "confirmed_at"))
		printf("%s since release %lld, confirmed %s\n", gone ? "gone" : "live", number_of(item, "since"), print_time(text_of(item, "confirmed_at"), at));
	else if (gone || json_is_true(json_object_get(item, "has_it")))
		printf("%ssince release %lld, as its kit says\n", gone ? "gone " : "", number_of(item, "since"));
	else
		printf("not yet confirmed%s (%s%s%s)\n", revoked ? " gone" : "", state, *waits ? " until " : "", *waits ? print_time(waits, at) : "");
	if (*text_of(item, "differs"))
		printf("    %s there, as production found; it differs since %s\n", text_of(item, "differs"), print_time(text_of(item, "differs_since"), at));
}

enum ctl_exit cmd_status(struct ctl *c)
{
	const struct options *o = c->o;
	const char *target = ctl_site(c, "/status"), *trouble;
	json_t *root = NULL, *item, *selection;
	enum ctl_exit rc;
	size_t i;

	target = ctl_query(c, target, "path", ctl_path(c, o->n_args ? o->args[0] : "/"));
	target = ctl_query(c, target, "recursive", o->recursive ? "1" : NULL);
	target = ctl_query(c, target, "fresh", o->scan ? "1" : NULL);
	/* people see what needs them; programs, and --all, see everything */
	target = ctl_query(c, target, "state", o->state ? o->state : o->recursive && !o->all && !o->json ? "attention" : NULL);
	target = ctl_query(c, target, "limit", o->limit ? o->limit : PAGE);
	target = ctl_query(c, target, "selection", o->recursive ? "sign" : NULL);
	rc = status_all(c, target, &root);
	if (!rc && o->json) {
		json_dumpf(root, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (!rc) {
		json_array_foreach(json_object_get(root, "items"), i, item)
			print_entry(item);
		json_array_foreach(json_object_get(root, "targets"), i, item)
			print_reach(item, json_is_null(json_object_get(json_array_get(json_object_get(root, "items"), 0), "approved_sha256")));
		if (json_object_get(root, "counts"))
			print_counts(json_object_get(root, "counts"));
		if ((trouble = json_string_value(json_object_get(root, "trouble"))))
			fprintf(stderr, "drydock: staging: %s\n", trouble);
		selection = json_object_get(root, "selection");
		if (selection && json_integer_value(json_object_get(selection, "files")) > 0)
			printf("To sign these %lld: drydock sign -r --selection %s %s\n",
			    number_of(selection, "files"), text_of(selection, "digest"), text_of(root, "path"));
		if (json_object_get(root, "next"))
			puts("There are more: raise --limit.");
	}
	json_decref(root);
	return rc;
}

/* One line in the format of sha256sum; false if it is none. A leading backslash says that \\ and \n are escaped. */
static bool sum_line(struct ctl *c, char *line, json_t *files)
{
	const bool escaped = *line == '\\';
	char *name, *to;
	size_t n;

	line += escaped;
	n = strcspn(line, " ");
	if (n != 64 || (line[65] != ' ' && line[65] != '*'))
		return false;
	line[64] = '\0';
	name = line + 66;
	if (escaped) {
		to = name;
		for (const char *from = name; *from; from++)
			if (*from == '\\' && (from[1] == '\\' || from[1] == 'n'))
				*to++ = *++from == 'n' ? '\n' : '\\';
			else
				*to++ = *from;
		*to = '\0';
	}
	json_array_append_new(files, json_pack("{s:s, s:s}", "path", ctl_path(c, name), "sha256", line));
	return true;
}

static json_t *read_list(struct ctl *c)
{
	FILE *in = strcmp(c->o->from, "-") == 0 ? stdin : fopen(c->o->from, "re");
	json_t *files = json_array();
	char *line = NULL;
	size_t cap = 0;
	unsigned number = 0;
	ssize_t n;

	if (!in) {
		fprintf(stderr, "drydock: %s: %s\n", c->o->from, strerror(errno));
		json_decref(files);
		return NULL;
	}
	while (files && (n = getline(&line, &cap, in)) > 0) {
		number++;
		if (line[n - 1] == '\n')
			line[--n] = '\0';
		if (n && !sum_line(c, line, files)) {
			fprintf(stderr, "drydock: %s, line %u: not a line of sha256sum (64 hex digits, two blanks, a path).\n", c->o->from, number);
			json_decref(files);
			files = NULL;
		}
	}
	free(line);
	if (in != stdin)
		fclose(in);
	return files;
}

static void print_selection(const json_t *s)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(s, "items"), i, item) {
		print_state(text_of(item, "state"));
		printf("%.12s  ", text_of(item, "sha256"));
		print_text(text_of(item, "path"));
		putchar('\n');
	}
	printf("Selection of %lld file%s, digest %s\n", number_of(s, "files"), plural_of(s, "files"), text_of(s, "digest"));
}

/* What signing them needs beside the role. */
static void print_needs(const json_t *shown)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(shown, "needs"), i, item) {
		print_text(text_of(item, "path"));
		printf(": %s\n", text_of(item, "text"));
	}
	if (number_of(shown, "lacking"))
		printf("%lld of them cannot be signed yet.\n", number_of(shown, "lacking"));
}

/* Nothing was said about what was shown: show it, and ask if there is somebody to ask. */
static enum ctl_exit show_and_ask(struct ctl *c, json_t *paths, json_t *body)
{
	const struct options *o = c->o;
	json_t *shown = NULL;
	char question[96];
	enum ctl_exit rc;

	rc = ctl_post(c, ctl_site(c, "/selection"), json_pack("{s:s, s:O, s:b}", "act", o->act, "paths", paths, "recursive", o->recursive), &shown);
	if (rc)
		return rc;
	if (!o->json) {
		print_selection(shown);
		print_needs(shown);
	}
	if (json_integer_value(json_object_get(shown, "files")) == 0) {
		printf("There is nothing to %s.\n", o->act);
		rc = EXIT_NOT_FOUND;
	} else if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "drydock: say what you mean to %s: --selection %s for exactly this, or --as-staged for whatever is there.\n",
		    o->act, text_of(shown, "digest"));
		rc = EXIT_USAGE;
	} else {
		snprintf(question, sizeof question, "%c%s %lld file%s?", o->act[0] & ~0x20, o->act + 1, number_of(shown, "files"),
		    plural_of(shown, "files"));
		rc = ctl_fill_in(c, shown, body);
		if (!rc && ask_yes(question))
			json_object_set(body, "selection", json_object_get(shown, "digest"));
		else if (!rc)
			rc = EXIT_REFUSED;
	}
	json_decref(shown);
	return rc;
}

/* What was shown is said already: only what the act asks for is missing. Programs that fill in nothing are not asked. */
static enum ctl_exit ask_fields(struct ctl *c, const json_t *paths, json_t *body)
{
	json_t *shown = NULL;
	enum ctl_exit rc;

	if (!c->o->n_fields && !isatty(STDIN_FILENO))
		return EXIT_DONE;
	rc = ctl_post(c, ctl_site(c, "/selection"), json_pack("{s:s, s:O, s:b, s:b}", "act", c->o->act, "paths", paths, "recursive", c->o->recursive,
	    "items", 0), &shown);
	if (!rc)
		rc = ctl_fill_in(c, shown, body);
	json_decref(shown);
	return rc;
}

static void print_conflict(struct ctl *c)
{
	json_t *root = NULL;

	if (!c->o->json && c->answer.len && json_parse(&root, c->answer.p, c->answer.len) == ERR_OK && json_object_get(root, "selection")) {
		puts("As it is now:");
		print_selection(json_object_get(root, "selection"));
	}
	json_decref(root);
}

/* sign, review, revoke: o->act is which */
/* The site's own wishes for a signature; the server refuses what does not fulfil them, here they are asked for. */
static enum ctl_exit sign_wishes(struct ctl *c, json_t *body)
{
	json_t *root = NULL, *item;
	const char *password;
	enum ctl_exit rc = ctl_get(c, "/sites", &root);
	bool wanted = false;
	size_t i;

	json_array_foreach(json_object_get(root, "items"), i, item)
		if (!c->o->site || strcmp(text_of(item, "name"), c->o->site) == 0)
			wanted |= json_is_true(json_object_get(item, "sign_password"));
	json_decref(root);
	if (c->o->meaning)
		json_object_set_new(body, "meaning", json_string(c->o->meaning));
	if (rc || (!wanted && !c->o->password_file))
		return rc;
	password = ctl_password(c, false);
	if (password)
		json_object_set_new(body, "password", json_string(password));
	return password ? EXIT_DONE : EXIT_USAGE;
}

enum ctl_exit cmd_act(struct ctl *c)
{
	const struct options *o = c->o;
	json_t *body = json_object(), *paths = json_array(), *done = NULL;
	const char *target = ctl_site(c, arena_printf(c->arena, "/%s", o->act)), *id = o->id;
	enum ctl_exit rc = EXIT_DONE;
	struct progress line;

	if ((o->n_args == 0) == !o->from || (o->selection != NULL) + (o->from != NULL) + o->as_staged > 1) {
		fprintf(stderr, "Usage: drydock %s [-r] [-m NOTE] [--field K=V]... [--selection DIGEST | --from FILE | --as-staged] PATH...\n", o->act);
		rc = EXIT_USAGE;
	}
	for (int i = 0; i < o->n_args; i++)
		json_array_append_new(paths, json_string(ctl_path(c, o->args[i])));
	if (o->note)
		json_object_set_new(body, "note", json_string(o->note));
	if (o->take_down)
		json_object_set_new(body, "take_down", json_true());
	/* With an id of ours the act can be asked for while it runs, and repeated if the answer is lost. */
	if (!id)
		id = ctl_new_id(c);
	if (id)
		json_object_set_new(body, "id", json_string(id));
	if (!rc && o->from) {
		json_t *files = read_list(c);

		rc = files ? EXIT_DONE : EXIT_USAGE;
		for (size_t i = 0; i < json_array_size(files); i++)
			json_array_append(paths, json_object_get(json_array_get(files, i), "path"));
		json_object_set_new(body, "files", files);
		if (!rc)
			rc = ask_fields(c, paths, body);
	} else if (!rc) {
		json_object_set(body, "paths", paths);
		json_object_set_new(body, "recursive", json_boolean(o->recursive));
		if (o->as_staged)
			json_object_set_new(body, "as_staged", json_true());
		else if (o->selection)
			json_object_set_new(body, "selection", json_string(o->selection));
		else
			rc = show_and_ask(c, paths, body);
		if (!rc && (o->as_staged || o->selection))
			rc = ask_fields(c, paths, body);
	}
	json_decref(paths);
	if (!rc && strcmp(o->act, "sign") == 0)
		rc = sign_wishes(c, body);
	if (rc) {
		json_decref(body);
		return rc;
	}
	progress_begin(&line, c, id);
	c->line = &line;
	rc = ctl_post(c, target, body, &done);
	progress_end(&line);
	c->line = NULL;
	if (rc == EXIT_CONFLICT)
		print_conflict(c);
	if (!rc && o->json)
		ctl_print_answer(c);
	else if (!rc) {
		const char *pending = text_of(done, "pending");

		printf("%s: %lld file%s, record %lld%s.\n", strcmp(o->act, "sign") == 0 ? "Signed" : strcmp(o->act, "review") == 0 ? "Reviewed" : "Revoked",
		    number_of(done, "files"), plural_of(done, "files"), number_of(done, "seq"),
		    json_is_true(json_object_get(done, "repeated")) ? " (done before with this id)" : "");
		if (*pending)
			printf("Decided, but not all is carried out yet: %s\n", pending);
	}
	json_decref(done);
	return rc;
}

enum ctl_exit cmd_diff(struct ctl *c)
{
	const char *target = ctl_site(c, "/diff"), *digest;
	json_t *root = NULL, *line;
	enum ctl_exit rc;
	size_t i;

	rc = ctl_get(c, ctl_query(c, target, "path", ctl_path(c, c->o->args[0])), &root);
	if (rc || c->o->json) {
		if (!rc)
			ctl_print_answer(c);
		json_decref(root);
		return rc;
	}
	print_entry(json_object_get(root, "file"));
	if (json_is_true(json_object_get(root, "too_big")))
		puts("Too large to be compared line by line.");
	else if (json_is_true(json_object_get(root, "binary")))
		puts("Not text: compare fingerprints and sizes (drydock show).");
	json_array_foreach(json_object_get(root, "items"), i, line) {
		const char *kind = text_of(line, "kind");

		fputs(strcmp(kind, "added") == 0 ? "+" : strcmp(kind, "removed") == 0 ? "-" : strcmp(kind, "hunk") == 0 ? "" : " ", stdout);
		print_text(text_of(line, "text"));
		putchar('\n');
	}
	digest = text_of(json_object_get(root, "selection"), "digest");
	if (*digest)
		printf("To sign it: drydock sign --selection %s %s\n", digest, text_of(json_object_get(root, "file"), "path"));
	json_decref(root);
	return EXIT_DONE;
}

static void print_member(const json_t *file, const char *label, const char *name)
{
	const char *value = text_of(file, name);

	if (*value) {
		printf("  %-10s ", label);
		print_text(value);
		putchar('\n');
	}
}

static void print_file(const json_t *file)
{
	const json_t *approved = json_object_get(file, "approved");
	char at[64];

	print_entry(file);
	if (json_is_integer(json_object_get(file, "size"))) {
		puts("Staged:");
		printf("  %-10s %lld bytes%s\n", "size", number_of(file, "size"),
		    json_is_true(json_object_get(file, "exec")) ? ", executable" : "");
		print_member(file, "md5", "md5");
		print_member(file, "sha256", "sha256");
	}
	if (approved) {
		puts(strcmp(text_of(file, "state"), "revoked") == 0 ? "Revoked:" : "Approved:");
		printf("  %-10s record %lld, %s\n", "by", number_of(approved, "seq"), text_of(approved, "user"));
		printf("  %-10s %s\n", "at", print_time(text_of(approved, "at"), at));
		printf("  %-10s %lld bytes\n", "size", number_of(approved, "size"));
		print_member(approved, "md5", "md5");
		print_member(approved, "sha256", "sha256");
	}
	if (json_object_get(file, "review_seq"))
		printf("Reviewed: record %lld, version %.12s\n", number_of(file, "review_seq"), text_of(file, "reviewed_sha256"));
}

/* PATH@SEQ: only digits behind the last @ make it a version; a path may hold an @ of its own */
static const char *split_version(struct ctl *c, const char *typed, const char **version)
{
	const char *at = strrchr(typed, '@');

	*version = NULL;
	if (at && at[1] && strspn(at + 1, "0123456789") == strlen(at + 1)) {
		*version = at + 1;
		return ctl_path(c, arena_dupn(c->arena, typed, (size_t)(at - typed)));
	}
	return ctl_path(c, typed);
}

static enum ctl_exit show_version(struct ctl *c, const char *path, const char *version)
{
	const char *target = ctl_site(c, arena_printf(c->arena, "/records/%s", version));
	json_t *root = NULL, *file;
	char at[64];
	enum ctl_exit rc = ctl_get(c, ctl_query(c, target, "limit", PAGE), &root);
	size_t i;
	bool found = false;

	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc) {
		printf("Record %s: %s by %s, %s\n", version, text_of(root, "act"), text_of(root, "user"), print_time(text_of(root, "at"), at));
		if (*text_of(root, "note")) {
			printf("  %-10s ", "note");
			print_text(text_of(root, "note"));
			putchar('\n');
		}
		print_asked(root);
		json_array_foreach(json_object_get(root, "files"), i, file)
			if (strcmp(text_of(file, "path"), path) == 0) {
				found = true;
				print_member(file, "path", "path");
				printf("  %-10s %lld bytes\n", "size", number_of(file, "size"));
				print_member(file, "md5", "md5");
				print_member(file, "sha256", "sha256");
			}
		if (!found) {
			fprintf(stderr, "drydock: record %s does not name %s.\n", version, path);
			rc = EXIT_NOT_FOUND;
		}
	}
	json_decref(root);
	return rc;
}

enum ctl_exit cmd_show(struct ctl *c)
{
	const char *version, *path = split_version(c, c->o->args[0], &version), *target;
	json_t *root = NULL;
	enum ctl_exit rc;

	if (c->o->content || c->o->staged) {
		target = ctl_site(c, "/content");
		target = ctl_query(c, target, "path", path);
		return ctl_raw(c, ctl_query(c, target, "version", c->o->staged ? "staged" : version ? version : "approved"));
	}
	target = ctl_site(c, "/file");
	if (version)
		return show_version(c, path, version);
	rc = ctl_get(c, ctl_query(c, target, "path", path), &root);
	if (!rc && c->o->json)
		ctl_print_answer(c);
	else if (!rc) {
		print_file(json_object_get(root, "file"));
		if (*text_of(json_object_get(root, "needs"), "text"))
			printf("To sign it: %s\n", text_of(json_object_get(root, "needs"), "text"));
	}
	json_decref(root);
	return rc;
}
