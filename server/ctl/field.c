/* What acts ask for beside the note: field list, set, remove; and filling it in for sign, review, revoke. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"

static void print_list(const json_t *list, const char *between)
{
	size_t i;
	const json_t *one;

	json_array_foreach(list, i, one) {
		fputs(i ? between : "", stdout);
		print_text(json_string_value(one));
	}
}

static void print_field(const json_t *item)
{
	print_text(text_of(item, "path"));
	printf("  %s  ", text_of(item, "name"));
	print_text(text_of(item, "label"));
	printf("  (%s%s, with ", text_of(item, "type"), json_is_true(json_object_get(item, "required")) ? ", required" : "");
	print_list(json_object_get(item, "acts"), ", ");
	printf("; record %lld)", number_of(item, "version"));
	if (json_array_size(json_object_get(item, "choices"))) {
		fputs(": ", stdout);
		print_list(json_object_get(item, "choices"), " | ");
	}
	putchar('\n');
}

static enum ctl_exit field_set(struct ctl *c)
{
	const struct options *o = c->o;
	json_t *body, *choices = json_array(), *acts = json_array();
	char *end;
	const long place = o->place ? strtol(o->place, &end, 10) : 0;

	if (o->place && (*end || !*o->place || place < 0 || place > 999)) {
		json_decref(choices);
		json_decref(acts);
		return ctl_usage("field set PATH NAME --label TEXT [--type text|choice|checkbox|date] [--choice TEXT]... [--act sign,review,revoke] "
		    "[--required] [--place 0..999]");
	}
	for (int i = 0; i < o->n_choices; i++)
		json_array_append_new(choices, json_string(o->choices[i]));
	for (const char *p = o->act ? o->act : ""; *(p += strspn(p, ", "));) {
		const size_t n = strcspn(p, ", ");

		json_array_append_new(acts, json_stringn(p, n));
		p += n;
	}
	body = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:b, s:i}", "path", ctl_path(c, o->args[1]), "name", o->args[2], "label",
	    o->label ? o->label : o->args[2], "type", o->type ? o->type : "text", "choices", choices, "acts", acts, "required", o->required,
	    "place", (int)place);
	return ctl_act(c, ctl_site(c, "/fields"), body, "That is asked for now");
}

enum ctl_exit cmd_field(struct ctl *c)
{
	const struct options *o = c->o;

	if (ctl_is(c, 0, "list") && o->n_args <= 2)
		return ctl_list(c, ctl_query(c, ctl_site(c, "/fields"), "path", o->n_args == 2 ? ctl_path(c, o->args[1]) : NULL), print_field,
		    "Acts ask for nothing beside the note.");
	if (ctl_is(c, 0, "set") && o->n_args == 3)
		return field_set(c);
	if (ctl_is(c, 0, "remove") && o->n_args == 3)
		return ctl_act(c, ctl_site(c, "/fields"), json_pack("{s:s, s:s, s:b}", "path", ctl_path(c, o->args[1]), "name", o->args[2], "remove", 1),
		    "It is not asked for any more; what was filled in stays in its records");
	return ctl_usage("field list [PATH] | set PATH NAME --label TEXT ... | remove PATH NAME");
}

/* --- filling in ------------------------------------------------------------------------------------------------------- */

static const json_t *asked_find(const json_t *asked, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(asked, i, item)
		if (strcmp(text_of(item, "name"), name) == 0)
			return item;
	return NULL;
}

static bool is_checkbox(const json_t *item)
{
	return item && strcmp(text_of(item, "type"), "checkbox") == 0;
}

/* "yes" and its like; -1: neither. */
static int yes_or_no(const char *text)
{
	static const char *const words[] = { "no", "yes", "false", "true", "n", "y", "0", "1" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(words[i], text) == 0)
			return (int)(i % 2);
	return -1;
}

/* --field K=V; what the server does not know it refuses itself. */
static bool take_option(const json_t *asked, const char *typed, json_t *values)
{
	const size_t n = strcspn(typed, "=");
	char name[128];
	int yes;

	if (typed[n] != '=' || n == 0 || n >= sizeof name) {
		fprintf(stderr, "drydock: --field takes NAME=VALUE, not \"%s\".\n", typed);
		return false;
	}
	memcpy(name, typed, n);
	name[n] = '\0';
	if (json_object_get(values, name)) {
		fprintf(stderr, "drydock: the field %s is given twice.\n", name);
		return false;
	}
	if (!is_checkbox(asked_find(asked, name)))
		return json_object_set_new(values, name, json_string(typed + n + 1)) == 0;
	yes = yes_or_no(typed + n + 1);
	if (yes < 0)
		fprintf(stderr, "drydock: %s is a checkbox: say yes or no.\n", name);
	return yes >= 0 && json_object_set_new(values, name, json_boolean(yes)) == 0;
}

/* A required one that is missing, on the terminal. False: he gave up. */
static bool ask_one(const json_t *item, json_t *values)
{
	const json_t *choices = json_object_get(item, "choices");
	char line[4096], *end;
	unsigned long number;
	size_t i;
	const json_t *one;

	json_array_foreach(choices, i, one) {
		printf("%4zu  ", i + 1);
		print_text(json_string_value(one));
		putchar('\n');
	}
	print_text(text_of(item, "label"));
	fputs(is_checkbox(item) ? " (yes or no): " : choices && json_array_size(choices) ? " (a number of the list): " :
	    strcmp(text_of(item, "type"), "date") == 0 ? " (a day such as 2026-11-30): " : ": ", stdout);
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		return false;
	line[strcspn(line, "\r\n")] = '\0';
	if (is_checkbox(item))
		json_object_set_new(values, text_of(item, "name"), json_boolean(yes_or_no(line) == 1));
	else if (json_array_size(choices) && (number = strtoul(line, &end, 10), *line && !*end) && number && number <= json_array_size(choices))
		json_object_set(values, text_of(item, "name"), json_array_get(choices, number - 1));
	else
		json_object_set_new(values, text_of(item, "name"), json_string(line));
	return true;
}

enum ctl_exit ctl_fill_in(struct ctl *c, const json_t *shown, json_t *body)
{
	const json_t *asked = json_object_get(shown, "fields"), *item;
	json_t *values = json_object();
	bool fine = true;
	size_t i;

	for (int k = 0; k < c->o->n_fields && fine; k++)
		fine = take_option(asked, c->o->fields[k], values);
	json_array_foreach(asked, i, item)
		if (fine && !c->o->json && isatty(STDIN_FILENO) && json_is_true(json_object_get(item, "required")) && !json_object_get(values, text_of(item, "name")))
			fine = ask_one(item, values);
	if (json_object_size(values))
		json_object_set(body, "fields", values);
	if (json_object_get(shown, "asked"))
		json_object_set(body, "asked", json_object_get(shown, "asked"));
	json_decref(values);
	return fine ? EXIT_DONE : EXIT_USAGE;
}

static void print_value(const json_t *v)
{
	if (json_is_boolean(v))
		fputs(json_is_true(v) ? "yes" : "no", stdout);
	else
		print_text(json_is_string(v) ? json_string_value(v) : "(nothing)");
}

void print_filled(const json_t *record)
{
	const json_t *fields = json_object_get(record, "fields"), *refs = json_object_get(fields, "fields-asked"), *ref;
	char name[128], before[128] = "";
	size_t i;

	json_array_foreach(refs, i, ref) {
		const char *text = json_is_string(ref) ? json_string_value(ref) : "";

		snprintf(name, sizeof name, "%.*s", (int)strcspn(text, " "), text);
		if (!json_object_get(fields, name) || strcmp(name, before) == 0)
			continue;
		printf("        %s: ", name);
		print_value(json_object_get(fields, name));
		putchar('\n');
		memcpy(before, name, sizeof before);
	}
}

void print_asked(const json_t *record)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(record, "asked"), i, item) {
		fputs("  ", stdout);
		print_text(*text_of(item, "label") ? text_of(item, "label") : text_of(item, "name"));
		fputs(": ", stdout);
		print_value(json_object_get(item, "value"));
		printf("  (asked on ");
		print_text(text_of(item, "path"));
		printf(" since record %lld%s)\n", number_of(item, "version"), *text_of(item, "label") ? "" : ", which is not there any more: ask an admin "
		    "for drydockd fsck");
	}
}
