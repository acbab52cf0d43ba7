#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "ctl/ctl.h"

void print_state(const char *state)
{
	static const struct {
		const char *state, *symbol;
	} symbols[] = { { "signed", "●" }, { "changed", "◐" }, { "unsigned", "○" }, { "missing", "⊘" }, { "revoked", "✕" },
		{ "preapproved", "◇" }, { "unpublishable", "!" } };

	for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
		if (strcmp(symbols[i].state, state) == 0)
			printf("%s ", symbols[i].symbol);
	printf("%-13s ", state);
}

const char *print_time(const char *rfc3339, char out[64])
{
	int64_t wall;
	char ago[32];

	if (!rfc3339 || clock_parse(&wall, rfc3339))
		return "-";
	clock_relative(wall, clock_wall(), ago);
	snprintf(out, 64, "%.10s %.8s UTC (%s)", rfc3339, rfc3339 + 11, ago);
	return out;
}

void print_text(const char *text)
{
	struct buf b = BUF_INIT(1 << 20);

	utf8_visible(&b, text, strlen(text), false);
	fputs(buf_text(&b), stdout);
	buf_release(&b);
}

bool ask_yes(const char *question)
{
	char line[16];

	fflush(stdout);
	fprintf(stderr, "%s [y/N] ", question);
	return fgets(line, sizeof line, stdin) && (*line == 'y' || *line == 'Y');
}

const char *text_of(const json_t *obj, const char *name)
{
	const char *s = json_string_value(json_object_get(obj, name));

	return s ? s : "";
}

long long number_of(const json_t *obj, const char *name)
{
	return (long long)json_integer_value(json_object_get(obj, name));
}

const char *plural_of(const json_t *obj, const char *name)
{
	return number_of(obj, name) == 1 ? "" : "s";
}
