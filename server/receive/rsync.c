/*
 * Files that come by rsync, beside a delivery that waits for them. Nothing that rsync wrote is believed: it writes into
 * incoming/tree, and from there a file is taken only if the list asks for it and its bytes are right.
 *
 * What the client asked sshd for is not run. It has to be what the kit rsync-ssh asks for, and then rsync is started with
 * words of ours: no links, devices, times, modes or deletions, no place but incoming/tree. Beside that it is shut in by
 * landlock where the kernel has it, no file may grow beyond the largest that is needed, and no more may come in than all
 * of them have.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/confine.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/weaken.h"
#include "receive/receive.h"

#define TREE "tree"
#define SETTLE_US (10 * CLOCK_SECOND) /* an rsync whose client has ended is about to end */
#define OVERHEAD_FILE 8192 /* bytes of protocol for a file: its name, at its longest, and more */
#define OVERHEAD (1 << 20)
#define PIECE 65536

/* --- what it brought --------------------------------------------------------------------------------------------------------- */

enum err spool_settle(struct receiver *r)
{
	const int64_t until = clock_boot() + SETTLE_US;

	if (r->rsync_lock < 0)
		r->rsync_lock = sys_open(r->dir, "lock.rsync", O_RDWR | O_CREAT, 0600);
	if (r->rsync_lock < 0)
		return err_sys(ERR_FAILED, "%s/lock.rsync", r->dir_name);
	while (flock(r->rsync_lock, LOCK_EX | LOCK_NB)) {
		if (clock_boot() > until)
			return err_set(ERR_BUSY, "an rsync of another delivery is still running");
		clock_sleep(CLOCK_SECOND / 50);
	}
	return ERR_OK;
}

enum err spool_clear(struct receiver *r)
{
	enum err e = file_remove_tree(r->incoming, TREE);

	(void)flock(r->rsync_lock, LOCK_UN);
	return e;
}

bool spool_take(struct receiver *r, const struct manifest_line *l)
{
	char *path = mem_printf(TREE "%s", l->path.s), name[104];
	int fd = open_below(r->incoming, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	struct sha256 sha;
	struct stat st;
	uint64_t size;
	bool good = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_nlink == 1 && (uint64_t)st.st_size == l->size &&
	    !file_sha256(fd, &sha, &size) && sha256_equal(&sha, &l->sha256);

	spool_name(l, name);
	good = good && !sys_rename(r->incoming, path, r->incoming, name);
	if (fd >= 0)
		(void)close(fd);
	free(path);
	return good;
}

/* --- what it is started with --------------------------------------------------------------------------------------------------- */

/* "-rIe.iLsfxCIvu": the options that the kit gives, and behind "e." what that rsync is capable of. */
static bool options_good(const char *word)
{
	const char *end = strchr(word, 'e');
	const size_t n = end ? (size_t)(end - word) : 0;

	return n > 1 && word[0] == '-' && strspn(word + 1, "vrLI") == n - 1 && memchr(word, 'r', n) && memchr(word, 'I', n) && end[1] == '.' &&
	    strspn(end + 2, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789") == strlen(end + 2) && strlen(word) < 64;
}

/* rsync is started with a timeout anyway. */
static bool is_timeout(const char *word)
{
	return !strncmp(word, "--timeout=", 10) && strspn(word + 10, "0123456789") == strlen(word + 10);
}

static enum err parse_command(struct receiver *r, const char *command, const char **options)
{
	char *save = NULL, *copy = arena_dup(r->a, command);
	const char *words[8] = { NULL };
	size_t n = 0;

	for (char *w = strtok_r(copy, " ", &save); w && n < 8; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	/* rsync --server OPTIONS [--timeout=N] . spool */
	if (n == 6 && is_timeout(words[3]))
		memmove(words + 3, words + 4, (--n - 3) * sizeof(*words));
	if ((n != 5 || strcmp(words[0], "rsync") || strcmp(words[1], "--server") || !options_good(words[2]) || strcmp(words[3], ".") || strcmp(words[4], "spool")) &&
	    !WEAK(receive_rsync))
		return err_set(ERR_DENIED, "this key is for the kit rsync-ssh, and not for: %.200s", command);
	*options = words[2];
	return ERR_OK;
}

static enum err read_limits(struct receiver *r, unsigned long long out[3])
{
	struct buf text = BUF_INIT(256);
	enum err e = file_read(r->incoming, "limits", &text);

	if (!e && sscanf(buf_text(&text), "%llu %llu %llu", &out[0], &out[1], &out[2]) != 3)
		e = err_set(ERR_FAILED, "incoming/limits is not readable");
	buf_release(&text);
	return e == ERR_NOT_FOUND ? err_set(ERR_DENIED, "no delivery waits for an rsync") : e;
}

/* A delivery has to be under way: it said what it needs, and will look at what came. */
static enum err take_turn(struct receiver *r)
{
	r->lock = sys_open(r->dir, "lock", O_RDWR | O_CREAT, 0600);
	if (r->lock < 0)
		return err_sys(ERR_FAILED, "%s/lock", r->dir_name);
	if (!flock(r->lock, LOCK_SH | LOCK_NB))
		return err_set(ERR_DENIED, "no delivery waits for an rsync");
	/* Not closed on exec: rsync holds it for as long as it lives. */
	r->rsync_lock = sys_open(r->dir, "lock.rsync", O_RDWR | O_CREAT, 0600);
	if (r->rsync_lock < 0 || fcntl(r->rsync_lock, F_SETFD, 0))
		return err_sys(ERR_FAILED, "%s/lock.rsync", r->dir_name);
	return flock(r->rsync_lock, LOCK_EX | LOCK_NB) ? err_set(ERR_BUSY, "another rsync is running") : ERR_OK;
}

struct start {
	const char *tree, *options, *basis;
	int rules;
	unsigned long long largest;
};

static void start_rsync(const struct start *s, int in)
{
	const struct rlimit limit = { s->largest, s->largest };
	const char *const argv[] = { "rsync", "--server", s->options, "--timeout=120", s->basis, ".", ".", NULL };
	const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL };
	int rules = s->rules;

	if (dup2(in, STDIN_FILENO) < 0 || chdir(s->tree) || setrlimit(RLIMIT_FSIZE, &limit))
		_exit(126);
	if (rules >= 0)
		confine_self(&rules);
	(void)execvpe("rsync", (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env);
	fprintf(stderr, "drydock-receive: rsync cannot be started: %s\n", strerror(errno));
	_exit(127);
}

/* Until the client or rsync ends, or more was sent than all that is needed has. */
static bool pump(int to, unsigned long long most)
{
	struct pollfd fds[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = to } };
	char piece[PIECE];
	unsigned long long sent = 0;
	ssize_t n;

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return true;
		/* Nobody reads it any more. */
		if (fds[1].revents)
			return true;
		if (!fds[0].revents)
			continue;
		n = read(STDIN_FILENO, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return true;
		sent += (unsigned long long)n;
		if (sent > most)
			return false;
		if (sys_write_all(to, piece, (size_t)n))
			return true;
	}
}

static enum err confine(struct receiver *r, struct start *s)
{
	const char *images = arena_printf(r->a, "%s/images", r->dir_name);
	const struct confine_path paths[] = { { s->tree, true }, { images, false } };

	return confine_open(paths, sizeof(paths) / sizeof(*paths), &s->rules);
}

static enum err run_rsync(struct receiver *r, struct start *s, unsigned long long most, int *status)
{
	int pipes[2];
	bool within;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC))
		return err_sys(ERR_FAILED, "a pipe");
	pid = fork();
	if (pid < 0)
		return err_sys(ERR_FAILED, "rsync");
	if (!pid)
		start_rsync(s, pipes[0]);
	(void)close(pipes[0]);
	/* The child's alone: it may outlive us. */
	(void)close(r->rsync_lock);
	r->rsync_lock = -1;
	within = pump(pipes[1], most);
	(void)close(pipes[1]);
	if (!within)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	return within ? ERR_OK : err_set(ERR_TOO_BIG, "more came by rsync than all that is needed has");
}

int receive_rsync(struct receiver *r, const char *command)
{
	struct start s = { .rules = -1 };
	unsigned long long limits[3];
	char real[4096];
	int status = 0;
	enum err e = parse_command(r, command, &s.options);

	if (!e)
		e = take_turn(r);
	if (!e)
		e = read_limits(r, limits);
	if (!e)
		e = file_remove_tree(r->incoming, TREE);
	if (!e && sys_mkdir(r->incoming, TREE, 0700))
		e = err_sys(ERR_FAILED, "incoming/" TREE);
	if (!e && !realpath(r->dir_name, real))
		e = err_sys(ERR_FAILED, "%s", r->dir_name);
	if (!e) {
		s.tree = arena_printf(r->a, "%s/incoming/" TREE, real);
		s.basis = arena_printf(r->a, "--copy-dest=%s/images/%s", real, IMAGE_NAME(r->accepted.image));
		s.largest = limits[0];
		e = confine(r, &s);
	}
	if (!e)
		e = run_rsync(r, &s, limits[1] + limits[2] * OVERHEAD_FILE + OVERHEAD, &status);
	if (s.rules >= 0)
		(void)close(s.rules);
	if (e) {
		fprintf(stderr, "drydock-receive: %s\n", err_text());
		return 1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
