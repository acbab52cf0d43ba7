#include "base/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"

#define TERM_GRACE (2 * CLOCK_SECOND) /* from SIGTERM to SIGKILL */
#define PIPE_GRACE (CLOCK_SECOND / 2) /* what a grandchild gets that holds our pipe after the program ended */
#define SESSION_ROUNDS 1000 /* of looking for what is left of a session */
#define CANCEL_POLL 50 /* ms between looks at the cancel flag */

static const char *const SEARCH[] = { "/usr/sbin", "/usr/bin", "/sbin", "/bin" };
static const char *const DEFAULT_ENV[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL };

static bool is_program(const char *file)
{
	struct stat st;

	return stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0;
}

static enum err find_program(const char *name, char out[4096])
{
	if (strchr(name, '/')) {
		if (snprintf(out, 4096, "%s", name) >= 4096 || access(out, F_OK))
			return err_set(ERR_NOT_FOUND, "there is no program %s", name);
		return ERR_OK;
	}
	for (size_t i = 0; i < sizeof(SEARCH) / sizeof(SEARCH[0]); i++)
		if (snprintf(out, 4096, "%s/%s", SEARCH[i], name) < 4096 && is_program(out))
			return ERR_OK;
	return err_set(ERR_NOT_FOUND, "there is no program %s in /usr/sbin:/usr/bin:/sbin:/bin", name);
}

/* What the child gets as 0, 1 and 2. */
struct child_fds {
	int in, out, err;
};

/* Descriptors of ours must not be 0, 1 or 2, or the child's dup2 calls would step on one another. */
static int above_stdio(int fd)
{
	if (fd < 0 || fd > 2)
		return fd;
	int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int saved = errno;
	close(fd);
	errno = saved;
	return up;
}

static int pipe_above(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC))
		return -1;
	fds[0] = above_stdio(fds[0]);
	fds[1] = above_stdio(fds[1]);
	if (fds[0] >= 0 && fds[1] >= 0)
		return 0;
	int saved = errno;
	for (int i = 0; i < 2; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
	errno = saved;
	return -1;
}

/* The usual way: posix_spawn shares our memory until exec (as vfork does), so its cost does not grow with the daemon. */
static int start_spawn(const char *file, const char *const *argv, const char *const *env, const char *cwd,
    const struct child_fds *fds, bool session, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	if ((rc = posix_spawn_file_actions_init(&actions)))
		return rc;
	if ((rc = posix_spawnattr_init(&attr))) {
		posix_spawn_file_actions_destroy(&actions);
		return rc;
	}
	(void)((rc = posix_spawn_file_actions_adddup2(&actions, fds->in, 0)) ||
	       (rc = posix_spawn_file_actions_adddup2(&actions, fds->out, 1)) ||
	       (rc = posix_spawn_file_actions_adddup2(&actions, fds->err, 2)) ||
	       (rc = posix_spawn_file_actions_addclosefrom_np(&actions, 3)) ||
	       (rc = posix_spawn_file_actions_addchdir_np(&actions, cwd)) ||
	       (rc = posix_spawnattr_setsigmask(&attr, &none)) || (rc = posix_spawnattr_setsigdefault(&attr, &all)) ||
	       (rc = posix_spawnattr_setpgroup(&attr, 0)) ||
	       (rc = posix_spawnattr_setflags(&attr, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
	                                             (session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP)))) ||
	       (rc = posix_spawn(pid, file, &actions, &attr, (char *const *)(uintptr_t)argv,
	                 (char *const *)(uintptr_t)env)));
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

/*
 * With work of the caller's to do in the child, posix_spawn's way is gone by hand: clone() with our memory, this thread
 * waiting until exec. A fork would copy the page tables of the whole daemon, several milliseconds for nothing.
 */
struct child {
	const struct spawn *s;
	const char *file, *cwd;
	const char *const *env;
	struct child_fds fds;
	int error; /* errno of what failed */
};

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1 /* clang's way to say it */
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CHILD_FLAGS (CLONE_VFORK | SIGCHLD) /* the sanitizer's own state must not be shared with a child */
#else
#define CHILD_FLAGS (CLONE_VM | CLONE_VFORK | SIGCHLD)
#endif
#define CHILD_STACK (256 * 1024)
#define CHILD_GUARD (64 * 1024) /* a multiple of every page size */

/* In the child: async-signal-safe calls only, and nothing of ours is written but c->error. Comes back only to fail. */
__attribute__((no_sanitize("address", "undefined", "thread"))) static int child(void *c_)
{
	struct child *c = c_;
	struct sigaction standard = { .sa_handler = SIG_DFL };
	sigset_t none;

	/* All signals are blocked still, so that no handler of ours runs here. */
	for (int i = 1; i < _NSIG; i++)
		sigaction(i, &standard, NULL);
	if ((c->s->session ? setsid() < 0 : setpgid(0, 0)) || dup2(c->fds.in, 0) < 0 || dup2(c->fds.out, 1) < 0 || dup2(c->fds.err, 2) < 0 || chdir(c->cwd)) {
		c->error = errno;
		_exit(127);
	}
	/* Before the descriptors are closed: it may hold one, a landlock rule set for instance. */
	c->s->before_exec(c->s->before_arg);
	closefrom(3);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(c->file, (char *const *)(uintptr_t)c->s->argv, (char *const *)(uintptr_t)c->env);
	c->error = errno;
	_exit(127);
}

static int start_clone(const struct spawn *s, const char *file, const char *const *env, const char *cwd,
    const struct child_fds *fds, pid_t *pid)
{
	size_t size = CHILD_GUARD + CHILD_STACK;
	sigset_t all, old;
	int error = 0;

	/* Shared, so that c->error comes back even where the memory is not ours (see CHILD_FLAGS). */
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED)
		return errno;
	if (mprotect(stack, CHILD_GUARD, PROT_NONE)) {
		error = errno;
		munmap(stack, size);
		return error;
	}
	size_t top = (size - sizeof(struct child)) & ~(size_t)63;
	struct child *c = (struct child *)(void *)(stack + top);
	*c = (struct child){ .s = s, .file = file, .cwd = cwd, .env = env, .fds = *fds };
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	*pid = clone(child, stack + top, CHILD_FLAGS, c);
	if (*pid < 0)
		error = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (*pid > 0 && c->error) {
		error = c->error;
		while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	munmap(stack, size);
	return error;
}

static enum err start_error(int rc, const char *file)
{
	errno = rc;
	return err_sys(ERR_FAILED, "%s: cannot be started", file);
}

/* Input as a file in memory: no pipe to feed, and no SIGPIPE from a program that does not read it. */
static enum err input_fd(const struct spawn *s, int *fd)
{
	if (s->input_fd) {
		*fd = fcntl(*s->input_fd, F_DUPFD_CLOEXEC, 3);
		return *fd < 0 ? err_sys(ERR_FAILED, "cannot prepare the input of %s", s->argv[0]) : ERR_OK;
	}
	if (!s->input || s->input_len == 0) {
		*fd = above_stdio(open("/dev/null", O_RDONLY | O_CLOEXEC));
		return *fd < 0 ? err_sys(ERR_FAILED, "/dev/null") : ERR_OK;
	}
	*fd = above_stdio(memfd_create("input", MFD_CLOEXEC));
	if (*fd < 0 || sys_write_all(*fd, s->input, s->input_len) || lseek(*fd, 0, SEEK_SET) < 0)
		return err_sys(ERR_FAILED, "cannot prepare the input of %s", s->argv[0]);
	return ERR_OK;
}

struct run {
	const struct spawn *s;
	struct spawn_result *r;
	pid_t pid;
	int pidfd, out, err, asked; /* -1: closed */
	bool ended;
	int64_t ended_at, term_at, started, heard;
	bool killed;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void end_group(struct run *u)
{
	if (u->term_at)
		return;
	u->term_at = clock_boot();
	/* The group's number stays ours while its leader is not reaped. */
	kill(-u->pid, SIGTERM);
}

/* Is it over, and only waiting to be reaped, or gone? */
static bool is_dead(const char *pid)
{
	char file[64], text[1024];
	const char *p;
	int fd;
	ssize_t n;

	snprintf(file, sizeof(file), "/proc/%.20s/stat", pid);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return true;
	text[n] = '\0';
	/* Behind its name, which may hold anything: proc(5). */
	p = strrchr(text, ')');
	return p && p[1] == ' ' && (p[2] == 'Z' || p[2] == 'X');
}

/*
 * Processes of the session that have a group of their own. One that forks while we look is found the next time. Of each
 * process of the machine only its session is asked for, by one call: to read its stat file takes a hundred times as long.
 */
static void end_session(pid_t leader)
{
	for (int round = 0, found = 1; found && round < SESSION_ROUNDS; round++) {
		DIR *proc = opendir("/proc");

		found = 0;
		for (struct dirent *d; proc && (d = readdir(proc));) {
			const pid_t pid = d->d_name[0] < '1' || d->d_name[0] > '9' ? 0 : (pid_t)strtol(d->d_name, NULL, 10);

			if (!pid || getsid(pid) != leader || is_dead(d->d_name))
				continue;
			found += !kill(pid, SIGKILL);
		}
		if (proc)
			closedir(proc);
		if (found)
			clock_sleep(CLOCK_SECOND / 1000);
	}
}

static void drain(struct run *u, int *fd, struct buf *to, bool progress)
{
	char piece[16384];

	/* One piece a turn, so that a program that never stops writing does not keep us from its deadline. */
	ssize_t n = read(*fd, piece, sizeof(piece));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		close_fd(fd);
		return;
	}
	if (!u->s->unheard)
		u->heard = clock_boot();
	if (to)
		buf_add(to, piece, (size_t)n);
	if (progress && u->s->progress && !u->term_at && !u->s->progress(u->s->progress_arg, piece, (size_t)n)) {
		u->r->cancelled = true;
		end_group(u);
	}
}

/* Ask for the end where it is due; returns the milliseconds until this must be looked at again, -1 for never. */
static int look_at_time(struct run *u)
{
	int64_t now = clock_boot(), next = INT64_MAX;

	if (u->ended) {
		next = u->ended_at + PIPE_GRACE;
	} else if (u->term_at) {
		next = u->term_at + TERM_GRACE;
		if (now >= next && !u->killed) {
			kill(-u->pid, SIGKILL);
			u->killed = true;
		}
		if (u->killed)
			next = INT64_MAX;
	} else {
		if (u->s->cancel && *u->s->cancel) {
			u->r->cancelled = true;
			end_group(u);
			return 0;
		}
		if (u->s->hurry && *u->s->hurry && now >= u->heard + u->s->silence_us) {
			u->r->silent = true;
			end_group(u);
			return 0;
		}
		if (u->s->deadline_us) {
			next = u->started + u->s->deadline_us;
			if (now >= next) {
				u->r->timed_out = true;
				end_group(u);
				return 0;
			}
		}
	}
	int64_t ms = next == INT64_MAX ? -1 : next <= now ? 0 : (next - now) / 1000 + 1;
	if (ms > 60000)
		ms = 60000;
	if (u->s->cancel && !u->term_at && !u->ended && (ms < 0 || ms > CANCEL_POLL))
		ms = CANCEL_POLL;
	return (int)ms;
}

static void follow(struct run *u)
{
	for (;;) {
		int ms = look_at_time(u);
		if (u->ended && ((u->out < 0 && u->err < 0) || clock_boot() >= u->ended_at + PIPE_GRACE))
			return;
		struct pollfd p[4] = {
			{ .fd = u->ended ? -1 : u->pidfd, .events = POLLIN },
			{ .fd = u->out, .events = POLLIN },
			{ .fd = u->err, .events = POLLIN },
			{ .fd = u->asked, .events = POLLIN },
		};
		if (poll(p, 4, ms) < 0 && errno != EINTR)
			return;
		if (p[3].revents & POLLIN)
			u->s->answer(u->s->before_arg, u->asked, u->pid);
		else if (p[3].revents)
			close_fd(&u->asked);
		if (p[1].revents)
			drain(u, &u->out, u->s->out, true);
		if (p[2].revents)
			drain(u, &u->err, u->s->err_out, false);
		if (p[0].revents) {
			u->ended = true;
			u->ended_at = clock_boot();
		}
	}
}

enum err spawn_run(const struct spawn *s, struct spawn_result *r)
{
	char file[4096];
	const char *const *env = s->env ? s->env : DEFAULT_ENV;
	const char *cwd = s->cwd ? s->cwd : "/";
	bool want_out = s->out || s->progress;
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, in = -1, null = -1, status = 0, rc;
	struct run u = { .s = s, .r = r, .pidfd = -1, .out = -1, .err = -1, .asked = -1 };
	enum err e;

	*r = (struct spawn_result){ 0 };
	if ((e = find_program(s->argv[0], file)) || (e = input_fd(s, &in)))
		goto out;
	if ((null = above_stdio(open("/dev/null", O_WRONLY | O_CLOEXEC))) < 0 || (want_out && pipe_above(out)) ||
	    (s->err_out && pipe_above(err))) {
		e = err_sys(ERR_FAILED, "%s: cannot prepare its output", s->argv[0]);
		goto out;
	}
	struct child_fds fds = { .in = in, .out = want_out ? out[1] : null };
	fds.err = s->err_out ? err[1] : fds.out;
	u.started = u.heard = clock_boot();
	rc = s->before_exec ? start_clone(s, file, env, cwd, &fds, &u.pid)
	                    : start_spawn(file, s->argv, env, cwd, &fds, false, &u.pid);
	if (rc) {
		e = start_error(rc, file);
		goto out;
	}
	u.out = out[0];
	u.err = err[0];
	out[0] = err[0] = -1;
	close_fd(&out[1]);
	close_fd(&err[1]);
	if (s->watch)
		u.asked = s->watch(s->before_arg);
	u.pidfd = pidfd_open(u.pid, 0);
	if (u.pidfd < 0 || (u.out >= 0 && fcntl(u.out, F_SETFL, O_NONBLOCK)) || (u.err >= 0 && fcntl(u.err, F_SETFL, O_NONBLOCK)))
		e = err_sys(ERR_FAILED, "%s: cannot be watched", file);
	else
		follow(&u);
	/* Whatever is left of the group goes, before the reaping gives its number free. */
	kill(-u.pid, SIGKILL);
	if (s->session)
		end_session(u.pid);
	while ((rc = waitpid(u.pid, &status, 0)) < 0 && errno == EINTR)
		;
	if (rc < 0 && !e)
		e = err_sys(ERR_FAILED, "%s: its end was lost", file);
	r->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
out:
	close_fd(&u.asked);
	close_fd(&u.pidfd);
	close_fd(&u.out);
	close_fd(&u.err);
	close_fd(&in);
	close_fd(&null);
	for (int i = 0; i < 2; i++) {
		close_fd(&out[i]);
		close_fd(&err[i]);
	}
	return e;
}

enum err spawn_daemon(const char *const *argv, const char *const *env, const char *cwd, int log_fd, pid_t *pid)
{
	char file[4096];
	enum err e = find_program(argv[0], file);
	int in = -1, out = -1;

	if (e)
		return e;
	in = above_stdio(open("/dev/null", O_RDONLY | O_CLOEXEC));
	/* A copy, since log_fd may be 1 or 2 itself. */
	out = fcntl(log_fd, F_DUPFD_CLOEXEC, 3);
	if (in < 0 || out < 0) {
		e = err_sys(ERR_FAILED, "%s: cannot prepare its output", file);
	} else {
		struct child_fds fds = { in, out, out };
		int rc = start_spawn(file, argv, env ? env : DEFAULT_ENV, cwd ? cwd : "/", &fds, true, pid);
		if (rc)
			e = start_error(rc, file);
	}
	close_fd(&in);
	close_fd(&out);
	return e;
}
