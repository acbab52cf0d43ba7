#include "web/evidence.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "evidence/evidence.h"
#include "web/life.h"

/* It reads a whole history and takes room on the disk. */
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

static bool stopping(void *web)
{
	struct web *w = web;
	bool answer;

	pthread_mutex_lock(&w->lock);
	answer = w->stopping;
	pthread_mutex_unlock(&w->lock);
	return answer;
}

/* "www-docs-prices.html.evidence.tar.gz": letters that every file system takes. */
static const char *archive_name(struct req *r)
{
	const char *path = path_is_root(r->path) ? "" : r->path.s;
	char *name = arena_printf(r->arena, "%s%.120s.evidence.tar.gz", r->site->name, path);

	for (char *p = name; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p))
			*p = '-';
	return name;
}

static enum err make(struct req *r, bool current, int *fd, uint64_t *size)
{
	struct repo *repo;
	struct stat st;
	enum err e = tools_repo(r->tools, r->site, &repo);

	*fd = -1;
	if (e)
		return e;
	*fd = sys_open(AT_FDCWD, r->site->dir, O_TMPFILE | O_RDWR, 0600);
	if (*fd < 0)
		return err_sys(ERR_FAILED, "cannot make a temporary file in %s", r->site->dir);
	e = evidence_make(repo, r->site->name, r->path, current, r->site->dir, *fd, stopping, r->web);
	if (!e && (fstat(*fd, &st) || lseek(*fd, 0, SEEK_SET) != 0))
		e = err_sys(ERR_FAILED, "a temporary file");
	if (!e)
		*size = (uint64_t)st.st_size;
	return e;
}

enum err reply_evidence(struct req *r)
{
	const char *current = req_query(r, "current");
	uint64_t size = 0;
	int fd;
	enum err e;

	if (current && strcmp(current, "0") != 0 && strcmp(current, "1") != 0)
		return err_set(ERR_INPUT, "current is 0 or 1.");
	if (!req_patient(r))
		return ERR_RETRY;
	if (pthread_mutex_trylock(&one))
		return err_set(ERR_BUSY, "Another archive is being made. Try again when it is done.");
	e = make(r, current && *current == '1', &fd, &size);
	pthread_mutex_unlock(&one);
	if (!e)
		return reply_fd(r, "application/gzip", fd, size, archive_name(r));
	if (fd >= 0)
		sys_close(fd);
	return e;
}
