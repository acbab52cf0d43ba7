/* The data directory: whose it is, and who may read and write what is in it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/sys.h"
#include "check/internal.h"

#define DEPTH 6

/* Secrets: for the daemon's user alone. */
static const char *const SECRETS[] = { "node.key", "node.keys", "db.secret", "first-admins" };
/* What others look after: the database's server, and the export, which is compared file by file. */
static const char *const ELSEWHERE[] = { "db", "db.pid", "export", "export.tmp", "export.foreign" };

static bool listed(const char *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}
#define IS_ONE_OF(list, name) listed(list, sizeof(list) / sizeof(*(list)), name)

/* A key that is kept, or being made, too. */
static bool is_secret(const char *name)
{
	return IS_ONE_OF(SECRETS, name) || strncmp(name, "node.key.", 9) == 0;
}

static bool set_mode(int dir, const char *name, mode_t mode)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool done = fd >= 0 && sys_fchmod(fd, mode) == 0;

	if (fd >= 0)
		sys_close(fd);
	return done;
}

static void check_one(struct check *c, int dir, const char *name, const char *path, const struct stat *st, unsigned depth)
{
	mode_t too_much = depth == 1 && IS_ONE_OF(ELSEWHERE, name) ? 0 : st->st_mode & (depth == 1 && is_secret(name) ? 077 : 022);

	if (st->st_uid != geteuid())
		found(c, FINDING_OWNER, path, "it belongs to uid %u, and DryDock runs as uid %u", (unsigned)st->st_uid, (unsigned)geteuid());
	if (!too_much || S_ISLNK(st->st_mode) || S_ISSOCK(st->st_mode))
		return;
	found(c, FINDING_MODE, path, "others may %s it (mode %04o)", too_much & 022 ? "write" : "read", (unsigned)st->st_mode & 07777);
	if (c->mend && st->st_uid == geteuid() && set_mode(dir, name, st->st_mode & 07777 & ~too_much)) {
		c->mended = true;
		FAILPOINT(mend_mode);
	}
}

static enum err check_directory(struct check *c, const char *path, unsigned depth)
{
	DIR *d = opendir(path);
	struct dirent *entry;

	if (!d) {
		found(c, FINDING_OWNER, path, "it cannot be read: %s", strerror(errno));
		return ERR_OK;
	}
	while ((entry = readdir(d)) && !stopped(c)) {
		char *below;
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		below = mem_printf("%s/%s", path, entry->d_name);
		if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			check_one(c, dirfd(d), entry->d_name, below, &st, depth);
			if (S_ISDIR(st.st_mode) && depth < DEPTH && !IS_ONE_OF(ELSEWHERE, entry->d_name))
				(void)check_directory(c, below, depth + 1);
		}
		free(below);
	}
	closedir(d);
	return stopped(c) ? err_set(ERR_BUSY, "the check was ended before it was done") : ERR_OK;
}

static enum err look(struct check *c, const void *arg)
{
	const char *data = arg;
	struct stat st;

	if (stat(data, &st) != 0)
		return err_sys(ERR_FAILED, "%s", data);
	check_one(c, AT_FDCWD, data, data, &st, 0);
	return check_directory(c, data, 1);
}

enum err check_data(const char *data, const struct check_options *o, struct check_result *out)
{
	const struct check_place nowhere = { .name = "" };

	return check_passes(&nowhere, o, out, look, data);
}
