#include "web/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/sys.h"

#define PLACE "/var/tmp" /* /tmp is memory on many systems */

enum err spool_open(int *fd)
{
	*fd = sys_open(AT_FDCWD, PLACE, O_TMPFILE | O_RDWR, 0600);
	return *fd < 0 ? err_sys(ERR_FAILED, "a temporary file in " PLACE) : ERR_OK;
}

enum err spool_rewind(int fd)
{
	return lseek(fd, 0, SEEK_SET) != 0 ? err_sys(ERR_FAILED, "a temporary file in " PLACE) : ERR_OK;
}

enum err spool_blob(struct repo *repo, const struct blob_id *blob, uint64_t limit, const struct sha256 *print, int *fd, uint64_t *size)
{
	struct sha256 now;
	uint64_t bytes;
	enum err e = repo_blob_size(repo, blob, size);

	if (!e && *size > limit)
		e = err_set(ERR_TOO_BIG, "this version has %llu bytes: more than are shown here", (unsigned long long)*size);
	if (!e)
		e = spool_open(fd);
	if (e)
		return e;
	e = repo_blob_copy(repo, blob, *fd);
	if (!e && print)
		e = spool_rewind(*fd);
	if (!e && print && file_sha256(*fd, &now, &bytes))
		e = err_sys(ERR_FAILED, "a temporary file in " PLACE);
	if (!e && print && !sha256_equal(&now, print))
		e = err_set(ERR_STALE, "this version is another one");
	if (!e)
		e = spool_rewind(*fd);
	if (e)
		sys_close(*fd);
	return e;
}

struct sink { int fd; uint64_t limit; };

static enum err into(void *arg, const void *p, size_t n, uint64_t size)
{
	const struct sink *to = arg;

	if (p && size > to->limit)
		return err_set(ERR_TOO_BIG, "it has %llu bytes: more than are shown here", (unsigned long long)size);
	if (p ? sys_write_all(to->fd, p, n) != 0 : sys_ftruncate(to->fd, 0) != 0)
		return err_sys(ERR_FAILED, "a temporary file in " PLACE);
	return p ? ERR_OK : spool_rewind(to->fd);
}

enum err spool_staged(struct door *door, struct path path, uint64_t limit, int *fd, struct fingerprint *print, enum problem *problem)
{
	struct sink to = { .limit = limit };
	enum err e = spool_open(&to.fd);

	if (e)
		return e;
	e = door_read(door, path, print, NULL, problem, into, &to);
	if (!e)
		e = spool_rewind(to.fd);
	if (e)
		sys_close(to.fd);
	*fd = to.fd;
	return e;
}
