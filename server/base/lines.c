#include "base/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define CAPACITY (256 * 1024)

struct lines {
	int fd;
	size_t longest;
	bool end;
	size_t at, len;
	char p[CAPACITY];
};

struct lines *lines_new(int fd, size_t longest)
{
	struct lines *l = mem_alloc(sizeof(*l));

	l->fd = fd;
	l->longest = longest;
	return l;
}

void lines_free(struct lines *l)
{
	free(l);
}

static enum err fill(struct lines *l)
{
	memmove(l->p, l->p + l->at, l->len - l->at);
	l->len -= l->at;
	l->at = 0;
	while (!l->end && l->len < sizeof(l->p)) {
		ssize_t n = read(l->fd, l->p + l->len, sizeof(l->p) - l->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(ERR_FAILED, "A list could not be read");
		l->end = !n;
		l->len += (size_t)n;
		/* Of a pipe no more than is there. */
		if (n && memchr(l->p + l->len - (size_t)n, '\n', (size_t)n))
			break;
	}
	return ERR_OK;
}

enum err lines_next(struct lines *l, char **line, size_t *len)
{
	char *end = memchr(l->p + l->at, '\n', l->len - l->at);
	enum err e;

	*line = NULL;
	if (!end && !l->end) {
		e = fill(l);
		if (e)
			return e;
		end = memchr(l->p, '\n', l->len);
	}
	if (l->at == l->len)
		return ERR_OK;
	if (!end)
		return err_set(ERR_INPUT, "A list ends in the middle of a line.");
	*len = (size_t)(end - (l->p + l->at));
	if (*len > l->longest || memchr(l->p + l->at, '\0', *len))
		return err_set(ERR_INPUT, "A list has a line that is too long, or holds a NUL.");
	*line = l->p + l->at;
	*end = '\0';
	l->at += *len + 1;
	return ERR_OK;
}
