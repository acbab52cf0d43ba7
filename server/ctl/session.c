/* The login over HTTP: cookie and CSRF token of one server in a file that only its owner can read. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
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

static const char *session_file(struct ctl *c, const char *dir)
{
	struct sha256 id;
	char hex[SHA256_HEX];

	sha256_of(&id, c->place, strlen(c->place));
	hex_of(hex, id.b, sizeof id.b);
	return arena_printf(c->arena, "%s/session-%.16s", dir, hex);
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
