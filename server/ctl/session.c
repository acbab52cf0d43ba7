/* The login over HTTP: cookie and CSRF token of one server in a file that only its owner can read. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/sys.h"
#include "ctl/ctl.h"

static const char *session_dir(struct ctl *c)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (base && *base == '/')
		return arena_printf(c->arena, "%s/drydock", base);
	return home && *home == '/' ? arena_printf(c->arena, "%s/.config/drydock", home) : NULL;
}

/* One file a server: its address, with everything that does not belong into a file's name as hex. */
static const char *session_file(struct ctl *c, const char *dir)
{
	struct buf name = BUF_INIT(PATH_MAX);
	const char *out;

	buf_fmt(&name, "%s/session-", dir);
	for (const char *s = c->place; *s; s++)
		if (strchr("abcdefghijklmnopqrstuvwxyz0123456789.-", *s))
			buf_char(&name, *s);
		else
			buf_fmt(&name, "%%%02x", (unsigned char)*s);
	out = arena_dup(c->arena, buf_text(&name));
	buf_release(&name);
	return out;
}

void session_load(struct ctl *c)
{
	const char *dir = session_dir(c);
	struct buf b = BUF_INIT(2048);
	char *line;

	if (dir && file_read(AT_FDCWD, session_file(c, dir), &b) == ERR_OK && b.p && (line = strchr(b.p, '\n'))) {
		*line++ = '\0';
		if (strlen(b.p) < sizeof c->cookie && strcspn(line, "\n") < sizeof c->csrf) {
			memcpy(c->cookie, b.p, strlen(b.p) + 1);
			memcpy(c->csrf, line, strcspn(line, "\n"));
		}
	}
	buf_release(&b);
}

bool token_load(struct ctl *c)
{
	const char *name = c->o->token_file ? c->o->token_file : getenv("DRYDOCK_TOKEN_FILE");
	struct buf b = BUF_INIT(sizeof c->token);
	struct stat st;
	bool ok = false;

	if (!name || !*name)
		return true;
	if (stat(name, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077))
		fprintf(stderr, "drydock: %s: others may read this token: chmod 600 it.\n", name);
	else if (file_read(AT_FDCWD, name, &b))
		fprintf(stderr, "drydock: %s\n", err_text());
	else if (strcspn(buf_text(&b), "\r\n") == 0)
		fprintf(stderr, "drydock: %s: there is no token in it.\n", name);
	else
		ok = snprintf(c->token, sizeof c->token, "%.*s", (int)strcspn(buf_text(&b), "\r\n"), buf_text(&b)) > 0;
	if (b.p)
		explicit_bzero(b.p, b.cap);
	buf_release(&b);
	return ok;
}

enum ctl_exit session_save(struct ctl *c)
{
	const char *dir = session_dir(c);
	char *text = arena_printf(c->arena, "%s\n%s\n", c->cookie, c->csrf);

	if (!dir || file_mkdirs(dir, 0700) || file_write(AT_FDCWD, session_file(c, dir), text, strlen(text), 0600)) {
		fprintf(stderr, "drydock: the session could not be kept: %s\n", dir ? err_text() : "neither HOME nor XDG_CONFIG_HOME is set");
		return EXIT_BROKEN;
	}
	return EXIT_DONE;
}

void session_drop(struct ctl *c)
{
	const char *dir = session_dir(c);

	if (dir)
		(void)sys_unlink(AT_FDCWD, session_file(c, dir), 0); /* it may never have been there */
}
