/*
 * What is set right at start, before anything is read: leftovers of acts that never ended, and the index of a pack.
 * Publishing an act syncs its pack and the directory but not the index, which can be made from the pack again: one sync
 * less for each act, for one look at each index here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "repo/internal.h"

#define TMP_DIR "drydock-tmp"
#define SHA1_SIZE 20
#define IDX_HEAD (8 + 256 * 4)
#define DEADLINE (3600 * CLOCK_SECOND)

/* Whole, and with the checksum that its last bytes say? */
static bool index_good(int dir, const char *name)
{
	uint8_t sum[SHA1_SIZE];
	uint8_t *p = MAP_FAILED;
	unsigned len = 0;
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool good = false;
	size_t n = 0;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= IDX_HEAD + 2 * SHA1_SIZE) {
		n = (size_t)st.st_size;
		p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	if (p != MAP_FAILED) {
		good = memcmp(p, "\377tOc\0\0\0\2", 8) == 0 && EVP_Digest(p, n - SHA1_SIZE, sum, &len, EVP_sha1(), NULL) == 1 &&
		    len == SHA1_SIZE && memcmp(sum, p + n - SHA1_SIZE, SHA1_SIZE) == 0;
		munmap(p, n);
	}
	if (fd >= 0)
		sys_close(fd);
	return good;
}

static enum err run_index_pack(struct repo *r, const char *pack, const char *idx)
{
	const char *argv[] = { "git", "--git-dir", r->dir, "index-pack", "-o", idx, pack, NULL };
	struct buf out = BUF_INIT(2048);
	struct spawn s = { .argv = argv, .env = git_environment, .deadline_us = DEADLINE, .out = &out };
	struct spawn_result result;
	enum err e = spawn_run(&s, &result);

	if (!e && result.status != 0)
		e = err_set(ERR_FAILED, "git index-pack ended with %d: %s", result.status, buf_text(&out));
	buf_release(&out);
	return e;
}

static enum err make_index(struct repo *r, int dir, const char *stem)
{
	char *pack = mem_printf("%s/objects/pack/%s.pack", r->dir, stem);
	char *tmp = mem_printf("%s/" TMP_DIR "/%s.idx", r->dir, stem);
	char *name = mem_printf("%s.idx", stem);
	int fd = -1;
	enum err e = run_index_pack(r, pack, tmp);

	if (!e) {
		FAILPOINT(mend_index_made);
		fd = open(tmp, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || sys_fsync(fd) != 0 || sys_rename(AT_FDCWD, tmp, dir, name) != 0 || sys_fsync(dir) != 0)
			e = err_sys(ERR_FAILED, "cannot replace the index of %s", pack);
	}
	if (fd >= 0)
		sys_close(fd);
	free(pack);
	free(tmp);
	free(name);
	return e;
}

/* A pack that cannot be indexed is damaged: reading will say so, and the others are not held up by it. */
static void check_pack(struct repo *r, int dir, const char *stem)
{
	char *idx = mem_printf("%s.idx", stem);

	if (!index_good(dir, idx)) {
		if (make_index(r, dir, stem))
			log_event(LOG_LEVEL_ERROR, "repo.bad_pack", "repository", r->dir, "pack", stem, "why", err_text(), NULL);
		else
			log_event(LOG_LEVEL_WARN, "repo.index_made", "repository", r->dir, "pack", stem, NULL);
	}
	free(idx);
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), k = strlen(end);
	return n > k && strcmp(name + n - k, end) == 0;
}

/*
 * Locks of refs that a process left which died with them: libgit2 would wait for their owner for ever. There is none,
 * since one process at a time has the data directory. Files of git that did not end lie in objects/pack.
 */
static enum err remove_leftovers(int above, const char *name, const char *begin, const char *end, int depth)
{
	int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	enum err e = ERR_OK;

	if (!d) {
		e = err_sys(ERR_FAILED, "cannot read %s of the repository", name);
		if (fd >= 0)
			sys_close(fd);
		return e;
	}
	while (!e && (entry = readdir(d)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (entry->d_type == DT_DIR && depth < 16)
			e = remove_leftovers(dirfd(d), entry->d_name, begin, end, depth + 1);
		else if (strncmp(entry->d_name, begin, strlen(begin)) == 0 && ends_with(entry->d_name, end)) {
			log_event(LOG_LEVEL_WARN, "repo.leftover", "file", entry->d_name, NULL);
			FAILPOINT(mend_leftover);
			if (sys_unlink(dirfd(d), entry->d_name, 0) != 0)
				e = err_sys(ERR_FAILED, "cannot remove %s of the repository", entry->d_name);
		}
	}
	closedir(d);
	return e;
}

static enum err check_indexes(struct repo *r)
{
	char *path = mem_printf("%s/objects/pack", r->dir);
	char **stems = NULL;
	size_t n = 0, cap = 0;
	DIR *d = opendir(path);
	struct dirent *entry;
	enum err e = ERR_OK;

	if (!d) {
		e = err_sys(ERR_FAILED, "cannot read %s", path);
		free(path);
		return e;
	}
	while ((entry = readdir(d)) != NULL) {
		size_t len = strlen(entry->d_name);
		if (len <= 10 || strncmp(entry->d_name, "pack-", 5) != 0 || strcmp(entry->d_name + len - 5, ".pack") != 0)
			continue;
		if (n == cap)
			stems = mem_grow(stems, &cap, n + 1, sizeof(*stems));
		stems[n++] = mem_dupn(entry->d_name, len - 5);
	}
	for (size_t i = 0; i < n; i++) {
		check_pack(r, dirfd(d), stems[i]);
		free(stems[i]);
	}
	free(stems);
	closedir(d);
	free(path);
	return ERR_OK;
}

enum err repo_clean_temporary(struct repo *r)
{
	int fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e;

	if (fd < 0)
		return err_sys(ERR_FAILED, "cannot open the repository %s", r->dir);
	e = file_remove_tree(fd, TMP_DIR);
	if (!e && sys_mkdir(fd, TMP_DIR, 0700) != 0)
		e = err_sys(ERR_FAILED, "cannot create %s/" TMP_DIR, r->dir);
	if (!e)
		e = remove_leftovers(fd, "refs", "", ".lock", 0);
	if (!e)
		e = remove_leftovers(fd, "objects/pack", "tmp_", "", 0);
	if (!e && sys_unlink(fd, "packed-refs.lock", 0) != 0 && errno != ENOENT)
		e = err_sys(ERR_FAILED, "cannot remove packed-refs.lock of %s", r->dir);
	sys_close(fd);
	if (!e)
		e = check_indexes(r);
	/* what a handle saw of a bad index is forgotten */
	if (!e)
		repo_repacked();
	return e;
}
