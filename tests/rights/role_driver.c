/*
 * role_driver: answers for tests/rights/differential, which compares them with a second implementation.
 * A line on standard input: rules "principal path role" with tabs between, '|', the user and his groups with blanks between
 * ("-" for no user), '|', paths with blanks between. A line on standard output: for each path the role, and the rule that
 * decided or "-"; then '+' or '.' for "sees something at or below" and "the same role everywhere below".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/role.h"

#define MOST 64

static struct path P(const char *s)
{
	return (struct path){ s, strlen(s) };
}

static size_t split(char *s, char by, char **out)
{
	size_t n = 0;

	while (*s) {
		size_t len = 0;

		while (s[len] && s[len] != by)
			len++;
		if (n == MOST)
			abort();
		out[n++] = s;
		s += len;
		if (*s)
			*s++ = '\0';
	}
	return n;
}

static void answer(char *line)
{
	char *parts[MOST], *words[MOST], *triple[MOST];
	struct rule rules[MOST];
	const char *groups[MOST];
	struct identity who = { .groups = groups };
	size_t n_rules;

	line[strcspn(line, "\n")] = '\0';
	char *who_text = strchr(line, '|'), *paths_text = who_text ? strchr(who_text + 1, '|') : NULL;
	if (!paths_text)
		abort();
	*who_text++ = *paths_text++ = '\0';
	n_rules = split(line, '\t', parts);
	for (size_t i = 0; i < n_rules; i++) {
		if (split(parts[i], ' ', triple) != 3)
			abort();
		rules[i] = (struct rule){ triple[0], P(triple[1]), ROLE_NONE };
		if (!role_parse(&rules[i].role, triple[2]))
			abort();
	}
	size_t n = split(who_text, ' ', words);
	who.user = strcmp(words[0], "-") == 0 ? NULL : words[0];
	for (size_t i = 1; i < n; i++)
		groups[who.n_groups++] = words[i];
	struct rules *set = rules_new(rules, n_rules);
	n = split(paths_text, ' ', words);
	for (size_t i = 0; i < n; i++) {
		struct role_answer a = role_resolve(set, &who, P(words[i]));

		printf("%s%s %s %s%c%c", i ? "\t" : "", role_name(a.role), a.rule ? a.rule->principal : "-", a.rule ? a.rule->path.s : "-",
		    role_sees_below(set, &who, P(words[i])) ? '+' : '.', role_uniform_below(set, &who, P(words[i])) ? '+' : '.');
	}
	putchar('\n');
	rules_unref(set);
}

int main(void)
{
	static char line[1 << 16];

	while (fgets(line, sizeof line, stdin))
		answer(line);
	return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
