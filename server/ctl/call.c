/* Calls to the API, and what their statuses mean. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "ctl/ctl.h"

static enum ctl_exit exit_of(int status)
{
	switch (status) {
	case 400: case 405: case 411: case 413: case 414: case 415: case 422: case 431:
		return EXIT_USAGE;
	case 401: case 403:
		return EXIT_REFUSED;
	case 404:
		return EXIT_NOT_FOUND;
	case 409:
		return EXIT_CONFLICT;
	default:
		return EXIT_BROKEN;
	}
}

void ctl_print_answer(struct ctl *c)
{
	fwrite(buf_text(&c->answer), 1, c->answer.len, stdout);
}

enum ctl_exit ctl_problem(struct ctl *c)
{
	json_t *root = NULL;
	bool bad = false;
	const char *detail = NULL;

	if (c->answer.len && json_parse(&root, c->answer.p, c->answer.len) == ERR_OK)
		detail = json_get_str(root, "detail", &bad);
	fflush(stdout);
	fputs("drydock: ", stderr);
	if (detail && !bad) {
		struct buf b = BUF_INIT(1 << 16);

		utf8_visible(&b, detail, strlen(detail), true);
		fputs(buf_text(&b), stderr);
		buf_release(&b);
	} else {
		fprintf(stderr, "the server answered with status %d", c->status);
	}
	fputc('\n', stderr);
	if (c->status == 401 && c->transport == &transport_curl && !*c->token)
		fputs("Log in first: drydock --server URL login NAME\n", stderr);
	json_decref(root);
	if (c->o->json)
		ctl_print_answer(c);
	return exit_of(c->status);
}

static enum ctl_exit settle(struct ctl *c, json_t **root)
{
	if (c->status < 200 || c->status > 299)
		return ctl_problem(c);
	if (!root)
		return EXIT_DONE;
	if (json_parse(root, buf_text(&c->answer), c->answer.len)) {
		fprintf(stderr, "drydock: the server's answer is not understood: %s\n", err_text());
		return EXIT_BROKEN;
	}
	return EXIT_DONE;
}

enum ctl_exit ctl_get(struct ctl *c, const char *target, json_t **root)
{
	const enum ctl_exit rc = c->transport->call(c, "GET", target, NULL, 0);

	return rc ? rc : settle(c, root);
}

enum ctl_exit ctl_post(struct ctl *c, const char *target, json_t *body, json_t **root)
{
	char *text = json_dumps(body, JSON_COMPACT);
	enum ctl_exit rc;

	json_decref(body);
	if (!text) {
		fprintf(stderr, "drydock: an argument is not valid UTF-8.\n");
		return EXIT_USAGE;
	}
	rc = c->transport->call(c, "POST", target, text, strlen(text));
	if (c->line)
		progress_end(c->line);
	free(text);
	return rc ? rc : settle(c, root);
}

enum ctl_exit ctl_raw(struct ctl *c, const char *target)
{
	const enum ctl_exit rc = c->transport->call(c, "GET", target, NULL, 0);

	if (rc)
		return rc;
	if (c->status != 200)
		return ctl_problem(c);
	ctl_print_answer(c);
	return EXIT_DONE;
}

static void encode(struct buf *b, const char *s)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";

	for (; *s; s++)
		if (strchr(plain, *s))
			buf_char(b, *s);
		else
			buf_fmt(b, "%%%02X", (unsigned char)*s);
}

const char *ctl_query(struct ctl *c, const char *target, const char *name, const char *value)
{
	struct buf b = BUF_INIT(1 << 16);
	const char *out;

	if (!value)
		return target;
	buf_fmt(&b, "%s%c%s=", target, strchr(target, '?') ? '&' : '?', name);
	encode(&b, value);
	out = arena_dup(c->arena, buf_text(&b));
	buf_release(&b);
	return out;
}

const char *ctl_path(struct ctl *c, const char *typed)
{
	size_t n = strlen(typed);

	while (n > 1 && typed[n - 1] == '/')
		n--;
	if (strncmp(typed, "./", 2) == 0)
		return arena_printf(c->arena, "%.*s", (int)(n - 1), typed + 1);
	return arena_printf(c->arena, "%s%.*s", *typed == '/' ? "" : "/", (int)n, typed);
}

/* Without --site the server takes the only one that the person sees, and refuses if there are several. */
const char *ctl_site(struct ctl *c, const char *tail)
{
	struct buf b = BUF_INIT(1 << 12);
	const char *out;

	buf_str(&b, "/sites/");
	encode(&b, c->o->site ? c->o->site : "-");
	buf_str(&b, tail);
	out = arena_dup(c->arena, buf_text(&b));
	buf_release(&b);
	return out;
}
