/*
 * What stock git does for us: fewer packs, and the check of all objects.
 *
 * Fewer packs. Each act leaves one, and a look-up asks each of them. The small ones are put together in geometric
 * progression, so that an object is copied a logarithmic number of times; stock git makes the new pack, deltas included.
 * Every object of the old packs goes along, reachable or not: what an act published before its COMMIT must stay.
 * Loose objects are left alone: they are the large ones, which can only be streamed as such.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "repo/internal.h"

/* Acts and readers go on meanwhile; only a second run would stand in the way. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

#define DEADLINE (600 * CLOCK_SECOND)
#define CHECK_DEADLINE (INT64_C(86400) * CLOCK_SECOND)
#define IDX_COUNT_AT (8 + 255 * 4) /* the last of the fan-out table: how many objects there are */

struct pack_file {
	char *stem; /* "pack-<hex>" */
	uint64_t objects;
};

static int by_objects(const void *a, const void *b)
{
	const struct pack_file *x = a, *y = b;
	return x->objects != y->objects ? (x->objects < y->objects ? -1 : 1) : strcmp(x->stem, y->stem);
}

static bool read_count(int dir, const char *name, uint64_t *objects)
{
	uint8_t n[4];
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, n, sizeof(n), IDX_COUNT_AT) == sizeof(n);

	if (fd >= 0)
		sys_close(fd);
	if (ok)
		*objects = (uint64_t)n[0] << 24 | (uint64_t)n[1] << 16 | (uint64_t)n[2] << 8 | n[3];
	return ok;
}

/* Packs with an index, but for those that somebody told git to keep. */
static enum err list_packs(struct repo *r, int dir, struct pack_file **packs, size_t *n)
{
	int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *entry;
	size_t cap = 0;

	*packs = NULL;
	*n = 0;
	if (!d) {
		if (again >= 0)
			sys_close(again);
		return err_sys(ERR_FAILED, "cannot read %s/objects/pack", r->dir);
	}
	while ((entry = readdir(d)) != NULL) {
		size_t len = strlen(entry->d_name);
		struct pack_file pack = { 0 };
		char *keep;
		bool kept;

		if (len < 10 || strncmp(entry->d_name, "pack-", 5) != 0 || strcmp(entry->d_name + len - 4, ".idx") != 0 ||
		    !read_count(dir, entry->d_name, &pack.objects))
			continue;
		pack.stem = mem_dupn(entry->d_name, len - 4);
		keep = mem_printf("%s.keep", pack.stem);
		kept = faccessat(dir, keep, F_OK, 0) == 0;
		free(keep);
		if (kept) {
			free(pack.stem);
			continue;
		}
		if (*n == cap)
			*packs = mem_grow(*packs, &cap, *n + 1, sizeof(**packs));
		(*packs)[(*n)++] = pack;
	}
	closedir(d);
	if (*n > 1)
		qsort(*packs, *n, sizeof(**packs), by_objects);
	return ERR_OK;
}

/* How many of the smallest to put together, so that each pack left has twice the objects of all before it. */
static size_t split(const struct pack_file *packs, size_t n)
{
	uint64_t sum = 0;
	size_t last = 0;

	for (size_t i = 0; i < n; i++) {
		if (i > 0 && packs[i].objects < 2 * sum)
			last = i + 1;
		sum += packs[i].objects;
	}
	return last;
}

static enum err combine(struct repo *r, const struct pack_file *packs, size_t n, char stem[64])
{
	char *prefix = mem_printf("%s/objects/pack/pack", r->dir);
	const char *argv[] = { "git", "--git-dir", r->dir, "-c", "pack.threads=1", "-c", "pack.windowMemory=64m", "-c",
		"core.bigFileThreshold=1m", "pack-objects",
		"--stdin-packs", "-q", prefix, NULL };
	struct buf input = BUF_INIT(1024 * 1024), out = BUF_INIT(256), errors = BUF_INIT(2048);
	struct spawn s = { .argv = argv, .env = git_environment, .deadline_us = DEADLINE, .out = &out, .err_out = &errors };
	struct spawn_result result;
	uint8_t id[BLOB_ID_SIZE];
	enum err e;

	for (size_t i = 0; i < n; i++)
		buf_fmt(&input, "%s.pack\n", packs[i].stem);
	e = buf_check(&input);
	s.input = input.p;
	s.input_len = input.len;
	if (!e)
		e = spawn_run(&s, &result);
	if (!e && result.status != 0)
		e = err_set(ERR_FAILED, "git pack-objects in %s ended with %d: %s", r->dir, result.status, buf_text(&errors));
	if (!e) {
		if (out.len > 0 && out.p[out.len - 1] == '\n')
			out.p[out.len - 1] = '\0';
		if (!hex_parse(id, sizeof(id), buf_text(&out)))
			e = err_set(ERR_FAILED, "git pack-objects in %s did not name one pack: %s", r->dir, buf_text(&out));
		else
			snprintf(stem, 64, "pack-%s", buf_text(&out));
	}
	free(prefix);
	buf_release(&input);
	buf_release(&out);
	buf_release(&errors);
	return e;
}

/* The index first: without it a pack is not there for anybody. */
static enum err remove_pack(struct repo *r, int dir, const char *stem)
{
	static const char *const kinds[] = { "idx", "rev", "bitmap", "pack" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char *name = mem_printf("%s.%s", stem, kinds[i]);
		enum err e = ERR_OK;
		if (sys_unlink(dir, name, 0) != 0 && errno != ENOENT)
			e = err_sys(ERR_FAILED, "cannot remove %s from %s", name, r->dir);
		free(name);
		FAILPOINT_OR(e, repack_file_gone);
		if (e)
			return e;
	}
	return ERR_OK;
}

static enum err maintain(struct repo *r, unsigned above, bool *done)
{
	char *path = mem_printf("%s/objects/pack", r->dir);
	struct pack_file *packs = NULL;
	size_t n = 0, few;
	char stem[64];
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e;

	*done = false;
	if (dir < 0) {
		e = err_sys(ERR_FAILED, "cannot open %s", path);
		goto out;
	}
	e = list_packs(r, dir, &packs, &n);
	if (e || n <= above)
		goto out;
	few = split(packs, n);
	if (few < 2)
		goto out;
	FAILPOINT(repack_begun);
	e = combine(r, packs, few, stem);
	FAILPOINT_OR(e, repack_made);
	/* on disk with its name before anything is taken away */
	if (!e && sys_syncfs(dir) != 0)
		e = err_sys(ERR_FAILED, "cannot make a pack durable in %s", r->dir);
	FAILPOINT_OR(e, repack_synced);
	repo_removal_begin();
	for (size_t i = 0; i < few && !e; i++)
		if (strcmp(packs[i].stem, stem) != 0)
			e = remove_pack(r, dir, packs[i].stem);
	repo_removal_end();
	repo_refresh(r);
	FAILPOINT(repack_done);
	if (!e) {
		*done = true;
		log_event(LOG_LEVEL_INFO, "repo.repacked", "repository", r->dir, "packs", log_u64(n), "left", log_u64(n - few + 1), NULL);
	}
out:
	for (size_t i = 0; i < n; i++)
		free(packs[i].stem);
	free(packs);
	if (dir >= 0)
		sys_close(dir);
	free(path);
	return e;
}

enum err repo_maintain(struct repo *r, unsigned above, bool *done)
{
	enum err e;

	pthread_mutex_lock(&one_at_a_time);
	e = maintain(r, above, done);
	pthread_mutex_unlock(&one_at_a_time);
	return e;
}

/* --- the check of all objects ------------------------------------------------------------------------------------- */

enum err repo_check(const struct repo *r, bool deep, atomic_int *stop, void (*fn)(void *arg, const char *what), void *arg)
{
	const char *argv[] = { "git", "--git-dir", r->dir, "fsck", "--strict", "--full", "--no-dangling", "--no-progress",
		deep ? NULL : "--connectivity-only", NULL };
	struct buf out = BUF_INIT(64 * 1024);
	struct spawn s = { .argv = argv, .env = git_environment, .deadline_us = CHECK_DEADLINE, .out = &out, .cancel = stop };
	struct spawn_result result;
	enum err e = spawn_run(&s, &result);
	char *line, *rest = NULL;

	if (!e && result.cancelled)
		e = err_set(ERR_BUSY, "git fsck of %s was ended before it was done", r->dir);
	if (!e && result.timed_out)
		e = err_set(ERR_FAILED, "git fsck of %s took more than a day", r->dir);
	if (!e && out.len > 0)
		for (line = strtok_r(out.p, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
			if (strncmp(line, "notice: ", 8) != 0) /* "HEAD points to an unborn branch": before the first release */
				fn(arg, line);
	if (!e && result.status != 0 && out.len == 0)
		e = err_set(ERR_FAILED, "git fsck of %s ended with %d", r->dir, result.status);
	buf_release(&out);
	return e;
}
