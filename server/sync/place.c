/*
 * The place of a target on this machine, read again after its kit has ended: nobody else could confirm what is there, and
 * a kit's word alone is not enough. By the list of what was to change, or of everything where that was not known.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/manifest.h"
#include "sync/internal.h"

#define BLOCK (256 * 1024)

static int open_below(int dir, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, dir, path + 1, &how, sizeof(how));
}

static bool same_bytes(int fd, const struct sha256 *want, char *block)
{
	struct sha256_stream *s = sha256_stream_new();
	struct sha256 sha;
	ssize_t n;

	while ((n = read(fd, block, BLOCK)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0)
			sha256_stream_add(s, block, (size_t)n);
	sha256_stream_end_free(s, &sha);
	return !n && sha256_equal(&sha, want);
}

static enum err check_line(int place, const struct manifest_line *l, char *block)
{
	struct stat st;
	int fd = open_below(place, l->path.s);
	bool good;

	if (l->gone) {
		/* A directory may have taken its name. */
		good = fd < 0 ? errno == ENOENT || errno == ENOTDIR : !fstat(fd, &st) && S_ISDIR(st.st_mode);
	} else {
		good = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == l->size && !(st.st_mode & S_IXUSR) == !l->exec &&
		    same_bytes(fd, &l->sha256, block);
	}
	if (fd >= 0)
		(void)close(fd);
	if (good)
		return ERR_OK;
	return l->gone ? err_set(ERR_STALE, "%s is still at the place", l->path.s) : err_set(ERR_STALE, "%s at the place is not what %s signed", l->path.s, l->signer);
}

enum err place_check(const char *place, const char *papers, atomic_int *cancel)
{
	struct manifest_reading list = { .n = 0 };
	struct manifest_line l;
	char *block = mem_alloc(BLOCK);
	bool got = false;
	int at = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir = open(papers, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e = at < 0 || dir < 0 ? err_sys(ERR_FAILED, "%s", at < 0 ? place : papers) : manifest_reading_add(&list, dir, "list");

	while (!e && !(e = list.source.next(list.source.arg, &l, &got)) && got) {
		e = *cancel ? err_set(ERR_BUSY, "it was broken off") : check_line(at, &l, block);
	}
	manifest_reading_end(&list);
	if (at >= 0)
		(void)close(at);
	if (dir >= 0)
		(void)close(dir);
	free(block);
	return e;
}
