#include "daemon/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>
#include <dirent.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "repo/repo.h"

#define FORMAT "drydock data directory, format 1\n"
#define FORMAT_START "drydock data directory, format "
#define LOCK_WAIT (5 * CLOCK_SECOND)
#define SMALLEST_FREE (UINT64_C(32) << 20) /* bytes: less than this and the database could not even start cleanly */
#define FILES_LEAST 512u /* open files: the private database alone asks for some 300 */
#define FILES_WANTED 4096u

static enum err check_name(const char *dir)
{
	size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 - strlen("/" DATADIR_SOCKET);

	if (strlen(dir) > most)
		return err_set(ERR_INPUT, "%s: the name of a data directory has at most %zu bytes, because sockets live in it", dir, most);
	return ERR_OK;
}

/* ERR_STALE if anything is in it. */
static enum err check_empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	enum err e = ERR_OK;

	if (!d)
		return err_sys(ERR_INPUT, "%s", dir);
	while ((entry = readdir(d)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
			e = err_set(ERR_INPUT, "%s is not empty: a data directory is made from a new or empty directory", dir);
			break;
		}
	(void)closedir(d);
	return e;
}

enum err datadir_init(const char *dir, enum err (*fill)(void *arg, int dir), void *arg)
{
	struct node_key *key = NULL;
	char *file = NULL;
	int fd = -1;
	enum err e = check_name(dir);

	if (e)
		return e;
	e = file_mkdirs(dir, 0711);
	if (e)
		return e;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(ERR_FAILED, "%s", dir);
	if (file_exists(fd, "format")) {
		e = err_set(ERR_STALE, "%s is a data directory already", dir);
		goto out;
	}
	/* What an attempt that was cut short left behind is only the key. */
	if (!file_exists(fd, "node.key") && (e = check_empty(dir)))
		goto out;
	if (sys_fchmod(fd, 0711)) {
		e = err_sys(ERR_FAILED, "%s", dir);
		goto out;
	}
	FAILPOINT(init_directory);
	if (!file_exists(fd, "node.key") && (e = node_key_create(dir)))
		goto out;
	e = node_key_load(&key, dir);
	FAILPOINT_OR(e, init_key);
	if (e)
		goto out;
	file = mem_printf("%s/allowed_signers", dir);
	e = node_key_write_allowed_signers(key, file, clock_wall());
	FAILPOINT_OR(e, init_signers);
	if (!e)
		e = fill(arg, fd);
	FAILPOINT_OR(e, init_filled);
	if (!e)
		e = file_write(fd, "format", FORMAT, strlen(FORMAT), 0644);
out:
	free(file);
	node_key_free(key);
	if (fd >= 0)
		(void)close(fd);
	return e;
}

static enum err check_format(int fd, const char *dir)
{
	struct buf text = BUF_INIT(256);
	enum err e = file_read(fd, "format", &text);

	if (e == ERR_NOT_FOUND)
		e = err_set(ERR_NOT_FOUND, "%s is not a data directory: make one with `drydockd init --data %s`", dir, dir);
	else if (!e && strcmp(buf_text(&text), FORMAT))
		e = strncmp(buf_text(&text), FORMAT_START, strlen(FORMAT_START)) ?
		    err_set(ERR_STALE, "%s/format is damaged", dir) :
		    err_set(ERR_STALE, "%s has the format %.*s of another version of DryDock; this one reads format 1. Nothing was changed.",
		        dir, (int)strcspn(buf_text(&text) + strlen(FORMAT_START), "\n"), buf_text(&text) + strlen(FORMAT_START));
	buf_release(&text);
	return e;
}

static enum err check_space(const char *dir)
{
	struct statvfs st;

	if (statvfs(dir, &st))
		return err_sys(ERR_FAILED, "%s", dir);
	if ((uint64_t)st.f_bavail * st.f_frsize < SMALLEST_FREE)
		return err_set(ERR_FAILED, "%s: less than %u MiB are free on this disk: make room first. Nothing was changed.", dir,
		    (unsigned)(SMALLEST_FREE >> 20));
	return ERR_OK;
}

/* For the daemon and, of the same limit, the private database: files, connections, the repositories' packs. */
static enum err check_open_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return err_sys(ERR_FAILED, "the limit of open files");
	if (r.rlim_cur < FILES_WANTED && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max < FILES_WANTED ? r.rlim_max : FILES_WANTED;
		if (setrlimit(RLIMIT_NOFILE, &r))
			return err_sys(ERR_FAILED, "the limit of open files");
	}
	if (r.rlim_cur < FILES_LEAST)
		return err_set(ERR_FAILED, "only %llu open files are allowed to a process here, and at least %u are needed: raise the hard limit "
		    "(ulimit -Hn, nofile in /etc/security/limits.conf, LimitNOFILE= of a service). Nothing was changed.",
		    (unsigned long long)r.rlim_cur, (unsigned)FILES_LEAST);
	return ERR_OK;
}

/* Who holds the lock, for the sentence. */
static enum err in_use(int fd, const char *dir)
{
	struct buf text = BUF_INIT(32);

	if (buf_read_fd(&text, fd))
		buf_reset(&text);
	(void)err_set(ERR_BUSY, "%s is in use by another drydockd%s%.*s. Stop that one first, or use it: drydock --data %s", dir,
	    text.len ? ", process " : "", (int)strcspn(buf_text(&text), "\n"), buf_text(&text), dir);
	buf_release(&text);
	return ERR_BUSY;
}

/* Is there a process of the number that the lock's file has? */
static bool holder_lives(int fd)
{
	char text[24] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	return pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

/* A child of a daemon that was killed has its lock too, until it runs its own program: that is waited for. */
static int take(int fd)
{
	const int64_t end = clock_boot() + LOCK_WAIT;

	for (;;) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK)
			return -1;
		if (holder_lives(fd) || clock_boot() >= end) {
			errno = EWOULDBLOCK;
			return -1;
		}
		clock_sleep(CLOCK_SECOND / 100);
	}
}

enum err datadir_lock(const char *dir, int *lock)
{
	char pid[24];
	struct stat st;
	int fd = -1, file = -1;
	enum err e = check_name(dir);

	if (e)
		return e;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? err_set(ERR_NOT_FOUND, "%s does not exist: make it with `drydockd init --data %s`", dir, dir) :
		                         err_sys(ERR_FAILED, "%s", dir);
	e = check_format(fd, dir);
	if (e)
		goto out;
	if (fstat(fd, &st)) {
		e = err_sys(ERR_FAILED, "%s", dir);
		goto out;
	}
	if (st.st_uid != geteuid()) {
		e = err_set(ERR_FAILED, "%s belongs to uid %u, but this process runs as uid %u: start it as that user, or as root with option user",
		    dir, (unsigned)st.st_uid, (unsigned)geteuid());
		goto out;
	}
	if (st.st_mode & 022) {
		e = err_set(ERR_FAILED, "%s can be written by others: chmod go-w %s", dir, dir);
		goto out;
	}
	file = sys_open(fd, "lock", O_RDWR | O_CREAT, 0644);
	if (file < 0) {
		e = err_sys(ERR_FAILED, "%s/lock", dir);
		goto out;
	}
	if (take(file)) {
		e = errno == EWOULDBLOCK ? in_use(file, dir) : err_sys(ERR_FAILED, "%s/lock", dir);
		goto out;
	}
	e = check_space(dir);
	if (!e)
		e = check_open_files();
	if (e)
		goto out;
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (sys_ftruncate(file, 0) || sys_pwrite_all(file, pid, strlen(pid), 0)) {
		e = err_sys(ERR_FAILED, "%s/lock", dir);
		goto out;
	}
	*lock = file;
	file = -1;
out:
	if (file >= 0)
		(void)close(file);
	(void)close(fd);
	return e;
}

bool datadir_in_use(const char *dir)
{
	char *name = mem_printf("%s/lock", dir);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	bool held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;

	if (fd >= 0)
		(void)close(fd);
	free(name);
	return held;
}

void datadir_unlock(int lock)
{
	/* The name stays: removing it would let two processes lock two files of that name. */
	if (lock >= 0) {
		(void)sys_ftruncate(lock, 0);
		(void)close(lock);
	}
}
