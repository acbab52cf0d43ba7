/* The history of a path as an archive, and the check of one, which is a program of its own. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "ctl/ctl.h"

/* "/docs/prices.html" of any site: prices.html.evidence.tar.gz, in this directory. */
static const char *default_name(struct ctl *c, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *name = arena_printf(c->arena, "%s.evidence.tar.gz", slash && slash[1] ? slash + 1 : c->o->site ? c->o->site : "site");

	for (char *p = name; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p) || (p == name && (*p == '.' || *p == '-')))
			*p = '_';
	return name;
}

static enum ctl_exit fetch(struct ctl *c, const char *target, int fd)
{
	enum ctl_exit rc;

	c->sink = fd;
	c->sunk = false;
	rc = c->transport->call(c, "GET", target, NULL, 0);
	c->sink = -1;
	if (!rc && c->status != 200)
		rc = ctl_problem(c);
	/* a short answer was answered like any other */
	if (!rc && !c->sunk && sys_write_all(fd, buf_text(&c->answer), c->answer.len)) {
		perror("drydock: writing the archive");
		rc = EXIT_BROKEN;
	}
	return rc;
}

static enum ctl_exit cannot(const char *name)
{
	fprintf(stderr, "drydock: %s: %s\n", name, strerror(errno));
	return EXIT_BROKEN;
}

enum ctl_exit cmd_evidence(struct ctl *c)
{
	const char *path = ctl_path(c, c->o->args[0]), *to = c->o->output ? c->o->output : default_name(c, path), *part;
	const char *target = ctl_query(c, ctl_query(c, ctl_site(c, "/evidence"), "path", path), "current", c->o->current ? "1" : NULL);
	struct stat st;
	enum ctl_exit rc;
	int fd;

	if (strcmp(to, "-") == 0)
		return fetch(c, target, STDOUT_FILENO);
	if (!c->o->output && lstat(to, &st) == 0) {
		fprintf(stderr, "drydock: %s is there already. Say with -o where the archive is to go.\n", to);
		return EXIT_USAGE;
	}
	/* A part of an archive never has its name. */
	part = arena_printf(c->arena, "%s.part", to);
	fd = sys_open(AT_FDCWD, part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return cannot(part);
	rc = fetch(c, target, fd);
	if (sys_close(fd) != 0 && !rc)
		rc = cannot(part);
	if (!rc && sys_rename(AT_FDCWD, part, AT_FDCWD, to) != 0)
		rc = cannot(to);
	if (rc)
		(void)sys_unlink(AT_FDCWD, part, 0); /* it may be gone */
	else
		fprintf(stderr, "%s is written. Check it anywhere with: drydock verify %s --key FINGERPRINT\n", to, to);
	return rc;
}

/* The library with which signatures are checked takes longer to load than most commands take: not in this program. */
enum ctl_exit cmd_verify(struct ctl *c)
{
	const char *argv[2 * 64 + 8] = { "drydock-verify" };
	char *self = arena_alloc(c->arena, 4096), *slash;
	ssize_t n = readlink("/proc/self/exe", self, 4000);
	size_t k = 1;

	if (n <= 0 || !(slash = memrchr(self, '/', (size_t)n))) {
		fputs("drydock: cannot find drydock-verify\n", stderr);
		return EXIT_BROKEN;
	}
	memcpy(slash + 1, "drydock-verify", sizeof("drydock-verify"));
	for (int i = 0; i < c->o->n_keys; i++) {
		argv[k++] = "--key";
		argv[k++] = c->o->keys[i];
	}
	if (c->o->json)
		argv[k++] = "--json";
	argv[k++] = "--";
	argv[k++] = c->o->args[0];
	execv(self, (char *const *)(uintptr_t)argv);
	return cannot(self);
}
